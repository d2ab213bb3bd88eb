"""Numbers and names as a reader wants to see them."""

import pytest

from tasks.reporting.formats import enumeration, interval, number, plural, probability, sentence


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.6234, "share", "62.3\N{NO-BREAK SPACE}%"),
        (-0.128, "correlation", "\N{MINUS SIGN}0.13"),
        (0.0123456, "distance", "0.0123"),
        (12.0, "rank", "12.0"),
        (300.0, "rank", "300"),
        (12345.6, "rank", "12,346"),
        (None, "share", "\N{EN DASH}"),
    ],
)
def test_number(value: float | None, unit: str, expected: str) -> None:
    assert number(value, unit) == expected


def test_interval_names_the_unit_once() -> None:
    assert interval(0.1, 0.2, "share") == "10.0 to 20.0\N{NO-BREAK SPACE}%"
    assert interval(None, 0.2, "share") == ""


def test_phrases() -> None:
    assert probability(0.0002) == "p < 0.001"
    assert probability(0.04) == "p = 0.040"
    assert sentence("noise_eeg_clip_score") == "Noise EEG CLIP score"
    assert (plural(1, "trial"), plural(2400, "trial")) == ("1 trial", "2,400 trials")
    assert enumeration(["a", "b", "c"]) == "a, b and c"
    assert enumeration([]) == ""
