"""Reader: true numbers and times, rotation, damaged files, odd pictures, and one clear line for bad input."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from posefix.pipeline.reader import IMAGE_FPS, open_source
from posefix.pipeline.sources import Source, expand_sources
from posefix.skeleton.errors import InputError

VFR_TIMES = np.cumsum([0.0] + [0.02, 0.05, 0.035] * 10)


def level(k: int) -> int:
    return 30 + 5 * k % 200


def packets(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


# --- video files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("start_s", [9.0, 1e15, 1e300])
def test_a_start_beyond_the_end_however_far(make_video, start_s):
    with open_source(str(make_video()), start_s=start_s) as reader, pytest.raises(InputError) as caught:
        next(reader)
    assert "choose times inside the clip" in str(caught.value)


def test_frames_numbers_times_and_pictures_of_a_plain_clip(make_video):
    with open_source(str(make_video())) as reader:
        frames = list(reader)
    assert (reader.info.kind, reader.info.name, reader.info.live) == ("video", "clip", False)
    assert (reader.info.width, reader.info.height, reader.info.n_frames) == (64, 48, 12)
    assert reader.info.fps == pytest.approx(30, abs=0.1)
    assert [f.index for f in frames] == list(range(12))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(12) / 30, atol=1e-4)
    for frame in frames:
        assert frame.image.shape == (48, 64, 3)
        assert abs(float(frame.image[30:, 40:].mean()) - level(frame.index)) < 4
    assert reader.corrupt_frames == 0


@pytest.mark.parametrize("b_frames", [0, 2])
def test_variable_frame_rate_keeps_container_times(make_video, b_frames):
    with open_source(make_video(times=VFR_TIMES, b_frames=b_frames)) as reader:
        times = [frame.time_s for frame in reader]
    np.testing.assert_allclose(times, VFR_TIMES, atol=1e-4)


def rotate(path: Path, a: int, b: int, c: int, d: int, tx: int, ty: int) -> None:
    """Writes a display matrix into the mp4's track header, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one, frac = 1 << 16, 1 << 30
    data[at : at + 36] = struct.pack(
        ">9i", a * one, b * one, 0, c * one, d * one, 0, tx * one, ty * one, frac
    )
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "shape", "blue_at"),
    [
        ((1, 0, 0, 1, 0, 0), (48, 64), (5, 5)),
        ((0, 1, -1, 0, 48, 0), (64, 48), (5, 42)),  # a quarter turn clockwise: top left goes to top right
        ((-1, 0, 0, -1, 64, 48), (48, 64), (42, 58)),  # upside down
    ],
)
def test_phone_rotation_is_honoured(make_video, matrix, shape, blue_at):
    path = make_video()
    rotate(path, *matrix)
    with open_source(path) as reader:
        assert (reader.info.height, reader.info.width) == shape
        image = next(reader).image
    assert image.shape[:2] == shape
    blue, green, red = image[blue_at].astype(int)
    assert blue > 150 and green < 90 and red < 90


@pytest.mark.parametrize("b_frames", [0, 2])
def test_corrupt_frames_leave_a_hole_in_the_numbers(make_video, b_frames):
    path = make_video(times=VFR_TIMES, b_frames=b_frames)
    data = bytearray(path.read_bytes())
    for position, size in packets(path)[12:15]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with open_source(path) as reader:
        frames = list(reader)
    indices = [frame.index for frame in frames]
    assert reader.corrupt_frames == 3
    assert len(frames) == len(VFR_TIMES) - 3
    assert indices[0] == 0 and indices[-1] == len(VFR_TIMES) - 1
    np.testing.assert_allclose([f.time_s for f in frames], VFR_TIMES[indices], atol=1e-4)


def test_corrupt_last_frames_are_counted(make_video):
    path = make_video(times=VFR_TIMES)
    data = bytearray(path.read_bytes())
    for position, size in packets(path)[-2:]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with open_source(path) as reader:
        indices = [frame.index for frame in reader]
    assert indices == list(range(len(VFR_TIMES) - 2))
    assert reader.corrupt_frames == 2


def test_truncated_file_keeps_its_readable_part(make_video):
    path = make_video(times=VFR_TIMES, faststart=True)
    position, size = packets(path)[17]
    path.write_bytes(path.read_bytes()[: position + size // 2])
    with open_source(path) as reader:
        indices = [frame.index for frame in reader]
    assert indices[:17] == list(range(17)) and len(indices) <= 18
    assert reader.corrupt_frames == 18 - len(indices)
    assert reader.ended_early == f"the file is cut short: it holds 18 of {len(VFR_TIMES)} frames"
    with pytest.raises(InputError, match=r"cut short.*, before the first frame asked for; choose earlier"):
        list(open_source(path, start_s=VFR_TIMES[-1]))


def test_a_whole_file_is_not_called_cut_short(make_video):
    path = make_video(times=VFR_TIMES, b_frames=2)
    for limits in ({}, {"max_frames": 3}, {"end_s": VFR_TIMES[5]}, {"start_s": VFR_TIMES[8]}):
        with open_source(path, **limits) as reader:
            assert list(reader) and reader.ended_early is None


def test_truncated_file_without_its_index_says_so(make_video):
    path = make_video()
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match="cut short"):
        open_source(path)


def test_useless_timestamps_fall_back_to_the_frame_rate(make_video, monkeypatch):
    class Stopped:
        def __init__(self, *args):
            self._capture = real(*args)

        def __getattr__(self, name):
            return getattr(self._capture, name)

        def get(self, prop):
            return 0.0 if prop == cv2.CAP_PROP_POS_MSEC else self._capture.get(prop)

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Stopped)
    with open_source(make_video()) as reader:
        frames = list(reader)
    assert [f.index for f in frames] == list(range(12))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(12) / 30, rtol=0.01)


def test_tiny_video(make_video):
    with open_source(make_video(size=(2, 2))) as reader:
        frames = list(reader)
    assert len(frames) == 12 and frames[0].image.shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("grey.mkv", "ffv1", "gray"), ("deep.mkv", "ffv1", "yuv420p10le"), ("alpha.mkv", "ffv1", "bgra"),
     ("motion.avi", "mjpeg", "yuvj420p"), ("old.avi", "mpeg4", "yuv420p")],
)  # fmt: skip
def test_other_codecs_and_pixel_formats(make_video, name, codec, pix_fmt):
    with open_source(make_video(name, codec=codec, pix_fmt=pix_fmt)) as reader:
        frames = list(reader)
    assert [f.index for f in frames] == list(range(12)) and reader.corrupt_frames == 0
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(12) / 30, atol=2e-3)
    assert abs(float(frames[7].image[30:, 40:].mean()) - level(7)) < 5


def test_limits_keep_the_numbers_of_the_source(make_video):
    path = make_video(times=VFR_TIMES)
    with open_source(path, start_s=0.3, end_s=0.7) as reader:
        indices = [f.index for f in reader]
    assert indices == [k for k, t in enumerate(VFR_TIMES) if 0.3 <= round(t, 4) < 0.7]
    with open_source(path, start_s=0.3, max_frames=3) as reader:
        assert [f.index for f in reader] == indices[:3]


def test_images_before_the_start_are_not_opened(tmp_path):
    folder = write_images(tmp_path / "shots")
    for k in range(1, 8):
        (folder / f"im{k}.png").write_text("not a picture")
    with open_source(folder, start_s=9 / IMAGE_FPS) as reader:
        assert [f.index for f in reader] == [9, 10, 11]
    assert reader.corrupt_frames == 0


@pytest.mark.parametrize(
    "limits", [{"start_s": -1}, {"start_s": 2, "end_s": 1}, {"end_s": 0}, {"max_frames": 0}, {"start_s": 1e9}]
)
def test_absurd_limits(make_video, limits):
    with pytest.raises(InputError, match=r"expected|choose times"):
        list(open_source(make_video(), **limits))


# --- images ---------------------------------------------------------------------------------------


def write_images(folder: Path, count: int = 12) -> Path:
    folder.mkdir()
    for k in range(count):
        cv2.imwrite(str(folder / f"im{k}.png"), np.full((20 + k, 30, 3), level(k), np.uint8))
    return folder


@pytest.mark.parametrize("way", ["folder", "glob", "list"])
def test_images_in_natural_order_with_mixed_sizes(tmp_path, way):
    folder = write_images(tmp_path / "shots")
    words = {
        "folder": str(folder),
        "glob": f"{folder}/*.png",
        "list": [f"{folder}/im{k}.png" for k in range(12)],
    }
    with open_source(words[way]) as reader:
        frames = list(reader)
    assert (reader.info.kind, reader.info.name, reader.info.n_frames) == ("images", "shots", 12)
    assert [f.image.shape for f in frames] == [(20 + k, 30, 3) for k in range(12)]
    assert [int(f.image[0, 0, 0]) for f in frames] == [level(k) for k in range(12)]
    assert [f.time_s for f in frames] == [k / IMAGE_FPS for k in range(12)]


def test_corrupt_images_keep_their_number(tmp_path):
    folder = write_images(tmp_path / "shots")
    (folder / "im3.png").write_bytes(b"")
    (folder / "im7.png").write_text("not a picture")
    with open_source(folder) as reader:
        indices = [f.index for f in reader]
    assert indices == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    assert reader.corrupt_frames == 2


@pytest.mark.parametrize(
    "image",
    [
        np.full((8, 9), 100, np.uint8),  # grey
        np.full((8, 9, 4), 100, np.uint8),  # with alpha
        np.full((8, 9), 100 << 8, np.uint16),  # 16-bit grey
        np.full((8, 9, 3), 100 << 8, np.uint16),  # 16-bit colour
    ],
)
def test_every_kind_of_image_becomes_bgr8(tmp_path, image):
    cv2.imwrite(str(tmp_path / "a.png"), image)
    with open_source(tmp_path / "a.png") as reader:
        frame = next(reader)
    assert frame.image.shape == (8, 9, 3) and frame.image.dtype == np.uint8
    assert np.all(frame.image == 100)


# --- bad input: one line, exit code 2 -------------------------------------------------------------


def write_sound(path: Path) -> None:
    """A tenth of a second of silence, and nothing to see."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def bad_inputs(folder: Path) -> dict[str, tuple[object, str]]:
    (folder / "none").mkdir()
    (folder / "text.mp4").write_text("I am no video\n" * 100)
    (folder / "text.txt").write_text("I am no video\n" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "bad.png").write_text("no picture")
    write_sound(folder / "sound.m4a")
    return {
        "missing": (str(folder / "gone.mp4"), "no such file"),
        "directory without images": (str(folder / "none"), "no images"),
        "glob without a match": (str(folder / "*.mkv"), "no file matches"),
        "text renamed": (str(folder / "text.mp4"), "no video"),
        "text": (str(folder / "text.txt"), "no video"),
        "empty file": (str(folder / "empty.mp4"), "empty"),
        "sound": (str(folder / "sound.m4a"), "sound only"),
        "broken image": (str(folder / "bad.png"), "nothing can be decoded"),
        "camera": (987, "camera 987 does not open"),
        "camera word": ("987", "camera 987 does not open"),
        "negative camera": (-1, "start at 0"),
        "url": ("http://127.0.0.1:9/x.mp4", "does not open"),
        "rtsp": ("rtsp://user:secret@127.0.0.1:9/x", "does not open"),
        "no images listed": ([], "empty"),
        "several clips": (str(folder / "t*.*"), "2 clips"),
    }


@pytest.mark.parametrize("case", [
    "missing", "directory without images", "glob without a match", "text renamed", "text", "empty file",
    "sound", "broken image", "camera", "camera word", "negative camera", "url", "rtsp",
    "no images listed", "several clips",
])  # fmt: skip
def test_bad_input_is_one_clear_line(tmp_path, case, capfd):
    source, says = bad_inputs(tmp_path)[case]
    with pytest.raises(InputError, match=says) as caught:
        open_source(source)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message and "secret" not in message
    assert ";" in message  # what is wrong; how to mend it
    assert caught.value.exit_code == 2
    assert capfd.readouterr().err == ""  # no chatter of FFmpeg or OpenCV


def test_video_without_frames(make_video):
    path = make_video(faststart=True)
    path.write_bytes(path.read_bytes()[: packets(path)[0][0]])
    with pytest.raises(InputError, match="no readable video frame"):
        open_source(path)


# --- words on the command line --------------------------------------------------------------------


def test_expand_sources_makes_one_entry_a_clip(tmp_path, make_video):
    shots = write_images(tmp_path / "shots", 3)
    first, second = make_video("a.mp4"), make_video("b2.mp4")
    words = [
        str(first),
        "0",
        *(str(p) for p in sorted(shots.iterdir())),
        f"{tmp_path}/b*.mp4",
        "rtsp://h:1/live",
    ]
    assert expand_sources(words) == [
        Source("video", str(first), "a", tmp_path),
        Source("camera", 0, "camera0"),
        Source("images", tuple(str(shots / f"im{k}.png") for k in range(3)), "shots", tmp_path),
        Source("video", str(second), "b2", tmp_path),
        Source("stream", "rtsp://h:1/live", "live"),
    ]


def test_expand_sources_never_repeats_a_name(tmp_path, make_video):
    path = str(make_video())
    assert [s.name for s in expand_sources([path, path, path])] == ["clip", "clip_2", "clip_3"]


def test_expand_sources_needs_a_word():
    with pytest.raises(InputError, match="no input"):
        expand_sources([])


def test_real_clips_have_all_their_frames(shared_dir):
    expected = {"balance_cam01": 100, "sign_walk": 89, "two_walking": 36}
    for name, count in expected.items():
        with open_source(shared_dir / "videos" / f"{name}.mp4") as reader:
            frames = [(f.index, f.time_s) for f in reader]
        assert [k for k, _ in frames] == list(range(count))
        assert frames[-1][1] == pytest.approx((count - 1) / reader.info.fps, abs=2e-3)


def test_memory_does_not_grow_with_the_clip(make_video):
    psutil = pytest.importorskip("psutil")
    path = make_video(times=np.arange(300) / 30, size=(640, 480))
    memory = psutil.Process(os.getpid()).memory_info
    with open_source(path) as reader:
        for frame in reader:
            if frame.index == 60:
                early = memory().rss
        late = memory().rss
    assert late - early < 60e6  # 240 frames of 0.9 MB would be 220 MB
