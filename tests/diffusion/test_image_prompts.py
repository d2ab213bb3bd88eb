"""The image prompt: drawn as diffusers itself would, learnt from validation trials, right in each condition."""

import hashlib
import re
from typing import get_args

import diffusers
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.clip.vectors import vectors_to_table
from tasks.diffusion import image_prompts
from tasks.diffusion.adapter import ImagePromptParams, find_image_encoder
from tasks.diffusion.composition import Conditioning
from tasks.diffusion.conditions import Condition, Heard, Sources
from tasks.diffusion.image_prompts import ImageEncoder, ImagePrompts, features_of, fit_map
from tasks.diffusion.renderer import Renderer
from tasks.diffusion.settings import Adapter, Request, Settings
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import fingerprint
from tests.diffusion.architectures import (
    PIPELINES,
    make_flux,
    make_image_encoder,
    make_stable_diffusion,
    make_stable_diffusion_3,
    save_adapter,
    seeded,
)

pytestmark = pytest.mark.filterwarnings(
    # diffusers gives numpy a tensor in its Euler scheduler
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
SETTINGS = Settings(n_steps=2, size_px=16)
WIDTH = 12


@pytest.fixture(
    scope="module",
    params=[
        "stable_diffusion",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("stable_diffusion_xl", "latent_consistency")
        ),
    ],
)
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    save_all(PIPELINES[request.param], folder)
    return folder


def save_all(make, folder):
    """Write a pipeline, and an adapter with its image encoder in a folder beside its parts."""
    pipeline = seeded(make)
    pipeline.save_pretrained(folder)
    save_adapter(pipeline.unet, folder / "adapters/adapter.safetensors")
    make_image_encoder().save_pretrained(folder / "adapters/image_encoder")


def load(folder, scale=0.7, **changes):
    adapter = Adapter(folder / "adapters/adapter.safetensors", scale)
    return Renderer.load(folder, SETTINGS._replace(adapter=adapter, **changes))


@pytest.fixture(scope="module")
def renderer(folder):
    return load(folder)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Put some pictures into the working directory; return their rows of `stimuli`."""
    monkeypatch.chdir(tmp_path)
    rng, rows = np.random.default_rng(0), []
    for number in range(5):
        coarse = rng.integers(0, 255, (3, 3, 3), np.uint8)
        path = f"{number}.png"
        Image.fromarray(coarse).resize((20, 24)).save(path)
        sha256 = hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()
        rows.append((f"stimulus-{number}", path, sha256))
    return pd.DataFrame(rows, columns=["stimulus_id", "image_path", "sha256"])


def request(image, text="a red dog", seed=7, guidance=3.0):
    conditioning = Conditioning(((text, 1.0),), guidance, tuple(np.asarray(image, float).tolist()))
    return Request(conditioning, seed)


def random_images(n):
    return np.random.default_rng(0).standard_normal((n, WIDTH))


def pixels(drawn):
    return np.stack([np.asarray(picture.image, np.float64) / 255 for picture in drawn])


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_draws_what_the_pipeline_itself_draws_from_the_picture(
    folder, renderer, pictures, guidance
):
    (embedding,) = ImageEncoder(folder / "adapters/image_encoder").embed(pictures[:1])
    pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(folder, local_files_only=True)
    pipeline.load_ip_adapter(
        str(folder / "adapters"), subfolder="", weight_name="adapter.safetensors"
    )
    pipeline.set_ip_adapter_scale(0.7)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt="a red dog",
        ip_adapter_image=Image.open(pictures["image_path"][0]),
        height=16,
        width=16,
        num_inference_steps=2,
        guidance_scale=guidance,
        generator=torch.Generator("cpu").manual_seed(7),
        output_type="np",
    ).images
    drawn = renderer.render([request(embedding, guidance=guidance)])
    assert np.abs(pixels(drawn) - expected).max() <= 0.51 / 255
    other = renderer.render([request(np.zeros(WIDTH), guidance=guidance)])
    assert np.abs(pixels(other) - expected).max() > 1.1 / 255


@pytest.mark.slow
def test_batch_and_order_do_not_change_a_picture(renderer):
    requests = [request(image, seed=seed) for seed, image in enumerate(random_images(3))]
    together = renderer.decode(renderer.denoise(requests))
    backwards = renderer.decode(renderer.denoise(requests[::-1])).flip(0)
    alone = torch.cat([renderer.decode(renderer.denoise([one])) for one in requests])
    assert (together - alone).abs().max() < 1e-4
    assert (together - backwards).abs().max() < 1e-4


def test_another_embedding_draws_another_picture(renderer):
    first, second = (renderer.denoise([request(image)]) for image in random_images(2))
    assert (first - second).abs().max() > 1e-2


def test_at_scale_zero_the_image_is_not_looked_at(folder):
    image = random_images(1)[0]
    without = request(image)._replace(conditioning=Conditioning((("a red dog", 1.0),), 3.0))
    expected = Renderer.load(folder, SETTINGS).denoise([without])
    unseen = load(folder, scale=0.0).denoise([request(image)])
    assert (unseen - expected).abs().max() < 1e-5
    assert (load(folder).denoise([request(image)]) - expected).abs().max() > 1e-2


def test_the_generator_and_its_adapter_are_frozen(folder, renderer):
    files = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    before = {name: value.clone() for name, value in renderer.pipeline.unet.state_dict().items()}
    assert {"to_k_ip", "image_embeds"} <= {part for name in before for part in name.split(".")}
    renderer.render([request(image) for image in random_images(2)])
    after = renderer.pipeline.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(p.requires_grad for p in renderer.pipeline.unet.parameters())
    assert {path: path.read_bytes() for path in files} == files


def test_half_precision(folder):
    image = random_images(1)[0]
    exact, rough = (
        load(folder, precision=p).render([request(image)]) for p in ("float32", "bfloat16")
    )
    assert 0 < np.abs(pixels(exact) - pixels(rough)).mean() < 0.2


def test_without_an_image_nothing_about_it_is_in_the_key_of_a_picture(tmp_path):
    adapter = tmp_path / "adapter.safetensors"
    adapter.write_bytes(b"weights")
    mix = (("a dog", 1.0),)
    plain = Request(Conditioning(mix, 2.0), 5)
    expected = fingerprint("model", 2, "", 16, "auto", False, False, [[["a dog", 1.0]], 2.0], 5)
    assert fingerprint("model", *SETTINGS.key, *plain.key) == expected
    seeing = SETTINGS._replace(adapter=Adapter(adapter, 0.5))
    keys = [
        fingerprint("model", *settings.key, *Request(Conditioning(mix, 2.0, image), 5).key)
        for settings in (seeing, seeing._replace(adapter=Adapter(adapter, 0.6)))
        for image in ((0.0, 1.0), (0.0, 2.0))
    ]
    adapter.write_bytes(b"others")
    keys.append(
        fingerprint("model", *seeing.key, *Request(Conditioning(mix, 2.0, (0.0, 1.0)), 5).key)
    )
    assert len({expected, *keys}) == 6


# The image encoder


def test_pictures_are_embedded_once_and_as_the_network_itself_does(pictures, tmp_path, caplog):
    network = make_image_encoder()
    network.save_pretrained(tmp_path / "encoder")
    again = pictures.iloc[[3, 1, 3]]
    found = ImageEncoder(tmp_path / "encoder").embed(again)
    processor = diffusers.loaders.ip_adapter.CLIPImageProcessor(size=16, crop_size=16)
    images = [Image.open(path) for path in again["image_path"]]
    with torch.no_grad():
        expected = network(processor(images, return_tensors="pt").pixel_values).image_embeds
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert np.abs(found[0] - found[1]).max() > 0.01
    assert np.abs(np.linalg.norm(found, axis=1) - 1).min() > 0.01
    kept = sorted((tmp_path / "data/cache/image_prompts").rglob("*.npy"))
    assert len(kept) == 2
    for path in pictures["image_path"]:
        (tmp_path / path).unlink()
    assert (ImageEncoder(tmp_path / "encoder").embed(again) == found).all()
    kept[0].write_bytes(kept[0].read_bytes()[:-8])
    with pytest.raises(PerceptError, match=r"must be the picture that was ingested"):
        ImageEncoder(tmp_path / "encoder").embed(again)
    assert f"{kept[0].name} is damaged; its picture is embedded anew" in caplog.text


def test_a_processor_of_the_encoder_is_taken(pictures, tmp_path):
    make_image_encoder().save_pretrained(tmp_path / "encoder")
    plain = ImageEncoder(tmp_path / "encoder").embed(pictures)
    processor = diffusers.loaders.ip_adapter.CLIPImageProcessor(
        size=16, crop_size=16, do_normalize=False
    )
    processor.save_pretrained(tmp_path / "encoder")
    assert np.abs(ImageEncoder(tmp_path / "encoder").embed(pictures) - plain).max() > 0.01


def test_a_damaged_image_encoder_is_named(pictures, tmp_path):
    make_image_encoder().save_pretrained(tmp_path / "encoder")
    weights = tmp_path / "encoder/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    message = (
        f"^The image encoder in {re.escape(str(tmp_path / 'encoder'))} must be whole; it cannot be loaded "
        r"\(.+\)\. Get it anew\.$"
    )
    with pytest.raises(PerceptError, match=message):
        ImageEncoder(tmp_path / "encoder").embed(pictures)


def test_an_image_encoder_without_a_projection_is_refused(pictures, tmp_path):
    make_image_encoder().save_pretrained(tmp_path / "encoder")
    weights = tmp_path / "encoder/model.safetensors"
    tensors = load_file(weights)
    del tensors["visual_projection.weight"]
    save_file(tensors, weights, {"format": "pt"})
    message = (
        f"The image encoder in {tmp_path / 'encoder'} must be a CLIP with a projection; it has no "
        "visual_projection.weight. Get the one that the adapter was trained with."
    )
    with pytest.raises(PerceptError) as caught:
        ImageEncoder(tmp_path / "encoder").embed(pictures)
    assert str(caught.value) == message


# What fits what


@pytest.fixture
def parts(tmp_path):
    save_all(make_stable_diffusion, tmp_path)
    return tmp_path


def prompting(folder, **changes):
    values = {
        "adapter": folder / "adapters/adapter.safetensors",
        "scale": 0.5,
        "image_encoder": None,
    }
    return ImagePromptParams.model_validate(values | changes)


def test_the_image_encoder_lies_beside_the_adapter_or_where_the_param_says(parts):
    assert find_image_encoder(prompting(parts), parts) == parts / "adapters/image_encoder"
    make_image_encoder().save_pretrained(parts / "other")
    params = prompting(parts, image_encoder=parts / "other")
    assert find_image_encoder(params, parts) == parts / "other"
    nothing = prompting(parts, adapter=None)
    assert find_image_encoder(nothing, parts) is None
    assert nothing.loaded is None
    assert prompting(parts).loaded == Adapter(parts / "adapters/adapter.safetensors", 0.5)


def refused(message, params, folder):
    with pytest.raises(PerceptError) as caught:
        find_image_encoder(params, folder)
    assert str(caught.value) == message


def test_a_pickle_is_refused(parts):
    refused(
        "`render.image_prompt.adapter` must be a .safetensors file, which can carry no code; found "
        f"{parts}/ip-adapter_sd15.bin. Get it in that format.",
        prompting(parts, adapter=parts / "ip-adapter_sd15.bin"),
        parts,
    )


def test_a_missing_adapter_is_named(parts):
    refused(
        f"`render.image_prompt.adapter` must exist; {parts}/none.safetensors does not. Get it or set "
        "the param to null.",
        prompting(parts, adapter=parts / "none.safetensors"),
        parts,
    )


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_image_encoder_is_named(parts, missing):
    (parts / "adapters/image_encoder" / missing).unlink()
    refused(
        "An IP-Adapter needs the folder of its image encoder, with config.json and .safetensors weights; "
        f"{parts}/adapters/image_encoder is none. Get it, or name it in "
        "`render.image_prompt.image_encoder`.",
        prompting(parts),
        parts,
    )


@pytest.mark.parametrize("key", ["image_proj.latents", "image_proj.proj.0.weight"])
def test_adapters_of_other_kinds_are_refused(parts, key):
    path = parts / "adapters/adapter.safetensors"
    tensors = load_file(path)
    tensors[key] = tensors.pop("image_proj.proj.weight")
    save_file(tensors, path)
    refused(
        "An IP-Adapter must be of the plain kind, which takes one embedding of the whole image; "
        f"{path} holds no image_proj.proj.weight, so it is a plus or FaceID adapter or another file. "
        "Choose a plain one.",
        prompting(parts),
        parts,
    )


def test_a_damaged_adapter_is_named(parts):
    path = parts / "adapters/adapter.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    message = rf"^{re.escape(str(path))} must be a whole \.safetensors file; it is not \(.+\)\. Get it anew\.$"
    with pytest.raises(PerceptError, match=message):
        find_image_encoder(prompting(parts), parts)


@pytest.mark.parametrize(
    ("make", "name"),
    [(make_stable_diffusion_3, "StableDiffusion3Pipeline"), (make_flux, "FluxPipeline")],
)
def test_pipelines_without_a_unet_are_refused(parts, make, name):
    seeded(make).save_pretrained(parts / "other")
    refused(
        "`render.image_prompt` needs a pipeline with a UNet that takes IP-Adapters, as "
        f"StableDiffusionPipeline does; {parts}/other is a {name}. Set `render.image_prompt.adapter` "
        "to null, or choose another model.",
        prompting(parts),
        parts / "other",
    )


def test_an_encoder_of_another_width_is_refused(parts):
    make_image_encoder(width=10).save_pretrained(parts / "adapters/image_encoder")
    refused(
        "An IP-Adapter needs the image encoder that it was trained with; "
        f"{parts}/adapters/adapter.safetensors takes embeddings of 12 numbers, and "
        f"{parts}/adapters/image_encoder makes 10. Correct `render.image_prompt.image_encoder`.",
        prompting(parts),
        parts,
    )


def test_an_adapter_for_another_kind_of_model_is_refused(parts):
    xl = seeded(PIPELINES["stable_diffusion_xl"])
    save_adapter(xl.unet, parts / "adapters/adapter.safetensors")
    refused(
        "An IP-Adapter must be of the generator's kind; "
        f"{parts}/adapters/adapter.safetensors makes tokens of 32 numbers, and {parts} attends to tokens "
        "of 16. Choose the adapter of this model.",
        prompting(parts),
        parts,
    )


@pytest.mark.parametrize("change", ["a layer less", "other widths"])
def test_an_adapter_for_other_layers_is_refused(parts, change):
    path = parts / "adapters/adapter.safetensors"
    tensors = load_file(path)
    for key in [key for key in tensors if key.startswith("ip_adapter.3.")]:
        value = tensors.pop(key)
        if change == "other widths":
            tensors[key] = value[1:].clone()
    save_file(tensors, path)
    message = (
        r"^An IP-Adapter must have weights for each layer of the generator that attends to words; "
        rf"{re.escape(str(path))} does not fit {re.escape(str(parts))} \((.|\n)+\)\. Choose the adapter of this "
        r"model\.$"
    )
    with pytest.raises(PerceptError, match=message):
        load(parts)


# What is learnt


N_TRIALS, N_STIMULI, N_FEATURES = 120, 40, 30


def planted(noise, n_stimuli=N_STIMULI):
    rng = np.random.default_rng(0)
    stimulus = np.arange(N_TRIALS) % n_stimuli
    truth = rng.standard_normal((N_FEATURES, WIDTH))
    shown = rng.standard_normal((n_stimuli, N_FEATURES))
    features = shown[stimulus] + noise * rng.standard_normal((N_TRIALS, N_FEATURES))
    embeddings = shown[stimulus] @ truth + 3.0
    return truth, features, embeddings, [f"stimulus-{i}" for i in stimulus]


def cosines(one, other):
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_a_planted_map_is_recovered(caplog):
    caplog.set_level("INFO")
    truth, features, embeddings, stimuli = planted(noise=0.05)
    learnt = fit_map(features, embeddings, stimuli)
    new = np.random.default_rng(1).standard_normal((50, N_FEATURES))
    predicted = learnt.predict(new)
    assert cosines(predicted, new @ truth + 3.0).min() > 0.97
    norms = np.linalg.norm(predicted, axis=1)
    np.testing.assert_allclose(norms, np.linalg.norm(embeddings, axis=1).mean())
    (line,) = re.findall(r"Image embeddings from .+", caplog.text)
    found = re.fullmatch(
        r"Image embeddings from 120 trials of 40 validation stimuli: cross-validated cosine (\S+) at the "
        r"best of 6 penalties \((\S+)\), (\S+) for the mean embedding\.",
        line,
    )
    cosine, penalty, of_the_mean = map(float, found.groups())
    assert cosine > 0.97
    assert penalty <= 1
    centred = embeddings.mean(axis=0, keepdims=True).repeat(len(embeddings), axis=0)
    assert of_the_mean == pytest.approx(cosines(embeddings, centred).mean(), abs=0.05)


def test_predictions_that_tell_nothing_are_no_better_than_the_mean(caplog):
    caplog.set_level("INFO")
    _, features, embeddings, stimuli = planted(noise=0.05)
    strangers = np.random.default_rng(2).permutation(features)
    fit_map(strangers, embeddings, stimuli)
    cosine, of_the_mean = map(
        float, re.findall(r"cosine (\S+) .+, (\S+) for the mean", caplog.text)[0]
    )
    assert cosine < of_the_mean + 0.02


def test_no_picture_is_on_both_sides_of_a_fold():
    """Noise that is the same in each presentation of a picture would be learnt by heart otherwise."""
    rng = np.random.default_rng(0)
    stimulus = np.repeat(np.arange(20), 6)
    features, embeddings = rng.standard_normal((20, 60)), rng.standard_normal((20, WIDTH))
    stimuli = [f"stimulus-{i}" for i in stimulus]
    learnt = fit_map(features[stimulus], embeddings[stimulus], stimuli)
    assert learnt.ridge.alpha == max(image_prompts.PENALTIES)


def test_too_few_stimuli_are_refused():
    _, features, embeddings, stimuli = planted(noise=0.05, n_stimuli=9)
    message = (
        "An image prompt is learnt from kept trials of at least 10 validation stimuli; found 9. Hold more "
        "out in `preprocess.split`, or set `render.image_prompt.adapter` to null."
    )
    with pytest.raises(PerceptError) as caught:
        fit_map(features, embeddings, stimuli)
    assert str(caught.value) == message


def predictions_of(trial_ids, vectors):
    n, n_kinds, dim = vectors.shape
    kinds = ["ThemeTag", "ObjectSnap"][:n_kinds]
    keys = {"trial_id": np.repeat(trial_ids, n_kinds), "kind": np.tile(kinds, n)}
    table = vectors_to_table(keys, vectors.reshape(-1, dim))
    return table.cast(PREDICTIONS).take(np.random.default_rng(0).permutation(n * n_kinds))


def unit_vectors(n):
    vectors = np.random.default_rng(n).standard_normal((n, 2, 4)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


def test_the_predictions_of_all_heads_stand_side_by_side_in_one_order():
    ids, vectors = [f"trial-{i}" for i in range(6)], unit_vectors(6)
    found = features_of(predictions_of(ids, vectors), ids[2:5])
    np.testing.assert_array_equal(found, vectors[2:5, ::-1].reshape(3, -1))
    backwards = features_of(predictions_of(ids, vectors), ids[4:1:-1])
    np.testing.assert_array_equal(backwards, found[::-1])
    message = (
        "Each of 2 trials needs a prediction of 2 heads; found 2 predictions of them. Run `dvc repro "
        "retrieve`."
    )
    with pytest.raises(PerceptError) as caught:
        features_of(predictions_of(ids, vectors), ["trial-5", "trial-6"])
    assert str(caught.value) == message


# What each condition is given


CHOSEN = 4


class Album:
    """Stands in for the image encoder: an embedding of each stimulus, known beforehand."""

    def __init__(self, embeddings):
        self.embeddings = embeddings
        self.seen = set()

    def embed(self, stimuli):
        self.seen |= set(stimuli.index)
        return np.stack([self.embeddings[name] for name in stimuli.index])


@pytest.fixture
def study():
    """Make trials of three splits, whose predictions are the embedding of the picture up to noise."""
    rng = np.random.default_rng(0)
    splits = ["train"] * 70 + ["validation"] * 30 + ["test"] * CHOSEN
    names = [f"stimulus-{number:03d}" for number in range(len(splits))]
    trials = pd.DataFrame(
        {
            "trial_id": [f"trial-{number:03d}" for number in range(len(splits))],
            "stimulus_id": names,
            "concept": ["dog", "cat"] * (len(splits) // 2),
            "split": splits,
            "kept": True,
        }
    )
    vectors = rng.standard_normal((len(splits), 2, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    embeddings = vectors.reshape(len(splits), -1) @ rng.standard_normal((8, WIDTH)) + 1.0
    heard = trials["split"].to_numpy() != "train"
    predictions = predictions_of(trials["trial_id"][heard].to_list(), vectors[heard])
    captions = pd.DataFrame({"stimulus_id": names, "kind": "ObjectSnap", "text": "a dog"})
    noise = unit_vectors(CHOSEN)
    n_heard = []

    def hear_noise(chosen, k):
        n_heard.append(k)
        return Heard(predictions_of(chosen["trial_id"].tolist(), noise), pd.DataFrame())

    chosen = trials[trials["split"] == "test"]
    captions["caption_id"] = captions["stimulus_id"]
    retrievals = pd.DataFrame({"rank": [3], "gallery": ["train"]})
    sources = Sources(trials, captions, retrievals, chosen, hear_noise, 0)
    return sources, predictions, dict(zip(names, embeddings, strict=True)), noise, n_heard


def prompts_of(study):
    sources, predictions, embeddings, *_ = study
    rows = pd.DataFrame({"stimulus_id": list(embeddings)})
    return ImagePrompts(sources, rows, predictions, Album(embeddings))


def test_each_condition_gets_its_own_embedding(study):
    sources, _, embeddings, _, n_heard = study
    prompts = prompts_of(study)
    images = {name: np.array(prompts.images_of(name)) for name in get_args(Condition)}
    true = np.stack([embeddings[name] for name in sources.chosen["stimulus_id"]])
    np.testing.assert_allclose(images["true_captions"], true, atol=1e-4)
    assert cosines(images["decoded"], true).min() > 0.98
    assert cosines(images["decoded"], np.roll(true, 1, axis=0)).max() < 0.98
    assert set(sources.shuffled) == set(range(CHOSEN))
    assert all(source != own for own, source in enumerate(sources.shuffled))
    np.testing.assert_array_equal(images["shuffled_eeg"], images["decoded"][sources.shuffled])
    features = features_of(sources.from_noise.predictions, sources.chosen["trial_id"].tolist())
    np.testing.assert_allclose(images["noise_eeg"], prompts._map.predict(features), atol=1e-4)
    assert n_heard == [3]  # once, for captions and images
    by_lot = np.stack([embeddings[name] for name in sources.random_stimuli])
    np.testing.assert_allclose(images["random_caption"], by_lot, atol=1e-4)
    averaged = np.stack([embeddings[name] for name in sources.averaged_stimuli])
    assert len(averaged) == 64
    np.testing.assert_allclose(images["mean_embedding"], [averaged.mean(0)] * CHOSEN, atol=1e-4)
    for condition in ("class_name", "predicted_class"):
        np.testing.assert_array_equal(images[condition], np.zeros((CHOSEN, WIDTH)))


def test_test_trials_are_never_learnt_from(study):
    sources, predictions, embeddings, noise, n_heard = study
    held_out = list(sources.chosen["stimulus_id"])
    first = prompts_of(study)
    expected = first.images_of("noise_eeg")
    assert not first.encoder.seen & set(held_out)
    validation = sources.trials.loc[sources.trials["split"] == "validation", "stimulus_id"]
    assert first.encoder.seen == set(validation)
    tested = sources.chosen["trial_id"].tolist()
    others = predictions.filter(
        pa.compute.invert(pa.compute.is_in(predictions["trial_id"], pa.array(tested)))
    )
    scrambled = pa.concat_tables([others, predictions_of(tested, -noise)])
    moved = embeddings | dict.fromkeys(held_out, np.full(WIDTH, 9.0))
    second = prompts_of((sources, scrambled, moved, noise, n_heard))
    assert second.images_of("noise_eeg") == expected
    assert second.images_of("decoded") != first.images_of("decoded")
