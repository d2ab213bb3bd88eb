"""The recipe of the autoencoder: pictures at the generator's size to small latents and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from jaxtyping import Float
from torch import Tensor, nn

from tasks.pretraining.clip import normalise
from tasks.pretraining.corpus import Corpus, halve
from tasks.pretraining.training import Plan, train

PLAN = Plan(steps=4000, learning_rate=2e-3, warmup_steps=50, averaging=0.99, minutes=6)
DECODER_PLAN = Plan(steps=350, learning_rate=1e-3, warmup_steps=50, averaging=0.99)
BATCH_SIZE = 16
KL_WEIGHT = 1e-6
SIZE_PX = 32
LATENT_CHANNELS = 16
FIRST_LOG_VARIANCE = -6.0


def make_vae() -> AutoencoderKL:
    """Build the autoencoder: 32 x 32 x 3 pixels to 8 x 8 x 16 latents.

    Every residual block starts as the identity and the latents start almost without noise, so that the
    first steps already reconstruct something.
    """
    channels = (24, 48, 64)
    vae = AutoencoderKL(
        sample_size=SIZE_PX,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
    nn.init.constant_(vae.quant_conv.bias[LATENT_CHANNELS:], FIRST_LOG_VARIANCE)
    return vae


def train_vae(corpus: Corpus, work: Path, seed: int, device: torch.device) -> AutoencoderKL:
    """Train the autoencoder on scenes, or resume from `work`; the seed decides first weights and batches."""
    torch.manual_seed(seed)
    vae = make_vae().to(device, memory_format=torch.channels_last)

    def loss_of_step(step: int) -> Tensor:
        pictures = _batch(corpus, (seed, step), device)
        with torch.autocast(device.type, torch.bfloat16):
            posterior = vae.encode(pictures).latent_dist
            noise = torch.Generator().manual_seed(step)
            decoded = vae.decode(posterior.sample(generator=noise)).sample
        loss: Tensor = _error(decoded, pictures) + KL_WEIGHT * posterior.kl().float().mean()
        return loss

    train(vae, PLAN, work / "vae.safetensors", loss_of_step)
    return vae


def train_decoder(
    vae: AutoencoderKL, corpus: Corpus, work: Path, seed: int, device: torch.device
) -> None:
    """Sharpen the decoder alone, in place: the latents, and so the denoiser, stay valid."""
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    decoding = nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv})

    def loss_of_step(step: int) -> Tensor:
        pictures = _batch(corpus, (seed, step, 1), device)
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                latents = vae.encode(pictures).latent_dist.mean
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(step))
            decoded = vae.decode(latents + DECODER_NOISE * noise.to(device)).sample
        return _error(decoded, pictures)

    train(decoding, DECODER_PLAN, work / "decoder.safetensors", loss_of_step)


DECODER_NOISE = 0.05
"""Standard deviation of the latents' disturbance: the denoiser's latents are not perfect either."""


def _batch(
    corpus: Corpus, seeds: tuple[int, ...], device: torch.device
) -> Float[Tensor, "n 3 size size"]:
    rng = np.random.default_rng(seeds)
    chosen = rng.choice(len(corpus.scenes), BATCH_SIZE, replace=False)
    pictures = normalise(halve(corpus.pictures[chosen])).to(device)
    return pictures.contiguous(memory_format=torch.channels_last)


def _error(decoded: Tensor, pictures: Tensor) -> Tensor:
    decoded = decoded.float()
    return F.l1_loss(decoded, pictures) + F.mse_loss(decoded, pictures)
