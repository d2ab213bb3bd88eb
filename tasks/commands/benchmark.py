"""`percept benchmark`: the field's tables, with published rows, ours, chance and controls."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.benchmark import CONTROLS, STUDIES

if TYPE_CHECKING:
    from tasks.benchmark.runs import Run

EXAMPLE = "percept benchmark things_eeg2"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    text = "the field's tables: published rows, ours, chance, another test picture, controls"
    benchmark = commands.add_parser("benchmark", help=text)
    benchmark.add_argument("study", choices=STUDIES, help="whose published table")
    benchmark.add_argument(
        "--run",
        action="append",
        metavar="[NAME=]FOLDER",
        help="a finished run (default: Percept=.); runs of one name are seeds or subjects of one system",
    )
    benchmark.add_argument(
        "--average-trials",
        action="store_true",
        help="average the predictions of a subject's trials of one picture before scoring",
    )
    benchmark.add_argument(
        "--centres",
        type=Path,
        metavar="FILE",
        help=".npz of one image vector per test concept, the mean of pictures that were not shown",
    )
    benchmark.add_argument(
        "--retrain",
        action="append",
        default=[],
        choices=CONTROLS,
        help="first train the encoder of each run anew on what holds no answer",
    )
    benchmark.add_argument(
        "--export",
        type=Path,
        metavar="FOLDER",
        help="also write predictions as NeuralBench keeps them, one folder per run",
    )
    benchmark.set_defaults(command=_benchmark)


def _benchmark(options: argparse.Namespace) -> None:
    from tasks.benchmark.benchmark import write_benchmark
    from tasks.benchmark.controls import retrain
    from tasks.benchmark.export import export
    from tasks.benchmark.retrieval import read_centres

    runs = [_run(word) for word in options.run or ["."]]
    for run in runs:
        for control in options.retrain:
            retrain(run, control)
    written = write_benchmark(
        options.study,
        runs,
        average_trials=options.average_trials,
        centres=read_centres(options.centres) if options.centres else None,
    )
    if options.export:
        for index, run in enumerate(runs):
            written.append(export(run, options.export / f"{index:02d}_{run.name}"))
    print("Written: " + ", ".join(map(str, written)))


def _run(word: str) -> "Run":
    from tasks.benchmark.runs import open_run

    name, sign, folder = word.rpartition("=")
    return open_run(name if sign else "Percept", Path(folder))
