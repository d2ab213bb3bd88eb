"""`percept gallery`: captions from anywhere, searched by what was decoded."""

import argparse
from pathlib import Path
from typing import Any, cast

from tasks import PARAMS_FILE, PARAMS_HELP

EXAMPLE = "percept gallery add my-captions.txt"


def add(commands: Any) -> None:
    """Add the group to the parser."""
    group = commands.add_parser(
        "gallery", help="search captions from anywhere by what was decoded"
    ).add_subparsers(required=True, metavar="ACTION")

    new = group.add_parser(
        "add", help="make a gallery of a text file (a caption per line) or Parquet"
    )
    new.add_argument("file", type=Path, metavar="FILE", help="captions")
    new.add_argument("--name", help="of the gallery (default: that of the file)")
    new.add_argument("--column", help="of a Parquet file that holds the captions")
    new.set_defaults(command=_add)

    listing = group.add_parser("list", help="list the galleries")
    listing.set_defaults(command=_list)

    remove = group.add_parser("remove", help="remove a gallery; its file stays")
    remove.add_argument("name", metavar="NAME", help="of the gallery")
    remove.set_defaults(command=_remove)

    search = group.add_parser("search", help="find the captions nearest to each decoded trial")
    search.add_argument("name", metavar="NAME", help="of the gallery")
    search.add_argument("-k", type=int, default=5, help="captions per trial and head (default: 5)")
    search.add_argument(
        "--out", type=Path, help="CSV to write (default: reports/galleries/NAME.csv)"
    )
    search.add_argument(
        "--faiss-from",
        type=int,
        metavar="N",
        help="let faiss search galleries of N captions or more, held in memory (default: never)",
    )
    search.add_argument("--params", type=Path, default=PARAMS_FILE, help=PARAMS_HELP)
    search.set_defaults(command=_search)


def _add(options: argparse.Namespace) -> None:
    from tasks.clip.corpora import add_corpus

    name = options.name or options.file.stem.lower()
    about = add_corpus(options.file, name, column=options.column).manifest
    print(
        f"The gallery {name} holds {about['n_captions']} captions ({about['n_lines']} lines). "
        f"Next: percept gallery search {name}."
    )


def _list(_: argparse.Namespace) -> None:
    from tasks.clip.corpora import list_corpora

    corpora = list_corpora()
    for corpus in corpora:
        about = corpus.manifest
        print(f"{corpus.folder.name}  {about['n_captions']} captions of {about['source']}")
    if not corpora:
        print("There is no gallery yet. Add one with `percept gallery add FILE`.")


def _remove(options: argparse.Namespace) -> None:
    from tasks.clip.corpora import remove_corpus

    remove_corpus(options.name)
    print(f"The gallery {options.name} is removed.")


def _search(options: argparse.Namespace) -> None:
    from tasks.artifacts.catalogue import Artifacts
    from tasks.clip.corpora import find_corpus
    from tasks.clip.open_vocabulary import search_corpus
    from tasks.embed import EmbedParams, embed, embedder_of
    from tasks.runtime.files import write_text
    from tasks.runtime.runners import runner_map
    from tasks.wiring.contract import params_for

    corpus = find_corpus(options.name)
    params = cast(EmbedParams, params_for(embed, options.params))
    embedder = embedder_of(params, Artifacts().clip_model)
    found = search_corpus(
        corpus, Artifacts().predictions, embedder, options.k, runner_map, options.faiss_from
    )
    out = options.out or Path("reports/galleries") / f"{options.name}.csv"
    write_text(out, found.to_pandas().to_csv(index=False, float_format="%.4f"))
    print(f"{out} holds the {options.k} nearest captions of each trial, by head and fused.")
