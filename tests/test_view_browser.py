"""posefix view in a real Chromium, without a screen: it plays, scrubs, orbits and switches, and asks nobody.

Skipped where there is no playwright or no Chromium; a Chromium elsewhere is named by CHROMIUM=/path/to/it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import frame_level
from made_run import HIDDEN, INTERPOLATED, MISSING, make_run
from posefix.viewer import find_run, read_motion, write_page

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# WebGL on the CPU; nothing of its own over the network; as root it needs to do without its sandbox.
FLAGS = (
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
PATIENCE_MS = 60_000

Opener = Callable[..., "View"]


class View:
    """An open page, and what it complained about or asked for."""

    def __init__(self, page, path: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=yes]")

    @property
    def frame(self) -> int:
        return int(self.page.inner_text("#frame-number").removeprefix("frame "))

    def scrub(self, row: int) -> None:
        self.page.evaluate(
            "row => { const s = document.getElementById('scrub'); s.value = row; s.dispatchEvent(new Event('input')) }",
            row,
        )

    def wait(self, expression: str, argument: object = None) -> None:
        self.page.wait_for_function(expression, arg=argument, timeout=PATIENCE_MS)

    def picture(self) -> bytes:
        """The 3D view as it is on screen, once it stands still."""
        before, now = b"", self.page.locator("#scene").screenshot()
        for _ in range(20):
            if now == before:
                return now
            before, now = now, self.page.locator("#scene").screenshot()
        raise AssertionError("the 3D view does not come to rest")

    def grey(self) -> float:
        """What the picture of the video shows on screen, 0..255."""
        self.wait("() => !document.getElementById('video').seeking")
        shot = self.page.locator("#frame").screenshot()
        image = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_GRAYSCALE)
        return float(np.median(image))

    def values(self, chart: int) -> str:
        return self.page.locator(".chart .values").nth(chart).inner_text()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium here (looked for {', '.join(NAMES)} and in CHROMIUM)")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def show(browser, tmp_path) -> Iterator[Opener]:
    """Makes a run's page and opens it: `show(people=..., video=..., limit=..., script=...)`."""
    pages = []

    def opener(*, limit: float = 64.0, script: str = "", spoil: bytes | None = None, **run: object) -> View:
        folder = make_run(tmp_path / "clip_posefix", **run)  # type: ignore[arg-type]
        if spoil is not None:
            (folder / "clip_pose.mp4").write_bytes(spoil)
        files = find_run(folder)
        write_page(
            files, read_motion(files.csv_3d, files.csv_2d), folder / "clip_view.html", embed_limit_mb=limit
        )
        page = browser.new_page(viewport={"width": 900, "height": 640})
        pages.append(page)
        if script:
            page.add_init_script(script)
        return View(page, folder / "clip_view.html")

    yield opener
    for page in pages:
        page.close()


def test_plays_to_the_end_and_asks_nobody(show):
    view = show(frames=400)  # long enough not to end before a slow machine has looked
    assert view.frame == 0
    row, label = "Number(document.getElementById('scrub').value)", "document.getElementById('play').ariaLabel"
    view.page.keyboard.press("Space")
    view.wait(
        f"() => {label} === 'pause' && {row} >= 5 && document.getElementById('video').currentTime > 0.2"
    )
    view.page.keyboard.press("Space")
    assert view.page.get_attribute("#play", "aria-label") == "play"
    stopped = view.frame
    view.page.wait_for_timeout(300)
    assert 5 <= view.frame == stopped
    view.scrub(390)
    view.page.click("#play")
    view.wait(f"() => {label} === 'play' && {row} === 399")  # stops by itself
    view.page.click("#play")  # from the beginning again
    view.wait(f"() => {label} === 'pause' && {row} > 2 && {row} < 390")
    assert view.complaints == []
    assert (
        all(url.startswith(("file:", "blob:", "data:")) for url in view.requests) and len(view.requests) <= 2
    )


@pytest.mark.parametrize("limit", [64.0, 0.0], ids=["embedded", "linked"])
def test_scrubbing_shows_that_frame_of_the_video(show, limit):
    view = show(frames=40, limit=limit)
    assert view.page.evaluate("document.getElementById('video').error") is None
    for row in (0, 7, 31, 39, 18):
        view.scrub(row)
        assert view.frame == row
        assert view.page.input_value("#scrub") == str(row)
        # Levels of neighbours are five apart.
        assert view.grey() == pytest.approx(frame_level(row), abs=2.4), row
    assert view.complaints == []


def test_video_is_cut_to_the_picture(show):
    view = show()
    frame, video = view.page.locator("#frame").bounding_box(), view.page.locator("#video").bounding_box()
    assert frame["width"] / frame["height"] == pytest.approx(120 / 160, rel=0.02)
    assert video["width"] / frame["width"] == pytest.approx((120 + 160) / 120, rel=0.02)


def test_keys_move_frame_by_frame(show):
    view = show()
    for key, expected in (
        ("ArrowRight", 1), ("ArrowRight", 2), ("Shift+ArrowRight", 12), ("ArrowLeft", 11), ("End", 39),
        ("ArrowRight", 39), ("Home", 0), ("ArrowLeft", 0),
    ):  # fmt: skip
        view.page.keyboard.press(key)
        assert view.frame == expected, key
    view.page.keyboard.press("ArrowDown")
    view.page.keyboard.press("ArrowDown")
    assert view.page.input_value("#speed") == "0.25"
    view.page.keyboard.press("Space")
    view.wait("() => document.getElementById('video').playbackRate === 0.25")
    assert view.complaints == []


def test_orbit_turns_the_skeleton(show):
    view = show()
    before = view.picture()
    box = view.page.locator("#canvas3d").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    view.page.mouse.move(x, y)
    view.page.mouse.down()
    view.page.mouse.move(x + 120, y + 10, steps=5)
    view.page.mouse.up()
    view.page.mouse.move(5, 5)
    turned = view.picture()
    assert turned != before
    view.page.click("[data-view=side]")
    view.page.mouse.move(5, 5)
    assert view.picture() not in (before, turned)
    view.page.keyboard.press("4")
    view.page.evaluate("document.activeElement.blur()")  # the button's ring would show
    assert view.picture() == before
    assert view.complaints == []


def test_skeleton_moves_with_the_frame_and_is_gone_where_nobody_was_seen(show):
    view = show()
    view.scrub(2)
    early = view.picture()
    view.scrub(6)
    assert view.picture() != early
    assert not view.page.is_visible("#scene-note")
    gone = []
    for row in (MISSING[0], MISSING[2]):
        view.scrub(row)
        assert view.page.inner_text("#scene-note") == "not seen in this frame"
        assert view.page.inner_text("#status") == "missing"
        assert view.values(0).split() == ["L", "–", "R", "–"]
        gone.append(view.picture())
    assert gone[0] == gone[1]  # nothing is held over from before
    view.scrub(INTERPOLATED[0])
    assert view.page.inner_text("#scene-note") == view.page.inner_text("#status") == "interpolated"


def test_curves_leave_holes_and_show_the_values(show):
    view = show()
    view.page.select_option("#joint", "Wrist")
    view.scrub(5)
    assert re.fullmatch(r"L 0\.\d{2} ±0\.02\s+R -0\.20 ±0\.02", view.values(0)), view.values(0)
    view.scrub(HIDDEN[1][0])
    assert view.values(0).startswith("L –")
    view.page.keyboard.press("a")
    titles = view.page.locator(".chart .name").all_inner_texts()
    assert titles == ["Knee flexion [°]", "Hip flexion [°]", "Elbow flexion [°]", "Shoulder flexion [°]"]
    assert re.fullmatch(r"L 0 ±\d+\s+R \d+ ±\d+", view.values(0)), view.values(0)
    assert view.values(2).startswith("L –")  # an elbow needs its wrist


def test_click_and_drag_on_a_curve(show):
    view = show()
    box = view.page.locator(".chart .u-over").first.bounding_box()
    y = box["y"] + box["height"] / 2
    view.page.mouse.click(box["x"] + box["width"] * 0.5, y)
    assert 18 <= view.frame <= 21
    view.page.mouse.move(box["x"] + box["width"] * 0.6, y)
    view.page.mouse.down()
    view.page.mouse.move(box["x"] + box["width"] * 0.8, y, steps=4)
    view.page.mouse.up()
    view.page.mouse.click(box["x"] + box["width"] * 0.5, y)
    assert 26 <= view.frame <= 29  # the middle of the stretch that is now shown
    view.page.mouse.dblclick(box["x"] + box["width"] * 0.5, y)
    view.page.mouse.click(box["x"] + box["width"] * 0.25, y)
    assert 8 <= view.frame <= 12
    assert view.complaints == []


def test_switching_persons(show):
    view = show(people=(0, 3))
    assert view.page.locator("#people button").all_inner_texts() == ["person 0", "person 3"]
    view.scrub(12)  # person 0 is missing here, person 3 is not
    view.page.click("text=person 0")
    assert "4 missing" in view.page.inner_text("#counts")
    assert view.page.inner_text("#status") == "missing"
    first = view.picture()
    view.page.click("text=person 3")
    assert "5 absent" in view.page.inner_text("#counts")
    assert view.page.inner_text("#status") == "detected" and "±0.05" in view.values(0)
    assert view.picture() != first
    view.scrub(3)
    assert view.page.inner_text("#scene-note") == "no row for this frame"
    view.page.keyboard.press("p")
    assert view.page.get_attribute("text=person 0", "aria-pressed") == "true"
    assert view.complaints == []


def test_many_people_are_a_list(show):
    view = show(people=tuple(range(7)))
    assert view.page.locator("#people button").count() == 0
    view.scrub(8)
    view.page.select_option("#people select", label="person 6")
    assert "5 absent" in view.page.inner_text("#counts") and "±0.08" in view.values(0)
    view.page.evaluate("document.activeElement.blur()")
    view.page.keyboard.press("p")
    assert view.page.locator("#people select").evaluate("list => list.selectedOptions[0].text") == "person 0"
    assert view.complaints == []


def test_click_on_a_joint_chooses_it(show):
    view = show()
    view.page.keyboard.press("1")
    view.picture()
    box = view.page.locator("#canvas3d").bounding_box()
    # Upwards from the hip, in the camera's view, comes the spine sooner or later.
    for share in (0.4, 0.36, 0.32, 0.28, 0.24):
        view.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * share)
    assert view.page.input_value("#joint") != "Knee"
    assert len(view.page.locator(".values").first.locator("span").all()) == 1  # no left and right


def test_without_a_video_its_own_clock_runs(show):
    view = show(video=False)
    assert "2D points are drawn" in view.page.inner_text("#picture-note")
    view.page.keyboard.press("Space")
    view.wait("() => Number(document.getElementById('scrub').value) >= 20")
    assert view.complaints == []


def test_damaged_video_is_told_and_the_rest_works(show):
    view = show(spoil=b"\0" * 5000)
    assert "cannot play the video" in view.page.inner_text("#picture-note")
    view.page.keyboard.press("Space")
    view.wait("() => Number(document.getElementById('scrub').value) >= 5")


def test_without_webgl_the_rest_works(show):
    view = show(
        script="const own = HTMLCanvasElement.prototype.getContext; HTMLCanvasElement.prototype.getContext = "
        "function (kind, ...more) { return /webgl/.test(kind) ? null : own.call(this, kind, ...more); };"
    )
    assert "needs WebGL" in view.page.inner_text("#scene-note")
    view.scrub(9)
    assert view.frame == 9 and view.values(0).startswith("L ")
    view.page.keyboard.press("2")
    view.page.keyboard.press("t")
    assert not [line for line in view.complaints if "THREE" not in line]


def test_theme_changes_and_help_opens(show):
    view = show()
    first = view.page.get_attribute("html", "data-theme")
    paper = view.page.evaluate("getComputedStyle(document.body).backgroundColor")
    view.page.click("#theme")
    assert view.page.get_attribute("html", "data-theme") != first
    assert view.page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
    view.page.keyboard.press("?")
    assert "5 hypotheses" in view.page.inner_text("#about")
    assert "where it looks down or up, the skeleton seems to lean" in view.page.inner_text("#help")
    view.page.keyboard.press("Escape")
    assert not view.page.is_visible("#help")


def test_narrow_window_keeps_everything_in_reach(show):
    view = show()
    view.page.set_viewport_size({"width": 420, "height": 900})
    for part in ("#picture", "#scene", "#play", "#scrub", ".chart"):
        box = view.page.locator(part).first.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 421 and box["height"] > 10, part
    view.page.click("#next")
    assert view.frame == 1
