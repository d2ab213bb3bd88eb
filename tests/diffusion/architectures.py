"""Diffusion pipelines of the published architectures with random weights, in true and in tiny sizes.

``full=True`` gives the sizes of the published models, whose configurations are spelt out here.
"""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from tasks.pretraining.text_encoder import END, START, SmallVocabulary, make_tokenizer

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LENGTH = 77


def tokenizer(*, full=False):
    """Build a tokenizer that knows single letters, or all of CLIP's vocabulary."""
    if full:
        return make_tokenizer(full_vocabulary(), LENGTH)
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=LENGTH)


def full_vocabulary():
    from open_clip.tokenizer import SimpleTokenizer

    from tasks.pretraining.text_encoder import _all_merges

    decoder = SimpleTokenizer().decoder
    tokens = tuple(decoder[index] for index in range(49408 - 2))
    return SmallVocabulary((*tokens, START, END), tuple(_all_merges()), tuple(range(49408)))


def text_config(words, *, width, n_layers, n_heads, projection=16, activation="quick_gelu"):
    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        projection_dim=projection,
        hidden_act=activation,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )


def autoencoder(*, full=False, latent_channels=4, **changes):
    channels = (128, 256, 512, 512) if full else (8, 8)
    return AutoencoderKL(
        block_out_channels=channels,
        norm_num_groups=32 if full else 2,
        layers_per_block=2 if full else 1,
        latent_channels=latent_channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        **changes,
    )


def make_stable_diffusion(*, full=False, safety_checker=False):
    """Build Stable Diffusion 1.5."""
    words = tokenizer(full=full)
    width = 768 if full else 16
    sizes = {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "attention_head_dim": 8,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    }
    tiny = {
        "sample_size": 8,
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 2,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    unet = UNet2DConditionModel(cross_attention_dim=width, **(sizes if full else tiny))
    layers = {"n_layers": 12, "n_heads": 12} if full else {"n_layers": 1, "n_heads": 2}
    return StableDiffusionPipeline(
        unet=unet,
        vae=autoencoder(full=full),
        text_encoder=CLIPTextModel(text_config(words, width=width, **layers)).eval(),
        tokenizer=words,
        scheduler=DDIMScheduler(**BETAS, steps_offset=1, clip_sample=False),
        safety_checker=make_safety_checker() if safety_checker else None,
        feature_extractor=extractor() if safety_checker else None,
        requires_safety_checker=safety_checker,
    )


def extractor():
    size = {"height": 16, "width": 16}
    return CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size)


def make_safety_checker(threshold=2.0):
    """Build a checker that flags nothing: no cosine is above its threshold."""
    vision = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 16, "patch_size": 8, "projection_dim": 8,
    }  # fmt: skip
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8))
    for parameter in (checker.concept_embeds_weights, checker.special_care_embeds_weights):
        parameter.data.fill_(threshold)
    return checker


def make_stable_diffusion_xl(*, full=False):
    """Build Stable Diffusion XL."""
    words = tokenizer(full=full)
    sizes = {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "layers_per_block": 2,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    }
    tiny = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "attention_head_dim": (2, 4),
        "transformer_layers_per_block": (1, 2),
        "norm_num_groups": 2,
        "cross_attention_dim": 32,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 16,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    if full:
        first = text_config(words, width=768, n_layers=12, n_heads=12, projection=768)
        second = text_config(
            words, width=1280, n_layers=32, n_heads=20, projection=1280, activation="gelu"
        )
    else:
        first = second = text_config(words, width=16, n_layers=2, n_heads=2)
    unet = UNet2DConditionModel(
        use_linear_projection=True,
        addition_embed_type="text_time",
        **(sizes if full else tiny),
    )
    return StableDiffusionXLPipeline(
        unet=unet,
        vae=autoencoder(full=full, scaling_factor=0.13025, force_upcast=True),
        text_encoder=CLIPTextModel(first).eval(),
        text_encoder_2=CLIPTextModelWithProjection(second).eval(),
        tokenizer=words,
        tokenizer_2=tokenizer(full=full),
        scheduler=EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    )


def make_latent_consistency():
    """Build a latent consistency model, whose denoiser is told the guidance."""
    words = tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=2,
        cross_attention_dim=16,
        time_cond_proj_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    return LatentConsistencyModelPipeline(
        unet=unet,
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text_config(words, width=16, n_layers=1, n_heads=2)).eval(),
        tokenizer=words,
        scheduler=LCMScheduler(**BETAS, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_stable_diffusion_3():
    """Build Stable Diffusion 3 without the large third text encoder, as is usual."""
    words = tokenizer()
    config = text_config(words, width=16, n_layers=2, n_heads=2)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        vae=autoencoder(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False),
        text_encoder=CLIPTextModelWithProjection(config).eval(),
        text_encoder_2=CLIPTextModelWithProjection(config).eval(),
        text_encoder_3=None,
        tokenizer=words,
        tokenizer_2=tokenizer(),
        tokenizer_3=None,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def make_flux():
    """Build Flux, whose second text encoder is a T5."""
    words = tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=[4, 4, 8],
        guidance_embeds=True,
    )
    t5 = T5Config(
        vocab_size=len(words),
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
    )
    return FluxPipeline(
        transformer=transformer,
        vae=autoencoder(latent_channels=1, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=CLIPTextModel(text_config(words, width=16, n_layers=1, n_heads=2)).eval(),
        text_encoder_2=T5EncoderModel(t5).eval(),
        tokenizer=words,
        tokenizer_2=tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


PIPELINES = {
    "stable_diffusion": make_stable_diffusion,
    "stable_diffusion_xl": make_stable_diffusion_xl,
    "latent_consistency": make_latent_consistency,
    "stable_diffusion_3": make_stable_diffusion_3,
    "flux": make_flux,
}


def make_image_encoder(*, width=12):
    """Build the CLIP of an adapter, whose embeddings have so many numbers."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
        projection_dim=width,
        initializer_factor=10.0,
    )
    return CLIPVisionModelWithProjection(config).eval()


def save_adapter(unet, path, *, width=12):
    """Write an IP-Adapter of the plain kind, in the layout of its publishers, for a UNet."""
    torch.manual_seed(0)
    tokens = unet.config.cross_attention_dim
    tensors = {
        "image_proj.proj.weight": torch.randn(4 * tokens, width),
        "image_proj.proj.bias": torch.randn(4 * tokens),
        "image_proj.norm.weight": torch.ones(tokens),
        "image_proj.norm.bias": torch.zeros(tokens),
    }
    attending = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(attending):
        inner = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
        for part in ("to_k_ip", "to_v_ip"):
            key = f"ip_adapter.{2 * number + 1}.{part}.weight"
            tensors[key] = torch.randn(inner, tokens) / tokens**0.5
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def seeded(make, **options):
    """Build a pipeline of the same random weights every time."""
    torch.manual_seed(0)
    return make(**options)
