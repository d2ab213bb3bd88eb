"""Image targets that are not CLIP's: a lab's own file, read without running code, and networks of timm."""

import re

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from tasks.clip.feature_files import NAMED, FeatureFileError, read_features
from tasks.clip.timm_model import TimmModel
from tasks.runtime.errors import PerceptError

PICTURES = {f"stim-{i:02d}": f"data/raw/study/images/dog_{i:02d}.jpg" for i in range(12)}
FEATURES = np.random.default_rng(0).normal(size=(13, 5)).astype(np.float32)
NAMES = [f"dog_{i:02d}" for i in range(13)]


def write_npz(path, names, features):
    np.savez(path, names=np.array(names), features=features)


def write_npy(path, names, features):
    np.save(path, features)
    path.with_suffix(".txt").write_text("".join(f"{name}\n" for name in names))


def write_pt(path, names, features):
    torch.save({"names": names, "features": torch.from_numpy(features)}, path)


def write_pt_by_name(path, names, features):
    torch.save(dict(zip(names, torch.from_numpy(features), strict=True)), path)


def write_safetensors(path, names, features):
    save_file(dict(zip(names, torch.from_numpy(features.copy()), strict=True)), path)


WRITERS = {
    "npz": write_npz,
    "npy": write_npy,
    "pt": write_pt,
    "names.pt": write_pt_by_name,
    "safetensors": write_safetensors,
}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("name", ["{stem}", "{stem}.jpg", "{id}"])
def test_features_are_found_by_name_and_scaled_to_unit_norm(ending, name, tmp_path):
    order = np.random.default_rng(1).permutation(12)
    ids = list(PICTURES)
    names = [name.format(stem=NAMES[i], id=ids[i]) for i in order]
    path = tmp_path / f"features.{ending}"
    WRITERS[ending](path, [*names, "another"], FEATURES[[*order, 12]])
    found = read_features(path, PICTURES)
    expected = FEATURES[:12] / np.linalg.norm(FEATURES[:12], axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def refused(path, pattern):
    with pytest.raises(FeatureFileError, match=pattern):
        read_features(path, PICTURES)


def test_pictures_without_features_are_counted_and_ten_are_named(tmp_path):
    write_npz(tmp_path / "f.npz", ["dog_11"], FEATURES[:1])
    first = ", ".join(list(PICTURES)[:NAMED])
    refused(
        tmp_path / "f.npz",
        rf"f\.npz must hold the features of every picture of the study; it lacks 11 of 12: {first} and "
        r"others\. It names pictures like dog_11: ",
    )


def test_names_that_come_twice_are_refused(tmp_path):
    write_npz(tmp_path / "f.npz", [*NAMES[:12], "dog_03"], FEATURES)
    refused(tmp_path / "f.npz", r"must name each picture once; dog_03 comes twice \(1 in all\)")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0])
def test_features_that_are_no_direction_are_refused(wrong, tmp_path):
    features = FEATURES.copy()
    features[3] = wrong
    write_npz(tmp_path / "f.npz", NAMES, features)
    refused(
        tmp_path / "f.npz", r"must be finite numbers and not all 0; those of stim-03 are not \(1 "
    )


def test_another_number_of_rows_is_refused(tmp_path):
    write_npz(tmp_path / "f.npz", NAMES, FEATURES[:5])
    refused(
        tmp_path / "f.npz", r"one row of features for each name; it holds 13 names and .*\(5, 5\)"
    )


def test_a_file_that_is_missing_foreign_or_damaged_is_named(tmp_path):
    refused(
        tmp_path / "none.npz", r"there is no such file\. Put it there, or mend embed\.image\.path"
    )
    (tmp_path / "f.csv").write_text("a,b")
    refused(tmp_path / "f.csv", r"must end in \.npz, \.npy, \.pt, \.safetensors")
    for ending in (".npz", ".npy", ".pt", ".safetensors"):
        path = tmp_path / f"f{ending}"
        path.write_bytes(b"damaged" * 9)
        path.with_suffix(".txt").write_text("dog\n")
        refused(path, re.escape(str(path)) + " must be readable as names and features; it is not")


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("ending", [".pt", ".npy", ".npz"])
def test_code_in_a_file_is_not_run(ending, tmp_path, capsys):
    path = tmp_path / f"f{ending}"
    if ending == ".pt":
        torch.save({"names": Evil(), "features": torch.zeros(1, 2)}, path)
    elif ending == ".npy":
        np.save(path, np.array([Evil()], object), allow_pickle=True)
        path.with_suffix(".txt").write_text("dog\n")
    else:
        np.savez(path, names=np.array([Evil()], object), features=FEATURES)
    with pytest.raises(FeatureFileError):
        read_features(path, PICTURES)
    assert "code ran" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a small DINOv2 of timm, in a file: only the path is tried."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    path = tmp_path_factory.mktemp("timm") / "vit.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return path


def test_a_network_of_timm_gives_its_features_and_those_of_its_blocks(weights):
    model = TimmModel(f"timm:vit_tiny_patch16_224={weights}")
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)) for _ in range(3)]
    found = {
        "final": model.encode_images(pictures),
        "block": model.encode_images(pictures, 7),
        "class": model.encode_images(pictures, 7, tokens="cls"),
        "blurred": model.encode_images(pictures, 7, blur_px=4.0),
    }
    for vectors in found.values():
        assert vectors.shape == (3, 192)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    batch = torch.stack([model.preprocess(p) for p in pictures])
    with torch.inference_mode():
        tokens = model.model.forward_intermediates(batch, indices=[6], intermediates_only=True)[0]
    mean = torch.nn.functional.normalize(tokens.flatten(2).mean(dim=2), dim=1).numpy()
    np.testing.assert_allclose(found["block"], mean, atol=1e-5)
    assert np.abs(found["blurred"] - found["block"]).max() > 1e-3
    assert np.abs(found["class"] - found["block"]).max() > 1e-3


def test_what_timm_has_not_or_lacks_weights_for_is_said(weights, tmp_path):
    with pytest.raises(PerceptError, match=r"must be a network of timm; 'no_such_net' is none"):
        TimmModel("timm:no_such_net")
    with pytest.raises(
        PerceptError, match=r"none\.pt must hold the weights of the network; there is no"
    ):
        TimmModel(f"timm:vit_tiny_patch16_224={tmp_path / 'none.pt'}")
    with pytest.raises(PerceptError, match=r"weights of vit_small_patch16_224 must load in full"):
        TimmModel(f"timm:vit_small_patch16_224={weights}")
    model = TimmModel(f"timm:vit_tiny_patch16_224={weights}")
    with pytest.raises(PerceptError, match=r"has 12 blocks; there is no block 13"):
        model.encode_images([Image.new("RGB", (8, 8))], 13)
