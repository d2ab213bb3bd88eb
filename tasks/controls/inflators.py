"""Controls: what ways of counting that are known to inflate a score would print in its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from tasks.artifacts.metrics import COUNTED, Score
from tasks.controls.answers import concept_hits, in_words, score_hits
from tasks.controls.evidence import Evidence, Finding
from tasks.scores.params import OBJECT_TIER
from tasks.scores.ranking import mean_cosines


def any_head_correct(evidence: Evidence) -> Finding | None:
    """Count a trial as right where any head of the object tier names its concept.

    Returns
    -------
    Finding or None
        None where there is one such head.
    """
    held_out = evidence.held_out
    kinds = held_out.kinds(OBJECT_TIER)
    if len(kinds) < 2:
        return None
    alone = [
        concept_hits(replace(held_out, predicted={kind: held_out.predicted[kind]}))
        for kind in kinds
    ]
    found = score_hits(held_out.trials, np.max(alone, axis=0), evidence.params)
    verdict = (
        f"Counting a trial as right where any of {len(kinds)} heads is right would print {in_words(found)} in the place "
        f"of {in_words(evidence.encoder)}: the choice among heads takes the answer to make."
    )
    return Finding(found.model_copy(update={"verdict": verdict}))


def assignment_over_batch(evidence: Evidence) -> Finding | None:
    """Give each of the audited pictures to one trial, by the Hungarian algorithm over all of them.

    One trial per picture is asked, the first. Whoever assigns over the whole batch knows that each picture was
    shown once: what no trial alone could know.

    Returns
    -------
    Finding or None
        None where one picture is audited.
    """
    held_out = evidence.held_out
    first = ~held_out.trials["stimulus_id"].duplicated()
    asked = held_out.of(first)
    stimuli = asked.stimuli()
    if len(stimuli) < 2:
        return None
    likeness = mean_cosines(asked.predicted, asked.gallery(stimuli).vectors)
    own = np.searchsorted(stimuli, asked.trials["stimulus_id"].to_numpy(str))
    alone = float((likeness.argmax(axis=1) == own).mean())
    assigned = float((linear_sum_assignment(-likeness)[1] == own).mean())
    return Finding(
        Score(
            value=assigned,
            n=len(own),
            chance=1 / len(stimuli),
            resampled=COUNTED,
            verdict=(
                f"Assigning {len(own)} pictures to one trial each, over the whole batch, would print {assigned:.3f} in the "
                f"place of {alone:.3f} (chance {1 / len(stimuli):.3f})."
            ),
        )
    )
