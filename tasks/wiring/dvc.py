"""Derive dvc.yaml from the stage signatures: DVC follows neither imports nor names, so this does."""

import ast
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from tasks import STAGES
from tasks.artifacts.catalogue import Artifacts
from tasks.runtime.files import write_text
from tasks.wiring.contract import load_stage, params_model, reads, writes

SOURCE_FOLDER = "data/raw/${ingest.source.folder}"  # the one study of data/raw that the params name
VERSION_FILE = "percept.version"
METRICS = (
    "caption_metrics",
    "check_captions_metrics",
    "evaluate_metrics",
    "explain_metrics",
    "audit_metrics",
)
DRAWN = (
    ("Recall by k", "lines", "k", "evaluate_plots", "recall.csv", "value"),
    ("Confusion", "confusion", "actual", "evaluate_plots", "confusion.csv", "predicted"),
    ("Heads in a plane", "points", "x", "explain_plots", "tsne_of_heads.csv", "y"),
    ("Concepts in a plane", "points", "x", "explain_plots", "tsne_of_concepts.csv", "y"),
    ("Saliency over time", "lines", "x", "explain_plots", "saliency_over_time.csv", "value"),
    ("Saliency by head", "lines", "x", "explain_plots", "saliency_over_time_by_head.csv", "value"),
    ("Saliency by region", "bars", "share", "explain_plots", "saliency_by_region.csv", "region"),
    ("High-pass sweep", "bars", "value", "audit_plots", "high_pass.csv", "x"),
    ("Likeness to training", "lines", "x", "audit_plots", "picture_similarity.csv", "value"),
    ("Bottleneck", "lines", "x", "audit_plots", "bottleneck.csv", "value"),
    ("Repetitions", "lines", "x", "audit_plots", "repetitions.csv", "value"),
    ("Time to training", "lines", "x", "audit_plots", "time_to_training.csv", "value"),
    ("Mistakes in order", "lines", "x", "audit_plots", "errors_follow_time.csv", "value"),
)
"""Name, template, x, folder, file and y of the plots that `dvc plots` draws anew from numbers.

Templates of this project are in `.dvc/plots`: a colour for each series, a dash or symbol for each revision.
"""
PICTURES = (
    ("audit_plots", "controls.png"),
    ("explain_plots", "scalp_maps_by_tier.png"),
    ("explain_plots", "scalp_maps_by_kind.png"),
)
"""Folder and file of the plots that are pictures already."""
HEADER = "# Derived from the stage signatures by `make wiring`; a test holds the two together.\n"


def pipeline(root: Path = Path()) -> dict[str, Any]:
    """Return what dvc.yaml must hold: stages in order, metrics and plots.

    Parameters
    ----------
    root
        Root of the study. Where it holds the code, each stage depends on the files that it imports;
        where Percept is installed elsewhere, on the file that holds its version.
    """
    return {
        "stages": {name: _stage(name, root) for name in STAGES},
        "metrics": [Artifacts.all()[name].path for name in METRICS],
        "plots": _plots(),
    }


def write_pipeline(path: Path) -> None:
    """Write dvc.yaml and, beside it in a study without a checkout, the version that its stages run with."""
    if not has_code(path.parent):
        write_text(path.parent / VERSION_FILE, f"{version('percept')}\n")
    write_text(path, HEADER + yaml.safe_dump(pipeline(path.parent), sort_keys=False, width=120))


def has_code(root: Path) -> bool:
    """Tell whether a study is a checkout, which holds the code that its stages run."""
    return (root / "tasks" / "__main__.py").exists()


def import_closure(path: Path, root: Path = Path()) -> set[str]:
    """Return every first-party file that ``path`` imports, directly or not, and itself."""
    seen: set[Path] = set()
    todo = [path]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo += _imported_files(current, root)
    return {file.relative_to(root).as_posix() for file in seen}


def _stage(name: str, root: Path) -> dict[str, Any]:
    stage = load_stage(name)
    catalogue = Artifacts.all()
    data = [SOURCE_FOLDER if n == "raw" else catalogue[n].path for n in reads(stage)]
    entry: dict[str, Any] = {
        "cmd": f"percept run {name}",
        "deps": (_code(name, root) if has_code(root) else [VERSION_FILE]) + data,
        "params": [name, *sorted(params_model(stage).shared().values())],
    }
    outs = [catalogue[n].path for n in writes(stage) if n not in METRICS]
    kept = [{catalogue[n].path: {"cache": False}} for n in writes(stage) if n in METRICS]
    return entry | {"outs": outs + kept}


def _code(name: str, root: Path) -> list[str]:
    """Return the files of a stage's code, and the folders of templates that they load."""
    files = sorted(import_closure(root / "tasks" / f"{name}.py", root))
    return files + sorted({folder for file in files for folder in _templates(root / file)})


def _templates(path: Path) -> list[str]:
    """Return the folders of templates that a file loads."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        f"{argument.value.replace('.', '/')}/templates"
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "PackageLoader"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def _plots() -> list[dict[str, Any]]:
    log = Artifacts.training_log.path
    return [
        {
            "Training": {
                "template": "linear",
                "x": "epoch",
                "y": {log: ["train_loss", "validation_loss"]},
            }
        },
        *(_drawn(*plot) for plot in DRAWN),
        *({f"{Artifacts.all()[artefact].path}/{file}": {}} for artefact, file in PICTURES),
    ]


def _drawn(name: str, template: str, x: str, artefact: str, file: str, y: str) -> dict[str, Any]:
    path = f"{Artifacts.all()[artefact].path}/{file}"
    return {name: {"template": template, "x": x, "y": {path: y}}}


def _imported_files(path: Path, root: Path) -> list[Path]:
    files = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            modules = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        files += [file for module in modules for file in _source(module, root)]
    return files


def _source(module: str, root: Path) -> list[Path]:
    """Return the file of a first-party module, and the packages above it."""
    if module.split(".")[0] != "tasks":
        return []
    base = root.joinpath(*module.split("."))
    return [f for f in (base.with_suffix(".py"), base / "__init__.py") if f.exists()]
