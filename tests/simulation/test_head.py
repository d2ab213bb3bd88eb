"""The forward model is the same on every processor."""

import mne
import numpy as np

from tasks.simulation.head import CENTRE_M, CHANNELS, RADIUS_M, SHELLS, make_head, make_info


def test_constants_are_what_mne_finds():
    """The sphere lies where MNE fits it, and potentials differ by no more than its search is exact."""
    sphere = mne.make_sphere_model("auto", "auto", make_info(250.0), verbose="ERROR")
    np.testing.assert_allclose(CENTRE_M, sphere["r0"], atol=1e-5)
    np.testing.assert_allclose(RADIUS_M, sphere["layers"][-1]["rad"], atol=1e-5)
    grid = mne.setup_volume_source_space(pos=30.0, sphere=sphere, verbose="ERROR")

    def potentials(model):
        forward = mne.make_forward_solution(
            make_info(250.0), None, grid, model, meg=False, eeg=True, verbose="ERROR"
        )
        return forward["sol"]["data"]

    found = potentials(sphere)
    sphere.update(SHELLS)
    assert np.abs(potentials(sphere) - found).max() < 0.01 * np.abs(found).max()


def test_positions_hold_no_trace_of_rounding():
    positions = np.stack([point["r"] for point in make_info(250.0)["dig"]])
    assert not np.any((positions != 0) & (np.abs(positions) < 1e-9))
    assert not np.signbit(positions[positions == 0]).any()


def test_a_lead_field_of_every_channel():
    assert make_head().leadfield.shape[0] == len(CHANNELS)
