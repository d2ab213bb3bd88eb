"""What the order of presentation does to the scores, in words."""

import pyarrow as pa

from tasks.eeg.design import describe_design
from tasks.reporting.study import Study


def design_warning(study: Study) -> str | None:
    """Return what the design does to every score of the study, or None where class and time are apart.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    events = pa.Table.from_pandas(
        study.trials[["recording_id", "presentation_order", "stimulus_id"]]
    )
    stimuli = pa.Table.from_pandas(study.stimuli[["stimulus_id", "concept"]])
    design = describe_design(events, stimuli, timed=bool(study.recordings["timed"].all()))
    if is_blocked(study) or design.confounded:
        return (
            "Block design: the trials of a concept follow each other, so slow drift of the recording "
            "alone can give high scores. Do not read them as vision before the drift controls."
        )
    if design.confounded is None:
        return f"{design.sentence[0].upper()}{design.sentence[1:]}."
    return None


def is_blocked(study: Study) -> bool:
    """Return whether each block shows one concept alone.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    per_block = study.trials.groupby(["recording_id", "block"])["concept"].nunique()
    return bool(len(per_block) > 1 and per_block.median() <= 1)
