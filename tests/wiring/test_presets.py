"""Presets hold what differs, params files are spliced from them, and nothing of a user's is overwritten."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks import STAGES
from tasks.__main__ import main
from tasks.runtime.errors import PerceptError
from tasks.wiring.contract import load_stage, params_for
from tasks.wiring.presets import (
    PresetError,
    describe_preset,
    leaves,
    merged,
    override,
    parent_of,
    preset_names,
    show,
    splice,
)
from tests.conftest import REPOSITORY, preset

FOLDER = REPOSITORY / "presets"
NAMES = preset_names(FOLDER)
BASE = (FOLDER / "base.yaml").read_text()
FILE = Path("params.yaml")


def load(text: str) -> Any:
    return yaml.load(text, yaml.CSafeLoader)


def comments(text: str) -> list[str]:
    """Return the comments of a file whose strings hold no #."""
    return re.findall(r"#.*", text)


def test_the_empty_overlay_gives_the_base_and_that_is_params_yaml():
    assert yaml.safe_load((FOLDER / "simulated.yaml").read_text()) is None
    assert merged("simulated", FOLDER) == BASE == (REPOSITORY / "params.yaml").read_text()


def below_and_changes(name: str) -> tuple[str, str]:
    """Return what an overlay starts from, and the text of what it changes."""
    parent, changes = parent_of((FOLDER / f"{name}.yaml").read_text())
    return merged(parent, FOLDER) if parent else BASE, changes


def test_a_preset_may_start_from_another(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "first.yaml").write_text("# First.\ntrain.seed: 7\ntrain.batch_size: 9\n")
    (tmp_path / "second.yaml").write_text("# Second.\npreset: first\ntrain.batch_size: 5\n")
    found = yaml.safe_load(merged("second", tmp_path))["train"]
    assert (found["seed"], found["batch_size"]) == (7, 5)
    (tmp_path / "third.yaml").write_text("# Third.\npreset: none\n")
    with pytest.raises(PresetError, match=r"must be one of first, second, third; 'none' is none"):
        merged("third", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_an_overlay_holds_only_what_differs(name):
    below, text = below_and_changes(name)
    base = yaml.safe_load(below)
    for key, value in (yaml.safe_load(text) or {}).items():
        place = base
        for word in key.split("."):
            place = place[word]
        assert value != place, f"{key} repeats the base"
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("name", NAMES)
def test_a_merged_preset_is_complete_valid_and_in_order(name, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(merged(name, FOLDER))
    assert tuple(yaml.safe_load(path.read_text())) == STAGES
    for stage in STAGES:
        params_for(load_stage(stage), path)
    base = list(leaves(yaml.safe_load(BASE)))
    kept = [key for key in leaves(preset(name)) if key in base]
    assert kept == [key for key in base if key in kept]


def lines_of(text: str) -> dict[str, str]:
    """Return the line on which each dotted name of a params file stands."""
    lines = text.splitlines()
    found, todo = {}, [("", yaml.compose(text))]
    while todo:
        prefix, section = todo.pop()
        for key, value in section.value if isinstance(section, yaml.MappingNode) else ():
            found[prefix + key.value] = lines[key.start_mark.line]
            todo.append((f"{prefix}{key.value}.", value))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_merged_preset_keeps_comments_and_their_columns(name):
    below, overlay = below_and_changes(name)
    changed = yaml.safe_load(overlay) or {}
    after = lines_of(merged(name, FOLDER))
    for key, line in lines_of(below).items():
        if key in changed and not isinstance(changed[key], dict):
            own = comments(next(x for x in overlay.splitlines() if x.startswith(f"{key}:")))
            assert comments(after[key]) == (own or comments(line))
            behind_the_value = len(after[key].partition("#")[0].rstrip()) + 2
            assert after[key].index("#") in (line.index("#"), behind_the_value)
        elif not any(f"{key}.".startswith(f"{other}.") for other in changed):
            assert after[key] == line


VALUES = (
    "another: # value, [with] {marks}",
    -0.5,
    [1, "a, b"],
    {"strategy": "new", "parts": [{"n": 1}, None]},
    "two\nlines",
    "",
    None,
    "null",
)


@pytest.mark.parametrize("shift", [0, 3, 6])
def test_any_param_can_be_replaced_and_nothing_else_changes(shift):
    """Replace each param in turn by one value, by another in the next round."""
    base = leaves(load(BASE))
    before = BASE.split("\n")
    for number, key in enumerate(base):
        value = VALUES[(number + shift) % len(VALUES)]
        text = override(BASE, {key: value}, FILE)
        found = load(text)
        wanted = {name: v for name, v in base.items() if name != key} | leaves(value, key)
        assert leaves(found) == wanted
        for word in key.split("."):
            found = found[word]
        assert type(found) is type(value)
        changed = [(a, b) for a, b in zip(before, text.split("\n"), strict=True) if a != b]
        assert len(changed) <= 1
        for a, b in changed:
            assert comments(a)[0] in b


def test_values_that_a_splice_does_not_touch_keep_their_spelling():
    assert override("a:\n  b: null\n  c: ''\n  d: 0.50 # half\n", {"a.b": 1}, FILE) == (
        "a:\n  b: 1\n  c: ''\n  d: 0.50 # half\n"
    )


def test_a_comment_keeps_its_column_unless_the_value_is_too_long():
    text = "a:\n  b: 1      # one\n  c: 2      # two\n  d: 3\n"
    changes = "a.b: 10\na.c: 123456789012\na.d: 4  # four\n"
    assert splice(text, changes, FILE) == (
        "a:\n  b: 10     # one\n  c: 123456789012  # two\n  d: 4  # four\n"
    )
    assert splice(text, "a.b: 5  # five\n", FILE).splitlines()[1] == "  b: 5      # five"


def test_a_block_is_replaced_as_a_whole_and_blank_lines_stay():
    text = "a:\n  b:  # block\n    x: 1  # x\n    y: 2  # y\n\n  # of c\n  c: 3\n"
    changes = "a.b:\n  z:\n    - 1\n\n    - 2  # last\n"
    assert splice(text, changes, FILE) == (
        "a:\n  b:\n    z:\n      - 1\n\n      - 2  # last\n\n  # of c\n  c: 3\n"
    )
    assert splice(text, "a.b: null\n", FILE) == "a:\n  b: null  # block\n\n  # of c\n  c: 3\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            "train.optimiser.learning_rat: 1.0",
            "A param must be in params.yaml; 'train.optimiser.learning_rat' is not. Write it as there, with dots "
            "between the levels, say train.optimiser.learning_rate.",
        ),
        (
            "train: {seed: 1}",
            "A param must be in params.yaml; 'train' is not. Write it as there, with dots between the "
            "levels, say train.optimiser.learning_rate.",
        ),
        (
            "preprocess.split.seed: 1\npreprocess.split: null",
            "preprocess.split must be given once, as a whole; preprocess.split.seed is given beside it. "
            "Write one of them.",
        ),
        (
            "train.seed: 1\ntrain.seed: 2",
            "train.seed must be given once, as a whole; train.seed is given beside it. Write one of them.",
        ),
        (
            "- train.seed",
            "Changes must be a dotted name and a value per line; found list. Mend them.",
        ),
    ],
)
def test_changes_that_fit_nothing_are_refused(changes, message):
    with pytest.raises(PerceptError) as caught:
        splice(BASE, changes, FILE)
    assert str(caught.value) == message


def test_text_that_cannot_be_spliced_is_refused():
    with pytest.raises(PerceptError) as caught:
        override("a:\n  b: &one 1\n  c: *one\n", {"a.c": 2}, FILE)
    assert str(caught.value) == (
        "a.c must be replaced in params.yaml without touching anything else; its YAML (an anchor, say) "
        "does not allow that. Change it by hand."
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work where there are presets and no params file."""
    shutil.copytree(FOLDER, tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_broken_preset_is_named(folder, capsys):
    (folder / "presets/mine.yaml").write_text("# Mine.\ntrain.sed: 1\n")
    assert main(["preset", "mine"]) == 1
    assert capsys.readouterr().err.startswith(
        "percept: presets/mine.yaml: A param must be in base.yaml; 'train.sed' is not."
    )
    (folder / "presets/mine.yaml").write_text("# Mine.\ntrain.seed: [1\n")
    assert main(["preset", "mine"]) == 1
    assert "presets/mine.yaml must be YAML; it is not (" in capsys.readouterr().err
    assert not (folder / "params.yaml").exists()


def test_a_value_of_the_wrong_type_is_named_by_the_stage(folder):
    (folder / "presets/mine.yaml").write_text("# Mine.\ntrain.optimiser.learning_rate: fast\n")
    assert main(["preset", "mine"]) == 0
    with pytest.raises(PerceptError) as caught:
        params_for(load_stage("train"), FILE)
    assert str(caught.value) == (
        "train.optimiser.learning_rate: Input should be a valid number, unable to parse string as a number; "
        "found 'fast'. Mend it in params.yaml."
    )


def test_a_fresh_file_is_written(folder, capsys):
    assert main(["preset", "tiny"]) == 0
    assert FILE.read_text() == merged("tiny", FOLDER)
    assert capsys.readouterr().out == "params.yaml holds the preset tiny. Next: percept doctor\n"


def test_one_preset_takes_the_place_of_another_and_says_what_changes(folder, capsys):
    main(["preset", "simulated"])
    capsys.readouterr()
    assert main(["preset", "simulated_block_drift"]) == 0
    assert FILE.read_text() == merged("simulated_block_drift", FOLDER)
    assert capsys.readouterr().out == (
        "simulate.schedule.design: randomised -> block\n"
        "simulate.noise.block_drift_uv: 0.0 -> 20.0\n"
        "params.yaml holds the preset simulated_block_drift. Next: percept doctor\n"
    )
    main(["preset", "bids"])
    out = capsys.readouterr().out
    assert "ingest.source.task: absent -> null\n" in out
    assert "ingest.source.name: simulated -> bids\n" in out
    assert "retrieve" not in out


def test_changes_of_a_user_are_lost_by_force_alone(folder, capsys):
    main(["preset", "tiny"])
    edited = FILE.read_text().replace("learning_rate: 0.001 ", "learning_rate: 0.0005")
    edited = edited.replace("whitening: null", "whitening: {covariance_of: time, shrinkage: auto}")
    FILE.write_text(
        "# July\n" + edited.replace("# trials at once\n", "# trials at once (mine)\n", 1)
    )
    before = FILE.read_bytes()
    numbers = [n for n, line in enumerate(FILE.read_text().splitlines(), 1) if "mine" in line]
    capsys.readouterr()
    lost = [
        "preprocess.whitening.covariance_of: time, the preset has absent",
        "preprocess.whitening.shrinkage: auto, the preset has absent",
        "train.optimiser.learning_rate: 0.0005, the preset has 0.001",
        "line 1: # July",
        f"line {numbers[0]}: # trials at once (mine)",
    ]
    assert main(["preset", "bids"]) == 1
    assert FILE.read_bytes() == before
    shown = "".join(f"\n  {line}" for line in lost)
    assert capsys.readouterr().err == (
        "percept: params.yaml must hold nothing of yours to be replaced by the preset bids; it does. The "
        f"preset nearest to it is tiny. These lines would be lost:{shown}\nKeep a copy of what you need, "
        "then run the same command with --force. `percept preset bids --show` prints the preset and "
        "writes nothing.\n"
    )
    assert main(["preset", "bids", "--force"]) == 0
    assert FILE.read_text() == merged("bids", FOLDER)
    assert capsys.readouterr().out.startswith("".join(f"lost: {line}\n" for line in lost))


def test_a_comment_alone_is_kept_too(folder, capsys):
    FILE.write_text(BASE.replace("  k: 5  # captions", "  k: 5  # enough; captions"))
    assert main(["preset", "tiny"]) == 1
    assert ": # enough; captions per trial, gallery and kind\n" in capsys.readouterr().err


@pytest.mark.parametrize("text", [b"train: [1\nmine: 2\n", b"- mine: 2\n", b"mine: \xff\n"])
def test_an_unreadable_file_counts_as_edited(folder, capsys, text):
    FILE.write_bytes(text)
    assert main(["preset", "tiny"]) == 1
    error = capsys.readouterr().err
    unread = "It cannot be read as params. These lines would be lost:\n  line " in error
    assert unread == (b"\xff" not in text)  # one byte that is no UTF-8 spoils its value alone
    assert "mine: " in error
    assert FILE.read_bytes() == text
    assert main(["preset", "tiny", "--force"]) == 0
    assert "mine: " in capsys.readouterr().out
    assert FILE.read_text() == merged("tiny", FOLDER)


def test_show_and_list_only_print(folder, capsys):
    assert main(["preset", "tiny", "--show"]) == 0
    assert capsys.readouterr().out == merged("tiny", FOLDER)
    assert main(["preset", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for name, line in zip(NAMES, lines, strict=True):
        assert line.endswith(f"  {describe_preset(name, FOLDER)}")
        assert describe_preset(name, FOLDER).endswith(".")
    assert not FILE.exists()


def test_the_file_that_params_names_is_written_and_no_other(folder):
    assert main(["preset", "tiny", "--params", "mine.yaml"]) == 0
    assert Path("mine.yaml").read_text() == merged("tiny", FOLDER)
    assert not FILE.exists()


@pytest.mark.parametrize("value", ["", "null", "1e-5", 1e-5, 3, True, None, "a: b", [], {}, "ä"])
def test_a_value_is_shown_as_yaml_reads_it(value):
    assert yaml.safe_load(f"a: {show(value)}")["a"] == value
    assert yaml.safe_load(f"a: {{b: {show(value)}}}")["a"]["b"] == value
