"""What every command line is held to before a command sees it: no word is taken for another without a word said."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..skeleton.errors import InputError

if TYPE_CHECKING:
    from cyclopts import App, ArgumentCollection


def check_words(app: App, commands: Iterable[str], arguments: ArgumentCollection) -> None:
    """What cyclopts calls with the words of any command, before it makes numbers and paths of them.

    Raises:
        InputError: 1.5 where a whole number is wanted (cyclopts would round it), NaN, or an empty name (an empty path
            is the current folder).
    """
    for argument in (a for a in arguments if not a.children):  # not the groups of flags
        kinds = {argument.hint, *get_args(argument.hint)}  # `X | None`: X, too
        if argument.field_info.kind is argument.field_info.VAR_POSITIONAL:
            continue  # clips: a bad one does not stop the others
        for token in argument.tokens:
            _check(token.keyword or argument.name, token.value, kinds)


def _check(name: str, word: str, kinds: set[Any]) -> None:
    if not word and kinds & {str, Path}:
        raise InputError(f"{name}: is empty; give a value, or leave it out")
    if int not in kinds and float not in kinds:
        return
    try:
        value = float(word)
    except ValueError:
        return  # no number at all: cyclopts says so
    if int in kinds and "." in word and not value.is_integer():
        raise InputError(f"{name} {word}: expected a whole number")
    if math.isnan(value):
        raise InputError(f"{name} {word}: expected a number")
