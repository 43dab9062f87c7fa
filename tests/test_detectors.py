"""detectors/: the registry and the MediaPipe detector."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from posefix.detectors import base, create_detector, detector_names
from posefix.skeleton import BLAZEPOSE33, Frame
from posefix.skeleton.errors import InputError


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(512, 512, 3) BGR: the astronaut photo, upper body."""
    skimage_data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(skimage_data.astronaut()[:, :, ::-1])


def pans(photo: np.ndarray, n: int = 4) -> list[Frame]:
    return [Frame(k, k / 30, np.roll(photo, 3 * k, axis=1)) for k in range(n)]


def test_unknown_name_lists_the_choices():
    with pytest.raises(InputError, match=r"'openpose'.*choose from:.*mediapipe") as caught:
        create_detector("openpose")
    assert caught.value.exit_code == 2


def test_missing_package_says_how_to_install_it(monkeypatch):
    entry = base._Entry("posefix.no_such_module", "X", "pip install nothing")
    monkeypatch.setitem(base._REGISTRY, "absent", entry)
    with pytest.raises(InputError, match=r"install it: pip install nothing"):
        create_detector("absent")


def test_names_are_known_without_importing_mediapipe():
    code = "import sys, posefix.detectors as d; d.detector_names(); sys.exit('mediapipe' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "mediapipe" in detector_names()


def test_mediapipe_finds_the_person(photo):
    detector = create_detector("mediapipe")
    (pose,) = detector.detect(Frame(0, 0.0, photo))
    detector.close()
    detector.close()  # twice does no harm
    assert pose.layout == detector.layout == "blazepose33"
    at = dict(zip(BLAZEPOSE33.joints, pose.keypoints, strict=True))
    # Eileen Collins' face is around (225, 115); her left shoulder is to the right in the picture.
    assert np.linalg.norm(at["Nose"] - [225, 115]) < 25
    assert at["RShoulder"][0] < at["Nose"][0] < at["LShoulder"][0]
    assert pose.scores.min() >= 0 and pose.scores.max() <= 1
    assert pose.scores[BLAZEPOSE33.joints.index("LAnkle")] < 0.1  # far below the picture
    x0, y0, x1, y1 = pose.box
    assert x0 < at["Nose"][0] < x1 and y0 <= at["Nose"][1] < y1


def test_mediapipe_is_deterministic(photo):
    runs = []
    for _ in range(2):
        detector = create_detector("mediapipe")
        runs.append([detector.detect(f) for f in pans(photo)])
        detector.close()
    for (a,), (b,) in zip(*runs, strict=True):
        assert a.keypoints.tobytes() == b.keypoints.tobytes() and a.scores.tobytes() == b.scores.tobytes()


def test_mediapipe_looks_twice_at_whoever_is_new(photo, monkeypatch):
    """The pose is the second look's; and the state holds both, so that a run can be taken up after that frame."""
    detector, other = create_detector("mediapipe"), create_detector("mediapipe")
    process, looks = detector._process, []
    monkeypatch.setattr(detector, "_process", lambda image: looks.append(process(image)) or looks[-1])
    counts, poses, states = [], [], []
    first, second, third = pans(photo, 3)
    for image in (np.zeros_like(photo), first.image, second.image, np.zeros_like(photo), third.image):
        before = len(looks)
        poses.append(detector.detect(Frame(0, 0.0, image)))
        counts.append(len(looks) - before)
        states.append(((512, 512), detector.state()))
    assert counts == [1, 2, 1, 1, 2] and [len(found) for found in poses] == [0, 1, 1, 0, 1]
    coarse, settled = ([p.x * 512 for p in look[0].landmark] for look in looks[1:3])
    np.testing.assert_array_equal(poses[1][0].keypoints[:, 0], np.float32(settled))
    assert np.abs(np.subtract(coarse, settled)).max() > 1
    other.restore(states[:2])
    (resumed,) = other.detect(second)
    assert resumed.keypoints.tobytes() == poses[2][0].keypoints.tobytes() and other.state() == states[2][1]
    detector.close()
    other.close()


def test_mediapipe_keeps_the_first_look_where_the_second_finds_nobody(photo, monkeypatch):
    detector = create_detector("mediapipe")
    process, looks = detector._process, []
    monkeypatch.setattr(
        detector,
        "_process",
        lambda image: looks.append(1) or (process(image) if len(looks) % 2 else (None, None)),
    )
    assert len(detector.detect(Frame(0, 0.0, photo))) == 1 and detector.state() == b""
    assert len(detector.detect(Frame(1, 0.1, photo))) == 1 and len(looks) == 4  # searched anew
    detector.close()


def test_keypoints_are_in_pixels_of_the_given_frame_at_any_size(photo):
    import cv2

    detector = create_detector("mediapipe")
    (small,) = detector.detect(Frame(0, 0.0, photo))
    detector.close()
    detector = create_detector("mediapipe")
    (large,) = detector.detect(Frame(0, 0.0, cv2.resize(photo, (2048, 2048))))  # above the size limit
    detector.close()
    seen = small.scores > 0.9
    apart = np.abs(large.keypoints[seen] / 4 - small.keypoints[seen])
    assert seen.sum() > 12 and np.percentile(apart, 90) < 8  # a hidden hand may be guessed elsewhere


@pytest.mark.parametrize("shape", [(2, 2), (1, 1), (3, 500), (64, 64)])
def test_nobody_in_tiny_or_blank_frames(shape):
    detector = create_detector("mediapipe")
    assert detector.detect(Frame(0, 0.0, np.zeros((*shape, 3), np.uint8))) == []
    detector.close()


def test_mediapipe_prints_nothing():
    code = (
        "import sys, numpy as np; from skimage.data import astronaut\n"
        "from posefix.detectors import create_detector; from posefix.skeleton import Frame\n"
        "d = create_detector('mediapipe')\n"
        "d.detect(Frame(0, 0.0, np.ascontiguousarray(astronaut()[:, :, ::-1])))\n"
        "d.close(); print('still here', file=sys.stderr)"
    )
    pytest.importorskip("skimage.data")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "" and done.stderr == "still here\n"
