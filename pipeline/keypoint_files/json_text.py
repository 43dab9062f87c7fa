"""Opening JSON files, with one clear line for whatever is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...skeleton.errors import InputError

MOST = 2**31 - 1  # numbers of people


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number; write unknown coordinates as null, or with score 0")


def load_json(path: Path) -> Any:
    """The content of a JSON file. Raises InputError."""
    try:
        return json.loads(path.read_bytes(), parse_constant=_no_number)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({(error.strerror or 'error').lower()})") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply for a keypoint file") from None
    except MemoryError:
        raise InputError(f"{path}: too large for this machine's memory; split it") from None
    except ValueError as error:  # also bad UTF-8
        raise InputError(f"{path}: is no valid JSON ({error}); was it cut short?") from None


def as_list(value: Any, where: str) -> list[Any]:
    """`value` if it is a list. Raises InputError."""
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list, found {_called(value)}")
    return value


def as_dict(value: Any, where: str) -> dict[str, Any]:
    """`value` if it is an object. Raises InputError."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {_called(value)}")
    return value


def as_int(value: Any, where: str) -> int:
    """A whole number, also where it is wrapped in lists, as some programs do. Raises InputError."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):  # infinity is none
        return int(value)
    raise InputError(f"{where}: expected a whole number, found {_called(value)}")


def as_person(value: Any, where: str) -> int | None:
    """A person's number; None below 0, which is how programs write that they follow nobody. Raises InputError."""
    number = as_int(value, where)
    if number > MOST:
        raise InputError(f"{where}: {str(number)[:20]} is too large for a person's number")
    return number if number >= 0 else None


def _called(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "nothing"}.get(
        type(value), repr(value)
    )
