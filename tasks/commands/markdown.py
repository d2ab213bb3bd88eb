"""Markdown that holds whatever text it is given."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table; none where it has no rows."""
    if rows:
        yield f"| {' | '.join(head)} |"
        yield "|---" * len(head) + "|"
        yield from (f"| {' | '.join(row)} |" for row in rows)


def with_interval(row: Mapping[str, Any] | None) -> str:
    """Return a score with its interval, a dash where there is none."""
    if row is None:
        return "–"
    low, high = row.get("low"), row.get("high")
    interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{row['value']:.3f}{interval}"


def code(value: Any) -> str:
    """Return a value as code, a dash where there is none."""
    return "–" if value is None else f"`{escape(json.dumps(value))}`"


def escape(text: str) -> str:
    """Keep text from ending a cell or beginning HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
