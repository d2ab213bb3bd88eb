"""`percept decode`: words for a new recording."""

import argparse
from pathlib import Path
from typing import Any

EXAMPLE = "percept decode sub-07_eeg.vhdr --encoder my-encoder --events sub-07_events.tsv"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "decode",
        help="decode a new recording with an encoder that was exported",
    )
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="any file that MNE reads")
    parser.add_argument(
        "--encoder", type=Path, required=True, metavar="FOLDER", help="as `percept export` wrote it"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--events", type=Path, help="table with a column onset, in s (default: the annotations)"
    )
    where.add_argument(
        "--every", type=_positive, metavar="S", help="cut a window after so many seconds"
    )
    parser.add_argument("--subject", help="of training; leave it out for another one")
    parser.add_argument("-k", type=int, default=5, help="captions per trial and kind (default: 5)")
    parser.add_argument(
        "--missing",
        choices=("refuse", "interpolate"),
        default="refuse",
        help="what to do about channels that the recording lacks (default: refuse)",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.5,
        help="below it, a caption is called not sure (default: 0.5)",
    )
    parser.add_argument("--out", type=Path, help="folder to write (default: decoded/RECORDING)")
    parser.set_defaults(command=_decode)


def _positive(word: str) -> float:
    value = float(word)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _decode(options: argparse.Namespace) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tasks.decoding.decoder import load_encoder
    from tasks.decoding.page import lines, surest, write_page
    from tasks.runtime.files import atomic_path

    decoded = load_encoder(options.encoder).decode_recording(
        options.recording,
        events=options.events,
        every_s=options.every,
        subject=options.subject,
        k=options.k,
        on_missing=options.missing,
    )
    folder = options.out or Path("decoded") / options.recording.stem
    with atomic_path(folder / "decoded.parquet") as partial:
        pq.write_table(pa.Table.from_pandas(decoded.table, preserve_index=False), partial)
    write_page(folder / "decoded.html", decoded, options.recording.name, options.confidence)
    for line in lines(surest(decoded, options.confidence)):
        print(line)
    if decoded.dropped:
        print(f"{len(decoded.dropped)} trials were not decoded:")
    for trial, reason in decoded.dropped.items():
        print(f"trial {trial + 1}: {reason}")
    print(f"The page: {folder / 'decoded.html'}; the table: {folder / 'decoded.parquet'}")
