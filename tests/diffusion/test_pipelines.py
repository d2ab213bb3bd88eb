"""Pipelines of the published architectures, tiny and of random weights, from a local directory."""

import numpy as np
import pytest
import torch

from tasks.diffusion.composition import Conditioning
from tasks.diffusion.folder import find_pipeline, picture_size_px
from tasks.diffusion.renderer import Renderer
from tasks.diffusion.settings import Request, Settings
from tasks.runtime.errors import PerceptError
from tests.diffusion.architectures import (
    PIPELINES,
    make_safety_checker,
    make_stable_diffusion,
    seeded,
)

pytestmark = pytest.mark.filterwarnings(
    # diffusers gives numpy a tensor in its Euler scheduler
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
SETTINGS = Settings(n_steps=2, size_px=16)
LONG = ", ".join(f"a {colour} dog beside a house" for colour in ("red", "green", "blue", "black"))


def request(text, seed=0, guidance=3.0):
    mix = ((text, 1.0),) if isinstance(text, str) else text
    return Request(Conditioning(mix, guidance), seed)


QUICK = ("stable_diffusion", "flux")
"""An older and a newer family; the others are among the long tests."""


@pytest.fixture(
    scope="module",
    params=[
        n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in sorted(PIPELINES)
    ],
)
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    seeded(PIPELINES[request.param]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def renderer(folder):
    return Renderer.load(find_pipeline(f"local-dir:{folder}", folder), SETTINGS)


def pixels(drawn):
    return np.stack([np.asarray(picture.image, np.float64) / 255 for picture in drawn])


def weights(pipeline):
    modules = [m for m in pipeline.components.values() if isinstance(m, torch.nn.Module)]
    return [value.clone() for module in modules for value in module.state_dict().values()]


def test_it_draws_what_the_pipeline_itself_draws(renderer):
    drawn = renderer.render([request("a red dog", seed=7)])
    pipeline = renderer.pipeline
    expected = pipeline(
        prompt="a red dog",
        height=16,
        width=16,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=torch.Generator("cpu").manual_seed(7),
        output_type="np",
    ).images
    assert np.abs(pixels(drawn) - expected).max() <= 0.51 / 255
    assert expected.std() > 0.01


@pytest.mark.slow
def test_batch_and_order_do_not_change_a_picture(renderer):
    texts = ["a red dog", LONG, "a cat", "a red dog", LONG]
    requests = [request(text, seed) for seed, text in enumerate(texts)]
    together = renderer.decode(renderer.denoise([requests[i] for i in (0, 2, 3)]))
    alone = [renderer.decode(renderer.denoise([requests[i]])) for i in (0, 2, 3)]
    assert (together - torch.cat(alone)).abs().max() < 1e-4
    forwards, backwards = renderer.render(requests), renderer.render(requests[::-1])
    assert np.abs(pixels(forwards) - pixels(backwards[::-1])).max() <= 1.01 / 255
    assert np.abs(pixels(forwards)[0] - pixels(forwards)[3]).max() > 0.01


def test_the_words_beyond_the_limit_of_the_text_encoder_count(renderer):
    assert renderer.prompts.n_pieces(((LONG, 1.0),)) > 1
    assert " ".join(renderer.prompts.split(LONG)) == LONG
    other = LONG.replace("black", "white")
    embeddings = [renderer.prompts.embed(((text, 1.0),), 2) for text in (LONG, other)]
    assert (embeddings[0].states - embeddings[1].states).abs().max() > 1e-3
    monster = "x" * 200
    assert "".join(renderer.prompts.split(monster)) == monster


def test_a_mix_is_the_weighted_mean_of_the_embeddings_of_every_encoder(renderer):
    mix = (("a red dog", 0.7), ("a cat", 0.3))
    mean = renderer.prompts.embed(mix, 1)
    dog, cat = (renderer.prompts.embed(((text, 1.0),), 1) for text, _ in mix)
    torch.testing.assert_close(mean.states, 0.7 * dog.states + 0.3 * cat.states)
    if dog.pooled is not None:
        torch.testing.assert_close(mean.pooled, 0.7 * dog.pooled + 0.3 * cat.pooled)
    assert len(renderer.render([request(mix)])) == 1


def test_each_text_is_encoded_once(folder):
    renderer = Renderer.load(folder, SETTINGS)
    encoded = []
    original = renderer.pipeline.encode_prompt

    def counted(*args, **options):
        if options.get("prompt"):
            encoded.extend(options["prompt"])
        return original(*args, **options)

    counted.__signature__ = __import__("inspect").signature(original)
    renderer.pipeline.encode_prompt = counted
    renderer.render([request("a dog"), request("a cat", 1), request("a dog", 2), request(LONG)])
    texts = set(encoded) - {""}
    assert texts == {"a dog", "a cat", *renderer.prompts.split(LONG)}
    assert len(encoded) == len(set(encoded))


def test_the_generator_is_frozen(renderer):
    before = weights(renderer.pipeline)
    renderer.render([request("a red dog"), request(LONG)])
    after = weights(renderer.pipeline)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    modules = [m for m in renderer.pipeline.components.values() if isinstance(m, torch.nn.Module)]
    assert not any(p.requires_grad for module in modules for p in module.parameters())
    assert not any(module.training for module in modules)


def test_the_size_is_known_before_anything_is_loaded(folder):
    renderer = Renderer.load(folder, SETTINGS._replace(size_px=None, n_steps=1))
    (drawn,) = renderer.render([request("a dog")])
    assert drawn.image.size == (picture_size_px(folder),) * 2


def flagging(folder, threshold):
    pipeline = seeded(make_stable_diffusion, safety_checker=True)
    pipeline.safety_checker = make_safety_checker(threshold)
    pipeline.save_pretrained(folder)
    return Renderer.load(folder, SETTINGS._replace(safety_checker=True))


def test_the_safety_checker_gives_its_verdict(tmp_path):
    clean = flagging(tmp_path / "lenient", threshold=2.0).render([request("a dog")])[0]
    assert not clean.flagged
    assert np.asarray(clean.image).any()
    black = flagging(tmp_path / "strict", threshold=-2.0).render([request("a dog")])[0]
    assert black.flagged
    assert not np.asarray(black.image).any()
    unchecked = Renderer.load(tmp_path / "strict", SETTINGS).render([request("a dog")])[0]
    assert not unchecked.flagged
    assert (np.asarray(unchecked.image) == np.asarray(clean.image)).all()


def test_a_pipeline_without_a_safety_checker_cannot_be_checked(tmp_path):
    seeded(make_stable_diffusion).save_pretrained(tmp_path)
    message = (
        f"`render.safety_checker` needs a pipeline with a safety checker; {tmp_path} has none. "
        "Set it to false, or choose another model."
    )
    with pytest.raises(PerceptError) as caught:
        Renderer.load(tmp_path, SETTINGS._replace(safety_checker=True))
    assert str(caught.value) == message


def test_an_overflow_is_no_black_picture(tmp_path):
    seeded(make_stable_diffusion).save_pretrained(tmp_path)
    renderer = Renderer.load(tmp_path, SETTINGS)
    latents = renderer.denoise([request("a dog")])
    message = (
        "Pictures must be finite; in torch.float32 some are not: numbers overflowed. "
        "Set `render.precision` to bfloat16 or float32."
    )
    with pytest.raises(PerceptError) as caught:
        renderer.finish(latents * float("nan"))
    assert str(caught.value) == message


def test_half_precision_channels_last_and_small_memory(tmp_path, monkeypatch):
    seeded(make_stable_diffusion).save_pretrained(tmp_path)
    monkeypatch.setattr("tasks.diffusion.hardware.free_memory_gb", lambda device: 4.0)
    renderer = Renderer.load(tmp_path, SETTINGS._replace(precision="bfloat16"))
    weight = renderer.pipeline.unet.conv_in.weight
    assert weight.dtype == torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert renderer.pipeline.vae.use_slicing
    assert renderer.pipeline.vae.use_tiling
    exact = Renderer.load(tmp_path, SETTINGS).render([request("a dog")])
    rough = renderer.render([request("a dog")])
    assert 0 < np.abs(pixels(exact) - pixels(rough)).mean() < 0.2


def test_the_denoiser_is_compiled_where_the_param_says_so(tmp_path, monkeypatch):
    seeded(make_stable_diffusion).save_pretrained(tmp_path)
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **o: compiled.append(type(self)))
    Renderer.load(tmp_path, SETTINGS)
    assert not compiled
    renderer = Renderer.load(tmp_path, SETTINGS._replace(compiled=True))
    blocks = set(renderer.pipeline.unet._repeated_blocks)
    assert {part.__name__ for part in compiled} == blocks


def test_weights_of_the_half_precision_variant_alone_are_found(tmp_path):
    pipeline = seeded(make_stable_diffusion)
    pipeline.to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    folder = find_pipeline(str(tmp_path), tmp_path)
    assert len(Renderer.load(folder, SETTINGS).render([request("a dog")])) == 1
