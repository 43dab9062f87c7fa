"""posefix view: what is in the page is what is in the CSVs; nothing in it points outside; bad input is one line."""

from __future__ import annotations

import base64
import csv
import json
import re
import subprocess
import sys
import webbrowser
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_run import INTERPOLATED, MISSING, make_run
from posefix.pipeline.cli import call
from posefix.pipeline.outputs import OutputPaths
from posefix.skeleton.layouts import H36M17
from posefix.viewer import angles, find_run, read_motion, speeds, write_page

VIEWER = Path(__file__).resolve().parents[1] / "viewer"


class Page(HTMLParser):
    """The elements of a page, and the text of those with an id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._open: str | None = None
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id") or tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text[self._open] = self.text.get(self._open, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    @property
    def head(self) -> dict:
        return json.loads(self.text["meta"])

    def array(self, name: str) -> np.ndarray:
        about = self.head["arrays"][name]
        block = base64.b64decode(self.text["data"], validate=True)
        count = int(np.prod(about["shape"]))
        return np.frombuffer(block, "<" + about["dtype"], count, about["offset"]).reshape(about["shape"])


def view(folder: Path, *options: str) -> Page:
    assert call(["view", str(folder), "--no-open", *options]) == 0
    (path,) = folder.glob("*_view.html")
    return Page(path)


def cells(path: Path, field: str) -> dict[tuple[int, int], list[float]]:
    """(frame, person) -> the 17 values of a field, NaN for empty cells."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (int(row["frame"]), int(row["person"])): [
                float(row[f"{joint}_{field}"] or "nan") for joint in H36M17.joints
            ]
            for row in csv.DictReader(file)
        }


# --- The data -----------------------------------------------------------------------------------


@pytest.mark.parametrize("people", [(0,), (0, 3)], ids=["one person", "two people"])
def test_page_holds_every_value_of_the_csvs(tmp_path, people):
    page = view(make_run(tmp_path / "run", people=people, video=False))
    assert page.head["people"] == list(people)
    assert page.array("frames").tolist() == list(range(40))
    np.testing.assert_allclose(page.array("times"), np.arange(40) / 25, atol=1e-9)
    compared = 0
    for field, name, at in (("x", "joints", 0), ("y", "joints", 1), ("z", "joints", 2), ("std", "std", None)):
        for (frame, person), values in cells(tmp_path / "run" / "clip_3d.csv", field).items():
            found = page.array(f"{person}/{name}")[frame]
            np.testing.assert_allclose(found if at is None else found[:, at], values, atol=2e-7)
            compared += int(np.isfinite(values).sum())
    for at, field in enumerate(("x", "y")):
        for (frame, person), values in cells(tmp_path / "run" / "clip_2d.csv", field).items():
            np.testing.assert_allclose(page.array(f"{person}/pixels")[frame][:, at], values, atol=1e-4)
    assert compared > 2000


def test_status_of_every_frame_is_told(tmp_path):
    page = view(make_run(tmp_path / "run", people=(0, 3), video=False))
    names = page.head["statuses"]
    first = [names[value] for value in page.array("0/status")]
    assert [k for k, name in enumerate(first) if name == "missing"] == list(MISSING)
    assert [k for k, name in enumerate(first) if name == "interpolated"] == list(INTERPOLATED)
    second = [names[value] for value in page.array("3/status")]
    assert second[:5] == ["absent"] * 5 and set(second[5:]) == {"detected"}
    assert np.isnan(page.array("0/joints")[list(MISSING)]).all()
    assert np.isnan(page.array("3/joints")[:5]).all()


def test_angles_and_speeds_in_the_page_are_those_of_python(tmp_path):
    folder = make_run(tmp_path / "run", video=False)
    page = view(folder)
    motion = read_motion(folder / "clip_3d.csv")
    track = motion.people[0]
    for k, name in enumerate(page.head["angles"]):
        np.testing.assert_array_equal(page.array("0/angles")[k], angles(track.joints, track.std, name))
    np.testing.assert_array_equal(page.array("0/speed"), speeds(track.joints, motion.times))


def test_cut_out_frames_leave_a_hole(tmp_path):
    folder = make_run(tmp_path / "run", video=False)
    path = folder / "clip_3d.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:26], *lines[33:]]))  # frames 25 to 31 go
    motion = read_motion(path)
    assert motion.frames.tolist() == [*range(26), *range(32, 40)]  # one row stands for the hole
    assert motion.people[0].status[25] == 3 and np.isnan(motion.people[0].joints[25]).all()
    assert motion.times[25] == pytest.approx(1.0)


def test_other_columns_and_orders_do_not_matter(tmp_path):
    folder = make_run(tmp_path / "run", video=False)
    path = folder / "clip_3d.csv"
    expected = read_motion(path).people[0].joints
    rows = list(csv.DictReader(path.open(newline="")))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["note", *reversed(rows[0])])
        writer.writeheader()
        writer.writerows({**row, "note": "limps"} for row in rows)
    np.testing.assert_array_equal(read_motion(path).people[0].joints, expected)


def test_without_uncertainty_there_is_no_band(tmp_path):
    folder = make_run(tmp_path / "run", video=False)
    path = folder / "clip_3d.csv"
    rows = list(csv.DictReader(path.open(newline="")))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: "" if k.endswith("_std") else v for k, v in row.items()} for row in rows)
    page = view(folder)
    assert np.isnan(page.array("0/std")).all()
    value, spread = page.array("0/angles")[page.head["angles"].index("RKnee")]
    assert np.isfinite(value[0]) and np.isnan(spread).all()


def test_long_clips_stay_compact(tmp_path):
    """A frame of a person takes below a kilobyte: 10 000 frames make a page of some megabytes."""
    page = view(make_run(tmp_path / "run", frames=400, video=False))
    assert len(page.text["data"]) / 400 < 1000


# --- The page -----------------------------------------------------------------------------------


def test_video_is_embedded_byte_for_byte(tmp_path):
    folder = make_run(tmp_path / "run")
    page = view(folder)
    assert page.head["video"]["kind"] == "embedded" and page.head["video"]["rendered"]
    assert base64.b64decode(page.text["video-data"], validate=True) == (folder / "clip_pose.mp4").read_bytes()


def test_large_video_is_linked(tmp_path, capsys):
    page = view(make_run(tmp_path / "a # b"), "--embed-limit", "0.0001")
    assert page.head["video"]["kind"] == "linked" and page.head["video"]["src"] == "clip_pose.mp4"
    assert "video-data" not in page.text
    assert "linked" in capsys.readouterr().out


def test_no_video_is_smaller_than_nothing(tmp_path, capsys):
    assert call(["view", str(make_run(tmp_path / "run")), "--no-open", "--embed-limit", "-1"]) == 2
    assert "--embed-limit -1: expected 0 or more megabytes" in capsys.readouterr().err


def test_original_video_in_place_of_the_rendered_one(tmp_path, make_video):
    folder = make_run(tmp_path / "run")
    page = view(folder, "--video", str(make_video("of mine.mp4")), "--embed-limit", "0")
    assert page.head["video"] == {
        "kind": "linked", "src": "../of%20mine.mp4", "start_s": 0.0, "rendered": False
    }  # fmt: skip


def test_clip_that_browsers_may_not_play_is_said(tmp_path, make_video, capsys):
    folder = make_run(tmp_path / "run")
    view(folder, "--video", str(make_video("old.avi", codec="mpeg4")))
    assert "old.avi: avi with mpeg4; not every browser plays that" in capsys.readouterr().out
    view(folder, "--video", str(make_video("new.mp4")))
    assert "browser plays" not in capsys.readouterr().out


def test_clip_that_begins_late_keeps_its_times(tmp_path, make_video):
    folder = make_run(tmp_path / "run")
    path = folder / "clip_3d.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[26:]]))  # as with --start 1
    assert view(folder).head["video"]["start_s"] == 1.0  # the rendered video begins with the first row
    assert view(folder, "--video", str(make_video())).head["video"]["start_s"] == 0.0


@pytest.mark.parametrize(("told", "start_s"), [(0.3, 0.3), (0, 0.0), (None, 0.04), ("x", 0.04), (True, 0.04)])
def test_where_the_video_begins_after_damaged_frames_the_record_tells(tmp_path, told, start_s):
    folder = make_run(tmp_path / "run")
    lines = (folder / "clip_3d.csv").read_text().splitlines(keepends=True)
    (folder / "clip_3d.csv").write_text("".join([lines[0], *lines[2:]]))
    record = json.loads((folder / "clip_run.json").read_text())
    (folder / "clip_run.json").write_text(json.dumps({**record, "video_start_s": told}))
    assert view(folder).head["video"]["start_s"] == pytest.approx(start_s)


def test_nothing_points_outside(tmp_path):
    folder = make_run(tmp_path / "run")
    page = view(folder)
    for tag, attributes in page.tags:
        assert not {"src", "href", "data", "action"} & set(attributes), (tag, attributes)
    assert all(tag not in ("link", "iframe", "object", "embed", "base") for tag, _ in page.tags)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy and policy.startswith("default-src 'none'") and "http" not in policy
    text = (folder / "clip_view.html").read_text(encoding="utf-8")
    # A namespace of XML, and the address in uPlot's own head line.
    assert set(re.findall(r"https?://[^\s\"'`)]+", text)) == {
        "http://www.w3.org/1999/xhtml", "https://github.com/leeoniya/uPlot"
    }  # fmt: skip


def test_licences_of_the_libraries_are_in_the_page(tmp_path):
    folder = make_run(tmp_path / "run", video=False)
    view(folder)
    text = (folder / "clip_view.html").read_text(encoding="utf-8")
    assert "three.js authors" in text and "Leon Sorokin" in text


def test_versions_of_the_libraries_are_told_truly():
    told = (VIEWER / "vendor" / "README.md").read_text(encoding="utf-8")
    wanted = json.loads((VIEWER / "vendor" / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    for name, version in wanted.items():
        assert f"{name} {version}" in told.replace(")", "").replace("](https://www.npmjs.com/package/", " ")
    # Both libraries say their version themselves.
    assert f'"{wanted["three"].split(".")[1]}"' in (VIEWER / "vendor" / "three.min.js").read_text()
    assert f"v{wanted['uplot']}" in (VIEWER / "vendor" / "uplot.min.js").read_text()[:400]


def test_names_cannot_break_out(tmp_path):
    name = "<img src=x onerror=alert(1)>&amp;\"'"
    folder = make_run(tmp_path / "run", name=name, video=False)
    record = json.loads((folder / f"{name}_run.json").read_text())
    record["detector"]["name"] = "</script><script>alert(2)</script><!--"
    (folder / f"{name}_run.json").write_text(json.dumps(record))
    page = view(folder)
    assert page.text["title"] == page.text["name"] == name
    assert "</script><script>alert(2)" in page.head["about"]
    assert [tag for tag, _ in page.tags if tag == "img"] == []
    assert sum(tag == "script" for tag, _ in page.tags) == 6


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"source": 7, "settings": null, "detector": []}'])
def test_damaged_record_does_not_matter(tmp_path, content):
    folder = make_run(tmp_path / "run", video=False)
    (folder / "clip_run.json").write_text(content)
    assert view(folder).head["height_m"] == 1.75


def test_opens_the_page_only_when_wanted(tmp_path, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    folder = make_run(tmp_path / "a b", video=False)
    view(folder)
    assert opened == []
    assert call(["view", str(folder / "clip_3d.csv"), "-o", str(tmp_path / "p.html")]) == 0
    assert opened == [(tmp_path / "p.html").as_uri()]


def test_a_new_run_takes_the_old_page_away(tmp_path):
    folder = make_run(tmp_path / "run", video=False)
    view(folder)
    OutputPaths.of("clip", folder).prepare(render=True)
    assert not list(folder.glob("*.html")) and (folder / "clip_3d.csv").is_file()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there a screen may be missing")
def test_without_a_screen_no_browser_is_started(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("would start a text browser"))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert call(["view", str(make_run(tmp_path / "run", video=False))]) == 0
    assert "open the file" in capsys.readouterr().out


def test_nothing_heavy_is_loaded(tmp_path):
    folder = make_run(tmp_path / "run", video=False)
    code = (
        "import sys; from posefix.pipeline.cli import call\n"
        f"assert call(['view', {str(folder)!r}, '--no-open']) == 0\n"
        "sys.exit(' '.join({'torch', 'mediapipe', 'cv2', 'onnxruntime', 'av', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- Bad input ----------------------------------------------------------------------------------


def _no_rows(lines: list[str]) -> list[str]:
    return lines[:1]


DAMAGE = {
    "header only": (_no_rows, "has no rows"),
    "empty file": (lambda lines: [], "no column frame"),
    "no such column": (lambda lines: [lines[0].replace("RKnee_z", "knee"), *lines[1:]], "no column RKnee_z"),
    "row cut short": (lambda lines: [*lines[:5], lines[5][:40]], "line 6: .*cut short"),
    "text in a cell": (lambda lines: [*lines[:5], lines[5].replace("0.88000", "oops")], "line 6: .*oops"),
    "unknown status": (
        lambda lines: [lines[0], lines[1].replace("detected", "seen")],
        "line 2: status 'seen'",
    ),
    "no position": (lambda lines: [lines[0], lines[1].replace("0.88000", "8.8e9")], "line 2: .*no joint"),
    "endless time": (lambda lines: [lines[0], lines[1].replace("0.000000", "inf", 1)], "line 2: .*time inf"),
    "row twice": (lambda lines: [*lines[:3], lines[2]], "two rows of person 0 in frame 1"),
    "time goes back": (lambda lines: [*lines[:3], lines[3].replace("0.080000", "0.010000", 1)], "backwards"),
    "no text": (lambda lines: ["frame\0\udcff\n"], "cannot be read|no column"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_csv_is_one_clear_line(tmp_path, capsys, damage):
    change, words = DAMAGE[damage]
    folder = make_run(tmp_path / "run", video=False)
    path = folder / "clip_3d.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(change(lines)), encoding="utf-8", errors="surrogateescape")
    assert call(["view", str(folder), "--no-open"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("posefix: error: ") and error.count("\n") == 1
    assert re.search(words, error), error
    assert "clip_3d.csv" in error and not list(folder.glob("*.html*"))


def test_what_is_not_there_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    two = make_run(tmp_path / "two", name="a", video=False)
    make_run(two, name="b", video=False)
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0 ftyp\xda")
    cases = {
        (str(tmp_path / "nowhere"),): "no such folder",
        (str(tmp_path / "empty"),): "holds no NAME_3d.csv",
        (str(two),): "several results (a_3d.csv, b_3d.csv)",
        (str(two / "a_2d.csv"),): "no column Hip_z (a 2D file?",
        (str(film),): "film.mp4: cannot be read as CSV; give the folder",
        (str(two / "a_3d.csv"), "--video", "gone.mp4"): "gone.mp4: there is no such video",
        (str(two / "a_3d.csv"), "--video", str(two / "a_3d.csv")): "a_3d.csv: not a video that can be read",
        (str(two / "a_3d.csv"), "-o", str(tmp_path / "page.txt")): "ends in .html",
    }
    for words, said in cases.items():
        assert call(["view", *words, "--no-open"]) == 2, words
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error


def test_of_several_tables_the_one_with_a_record_is_meant(tmp_path):
    folder = make_run(tmp_path / "run", video=False)
    (folder / "clip_by_hand_3d.csv").write_bytes((folder / "clip_3d.csv").read_bytes())
    assert find_run(folder).csv_3d == folder / "clip_3d.csv"
    assert find_run(folder / "clip_by_hand_3d.csv").name == "clip_by_hand"


def test_of_a_clip_its_results_are_shown(tmp_path, monkeypatch, capsys):
    """Those in the current folder, where a run puts them; else those beside the clip. And a line says which."""
    (tmp_path / "films").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    clip = tmp_path / "films" / "clip.mp4"
    clip.write_bytes(b"\0\0\0 ftyp\xda")
    beside = make_run(tmp_path / "films" / "clip_posefix", video=False)
    assert call(["view", str(clip), "--no-open"]) == 0
    assert f"{clip}: a clip; its results are in {beside}\n" in capsys.readouterr().out
    assert (beside / "clip_view.html").is_file()
    here = make_run(tmp_path / "here" / "clip_posefix", video=False)
    assert call(["view", str(clip), "--no-open"]) == 0
    assert "its results are in clip_posefix\n" in capsys.readouterr().out
    assert (here / "clip_view.html").is_file()
    assert call(["plot", str(clip), "--joints", "RKnee"]) == 0
    assert (here / "clip_position_RKnee.png").is_file()


def test_page_that_cannot_be_written(tmp_path, capsys):
    folder = make_run(tmp_path / "run", video=False)
    assert call(["view", str(folder), "--no-open", "-o", str(tmp_path / "no" / "p.html")]) == 3
    assert "cannot be written" in capsys.readouterr().err


def test_stopped_write_leaves_the_old_page(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", video=False)
    run = find_run(folder)
    target = folder / "clip_view.html"
    target.write_text("old")
    monkeypatch.setattr("posefix.viewer.page._text", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(Exception, match="cannot be written"):
        write_page(run, read_motion(run.csv_3d), target)
    assert target.read_text() == "old" and not list(folder.glob("*.part"))
