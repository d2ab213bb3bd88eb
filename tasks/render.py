"""Draw pictures from decoded captions, and from those of the controls beside them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from tasks._map import Map
from tasks._params import Params
from tasks.analysis.statistics import seed_of
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.files import link_or_copy
from tasks.artifacts.tables import read_table, write_table
from tasks.diffusion.composition import prompt_of
from tasks.diffusion.conditions import GALLERY, Condition, Sources, select_trials
from tasks.diffusion.drawing import Drawing, Settings
from tasks.diffusion.folder import find_pipeline
from tasks.diffusion.noise import retrieve_from_noise
from tasks.encoder.checkpoints import load_encoder


class RenderParams(Params):
    """What is drawn, and how."""

    model: str
    conditions: tuple[Condition, ...] = Field(min_length=1)
    kinds: tuple[str, ...] = Field(min_length=1)
    max_trials: PositiveInt
    n_samples: PositiveInt
    n_steps: PositiveInt
    guidance_scale: NonNegativeFloat
    batch_size: PositiveInt
    seed: NonNegativeInt


def render(
    trials: Path,
    epochs: Path,
    captions: Path,
    text_vectors: Path,
    encoder: Path,
    retrievals: Path,
    diffusion_model: Path,
    *,
    renders: Path,
    render_images: Path,
    params: RenderParams,
    map: Map,
) -> None:
    """Draw each chosen trial in each condition; only what is not in the cache is drawn.

    Parameters
    ----------
    trials, epochs, captions, text_vectors, encoder, retrievals, diffusion_model : Path
        What was shown, its captions, the decoded ones and the frozen generator; the EEG, the vectors and
        the encoder retrieve captions from noise.
    renders, render_images : Path
        Manifest, and the pictures as <condition>/<trial_id>_<sample>.png.
    params : RenderParams
        What is drawn, and how.
    map : Map
        Runs the batches.

    Raises
    ------
    PerceptError
        If the generator or a caption is missing, or the disk is too small.
    """
    folder = find_pipeline(params.model, diffusion_model)
    from_noise = partial(
        _retrieve_from_noise, trials, epochs, captions, text_vectors, encoder, params.seed
    )
    manifest = plan(trials, captions, retrievals, from_noise, params)
    settings = Settings(params.n_steps, params.guidance_scale)
    requests = list(zip(manifest["prompt"], manifest["seed"].tolist(), strict=True))
    pictures = Drawing(folder, settings, params.batch_size).draw_all(requests, map)
    names = zip(manifest["condition"], manifest["trial_id"], manifest["sample"], strict=True)
    paths = [render_images / c / f"{trial_id}_{sample}.png" for c, trial_id, sample in names]
    for picture, path in zip(pictures, paths, strict=True):
        link_or_copy(picture, path)
    manifest["image_path"] = [path.as_posix() for path in paths]
    manifest["flagged"] = False
    write_table(pa.Table.from_pandas(manifest, preserve_index=False), renders, RENDERS)


def plan(
    trials: Path,
    captions: Path,
    retrievals: Path,
    retrieve_from_noise: Callable[[pd.DataFrame], pd.DataFrame],
    params: RenderParams,
) -> pd.DataFrame:
    """List what is drawn: trial_id, condition, sample, prompt, guidance_scale, seed."""
    known = read_table(trials, TRIALS).to_pandas()
    chosen = select_trials(known, params.max_trials, params.seed)
    sources = Sources(
        known,
        read_table(captions, CAPTIONS).to_pandas(),
        read_table(retrievals, RETRIEVALS).to_pandas(),
        chosen,
        retrieve_from_noise,
        params.seed,
    )
    rows = [
        {
            "trial_id": trial_id,
            "condition": condition,
            "sample": sample,
            "prompt": prompt_of(found, params.kinds, trial_id, condition),
            "guidance_scale": params.guidance_scale,
            "seed": seed_of(params.seed, trial_id, condition, sample),
        }
        for condition in params.conditions
        for trial_id, found in zip(chosen["trial_id"], sources.captions_of(condition), strict=True)
        for sample in range(params.n_samples)
    ]
    return pd.DataFrame(rows)


def _retrieve_from_noise(
    trials: Path,
    epochs: Path,
    captions: Path,
    text_vectors: Path,
    encoder: Path,
    seed: int,
    chosen: pd.DataFrame,
) -> pd.DataFrame:
    """Retrieve the nearest caption of each kind from noise in the place of the chosen trials."""
    return retrieve_from_noise(
        chosen,
        read_table(trials, TRIALS),
        read_table(captions, CAPTIONS),
        read_table(text_vectors, TEXT_VECTORS),
        epochs,
        load_encoder(encoder),
        gallery=GALLERY,
        k=1,
        seed=seed,
    )
