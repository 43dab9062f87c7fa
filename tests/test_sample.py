"""The drawn sample: a person that the detector finds, in a clip of the asked length."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from posefix.demos.make_sample import HEIGHT, WIDTH, make_sample, render
from posefix.detectors.base import create_detector
from posefix.skeleton import Frame, OutputError


def test_clip_has_the_asked_length_and_rate(tmp_path: Path) -> None:
    path = make_sample(tmp_path / "new" / "sample.mp4", seconds=0.4, fps=10)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (WIDTH, HEIGHT)
        assert float(stream.average_rate) == 10
        assert [float(f.time) for f in container.decode(video=0)] == [0, 0.1, 0.2, 0.3]


def test_pictures_move_and_repeat_exactly() -> None:
    assert np.array_equal(render(0.3), render(0.3))
    assert np.abs(render(0.3).astype(int) - render(0.6)).mean() > 1


def test_detector_finds_the_person_upright_in_every_frame() -> None:
    detector = create_detector("mediapipe")
    try:
        for k in range(6):
            (person,) = detector.detect(Frame(k, k / 30, render(k / 30)))
            assert person.scores[[11, 12, 23, 24]].min() > 0.9  # shoulders and hips
            assert person.keypoints[0, 1] < person.keypoints[11, 1] < person.keypoints[23, 1] < HEIGHT
            assert person.keypoints[11, 0] > person.keypoints[12, 0]  # faces us: its left is our right
    finally:
        detector.close()


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"fps": 0}, {"seconds": -1.0}])
def test_senseless_length_is_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        make_sample(tmp_path / "x.mp4", **wrong)
    assert not (tmp_path / "x.mp4").exists()


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.*x\.mp4"):
        make_sample(tmp_path / "file" / "x.mp4", seconds=0.1)
