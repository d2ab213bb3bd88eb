"""What the environment says about this machine: read where it is used, and refused in one sentence."""

from __future__ import annotations

import math
import os
from pathlib import Path

from tasks.runtime.errors import PerceptError


class EnvironmentVariableError(PerceptError):
    """A variable of the environment holds what cannot be used."""


def whole_number(variable: str, *, most: int | None = None) -> int | None:
    """Return a variable as a whole number above zero; None where it is unset or empty.

    Parameters
    ----------
    most
        The largest number that can be used.

    Raises
    ------
    EnvironmentVariableError
        If it holds anything else.
    """
    given = os.environ.get(variable)
    if not given:
        return None
    number = int(given) if given.isascii() and given.isdecimal() else 0
    if number < 1 or (most is not None and number > most):
        bound = "" if most is None else f" and at most {most}"
        raise EnvironmentVariableError(
            f"{variable} must be a whole number above zero{bound}; it is {given!r}. "
            "Set it to one, or unset it."
        )
    return number


def seconds(variable: str) -> float | None:
    """Return a variable as seconds, zero or more; None where it is unset or empty.

    Raises
    ------
    EnvironmentVariableError
        If it holds anything else.
    """
    given = os.environ.get(variable)
    if not given:
        return None
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not number >= 0:
        raise EnvironmentVariableError(
            f"{variable} must be a number of seconds, 0 or more; it is {given!r}. "
            "Set it to one, or unset it."
        )
    return number


def existing_folder(variable: str, default: Path) -> Path:
    """Return a variable as a folder that exists.

    Parameters
    ----------
    default
        Stands for a variable that is unset or empty.

    Raises
    ------
    EnvironmentVariableError
        If there is no such folder.
    """
    given = os.environ.get(variable)
    if not given:
        return default
    if not Path(given).is_dir():
        raise EnvironmentVariableError(
            f"{variable} must name a folder; {given!r} is none. Mend it, or unset it."
        )
    return Path(given)
