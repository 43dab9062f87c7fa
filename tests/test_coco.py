"""training/coco.py: what is read of a folder of labelled pictures, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_coco import coco_folder, dots, edit
from posefix.pipeline.cli import call
from posefix.skeleton.errors import InputError
from posefix.training.coco import read_coco


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return coco_folder(tmp_path / "coco")


def test_people_of_a_folder(folder):
    train, val = read_coco(folder)
    assert (len(train), len(val)) == (10, 2)  # every tenth picture is held out
    assert not {p.image for p in train} & {p.image for p in val}
    person = next(p for p in train if p.image.name == "7.png")
    np.testing.assert_allclose(
        person.joints, dots(7)[1] + 0.5
    )  # COCO counts from the middle of the first pixel
    np.testing.assert_array_equal(person.box, [10, 10, 190, 230])
    assert person.seen.tolist() == [2, 2, 2, 1, 0, *[2] * 12]


def test_files_for_validation_crowds_and_missing_boxes(folder):
    def change(content):
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"][1]["keypoints"] = [0] * 51
        del content["annotations"][2]["bbox"]

    file = folder / "annotations" / "person_keypoints_made.json"
    (folder / "annotations" / "person_keypoints_val.json").write_text(file.read_text())
    (folder / "images" / "made").rename(folder / "pictures")
    (folder / "pictures").rename(folder / "made")
    (folder / "val").symlink_to(folder / "made")
    edit(folder, change)
    train, val = read_coco(folder)
    assert (len(train), len(val)) == (10, 12)
    seen = train[0].joints[train[0].seen > 0]
    np.testing.assert_allclose(train[0].box, [*seen.min(axis=0), *seen.max(axis=0)])


def first(**values):
    return lambda content: content["annotations"][0].update(values)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c.pop("images"), r'expected the lists "images" and "annotations"'),
        (lambda c: c["images"][0].pop("file_name"), r'needs an "id" and a "file_name"'),
        (lambda c: c["images"][0].update(file_name="gone.png"), r"1 of its 12 pictures are missing, e\.g\. .*gone"),
        (first(image_id=5), r'annotation 0: its "image_id" is none of the pictures'),
        (first(image_id=[5]), r'annotation 0: its "image_id" is none of the pictures'),
        (first(keypoints=[1.0, 2.0, 2] * 14), r'annotation 0: expected "keypoints" of 51 numbers'),
        (first(keypoints=[float("nan"), 2.0, 2] * 17), r'annotation 0: expected "keypoints" of 51 numbers'),
        (first(keypoints=[1.0, 2.0, 7] * 17), r"annotation 0: a visibility v is neither 0, 1 nor 2"),
        (first(bbox=[0, 0, -5, 9]), r'annotation 0: expected "bbox" of 4 numbers'),
        (first(bbox="large"), r'annotation 0: expected "bbox" of 4 numbers'),
        (lambda c: c["annotations"].clear(), r"0 labelled people to train on"),
    ],
)  # fmt: skip
def test_a_bad_folder_is_one_line(folder, change, problem):
    edit(folder, change)
    with pytest.raises(InputError, match=problem) as caught:
        read_coco(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none(folder, tmp_path, capsys):
    for path, problem in (
        (tmp_path / "gone", "no such folder"),
        (tmp_path, "no annotations/person_keypoints"),
    ):
        assert call(["train", "cpn", "--coco", str(path), "--run", str(tmp_path / "run")]) == 2
        line = capsys.readouterr().err
        assert line.startswith("posefix: error: --coco ") and problem in line and line.count("\n") == 1
    (folder / "annotations" / "person_keypoints_made.json").write_text("{")
    with pytest.raises(InputError, match=r"made\.json: cannot be read as JSON"):
        read_coco(folder)
    assert call(["train", "cpn", "--coco", str(folder), "--batch", "1"]) == 2
    assert "--batch 1: expected 2 or more" in capsys.readouterr().err
