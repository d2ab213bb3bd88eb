"""Files of publishers are opened without running what may be hidden in them."""

import builtins
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.eeg.sources.protocol import SourceError
from tasks.eeg.sources.safe_loading import load_npy, load_pth

EEG = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
HONEST = {
    "eeg": EEG,
    "fortran": np.asfortranarray(EEG),
    "big_endian": EEG.astype(">f8"),
    "ch_names": ["Fp1", "Oz"],
    "files": np.array(["a.jpg", "bb.jpg"]),
    "objects": np.array(["a", None, 3], dtype=object),
    "sfreq": np.float64(250),
    "name": np.str_(""),
    "times": (0, 1.5, b"\xff", True, None),
}


class Evil:
    """Runs a command, or evaluates an expression, when it is unpickled without care."""

    def __init__(self, function: Callable[..., object], argument: str) -> None:
        self.function, self.argument = function, argument

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return self.function, (self.argument,)


def save_dict(value: object, path: Path) -> None:
    np.save(path, np.array(value, dtype=object), allow_pickle=True)


def save_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=4))


def save_old_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


def save_pth(value: object, path: Path) -> None:
    torch.save(value, path)


def save_legacy_pth(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


SAVERS_OF_NPY = [save_dict, save_pickle, save_old_pickle]
SAVERS_OF_PTH = [save_pth, save_legacy_pth]


def check(found: dict) -> None:
    assert list(found) == list(HONEST)
    for name, value in HONEST.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
        else:
            assert found[name] == value
            assert type(found[name]) is type(value)


@pytest.mark.parametrize("save", SAVERS_OF_NPY)
def test_honest_dicts_are_opened(tmp_path: Path, save) -> None:
    save(HONEST, tmp_path / "a.npy")
    check(load_npy(tmp_path / "a.npy"))


def test_out_of_band_protocol_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(pickle.dumps(HONEST, protocol=5))
    check(load_npy(tmp_path / "a.npy"))


@pytest.mark.parametrize("save", SAVERS_OF_NPY)
def test_old_names_of_numpy_are_known(tmp_path: Path, save) -> None:
    path = tmp_path / "a.npy"
    save({"eeg": EEG, "sfreq": np.float64(250)}, path)
    data = path.read_bytes()
    if save is save_old_pickle:
        path.write_bytes(data.replace(b"numpy._core", b"numpy.core"))
    else:  # a short string with its length before it, in a frame with its length before that
        data = pickle.dumps({"eeg": EEG}, protocol=4)
        old = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
        assert old != data
        path.write_bytes(old.replace(data[2:11], b"", 1))
    np.testing.assert_array_equal(load_npy(path)["eeg"], EEG)


def test_python_2_pickles_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(
        b"(dp0\nS'x'\np1\ncnumpy.core.multiarray\nscalar\np2\n(cnumpy\ndtype\np3\n(S'f8'\nI0\nI1\n"
        b"tRp4\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?'\ntRp5\ns."
    )
    assert load_npy(path) == {"x": 1.0}


def test_numbers_stay_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", EEG)
    found = load_npy(tmp_path / "a.npy")
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, EEG)


def test_arrays_of_objects_keep_their_shape(tmp_path: Path) -> None:
    array = np.empty((2, 1), dtype=object)
    array[:, 0] = [{"a": 1}, "b"]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.testing.assert_array_equal(load_npy(tmp_path / "a.npy"), array)


@pytest.mark.parametrize("save", SAVERS_OF_PTH)
def test_honest_tensors_are_opened(tmp_path: Path, save) -> None:
    save({"dataset": [{"eeg": torch.from_numpy(EEG), "label": 3}], "labels": ["a"]}, tmp_path / "a")
    found = load_pth(tmp_path / "a")
    assert found["labels"] == ["a"]
    np.testing.assert_array_equal(found["dataset"][0]["eeg"].numpy(), EEG)


@pytest.mark.parametrize(
    ("function", "name"), [(os.system, f"{os.name}.system"), (builtins.eval, "builtins.eval")]
)
@pytest.mark.parametrize("save", [*SAVERS_OF_NPY, *SAVERS_OF_PTH])
def test_what_would_run_code_is_refused(tmp_path: Path, save, function, name) -> None:
    path, trace = tmp_path / "a.npy", tmp_path / "trace"
    argument = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w')"
    save({"eeg": EEG.tolist(), "evil": Evil(function, argument)}, path)
    with pytest.raises(SourceError) as error:
        (load_npy if save in SAVERS_OF_NPY else load_pth)(path)
    assert not trace.exists()
    asked = name.replace("builtins", "__builtin__") if save is save_old_pickle else name
    if save not in SAVERS_OF_PTH:
        assert str(error.value) == (
            f"{path} must hold arrays and plain containers only; it asks for {asked}. "
            "Do not open it; get the file from its publisher again."
        )
    else:
        assert "must hold arrays and plain containers only; it asks for " in str(error.value)
        assert name.split(".")[1] in str(error.value)


def test_other_encodings_than_numpys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
    with pytest.raises(SourceError, match=r"cannot be read \(bytes are encoded as 'rot13'"):
        load_npy(path)


def test_arrays_cannot_be_made_over_foreign_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"cnumpy\nndarray\n((I1\ntVO\ntR.")
    with pytest.raises(SourceError, match="must be a whole"):
        load_npy(path)


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.6, 0.95])
@pytest.mark.parametrize("save", [np.save, *SAVERS_OF_NPY, *SAVERS_OF_PTH])
def test_truncated_files_are_refused(tmp_path: Path, save, kept: float) -> None:
    path = tmp_path / "a.npy"
    if save is np.save:
        np.save(path, np.zeros(1000))
    elif save in SAVERS_OF_NPY:
        save({"eeg": np.zeros(1000)}, path)
    else:
        save({"eeg": torch.zeros(1000)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    load = load_pth if save in SAVERS_OF_PTH else load_npy
    with pytest.raises(SourceError) as error:
        load(path)
    assert str(error.value).startswith(f"{path} must be a whole ")
    assert str(error.value).endswith("). Copy it from its origin again.")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("load", [load_npy, load_pth])
def test_a_missing_file_is_named(tmp_path: Path, load) -> None:
    with pytest.raises(SourceError, match=r"gone\.npy must be a whole .* No such file"):
        load(tmp_path / "gone.npy")
