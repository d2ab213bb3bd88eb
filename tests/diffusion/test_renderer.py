"""The frozen generator: the right text encoder, pictures that depend on prompt and seed alone."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from transformers import CLIPTokenizer

from tasks.diffusion import prompt_embeddings
from tasks.diffusion.composition import DEFAULT_KINDS, Conditioning, compose
from tasks.diffusion.prompt_embeddings import PromptEncoder
from tasks.diffusion.renderer import Renderer
from tasks.diffusion.settings import Request, Settings
from tasks.language.captioners.scene import describe
from tasks.pretraining.clip import CONFIG
from tasks.pretraining.scores import fresh_scenes, score_generator
from tasks.pretraining.text_encoder import convert_text_tower, cut_vocabulary, make_tokenizer
from tasks.pretraining.unet import TextEncoder

TEXTS = [compose(describe(scene), DEFAULT_KINDS) for scene in fresh_scenes(40)]


@pytest.fixture(scope="module")
def shipped() -> Path:
    return Path(__file__).resolve().parents[2] / "data/models/diffusion"


@pytest.fixture(scope="module")
def renderer(shipped: Path) -> Renderer:
    return Renderer.load(shipped, Settings(3))


def render(renderer, prompts, seeds, guidance=2.0):
    mixes = [Conditioning(((prompt, 1.0),), guidance) for prompt in prompts]
    drawn = renderer.render([Request(*pair) for pair in zip(mixes, seeds, strict=True)])
    return np.stack([np.asarray(picture.image, dtype=int) for picture in drawn])


def test_a_picture_depends_on_its_prompt_and_seed_alone(renderer: Renderer) -> None:
    prompts = [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[0]]
    batch = render(renderer, prompts, [1, 2, 3, 1])
    alone = render(renderer, prompts[2:3], [3])
    assert batch.shape[1:] == (32, 32, 3)
    assert np.abs(batch[2] - alone[0]).max() <= 1
    assert np.abs(batch[0] - batch[3]).max() <= 1
    assert np.abs(batch[0] - batch[1]).mean() > 2
    assert np.abs(batch[0] - batch[2]).max() > 1


def test_guidance_matters_and_so_do_words_beyond_the_context(renderer: Renderer) -> None:
    prompts = [", ".join(TEXTS[:10])]
    guided = render(renderer, prompts, [1], guidance=3.0)
    plain = render(renderer, prompts, [1], guidance=1.0)
    assert np.abs(guided - plain).mean() > 0.5
    longer = render(renderer, [", ".join(TEXTS[:11])], [1], guidance=3.0)
    assert np.abs(guided - longer).mean() > 0.5


def test_few_prompt_embeddings_are_remembered_and_a_forgotten_one_is_the_same(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = PromptEncoder(renderer.pipeline)
    first = prompts.embed(((TEXTS[0], 1.0),), 1)
    monkeypatch.setattr(prompt_embeddings, "KNOWN_BYTES", 3 * first.states.nbytes)
    for text in TEXTS:
        prompts.embed(((text, 1.0),), 1)
    assert len(prompts.known) == 3
    assert TEXTS[-1] in prompts.known
    assert TEXTS[0] not in prompts.known
    assert torch.equal(prompts.embed(((TEXTS[0], 1.0),), 1).states, first.states)


def test_nothing_to_render(renderer: Renderer) -> None:
    assert renderer.render([]) == []


@pytest.mark.slow
def test_the_judge_sees_what_true_captions_tell(shipped: Path, repository: Path) -> None:
    scores = score_generator(
        shipped, repository / "data/models/judge", n_steps=8, guidance_scale=2.0, n_scenes=80
    )
    assert scores["concept"] >= 0.40
    assert min(scores[factor] for factor in ("colour", "size", "relation", "theme")) >= 0.90


def test_the_converted_text_tower_has_the_hidden_states_of_the_original() -> None:
    torch.manual_seed(0)
    clip = open_clip.CLIP(**CONFIG["model_cfg"]).eval()
    vocabulary = cut_vocabulary(TEXTS)
    text = TextEncoder(make_tokenizer(vocabulary, 48), convert_text_tower(clip, vocabulary))
    tokens = open_clip.SimpleTokenizer(context_length=48)(TEXTS)
    with torch.no_grad():
        embedded = clip.token_embedding(tokens) + clip.positional_embedding
        original = clip.ln_final(clip.transformer(embedded, attn_mask=clip.attn_mask))
    torch.testing.assert_close(text.encode(TEXTS), original, atol=1e-4, rtol=1e-4)


def test_the_cut_vocabulary_keeps_known_texts_and_takes_unknown_ones_apart(tmp_path: Path) -> None:
    vocabulary = cut_vocabulary(TEXTS)
    assert len(vocabulary.tokens) < 1200
    make_tokenizer(vocabulary, 48).save_pretrained(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    full = open_clip.SimpleTokenizer(context_length=48)
    known = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert torch.equal(torch.tensor(vocabulary.old_indices)[known], full(TEXTS))
    zebra = tokenizer("a zebra").input_ids
    assert len(zebra) > 4
    assert "".join(tokenizer.convert_ids_to_tokens(zebra[1:-1])) == "a</w>zebra</w>"
