"""Simulate the null hypothesis of every test and the truth of every interval, and print what was found.

    python benchmarks/false_alarms.py                     # the tables of docs/reading_scores.md
    python benchmarks/false_alarms.py --null 200 --power 50 --coverage 100

Every simulated study has what real ones have: trials that share a picture, pictures that share a concept,
people who differ. Under the null hypothesis none of it has to do with what is asked. A false alarm is a p-value
of at most 0.05; the smallest effect is the one that is found in 80 % of the studies.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import fisher_exact

from tasks.controls.answers import ControlParams, score_correlation, score_labels
from tasks.controls.drift_probes import exchanged_lags, lags_of
from tasks.scores.failures import answers_of_another_kind
from tasks.scores.params import ScoreParams
from tasks.scores.pixel import against_others
from tasks.scores.score import score
from tasks.statistics.permutation import SIGNIFICANCE, permutation_p_value
from tasks.statistics.resampling import Resampling, mean, median

N_CONCEPTS, N_PICTURES, N_TRIALS = 20, 2, 6
"""Concepts, pictures of each, and trials of each picture."""
N_STIMULI = N_CONCEPTS * N_PICTURES
EFFECTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Multiples of the unit of each test at which power is measured."""
POWER = 0.8
SCORES = ScoreParams(ks=(1,), n_resamples=20, n_permutations=199, confidence=0.95, seed=0)
CONTROLS = ControlParams(
    n_shuffles=1,
    prestimulus_end_s=0.0,
    n_time_segments=4,
    n_pseudo_labels=1,
    high_pass_hz=(5.0,),
    bottlenecks=(1,),
    n_resamples=20,
    n_permutations=199,
    confidence=0.95,
    seed=0,
)

Test = Callable[[np.random.Generator, float], float | None]
"""A generator and an effect to the p-value of one simulated study."""


def trials_of(n_trials: int = N_TRIALS) -> pd.DataFrame:
    """Return trials of pictures of concepts, seen by two people."""
    stimulus = np.repeat(np.arange(N_STIMULI), n_trials)
    return pd.DataFrame(
        {
            "stimulus_id": [f"{s:03d}" for s in stimulus],
            "concept": [f"{s // N_PICTURES:03d}" for s in stimulus],
            "subject": np.tile(["p1", "p2"], len(stimulus) // 2),
        }
    )


def ease(trials: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Return how easy each trial is: concepts and pictures differ."""
    of = trials["stimulus_id"].astype(int).to_numpy()
    return (
        0.7 * rng.normal(size=N_STIMULI) + 0.7 * rng.normal(size=N_CONCEPTS).repeat(N_PICTURES)
    )[of]


def matrix(rng: np.random.Generator, effect: float) -> tuple[np.ndarray, np.ndarray]:
    """Return what each trial scores against each picture, alike for trials of one picture, and its own."""
    own = np.repeat(np.arange(N_STIMULI), N_TRIALS)
    found = rng.normal(size=(N_STIMULI, N_STIMULI))[own] + rng.normal(size=N_STIMULI)
    found = found + rng.normal(size=(len(own), N_STIMULI))
    found[np.arange(len(own)), own] += effect
    return found, own


def draw(own: np.ndarray, rng: np.random.Generator) -> Resampling:
    """Draw permutations of pictures."""
    seed = int(rng.integers(2**31))
    return Resampling.draw(
        own, N_STIMULI, n_resamples=20, n_permutations=199, confidence=0.95, seed=seed
    )


def shares(rng: np.random.Generator, effect: float) -> float | None:
    """Recall, accuracy, two-way identification: is the own picture among the nearest five."""
    found, own = matrix(rng, effect)
    hits = (-found).argsort(axis=1).argsort(axis=1) < N_STIMULI // 8
    return score(hits.astype(float), draw(own, rng), chance=None).p_value


def ranks(rng: np.random.Generator, effect: float) -> float | None:
    """Median rank of the own picture."""
    found, own = matrix(rng, effect)
    places = (-found).argsort(axis=1).argsort(axis=1) + 1.0
    return score(
        places, draw(own, rng), chance=None, statistic=median, lower_is_better=True
    ).p_value


def pairs(n_samples: int, rng: np.random.Generator, effect: float) -> float | None:
    """SSIM, LPIPS, DISTS: pictures rendered several times from the same words."""
    own = np.repeat(np.arange(N_STIMULI), n_samples)
    found = rng.normal(size=(N_STIMULI, N_STIMULI))[own] + rng.normal(size=N_STIMULI)
    found += 0.5 * rng.normal(size=(len(own), 1)) + 0.3 * rng.normal(size=(len(own), N_STIMULI))
    found[np.arange(len(own)), own] += effect
    params = SCORES.model_copy(update={"seed": int(rng.integers(2**31))})
    one = against_others(
        lambda of: found[np.arange(len(of)), of],
        [f"{s:03d}" for s in own],
        draw(own, rng),
        params,
        unit="similarity",
    )
    return None if one is None else one.p_value


def collapse(rng: np.random.Generator, effect: float) -> float | None:
    """Head collapse: answers of another kind, more often than the true captions lie nearer to one."""
    trials = trials_of()
    usual = (rng.random(N_STIMULI) < expit(-1 + rng.normal(size=N_STIMULI))).astype(float)
    own = trials["stimulus_id"].astype(int).to_numpy()
    strays = expit(-1 + rng.normal(size=N_STIMULI))[own] + effect
    rows = trials.assign(
        kind="a",
        other_kind="b",
        margin=np.where(rng.random(len(own)) < strays, 1.0, -1.0),
        true_margin=np.where(usual[own] > 0, 1.0, -1.0),
    )
    params = SCORES.model_copy(update={"seed": int(rng.integers(2**31))})
    return answers_of_another_kind(rows, params)["answers_of_another_kind_a"].p_value


def seeded(rng: np.random.Generator) -> ControlParams:
    """Return params of controls with a seed of their own."""
    return CONTROLS.model_copy(update={"seed": int(rng.integers(2**31))})


def blocks_told(rng: np.random.Generator, effect: float) -> float | None:
    """Block told by the heads: answers go by the picture, blocks hold trials in random order."""
    trials = trials_of()
    blocks = rng.permutation(np.resize(list("abcd"), len(trials)))
    habit = np.array(list("abcd"))[rng.integers(4, size=N_STIMULI)]
    answers = habit[trials["stimulus_id"].astype(int)]
    answers = np.where(rng.random(len(trials)) < effect, blocks, answers)
    return score_labels(
        trials,
        answers.tolist(),
        blocks.tolist(),
        seeded(rng),
        "stimuli",
        trials["subject"].tolist(),
    ).p_value


def labels_of_blocks(rng: np.random.Generator, effect: float) -> float | None:
    """Labels drawn for blocks: answers go by the stretch of time, whatever label it got."""
    trials = trials_of()
    stretch = np.arange(len(trials)) * 12 // len(trials)
    labels = rng.permutation(np.resize(list("ab"), 12))[stretch]
    habit = rng.permutation(np.resize(list("ab"), 12))[stretch]
    answers = np.where(rng.random(len(trials)) < 0.5, habit, rng.permutation(labels))
    answers = np.where(rng.random(len(trials)) < effect, labels, answers)
    shown = trials.assign(block=stretch)
    return score_labels(
        shown, answers.tolist(), labels.tolist(), seeded(rng), "blocks", ["all"] * len(trials)
    ).p_value


def likeness(rng: np.random.Generator, effect: float) -> float | None:
    """Likeness to training pictures: concepts differ in likeness, and in how easy they are."""
    trials = trials_of()
    like = rng.normal(size=N_STIMULI) + rng.normal(size=N_CONCEPTS).repeat(N_PICTURES)
    own = like[trials["stimulus_id"].astype(int)]
    named = rng.random(len(trials)) < expit(1 + ease(trials, rng) + effect * own)
    found = score_correlation(
        trials, named.astype(float), own, seeded(rng), "concepts", ["all"] * len(trials)
    )
    return found.p_value


def nearness_in_time(rng: np.random.Generator, effect: float) -> float | None:
    """Time to training: concepts that are trained on often are near, trial by trial by chance."""
    trials = trials_of()
    often = rng.normal(size=N_CONCEPTS)[trials["concept"].astype(int)]
    near = often + rng.normal(size=len(trials))
    named = rng.random(len(trials)) < expit(1 + ease(trials, rng) + effect * near)
    found = score_correlation(
        trials, named.astype(float), near, seeded(rng), "concepts", trials["subject"].tolist()
    )
    return found.p_value


def time_told(rng: np.random.Generator, effect: float) -> float | None:
    """Time told by the heads: what they say goes by the picture, onsets are in random order."""
    trials = trials_of()
    onsets = rng.permutation(len(trials)).astype(float)
    told = ease(trials, rng) + rng.normal(size=len(trials)) + effect * onsets / onsets.std()
    return score_correlation(
        trials, told, onsets, seeded(rng), "stimuli", trials["subject"].tolist()
    ).p_value


def mistakes_in_time(rng: np.random.Generator, effect: float) -> float | None:
    """Mistakes that follow time: each concept has those that it is taken for, in every recording."""
    names = [f"{c:03d}" for c in range(N_CONCEPTS)]
    places = {r: pd.Series(rng.permutation(N_CONCEPTS) + 1.0, names) for r in ("p1", "p2")}
    rows = []
    for recording, place in places.items():
        order = place.sort_values().index
        for c, name in enumerate(names):
            usual = [names[(c + 3) % N_CONCEPTS], names[(c + 7) % N_CONCEPTS]]
            for _ in range(4):
                next_in_time = order[int(place[name]) % N_CONCEPTS]
                said = next_in_time if rng.random() < effect else usual[int(rng.random() < 0.3)]
                rows.append((recording, name, said))
    wrong = pd.DataFrame(rows, columns=["recording_id", "concept", "named"])
    expected = exchanged_lags(wrong, places, seeded(rng))
    return permutation_p_value(
        -float(lags_of(wrong, places).mean()), -expected.mean(axis=1), higher_is_better=True
    )


def copied_captions(rng: np.random.Generator, effect: float) -> float | None:
    """Captions of held-out pictures that are those of training pictures, by Fisher's exact test."""
    own, found = rng.binomial(600, 0.05), rng.binomial(200, min(1.0, 0.05 + effect))
    table = [[found, 200 - found], [own, 600 - own]]
    return float(fisher_exact(table, alternative="greater").pvalue)


TESTS: Mapping[str, tuple[Test, float, str]] = {
    "shares of hits, and guesses of controls (pictures exchanged)": (shares, 0.5, "sd"),
    "median ranks (pictures exchanged)": (ranks, 0.5, "sd"),
    "SSIM, LPIPS, DISTS, 1 sample (signs of pictures)": (partial(pairs, 1), 0.5, "sd"),
    "SSIM, LPIPS, DISTS, 4 samples (signs of pictures)": (partial(pairs, 4), 0.5, "sd"),
    "SSIM, LPIPS, DISTS, 8 samples (signs of pictures)": (partial(pairs, 8), 0.5, "sd"),
    "head collapse (signs of pictures)": (collapse, 0.1, "share"),
    "block told by the heads (pictures exchanged)": (blocks_told, 0.1, "share"),
    "labels drawn for blocks (blocks exchanged)": (labels_of_blocks, 0.2, "share"),
    "likeness to training pictures (concepts exchanged)": (likeness, 0.3, "logit per sd"),
    "nearness in time to training (concepts exchanged)": (nearness_in_time, 0.3, "logit per sd"),
    "time told by the heads (pictures exchanged)": (time_told, 0.2, "sd per sd"),
    "mistakes that follow time (concepts exchanged)": (mistakes_in_time, 0.1, "share"),
    "captions of training pictures (Fisher's exact test)": (copied_captions, 0.04, "share"),
}
"""What is tested, to a simulated study, the effect of size one, and its unit."""


def alarms(test: Test, effect: float, n_studies: int, seed: int) -> float:
    """Return the share of simulated studies with a p-value of at most 0.05."""
    rng = np.random.default_rng(seed)
    found = [test(rng, effect) for _ in range(n_studies)]
    return float(np.mean([p is not None and p <= SIGNIFICANCE for p in found]))


def smallest(powers: Mapping[float, float]) -> float | None:
    """Return the effect that is found in 80 % of studies, between those tried; None: beyond them."""
    before = (0.0, SIGNIFICANCE)
    for effect, power in powers.items():
        if power >= POWER:
            return before[0] + (effect - before[0]) * (POWER - before[1]) / (power - before[1])
        before = (effect, power)
    return None


def table_of_tests(n_null: int, n_power: int) -> Iterator[str]:
    """Yield the rows of a table: false alarms, power, and the smallest effect that is found."""
    yield "| test | false alarms at 5 % | power at an effect of | smallest effect found in 80 % |"
    yield "|---|---|---|---|"
    for name, (test, unit, words) in TESTS.items():
        powers = {}
        for effect in EFFECTS:
            powers[effect * unit] = alarms(test, effect * unit, n_power, 1)
            if powers[effect * unit] >= POWER and effect >= 1:
                break
        found = smallest(powers)
        least = f"{found:.2f} {words}" if found else f"more than {max(powers):.2f} {words}"
        yield (
            f"| {name} | {alarms(test, 0.0, n_null, 0):.1%} | {powers[unit]:.2f} at {unit:g} {words} | "
            f"{least} |"
        )


def coverage(n_subjects: int, spread: float, n_studies: int, seed: int) -> tuple[float, float]:
    """Return how often the 95 % interval of a share holds the truth, and its mean width.

    The truth is that of new pictures and people, or, with one person, of new pictures.

    Parameters
    ----------
    spread : float
        Standard deviation between people, in logits; pictures have 1.
    """
    rng = np.random.default_rng(seed)
    n_stimuli, n_repeats, level = 100, 2, 0.5
    many = rng.normal(size=200_000)
    truth = float(expit(level + np.hypot(1.0, spread) * many).mean())
    own = np.tile(np.repeat(np.arange(n_stimuli), n_repeats), n_subjects)
    who = np.repeat(np.arange(n_subjects), n_stimuli * n_repeats)
    held, widths = 0, []
    for study in range(n_studies):
        people = spread * rng.normal(size=n_subjects)
        chance = expit(level + rng.normal(size=n_stimuli)[own] + people[who])
        hits = (rng.random(len(own)) < chance).astype(float)
        if n_subjects == 1:
            truth = float(expit(level + people[0] + many).mean())
        resampling = Resampling.draw(
            own,
            n_stimuli,
            n_resamples=400,
            n_permutations=1,
            confidence=0.95,
            seed=study,
            subjects=[f"p{i}" for i in who],
        )
        found = resampling.estimate(hits, mean, (0.0, 1.0))
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    return held / n_studies, float(np.mean(widths))


def table_of_intervals(n_studies: int) -> Iterator[str]:
    """Yield the rows of a table: how often intervals hold the truth, by subjects and how they differ."""
    yield "| subjects | people differ: held (width) | people are alike: held (width) | interval over |"
    yield "|---|---|---|---|"
    for n_subjects, over in (
        (1, "pictures alone"),
        *((n, "pictures and people") for n in (2, 3, 10)),
    ):
        cells = [
            "{:.3f} ({:.2f})".format(*coverage(n_subjects, spread, n_studies, n_subjects))
            for spread in (0.5, 0.0)
        ]
        yield f"| {n_subjects} | {cells[0]} | {cells[1]} | {over} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--null", type=int, default=1000, help="studies without an effect, per test"
    )
    parser.add_argument("--power", type=int, default=200, help="studies with one, per effect")
    parser.add_argument("--coverage", type=int, default=1000, help="studies per row of intervals")
    sizes = parser.parse_args()
    for line in table_of_tests(sizes.null, sizes.power):
        print(line, flush=True)
    print()
    for line in table_of_intervals(sizes.coverage):
        print(line, flush=True)


if __name__ == "__main__":
    main()
