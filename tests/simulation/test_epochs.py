import numpy as np

from tasks.simulation.epochs import simulate_epochs
from tasks.simulation.study import make_study
from tests.simulation.studies import make_params

PARAMS = make_params(n_subjects=2, n_presentations=2, n_sessions=2, factor=4.0)


def test_epochs_are_trials_of_all_recordings():
    data = simulate_epochs(PARAMS, -0.1, 0.6)
    assert data.eeg.shape == (2 * 2 * 80, 128, 70)
    assert data.eeg.dtype == np.float32
    assert np.abs(data.eeg.mean(axis=1)).max() < 1e-2
    assert sorted(set(data.subjects)) == ["sub-01", "sub-02"]
    stimuli = make_study(PARAMS).stimuli
    for name, labels in data.labels.items():
        assert labels == tuple(getattr(stimuli[i], name) for i in data.stimulus_ids)


def test_responses_show_in_the_epochs():
    data = simulate_epochs(PARAMS, -0.1, 0.6)
    first = data.levels["size"] == 0
    differences = data.eeg[first].mean(axis=0) - data.eeg[~first].mean(axis=0)
    before, after = np.split(np.abs(differences).max(axis=0), [10])
    assert after.argmax() in range(8, 25)
    assert after.max() > 2 * before.max()
