"""What is no clip is refused with the command that takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from posefix.pipeline.sources import expand_sources
from posefix.skeleton import InputError


@pytest.mark.parametrize("name", ["clip_3d.csv", "poses.JSON", "a.npz", "a.trc"])
def test_tables_are_no_videos(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=rf"{name}: is no video; keypoints go to `posefix refine`"):
        expand_sources([str(tmp_path / name)])


def test_folder_of_results_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "clip_3d.csv").write_text("x")
    with pytest.raises(InputError, match=r"look at them with `posefix view .*`"):
        expand_sources([str(tmp_path)])
    (tmp_path / "frame.png").write_bytes(b"x")  # frames with results beside them are a clip
    assert [source.kind for source in expand_sources([str(tmp_path)])] == ["images"]


def test_folder_of_keypoint_files_is_told_where_they_go(tmp_path: Path) -> None:
    (tmp_path / "a_000000000000_keypoints.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds no images .* keypoint files go to `posefix refine`"):
        expand_sources([str(tmp_path)])


@pytest.mark.parametrize("word", ["rtsp://me:secret@[bad/x", "http://[::1"])
def test_an_address_that_is_none_is_one_line_without_its_password(word: str) -> None:
    with pytest.raises(InputError, match=r": is no address \(Invalid IPv6 URL\); check it") as caught:
        expand_sources([word])
    assert "secret" not in str(caught.value)
