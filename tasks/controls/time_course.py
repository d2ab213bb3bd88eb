"""When the EEG tells what was seen: a decoder that sees one short window at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.controls.answers import score_guesses
from tasks.controls.evidence import Evidence
from tasks.controls.small_decoder import can_learn, fit_small_decoder

WINDOW_S = 0.05
"""Length of a window, and the step from one to the next."""


def decoding_over_time(evidence: Evidence) -> pd.DataFrame | None:
    """Return how often a small decoder names the concept from one window of the epoch alone.

    The decoder of `tasks.controls.small_decoder` is trained anew for each window, on the mean of each
    channel in it, less the subject's mean; it is asked about the audited trials. Before the picture it must
    score at chance (King and Dehaene 2014, "Characterizing the dynamics of mental representations: the
    temporal generalization method", Trends in Cognitive Sciences 18:203, diagonal of the matrix).

    Returns
    -------
    pandas.DataFrame or None
        Columns series, x (the middle of a window, s after picture onset), value (share of trials), low and
        high (its interval). None where there is nothing to learn from.
    """
    concepts = evidence.training["concept"].tolist()
    if not can_learn(concepts):
        return None
    places = np.floor((evidence.times_s - evidence.times_s[0]) / WINDOW_S + 1e-6).astype(int)
    rows = []
    for place in np.unique(places):
        window = places == place
        known = _less_subject(evidence.training_eeg[..., window].mean(axis=-1), evidence.training)
        asked = _less_subject(evidence.eeg[..., window].mean(axis=-1), evidence.shown)
        fitted = fit_small_decoder(known, concepts, evidence.params.seed)
        found = score_guesses(evidence.held_out, fitted.predict(asked).tolist(), evidence.params)
        middle = float(evidence.times_s[window].mean())
        rows.append(("small decoder", middle, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["series", "x", "value", "low", "high"])


def _less_subject(features: np.ndarray, trials: pd.DataFrame) -> np.ndarray:
    """Return features as float64 without the mean of each subject."""
    table = pd.DataFrame(features.astype(np.float64))
    return (table - table.groupby(trials["subject"].to_numpy()).transform("mean")).to_numpy()
