"""What a sweep asks for, and how it says that it cannot."""

from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from tasks.sweeps.plan import Sweep, SweepError, cells_of, read_sweep, train_params
from tests.encoder.small_study import ARCHITECTURES, PARAMS

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = PARAMS.model_dump(mode="json")
SMALL = {
    "title": "t",
    "notes": "n",
    "studies": {"here": None},
    "protocols": ["within_subject", "pooled", "leave_one_subject_out"],
    "seeds": [0, 1],
    "train": {"schedule": {"max_epochs": 2}},
    "arms": {
        "ours": {},
        "linear": {
            "train": {
                "architecture": {"name": "linear", **ARCHITECTURES["linear"], "prior_trials": 7.0}
            }
        },
        "half": {"share_of_stimuli": 0.5},
    },
}
SLOW, FAST = ({"optimiser": {"learning_rate": rate}} for rate in (1e-5, 1e-2))
SEARCH = {"study": {}, "epochs": [1]}
SUBJECTS = ["sub-01", "sub-02"]


def cells(subjects=SUBJECTS, settings=MappingProxyType({}), **changes):
    sweep = Sweep.model_validate(SMALL | changes)
    return cells_of(sweep, "here", Path("root"), subjects, BASE, Path("results"), settings)


def test_every_arm_meets_every_seed_protocol_and_fold_once():
    found = cells()
    assert len(found) == 2 * 3 * (2 + 1 + 2)
    assert len({cell.result for cell in found}) == len(found)
    assert {c.fold for c in found if c.protocol == "pooled"} == {"all"}
    assert {c.train["per_subject"] for c in found if c.protocol != "pooled"} == {
        True,
        False,
    }
    strangers = [c for c in found if c.protocol == "leave_one_subject_out"]
    assert not any(c.train["per_subject"] for c in strangers)


def test_changes_go_as_deep_as_they_say():
    params = train_params(BASE, Sweep.model_validate(SMALL), "linear", 5)
    assert (params.seed, params.architecture.name, params.schedule.max_epochs) == (5, "linear", 2)
    assert params.architecture.prior_trials == 7.0
    assert params.schedule.warmup_epochs == PARAMS.schedule.warmup_epochs


def test_a_renamed_arm_is_not_trained_again():
    renamed = cells(arms={"other": {}}, seeds=[1])
    assert {c.key for c in renamed} < {c.key for c in cells()}


def test_one_subject_cannot_be_left_out():
    with pytest.raises(SweepError) as error:
        cells(subjects=["sub-01"])
    assert str(error.value) == (
        "The protocol leave_one_subject_out needs at least two subjects; the study 'here' has 1. "
        "Record more, or take the protocol out of the sweep."
    )


def test_an_unknown_param_is_named():
    with pytest.raises(SweepError) as error:
        cells(arms={"wrong": {"train": {"depth": 3}}})
    assert str(error.value) == (
        "The arm 'wrong': depth: Extra inputs are not permitted; found 3. Mend it."
    )


def test_a_sweep_that_is_not_there_is_named(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    assert read_sweep("small", tmp_path).title == "t"
    with pytest.raises(SweepError) as error:
        read_sweep("large", tmp_path)
    assert str(error.value) == (
        "A sweep must be one of small; 'large' is none. "
        f"Name one of these, or add {tmp_path / 'large.yaml'}."
    )


def test_a_sweep_that_is_incomplete_is_named(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL | {"seeds": []}))
    with pytest.raises(SweepError) as error:
        read_sweep("small", tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'small.yaml'}: seeds: List should have at least 1 item after validation, "
        "not 0; found []. Mend it."
    )


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "sweeps").glob("*.yaml")), ids=lambda p: p.stem
)
def test_committed_sweeps_fit_the_params(path):
    base = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
    sweep = read_sweep(path.stem, path.parent)
    assert cells_of(
        sweep, "any", Path(), SUBJECTS, base, Path("results"), dict.fromkeys(sweep.arms)
    )
    for name, arm in sweep.arms.items():
        for setting in arm.settings:
            train_params(base, sweep, name, 0, setting)


def test_an_arm_has_cells_once_its_setting_is_chosen():
    arms = {"ours": {}, "tuned": {"settings": {"slow": SLOW, "fast": FAST}}}
    search = {"study": {}, "epochs": [1, 2]}
    assert {c.arm for c in cells(arms=arms, search=search)} == {"ours"}
    found = cells(arms=arms, search=search, settings={"tuned": "slow"})
    rates = {c.arm: c.train["optimiser"]["learning_rate"] for c in found}
    assert rates == {"ours": BASE["optimiser"]["learning_rate"], "tuned": 1e-5}


def test_settings_need_a_search():
    with pytest.raises(ValueError, match="search must say how the settings of tuned are chosen"):
        cells(arms={"tuned": {"settings": {"slow": SLOW}}})


def test_a_setting_that_is_wrong_is_named():
    sweep = Sweep.model_validate(
        SMALL | {"arms": {"a": {"settings": {"s": {"depth": 3}}}}, "search": SEARCH}
    )
    with pytest.raises(SweepError, match="The arm 'a', 's': depth: Extra inputs"):
        train_params(BASE, sweep, "a", 0, "s")
