"""BlazePose taken up in the middle of following somebody: for a run that is resumed.

MediaPipe's graph looks for the person where they were in the frame before, and keeps that region steady with a One-Euro
filter, the memory of which goes back to where the person was found. Fed some frames again, it does not come back to the
same region, not to the last bit (measured on four clips, up to 89 frames). So the two points of the network that the
region is made of are kept for every look (54 bytes; at the frame in which somebody is found there are two looks, at
others one). Here the same calculators are joined anew: the filter is fed the kept points, and then the network is given
the region. The poses are those of MediaPipe's own graph, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

_POINTS = 2  # that a region is made of
_STEP_US = 33_333  # between frames, whatever their times: what MediaPipe's own solutions tell the filter

_NETWORK = """
input_stream: "IMAGE:image"
input_stream: "ROI:region"
output_stream: "LANDMARKS:landmarks"
output_stream: "AUXILIARY_LANDMARKS:points"
input_side_packet: "MODEL_COMPLEXITY:model_complexity"
input_side_packet: "ENABLE_SEGMENTATION:enable_segmentation"
node {
  calculator: "PoseLandmarkByRoiCpu"
  input_side_packet: "MODEL_COMPLEXITY:model_complexity"
  input_side_packet: "ENABLE_SEGMENTATION:enable_segmentation"
  input_stream: "IMAGE:image"
  input_stream: "ROI:region"
  output_stream: "LANDMARKS:landmarks"
  output_stream: "AUXILIARY_LANDMARKS:points"
  output_stream: "WORLD_LANDMARKS:world"
  output_stream: "SEGMENTATION_MASK:mask"
}
"""
# What of PoseLandmarkFiltering concerns the points, with its constants.
_FILTER = """
input_stream: "image"
input_stream: "points"
output_stream: "region"
node { calculator: "ImagePropertiesCalculator" input_stream: "IMAGE_CPU:image" output_stream: "SIZE:size" }
node {
  calculator: "LandmarksToDetectionCalculator"
  input_stream: "NORM_LANDMARKS:points"
  output_stream: "DETECTION:detection"
}
node {
  calculator: "AlignmentPointsRectsCalculator"
  input_stream: "DETECTION:detection"
  input_stream: "IMAGE_SIZE:size"
  output_stream: "NORM_RECT:scale"
  options { [mediapipe.DetectionsToRectsCalculatorOptions.ext] {
    rotation_vector_start_keypoint_index: 0
    rotation_vector_end_keypoint_index: 1
    rotation_vector_target_angle_degrees: 90
  } }
}
node {
  calculator: "LandmarksSmoothingCalculator"
  input_stream: "NORM_LANDMARKS:points"
  input_stream: "IMAGE_SIZE:size"
  input_stream: "OBJECT_SCALE_ROI:scale"
  output_stream: "NORM_FILTERED_LANDMARKS:steady"
  options { [mediapipe.LandmarksSmoothingCalculatorOptions.ext] {
    one_euro_filter { min_cutoff: 0.01 beta: 10 derivate_cutoff: 1 }
  } }
}
node {
  calculator: "PoseLandmarksToRoi"
  input_stream: "LANDMARKS:steady"
  input_stream: "IMAGE_SIZE:size"
  output_stream: "ROI:region"
}
"""


class Follower:
    """Follows one person from where they were last seen, until they are lost.

    Args:
        blank: (H, W, 3) uint8, a picture of the size that frames go in with.
        points: of every frame since the person was found, serialised `NormalizedLandmarkList`s; those of several
            looks at one frame one after the other.
        options: of MediaPipe's calculators.
    """

    def __init__(
        self, blank: npt.NDArray[np.uint8], points: Sequence[bytes], options: Mapping[str, Any]
    ) -> None:
        for options_of in ("detections_to_rects", "landmarks_smoothing"):  # else the text is not understood
            import_module(f"mediapipe.calculators.util.{options_of}_calculator_pb2")
        from mediapipe.python import packet_creator
        from mediapipe.python._framework_bindings import calculator_graph, image_frame
        from mediapipe.python.solution_base import SolutionBase

        side = {"model_complexity": 1, "enable_segmentation": False}
        self._network: Any = SolutionBase(
            graph_config=_NETWORK,
            side_inputs=side,
            calculator_params=options,
            outputs=["landmarks", "points"],
        )
        self._filter: Any = calculator_graph.CalculatorGraph(graph_config=_FILTER)
        # Of the picture only its size is used; one packet serves for all frames.
        self._size: Any = packet_creator.create_image_frame(blank, image_format=image_frame.ImageFormat.SRGB)
        self._region: Any = None
        self._time_us = 0
        self._filter.observe_output_stream("region", self._keep)
        self._filter.start_run()
        for serialised in points:
            for look in _looks(serialised):
                self._move(look)
        # It opens its model, and chatters, now and not later; it remembers nothing.
        self._network.process({"image": blank, "region": self._region})

    def _keep(self, _: str, packet: Any) -> None:
        from mediapipe.python import packet_getter

        self._region = packet_getter.get_proto(packet)

    def _move(self, points: Any) -> None:
        """To the region of the next frame."""
        from mediapipe.python import packet_creator

        self._time_us += _STEP_US
        self._filter.add_packet_to_input_stream("image", self._size.at(self._time_us))
        self._filter.add_packet_to_input_stream(
            "points", packet_creator.create_proto(points).at(self._time_us)
        )
        self._filter.wait_until_idle()

    def process(self, image: npt.NDArray[np.uint8]) -> tuple[Any, Any]:
        """(H, W, 3) RGB -> landmarks and points of the next frame; None where the person is lost."""
        found = self._network.process({"image": image, "region": self._region})
        if found.landmarks is not None:
            self._move(found.points)
        return found.landmarks, found.points

    def close(self) -> None:
        """Free the graphs."""
        self._network.close()
        self._filter.close()


def _looks(serialised: bytes) -> list[Any]:
    """The points of a frame, two for each look at it."""
    from mediapipe.framework.formats import landmark_pb2

    of = landmark_pb2.NormalizedLandmarkList  # type: ignore[attr-defined]
    points = of.FromString(serialised).landmark
    return [of(landmark=points[k : k + _POINTS]) for k in range(0, len(points), _POINTS)]
