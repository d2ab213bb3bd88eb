"""`percept captions`: what is asked of a language model, what it costs, and what people think of it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import PARAMS_FILE, PARAMS_HELP

if TYPE_CHECKING:
    from tasks.caption import CaptionParams
    from tasks.language.captioners.base import Stimulus
    from tasks.language.captioners.batch import OpenAIBatchCaptioner

EXAMPLE = "percept captions dry-run"


def add(commands: Any) -> None:
    """Add `percept captions` and what follows it.

    Parameters
    ----------
    commands
        Commands of `percept`.
    """
    captions = commands.add_parser("captions", help="captions: costs, batches, sharing, review")
    steps = captions.add_subparsers(required=True, metavar="STEP")

    def step(name: str, about: str, command: Any) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = steps.add_parser(name, help=about, description=about)
        parser.add_argument("--params", type=Path, default=PARAMS_FILE, help=PARAMS_HELP)
        parser.set_defaults(command=command)
        return parser

    step(
        "dry-run",
        "print the requests, tokens and money of what is missing; nothing is sent",
        _dry_run,
    )
    step("prepare", "write what is missing as JSONL, for `vllm run-batch` or to look at", _prepare)
    step("submit", "send what is missing to the batch service", _submit)
    step("poll", "say how far the batches are", _poll)
    collect = step("collect", "keep the answers of batches that are over, or of a file", _collect)
    collect.add_argument("file", nargs="?", type=Path, help="JSONL that `vllm run-batch` wrote")
    export = step("export", "write every cached answer into one file, to share it", _export)
    export.add_argument("file", type=Path, metavar="FILE.jsonl.gz", help="to write")
    load = step("import", "add the answers of such a file to the cache", _import)
    load.add_argument("file", type=Path, metavar="FILE.jsonl.gz", help="to read")
    review = step("review", "write a random sample of captions to judge, as HTML or CSV", _review)
    review.add_argument("file", type=Path, metavar="FILE.html|FILE.csv", help="to write")
    review.add_argument("--n", type=int, default=100, help="captions (default: 100)")
    review.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    compare = step(
        "compare",
        "score predicted captions against references by the field's recipes, with intervals",
        _compare,
    )
    compare.add_argument("predicted", type=Path, metavar="PREDICTED", help="a caption per picture")
    compare.add_argument("references", type=Path, metavar="REFERENCES", help="JSON or CSV")
    compare.add_argument("--meteor", action="store_true", help="with METEOR, which needs Java")
    compare.add_argument("--json", action="store_true", help="print JSON in place of a table")
    grade = step("grade", "read a filled-in sheet back, check it and sum it up", _grade)
    grade.add_argument("file", type=Path, metavar="FILE.csv", help="filled in")


def _dry_run(options: argparse.Namespace) -> None:
    from tasks.language.captioners.costs import estimate

    params = _params(options)
    captioner = _batch_captioner(params)
    stimuli = _stimuli()
    batched = params.backend == "openai_batch"
    print(estimate(captioner.ledger, stimuli, batched=batched))
    if params.backend not in ("openai", "openai_batch"):
        print(f"caption.backend is {params.backend}: nothing of this will be sent.")


def _prepare(options: argparse.Namespace) -> None:
    captioner = _batch_captioner(_params(options))
    for batch in captioner.prepare(_stimuli()):
        path = captioner.files.path_of(batch)
        print(f"{path}: {len(batch.requests)} requests, {batch.state}")
        if batch.state == "prepared":
            print(f"  vllm run-batch -i {path} -o {path.stem}.out.jsonl --model {batch.model}")


def _submit(options: argparse.Namespace) -> None:
    for batch in _batch_captioner(_params(options)).submit(_stimuli()):
        print(f"{batch.batch_id}: {len(batch.requests)} requests under way")


def _poll(options: argparse.Namespace) -> None:
    statuses = _batch_captioner(_params(options)).poll()
    for status in statuses:
        done = status.request_counts
        share = f", {done.completed} of {done.total} done, {done.failed} failed" if done else ""
        print(f"{status.id}: {status.status}{share}")
    if not statuses:
        print("No batch is under way.")


def _collect(options: argparse.Namespace) -> None:
    captioner = _batch_captioner(_params(options))
    n_kept = captioner.collect_file(options.file) if options.file else captioner.collect()
    n_open = len(captioner.files.open_files(captioner.ledger.params.model))
    print(f"{n_kept} answers kept; {n_open} batches are still open.")


def _export(options: argparse.Namespace) -> None:
    from tasks.language.cache import CAPTION_CACHE, CaptionCache
    from tasks.language.exchange import export_answers

    n_answers = export_answers(CaptionCache(CAPTION_CACHE), options.file)
    print(f"{n_answers} answers written to {options.file}.")


def _import(options: argparse.Namespace) -> None:
    from tasks.language.cache import CAPTION_CACHE, CaptionCache
    from tasks.language.exchange import import_answers

    n_new, n_all = import_answers(CaptionCache(CAPTION_CACHE), options.file)
    print(f"{n_new} of {n_all} answers were new.")


def _review(options: argparse.Namespace) -> None:
    from random import Random

    from tasks.artifacts.catalogue import Artifacts
    from tasks.artifacts.contracts.captions import CAPTIONS
    from tasks.artifacts.tables import read_table
    from tasks.language.review import Sheet, write_review

    rows = read_table(Artifacts().captions, CAPTIONS).to_pylist()
    pictures = {stimulus.stimulus_id: stimulus for stimulus in _stimuli()}
    chosen = Random(options.seed).sample(rows, min(options.n, len(rows)))  # noqa: S311
    sheets = [
        Sheet(r["caption_id"], r["kind"], r["text"], shown.image_path, shown.sha256)
        for r in chosen
        if (shown := pictures[r["stimulus_id"]])
    ]
    write_review(options.file, sheets)
    print(f"{len(sheets)} captions to judge in {options.file}.")


def _grade(options: argparse.Namespace) -> None:
    from collections import Counter

    from tasks.language.review import VERDICTS, read_review

    verdicts = Counter(read_review(options.file).values())
    total = verdicts.total()
    print(", ".join(f"{verdict}: {verdicts[verdict]} of {total}" for verdict in VERDICTS))
    print("Put the file into the folder of the study and name it in check_captions.review_file.")


def _compare(options: argparse.Namespace) -> None:
    from tasks.language.likeness import Draw
    from tasks.language.text_scores import RECIPES, as_json, read_pairs, text_scores

    names, texts, references = read_pairs(options.predicted, options.references)
    scores = text_scores(
        texts,
        references,
        Draw(n_resamples=1000, confidence=0.95, seed=0),
        meteor=options.meteor,
    )
    if options.json:
        print(as_json(scores))
        return
    print(f"{len(names)} pictures; in brackets 95 % intervals over pictures")
    for name, score in scores.items():
        print(f"{name:8} {score.value:.4f} ({score.low:.4f} to {score.high:.4f})  {RECIPES[name]}")


def _params(options: argparse.Namespace) -> "CaptionParams":
    from tasks.wiring.contract import load_stage, params_for

    params: CaptionParams = params_for(load_stage("caption"), options.params)  # type: ignore[assignment]
    return params


def _batch_captioner(params: "CaptionParams") -> "OpenAIBatchCaptioner":
    from tasks.language.cache import CAPTION_CACHE, CaptionCache
    from tasks.language.captioners.batch import OpenAIBatchCaptioner
    from tasks.language.captioners.ledger import Ledger

    cache = CaptionCache(CAPTION_CACHE)
    return OpenAIBatchCaptioner(Ledger(params.openai, params.max_tokens, cache))


def _stimuli() -> "list[Stimulus]":
    from tasks.artifacts.catalogue import Artifacts
    from tasks.caption import read_stimuli

    return read_stimuli(Artifacts().stimuli)
