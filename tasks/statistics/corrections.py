"""Corrections of p-values where one question is asked of many heads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tasks.artifacts.metrics import Score
from tasks.statistics.verdicts import said_again


def with_holm(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Return the scores of one family with their p-values adjusted; those without a p-value as they are."""
    names = [name for name, found in scores.items() if found.p_value is not None]
    adjusted = holm([float(scores[name].p_value or 0.0) for name in names])
    corrected = {
        name: scores[name].model_copy(update={"p_holm": p_value, "n_tests": len(names)})
        for name, p_value in zip(names, adjusted, strict=True)
    }
    return {**scores, **corrected}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm (1979): valid whatever the dependence between the tests."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def holm_over_heads(scores: Mapping[str, Score], kinds: Sequence[str]) -> dict[str, Score]:
    """Return scores with adjusted p-values where the same was asked of several heads.

    Parameters
    ----------
    scores : Mapping[str, Score]
        Name to score; the names of single heads end with their kind.
    """
    ending = re.compile(rf"(?:_of_\d+)?_({'|'.join(map(re.escape, kinds))})$")
    families: dict[str, list[str]] = {}
    for name, found in scores.items():
        if ending.search(name) and found.p_value is not None:
            families.setdefault(ending.sub("", name), []).append(name)
    adjusted = dict(scores)
    for names in families.values():
        adjusted |= {
            name: said_again(scores[name], found)
            for name, found in with_holm({name: scores[name] for name in names}).items()
        }
    return adjusted
