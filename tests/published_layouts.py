"""Small studies in exactly the layouts in which the field publishes them: names of files, folders, types, quirks.

Each layout has functions that save given numbers as its publisher does, for the tests of its source, and an
entry in `WRITERS` that fills it with a *planted* study: noise in which every picture leaves a weak response,
the sum of those to its object, its colour and its theme. The captions hold the same three words, so that a
decoder can find what was planted, of objects that it never met as well.
"""

import json
import pickle
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch
from PIL import Image

from tasks.eeg.sources import eeg_imagenet
from tasks.eeg.sources.eegcvpr import CONCEPTS
from tasks.eeg.sources.things_eeg2_layouts import NICE_CHANNELS, TARGET
from tasks.language.prompts import KIND_NAMES
from tests.eeg.studies import CHANNELS, make_raw

# --- the planted study ---------------------------------------------------------------------------------

OBJECTS = (
    "banana", "pizza", "daisy", "airliner", "canoe", "broom", "iron", "mitten", "panda", "parachute",
    "missile", "bolete", "revolver", "capuchin", "mailbag",
)  # fmt: skip
N_TRAINED = 9  # of these, where a publisher holds objects out
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}
THEMES = ("night", "ocean", "desert")
TEXTS = (
    "a {c} {o}", "a smooth {c} {o}", "a {c} {o} with {c} parts", "a {o} in the {t}",
    "a large {o} beside the {t}", "a {o} on the left, {t} on the right", "a wide shot of a {o}",
    "{t}", "a {c} mood of {t}", "a {o} is lost in the {t}",
)  # fmt: skip
STRENGTH_UV = {"o": 3.0, "c": 6.0, "t": 6.0}
"""RMS over channels of the response to an object, a colour and a theme, at its peak; the noise has about 9 uV."""


@dataclass(frozen=True)
class Shown:
    """A picture: what is on it, and how many pictures of this object come before."""

    concept: str
    number: int

    @property
    def words(self) -> dict[str, str]:
        looks = list(product(COLOURS, THEMES))
        colour, theme = looks[OBJECTS.index(self.concept) % len(looks)]
        return {"o": self.concept, "c": colour, "t": theme}

    @property
    def captions(self) -> dict[str, str]:
        texts = (text.format(**self.words) for text in TEXTS)
        return dict(zip(KIND_NAMES, texts, strict=True))

    def draw(self, path: Path) -> None:
        """Save a picture of the colour, unlike any other."""
        rng = np.random.default_rng(zlib.crc32(f"{self.concept}{self.number}".encode()))
        pixels = np.array(COLOURS[self.words["c"]]) + rng.normal(scale=25, size=(24, 24, 3))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def pictures(objects: Sequence[str], n_each: int) -> list[Shown]:
    return [Shown(name, number) for name in objects for number in range(n_each)]


def noise_uv(n_channels: int, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise that neighbouring channels share, slow for the most part."""
    shared = rng.normal(size=(3, n_samples + 4))
    shared = sum(shared[:, i : i + n_samples] for i in range(5)) * 2
    mixing = 1 + 0.3 * np.random.default_rng(n_channels).random((n_channels, 3))
    return mixing @ shared + 3 * rng.normal(size=(n_channels, n_samples))


def response_uv(picture: Shown, n_channels: int, times_s: np.ndarray) -> np.ndarray:
    """Return what a picture leaves in the EEG: nothing before its onset."""
    total = np.zeros((n_channels, len(times_s)))
    for role, word in picture.words.items():
        rng = np.random.default_rng(zlib.crc32(word.encode()))
        peak_s = rng.uniform(0.12, 0.3)
        course = np.exp(-0.5 * ((times_s - peak_s) / 0.04) ** 2) * (times_s > 0)
        total += STRENGTH_UV[role] * np.outer(rng.normal(size=n_channels), course)
    return total


def epochs_uv(
    shown: Sequence[Shown], n_channels: int, times_s: np.ndarray, seed: int
) -> np.ndarray:
    """Return an epoch per presentation."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            noise_uv(n_channels, len(times_s), rng) + response_uv(picture, n_channels, times_s)
            for picture in shown
        ]
    )


def recording_uv(
    shown: Sequence[Shown],
    onsets: Sequence[int],
    n_samples: int,
    n_channels: int,
    sfreq_hz: float,
    seed: int,
) -> np.ndarray:
    """Return a continuous recording; ``onsets`` are samples."""
    signal = noise_uv(n_channels, n_samples, np.random.default_rng(seed))
    times_s = np.arange(round(0.6 * sfreq_hz)) / sfreq_hz
    for picture, onset in zip(shown, onsets, strict=True):
        signal[:, onset : onset + len(times_s)] += response_uv(picture, n_channels, times_s)
    return signal


def shuffled(shown: Sequence[Shown], seed: int) -> list[Shown]:
    return [shown[i] for i in np.random.default_rng(seed).permutation(len(shown))]


def write_captions(folder: Path, named: Mapping[str, Shown]) -> None:
    content = {name: picture.captions for name, picture in named.items()}
    (folder / "captions.json").write_text(json.dumps(content))


# --- THINGS-EEG2 ---------------------------------------------------------------------------------------

SHORT = {"training": "train", "test": "test"}
SEVENTEEN = NICE_CHANNELS[-17:]
THINGS_RATE_HZ = 1000
OFFICIAL_TIMES_S = np.arange(100) / 100 - 0.2
NICE_TIMES_S = (
    np.arange(300) / 250 - 0.2
)  # those of the epochs before they were cut to the last 250


def save_things_pictures(
    images: Path,
    files: Mapping[str, Sequence[tuple[str, str]]],
    draw: Callable[[str, str, Path], None],
) -> None:
    """Write the metadata, and each picture of (folder, file) by ``draw``."""
    table = {}
    for part, short in SHORT.items():
        table[f"{short}_img_concepts"] = [folder for folder, _ in files[part]]
        table[f"{short}_img_files"] = [file for _, file in files[part]]
        for folder, file in files[part]:
            path = images / f"{part}_images" / folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(folder, file, path)
    np.save(images / "image_metadata.npy", table)


def things_raw(
    signal_v: np.ndarray, samples: Sequence[int], codes: Sequence[int], sfreq: int = THINGS_RATE_HZ
) -> dict[str, Any]:
    """Return what ``raw_eeg_training.npy`` holds: 63 channels and the trigger."""
    trigger = np.zeros((1, signal_v.shape[1]))
    trigger[0, samples] = codes
    return {
        "raw_eeg_data": np.concatenate([signal_v, trigger]),
        "ch_names": [*NICE_CHANNELS, "stim"],
        "ch_types": ["eeg"] * 63 + ["stim"],
        "sfreq": sfreq,
        "highpass": 0.01,
        "lowpass": 100,
    }


def ubp_content(eeg: np.ndarray, part: str, files: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what UBP's ``.pt`` files hold; ``eeg`` is images x repetitions x 63 x 250."""
    n_images, n_reps = eeg.shape[:2]
    names = np.array([[f"{part}_images/{folder}/{file}"] * n_reps for folder, file in files])
    folders = [folder for folder, _ in files]
    labels = np.array([sorted(set(folders)).index(folder) for folder in folders])
    return {
        "eeg": eeg.astype(np.float16),
        "label": np.repeat(labels[:, None], n_reps, axis=1),
        "img": names,
        "text": names.copy(),
        "session": np.zeros((n_images, n_reps)),
        "ch_names": list(NICE_CHANNELS),
        "times": NICE_TIMES_S,
    }


def save_ubp(content: Mapping[str, Any], path: Path) -> None:
    torch.save(content, path, pickle_protocol=5)


def save_things_official(folder: Path, part: str, eeg: np.ndarray) -> None:
    """Save images x repetitions x 17 x 100, as the authors do: a dict by numpy."""
    content = {
        "preprocessed_eeg_data": eeg,
        "ch_names": list(SEVENTEEN),
        "times": OFFICIAL_TIMES_S,
    }
    np.save(folder / f"preprocessed_eeg_{part}.npy", content)


def save_things_nice(folder: Path, part: str, eeg: np.ndarray) -> None:
    """Save images x repetitions x 63 x 250, as NICE and ATM do: a bare pickle of that suffix."""
    content = {
        "preprocessed_eeg_data": eeg,
        "ch_names": list(NICE_CHANNELS),
        "times": NICE_TIMES_S,
    }
    path = folder / f"preprocessed_eeg_{part}.npy"
    path.write_bytes(pickle.dumps(content, protocol=4))


def save_things_arrays(folder: Path, part: str, eeg: np.ndarray, n_concepts: int) -> None:
    """Save concepts x images x repetitions x 63 x 250, as NeuroBridge and SAMGA read it."""
    shape = (n_concepts, len(eeg) // n_concepts, *eeg.shape[1:])
    np.save(folder / f"{SHORT[part]}.npy", eeg.astype(np.float32).reshape(shape))


def things_files() -> dict[str, list[tuple[str, str]]]:
    parts = {
        "training": pictures(OBJECTS[:N_TRAINED], 4),
        "test": pictures(OBJECTS[N_TRAINED:], 1),
    }
    return {
        part: [(_things_folder(p), f"{p.concept}_{p.number + 1:02d}b.jpg") for p in shown]
        for part, shown in parts.items()
    }


def _things_folder(picture: Shown) -> str:
    return f"{OBJECTS.index(picture.concept) + 1:05d}_{picture.concept}"


def _shown_in(file: str) -> Shown:
    concept, number = file.removesuffix("b.jpg").split("_")
    return Shown(concept, int(number) - 1)


def write_things(folder: Path, layout: str) -> dict[str, Any]:
    """Write two subjects: 36 training pictures four times, six test pictures of other objects ten times."""
    files = things_files()
    shown = {part: [_shown_in(file) for _, file in pairs] for part, pairs in files.items()}
    save_things_pictures(
        folder / "image_set", files, lambda _, file, path: _shown_in(file).draw(path)
    )
    names = {Path(file).stem: _shown_in(file) for pairs in files.values() for _, file in pairs}
    write_captions(folder, names)
    eeg = "raw_data" if layout == "raw" else f"Preprocessed_data_{layout}"
    for subject, part in product((1, 2), SHORT):
        place = folder / eeg / f"sub-{subject:02d}"
        place.mkdir(parents=True, exist_ok=True)
        n_reps = {"training": 4, "test": 10}[part]
        if layout == "raw":
            _write_things_raw(place, part, shown[part], n_reps // 2, seed=subject)
            continue
        repeated = [picture for picture in shown[part] for _ in range(n_reps)]
        n_channels, times_s = (
            (17, OFFICIAL_TIMES_S) if layout == "official" else (63, NICE_TIMES_S[-250:])
        )
        values = epochs_uv(repeated, n_channels, times_s, seed=subject) / 10
        values = values.reshape(len(shown[part]), n_reps, n_channels, len(times_s))
        match layout:
            case "official":
                save_things_official(place, part, values)
            case "nice":
                save_things_nice(place, part, values)
            case "ubp":
                save_ubp(ubp_content(values, part, files[part]), place / f"{SHORT[part]}.pt")
            case _:
                n_concepts = len({picture.concept for picture in shown[part]})
                save_things_arrays(place, part, values, n_concepts)
    source = {"ingest.source.layout": layout, "ingest.source.eeg": eeg}
    if layout == "raw":
        return source | {"preprocess.filters.high_pass_hz": 1.0}  # the recordings last seconds
    last_s = 0.8
    first_s = -0.2 if layout == "official" else 0.0
    return source | _stored(first_s, last_s)


def _write_things_raw(place: Path, part: str, shown: list[Shown], n_reps: int, seed: int) -> None:
    """Write two sessions: a picture each 0.2 s, and now and then a target."""
    for session in (1, 2):
        order = shuffled(shown * n_reps, seed=10 * seed + session)
        codes = [shown.index(picture) + 1 for picture in order]
        onsets = [2000 + 200 * i + 200 * (i // 9) for i in range(len(order))]
        targets = [onset + 200 for onset in onsets[8::9]]
        n_samples = onsets[-1] + 3000
        signal = recording_uv(order, onsets, n_samples, 63, THINGS_RATE_HZ, seed + session)
        content = things_raw(1e-6 * signal, onsets + targets, codes + [TARGET] * len(targets))
        folder = place / f"ses-{session:02d}"
        folder.mkdir(exist_ok=True)
        np.save(folder / f"raw_eeg_{part}.npy", content)


def _stored(first_s: float, last_s: float) -> dict[str, Any]:
    """Return the params of epochs that were filtered and whitened by their publisher."""
    return {
        "preprocess.filters.high_pass_hz": None,
        "preprocess.filters.low_pass_hz": None,
        "preprocess.filters.notch_hz": [],
        "preprocess.window.tmin_s": first_s,
        "preprocess.window.tmax_s": last_s,
        "preprocess.window.sfreq_hz": None,
        "preprocess.baseline_s": None,
        "preprocess.reference": "recorded",
        "preprocess.bad_channels.flat_uv": None,
        "preprocess.reject.flat_uv": None,
        "preprocess.whitening": None,
    }


# --- EEGCVPR -------------------------------------------------------------------------------------------

WNID_OF = {word: wnid for wnid, word in CONCEPTS.items()}


def eegcvpr_segment(eeg: np.ndarray, image: int, label: int, subject: int) -> dict[str, Any]:
    """Return one item of the publisher's list; ``eeg`` is 128 x samples."""
    return {
        "eeg": torch.from_numpy(eeg.astype(np.float32)),
        "image": image,
        "label": label,
        "subject": subject,
    }


def eegcvpr_splits(parts: Sequence[str]) -> dict[str, Any]:
    """Return the publisher's splits: numbers of segments of all subjects together, by part."""
    numbers = {
        p: [i for i, part in enumerate(parts) if part == p] for p in ("train", "val", "test")
    }
    return {"splits": [numbers]}


def write_eegcvpr(folder: Path) -> dict[str, Any]:
    """Write two subjects and 15 classes in blocks, six pictures each: four to train on, one for each other part."""
    shown = pictures(OBJECTS, 6)
    labels = [WNID_OF[name] for name in OBJECTS]
    names = [f"{WNID_OF[p.concept]}_{100 + p.number}" for p in shown]
    part_of = ("train", "train", "train", "train", "val", "test")
    dataset, parts = [], []
    for subject in (1, 2):
        values = epochs_uv(shown, 128, np.arange(500) / 1000, seed=subject) / 10
        for i, picture in enumerate(shown):
            label = OBJECTS.index(picture.concept)
            dataset.append(eegcvpr_segment(values[i], i, label, subject))
            parts.append(part_of[picture.number])
    save_eegcvpr(folder, dataset, labels, names, parts)
    for name, picture in zip(names, shown, strict=True):
        picture.draw(folder / "images" / name.split("_")[0] / f"{name}.JPEG")
    (folder / "image_order.txt").write_text("".join(f"{name}.JPEG\n" for name in names))
    write_captions(folder, dict(zip(names, shown, strict=True)))
    return {
        "preprocess.split": {"strategy": "official", "seed": 0, "validation_fraction": 0.2},
        "preprocess.bad_channels.min_correlation": None,
    }


def save_eegcvpr(
    folder: Path,
    dataset: list[dict[str, Any]],
    labels: Sequence[str],
    images: Sequence[str],
    parts: Sequence[str],
) -> None:
    """Save segments, the part of each, and the lists that their numbers point into."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"dataset": dataset, "labels": list(labels), "images": list(images)}
    torch.save(content, folder / "eeg_5_95_std.pth")
    torch.save(eegcvpr_splits(parts), folder / "block_splits_by_image_all.pth")


# --- EEG-ImageNet --------------------------------------------------------------------------------------


def eeg_imagenet_trial(
    eeg_v: np.ndarray, subject: int, image: str, granularity: str = "coarse"
) -> dict[str, Any]:
    """Return one item of the publisher's list; ``eeg_v`` is 62 x 501, in volt."""
    return {
        "eeg_data": torch.from_numpy(eeg_v).float(),
        "granularity": granularity,
        "subject": subject,
        "label": image.split("_")[0],
        "image": image,
    }


def save_eeg_imagenet(folder: Path, *files: list[dict[str, Any]]) -> None:
    """Save ``EEG-ImageNet_1.pth`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, items in enumerate(files, start=1):
        labels = sorted({item["label"] for item in items})
        content = {"dataset": items, "labels": labels, "images": []}
        torch.save(content, folder / f"EEG-ImageNet_{number}.pth")


def write_eeg_imagenet(folder: Path) -> dict[str, Any]:
    """Write a subject in each of two files: 15 classes in blocks, the first four of six pictures train."""
    shown = pictures(OBJECTS, 6)
    names = {f"{WNID_OF[p.concept]}_{200 + p.number}": p for p in shown}
    files = []
    for subject in (0, 8):
        values = epochs_uv(shown, len(eeg_imagenet.CHANNELS), np.arange(501) / 1000, seed=subject)
        pairs = zip(values, names, strict=True)
        files.append([eeg_imagenet_trial(1e-6 * v, subject, f"{name}.JPEG") for v, name in pairs])
    save_eeg_imagenet(folder, *files)
    for name, picture in names.items():
        picture.draw(folder / "images" / name.split("_")[0] / f"{name}.JPEG")
    lines = [f"{WNID_OF[name]} {name}, the thing itself\n" for name in OBJECTS]
    (folder / "LOC_synset_mapping.txt").write_text("".join(lines))
    write_captions(folder, names)
    return {
        "ingest.source.class_names": "LOC_synset_mapping.txt",
        "ingest.source.n_training": 4,
        "preprocess.split": {"strategy": "official", "seed": 0, "validation_fraction": 0.2},
    }


# --- Alljoined-1.6M ------------------------------------------------------------------------------------

ALLJOINED_CHANNELS = (
    "Cz", "FCz", "Fp1", "F7", "F3", "CP1", "C3", "T7", "CP5", "P7", "P3", "Pz", "O1", "Oz", "O2", "P4",
    "P8", "CP6", "T8", "C4", "CP2", "F4", "F8", "Fp2", "PO7", "PO3", "PO4", "PO8", "FC5", "FC1", "FC2",
    "FC6",
)  # fmt: skip
ALLJOINED_TIMES_S = np.arange(-50, 250) / 250


def alljoined_row(partition: str, session: int, name: str, concept: str, dropped: bool) -> dict:
    """Return a row of ``experiment_metadata_categories.parquet``: paths are those of Windows."""
    return {
        "partition": partition,
        "dropped": dropped,
        "session": session,
        "image_path": f"stimuli\\images\\{name}.jpg",
        "category_num": 0,
        "category_name": concept,
        "subject": 1,
    }


def save_alljoined(folder: Path, part: str, eeg: np.ndarray, channels: Sequence[str]) -> None:
    """Save trials x channels x 250: a bare pickle, whose times are those before the cut."""
    content = {
        "preprocessed_eeg_data": eeg,
        "ch_names": list(channels),
        "times": ALLJOINED_TIMES_S,
    }
    path = folder / f"preprocessed_eeg_{part}_flat.npy"
    path.write_bytes(pickle.dumps(content, protocol=4))


def write_alljoined(folder: Path) -> dict[str, Any]:
    """Write two subjects in two sessions: 36 training pictures and six of other objects, some trials dropped."""
    shown = {
        "train": pictures(OBJECTS[:N_TRAINED], 4) * 2,
        "test": pictures(OBJECTS[N_TRAINED:], 1) * 5,
    }
    names = {f"{p.concept}_{p.number + 1:02d}s": p for part in shown.values() for p in part}
    name_of = {picture: name for name, picture in names.items()}
    for subject in (1, 2):
        place = folder / "preprocessed_eeg" / f"sub-{subject:02d}"
        place.mkdir(parents=True)
        table = []
        for part, file in (("train", "training"), ("test", "test")):
            trials = [(session, p) for session in (1, 2) for p in shuffled(shown[part], session)]
            dropped = [number % 11 == 5 for number in range(len(trials))]
            for (session, picture), gone in zip(trials, dropped, strict=True):
                row = alljoined_row(
                    f"stim_{part}", session, name_of[picture], picture.concept, gone
                )
                table.append(row | {"subject": subject})
            kept = [p for (_, p), gone in zip(trials, dropped, strict=True) if not gone]
            times_s = ALLJOINED_TIMES_S[-250:]
            values = epochs_uv(kept, len(ALLJOINED_CHANNELS), times_s, seed=subject) / 10
            save_alljoined(place, file, values.astype(np.float32), ALLJOINED_CHANNELS)
        pd.DataFrame(table).to_parquet(place / "experiment_metadata_categories.parquet")
    for name, picture in names.items():
        picture.draw(folder / "stimuli" / "images" / f"{name}.jpg")
    write_captions(folder, names)
    return {}


# --- BIDS ----------------------------------------------------------------------------------------------


def save_bids_stimuli(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Save ``stimuli.tsv``; every row has the same columns."""
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    (folder / "stimuli.tsv").write_text("\n".join(lines) + "\n")


def write_bids(folder: Path) -> dict[str, Any]:
    """Write two subjects: every picture twice, in random order; some have a part in the table's column."""
    shown = pictures(OBJECTS, 4)
    names = {f"{p.concept}_{p.number}.png": p for p in shown}
    name_of = {picture: name for name, picture in names.items()}
    for name, picture in names.items():
        picture.draw(folder / "stimuli" / name)
    held_out = {3: "test", 2: "validation"}
    save_bids_stimuli(
        folder,
        [
            {
                "stimulus": name,
                "concept": picture.concept,
                "image": f"stimuli/{name}",
                "split": held_out.get(picture.number, "train"),
            }
            for name, picture in names.items()
        ],
    )
    for subject in (1, 2):
        order = shuffled(shown * 2, seed=subject)
        onsets = [1000 + 200 * i for i in range(len(order))]  # every 0.8 s
        signal = recording_uv(order, onsets, onsets[-1] + 1000, len(CHANNELS), 250.0, seed=subject)
        lines = ["onset\tduration\tstim_file\tresponse"]
        lines += [
            f"{onset / 250}\t0.5\t{name_of[picture]}\tn/a"
            for onset, picture in zip(onsets, order, strict=True)
        ]
        name = f"sub-{subject:02d}/eeg/sub-{subject:02d}_task-look"
        (folder / name).parent.mkdir(parents=True)
        make_raw(signal).save(folder / f"{name}_eeg.fif", verbose="ERROR")
        (folder / f"{name}_events.tsv").write_text("\n".join(lines) + "\n")
    write_captions(folder, names)
    return {}


# --- CSV -----------------------------------------------------------------------------------------------

CSV_HEADER = "timestamps,TP9,AF7,AF8,TP10,Right AUX,Marker"
CSV_RATE_HZ = 256


def save_csv_run(
    path: Path,
    signal_uv: np.ndarray,
    marked: Mapping[int, int],
    times_s: np.ndarray | None = None,
    n_decimals: int = 3,
) -> None:
    """Save what a headband writes: ``signal_uv`` is samples x 5; ``marked`` maps samples to markers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if times_s is None:
        times_s = 1e9 + np.arange(len(signal_uv)) / CSV_RATE_HZ
    lines = [CSV_HEADER]
    for i, (time_s, row) in enumerate(zip(times_s, signal_uv, strict=True)):
        lines.append(
            f"{time_s:.{n_decimals}f},{','.join(f'{value:.3f}' for value in row)},{marked.get(i, 0)}"
        )
    path.write_text("\n".join(lines) + "\n")


def write_csv(folder: Path) -> dict[str, Any]:
    """Write one subject and four runs of two stimuli, as the recordings of cats and dogs are."""
    shown = {1: Shown("banana", 0), 2: Shown("panda", 0)}
    for run in range(4):
        order = np.random.default_rng(run).choice([1, 2], size=60).tolist()
        onsets = [1024 + 256 * i for i in range(len(order))]
        seen = [shown[marker] for marker in order]
        signal = recording_uv(seen, onsets, onsets[-1] + 1024, 5, CSV_RATE_HZ, seed=run)
        path = folder / "subject1" / "session1" / f"data_2017-01-0{run + 1}.csv"
        save_csv_run(path, signal.T, dict(zip(onsets, order, strict=True)))
    markers = {}
    for marker, picture in shown.items():
        picture.draw(folder / "images" / f"{picture.concept}.jpg")
        markers[marker] = {
            "stimulus": picture.concept,
            "concept": picture.concept,
            "image": f"images/{picture.concept}.jpg",
        }
    write_captions(folder, {picture.concept: picture for picture in shown.values()})
    return {"ingest.source.markers": markers, "train.batch_size": 2}


# --- epochs of a lab -----------------------------------------------------------------------------------


def lab_epochs(
    eeg_uv: np.ndarray, table: pd.DataFrame | None, sfreq_hz: float = 250.0, tmin_s: float = -0.1
) -> mne.EpochsArray:
    """Return what a lab saves as ``-epo.fif``: epochs of 16 channels, with a row of metadata each."""
    info = make_raw(np.zeros((len(CHANNELS), 1)), sfreq_hz).info
    samples = 500 + 300 * np.arange(len(eeg_uv))
    events = np.stack([samples, 0 * samples, 1 + 0 * samples], axis=1)
    return mne.EpochsArray(1e-6 * eeg_uv, info, events, tmin_s, metadata=table, verbose="ERROR")


def write_epochs_of_a_lab(folder: Path, kind: str) -> dict[str, Any]:
    """Write two subjects in two sessions: every picture once each, pictures in folders of their concepts."""
    shown = pictures(OBJECTS, 4)
    name_of = {p: f"{p.concept}/{p.number}.png" for p in shown}
    for picture, name in name_of.items():
        picture.draw(folder / "images" / name)
    parts = {3: "test", 2: "validation"}
    for subject, session in product((1, 2), (1, 2)):
        seed = 10 * subject + session
        order = shuffled(shown, seed)
        table = pd.DataFrame(
            {
                "picture": [name_of[p] for p in order],
                "concept": [p.concept for p in order],
                "split": [parts.get(p.number, "train") for p in order],
                "rt": 0.4,
            }
        )
        eeg = epochs_uv(order, len(CHANNELS), np.arange(-25, 200) / 250, seed)
        stem = folder / f"sub-{subject:02d}_ses-{session:02d}-epo"
        match kind:
            case "fif":
                lab_epochs(eeg, table).save(stem.with_suffix(".fif"), verbose="ERROR")
            case "npy":
                np.save(stem.with_suffix(".npy"), eeg.astype(np.float32))
            case _:
                np.savez(stem.with_suffix(".npz"), eeg=1e-6 * eeg)
        if kind != "fif":
            table.to_csv(stem.with_suffix(".csv"), index=False)
    write_captions(folder, {name: picture for picture, name in name_of.items()})
    return {} if kind == "fif" else lab_arrays(kind, "uV" if kind == "npy" else "V")


def lab_arrays(kind: str, unit: str) -> dict[str, Any]:
    """Return the params of arrays in files of this ending."""
    said = {"channels": list(CHANNELS), "sfreq_hz": 250.0, "tmin_s": -0.1, "unit": unit}
    files = rf"sub-(?P<subject>\w+)_ses-(?P<session>\w+)-epo\.{kind}"
    return {"ingest.source.files": files, "ingest.source.arrays": said}


WRITERS: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    **{
        f"things_eeg2_{layout}": (
            "things_eeg2",
            lambda folder, name=layout: write_things(folder, name),
        )
        for layout in ("raw", "official", "nice", "ubp", "arrays")
    },
    "eegcvpr": ("eegcvpr", write_eegcvpr),
    "eeg_imagenet": ("eeg_imagenet", write_eeg_imagenet),
    "alljoined": ("alljoined", write_alljoined),
    "bids": ("bids", write_bids),
    "csv_streams": ("muse_cats_dogs", write_csv),
    **{
        f"epochs_{kind}": ("epochs", lambda folder, name=kind: write_epochs_of_a_lab(folder, name))
        for kind in ("fif", "npy", "npz")
    },
}
"""Layout to its preset and to what writes a study of it into a folder; that returns params, by dotted names."""
