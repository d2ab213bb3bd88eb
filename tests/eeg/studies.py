"""A small study in the layout of the simulated one, made of noise and planted sines."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import yaml
from PIL import Image

from tasks.preprocess import PreprocessParams

CHANNELS = (
    "Fp1",
    "Fp2",
    "F3",
    "F4",
    "C3",
    "C4",
    "P3",
    "P4",
    "O1",
    "O2",
    "T7",
    "T8",
    "Fz",
    "Cz",
    "Pz",
    "Oz",
)

PARAMS = """
mains_hz: 50.0
filters: {method: fir, high_pass_hz: 0.5, low_pass_hz: 40.0, notch_hz: [50.0]}
window: {tmin_s: -0.1, tmax_s: 0.7, sfreq_hz: 100.0, onset_step_s: 0.002}
resample: continuous
baseline_s: [-0.1, 0.0]
reference: average
on_nan: raise
detrend: null
bad_channels: {flat_uv: 0.1, deviation_z: 6.0, min_correlation: 0.4, max_fraction: 0.2, pyprep: null}
ica: null
reject: {peak_to_peak_uv: 300.0, flat_uv: 0.1, autoreject: null}
whitening: null
repetitions: null
split: {strategy: image, seed: 0, zero_shot_fraction: 0.25, test_fraction: 0.25, validation_fraction: 0.25}
"""


def make_params(**changes: object) -> PreprocessParams:
    """Return params for small recordings; a change replaces, or updates where it is a dict."""
    params = yaml.safe_load(PARAMS)
    for name, value in changes.items():
        params[name] = (params[name] or {}) | value if isinstance(value, dict) else value
    return PreprocessParams.model_validate(params)


def make_signal(n_samples: int, sfreq_hz: float = 250.0, seed: int = 0) -> np.ndarray:
    """Return noise in microvolt that neighbouring channels share, below 40 Hz for the most part."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(3, n_samples + 4))
    shared = sum(shared[:, i : i + n_samples] for i in range(5)) * 4
    own = rng.normal(size=(len(CHANNELS), n_samples)) * 3
    mixing = 1 + 0.3 * rng.random((len(CHANNELS), 3))
    return mixing @ shared + own


def make_raw(
    signal_uv: np.ndarray, sfreq_hz: float = 250.0, channels: tuple[str, ...] = CHANNELS
) -> mne.io.RawArray:
    """Return a recording with electrode positions."""
    info = mne.create_info(list(channels), sfreq_hz, "eeg").set_montage("colin27_1005")
    return mne.io.RawArray(signal_uv * 1e-6, info, verbose="ERROR")


def save_picture(path: Path) -> None:
    """Save a small picture of a colour of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = zlib.crc32(f"{path.parent.name}/{path.name}".encode()).to_bytes(4, "big")[:3]
    Image.new("RGB", (8, 6), tuple(colour)).save(path)


@dataclass(frozen=True)
class MiniStudy:
    """Where the study lies, and what was written."""

    raw: Path
    n_trials: int
    concepts: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.raw / "simulated"

    def events_file(self, recording_id: str) -> Path:
        return self.folder / "recordings" / f"{recording_id}_events.tsv"

    def recording_file(self, recording_id: str) -> Path:
        return self.folder / "recordings" / f"{recording_id}_eeg.fif"


def write_study(
    raw: Path,
    recording_ids: tuple[str, ...] = ("sub-01_ses-01", "sub-02_ses-01"),
    n_concepts: int = 4,
    n_images: int = 8,
    sfreq_hz: float = 250.0,
) -> MiniStudy:
    """Write every stimulus once per recording, in random order."""
    names = {f"c{c}_{i}": f"c{c}" for c in range(n_concepts) for i in range(n_images)}
    study = MiniStudy(raw, len(names), names)
    (study.folder / "stimuli").mkdir(parents=True)
    (study.folder / "recordings").mkdir()
    lines = ["stimulus_id\tconcept"]
    for number, (name, concept) in enumerate(names.items()):
        lines.append(f"{name}\t{concept}")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(study.folder / "stimuli" / f"{name}.png")
    (study.folder / "stimuli.tsv").write_text("\n".join(lines) + "\n")
    for seed, recording_id in enumerate(recording_ids):
        write_recording(study, recording_id, seed, sfreq_hz)
    return study


def write_recording(study: MiniStudy, recording_id: str, seed: int, sfreq_hz: float) -> None:
    """Write one recording and its events."""
    soa_s = 0.8
    n_samples = round((len(study.concepts) * soa_s + 8) * sfreq_hz)
    raw = make_raw(make_signal(n_samples, sfreq_hz, seed), sfreq_hz)
    raw.save(study.recording_file(recording_id), verbose="ERROR")
    order = np.random.default_rng(seed).permutation(list(study.concepts))
    lines = ["onset_s\tduration_s\tstimulus_id\tblock\trepetition\tpresentation_order"]
    lines += [f"{4 + i * soa_s}\t0.5\t{name}\t0\t0\t{i}" for i, name in enumerate(order)]
    study.events_file(recording_id).write_text("\n".join(lines) + "\n")
