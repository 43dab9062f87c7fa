"""posefix plot: units on the axes, bands, holes left open, three formats, and names that are not there."""

from __future__ import annotations

import re

import numpy as np
import pytest
from made_run import HIDDEN, INTERPOLATED, MISSING, make_run
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from posefix.pipeline.cli import call
from posefix.viewer import angles, read_motion, speeds
from posefix.viewer.plot import What, draw, parse_joints, save

HOLE = sorted({*MISSING, *HIDDEN[1]})


@pytest.fixture
def motion(tmp_path):
    return read_motion(make_run(tmp_path / "run", video=False) / "clip_3d.csv")


def curves(axis: Axes) -> dict[str, np.ndarray]:
    """Label -> (T,) values, of the lines that are curves."""
    return {
        str(line.get_label()): np.asarray(line.get_ydata(), float)
        for line in axis.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def bands(axis: Axes) -> list[PolyCollection]:
    return [c for c in axis.collections if isinstance(c, PolyCollection)]


@pytest.mark.parametrize(
    ("what", "units"),
    [
        ("position", ["x, right [m]", "y, down [m]", "z, away [m]"]),
        ("angle", ["flexion [°]"]),
        ("speed", ["speed relative to hip [m/s]"]),
    ],
)
def test_axes_have_units(motion, what: What, units):
    figure = draw(motion, motion.people[0], ["RKnee", "LKnee"], what, "clip")
    assert [axis.get_ylabel() for axis in figure.axes] == units
    assert figure.axes[-1].get_xlabel() == "time [s]"
    assert list(curves(figure.axes[0])) == ["RKnee", "LKnee"]


def test_curves_are_the_values_of_the_csv(motion):
    track = motion.people[0]
    figure = draw(motion, track, ["LWrist"], "position", "clip")
    for k, axis in enumerate(figure.axes):
        np.testing.assert_array_equal(curves(axis)["LWrist"], track.joints[:, 13, k].astype(float))
    assert figure.axes[1].yaxis_inverted() and not figure.axes[0].yaxis_inverted()  # up is up
    (axis,) = draw(motion, track, ["LElbow"], "angle", "clip").axes
    np.testing.assert_array_equal(curves(axis)["LElbow"], angles(track.joints, track.std, "LElbow")[0])
    (axis,) = draw(motion, track, ["LWrist"], "speed", "clip").axes
    np.testing.assert_array_equal(curves(axis)["LWrist"], speeds(track.joints, motion.times)[:, 13])


def test_holes_are_not_bridged(motion):
    axis = draw(motion, motion.people[0], ["LWrist"], "position", "clip").axes[0]
    assert np.flatnonzero(np.isnan(curves(axis)["LWrist"])).tolist() == HOLE
    # The band has a piece for each stretch, and none reaches into a hole.
    (band,) = bands(axis)
    reach = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in band.get_paths()]
    frames = [(round(low * 25), round(high * 25)) for low, high in reach]
    assert frames == [(0, MISSING[0] - 1), (MISSING[-1] + 1, HIDDEN[1][0] - 1), (HIDDEN[1][-1] + 1, 39)]


def test_band_is_as_wide_as_the_spread(motion):
    track = motion.people[0]
    (band,) = bands(draw(motion, track, ["RKnee"], "position", "clip").axes[2])
    edge = np.concatenate([path.vertices for path in band.get_paths()])
    at_frame_5 = edge[np.isclose(edge[:, 0], 0.2), 1]
    middle = track.joints[5, 2, 2]
    assert at_frame_5.min() == pytest.approx(middle - 0.02, abs=1e-5)
    assert at_frame_5.max() == pytest.approx(middle + 0.02, abs=1e-5)


def test_stretches_without_the_person_are_shaded_over_the_whole_time(motion):
    axis = draw(motion, motion.people[0], ["RKnee"], "angle", "clip").axes[0]
    (patch,) = axis.patches
    x0, x1 = patch.get_x(), patch.get_x() + patch.get_width()  # type: ignore[attr-defined]
    assert (x0 * 25, x1 * 25) == pytest.approx((MISSING[0], MISSING[-1] + 1))
    assert INTERPOLATED[0] == MISSING[-1] + 1  # seen again, in a way: not shaded
    low, high = axis.get_xlim()
    assert low <= 0 and high >= 39 / 25


def test_lone_frame_is_seen(motion):
    track = motion.people[0]
    track.joints[2:] = np.nan
    track.joints[0] = np.nan
    axis = draw(motion, track, ["RKnee"], "position", "clip").axes[0]
    dots = [line for line in axis.get_lines() if line.get_marker() == "."]
    assert len(dots) == 1 and np.asarray(dots[0].get_xdata()).tolist() == [motion.times[1]]


def test_sides_keep_their_colours_and_lines_differ(motion):
    axis = draw(motion, motion.people[0], ["RKnee", "RAnkle", "LKnee"], "position", "clip").axes[0]
    looks = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in axis.get_lines()}
    assert len({looks[joint] for joint in ("RKnee", "RAnkle", "LKnee")}) == 3
    assert looks["RKnee"][0].startswith("#d5") and looks["LKnee"][0].startswith("#00")


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_three_formats_and_the_same_bytes_again(motion, tmp_path, ending, start):
    files = [tmp_path / f"{k}.{ending}" for k in range(2)]
    for file in files:
        save(draw(motion, motion.people[0], ["RKnee"], "position", "clip"), file)
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_labels_of_an_svg_are_text(motion, tmp_path):
    save(draw(motion, motion.people[0], ["RKnee"], "speed", "clip <1> $\\bad$"), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "speed relative to hip [m/s]" in text and "RKnee" in text and "clip &lt;1&gt; $\\bad$" in text


# --- The command --------------------------------------------------------------------------------


def test_command_writes_where_it_says(tmp_path, capsys):
    folder = make_run(tmp_path / "run", people=(0, 3), video=False)
    assert call(["plot", str(folder / "clip_3d.csv"), "--joints", "RKnee, lknee"]) == 0
    assert (folder / "clip_position_RKnee_LKnee.png").is_file()
    assert "clip_position_RKnee_LKnee.png" in capsys.readouterr().out
    target = tmp_path / "a.svg"
    words = ["--joints", "RElbow", "--what", "angle", "--person", "3", "-o", str(target)]
    assert call(["plot", str(folder), *words]) == 0
    assert "clip, person 3" in target.read_text(encoding="utf-8")


def test_bad_words_are_one_clear_line(tmp_path, capsys):
    folder = make_run(tmp_path / "run", video=False)
    cases = {
        ("--joints", "RKne"): r"no joint 'RKne'; did you mean RKnee\? There are: Hip, RHip",
        ("--joints", "Head", "--what", "angle"): r"no angle at the joint 'Head'; there are: LKnee,",
        ("--joints", ","): r"names no joint",
        ("--joints", "RKnee", "--person", "7"): r"no person 7; there are: 0",
        ("--joints", "RKnee", "-o", "a.gif"): r"a\.gif: figures are written as \.png, \.svg, \.pdf",
        ("--joints", "RKnee", "--what", "colour"): r"colour",
        (): r"joints",
    }
    for words, said in cases.items():
        assert call(["plot", str(folder), *words]) == 2, words
        error = capsys.readouterr().err
        assert re.search(said, error) and error.count("\n") == 1, error
    assert call(["plot", str(tmp_path / "none"), "--joints", "RKnee"]) == 2
    assert "no such folder or file" in capsys.readouterr().err
    assert call(["plot", str(folder), "--joints", "RKnee", "-o", str(tmp_path / "no" / "a.png")]) == 3
    assert "cannot be written" in capsys.readouterr().err
    assert list(folder.glob("*.png")) == []


def test_joint_that_was_never_seen(tmp_path, capsys):
    folder = make_run(tmp_path / "run", frames=8, video=False)
    path = folder / "clip_3d.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    column = lines[0].index("RKnee_x")
    for line in lines[1:]:
        line[column : column + 3] = ["", "", ""]
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")
    assert call(["plot", str(folder), "--joints", "RKnee"]) == 2
    assert "no position of RKnee in any frame of person 0" in capsys.readouterr().err


def test_names_are_known_in_any_case_and_once():
    assert parse_joints("rknee,RKnee, LHIP", "position") == ["RKnee", "LHip"]
    assert parse_joints("lshoulder", "angle") == ["LShoulder"]
