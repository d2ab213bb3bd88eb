"""The study in facts, and its result in words, both from the tables and scores alone."""

import re
from dataclasses import dataclass

from tasks.artifacts.metrics import Score
from tasks.artifacts.splits import SPLITS, TRAIN, ZERO_SHOT
from tasks.reporting.design import design_warning, is_blocked, known_pictures
from tasks.reporting.formats import enumeration, interval, number, plural
from tasks.reporting.score_rows import ScoreRow, score_row, share_of_ceiling
from tasks.reporting.study import Study
from tasks.scores.held_out import KNOWN
from tasks.statistics.corrections import with_holm
from tasks.statistics.verdicts import BETTER, beats_chance, reading

RETRIEVAL = rf"(?:{KNOWN})?concept_recall_at_1_of_\d+"
UNTRAINED = r"zero_shot_concept_recall_at_1_of_\d+"
PICTURES = rf"(?:{KNOWN})?judged_concept_accuracy_decoded"


@dataclass(frozen=True)
class Fact:
    """One fact of the study."""

    name: str
    value: str
    note: str = ""


def title(study: Study) -> str:
    """Return the heading of the page.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    what = "simulated " if is_simulated(study) else ""
    subjects = plural(study.trials["subject"].nunique(), f"{what}subject")
    return f"What {subjects} saw, read from {what}EEG"


def facts(study: Study) -> list[Fact]:
    """Return what a reader must know of the study before any score.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    trials, recordings = study.trials, study.recordings
    n_kept, n_trials = int(trials["kept"].sum()), len(trials)
    held_out = trials[trials["split"] == ZERO_SHOT]["concept"].nunique()
    splits = trials.drop_duplicates(["stimulus_id", "split"])["split"].value_counts().to_dict()
    return [
        Fact("Dataset", ", ".join(sorted(recordings["dataset"].unique()))),
        Fact("Subjects", f"{trials['subject'].nunique():,}", plural(len(recordings), "recording")),
        Fact(
            "Trials",
            f"{n_trials:,}",
            f"{n_kept:,} kept, {n_trials - n_kept:,} rejected",
        ),
        Fact(
            "Stimuli",
            f"{trials['stimulus_id'].nunique():,}",
            ", ".join(f"{splits[s]:,} {s.replace('_', '-')}" for s in SPLITS if s in splits),
        ),
        Fact(
            "Concepts",
            f"{trials['concept'].nunique():,}",
            f"{held_out:,} never in training" if held_out else "all in training",
        ),
        Fact(
            "Channels",
            _range(recordings["n_channels"].tolist()),
            f"{_range(recordings['sfreq_hz'].tolist())} Hz as recorded",
        ),
        Fact("Design", *_design(study)),
    ]


def is_simulated(study: Study) -> bool:
    """Return whether every recording was simulated.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    return bool((study.recordings["dataset"] == "simulated").all())


def find(study: Study, pattern: str) -> ScoreRow | None:
    """Return the first score of `evaluate` whose whole name fits a regular expression; None without one.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    for name, score in study.evaluate.items():
        if re.fullmatch(pattern, name):
            return score_row(name, score)
    return None


def result(study: Study) -> list[str]:
    """Return what came out, one sentence each.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    if not study.evaluate:
        return ["No score was computed for this study, so nothing can be said about decoding."]
    rows = [_identification(study), _pictures(study), _zero_shot(study), _control(study)]
    return [sentence for sentence in rows if sentence]


def limits(study: Study) -> list[str]:
    """Return what the scores cannot show, one sentence each.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    found = []
    trained = study.trials["split"] == TRAIN
    unknown = set(study.trials.loc[~trained, "subject"]) - set(study.trials.loc[trained, "subject"])
    if not unknown:
        found.append(
            "The encoder has met every subject in training: nothing here speaks of people it has "
            "never seen."
        )
    if is_simulated(study):
        found.insert(
            0,
            "The EEG is simulated: these numbers show that the pipeline recovers what was planted, "
            "not how well a real brain can be read.",
        )
    warning = design_warning(study)
    if warning:
        found.insert(0, warning)
    if not study.renders.empty and not any("kid_" in name for name in study.evaluate):
        found.append(
            "There are too few pictures for distances between sets (KID, FID) and for the clarity of a "
            "set; neither is scored."
        )
    if not study.renders.empty:
        found.append(
            "Pictures are drawn from words. Whatever the captions leave out, such as exact shape and "
            "pose, is the generator's invention."
        )
    return found


def _design(study: Study) -> tuple[str, str]:
    trials = study.trials
    shown = trials.groupby(["subject", "stimulus_id"]).size()
    blocks = trials.groupby("recording_id")["block"].nunique().median()
    fewest, most = int(shown.min()), int(shown.max())
    often = plural(most, "time") if fewest == most else f"{fewest:,} to {plural(most, 'time')}"
    note = f"each picture {often} per subject"
    if is_blocked(study):
        return "Blocked", f"one concept per block; {note}"
    return "Mixed", f"concepts mixed in {plural(int(blocks), 'block')} per recording; {note}"


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _identification(study: Study) -> str:
    row = find(study, RETRIEVAL)
    if row is None:
        return ""
    share = share_of_ceiling(row.score)
    reached = f", so this is {number(share, 'share')} of what can be reached" if share else ""
    known = "that were in training too" if known_pictures(study) else "that it has never met"
    return (
        f"From single EEG trials of pictures {known}, the encoder names the right "
        f"concept out of {_size(row)} in {_with_interval(row.score)} of {row.score.n:,} trials. "
        f"{_beside(row.score)}{reached}.{_warning(row.score)}"
    )


def _pictures(study: Study) -> str:
    row = find(study, PICTURES)
    if row is None:
        return ""
    decoded, name = row.score, row.name.removesuffix("decoded")
    others = [
        f"{number(score.value, score.unit)} of those from {words}"
        for condition, words in (
            ("true_captions", "the true captions"),
            ("shuffled_eeg", "shuffled EEG"),
        )
        if (score := study.evaluate.get(name + condition))
    ]
    beside = f", against {enumeration(others)}" if others else ""
    return (
        "A judge that had no part in training sees the right object in "
        f"{_with_interval(decoded)} of the pictures drawn from decoded captions{beside}."
    )


def _zero_shot(study: Study) -> str:
    row = find(study, UNTRAINED)
    if row is None:
        return ""
    return (
        f"Of {_size(row)} concepts that were never in training it names the right one in "
        f"{_with_interval(row.score)} of {row.score.n:,} trials. "
        f"{_beside(row.score)}.{_warning(row.score)}"
    )


def _control(study: Study) -> str:
    """Say whether the scores of pictures from shuffled EEG, which are expected at chance, are there."""
    family = with_holm(
        {
            name: score
            for name, score in study.evaluate.items()
            if name.endswith("_shuffled_eeg") and None not in (score.p_value, score.chance)
        }
    )
    if not family:
        return "No score of pictures from shuffled EEG has a test against chance."
    suspicious = [score_row(name, score) for name, score in family.items() if beats_chance(score)]
    said = f"Of {plural(len(family), 'score')} of pictures from shuffled EEG, which know nothing of what was seen,"
    if not suspicious:
        return f"{said} none is told from chance (p-values by Holm over all of them)."
    named = enumeration(
        [f"“{row.meaning.label}” ({row.value}, chance {row.chance})" for row in suspicious]
    )
    return (
        f"{said} {len(suspicious)} {'is' if len(suspicious) == 1 else 'are'} better than chance and "
        f"deserve suspicion (p-values by Holm over all of them): {named}."
    )


def _warning(score: Score) -> str:
    """Return a sentence where the score is not better than chance."""
    told = reading(score)
    return f" The score is {told}." if told and told != BETTER else ""


def _with_interval(score: Score) -> str:
    bounds = interval(score.low, score.high, score.unit)
    return number(score.value, score.unit) + (f" (95 % interval {bounds})" if bounds else "")


def _beside(score: Score) -> str:
    parts = [
        f"{words} {number(mark, score.unit)}"
        for words, mark in (
            ("chance is", score.chance),
            ("shuffled EEG gives", score.control),
            ("the best possible decoder reaches", score.ceiling),
        )
        if mark is not None
    ]
    text = enumeration(parts) or "its chance is not known"
    return text[0].upper() + text[1:]


def _size(row: ScoreRow) -> str:
    return row.name.rsplit("_", 1)[1]
