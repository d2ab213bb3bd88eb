"""Averages of a recording are the mean of its epochs and the power of what is in them."""

from pathlib import Path

import numpy as np

from tasks.artifacts.contracts.averages import AVERAGES
from tasks.eeg.averages import average_recording
from tasks.eeg.epochs import EpochsInfo, write_epochs

INFO = EpochsInfo(("O1", "Oz"), 100.0, -0.2, "uV", "average", "none")


def test_the_erp_is_the_mean_and_the_spectrum_peaks_where_the_rhythm_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times_s = np.arange(100) / 100
    alpha = np.sin(2 * np.pi * (10 * times_s + rng.uniform(size=(300, 1, 1))))
    eeg = (alpha * [[[1.0], [3.0]]] + rng.normal(0, 0.1, (300, 2, 100))).astype(np.float32)
    path = tmp_path / "sub-01_ses-01.parquet"
    write_epochs(path, [f"sub-01_ses-01_trial-{i:04d}" for i in range(300)], eeg, INFO)
    table = average_recording(path)
    assert table.schema == AVERAGES
    found = table.to_pandas()
    assert set(found["recording_id"]) == {"sub-01_ses-01"}
    erp = found[found["curve"] == "erp"].pivot_table(index="channel", columns="at", values="value")
    assert np.allclose(erp.to_numpy(), eeg.mean(axis=0), atol=1e-5)
    assert np.allclose(erp.columns, times_s - 0.2, atol=1e-6)
    spectrum = found[found["curve"] == "spectrum"].pivot_table(
        index="at", columns="channel", values="value"
    )
    assert spectrum.idxmax().tolist() == [10.0, 10.0]
    assert np.isclose((spectrum["Oz"] - spectrum["O1"])[10.0], 20 * np.log10(3), atol=0.1)


def test_a_recording_without_epochs_has_no_rows(tmp_path: Path) -> None:
    write_epochs(tmp_path / "empty.parquet", [], np.zeros((0, 2, 100), np.float32), INFO)
    assert len(average_recording(tmp_path / "empty.parquet")) == 0
