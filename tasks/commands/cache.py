"""`percept cache`: what finished work takes on disk that nothing here uses any more."""

import argparse
import shutil
from pathlib import Path
from typing import Any

EXAMPLE = "percept cache prune"
GB = 1e9


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    text = "free the disk of finished work that nothing here uses"
    steps = commands.add_parser("cache", help=text).add_subparsers(required=True, metavar="STEP")
    prune = steps.add_parser("prune", help="say what can go; with --yes, delete it")
    prune.add_argument("--yes", action="store_true", help="delete it")
    prune.set_defaults(command=_prune)


def _prune(options: argparse.Namespace) -> None:
    from tasks.artifacts.catalogue import Artifacts
    from tasks.eeg.shards import ShardCache
    from tasks.runtime.workspace import sole_writer

    with sole_writer("percept cache prune"):
        cache = ShardCache(Artifacts().raw.parent / "cache" / "preprocess")
        unused = cache.unused(Artifacts().epochs)
        if not unused:
            print(
                f"{cache.folder} holds nothing but the recordings that {Artifacts().epochs} holds."
            )
            return
        for folder in unused:
            print(f"{_size(folder) / GB:9.3f} GB  {folder}")
        total = sum(map(_size, unused)) / GB
        if not options.yes:
            print(
                f"{len(unused)} recordings that were cleaned by other params, other code or an earlier step, "
                f"{total:.3f} GB, can go: `percept cache prune --yes` deletes them. Whoever goes back to "
                "those params waits for them again."
            )
            return
        for folder in unused:
            shutil.rmtree(folder)
        print(
            f"{total:.3f} GB freed. `dvc gc --workspace` frees what DVC itself keeps of other runs."
        )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
