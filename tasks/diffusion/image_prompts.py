"""Image embeddings that condition the generator beside the words, predicted from EEG.

A linear map takes the vectors that the encoder's heads predict to the image embeddings of an IP-Adapter's
own CLIP (Ye et al. 2023, arXiv 2308.06721). It is fitted on validation trials: the encoder has fitted the
training trials, so that what it predicts for them is better than what it predicts for others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer
from sklearn.metrics.pairwise import paired_cosine_distances
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection
from transformers.utils.logging import disable_progress_bar

from tasks.artifacts.pictures import read_picture
from tasks.artifacts.splits import VALIDATION
from tasks.clip.vectors import table_to_vectors
from tasks.diffusion.conditions import Condition, Sources
from tasks.diffusion.folder import pipeline_fingerprint
from tasks.runtime.device import compute_device
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import atomic_path, fingerprint
from tasks.runtime.progress import counting, files_there

logger = logging.getLogger(__name__)

CACHE = Path("data/cache/image_prompts")
"""Every embedding of a picture, by image encoder and content of the picture."""
MIN_STIMULI = 10
N_FOLDS = 5
PENALTIES = tuple(10.0**power for power in range(-1, 5))
DECIMALS = 4
"""Of the numbers that condition a picture: the last bits of arithmetic call for no new picture."""

Embeddings = Float[np.ndarray, "n dim"]


@dataclass(frozen=True)
class ImageEncoder:
    """The CLIP that an IP-Adapter was trained with; a picture is embedded once.

    Attributes
    ----------
    folder : Path
        What ``save_pretrained`` wrote; without a preprocessor_config.json pictures are prepared as
        diffusers does it.
    """

    folder: Path

    def embed(self, stimuli: pd.DataFrame) -> Embeddings:
        """Return the embeddings of pictures, not normalised, as IP-Adapters take them.

        Parameters
        ----------
        stimuli : pandas.DataFrame
            Rows of the contract of `stimuli`.

        Raises
        ------
        PerceptError
            If a picture is not the one that was ingested, or the encoder is damaged.
        """
        paths = [self._cache / f"{sha256}.npy" for sha256 in stimuli["sha256"]]
        pictures = dict(
            zip(paths, zip(stimuli["image_path"], stimuli["sha256"], strict=True), strict=True)
        )
        found = {path: kept for path in pictures if (kept := _kept(path)) is not None}
        missing = [path for path in pictures if path not in found]
        with counting("pictures seen", len(missing), files_there(missing)):
            for path in missing:
                found[path] = self._look(*pictures[path])
                with atomic_path(path) as unfinished:
                    np.save(unfinished, found[path])
        return np.stack([found[path] for path in paths])

    @cached_property
    def _cache(self) -> Path:
        return CACHE / fingerprint(pipeline_fingerprint(self.folder))

    @cached_property
    def _network(self) -> CLIPVisionModelWithProjection:
        disable_progress_bar()
        try:
            network, loading = CLIPVisionModelWithProjection.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise PerceptError(
                f"The image encoder in {self.folder} must be whole; it cannot be loaded ({error}). "
                "Get it anew."
            ) from error
        if missing := sorted(loading["missing_keys"]):
            raise PerceptError(
                f"The image encoder in {self.folder} must be a CLIP with a projection; it has no "
                f"{missing[0]}. Get the one that the adapter was trained with."
            )
        return network.requires_grad_(False).to(compute_device())

    @cached_property
    def _processor(self) -> CLIPImageProcessor:
        if (self.folder / "preprocessor_config.json").is_file():
            return CLIPImageProcessor.from_pretrained(self.folder, local_files_only=True)
        size_px = self._network.config.image_size
        return CLIPImageProcessor(size=size_px, crop_size=size_px)

    def _look(self, image_path: str, sha256: str) -> Float[np.ndarray, " dim"]:
        """Embed one picture by itself, so that the others do not change the last bits."""
        _, picture = read_picture(Path(image_path), sha256)
        pixels = self._processor(picture, return_tensors="pt").pixel_values
        with torch.inference_mode():
            found = self._network(pixels.to(self._network.device)).image_embeds
        embedding: Float[np.ndarray, " dim"] = found[0].float().cpu().numpy()
        return embedding


def _kept(path: Path) -> Float[np.ndarray, " dim"] | None:
    """Return an embedding from the cache; None where it is missing or damaged."""
    if not path.exists():
        return None
    try:
        embedding: Float[np.ndarray, " dim"] = np.load(path)
    except (ValueError, EOFError) as error:
        logger.warning("%s is damaged; its picture is embedded anew (%s).", path, error)
        return None
    return embedding


class LinearMap(NamedTuple):
    """From predictions of the heads to image embeddings.

    Attributes
    ----------
    ridge : Ridge
        Gives the direction.
    norm : float
        Mean norm of real embeddings, which every prediction is given: regression shrinks.
    """

    ridge: Ridge
    norm: float

    def predict(self, features: Float[np.ndarray, "n n_features"]) -> Embeddings:
        """Return the embedding that each trial's features lead to.

        Parameters
        ----------
        features : Float[np.ndarray, "n n_features"]
            From `features_of`.
        """
        directions = self.ridge.predict(features)
        scaled: Embeddings = directions * (
            self.norm / np.linalg.norm(directions, axis=1, keepdims=True)
        )
        return scaled


def features_of(
    predictions: pa.Table, trial_ids: Sequence[str]
) -> Float[np.ndarray, "n n_features"]:
    """Return the predictions of all heads side by side, trial by trial.

    Parameters
    ----------
    predictions : pyarrow.Table
        Of the contract of `predictions`.
    trial_ids : Sequence[str]
        Which trials, in the order of the rows.

    Raises
    ------
    PerceptError
        If a trial lacks a prediction.
    """
    places = pc.index_in(predictions["trial_id"], pa.array(trial_ids, pa.string()))
    own = predictions.append_column("place", places).filter(pc.is_valid(places))
    n_kinds = len(pc.unique(predictions["kind"]))
    if len(own) != n_kinds * len(trial_ids):
        raise PerceptError(
            f"Each of {len(trial_ids)} trials needs a prediction of {n_kinds} heads; found {len(own)} "
            "predictions of them. Run `dvc repro retrieve`."
        )
    vectors = table_to_vectors(own.sort_by([("place", "ascending"), ("kind", "ascending")]))
    return vectors.reshape(len(trial_ids), -1).astype(np.float64)


def fit_map(
    features: Float[np.ndarray, "n n_features"], embeddings: Embeddings, stimuli: Sequence[str]
) -> LinearMap:
    """Fit ridge regression, its penalty by cross-validation over stimuli, and log how good it is.

    Parameters
    ----------
    features : Float[np.ndarray, "n n_features"]
        Of validation trials, from `features_of`.
    embeddings : Embeddings
        Of the picture that was shown in each.
    stimuli : Sequence[str]
        Which one it was: no picture is on both sides of a fold.

    Raises
    ------
    PerceptError
        If there are fewer than ten stimuli.
    """
    n_stimuli = len(set(stimuli))
    if n_stimuli < MIN_STIMULI:
        raise PerceptError(
            f"An image prompt is learnt from kept trials of at least {MIN_STIMULI} validation stimuli; "
            f"found {n_stimuli}. Hold more out in `preprocess.split`, or set "
            "`render.image_prompt.adapter` to null."
        )
    folds, cosine = GroupKFold(N_FOLDS), make_scorer(_mean_cosine)
    search = GridSearchCV(Ridge(), {"alpha": PENALTIES}, scoring=cosine, cv=folds)
    search.fit(features, embeddings, groups=stimuli)
    mean = cross_val_score(
        DummyRegressor(), features, embeddings, groups=stimuli, scoring=cosine, cv=folds
    )
    logger.info(
        "Image embeddings from %d trials of %d validation stimuli: cross-validated cosine %.3f at the "
        "best of %d penalties (%g), %.3f for the mean embedding.",
        len(features),
        n_stimuli,
        search.best_score_,
        len(PENALTIES),
        search.best_params_["alpha"],
        mean.mean(),
    )
    return LinearMap(search.best_estimator_, float(np.linalg.norm(embeddings, axis=1).mean()))


def _mean_cosine(true: Embeddings, predicted: Embeddings) -> float:
    return 1 - float(paired_cosine_distances(true, predicted).mean())


@dataclass(frozen=True)
class ImagePrompts:
    """The image embedding of each chosen trial in each condition, as `Sources` has the captions.

    Attributes
    ----------
    sources : Sources
        Whose captions each condition takes.
    stimuli : pandas.DataFrame
        Rows of the contract of `stimuli`.
    predictions : pyarrow.Table
        Of the contract of `predictions`.
    encoder : ImageEncoder
        Of the adapter.
    """

    sources: Sources
    stimuli: pd.DataFrame
    predictions: pa.Table
    encoder: ImageEncoder

    def images_of(self, condition: Condition) -> list[tuple[float, ...]]:
        """Return the embedding of each chosen trial in a condition, in the order of the trials.

        A class has a name and no picture: there it is zeros, which is what guidance leads away from.
        """
        rounded = self._embeddings(condition).astype(np.float64).round(DECIMALS)
        return [tuple(row) for row in rounded.tolist()]

    def _embeddings(self, condition: Condition) -> Embeddings:
        chosen = self.sources.chosen
        match condition:
            case "decoded":
                return self._decoded
            case "true_captions":
                return self._seen(chosen["stimulus_id"].tolist())
            case "shuffled_eeg":
                return self._decoded.take(self.sources.shuffled, axis=0)
            case "noise_eeg":
                return self._predicted(self.sources.from_noise.predictions)
            case "class_name" | "predicted_class":
                return np.zeros(self._decoded.shape)
            case "random_caption":
                return self._seen(self.sources.random_stimuli)
            case "mean_embedding":
                mean = self._seen(self.sources.averaged_stimuli).mean(axis=0)
                return np.stack([mean] * len(chosen))

    @cached_property
    def _decoded(self) -> Embeddings:
        return self._predicted(self.predictions)

    def _predicted(self, predictions: pa.Table) -> Embeddings:
        return self._map.predict(features_of(predictions, self.sources.chosen["trial_id"].tolist()))

    @cached_property
    def _map(self) -> LinearMap:
        trials = self.sources.trials
        known = trials[trials["kept"] & (trials["split"] == VALIDATION)]
        shown = known["stimulus_id"].tolist()
        features = features_of(self.predictions, known["trial_id"].tolist())
        return fit_map(features, self._seen(shown), shown)

    def _seen(self, stimulus_ids: Sequence[str]) -> Embeddings:
        """Return the embeddings of some pictures."""
        by_id = self.stimuli.set_index("stimulus_id")
        return self.encoder.embed(by_id.loc[list(stimulus_ids)])
