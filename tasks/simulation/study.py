"""A simulated study of either kind."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from tasks.runtime.errors import PerceptError
from tasks.simulation.brain import FactorBrainParams
from tasks.simulation.design import StudyParams, study_rng
from tasks.simulation.factor_study import FactorStudy, make_factor_study
from tasks.simulation.feature_study import FeatureStudy, make_feature_study
from tasks.simulation.pictures import GLYPHS, TEXTURED, Stimulus, draw_stimuli
from tasks.simulation.scene import Scene

AnyStudy = FactorStudy | FeatureStudy


def make_study(params: StudyParams, cache: Path | None = None) -> AnyStudy:
    """Draw the stimuli, the group's brain and the layout of the noise.

    Parameters
    ----------
    cache : pathlib.Path or None
        Folder in which what takes long is kept for the next call.

    Raises
    ------
    PerceptError
        If the pictures or the weights that see them cannot be had, or the brain cannot answer such pictures.
    """
    stimuli = stimuli_of(params)
    if not isinstance(params.brain, FactorBrainParams):
        return make_feature_study(params, params.brain, stimuli, cache)
    if params.pictures not in (GLYPHS, TEXTURED):
        raise PerceptError(
            f"simulate.pictures must be {GLYPHS} or {TEXTURED} where simulate.brain.kind is factors, which are "
            f"those of a scene; it is {params.pictures}. Take simulate.brain from `percept preset "
            "simulated_features --show`."
        )
    return make_factor_study(params, params.brain, cast(dict[str, Scene], stimuli))


def stimuli_of(params: StudyParams) -> dict[str, Stimulus]:
    """Return the stimuli of a study by their IDs."""
    return draw_stimuli(params.pictures, params.n_stimuli, study_rng(params.seed, "stimuli"))
