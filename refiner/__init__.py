"""First 3D to better 3D with uncertainty: diffusion with CCE and CAG."""

from .refine import Refiner

__all__ = ["Refiner"]
