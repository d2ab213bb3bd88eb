"""What was decoded of a recording, as one page: each trial's captions by tier, and how sure they are."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.decoding.decoder import Decoded
from tasks.runtime.files import write_text

TIERS = ("object", "spatial", "thematic")


def surest(decoded: Decoded, least: float) -> pd.DataFrame:
    """Return the surest caption of each trial and tier: trial, onset_s, tier, kind, caption, cosine, confidence, sure.

    Parameters
    ----------
    least : float
        Confidence from which a caption counts as sure. Where nothing was calibrated the nearest caption is taken,
        and none is sure.
    """
    nearest = decoded.table[decoded.table["rank"] == 1]
    by = nearest.assign(key=nearest["confidence"].fillna(-1.0)).sort_values(
        ["trial", "tier", "key", "cosine"], ascending=[True, True, False, False], kind="stable"
    )
    found = by.drop_duplicates(["trial", "tier"]).drop(columns=["key", "rank"])
    found["tier"] = pd.Categorical(found["tier"], TIERS, ordered=True)
    found["sure"] = found["confidence"] >= least
    return found.sort_values(["trial", "tier"], ignore_index=True)


def lines(rows: pd.DataFrame) -> Iterator[str]:
    """Yield what a terminal shows of each trial and tier.

    Parameters
    ----------
    rows : pandas.DataFrame
        From `surest`.
    """
    for row in rows.to_dict("records"):
        at = "" if pd.isna(row["onset_s"]) else f" at {row['onset_s']:.2f} s"
        sure = _percent(row)
        doubt = ", not sure" if sure and not row["sure"] else ""
        how = f"cosine {row['cosine']:.2f}{f', {sure}' if sure else ''}{doubt}"
        yield f"trial {row['trial'] + 1}{at}: {row['tier']}: {row['caption']} ({how})"


def write_page(path: Path, decoded: Decoded, name: str, least: float) -> None:
    """Write the page.

    Parameters
    ----------
    name : str
        Of the recording.
    least : float
        Confidence from which a caption counts as sure.
    """
    environment = Environment(
        loader=PackageLoader("tasks.decoding"), autoescape=True, undefined=StrictUndefined
    )
    rows = surest(decoded, least)
    trials = [
        {"trial": trial, "onset_s": own["onset_s"].iloc[0], "captions": _captions(own)}
        for trial, own in rows.groupby("trial")
    ]
    template = environment.get_template("decoded.html.j2")
    calibrated = bool(rows["confidence"].notna().any())
    write_text(
        path,
        template.render(
            name=name, trials=trials, dropped=decoded.dropped, least=least, calibrated=calibrated
        ),
    )


def _captions(own: pd.DataFrame) -> list[Mapping[str, object]]:
    return [
        {
            "tier": row["tier"],
            "caption": row["caption"],
            "sure": bool(row["sure"]),
            "confidence": _percent(row),
        }
        for row in own.to_dict("records")
    ]


def _percent(row: Mapping[Hashable, Any]) -> str:
    """Return the confidence of a row; empty where nothing was calibrated."""
    return "" if pd.isna(row["confidence"]) else f"{row['confidence']:.0%}"
