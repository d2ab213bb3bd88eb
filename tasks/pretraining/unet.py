"""The recipe of the denoiser: latents of scenes from prompts that tell what they show."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextModel, CLIPTokenizer

from tasks.pretraining.clip import normalise
from tasks.pretraining.corpus import Corpus, halve, random_prompt
from tasks.pretraining.training import Plan, train

BATCH_SIZE = 96
PROMPT_DROPOUT = 0.1
HIGH_NOISE_SHARE = 0.5
HIGH_NOISE_FROM = 0.6
PLAN = Plan(steps=20_000, learning_rate=1e-3, warmup_steps=150, averaging=0.998)
"""Ends with its budget of minutes or after so many steps."""


@dataclass(frozen=True)
class TextEncoder:
    """The frozen text side of the generator."""

    tokenizer: CLIPTokenizer
    model: CLIPTextModel
    known: dict[str, Tensor] = field(default_factory=dict)

    def encode(self, prompts: list[str]) -> Float[Tensor, "n length width"]:
        """Encode prompts as the pipeline does: padded to the full context, last hidden states."""
        new = sorted(set(prompts) - self.known.keys())
        if new:
            self.known.update(zip(new, self._encode(new).float(), strict=True))
        return torch.stack([self.known[prompt] for prompt in prompts])

    @torch.no_grad()
    def _encode(self, prompts: list[str]) -> Float[Tensor, "n length width"]:
        tokens = self.tokenizer(
            prompts, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        states: Tensor = self.model(tokens.to(self.model.device)).last_hidden_state
        return states


def make_unet(text_width: int, latent_channels: int, size_px: int) -> UNet2DConditionModel:
    """Build the denoiser; the pooled text also modulates every block through the time embedding."""
    return UNet2DConditionModel(
        sample_size=size_px,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=(64, 128, 192),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        mid_block_type="UNetMidBlock2DCrossAttn",
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def make_scheduler() -> DDIMScheduler:
    """Build the noise schedule: its last step is pure noise, so that no layout leaks through it."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
        set_alpha_to_one=True,
    )


@torch.no_grad()
def encode_latents(
    vae: AutoencoderKL, corpus: Corpus, work: Path
) -> Float[Tensor, "n channels height width"]:
    """Encode all pictures to the mean of their latents (not scaled, half precision).

    Parameters
    ----------
    work : pathlib.Path
        Keeps the latents for the next call.
    """
    path = work / "latents.st"
    if path.exists():
        kept: Tensor = load_file(path)["latents"]
        return kept
    parts = []
    for start in range(0, len(corpus.scenes), 128):
        pictures = normalise(halve(corpus.pictures[start : start + 128])).to(vae.device)
        with torch.autocast(vae.device.type, torch.bfloat16):
            posterior = vae.encode(pictures.contiguous(memory_format=torch.channels_last))
        parts.append(posterior.latent_dist.mean.half().cpu())
    latents = torch.cat(parts).contiguous()
    save_file({"latents": latents}, path)
    return latents


def train_unet(
    corpus: Corpus,
    latents: Float[Tensor, "n channels height width"],
    text: TextEncoder,
    plan: Plan,
    work: Path,
    seed: int,
) -> UNet2DConditionModel:
    """Train the denoiser, or resume.

    Parameters
    ----------
    latents : Float[Tensor, "n channels height width"]
        Their latents, scaled to unit variance.
    plan : Plan
        How long and how fast.
    seed : int
        Seed of the initial weights and of the batches.
    """
    torch.manual_seed(seed)
    device = text.model.device
    unet = make_unet(text.model.config.hidden_size, latents.shape[1], latents.shape[2])
    unet = unet.to(device, memory_format=torch.channels_last)
    scheduler = make_scheduler()

    def loss_of_step(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        chosen = rng.choice(len(latents), BATCH_SIZE, replace=False)
        prompts = [
            "" if rng.random() < PROMPT_DROPOUT else random_prompt(corpus.scenes[index], rng).text
            for index in chosen
        ]
        times = torch.from_numpy(_times(rng, scheduler.config.num_train_timesteps))
        clean = latents[chosen].float()
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        noisy = scheduler.add_noise(clean, noise, times)
        target = scheduler.get_velocity(clean, noise, times)
        noisy = noisy.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            predicted = unet(noisy, times.to(device), text.encode(prompts)).sample
        return F.mse_loss(predicted.float(), target.to(device))

    train(unet, plan, work / "unet.safetensors", loss_of_step)
    return unet


def _times(rng: np.random.Generator, n_times: int) -> np.ndarray:
    """Draw time steps, half of them where the noise is so high that the prompt decides."""
    low = np.where(rng.random(BATCH_SIZE) < HIGH_NOISE_SHARE, HIGH_NOISE_FROM * n_times, 0)
    return np.asarray(rng.integers(low.astype(int), n_times))
