"""The bars that every version must keep: computed from the stored figures, and all of them hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import bars

    return bars


@pytest.fixture
def figures(module) -> dict:
    return {
        name: json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
        for name in module.NEEDED
    }


def test_the_stored_figures_keep_every_bar_and_the_page_says_so(module, figures):
    bars = module.bars(figures)
    assert len(bars) == 15 and [bar.what for bar in bars if not bar.holds] == []
    assert module.bars_table(figures) in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_page_and_model_card_are_what_the_command_makes_of_the_stored_figures(module, monkeypatch, tmp_path):
    """`python benchmarks/results.py write` after nothing was measured changes nothing."""
    import results

    card = tmp_path / "card.md"
    page, card_text = (path.read_text(encoding="utf-8") for path in (results.PAGE, results.CARD))
    card.write_text(card_text, encoding="utf-8")
    places = {"ROOT": tmp_path, "PAGE": tmp_path / "page.md", "CARD": card}
    for name in ("FIGURE", "BUDGETS"):
        places[name] = tmp_path / getattr(results, name).name
    for name, place in places.items():
        monkeypatch.setattr(results, name, place)
    results.write()
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page, "run benchmarks/results.py write"
    assert card.read_text(encoding="utf-8") == card_text
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("compare.png", "budgets.png"))


def test_the_model_card_has_the_stored_figures(module, figures):
    card = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
    assert module.card_with(card, module.card_table(figures)) == card
    row = next(line for line in card.splitlines() if line.startswith("| people never seen, exact 2D |"))
    lifted, refined = (figures["in_domain_lab_gt"]["in_domain"][k]["mpjpe"] for k in ("lifted", "refined"))
    assert f"| {lifted:.1f} |" in row and f"| {refined:.1f} |" in row
    assert "\n\nNEW\n\n" in module.card_with(card, "NEW")
    assert "simulated detector" not in module.card_with(card, "")


def test_the_stored_figures_are_those_of_the_weights_that_ship(figures):
    shipped = json.loads((ROOT / "weights" / "manifest.json").read_text())["sha256"]
    for name in ("in_domain_lab_gt", "in_domain_lab_det"):
        for report in figures[name]["files"].values():
            assert report["weights"].items() <= shipped.items()
    for name in ("bandai_lab_gt", "bandai_lab_det"):
        assert figures[name]["weights"].items() <= shipped.items()


def test_a_bar_that_is_missed_is_said(module, figures):
    figures["in_domain_lab_det"]["in_domain"]["refined"] = figures["in_domain_lab_det"]["in_domain"]["lifted"]
    figures["real_video"]["clips"][1]["frames_with_pose_percent"] = 97.0
    figures["memory"]["ratio"] = 1.2
    missed = [bar.what for bar in module.bars(figures) if not bar.holds]
    assert [what.split(",")[0].split(":")[0] for what in missed] == [
        "refined / lifted",
        "real video",
        "peak memory",
    ]
    assert module.bars_table(figures).count("| **no** |") == 3


@pytest.mark.parametrize(
    ("bar", "holds"),
    [((1.0, 1.0), True), ((1.0, 1.0, False, True), False), ((0.9, 1.0), True), ((99.0, 98.0, True), True),
     ((1.1, 1.0), False), ((97.9, 98.0, True), False), ((98.0, 98.0, True), True)],
)  # fmt: skip
def test_on_which_side_of_a_bar_a_figure_lies(module, bar, holds):
    assert module.Bar("x", *bar).holds is holds
