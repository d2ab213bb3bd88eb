"""The whole recipe, in a few steps: what it exports can be loaded and says what it is."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.clip.model import load_clip
from tasks.diffusion.composition import Conditioning
from tasks.diffusion.renderer import Renderer
from tasks.diffusion.settings import Request, Settings
from tasks.pretraining import clip, clip_last_step, judge, model_cards, pretrain, unet, vae
from tasks.simulation.judge import Judge

WEIGHTS = (
    "clip/open_clip_model.safetensors",
    "judge/judge.safetensors",
    "diffusion/unet/diffusion_pytorch_model.safetensors",
    "diffusion/vae/diffusion_pytorch_model.safetensors",
    "diffusion/text_encoder/model.safetensors",
)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (clip, judge, unet, vae):
        monkeypatch.setattr(module, "BATCH_SIZE", 8)
        monkeypatch.setattr(module, "PLAN", replace(module.PLAN, steps=2, minutes=None))
    monkeypatch.setattr(vae, "DECODER_PLAN", replace(vae.DECODER_PLAN, steps=2))
    monkeypatch.setattr(clip_last_step, "BATCH_SIZE", 8)
    for name in ("TEXT_PLAN", "IMAGE_PLAN"):
        plan = replace(getattr(clip_last_step, name), steps=2)
        monkeypatch.setattr(clip_last_step, name, plan)
    monkeypatch.setattr(pretrain, "N_STEPS", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_pretrain_exports_models_that_load_and_resumes(tmp_path: Path) -> None:
    out, work = tmp_path / "models", tmp_path / "work"
    remarks = {"clip": "a test"}
    pretrain.pretrain(out, work, minutes=5, n_scenes=32, remarks=remarks)
    assert "- remark: a test" in (out / "clip" / "README.md").read_text()
    first = {name: (out / name).read_bytes() for name in WEIGHTS}
    assert load_clip(f"local-dir:{out / 'clip'}").encode_texts(["a dog"]).shape == (1, 128)
    assert len(Judge.load(out / "judge").vocabulary["concept"]) == 40
    renderer = Renderer.load(out / "diffusion", Settings(1))
    (drawn,) = renderer.render([Request(Conditioning((("a dog", 1.0),), 2.0), 1)])
    assert drawn.image.size == (32, 32)
    for name in ("clip", "judge", "diffusion"):
        card = (out / name / "README.md").read_text()
        assert model_cards.LICENCE in card
        assert "| concept" in card
        assert "- steps: 2 of 8 scenes" in card
        assert not (out / f"{name}.partial").exists()
    pretrain.pretrain(out, work, minutes=5, n_scenes=32)
    assert first == {name: (out / name).read_bytes() for name in WEIGHTS}
