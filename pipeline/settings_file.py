"""Settings in a TOML file: `posefix config` writes one, `posefix clip.mp4 --config FILE` reads it.

Names, types, defaults and comments are those of the flags, taken from the command line itself, so that file and
flags cannot come to differ. A flag that is given wins over the file.
"""

from __future__ import annotations

import difflib
import json
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from cyclopts import Token

from ..skeleton.errors import InputError
from .flags import PrintFlags
from .settings import Settings

if TYPE_CHECKING:
    from cyclopts import App, ArgumentCollection

WIDTH = 100
NO_SETTINGS = ("videos", "config")  # of the command line
OPPOSITES = ("quiet", "verbose")  # one of them given as a flag sets the other of the file aside
HEADER = """# Settings of posefix, for: posefix clip.mp4 --config posefix.toml
# Flags that are given win over this file. Lines that begin with # set nothing."""

#: kind -> what messages call it, and what stands in a line that sets nothing
KINDS: dict[type, tuple[str, str]] = {
    str: ("text in quotes", '"<text>"'),
    bool: ("true or false", "<true or false>"),
    int: ("a whole number", "<whole number>"),
    float: ("a number", "<number>"),
}


@dataclass(frozen=True, slots=True)
class Option:
    """One setting.

    Attributes:
        name: as in `Settings`, and as the flag without its dashes.
        kind: str, bool, int or float; paths are str.
        default: None: nothing is set.
        choices: the values that there are; empty: any of the kind.
        help: what the flag's help says.
    """

    name: str
    kind: type
    default: Any
    choices: tuple[str, ...]
    help: str


def options(arguments: ArgumentCollection | None = None) -> dict[str, Option]:
    """The settings of the main command by name, in the order of its help.

    Args:
        arguments: of the command line as cyclopts sees it; None asks for them.
    """
    if arguments is None:
        from .cli import app

        arguments = app.assemble_argument_collection(parse_docstring=True)
    found: dict[str, Option] = {}
    for argument in (a for a in arguments if not a.children):  # not the groups of flags
        name = argument.field_info.name
        if name in NO_SETTINGS:
            continue
        # `X | None` -> X
        hint = next((h for h in get_args(argument.hint) if isinstance(h, type) and h is not type(None)), None)
        choices = get_args(argument.hint) if get_origin(argument.hint) is Literal else ()
        kind = str if choices else hint or argument.hint
        kind = str if issubclass(kind, Path) else kind
        help_text = argument.parameter.help or ""
        found[name] = Option(name, kind, argument.field_info.default, choices, help_text)
    return found


def as_toml(values: Mapping[str, Any] | None = None) -> str:
    """Every setting with its comment and default, as TOML.

    Args:
        values: name of a setting -> what it is set to instead of its default.
    """
    blocks = [HEADER]
    for option in options().values():
        value = (values or {}).get(option.name, option.default)
        text = " ".join(option.help.split())
        if option.choices:
            text += f" One of: {', '.join(option.choices)}."
        comment = textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ")
        line = f"# {option.name} = {KINDS[option.kind][1]}"
        if value is not None:
            line = f"{option.name} = {_toml_value(value)}"
        blocks.append(f"{comment}\n{line}")
    return "\n\n".join(blocks) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, (str, Path)):
        return json.dumps(str(value), ensure_ascii=False)  # TOML's basic strings are written like JSON's
    return str(value).lower() if isinstance(value, bool) else repr(value)


def read_settings(path: str | Path, known: Mapping[str, Option] | None = None) -> dict[str, Any]:
    """What a file sets: name of a setting -> str, bool, int or float.

    Args:
        known: the settings that there are.

    Raises:
        InputError: the file cannot be read, is no TOML, or has an unknown key or a value of a wrong type.
    """
    path, known = Path(path), known or options()
    return {name: _checked(path, name, value, known) for name, value in _parsed(path).items()}


def _parsed(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        raw = path.read_bytes()
        # PowerShell's `>` writes UTF-16, editors on Windows a mark in front of UTF-8.
        utf16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        return tomllib.loads(raw.decode("utf-16" if utf16 else "utf-8-sig"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"--config {path}: cannot be read ({reason}); `posefix config > posefix.toml` writes one"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"--config {path}: is no text in UTF-8; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"--config {path}: is no TOML ({error}); lines are NAME = VALUE, with text in quotes"
        ) from None


def _checked(path: Path, name: str, value: Any, known: Mapping[str, Option]) -> Any:
    """The value, an int as float where one is wanted. Raises InputError."""
    if name not in known:
        near = difflib.get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0.0)
        raise InputError(
            f"{path}: unknown key {name!r}; the nearest is {near[0]!r}; `posefix config` shows all"
        )
    option = known[name]
    if option.kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**53 else value
    if type(value) is not option.kind:
        raise InputError(f"{path}: {name} = {_shown(value)}: expected {KINDS[option.kind][0]}")
    if value == "":
        raise InputError(f"{path}: {name} is empty; give a value, or begin the line with # for the default")
    if option.choices and value not in option.choices:
        near = difflib.get_close_matches(value, option.choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{path}: {name} = {value!r}: choose from {', '.join(option.choices)}{hint}")
    return value


def _shown(value: Any) -> str:
    text = "{...}" if isinstance(value, dict) else "[...]" if isinstance(value, list) else _toml_value(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def load_settings(path: str | Path) -> Settings:
    """The settings of a file, for Python; what the file does not set has its default.

    Raises:
        InputError: as `read_settings`, or a value makes no sense.
    """
    values = read_settings(path)
    printed = PrintFlags(**{name: values.pop(name) for name in OPPOSITES if name in values})
    if "output" in values:
        values["output"] = Path(values["output"])
    try:
        return Settings(**values, verbosity=printed.verbosity)
    except InputError as error:
        raise named(error, path) from None


def named(error: InputError, path: str | Path | None) -> InputError:
    """The same error with the name of the file that settings came from, if there was one."""
    return error if path is None else InputError(f"{error} (there are settings of {path})")


def fill_from_file(app: App, commands: Iterable[str], arguments: ArgumentCollection) -> None:
    """What cyclopts calls after the words are read: flags that were not given take the value of `--config`'s file.

    Raises:
        InputError: as `read_settings`.
    """
    by_name = {argument.field_info.name: argument for argument in arguments if not argument.children}
    config = by_name.get("config")
    if tuple(commands) or config is None or not config.tokens:
        return
    path = config.tokens[-1].value
    given = {name for name, argument in by_name.items() if argument.tokens}
    for name, value in read_settings(path, options(arguments)).items():
        rivals = OPPOSITES if name in OPPOSITES else (name,)
        if given.isdisjoint(rivals):
            text = value if isinstance(value, str) else _toml_value(value)
            by_name[name].tokens.append(Token(keyword=name, value=text, source=path))


def show() -> int:
    """Print every setting with its default as a commented TOML file, for --config."""
    from .cli import print_out

    print_out(as_toml().rstrip("\n"))
    return 0
