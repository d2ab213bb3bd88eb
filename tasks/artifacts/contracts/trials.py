"""One row per presentation, kept or not; the split is decided here, once."""

from collections.abc import Sequence

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

TRIALS = contract(
    field("trial_id", pa.string(), "sub-XX_ses-XX_trial-XXXX; in the order of presentation"),
    field("recording_id", pa.string(), "key into `recordings`"),
    field("subject", pa.string(), "sub-XX"),
    field("session", pa.string(), "ses-XX"),
    field("block", pa.int32(), "block of the design"),
    field("presentation_order", pa.int32(), "0 is the first of the recording"),
    field("onset_s", pa.float64(), "from the start of the raw file", unit="s"),
    field("stimulus_id", pa.string(), "key into `stimuli`"),
    field("concept", pa.string(), "object category"),
    field("repetition", pa.int32(), "how often this subject had seen the stimulus before"),
    field(
        "split",
        pa.string(),
        "train, validation, test (what the strategy holds out), zero_shot (held-out concepts) or "
        "none (too near in time to another part, or the other part of a subject that is left out: used nowhere)",
    ),
    field("kept", pa.bool_(), "whether an epoch exists"),
    field("reject_reason", pa.string(), "why not; empty if kept"),
    key="trial_id",
)


def trial_id_of(recording_id: str, presentation_order: int, n_events: int) -> str:
    """Return the id of a trial; the ids of a recording sort as they were presented.

    Parameters
    ----------
    n_events
        Of the recording: beyond 10,000 of them, all its ids have more than four digits.
    """
    width = max(4, len(str(n_events - 1)))
    return f"{recording_id}_trial-{presentation_order:0{width}d}"


def trial_ids_of(recording_ids: Sequence[str], presentation_orders: Sequence[int]) -> list[str]:
    """Return the ids of all trials of some recordings, from these two columns of `events`."""
    shown = list(zip(recording_ids, presentation_orders, strict=True))
    counts: dict[str, int] = {}
    for name, order in shown:
        counts[name] = max(counts.get(name, 0), order + 1)
    return [trial_id_of(name, order, counts[name]) for name, order in shown]
