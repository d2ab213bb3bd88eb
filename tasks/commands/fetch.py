"""`percept fetch`: public data sets from their publishers."""

import argparse
from pathlib import Path
from typing import Any

from tasks.fetching.studies import STUDIES

EXAMPLE = "percept fetch things_eeg2 --subjects 1 2"


def add(commands: Any) -> None:
    """Add the command ``fetch``.

    Parameters
    ----------
    commands
        The subparsers of `percept`.
    """
    fetch = commands.add_parser("fetch", help="download a public data set; resumes where it ended")
    fetch.add_argument("study", choices=STUDIES, metavar="STUDY", help=", ".join(STUDIES))
    text = "numbers, for instance 1 2; all without this option"
    fetch.add_argument("--subjects", type=int, nargs="+", metavar="N", help=text)
    text = "folder of the study (default: data/raw/STUDY)"
    fetch.add_argument("--folder", type=Path, help=text)
    fetch.set_defaults(command=_fetch)


def _fetch(options: argparse.Namespace) -> None:
    from tasks.artifacts.catalogue import Artifacts
    from tasks.fetching.fetch import fetch_study

    study, folder = STUDIES[options.study], options.folder or Artifacts().raw / options.study
    print(f"{study.licence}.")
    n_fetched = fetch_study(study, folder, options.subjects)
    print(f"{folder}: {n_fetched} files fetched, the others were there. Next: percept doctor.")
