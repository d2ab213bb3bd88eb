"""Draw pictures from decoded captions, and from those of the controls beside them."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import Field, NonNegativeInt, PositiveInt

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.tables import read_table, write_table
from tasks.controls.heard_noise import NoiseControl
from tasks.diffusion.adapter import ImagePromptParams, find_image_encoder
from tasks.diffusion.composition import CompositionParams, condition_on
from tasks.diffusion.conditions import GALLERY, Condition, Sources, select_trials
from tasks.diffusion.drawing import Drawing
from tasks.diffusion.folder import find_pipeline
from tasks.diffusion.image_prompts import ImageEncoder, ImagePrompts
from tasks.diffusion.settings import Precision, Request, Settings
from tasks.runtime.files import link_or_copy
from tasks.runtime.map import Map
from tasks.runtime.params import Params
from tasks.statistics.draws import seed_of


class RenderParams(Params):
    """What is drawn, and how."""

    model: str
    conditions: tuple[Condition, ...] = Field(min_length=1)
    composition: CompositionParams
    image_prompt: ImagePromptParams
    max_trials: PositiveInt
    n_samples: PositiveInt
    n_steps: PositiveInt
    size_px: PositiveInt | None
    precision: Precision
    compile: bool
    safety_checker: bool
    batch_size: PositiveInt
    seed: NonNegativeInt

    @property
    def settings(self) -> Settings:
        """What every picture has in common."""
        return Settings(
            self.n_steps,
            self.composition.negative_prompt,
            self.size_px,
            self.precision,
            self.compile,
            self.safety_checker,
            self.image_prompt.loaded,
        )


def render(
    stimuli: Path,
    trials: Path,
    epochs: Path,
    captions: Path,
    text_vectors: Path,
    encoder: Path,
    predictions: Path,
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
    stimuli, trials, epochs, captions, text_vectors, encoder, predictions, retrievals, diffusion_model : Path
        What was shown, its captions, the decoded ones and the frozen generator; the EEG, the vectors and
        the encoder retrieve captions from noise; pictures and predictions make image prompts.
    renders, render_images : Path
        Manifest, and the pictures as <condition>/<trial_id>_<sample>.png.
    params : RenderParams
        What is drawn, and how.
    map : Map
        Runs the batches.

    Raises
    ------
    PerceptError
        If the generator, its adapter or a caption is missing, or the disk is too small.
    """
    folder = find_pipeline(params.model, diffusion_model)
    image_encoder = find_image_encoder(params.image_prompt, folder)
    known = read_table(trials, TRIALS).to_pandas()
    heard = trials, epochs, captions, text_vectors, encoder
    sources = Sources(
        known,
        read_table(captions, CAPTIONS).to_pandas(),
        read_table(retrievals, RETRIEVALS).to_pandas(),
        select_trials(known, params.max_trials, params.seed),
        NoiseControl(*heard, GALLERY, params.seed),
        params.seed,
    )
    looking = _image_prompts(sources, stimuli, predictions, image_encoder)
    manifest, requests = plan(sources, looking, params)
    del looking  # a large network, before another one is loaded
    kept = Drawing(folder, params.settings, params.batch_size).draw_all(requests, map)
    names = zip(manifest["condition"], manifest["trial_id"], manifest["sample"], strict=True)
    paths = [render_images / c / f"{trial_id}_{sample}.png" for c, trial_id, sample in names]
    for (picture, _), path in zip(kept, paths, strict=True):
        link_or_copy(picture, path)
    manifest["image_path"] = [path.as_posix() for path in paths]
    manifest["flagged"] = [flagged for _, flagged in kept]
    write_table(pa.Table.from_pandas(manifest, preserve_index=False), renders, RENDERS)


def _image_prompts(
    sources: Sources, stimuli: Path, predictions: Path, encoder: Path | None
) -> ImagePrompts | None:
    """Return what gives each condition its image embeddings; None for words alone."""
    if encoder is None:
        return None
    shown, predicted = read_table(stimuli, STIMULI), read_table(predictions, PREDICTIONS)
    return ImagePrompts(sources, shown.to_pandas(), predicted, ImageEncoder(encoder))


def plan(
    sources: Sources, image_prompts: ImagePrompts | None, params: RenderParams
) -> tuple[pd.DataFrame, list[Request]]:
    """List what is drawn: trial_id, condition, sample, prompt, guidance_scale, seed; and what is asked."""
    trial_ids = sources.chosen["trial_id"].tolist()
    rows, requests = [], []
    for condition in params.conditions:
        images = image_prompts.images_of(condition) if image_prompts else [None] * len(trial_ids)
        found = zip(trial_ids, sources.captions_of(condition), images, strict=True)
        for trial_id, texts, image in found:
            words = condition_on(texts, params.composition, trial_id, condition)
            conditioning = words._replace(image=image)
            for sample in range(params.n_samples):
                seed = seed_of(params.seed, trial_id, condition, sample)
                given = conditioning.prompt, conditioning.guidance_scale, seed
                rows.append((trial_id, condition, sample, *given))
                requests.append(Request(conditioning, seed))
    return pd.DataFrame(rows, columns=RENDERS.names[:6]), requests
