import numpy as np
import pytest

from tasks.simulation.head import CHANNELS, make_head
from tasks.simulation.noise import generate_noise, noise_sources
from tests.simulation.studies import make_params

SILENT = {
    "background_uv": 0.0,
    "alpha_uv": 0.0,
    "blink_uv": 0.0,
    "line_uv": 0.0,
    "sensor_uv": 0.0,
    "block_drift_uv": 0.0,
}
SFREQ_HZ = 250.0


def sources(**amplitudes):
    params = make_params(noise=SILENT | amplitudes).noise
    return noise_sources(params, make_head(), np.random.default_rng(1))


def generate(n_times=50_000, sensor_uv=0.0, seed=2, **amplitudes):
    rng = np.random.default_rng(seed)
    return generate_noise(sources(**amplitudes), sensor_uv, n_times, SFREQ_HZ, rng)


def share_of_power(eeg, low_hz, high_hz):
    power = (np.abs(np.fft.rfft(eeg, axis=1)) ** 2).sum(axis=0)
    freqs = np.fft.rfftfreq(eeg.shape[1], 1 / SFREQ_HZ)
    return power[(freqs >= low_hz) & (freqs <= high_hz)].sum() / power.sum()


@pytest.mark.parametrize("kind", ["background_uv", "alpha_uv", "line_uv", "block_drift_uv"])
def test_amplitude_is_the_rms_over_channels(kind):
    eeg = generate(**{kind: 3.0})
    assert np.sqrt((eeg**2).mean()) == pytest.approx(3.0, rel=0.2)


@pytest.mark.parametrize("kind", ["background_uv", "alpha_uv", "line_uv", "blink_uv"])
def test_autocovariance_is_that_of_the_noise(kind):
    (source,) = sources(**{kind: 3.0}).values()
    rng = np.random.default_rng(0)
    courses = np.concatenate([source.courses(80_000, SFREQ_HZ, rng)[:8] for _ in range(12)])
    lags = np.array([0, 3, 12, 30])
    found = [(courses[:, : 80_000 - lag] * courses[:, lag:]).mean() for lag in lags]
    expected = source.autocovariance(31, SFREQ_HZ)[lags]
    assert np.allclose(found, expected, atol=0.1 * expected[0])


def test_alpha_and_hum_lie_in_their_bands():
    assert share_of_power(generate(alpha_uv=3.0), 8, 12) > 0.95
    assert share_of_power(generate(line_uv=3.0), 49.5, 50.5) > 0.99


def test_blinks_are_frontal():
    peak = generate(blink_uv=100.0).max(axis=1)
    assert peak[CHANNELS.index("Fp1")] > 50 > 1 > peak[CHANNELS.index("Oz")]


def test_sensor_noise_is_independent_between_channels():
    similarity = np.corrcoef(generate(sensor_uv=3.0)[:10])
    assert np.abs(similarity - np.eye(10)).max() < 0.03


def test_drift_is_there_only_when_asked_for():
    without = generate(background_uv=3.0, sensor_uv=2.0)
    drift = generate(background_uv=3.0, sensor_uv=2.0, block_drift_uv=30.0) - without
    assert share_of_power(without, 0, 0.1) < 0.1
    assert share_of_power(drift, 0, 0.1) > 0.9
    assert np.sqrt((drift**2).mean()) == pytest.approx(30.0, rel=0.2)
