"""MediaPipe's bundled pose model (BlazePose, one person): the default detector, works without a download.

Only its 2D landmarks are used; MediaPipe's own 3D is not.

Choices, measured on real clips, two of them 1080x1920 with triangulated joints:
    - `smooth_landmarks` off. On, the jitter falls by 40 % but the error grows by 4 % and poses lag behind
      the person, more so when the video is not 30 frames/s, which that filter takes for granted.
    - A person must be found with a confidence of 0.6 (MediaPipe's own default: 0.5). With 0.5 an empty room was
      given a skeleton at a table's foot, with high scores, in 132 of 600 frames; with 0.6 in 2, and seven other
      clips lost 2 of 656 frames.
    - The frame in which somebody is found goes in twice. The first look has only the person detector's coarse region,
      the second that of the first look's landmarks, as every later frame has. On 28 starts within three clips the first
      frame's joints were a mean of 3.4 % of the person's size from those of a run that was following already (the
      frame after: 1.7 %); so it is 1.8 % (1.5 %). After four looks it is 1.5 %, which is not worth their time.
    - Frames go in as they are up to 1920 px: halving them before saved no time and changed errors by less
      than 1 %. Larger ones are reduced first.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np

from ..skeleton import BLAZEPOSE33, Frame, Pose2D
from ..skeleton.poses import FloatArray
from .mediapipe_follow import Follower

MAX_SIDE = 1920  # px: longer frames are reduced before they go in
CONFIDENCE = 0.6  # to find a person anew
MIN_SIDE = 16  # px: nothing that small holds a person
BOX_SCORE = 0.5  # landmarks above this span the box
# The graph opens its models, and chatters about it, in threads of its own: the first result tells the end.
_POINTS = "unfiltered_auxiliary_landmarks"
_FIND = "posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh"
_FOLLOW = {
    "poselandmarkbyroicpu__tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold": 0.5
}  # MediaPipe's own default
_BLANK = np.zeros((64, 64, 3), np.uint8)

# The protobuf release that MediaPipe pins warns about MediaPipe's own calls; a user can do nothing about it.
warnings.filterwarnings("ignore", message=r"SymbolDatabase\.GetPrototype", category=UserWarning)


class MediaPipeDetector:
    """BlazePose "full" on the CPU, tracking the one most prominent person from frame to frame."""

    name = "mediapipe"
    layout = BLAZEPOSE33.name
    device = "cpu"

    def __init__(self, device: str = "cpu") -> None:
        """Load the model. `device` is taken for the common signature: the model always runs on the CPU."""
        self.weights: dict[str, str] = {}  # the model is part of the package
        with _quiet_stderr():
            from mediapipe.python.solution_base import SolutionBase

            # As `mediapipe.solutions.pose.Pose` makes it, with one more output.
            self._pose: Any = SolutionBase(
                binary_graph_path="mediapipe/modules/pose_landmark/pose_landmark_cpu.binarypb",
                side_inputs={
                    "model_complexity": 1,
                    "smooth_landmarks": False,
                    "enable_segmentation": False,
                    "smooth_segmentation": True,
                    "use_prev_landmarks": True,
                },
                calculator_params={_FIND: CONFIDENCE, **_FOLLOW},
                outputs=["pose_landmarks", _POINTS],
            )
            self._pose.process(_BLANK)
        self._shape: tuple[int, int] | None = None
        self._follower: Follower | None = None
        self._state = b""

    def detect(self, frame: Frame) -> list[Pose2D]:
        """At most one person: 33 landmarks in pixels (guesses when hidden), visibility as score."""
        height, width = frame.image.shape[:2]
        if min(height, width) < MIN_SIDE:
            return []
        if self._shape not in (None, (height, width)):  # another picture: forget where the person was
            self._stop_following()
            self._state = b""
            with _quiet_stderr():
                self._pose.reset()
                self._pose.process(_BLANK)
        self._shape = (height, width)
        landmarks = self._look(_rgb(frame.image))
        if landmarks is None:
            return []
        raw = np.array([(p.x, p.y, p.visibility) for p in landmarks.landmark], np.float32)  # (33, 3)
        keypoints = raw[:, :2] * np.array([width, height], np.float32)
        scores = np.clip(raw[:, 2], 0, 1)
        return [Pose2D(keypoints, scores, self.layout, box=_box(keypoints, scores))]

    def _look(self, image: np.ndarray) -> Any:
        """(H, W, 3) RGB -> MediaPipe's landmarks, None: nobody. Whoever is new is looked at twice."""
        new = not self._state
        landmarks, points = self._process(image)
        self._state = b"" if landmarks is None else points.SerializeToString()
        if landmarks is None or not new:
            return landmarks
        again, points = self._process(image)
        if again is None:  # the first look is all there is, and the next frame is searched anew
            self._state = b""
            return landmarks
        self._state += points.SerializeToString()  # lists one after the other: protobuf reads them as one
        return again

    def _process(self, image: np.ndarray) -> tuple[Any, Any]:
        """(H, W, 3) RGB -> MediaPipe's landmarks, and the points that tell where to look next; None: nobody."""
        if self._follower is None:
            found = self._pose.process(image)
            return found.pose_landmarks, getattr(found, _POINTS)
        found = self._follower.process(image)
        if found[0] is None:  # from here on as if nobody had been there yet
            self._stop_following()
        return found

    def state(self) -> bytes:
        """The points that the region to look in is made of, of each look; empty where nobody is followed."""
        return self._state

    def restore(self, states: Iterable[tuple[tuple[int, int], bytes]]) -> None:
        """Go on after frames of these sizes (height, width), after each of which it had this state."""
        points: list[bytes] = []
        for size, state in states:
            if min(size) < MIN_SIDE:
                continue
            if size != self._shape or not state:
                points.clear()
            points += [state] if state else []
            self._shape, self._state = size, state
        if points:
            blank = _rgb(np.zeros((*self._shape, 3), np.uint8))  # type: ignore[misc]
            with _quiet_stderr():
                self._follower = Follower(blank, points, _FOLLOW)

    def _stop_following(self) -> None:
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def close(self) -> None:
        """Free the model."""
        self._stop_following()
        if self._pose is not None:
            self._pose.close()
            self._pose = None


def _rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) BGR -> RGB, its longer side at most MAX_SIDE."""
    scale = MAX_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _box(keypoints: FloatArray, scores: FloatArray) -> FloatArray:
    """(4,) x0, y0, x1, y1 around the visible landmarks; around all when fewer than two are visible."""
    seen = keypoints[scores >= BOX_SCORE]
    points = seen if len(seen) >= 2 else keypoints
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what C++ code prints to file descriptor 2: MediaPipe has no switch for its start-up lines."""
    try:
        stderr = os.dup(2)
    except OSError:  # no such descriptor: nothing to silence
        yield
        return
    if sys.stderr is not None:  # None where the program was started without one
        sys.stderr.flush()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
