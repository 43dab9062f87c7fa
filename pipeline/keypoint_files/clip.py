"""What every reader of keypoint files gives: people by frame, in the units and axes of `skeleton.poses`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...skeleton.poses import FloatArray, FramePoses


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """One person in one frame.

    Attributes:
        keypoints: (J, 2) float32 pixels in the clip's layout; NaN where unobserved.
        scores: (J,) float32 in 0..1; 0 where unobserved.
        joints: (17, 3) float32 Human3.6M-17, metres relative to Hip, camera axes, NaN where unknown; None
            where the file has no 3D.
        id: the person's number in the file, None where it names nobody.
    """

    keypoints: FloatArray
    scores: FloatArray
    joints: FloatArray | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class KeypointClip:
    """A keypoint file.

    Attributes:
        format: name of the file's format. layout: joint layout of the 2D.
        frames: frame number -> people in it; frames without anybody may be left out.
        count: frames in the clip: numbers run from 0 to count - 1.
        times: frame number -> seconds, for every frame or for none.
        fps: frames per second, None where the file does not tell.
        nominal: True where the 2D is not from a picture but projected from the 3D.
        rows: for posefix's own CSV, its rows as they are, gaps decided; else None.
        warnings: what the user should know, one line each.
    """

    format: str
    layout: str
    frames: dict[int, list[Sight]]
    count: int
    times: dict[int, float] = field(default_factory=dict)
    fps: float | None = None
    nominal: bool = False
    rows: dict[int, FramePoses] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def has_3d(self) -> bool:
        return any(sight.joints is not None for people in self.frames.values() for sight in people)

    def warned(self, line: str) -> KeypointClip:
        """The same with one more warning."""
        return replace(self, warnings=(*self.warnings, line))
