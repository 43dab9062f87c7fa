"""The documentation holds together: links and their anchors lead somewhere, every page is on the site, code is code.

Nothing is fetched: links to other sites are left alone.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from itertools import count
from pathlib import Path

import pytest
from posefix.pipeline.cli import app
from test_package import MAY_IMPORT

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "benchmarks" / "README.md",
        *(ROOT / "weights").glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
    ]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def by_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its blocks and pieces of code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def links(page: Path) -> list[str]:
    """Where the page's links and pictures lead, other sites left out."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(next(s for k in count() if (s := f"{slug}-{k}" if k else slug) not in found))
    return found


def broken(page: Path) -> list[str]:
    wrong = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        there = target.is_file() and target.is_relative_to(ROOT)  # a folder has no page on the site
        if not there or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_there_are_links_and_anchors_to_check() -> None:
    assert sum(len(links(page)) for page in PAGES) > 100
    assert sum("#" in link for page in PAGES for link in links(page)) > 10


def test_broken_links_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_docs_links.ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# A `--b` [c](d.md), e_f\n\n# Twice\n\n# Twice\n")
    page = tmp_path / "page.md"
    good = "[a](there.md) [b](there.md#a---b-c-e_f) [c](there.md#twice-1) [d](#here) [e](https://x.y/z.md)"
    page.write_text(f"# Here\n{good} `[x](gone.md)`\n```\n[y](gone.md)\n# No heading\n```\n")
    assert broken(page) == []
    bad = ["gone.md", "there.md#twice-2", "#no-heading", "../there.md", "."]
    page.write_text("# Here\n" + " ".join(f"[a]({link})" for link in bad))
    assert broken(page) == bad


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    listed = re.findall(r": (\S+\.md)$", menu, re.MULTILINE)
    assert sorted(listed) == [by_name(page) for page in PAGES]


def test_every_page_is_found_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in PAGES and page not in seen:
            seen.add(page)
            waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
    assert [by_name(page) for page in PAGES if page not in seen] == []


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every block of code in a language; "" for blocks without one."""
    return [
        (by_name(page), text)
        for page in PAGES
        for found, text in FENCE.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


@pytest.mark.parametrize("page, code", blocks("python"))
def test_python_in_the_pages_imports_what_there_is(page: str, code: str) -> None:
    for node in ast.walk(ast.parse(code, page)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("posefix"):
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of a block that calls posefix; those with … are parts of one."""
    lines = [(page, line) for page, text in blocks("") for line in text.splitlines()]
    return [(page, line) for page, line in lines if re.match(r"posefix( |$)", line) and "…" not in line]


@pytest.mark.parametrize("page", sorted({page for page, _ in commands()}))
def test_commands_in_the_pages_parse(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "posefix.toml").touch()  # read as it is parsed
    for command in [line for where, line in commands() if where == page]:
        words = shlex.split(command, comments=True)[1:]
        if "train" in words[:1]:  # test_docs_commands.py knows their placeholders
            continue
        words = words[: words.index(">")] if ">" in words else words
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 40


def test_the_drawn_house_is_the_real_one(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("drawings", ROOT / "docs" / "pictures" / "drawings.py")
    assert spec and spec.loader
    drawings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawings)
    drawings.main(tmp_path)
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("frames.svg", "house.svg"))
    assert set(drawings.HOUSE) == set(MAY_IMPORT)
    for room, below in MAY_IMPORT.items():
        if room == "training":  # stands beside
            continue
        x, y, width, *_ = drawings.HOUSE[room]
        under = {
            name
            for name, (left, bottom, wide, high, _) in drawings.HOUSE.items()
            if name != "training" and bottom + high <= y + 1e-6 and left < x + width and x < left + wide
        }
        assert below <= under, room
