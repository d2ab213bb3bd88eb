"""The stage with an image prompt, from the command line, on a tiny study with a tiny adapter."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from PIL import Image

from tasks.__main__ import main
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.tables import read_table, write_table
from tasks.commands.doctor import examine
from tasks.diffusion import drawing
from tasks.runtime.files import sha256_of
from tests.conftest import preset
from tests.diffusion.architectures import (
    make_image_encoder,
    make_stable_diffusion,
    save_adapter,
    seeded,
)
from tests.synthetic_study import KINDS, make_study, unit
from tests.test_render import COMPOSITION, CONDITIONS, encoder, hashes, write_eeg

__all__ = ["encoder"]

N_TRIALS = 6
N_VALIDATION = 12
ADAPTER = "adapters/adapter.safetensors"


@pytest.fixture
def study(tmp_path, monkeypatch, repository, encoder):
    """Lay out a study as the earlier stages do, a generator, and an adapter with its image encoder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PERCEPT_WORKERS", "1")
    made = make_study(noise=0.2)
    trials = made.trials.to_pandas()
    known = trials.loc[trials["split"] == "train", "stimulus_id"].unique()
    trials.loc[trials["stimulus_id"].isin(known[:N_VALIDATION]), "split"] = "validation"
    tables = {
        "trials": trials,
        "captions": made.captions,
        "text_vectors": made.text_vectors,
        "retrievals": made.retrievals,
        "predictions": predictions(trials, made),
        "stimuli": stimuli(trials),
    }
    for name, table in tables.items():
        write(name, table)
    write_eeg(made.trials, Artifacts().epochs)
    pipeline = seeded(make_stable_diffusion)
    pipeline.save_pretrained("diffusion")
    save_adapter(pipeline.unet, tmp_path / ADAPTER)
    make_image_encoder().save_pretrained("adapters/image_encoder")
    params = preset("tiny")
    params["render"] |= {
        "model": "local-dir:diffusion",
        "composition": COMPOSITION | {"kinds": list(KINDS)},
        "max_trials": N_TRIALS,
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    drawing.load_renderer.cache_clear()
    yield tmp_path
    drawing.load_renderer.cache_clear()


def write(name, table):
    schema = getattr(Artifacts, name).schema
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, schema, preserve_index=False)
    write_table(table, getattr(Artifacts(), name), schema)


def predictions(trials, made):
    """Predict the text vectors of validation and test trials, up to noise."""
    vector = dict(
        zip(
            made.text_vectors["caption_id"].to_pylist(),
            made.text_vectors["vector"].to_pylist(),
            strict=True,
        )
    )
    rng, rows = np.random.default_rng(0), []
    for trial in trials[trials["split"] != "train"].itertuples():
        for kind in KINDS:
            true = np.array(vector[f"{trial.stimulus_id}_{kind}"])
            rows.append((trial.trial_id, kind, unit(true + 0.1 * rng.standard_normal(len(true)))))
    return pd.DataFrame(rows, columns=PREDICTIONS.names)


def stimuli(trials):
    rng, rows = np.random.default_rng(0), []
    Artifacts().simulated.mkdir(parents=True)
    for stimulus_id, concept in trials[["stimulus_id", "concept"]].drop_duplicates().to_numpy():
        path = Artifacts().simulated / f"{stimulus_id}.png"
        Image.fromarray(rng.integers(0, 255, (4, 4, 3), np.uint8)).resize((16, 16)).save(path)
        rows.append((stimulus_id, concept, path.as_posix(), 16, 16, sha256_of(path), ""))
    return pd.DataFrame(rows, columns=STIMULI.names)


def draw(folder, **changes):
    """Render from the command line; return the hashes of the pictures by condition."""
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["render"]["image_prompt"] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    assert main(["run", "render"]) == 0
    found = hashes(Artifacts().render_images)
    return {
        name: {k: v for k, v in found.items() if k.startswith(f"{name}/")} for name in CONDITIONS
    }


def test_the_stage_draws_with_an_image_prompt(study, encoder, caplog):
    caplog.set_level("INFO")
    words = draw(study)
    manifest = read_table(Artifacts().renders, RENDERS)
    assert "Image embeddings" not in caplog.text
    n_heard = len(encoder.heard)
    both = draw(study, adapter=ADAPTER)
    assert len(encoder.heard) == n_heard + 1
    assert re.search(
        rf"Image embeddings from \d+ trials of {N_VALIDATION} validation stimuli", caplog.text
    )
    assert read_table(Artifacts().renders, RENDERS).equals(manifest)
    for name in CONDITIONS:
        assert len(both[name]) == N_TRIALS
        assert both[name].keys() == words[name].keys()
        assert not set(both[name].values()) & set(words[name].values())
    caplog.clear()
    assert draw(study) == both
    assert f"0 of {N_TRIALS * len(CONDITIONS)} pictures are to be drawn." in caplog.text
    stronger = draw(study, scale=1.0)
    assert not set(stronger["decoded"].values()) & set(both["decoded"].values())
    assert draw(study, adapter=None) == words


def test_what_is_learnt_knows_nothing_of_test_trials(study):
    first = draw(study, adapter=ADAPTER)
    trials = read_table(Artifacts().trials, Artifacts.trials.schema).to_pandas()
    validation = set(trials.loc[trials["split"] == "validation", "trial_id"])
    table = read_table(Artifacts().predictions, PREDICTIONS).to_pandas()
    own = table["trial_id"].isin(validation)
    rng = np.random.default_rng(1)
    others = [unit(rng.standard_normal(len(vector))) for vector in table["vector"]]
    write("predictions", table.assign(vector=table["vector"].where(own, pd.Series(others))))
    second = draw(study)
    changed = {name for name in CONDITIONS if first[name] != second[name]}
    assert changed == {"decoded", "shuffled_eeg"}
    write("predictions", table.assign(vector=table["vector"].where(~own, pd.Series(others))))
    third = draw(study)
    changed = {name for name in CONDITIONS if first[name] != third[name]}
    assert changed == {"decoded", "shuffled_eeg", "noise_eeg"}


def test_a_missing_adapter_is_one_clear_error(study, capsys):
    params = yaml.safe_load((study / "params.yaml").read_text())
    params["render"]["image_prompt"]["adapter"] = "none.safetensors"
    (study / "params.yaml").write_text(yaml.safe_dump(params))
    assert main(["run", "render"]) == 1
    error = capsys.readouterr().err
    assert error.strip().endswith(
        "`render.image_prompt.adapter` must exist; none.safetensors does not. Get it or set the param to "
        "null."
    )
    assert "Traceback" not in error
    (finding,) = [found for found in examine(study / "params.yaml") if found.what == "image prompt"]
    assert finding.blocks
    assert "none.safetensors does not" in finding.text


def test_the_doctor_looks_at_all_parts(study):
    params = yaml.safe_load((study / "params.yaml").read_text())
    assert "image prompt" not in {found.what for found in examine(study / "params.yaml")}
    params["render"]["image_prompt"]["adapter"] = ADAPTER
    (study / "params.yaml").write_text(yaml.safe_dump(params))
    (finding,) = [found for found in examine(study / "params.yaml") if found.what == "image prompt"]
    assert finding.text == f"{ADAPTER} and adapters/image_encoder fit diffusion"
    assert finding.mark == "ok"
