"""Published scores, one row each in `published.csv`, with where each was read."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

COLUMNS = ("study", "system", "protocol", "subject", "metric", "value", "source")


def published(study: str) -> pd.DataFrame:
    """Return the published scores of a study.

    Parameters
    ----------
    study : str
        ``things_eeg2`` or ``eegcvpr``.

    Returns
    -------
    pandas.DataFrame
        Columns of `COLUMNS`. Protocol: ``intra`` (trained on the tested subject) or ``inter`` (on others).
        Subject: one, or ``mean``. Metrics top-1 and top-5 are percentages, others are as tables print them.
    """
    with files(__package__).joinpath("published.csv").open() as file:
        rows = pd.read_csv(file)
    return rows[rows["study"] == study].reset_index(drop=True)
