"""The house and its wheel: what may import what, what lands where, and what the repository must not name."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from posefix.skeleton.convert import HEAD, NECK, SPINE, THORAX

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = [name.removeprefix("posefix.") for name in PROJECT["tool"]["setuptools"]["packages"]]
ROOMS = sorted({name.split(".")[0] for name in PACKAGES})

# Data walks one way; a room may import from itself and from these.
MAY_IMPORT = {
    "weights": set(),
    "skeleton": set(),
    "detectors": {"skeleton"},
    "lifter": {"skeleton", "weights"},
    "refiner": {"skeleton", "lifter", "weights"},
    "pipeline": {"skeleton", "detectors", "lifter", "refiner", "weights"},
    "viewer": {"skeleton", "pipeline"},
    "training": {"skeleton", "detectors", "lifter", "refiner", "pipeline", "weights"},
    "demos": {"skeleton", "detectors", "lifter", "refiner", "pipeline", "viewer", "weights"},
}
# The command line offers `posefix train`, `eval`, `view` and `plot`; it imports them when they are asked for.
# `posefix doctor` tries the detector on a picture of the drawn person.
LAZY = {
    ("pipeline/commands.py", "training"),
    ("pipeline/commands.py", "viewer"),
    ("pipeline/trial.py", "demos"),
}


def modules() -> list[Path]:
    """Every Python file that is installed."""
    return sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def imported_rooms(path: Path) -> list[tuple[str, bool]]:
    """(room, whether at import time) of every import of another room in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ("posefix", *path.relative_to(ROOT).parent.parts)
    inside_functions = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            names = [f"{stem}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # modules named in text, for importlib
            names = [node.value] if re.fullmatch(r"posefix(\.\w+)+", node.value) else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "posefix" and len(parts) > 1 and parts[1] != package[1]:
                lazy = id(node) in inside_functions or isinstance(node, ast.Constant)
                found.append((parts[1], not lazy))
    return found


def test_every_room_has_a_rule() -> None:
    assert set(ROOMS) == set(MAY_IMPORT)


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_walk_one_way(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    room = name.split("/")[0]
    for other, at_import in imported_rooms(path):
        if (name, other) in LAZY:
            assert not at_import, f"{name} imports {other} before it is asked for"
        else:
            assert other in MAY_IMPORT[room], f"{name} imports {other}: {room} may not"


def test_every_folder_with_code_is_installed() -> None:
    folders = {p.parent.relative_to(ROOT).as_posix() for p in modules()}
    assert folders == {name.replace(".", "/") for name in PACKAGES}


def test_the_type_checker_finds_and_checks_every_room() -> None:
    links = {p.name: p.resolve() for p in (ROOT / "typings" / "posefix").iterdir() if p.is_symlink()}
    assert links == {room: ROOT / room for room in ROOMS}
    checked = set(PROJECT["tool"]["pyright"]["include"])
    assert checked >= set(ROOMS) - {"weights"}  # data only


def tracked_files() -> list[Path]:
    """Files under version control; in an exported tree, everything but environments and caches."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    folders = (*ROOMS, "tests", "docs", "benchmarks", ".ci")
    return [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]


def test_names_no_registry_and_no_path_of_a_machine() -> None:
    # Written so that this file does not name them either.
    hosts = (
        "pypi" + r"\.(org|python)",
        "python" + "hosted",
        r"download\.py" + "torch",
        "conda" + r"\.anaconda",
    )
    folders = r"(?<![\w.~}$)-])/" + "(work|root|home|Users|tmp|opt)" + r"/\w"
    pattern = re.compile("|".join((*hosts, folders)))
    files = [p for p in tracked_files() if p.suffix not in {".safetensors", ".onnx", ".png", ".gif", ".mp4"}]
    assert len(files) > 30
    hits = [
        f"{p.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for p in files
        for number, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not hits, "\n".join(hits)


def page_files() -> list[Path]:
    """What the viewer's page is made of: its own files and the vendored libraries with their licences."""
    return sorted(p for part in ("page", "vendor") for p in (ROOT / "viewer" / part).iterdir() if p.is_file())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this tree, built from a copy: without a network, and without traces in the tree."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    wanted = [*modules(), *(p for p in (ROOT / "weights").iterdir() if p.is_file()), *page_files()]
    for path in (*wanted, *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))):
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(target)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = target.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_puts_only_posefix_on_top(wheel: zipfile.ZipFile) -> None:
    version = PROJECT["project"]["version"]
    assert {name.split("/")[0] for name in wheel.namelist()} == {"posefix", f"posefix-{version}.dist-info"}


def test_wheel_holds_all_code_and_weights(wheel: zipfile.ZipFile) -> None:
    code = {f"posefix/{p.relative_to(ROOT).as_posix()}" for p in modules()}
    kept = {".safetensors", ".onnx", ".json", ".md"}
    weights = {f"posefix/weights/{p.name}" for p in (ROOT / "weights").iterdir() if p.suffix in kept}
    page = {f"posefix/{p.relative_to(ROOT).as_posix()}" for p in page_files()}
    assert {"posefix/viewer/vendor/LICENSE.three.txt", "posefix/viewer/page/index.html"} <= page
    assert {name for name in wheel.namelist() if name.startswith("posefix/")} == code | weights | page


def test_wheel_gives_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    read = {name.split("dist-info/")[1]: name for name in wheel.namelist() if "dist-info/" in name}
    assert "posefix = posefix.pipeline.entry:main" in wheel.read(read["entry_points.txt"]).decode()
    assert b"MIT License" in wheel.read(read["licenses/LICENSE"])


def test_wheel_holds_every_weights_file_that_the_manifest_lists(wheel: zipfile.ZipFile) -> None:
    manifest = json.loads(wheel.read("posefix/weights/manifest.json"))
    assert manifest["sha256"]
    for name, expected in manifest["sha256"].items():
        found = hashlib.sha256(wheel.read(f"posefix/weights/{name}")).hexdigest()
        assert found == expected, name


@pytest.fixture(scope="module")
def help_text() -> str:
    """What `posefix --help` prints, after a look at what it had to import for that."""
    code = (
        "import sys; sys.argv = ['posefix', '--help']\n"
        "from posefix.pipeline.cli import main\n"
        "try: code = main()\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'mediapipe', 'onnxruntime', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "print(*heavy, file=sys.stderr); sys.exit(code or 9 * bool(heavy))\n"
    )
    env = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, f"imported or failed: {done.stderr}"
    return done.stdout


def test_help_needs_no_network_runtime(help_text: str) -> None:
    assert "posefix clip.mp4" in help_text


def test_readme_lists_the_options_that_there_are(help_text: str) -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("| option |")[1].split("\n\n")[0]
    listed = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", table))
    there = set(
        re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_text.split("Parameters")[1].split("Examples:")[0])
    )
    # Switches that are on by default are listed by their way out; -q and -v by their short names.
    assert listed - there == set()
    assert there - listed == {"--refine", "--render", "--quiet", "--verbose"}


def test_joints_page_has_the_factors_of_the_code() -> None:
    page = (ROOT / "docs" / "joints.md").read_text(encoding="utf-8")
    for joint, sum_ in {
        "Spine": f"H + {SPINE:g} (S − H)",
        "Thorax": f"S + {THORAX:g} (S − H)",
        "Neck": f"S + {NECK:g} (E − S)",
        "Head": f"S + {HEAD:g} (E − S)",
    }.items():
        row = next(line for line in page.splitlines() if line.startswith("|") and f" {joint}" in line)
        assert sum_ in row


def test_output_page_explains_every_key_of_the_run_record() -> None:
    tree = ast.parse((ROOT / "pipeline" / "record.py").read_text(encoding="utf-8"))
    maker = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "make_record")
    record = next(n.value for n in maker.body if isinstance(n, ast.Return))
    assert isinstance(record, ast.Dict)
    keys = [key.value for key in record.keys if isinstance(key, ast.Constant)]
    page = (ROOT / "docs" / "output.md").read_text(encoding="utf-8")
    assert len(keys) > 10
    assert [key for key in keys if f"`{key}`" not in page] == []
