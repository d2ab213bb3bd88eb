"""What the order of presentation and the split do to the scores, in words."""

import pyarrow as pa

from tasks.clip.galleries import known_stimuli
from tasks.eeg.design import Design, describe_design
from tasks.reporting.formats import plural
from tasks.reporting.study import Study


def design_warning(study: Study) -> str | None:
    """Return what design and split do to every score of the study, or None where there is nothing to say.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    found = [known_pictures(study), _order_of_presentation(study)]
    return " ".join(sentence for sentence in found if sentence) or None


def known_pictures(study: Study) -> str | None:
    """Return what it means that held-out pictures were also in training, or None where none was.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    known = known_stimuli(pa.Table.from_pandas(study.trials[["stimulus_id", "split"]]))
    if not known:
        return None
    return (
        f"Repeated stimuli: {plural(len(known), 'held-out picture')} were in training too, because the "
        "split holds out parts of the recordings or subjects, not pictures. Every score is one of "
        "identification among known pictures and says nothing of new ones."
    )


def design_caution(study: Study) -> str:
    """Return the mark that every score of the study bears; empty where the order was mixed.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    design = _design(study)
    if is_blocked(study) or design.confounded:
        return "block design"
    return "order unknown" if design.confounded is None else ""


def _order_of_presentation(study: Study) -> str | None:
    design = _design(study)
    if is_blocked(study) or design.confounded:
        return (
            "Block design: the trials of a concept follow each other, so slow drift of the recording "
            "alone can give high scores. Do not read them as vision before the drift controls."
        )
    if design.confounded is None:
        return f"{design.sentence[0].upper()}{design.sentence[1:]}."
    return None


def _design(study: Study) -> Design:
    events = pa.Table.from_pandas(
        study.trials[["recording_id", "presentation_order", "stimulus_id"]]
    )
    stimuli = pa.Table.from_pandas(study.stimuli[["stimulus_id", "concept"]])
    return describe_design(events, stimuli, timed=bool(study.recordings["timed"].all()))


def is_blocked(study: Study) -> bool:
    """Return whether each block shows one concept alone.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    per_block = study.trials.groupby(["recording_id", "block"])["concept"].nunique()
    return bool(len(per_block) > 1 and per_block.median() <= 1)
