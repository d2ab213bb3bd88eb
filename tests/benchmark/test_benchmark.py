"""The field's tables: planted predictions score what they must, and missing rows say what makes them."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from tasks.__main__ import main
from tasks.benchmark import reconstruction, retrieval
from tasks.benchmark.benchmark import write_benchmark
from tasks.benchmark.literature import COLUMNS, published
from tasks.benchmark.reconstruction import columns_of
from tasks.benchmark.retrieval import read_centres
from tasks.benchmark.runs import Run, open_run
from tasks.runtime.errors import PerceptError
from tasks.scores.feature_spaces import Space
from tests.benchmark.planted import Planted, picture


def table_of(tmp_path, runs, study="things_eeg2", **options):
    """Return the CSV and the Markdown of a benchmark."""
    report = tmp_path / "benchmark"
    write_benchmark(study, runs, report=report, **options)
    return pd.read_csv(report.with_suffix(".csv")), report.with_suffix(".md").read_text()


def value(rows, **where):
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1, rows
    return rows["value"].iloc[0]


def test_planted_predictions_score_as_planted(tmp_path):
    # of 10 pictures: 4 of sub-01's and of sub-02's first, all others third; a second seed with 8 right
    seeds = [Planted(tmp_path / str(right)).plant(right) for right in (4, 8)]
    rows, page = table_of(tmp_path, [open_run("ours", seed.root) for seed in seeds])
    for gallery in ("10 test pictures", "10 class centres"):
        where = {"row": "ours", "gallery": gallery, "protocol": "intra"}
        for subject in ("sub-01", "sub-02", "mean"):
            assert value(rows, metric="top-1", subject=subject, **where) == pytest.approx(60)
            assert value(rows, metric="top-5", subject=subject, **where) == pytest.approx(100)
        mean = rows[(rows["row"] == "ours") & (rows["gallery"] == gallery)]
        mean = mean[(mean["subject"] == "mean") & (mean["metric"] == "top-1")].iloc[0]
        assert mean["sd_subjects"] == 0
        assert mean["sd_seeds"] == pytest.approx(np.std([40, 80], ddof=1))
        assert mean["n"] == 40
        chance = {"row": "chance", "gallery": gallery, "protocol": "intra"}
        assert value(rows, metric="top-1", **chance) == 10
        assert value(rows, metric="top-5", **chance) == 50
    assert (
        "| ours | 10 test pictures | 60.0 / 100.0 | 60.0 / 100.0 | – | 60.0 ± 0.0 / 100.0 ± 0.0 |"
        in page
    )
    assert (
        "| chance | 10 test pictures | – | – | – | 10.0 (0.0 to 30.0) / 50.0 (20.0 to 80.0) |"
        in page
    )


def test_a_subject_that_was_not_trained_on_stands_between_subjects(tmp_path):
    runs = []
    for subject, right in (("sub-01", 2), ("sub-02", 6)):
        other = "sub-02" if subject == "sub-01" else "sub-01"
        planted = Planted(tmp_path / subject, subjects=(subject,), trained=(other,)).plant(right)
        runs.append(open_run("ours", planted.root))
    rows, page = table_of(tmp_path, runs)
    where = {"row": "ours", "gallery": "10 test pictures", "metric": "top-1", "protocol": "inter"}
    assert value(rows, subject="sub-01", **where) == pytest.approx(20)
    assert value(rows, subject="sub-02", **where) == pytest.approx(60)
    mean = rows[(rows["row"] == "ours") & (rows["subject"] == "mean") & (rows["metric"] == "top-1")]
    assert mean["value"].iloc[0] == pytest.approx(40)
    assert mean["sd_subjects"].iloc[0] == pytest.approx(np.std([20, 60], ddof=1))
    ours = page.index("| ours |")
    assert page.index("Retrieval between subjects") < ours
    assert page.index("| SAMGA | ") < ours


def test_noise_is_at_chance_within_the_binomial_interval(tmp_path):
    planted = Planted(tmp_path / "noise", n=200)
    rng = np.random.default_rng(0)
    planted.predict(rng.standard_normal((400, 201)))
    rows, _ = table_of(tmp_path, [open_run("ours", planted.root)])
    for metric, k in (("top-1", 1), ("top-5", 5)):
        low, high = binom.interval(0.99, 400, k / 200)
        where = {"row": "ours", "gallery": "200 test pictures", "metric": metric}
        assert low <= 400 * value(rows, subject="mean", **where) / 100 <= high
        chance = {"row": "chance", "gallery": "200 test pictures", "metric": metric}
        assert value(rows, **chance) == pytest.approx(100 * k / 200)


def test_pictures_with_one_and_the_same_vector_share_their_places(tmp_path):
    """A decoder that predicts one thing for all trials cannot beat chance, however places are broken."""
    planted = Planted(tmp_path / "one").predict(np.ones((20, 11)))
    run = open_run("ours", planted.root)
    scores = retrieval._scores(
        run,
        run.trials,
        run.predicted(),
        np.ones((10, 11)),
        list(run.gallery["stimulus_id"]),
        "stimulus_id",
    )
    assert scores.loc[scores["metric"] == "top-1", "value"].to_numpy() == pytest.approx(10)


def test_trials_are_averaged_where_asked(tmp_path):
    """Two repetitions, each between its own picture and a different other one: only their mean is right."""
    planted = Planted(tmp_path / "twice", repetitions=2)
    trials = planted.test_trials
    index = trials["stimulus_id"].str[1:].astype(int).to_numpy()
    repetition = trials.groupby(["subject", "stimulus_id"]).cumcount().to_numpy()
    planted.predict(planted.axes[index] + 1.5 * planted.axes[(index + 1 + repetition) % 10])
    run = open_run("ours", planted.root)
    where = {"row": "ours", "gallery": "10 test pictures", "metric": "top-1", "subject": "mean"}
    rows, _ = table_of(tmp_path, [run])
    assert value(rows, **where) == 0
    rows, page = table_of(tmp_path, [run], average_trials=True)
    assert value(rows, **where) == pytest.approx(100)
    assert "averaged" in page


def test_class_centres_come_from_a_file_or_say_why_there_are_none(tmp_path):
    planted = Planted(tmp_path / "run").plant(10)
    run = open_run("ours", planted.root)
    file = tmp_path / "centres.npz"
    turned = {f"c{i:03d}": planted.axes[(i + 1) % 10] for i in range(10)}
    np.savez(file, **turned)
    rows, _ = table_of(tmp_path, [run], centres=read_centres(file))
    where = {"row": "ours", "metric": "top-1", "subject": "mean"}
    assert value(rows, gallery="10 class centres", **where) == 0
    assert value(rows, gallery="10 test pictures", **where) == 100
    del turned["c003"]
    rows, page = table_of(tmp_path, [run], centres=turned)
    assert "1 of 10 concepts have no other picture, 'c003' first" in page
    assert "10 class centres" not in set(rows["gallery"])
    file.write_text("no arrays")
    with pytest.raises(PerceptError, match=r"--centres must name an \.npz file"):
        read_centres(file)


def test_best_on_test_is_a_row_of_its_own_that_says_so(tmp_path, monkeypatch):
    ours, *epochs = [Planted(tmp_path / str(right)).plant(right) for right in (5, 3, 7)]
    kept = [open_run("ours", epoch.root) for epoch in epochs]
    monkeypatch.setattr(Run, "kept_epochs", lambda self: kept)
    rows, page = table_of(tmp_path, [open_run("ours", ours.root)])
    best = rows[rows["row"] == "ours, best on test"]
    assert set(best["kind"]) == {"selection on the test set"}
    top_1 = best[(best["metric"] == "top-1") & (best["subject"] == "mean")]
    assert top_1["value"].to_numpy() == pytest.approx(70)
    assert "the best of 2 epochs by top-1 on the test set itself. It is no estimate." in page


def test_pictures_score_as_published_with_another_test_picture_beside_them(tmp_path):
    true = Planted(tmp_path / "true").plant(10).render(picture)
    rows, page = table_of(tmp_path, [open_run("ours", true.root)])
    for metric in ("PixCorr", "SSIM"):
        assert value(rows, row="ours", metric=metric, subject="mean") == pytest.approx(1, abs=1e-5)
        other = value(rows, row="another test picture", metric=metric, subject="mean")
        assert other < 0.9
    wrong = Planted(tmp_path / "wrong").plant(10).render(lambda i: picture((i + 1) % 10))
    rows, _ = table_of(tmp_path, [open_run("ours", wrong.root)])
    assert value(rows, row="ours", metric="PixCorr", subject="mean") < 0.5
    assert "| ATM (sub-08) | intra | 0.160 | 0.345 | 0.776 |" in page
    assert "| CognitionCapturer (sub-08) | intra | 0.175 |" in page
    assert "| CognitionCapturer | intra | 0.150 |" in page
    for column in columns_of("things_eeg2"):
        if column.space:
            needed = f"`evaluate.feature_weights.{column.space}` names no file of weights"
            assert re.search(rf"no [^.]*{re.escape(column.name)}.*{re.escape(needed)}", page)
            ours = rows[(rows["row"] == "ours") & (rows["metric"] == column.name)]
            assert ours.empty, "absent, not replaced"


def logits_of(files):
    """Return the logits of a classifier that is sure which of ten pictures it sees, by the file's name."""
    return 50 * np.eye(60, dtype=np.float32)[[int(Path(file).stem[-3:]) for file in files]]


def features_of(files):
    return (
        np.random.default_rng(0)
        .standard_normal((10, 8))
        .astype(np.float32)[[int(Path(file).stem[-3:]) for file in files]]
    )


SEEN = {
    "inception": lambda files: {"inception": features_of(files), "logits": logits_of(files)},
    "inception_v3": lambda files: {"inception_v3": features_of(files), "logits": logits_of(files)},
    "vit_h_14": lambda files: {"classes": logits_of(files)},
    "alexnet": lambda files: {"alexnet_2": features_of(files), "alexnet_5": -features_of(files)},
}


def test_generated_pictures_score_as_planted(tmp_path, monkeypatch):
    """Networks whose answers are known by the file's name: every score of a set can be told by hand."""
    monkeypatch.setattr(
        reconstruction, "open_spaces", lambda weights: {n: Space(n, see) for n, see in SEEN.items()}
    )
    true = Planted(tmp_path / "true").plant(10).render(picture)
    wrong = Planted(tmp_path / "wrong").plant(10).render(lambda i: picture((i + 1) % 10))
    runs = [open_run("true", true.root), open_run("wrong", wrong.root)]
    rows, page = table_of(tmp_path, runs, study="eegcvpr")
    one_split = {"metric": "IS (CATVis, one split)", "subject": "all"}
    for row in ("true", "wrong", "another test picture"):
        assert value(rows, row=row, **one_split) == pytest.approx(10, rel=1e-3)
    assert value(rows, row="true", metric="FID", subject="all") == pytest.approx(0, abs=0.05)
    # two pictures in each split of ten, of which there are two of each class: at most two classes
    shuffled = value(rows, row="true", metric="IS (torch-fidelity, 10 splits)", subject="all")
    assert 1 < shuffled <= 2
    ranked = {"metric": "ACC", "subject": "mean"}
    assert value(rows, row="true", **ranked) == pytest.approx(1)
    # the right class is one of 59 that tie behind the one seen, which is drawn in 49 of 59 cases
    assert value(rows, row="wrong", **ranked) == pytest.approx(1 - 49 / 59, rel=1e-5)
    assert value(rows, row="chance", metric="ACC", subject="mean") == pytest.approx(0.02)
    assert "no FID and no KID, because it is the same set" in page
    assert "| Rezvani et al. | intra | 37.290 |" in page
    rows, _ = table_of(tmp_path, runs, study="things_eeg2")
    assert value(rows, row="true", metric="AlexNet(2)", subject="mean") == 1
    # another picture is in the list itself, and nearer to itself than to the stimulus
    assert value(rows, row="wrong", metric="AlexNet(2)", subject="mean") < 0.9
    assert value(rows, row="another test picture", metric="AlexNet(2)", subject="mean") < 0.9


@pytest.mark.parametrize("study", ["things_eeg2", "eegcvpr"])
def test_rows_that_do_not_exist_name_the_command_that_makes_them(tmp_path, study):
    planted = Planted(tmp_path / "run").plant(5)
    _, page = table_of(tmp_path, [open_run("ours", planted.root)], study=study)
    assert "`dvc repro render` in" in page
    for control in ("noise", "shuffled_pairs"):
        assert (
            f"`percept benchmark {study} --run {planted.root} --retrain {control}` makes this row"
            in page
        )
    assert "set train.keep_epochs to true and run `dvc repro` to make this row" in page
    assert not re.search("TODO|placeholder|nan", page)


def test_a_run_whose_pictures_were_all_withheld_says_so(tmp_path):
    planted = Planted(tmp_path / "run").plant(5).render(picture, flagged=True)
    rows, page = table_of(tmp_path, [open_run("ours", planted.root)])
    assert "holds none of the held-out trials that the safety checker let pass" in page
    assert "another test picture" not in set(rows["row"])


def test_a_run_whose_params_know_no_such_networks_is_scored_without_them(tmp_path):
    planted = Planted(tmp_path / "run").plant(5).render(picture)
    (planted.root / "params.yaml").write_text("evaluate: {feature_weights: {alexnet: null}}")
    rows, page = table_of(tmp_path, [open_run("ours", planted.root)])
    assert value(rows, row="ours", metric="PixCorr", subject="mean") == pytest.approx(1, abs=1e-5)
    assert "`evaluate.feature_weights.clip_vit_l_14` names no file of weights" in page


def test_a_run_without_an_image_head_says_so(tmp_path):
    planted = Planted(tmp_path / "run").predict(np.ones((0, 11)))
    rows, page = table_of(tmp_path, [open_run("ours", planted.root)])
    assert "is empty: the encoder has no image head. Set train.target.image above 0" in page
    assert set(rows["row"]) >= {"NICE", "SAMGA"}
    assert "ours" not in set(rows["row"])


def test_every_table_is_written_three_times(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    planted = Planted(tmp_path / "run").plant(5)
    command = ["benchmark", "things_eeg2", "--run", f"nice={planted.root}", "--export", "out"]
    assert main(command) == 0
    assert (
        "reports/benchmark.md, reports/benchmark.csv, reports/benchmark.tex"
        in capsys.readouterr().out
    )
    latex = (tmp_path / "reports" / "benchmark.tex").read_text()
    assert r"nice & 10 test pictures" in latex
    assert r"$\uparrow$" in latex
    assert "±" not in latex
    metadata = pd.read_csv(tmp_path / "out" / "00_nice" / "metadata.csv")
    predicted, true = (
        np.load(tmp_path / "out" / "00_nice" / f"{n}.npy") for n in ("y_pred", "y_true")
    )
    assert list(metadata.columns[:5]) == [
        "timeline",
        "batch_idx",
        "dataloader_idx",
        "subject_id",
        "group",
    ]
    assert predicted.shape == true.shape == (len(metadata), 11) == (20, 11)
    first = pd.DataFrame(true).groupby(metadata["group"]).nunique()
    assert (first == 1).all(axis=None), (
        "one target per group: the retrieval set can be told from them"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "nowhere"], "A run must hold data/interim/trials.parquet"),
        (["--run", "{run}", "--run", "again={run}"], "is named twice"),
        (["--run", "{run}", "--centres", "none.npz"], "--centres must name an .npz file"),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    planted = Planted(tmp_path / "run").plant(5)
    words = [word.format(run=planted.root) for word in words]
    assert main(["benchmark", "things_eeg2", *words]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_published_rows_are_whole_and_each_names_its_source():
    rows = pd.concat([published("things_eeg2"), published("eegcvpr")])
    assert tuple(rows.columns) == COLUMNS
    assert rows.notna().all(axis=None)
    assert (rows["source"].str.len() > 5).all()
    assert set(rows["protocol"]) == {"intra", "inter"}
    assert not rows.duplicated(["study", "system", "protocol", "subject", "metric"]).any()
    known = {c.name for study in ("things_eeg2", "eegcvpr") for c in columns_of(study)}
    assert set(rows["metric"]) <= known | {"top-1", "top-5"}
    share = rows[~rows["metric"].isin(["top-1", "top-5", "IS", "FID"])]
    assert share["value"].between(0, 1).all()
