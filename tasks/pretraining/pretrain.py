"""Makes the small models that are shipped: CLIP, judge and generator, from random scenes alone.

Everything resumes from checkpoints, on a CPU or on a GPU.
"""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import open_clip
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

from tasks.pretraining import clip as clip_recipe
from tasks.pretraining import clip_last_step
from tasks.pretraining import judge as judge_recipe
from tasks.pretraining import unet as unet_recipe
from tasks.pretraining import vae as vae_recipe
from tasks.pretraining.corpus import FIRST_TRAINING_SEED, Corpus, make_corpus
from tasks.pretraining.generator import assemble, export_generator, make_text_encoder
from tasks.pretraining.model_cards import Card, training_facts, write_card
from tasks.pretraining.scores import score_clip, score_generator, score_judge
from tasks.pretraining.training import read_progress
from tasks.runtime.device import compute_device

logger = logging.getLogger(__name__)

N_SCENES = 60_000
N_LATENTS = 30_000
"""The denoiser learns from these many of the scenes."""
N_STEPS = 20
GUIDANCE_SCALE = 3.0
"""How the generator is scored: as the render stage draws by default."""


def pretrain(
    out: Path,
    work: Path,
    *,
    minutes: float,
    seed: int = 0,
    n_scenes: int = N_SCENES,
    remarks: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Train what is not yet trained and export all models with their cards.

    Parameters
    ----------
    out : pathlib.Path
        Gets the folders ``clip``, ``judge`` and ``diffusion``; each is replaced only when it is whole.
    work : pathlib.Path
        Folder of the checkpoints; delete it to start over.
    minutes : float
        Budget of the denoiser; more minutes than before continue its training.
    seed : int
        Seed of weights and batches.
    remarks : Mapping[str, str]
        For the model cards of ``clip``, ``judge`` and ``diffusion``: what this recipe cannot tell.
    """
    device = compute_device()

    def facts(name: str, batch_size: int, n_trained_on: int) -> dict[str, str]:
        progress = read_progress(work / f"{'unet' if name == 'diffusion' else name}.safetensors")
        remark = {"remark": remarks[name]} if name in remarks else {}
        return training_facts(progress, batch_size, seed, n_trained_on) | remark

    corpus = make_corpus(n_scenes, FIRST_TRAINING_SEED, work)
    clip = clip_recipe.train_clip(corpus, work, seed, device)
    told = facts("clip", clip_recipe.BATCH_SIZE, n_scenes)
    spread = clip_last_step.spread(copy.deepcopy(clip), corpus, work, seed, device)
    _replace(out / "clip", partial(export_clip, spread, told))
    judge = judge_recipe.train_judge(corpus, work, seed, device)
    told = facts("judge", judge_recipe.BATCH_SIZE, n_scenes)
    _replace(out / "judge", partial(_export_judge, judge, told))
    vae = vae_recipe.train_vae(corpus, work, seed, device)
    vae_recipe.train_decoder(vae, corpus, work, seed, device)
    unet = _train_unet(clip, vae, corpus, work, minutes, seed)
    pipeline = assemble(vae, make_text_encoder(clip, corpus), unet)
    told = facts("diffusion", unet_recipe.BATCH_SIZE, min(n_scenes, N_LATENTS))
    told |= _autoencoder_facts(work)
    _replace(out / "diffusion", partial(_export_generator, pipeline, told, out / "judge"))


def _train_unet(
    clip: open_clip.CLIP, vae: AutoencoderKL, corpus: Corpus, work: Path, minutes: float, seed: int
) -> UNet2DConditionModel:
    part = Corpus(corpus.scenes[:N_LATENTS], corpus.pictures[:N_LATENTS], corpus.labels[:N_LATENTS])
    latents = unet_recipe.encode_latents(vae, part, work)
    scale = 1 / latents.float().std().item()
    vae.register_to_config(scaling_factor=scale)
    return unet_recipe.train_unet(
        part,
        latents * scale,
        make_text_encoder(clip, corpus),
        replace(unet_recipe.PLAN, minutes=minutes),
        work,
        seed,
    )


def export_clip(clip: open_clip.CLIP, facts: Mapping[str, str], folder: Path) -> None:
    """Write the CLIP with its card."""
    clip_recipe.export_clip(clip, folder)
    card = Card(
        "CLIP of scenes",
        "A small CLIP (open_clip; residual image tower for 64 px, text transformer for 48 tokens) that "
        "puts pictures of simulated scenes and their captions into one space of 128 dimensions. "
        "Load it as `local-dir:` and this folder.",
        facts,
        score_clip(folder),
        "Top-1 accuracy on 400 fresh scenes: the concept against `a dog` and the like of 40 concepts, "
        "and each caption kind against all captions of these scenes.",
        "It knows scenes and nothing else: not photographs, not words outside the captions.",
    )
    write_card(card, folder)


def _export_judge(judge: judge_recipe.JudgeNetwork, facts: Mapping[str, str], folder: Path) -> None:
    judge_recipe.export_judge(judge, folder)
    card = Card(
        "Judge of scenes",
        "A small convolutional classifier that names concept, colour, size, relation and theme of a "
        "picture. It was trained apart from the CLIP and the generator, on disturbed pictures (shift, "
        "JPEG, blur, contrast, tint, noise).",
        facts,
        score_judge(folder),
        "Accuracy on 400 fresh scenes.",
        "It always names something: on a picture without an object its answer means nothing.",
    )
    write_card(card, folder)


def _export_generator(
    pipeline: StableDiffusionPipeline, facts: Mapping[str, str], judge_folder: Path, folder: Path
) -> None:
    export_generator(pipeline, folder)
    card = Card(
        "Generator of scenes",
        "A small text-to-image pipeline in the layout of Stable Diffusion (AutoencoderKL, "
        "CLIPTextModel, UNet2DConditionModel, DDIM) that draws simulated scenes of 32 px from composed "
        "captions. The text encoder is the text tower of the CLIP beside it, as it was before its "
        "captions were spread, its vocabulary cut down to the byte-level alphabet and the words of the "
        "captions.",
        facts,
        score_generator(folder, judge_folder, n_steps=N_STEPS, guidance_scale=GUIDANCE_SCALE),
        f"Share of 200 pictures, rendered from true captions of fresh scenes ({N_STEPS} steps, guidance "
        f"{GUIDANCE_SCALE}), in which the judge sees what the captions tell (chance: 1/40, 1/8, 1/2, "
        "1/4, 1/6).",
        "It draws scenes and nothing else, in 32 px, and small objects lose detail. "
        "There is no safety checker: it would replace pictures by black ones and falsify the scores.",
    )
    write_card(card, folder)


def _autoencoder_facts(work: Path) -> dict[str, str]:
    whole, decoder = (read_progress(work / f"{name}.safetensors") for name in ("vae", "decoder"))
    return {
        "autoencoder": f"{whole.step} steps, then {decoder.step} of the decoder alone, "
        f"{vae_recipe.BATCH_SIZE} scenes each"
    }


def _replace(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside its place and put it there when it is whole."""
    unfinished = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write(unfinished)
    for path in unfinished.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    logger.info("%s is exported.", folder)
