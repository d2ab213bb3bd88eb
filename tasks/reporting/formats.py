"""Numbers and names as a reader wants to see them."""

import re

NO_BREAK = "\N{NO-BREAK SPACE}"
MISSING = "\N{EN DASH}"


def number(value: float | None, unit: str) -> str:
    """Return ``value`` as text: shares in per cent, the rest to three significant digits.

    Parameters
    ----------
    value : float or None
        None reads as a dash.
    unit : str
        Unit of the score: ``share``, ``correlation`` or any other.
    """
    if value is None:
        return MISSING
    if unit == "share":
        return f"{_plain(100 * value, 1)}{NO_BREAK}%"
    if unit == "correlation":
        return _plain(value, 2)
    if abs(value) >= 1000:
        return _plain(value, 0)
    return f"{value:#.3g}".rstrip(".").replace("-", "\N{MINUS SIGN}")


def interval(low: float | None, high: float | None, unit: str) -> str:
    """Return the bounds of an interval as text; empty where there is none.

    Parameters
    ----------
    unit : str
        As in `number`.
    """
    if low is None or high is None:
        return ""
    return f"{number(low, unit).removesuffix(f'{NO_BREAK}%')} to {number(high, unit)}"


def probability(p_value: float) -> str:
    """Return a p-value as text."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def words(name: str) -> str:
    """Return a snake-case name as a phrase: ``shuffled_eeg`` reads as "shuffled EEG".

    Parameters
    ----------
    name : str
        Key or column.
    """
    phrase = name.replace("_", " ").strip()
    return re.sub(r"\b(eeg|clip|id)\b", lambda match: match[0].upper(), phrase)


def sentence(name: str) -> str:
    """Return a snake-case name as a phrase that begins with a capital.

    Parameters
    ----------
    name : str
        Key or column.
    """
    phrase = words(name)
    return phrase[:1].upper() + phrase[1:]


def plural(n: int, noun: str) -> str:
    """Return a count with its noun: "1 trial", "2,400 trials"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def enumeration(parts: list[str]) -> str:
    """Join phrases with commas and a final "and"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _plain(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
