"""The commands in the documentation are commands that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from posefix.pipeline.cli import app

DOCS = Path(__file__).resolve().parents[1] / "docs"


def commands(page: str) -> list[str]:
    """Whole `posefix train|eval|data` commands, in blocks and in the text; those with … are parts of one."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^(posefix .*)$", text, re.MULTILINE) + re.findall(r"`(posefix [^`\n]*)`", text)
    return [c for c in found if re.match(r"posefix (train|eval|data convert) .*-", c) and "…" not in c]


@pytest.mark.parametrize(
    "page",
    ["datasets.md", "reproduce-papers.md", "results.md", "systems.md", "train-cpn.md", "training.md"],
)
def test_commands_parse(page):
    there = commands(page)
    assert len(there) >= 3
    for command in there:
        # Placeholders of the text; N, K stand for numbers.
        words = [re.sub(r"\bNAME\b", "cce", w) for w in shlex.split(command)[1:]]
        words = [{"N": "5", "K": "50"}.get(w, w) for w in words]
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_unknown_options_would_be_noticed():
    with pytest.raises(Exception, match="nonsense"):
        app.parse_args(["eval", "--data", "x", "--nonsense", "1"], exit_on_error=False, print_error=False)
