"""Draw pictures from decoded captions, and from those of the controls beside them."""

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
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.files import link_or_copy
from tasks.artifacts.tables import read_table, write_table
from tasks.diffusion.conditions import Condition, prompts_of, select_trials
from tasks.diffusion.drawing import Drawing, Settings
from tasks.diffusion.folder import find_pipeline


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
    captions: Path,
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
    trials, captions, retrievals, diffusion_model : Path
        What was shown, its captions, the decoded ones, and the frozen generator.
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
    manifest = plan(trials, captions, retrievals, params)
    settings = Settings(params.n_steps, params.guidance_scale)
    requests = list(zip(manifest["prompt"], manifest["seed"].tolist(), strict=True))
    pictures = Drawing(folder, settings, params.batch_size).draw_all(requests, map)
    names = zip(manifest["condition"], manifest["trial_id"], manifest["sample"], strict=True)
    paths = [render_images / c / f"{trial_id}_{sample}.png" for c, trial_id, sample in names]
    for picture, path in zip(pictures, paths, strict=True):
        link_or_copy(picture, path)
    manifest["image_path"] = [path.as_posix() for path in paths]
    write_table(pa.Table.from_pandas(manifest, preserve_index=False), renders, RENDERS)


def plan(trials: Path, captions: Path, retrievals: Path, params: RenderParams) -> pd.DataFrame:
    """List what is drawn: trial_id, condition, sample, prompt, seed."""
    chosen = select_trials(read_table(trials, TRIALS).to_pandas(), params.max_trials, params.seed)
    prompts = prompts_of(
        chosen,
        read_table(captions, CAPTIONS).to_pandas(),
        read_table(retrievals, RETRIEVALS).to_pandas(),
        params.kinds,
        params.seed,
    )
    rows = [
        (trial_id, condition, sample, prompt, seed_of(params.seed, trial_id, condition, sample))
        for condition in params.conditions
        for trial_id, prompt in zip(chosen["trial_id"], prompts[condition], strict=True)
        for sample in range(params.n_samples)
    ]
    return pd.DataFrame(rows, columns=["trial_id", "condition", "sample", "prompt", "seed"])
