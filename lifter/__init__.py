"""2D to first 3D: the GraFormer lifter."""

from .lift import Lifter

__all__ = ["Lifter"]
