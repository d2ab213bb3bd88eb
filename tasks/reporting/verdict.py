"""The first screen: did it work, how good is it, and can it be trusted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.artifacts.metrics import Score
from tasks.reporting.design import design_warning, known_pictures
from tasks.reporting.formats import NO_BREAK, interval, number
from tasks.reporting.glossary import CONTROLLED, CONTROLS, DRIFT, INPUT, LEAK, SCORING
from tasks.reporting.study import Scores, Study
from tasks.reporting.summary import RETRIEVAL, find, is_simulated
from tasks.statistics.verdicts import beats_chance

State = Literal["passed", "open", "failed", "not tested"]


@dataclass(frozen=True)
class Tile:
    """One number of the first screen.

    Attributes
    ----------
    term
        Key of the definition in `tasks.reporting.definitions.TERMS`.
    name, value, note
        What it is called, the number, and what must be said of it.
    """

    term: str
    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Light:
    """What the controls of one group say together."""

    question: str
    state: State
    said: str


def verdict(study: Study) -> str:
    """Say in everyday words whether the study worked, as far as its scores and controls go.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    row = find(study, RETRIEVAL)
    if row is None:
        return "No score was computed for this study, so nothing can be said about decoding."
    eeg = "simulated EEG" if is_simulated(study) else "EEG"
    new = "known pictures" if known_pictures(study) else "pictures that it has never met"
    score = row.score
    named = f"from the {eeg} of a single look, the encoder names the right object for {_in_hundred(score.value)} of 100 {new}"
    guessing = "" if score.chance is None else f"; guessing would name {_in_hundred(score.chance)}"
    if not beats_chance(score):
        return f"No: {named}{guessing}. Nothing is shown to be decoded."
    if any(light.state == "failed" for light in lights(study)):
        return f"Not yet: {named}{guessing}, but a control failed, so that this need not come from seeing."
    best = (
        ""
        if score.ceiling is None
        else f", and no decoder could name more than {_in_hundred(score.ceiling)}"
    )
    return f"Yes: {named}{guessing}{best}."


def tiles(study: Study) -> list[Tile]:
    """Return the score beside the best baseline, chance and the best that is possible; none without a score.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    row = find(study, RETRIEVAL)
    if row is None:
        return []
    score, simulated = row.score, is_simulated(study)
    bounds = interval(score.low, score.high, score.unit)
    baseline = study.audit.get("simple_decoder")
    return [
        Tile(
            "encoder",
            "This encoder",
            row.value,
            f"95{NO_BREAK}% interval {bounds}" if bounds else row.meaning.label,
        ),
        Tile(
            "baseline",
            "Best baseline",
            number(None if baseline is None else baseline.value, score.unit),
            "Not run." if baseline is None else "A linear method, taught by the same trials.",
        ),
        Tile("chance", "Chance", row.chance, "What guessing names."),
        Tile(
            "ceiling",
            "Best possible",
            row.ceiling,
            "Known, for the brain is simulated."
            if simulated and score.ceiling
            else "Not known for this study.",
        ),
    ]


def lights(study: Study) -> list[Light]:
    """Return what each group of controls says: passed, open, failed or not tested.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    rules: Mapping[str, Callable[[Study, Scores], tuple[State, str]]] = {
        INPUT: _input,
        DRIFT: _drift,
        LEAK: _leak,
        SCORING: _scoring,
    }
    found = []
    for question, rule in rules.items():
        own = {
            name: score
            for name, score in study.audit.items()
            if name in CONTROLS and CONTROLS[name].family == question
        }
        state, said = rule(study, own) if own else ("not tested", "No such control was run.")
        found.append(Light(question, state, said))
    return found


def _input(study: Study, own: Scores) -> tuple[State, str]:
    del study
    if _above(own):
        return "failed", "Some input without the EEG of the trial scores above chance, too."
    return "passed", "With shuffled EEG, noise or the subject's mean, the score falls to chance."


def _drift(study: Study, own: Scores) -> tuple[State, str]:
    del own
    share, encoder = study.audit.get("explained_by_drift"), study.audit.get(CONTROLLED)
    if share is None or encoder is None:
        return "not tested", "The audit ran only some of these controls."
    margin = encoder.value - (encoder.chance or 0.0)
    sure = (encoder.value if encoder.low is None else encoder.low) - (encoder.chance or 0.0)
    if share.value > 0 and share.value * margin >= sure:
        return (
            "failed",
            "Time, block or the EEG from before the picture scores as high as the encoder.",
        )
    if share.value > 0:
        return "open", "Time, block or the EEG from before the picture makes a part of the score."
    if design_warning(study) and not known_pictures(study):
        return "open", "The order of pictures leaves room for drift."
    return "passed", "Time, block and the EEG from before the picture name nothing."


def _leak(study: Study, own: Scores) -> tuple[State, str]:
    leaked = study.audit.get("explained_by_leakage")
    if leaked is None:
        return "not tested", "The audit ran only some of these controls."
    if leaked.value > 0:
        return "failed", "Pictures or captions of the test were in training."
    if _above(own):
        return "open", "Nothing was in both, but likeness to training pictures helps."
    return "passed", "No picture and no caption of the test was in training."


def _scoring(study: Study, own: Scores) -> tuple[State, str]:
    del study
    exact = [own[name].value for name in ("gallery_permutation", "batch_dependence") if name in own]
    if not exact:
        return "not tested", "The audit ran only some of these controls."
    if any(exact):
        return "failed", "The score changes with the order of the answers or with the other trials."
    return "passed", "Neither the order of the answers nor the other trials matter."


def _above(controls: Mapping[str, Score]) -> list[str]:
    """Return the controls that are expected at chance and are above it."""
    return [
        name for name, score in controls.items() if score.p_holm is not None and beats_chance(score)
    ]


def _in_hundred(share: float) -> str:
    return f"{100 * share:.0f}" if 100 * share >= 10 else f"{100 * share:.2g}"
