"""Puts the trained parts of the generator together into a pipeline in the layout of Stable Diffusion."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

from tasks.language.captioners.scene import article, describe
from tasks.pretraining.corpus import Corpus
from tasks.pretraining.text_encoder import convert_text_tower, cut_vocabulary, make_tokenizer
from tasks.pretraining.unet import TextEncoder, make_scheduler
from tasks.simulation.scene import VOCABULARY


def make_text_encoder(clip: open_clip.CLIP, corpus: Corpus) -> TextEncoder:
    """Take the CLIP's text tower with the tokens that the captions of the scenes need.

    Parameters
    ----------
    corpus : Corpus
        Scenes whose captions hold every word.
    """
    texts = {text for scene in corpus.scenes for text in describe(scene).values()}
    vocabulary = cut_vocabulary(sorted(texts | {article(c) for c in VOCABULARY["concept"]}))
    tokenizer = make_tokenizer(vocabulary, clip.positional_embedding.shape[0])
    return TextEncoder(tokenizer, convert_text_tower(clip, vocabulary))


def assemble(
    vae: AutoencoderKL, text: TextEncoder, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    """Put the parts together, without a safety checker: it would replace pictures by black ones."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text.model,
        tokenizer=text.tokenizer,
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export_generator(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write the pipeline in half precision."""
    pipeline.to(torch.float16).save_pretrained(str(folder), safe_serialization=True)
