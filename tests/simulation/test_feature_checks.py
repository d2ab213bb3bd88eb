"""What the study of kind "features" must have in common with published EEG, and what is known to be missing.

The numbers come from THINGS-EEG2 and its decoders (Gifford et al. 2022, NeuroImage 264, 119754; Song et al. 2024,
ICLR). docs/simulation.md lists what these tests check; `benchmarks/simulated_rankings.py` reports, and nothing here
asserts, which decoder and which target come before which.
"""

import numpy as np
import pytest
from scipy import optimize

from tasks.simulation.bound import bound_answers
from tasks.simulation.features import GROUPS
from tasks.simulation.head import CHANNELS
from tasks.simulation.study import make_study
from tests.simulation.listening import (
    POSTERIOR,
    TEN_TEN,
    averaged,
    bin_times_s,
    cosines,
    d_prime,
    epochs,
    feature_params,
    picked,
    planned,
    ridge,
    share_right,
    targets,
    top_1,
    whitened,
)

N_TRAIN, N_TEST = 1000, 200
TRAIN, TEST = tuple(range(N_TRAIN)), tuple(range(N_TRAIN, N_TRAIN + N_TEST))
PLAN = [(TRAIN, 1)] * 4 + [(TEST, 10)] * 8
OWN = np.arange(N_TEST)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """1,000 pictures shown 4 times and 200 others 80 times, 5 a second, and what linear models know of them."""
    cache = tmp_path_factory.mktemp("seen")
    params = feature_params(n_stimuli=N_TRAIN + N_TEST, noise={"n_bad_channels": 0})
    study = planned(params, PLAN, cache)
    return study, targets(study, cache)


def hear(study, subject, sessions):
    parts = [epochs(study, subject, session) for session in sessions]
    eeg, pictures = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return eeg, pictures


@pytest.fixture(scope="module")
def heard(world):
    """Return subject 1's trials of training and test pictures."""
    study, _ = world
    return *hear(study, 1, range(1, 5)), *hear(study, 1, range(5, 13))


def repeated(eeg, pictures, n, first):
    """Return the mean of n trials of each test picture, from its trial `first` on."""
    return np.stack([eeg[np.flatnonzero(pictures == p)[first : first + n]].mean(0) for p in TEST])


def named(decoder, eeg, pictures, known, n, at_most=20):
    """Return the share of test pictures that are identified among all from n trials each."""
    shares = [
        top_1(decoder(repeated(eeg, pictures, n, n * i).reshape(N_TEST, -1)), OWN, known)
        for i in range(min(80 // n, at_most))
    ]
    return float(np.mean(shares))


def fit(eeg, known):
    return ridge(eeg.reshape(len(eeg), -1).astype(float), known)


@pytest.mark.nightly
def test_identification_grows_with_repetitions_as_published(world, heard):
    """d'(n) = A / sqrt(1 + s2 / n); NICE across subjects has A = 3.05 and s2 = 12.9."""
    _, known = world
    train, shown, test, seen = heard
    train, test = whitened(train, shown, train), whitened(train, shown, test)
    decoder = fit(averaged(train, shown, 4)[0], known[:N_TRAIN])
    ns = np.array([1, 4, 16, 80])
    found = np.array([d_prime(named(decoder, test, seen, known[N_TRAIN:], n), N_TEST) for n in ns])
    (largest, noise), _ = optimize.curve_fit(
        lambda n, a, s2: a / np.sqrt(1 + s2 / n), ns, found, (3.0, 15.0)
    )
    assert 2.4 < largest < 4.5
    assert 12 < noise < 21
    assert np.allclose(largest / np.sqrt(1 + noise / ns), found, rtol=0.1)


@pytest.mark.nightly
def test_linear_models_of_the_layers_explain_early_responses_and_late_ones_in_part(world):
    """Of what every picture evokes on average: the noise ceiling of a model that had all recordings."""
    study, known = world
    brain = study.subject(1)
    for number, (name, low, high) in enumerate(
        (("early", 0.9, 1.0), ("middle", 0.85, 1.0), ("late", 0.6, 0.9))
    ):
        assert list(GROUPS)[number] == name
        rows = np.flatnonzero((brain.groups == number) & (brain.moments.std(axis=0) > 1e-9))
        moments = brain.moments[:, rows]
        predicted = ridge(known[:N_TRAIN], moments[:N_TRAIN])(known[N_TRAIN:])
        pairs = zip(predicted.T, moments[N_TRAIN:].T, strict=True)
        assert low <= np.mean([np.corrcoef(p, m)[0, 1] for p, m in pairs]) <= high


@pytest.mark.nightly
def test_pictures_are_told_apart_from_90_ms_on_best_about_110_and_until_430(heard):
    train, shown, test, seen = heard
    test = whitened(train, shown, test)
    times_s, n_halves, size = bin_times_s(), 5, 8
    right = np.zeros(len(times_s))
    for half in range(n_halves):
        one, other = (repeated(test, seen, size, size * (2 * half + k)) for k in (0, 1))
        one, other = one - one.mean(axis=0), other - other.mean(axis=0)
        for t in range(len(times_s)):
            agree = one[:, :, t] @ other[:, :, t].T
            own = np.diag(agree)
            apart = (own[:, None] + own - agree - agree.T)[np.triu_indices(N_TEST, 1)] > 0
            right[t] += apart.mean() / n_halves
    before = right[times_s < 0.04]
    above = (right > before.mean() + 5 * before.std()) & (times_s > 0.04)
    assert 0.05 <= times_s[above.argmax()] <= 0.1
    assert 0.1 <= times_s[right.argmax()] <= 0.2
    assert right[(times_s > 0.3) & (times_s < 0.42)].min() > 0.5 + 2 * before.std()


@pytest.mark.nightly
def test_little_is_identified_before_100_ms(world, heard):
    _, known = world
    train, shown, test, seen = heard
    train, test = whitened(train, shown, train), whitened(train, shown, test)
    mean = averaged(train, shown, 4)[0]
    times_s = bin_times_s()

    def until(end_s):
        window = (times_s > 0) & (times_s < end_s)
        decoder = fit(mean[:, :, window], known[:N_TRAIN])
        return named(decoder, test[:, :, window], seen, known[N_TRAIN:], 80)

    assert until(0.08) < 0.02
    assert until(0.1) < 0.07 < until(0.15) < until(0.2) < until(0.4)


@pytest.mark.nightly
def test_posterior_channels_are_best_for_few_trials_and_averages_of_training_trials_for_many(
    world, heard
):
    _, known = world
    train, shown, test, seen = heard
    scores = {}
    for name, channels in (("posterior", POSTERIOR), ("all", TEN_TEN)):
        fitted, asked = picked(train, channels), picked(test, channels)
        fitted, asked = whitened(fitted, shown, fitted), whitened(fitted, shown, asked)
        decoders = {"averages": fit(averaged(fitted, shown, 4)[0], known[:N_TRAIN])}
        if name == "posterior":
            decoders["single"] = fit(fitted, known[shown])
        for kind, decoder in decoders.items():
            for n in (4, 80):
                scores[name, kind, n] = named(decoder, asked, seen, known[N_TRAIN:], n)
    assert scores["posterior", "averages", 80] >= scores["posterior", "single", 80] - 0.02
    assert scores["posterior", "averages", 4] >= scores["all", "averages", 4] - 0.02
    assert scores["posterior", "averages", 80] >= 0.4 * scores["all", "averages", 80]


@pytest.mark.nightly
def test_subjects_differ_as_much_as_published(world):
    """Across subjects .25 to .45 of what is identified within: NICE 6.2 of 13.8 %, UBP 12.4 of 50.9 %."""
    study, known = world
    people = {}
    for subject in range(1, 5):
        train, shown = hear(study, subject, range(1, 5))
        test, seen = hear(study, subject, (5, 6))
        mean = averaged(whitened(train, shown, train), shown, 4)[0]
        people[subject] = (mean, whitened(train, shown, test), seen)
    within, across = [], []
    for subject, (mean, test, seen) in people.items():
        others = np.concatenate([people[s][0] for s in people if s != subject])
        mean_20 = repeated(test, seen, 20, 0).reshape(N_TEST, -1)
        own = fit(mean, known[:N_TRAIN])
        foreign = fit(others, np.tile(known[:N_TRAIN], (len(people) - 1, 1)))
        within.append(top_1(own(mean_20), OWN, known[N_TRAIN:]))
        across.append(top_1(foreign(mean_20), OWN, known[N_TRAIN:]))
    assert 0.2 <= np.mean(across) / np.mean(within) <= 0.5


@pytest.mark.slow
def test_a_study_of_induced_rhythm_alone_is_heard_by_its_power_alone(tmp_path):
    params = feature_params(
        n_stimuli=80,
        n_presentations=40,
        n_sessions=2,
        schedule={"design": "randomised"},
        noise={"n_bad_channels": 0, "n_background_sources": 20, "blinks_per_minute": 0.0},
        brain={"evoked_uv": 0.0, "saccade_uv": 0.0, "gain_sd": 0.0, "lapse_share": 0.0},
    )
    study = make_study(params)
    concepts = sorted({s.concept for s in study.stimuli.values()})
    kind = np.array([concepts.index(s.concept) for s in study.stimuli.values()])
    parts = [epochs(study, 1, session) for session in (1, 2)]
    eeg, shown = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    label, session = kind[shown], np.repeat([1, 2], [len(p[1]) for p in parts])
    times_s = bin_times_s()
    late = (times_s > 0.35) & (times_s < 0.6)
    occipital = picked(eeg, ("O1", "Oz", "O2", "POz", "PO3", "PO4"))
    power = np.log((occipital[:, :, late] ** 2).mean(axis=2)).mean(axis=1)
    means = [
        np.array([power[(label == c) & (session == s)].mean() for c in range(len(concepts))])
        for s in (1, 2)
    ]
    assert np.corrcoef(*means)[0, 1] > 0.3
    depths = [study.suppression()[c] for c in concepts]
    assert np.corrcoef(depths, np.mean(means, axis=0))[0, 1] < -0.4
    evoked = [
        np.stack([eeg[(label == c) & (session == s)].mean(axis=0) for c in range(len(concepts))])
        for s in (1, 2)
    ]
    alike = cosines(*(e.reshape(len(concepts), -1).astype(float) for e in evoked))
    assert (alike.argmax(axis=1) == np.arange(len(concepts))).mean() < 0.15  # chance: 0.025


def right_of_bound(**brain):
    params = feature_params(
        n_stimuli=80,
        n_presentations=2,
        n_sessions=1,
        oracle_bin_s=0.04,
        picture_px=64,
        noise={"n_background_sources": 20},
        brain=brain,
    )
    study = make_study(params)
    true = [list(study.stimuli.values())[p].concept for p in study.schedule(1, 1).stimuli]
    said = bound_answers(study, 1, 1)
    return float(np.mean([a == b for a, b in zip(said, true, strict=True)]))


@pytest.mark.slow
def test_the_bound_is_at_chance_without_a_response_and_certain_with_a_strong_one():
    assert right_of_bound(evoked_uv=0.0) < 0.12
    weak, strong = right_of_bound(evoked_uv=1.0), right_of_bound(evoked_uv=12.0, lapse_share=0.0)
    assert 0.1 < weak < strong
    assert strong > 0.95


@pytest.mark.slow
def test_what_trials_differ_in_costs_the_bound_something():
    steady = {"jitter_sd_s": {"early": 0.0, "middle": 0.0, "late": 0.0}, "gain_sd": 0.0}
    assert right_of_bound(evoked_uv=2.0, lapse_share=0.0, **steady) > right_of_bound(
        evoked_uv=2.0, lapse_share=0.3
    )


@pytest.mark.nightly
def test_no_linear_decoder_passes_the_bound(world, heard):
    study, known = world
    train, shown, test, _ = heard
    train, test = whitened(train, shown, train), whitened(train, shown, test)
    decoder = fit(averaged(train, shown, 4)[0], known[:N_TRAIN])
    scores = cosines(decoder(test[: 10 * N_TEST].reshape(10 * N_TEST, -1)), known[N_TRAIN:])
    concepts = np.array([s.concept for s in study.stimuli.values()])
    named_so = concepts[N_TRAIN:][scores.argmax(axis=1)]
    bound = np.array(bound_answers(study, 1, 5))
    truth = concepts[study.schedule(1, 5).stimuli]
    assert (bound == truth).mean() > (named_so == truth).mean()


def test_d_prime_and_share_are_inverse():
    for share in (0.01, 0.2, 0.9):
        assert share_right(d_prime(share, 200), 200) == pytest.approx(share, abs=1e-4)
    assert share_right(0.0, 200) == pytest.approx(1 / 200, abs=1e-4)


def test_the_channels_are_in_the_cap():
    assert set(TEN_TEN) <= set(CHANNELS)
    assert (len(set(POSTERIOR)), len(set(TEN_TEN))) == (17, 63)
