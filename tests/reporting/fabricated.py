"""A small study made up on the spot: every table and file that the report reads, with no pipeline behind it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import Score, write_scores
from tasks.artifacts.tables import empty_table, write_table
from tasks.language.captioners.scene import describe
from tasks.language.prompts import KIND_NAMES, KINDS, TIER_OF
from tasks.runtime.files import write_text
from tasks.simulation.scene import CONCEPTS, Scene, draw, sample_scene

SUBJECTS = ("sub-01", "sub-02", "sub-03")
CONDITIONS = ("decoded", "true_captions", "shuffled_eeg")
CHANNELS = ("O1", "Oz", "O2", "P3", "P4", "T7", "T8", "Fz", "F3", "F4")
SPLITS = ("train", "train", "validation", "test", "test", "zero_shot")

Row = dict[str, Any]


def fabricate(root: Path, n_stimuli: int = 24, seed: int = 0) -> Artifacts:
    """Write a study under ``root``, which must be the current directory when it is read."""
    rng = np.random.default_rng(seed)
    artifacts = Artifacts(root)
    concepts = list(CONCEPTS)
    scenes = {
        f"stim-{i:04d}": sample_scene(rng, concepts[i % len(concepts)]) for i in range(n_stimuli)
    }
    stimuli = list(_stimuli(root, scenes))
    trials = list(_trials(scenes, rng))
    captions = list(_captions(scenes))
    held_out = [t for t in trials if t["split"] in ("test", "zero_shot") and t["kept"]]
    renders = list(_renders(root, held_out, scenes, rng))
    tables = {
        "recordings": _recordings(),
        "stimuli": stimuli,
        "trials": trials,
        "quality": list(_quality(trials, rng)),
        "averages": list(_averages(rng)),
        "captions": captions,
        "retrievals": list(_retrievals(held_out, scenes, rng)),
        "renders": [{k: v for k, v in r.items() if k not in ("judged", "actual")} for r in renders],
        "judgements": list(_judgements(renders, rng)),
        "saliency": list(_saliency(rng)),
    }
    for name, rows in tables.items():
        put(artifacts, name, rows)
    _log(artifacts.training_log, rng)
    _metrics(artifacts, len(held_out))
    _plots(artifacts, rng)
    _failures(artifacts, held_out)
    _curves(artifacts, held_out, rng)
    return artifacts


def copy_study(source: Artifacts, root: Path) -> Artifacts:
    """Copy a made-up study to another root."""
    shutil.copytree(source.root, root, dirs_exist_ok=True)
    return Artifacts(root)


def put(artifacts: Artifacts, name: str, rows: list[Row]) -> None:
    """Write one table under its contract."""
    schema = Artifacts.all()[name].schema
    table = pa.Table.from_pylist(rows, schema=schema) if rows else empty_table(schema)
    write_table(table, getattr(artifacts, name), schema)


def get(artifacts: Artifacts, name: str) -> list[Row]:
    """Read one table as rows."""
    rows: list[Row] = pa.parquet.read_table(getattr(artifacts, name)).to_pylist()
    return rows


def _recordings() -> list[Row]:
    return [
        {
            "recording_id": f"{subject}_ses-01",
            "dataset": "simulated",
            "subject": subject,
            "session": "ses-01",
            "path": f"data/raw/simulated/recordings/{subject}_ses-01_eeg.fif",
            "source": '{"name":"simulated","folder":"simulated"}',
            "timed": True,
            "sfreq_hz": 256.0,
            "n_channels": 128,
            "duration_s": 900.0,
            "sha256": f"{i:02d}ab" * 16,
        }
        for i, subject in enumerate(SUBJECTS)
    ]


def _stimuli(root: Path, scenes: dict[str, Scene]) -> Iterator[Row]:
    folder = Path("data/raw/simulated/stimuli")
    (root / folder).mkdir(parents=True)
    for stimulus_id, scene in scenes.items():
        path = folder / f"{stimulus_id}.png"
        draw(scene).save(root / path)
        yield {
            "stimulus_id": stimulus_id,
            "concept": scene.concept,
            "image_path": str(path),
            "width_px": 64,
            "height_px": 64,
            "sha256": "0" * 64,
            "official_split": "",
        }


def _trials(scenes: dict[str, Scene], rng: np.random.Generator) -> Iterator[Row]:
    for subject in SUBJECTS:
        order = 0
        for repetition in range(2):
            for i in rng.permutation(len(scenes)):
                stimulus_id, scene = list(scenes.items())[i]
                kept = bool(rng.random() > 0.08)
                yield {
                    "trial_id": f"{subject}_ses-01_trial-{order:04d}",
                    "recording_id": f"{subject}_ses-01",
                    "subject": subject,
                    "session": "ses-01",
                    "block": repetition,
                    "presentation_order": order,
                    "onset_s": float(order),
                    "stimulus_id": stimulus_id,
                    "concept": scene.concept,
                    "repetition": repetition,
                    "split": SPLITS[i % len(SPLITS)],
                    "kept": kept,
                    "reject_reason": "" if kept else "peak to peak above 150 µV",
                }
                order += 1


def _quality(trials: list[Row], rng: np.random.Generator) -> Iterator[Row]:
    for subject in SUBJECTS:
        rows = [t for t in trials if t["subject"] == subject]
        yield {
            "recording_id": f"{subject}_ses-01",
            "n_events": len(rows),
            "n_kept": sum(t["kept"] for t in rows),
            "rejections": f"{sum(not t['kept'] for t in rows)} peak to peak",
            "bad_channels": "T7,F4" if subject == "sub-02" else "",
            "bad_channel_reasons": "flat,deviating" if subject == "sub-02" else "",
            "n_ica_removed": 0,
            "line_noise_ratio": float(rng.uniform(3, 20)),
            "drift_uv": float(rng.uniform(5, 15)),
            "peak_to_peak_uv": float(rng.uniform(40, 90)),
        }


def _averages(rng: np.random.Generator) -> Iterator[Row]:
    for subject in SUBJECTS:
        for channel in CHANNELS:
            for curve, places in (("erp", (-0.1, 0.0, 0.1, 0.2)), ("spectrum", (1.0, 2.0, 3.0))):
                for at in places:
                    row = {"recording_id": f"{subject}_ses-01", "channel": channel, "curve": curve}
                    yield {**row, "at": at, "value": float(rng.normal() + 5 * (at == 0.2))}


def _captions(scenes: dict[str, Scene]) -> Iterator[Row]:
    for stimulus_id, scene in scenes.items():
        for kind, text in describe(scene).items():
            yield {
                "caption_id": f"{stimulus_id}_{kind}",
                "stimulus_id": stimulus_id,
                "tier": TIER_OF[kind].value,
                "kind": kind,
                "text": text,
                "source": "scene",
                "model": "scene",
                "prompt_sha256": "0" * 64,
                "status": "ok",
            }


def _retrievals(
    held_out: list[Row], scenes: dict[str, Scene], rng: np.random.Generator
) -> Iterator[Row]:
    names = list(scenes)
    for trial in held_out:
        for gallery in ("train", "test"):
            for kind in KIND_NAMES:
                for rank, i in enumerate(rng.choice(len(names), 3, replace=False), start=1):
                    yield {
                        "trial_id": trial["trial_id"],
                        "gallery": gallery,
                        "kind": kind,
                        "rank": rank,
                        "caption_id": f"{names[i]}_{kind}",
                        "cosine": float(rng.uniform(0.4, 0.9) - 0.1 * rank),
                    }


def _renders(
    root: Path, held_out: list[Row], scenes: dict[str, Scene], rng: np.random.Generator
) -> Iterator[Row]:
    """Draw what each condition might give; a blur stands for the diffusion model."""
    right = {"decoded": 0.65, "true_captions": 0.95, "shuffled_eeg": 0.05}
    for trial in held_out:
        for condition in CONDITIONS:
            seen = trial["concept"] if rng.random() < right[condition] else None
            scene = sample_scene(rng, seen)
            path = Path(f"data/processed/render_images/{condition}/{trial['trial_id']}_0.png")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            draw(scene, 32).resize((64, 64)).save(root / path)
            yield {
                "trial_id": trial["trial_id"],
                "condition": condition,
                "sample": 0,
                "prompt": ", ".join(list(describe(scene).values())[:2]),
                "guidance_scale": 2.0,
                "seed": int(rng.integers(2**31)),
                "image_path": str(path),
                "flagged": False,
                "judged": scene.concept,
                "actual": trial["concept"],
            }


def _judgements(renders: list[Row], rng: np.random.Generator) -> Iterator[Row]:
    for render in renders:
        for factor in ("concept", "colour"):
            yield {
                **{key: render[key] for key in ("trial_id", "condition", "sample")},
                "factor": factor,
                "judged": render["judged"] if factor == "concept" else "red",
                "actual": render["actual"] if factor == "concept" else "red",
                "probability": float(rng.uniform(0.5, 1)),
            }


def _saliency(rng: np.random.Generator) -> Iterator[Row]:
    for subject in SUBJECTS:
        for kind in KINDS:
            weights = rng.uniform(0.1, 1, len(CHANNELS))
            for channel, weight in zip(CHANNELS, weights / weights.max(), strict=True):
                yield {
                    "subject": subject,
                    "kind": kind.name,
                    "channel": channel,
                    "tier": kind.tier.value,
                    "weight": float(weight),
                }


def _log(path: Path, rng: np.random.Generator) -> None:
    lines = ["epoch,train_loss,validation_loss,validation_recall_at_1,learning_rate"]
    for epoch in range(30):
        fall = float(np.exp(-epoch / 8))
        noise = rng.normal(0, 0.03, 2)
        lines.append(
            f"{epoch},{4.2 * fall + 0.6:.4f},{3.2 * fall + 1.6 + noise[0]:.4f},"
            f"{0.6 * (1 - fall) + abs(noise[1]):.4f},0.001"
        )
    write_text(path, "\n".join(lines) + "\n")


def _share(value: float, n: int, **more: Any) -> Score:
    return Score(value=value, n=n, low=value - 0.04, high=value + 0.04, **more)


def _metrics(artifacts: Artifacts, n: int) -> None:
    shuffled = {"control": 0.024, "control_low": 0.012, "control_high": 0.036}
    write_scores(
        artifacts.evaluate_metrics,
        {
            "concept_recall_at_1_of_40": _share(
                0.623, n, chance=0.025, ceiling=0.851, p_value=0.0005, **shuffled
            ),
            **{
                f"concept_recall_at_1_of_40_{subject}": _share(0.5 + i / 10, n // 3, chance=0.025)
                for i, subject in enumerate(SUBJECTS)
            },
            "concept_recall_at_5_of_40": _share(0.842, n, chance=0.125, ceiling=0.96),
            "concept_recall_at_1_of_40_ObjectSnap": _share(0.58, n, chance=0.025, ceiling=0.851),
            "judged_colour_accuracy_decoded": _share(0.44, n, chance=0.125),
            "two_way_clip_decoded": _share(0.81, n, chance=0.5, ceiling=0.97),
            "stimulus_recall_at_1_of_120": _share(0.21, n, chance=0.0083),
            "stimulus_median_rank_of_120": Score(
                value=7.5, n=n, low=5, high=9, chance=60.5, lower_is_better=True, unit="rank"
            ),
            "zero_shot_concept_recall_at_1_of_6": _share(0.41, n // 3, chance=0.1667),
            "judged_concept_accuracy_decoded": _share(
                0.58, n, chance=0.025, ceiling=0.93, **shuffled
            ),
            "judged_concept_accuracy_true_captions": _share(0.93, n, chance=0.025),
            "judged_concept_accuracy_shuffled_eeg": _share(0.05, n, chance=0.025),
            "kid_clip_decoded": Score(
                value=0.012, n=n, low=0.01, high=0.014, lower_is_better=True, unit="distance"
            ),
            "kid_clip_shuffled_eeg": Score(value=0.013, n=n, lower_is_better=True, unit="distance"),
            "inception_score_judge_decoded": Score(
                value=18.4, n=n, low=17.9, high=18.9, unit="score"
            ),
            "clip_image_similarity_decoded": _share(0.71, n, ceiling=0.9, unit="cosine"),
            "a_score_of_tomorrow": Score(value=-3.25, n=n, unit="bits"),
        },
    )
    write_scores(
        artifacts.check_captions_metrics,
        {
            "clip_score": _share(0.62, n, chance=0.41),
            "clip_score_ThemeTag": _share(0.5, n, chance=0.45),
            "captions_ok": Score(value=0.98, n=n),
            "captions_refused": Score(value=0.02, n=n, lower_is_better=True),
            "bleu_4": Score(value=0.21, n=n, chance=0.03, ceiling=0.26),
            "suspected_hallucinations": _share(0.12, n, chance=0.7, lower_is_better=True),
        },
    )
    write_scores(
        artifacts.explain_metrics,
        {
            "saliency_topography_correlation_object": Score(
                value=0.71,
                n=128,
                chance=0,
                low=0.6,
                high=0.8,
                p_value=0.0002,
                unit="correlation",
                verdict="The map of the object heads agrees with where the sources are.",
            ),
            "saliency_topography_correlation_spatial": Score(
                value=-0.12, n=128, chance=0, low=-0.3, high=0.1, p_value=0.2, unit="correlation"
            ),
            "saliency_topography_correlation_object_gradient": Score(
                value=0.4, n=128, chance=0, unit="correlation"
            ),
            "silhouette_of_tiers": Score(value=0.33, n=10, unit="correlation"),
        },
    )
    write_scores(
        artifacts.audit_metrics,
        {
            "encoder": _share(0.62, n, chance=0.025, verdict="The encoder names the concept."),
            "simple_decoder": _share(
                0.2, n, chance=0.025, verdict="A simple method names it, too."
            ),
            "noise_eeg": _share(0.05, n, chance=0.025, verdict="Noise that looks like EEG falls."),
            "explained_by_drift": Score(
                value=0, n=n, chance=0, lower_is_better=True, verdict="Not explained by drift."
            ),
            "a_control_of_tomorrow": _share(0.05, n, verdict="Nobody knows yet."),
        },
    )


def _plots(artifacts: Artifacts, rng: np.random.Generator) -> None:
    for folder, names in (
        (artifacts.check_captions_plots, ()),
        (artifacts.evaluate_plots, ()),
        (artifacts.explain_plots, ("scalp_maps_by_tier", "tsne_of_heads", "a_new_figure")),
        (artifacts.audit_plots, ()),
    ):
        folder.mkdir(parents=True)
        for name in names:
            figure = Figure((8, 3) if "maps" in name else (4, 3), layout="constrained")
            figure.subplots().imshow(rng.normal(size=(12, 16)))
            figure.savefig(folder / f"{name}.png", dpi=60, metadata={"Software": None})
    curves = [
        f"{name},{n},{k},{1 - (1 - start) ** k:.4f},{k / n:.4f}"
        for name, n, start in (("concept", 40, 0.6), ("stimulus", 120, 0.2))
        for k in range(1, 11)
    ]
    _csv(artifacts.evaluate_plots / "recall.csv", "score,n_items,k,value,chance", curves)
    suspects = ["stim-0000_ThemeTag,a zebra by the sea,zebra"]
    _csv(
        artifacts.check_captions_plots / "suspected_hallucinations.csv",
        "caption_id,text,objects",
        suspects,
    )
    answers = ["dog,dog", "dog,cat", "dog,cat", "cat,cat", "horse,dog"]
    _csv(artifacts.evaluate_plots / "confusion.csv", "actual,predicted", answers)
    header = "tier,region,n_channels,share,low,high,lowest_subject,highest_subject,planted_share"
    regions = [
        f"object,{name},20,0.25,0.21,0.29,0.2,0.3,0.22" for name in ("occipital", "temporal")
    ]
    _csv(artifacts.explain_plots / "saliency_by_region.csv", header, regions)


def _failures(artifacts: Artifacts, held_out: list[Row]) -> None:
    rows = [
        f"{signature},{trial['trial_id']},What to look at."
        for signature in ("hallucination", "hub")
        for trial in held_out[:2]
    ]
    _csv(artifacts.evaluate_plots / "failures.csv", "signature,trial_id,note", rows)


def _curves(artifacts: Artifacts, held_out: list[Row], rng: np.random.Generator) -> None:
    """Write what the figures of accuracy are drawn from."""
    sure = [f"{t['trial_id']},{rng.uniform():.3f},True" for t in held_out]
    _csv(artifacts.evaluate_plots / "confidence.csv", "trial_id,confidence,correct", sure)
    header = "series,x,value,low,high"
    for name, points in (
        ("repetitions", [(1, 0.6), (2, 0.7)]),
        ("decoding_over_time", [(x / 10, 0.02 + max(0, x) / 40) for x in range(-1, 6)]),
    ):
        rows = [f"decoder,{x},{value},{value - 0.01},{value + 0.01}" for x, value in points]
        _csv(artifacts.audit_plots / f"{name}.csv", header, rows)
    names = ("cat", "dog", "ship")
    pairs = [
        f"{a},{b},{abs(i - j) / 2},{abs(i - j) / 3}"
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    _csv(artifacts.explain_plots / "concept_dissimilarity.csv", "concept,other,eeg,captions", pairs)


def _csv(path: Path, header: str, lines: list[str]) -> None:
    write_text(path, "\n".join([header, *lines]) + "\n")
