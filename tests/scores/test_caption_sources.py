"""What hangs on who wrote the captions: an encoder trained a second time, on other words."""

import pandas as pd
import pyarrow as pa
import pytest

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.tables import read_table
from tasks.clip.vectors import table_to_vectors, vectors_to_table
from tasks.encoder.checkpoints import load_encoder
from tasks.language.likeness import Draw
from tasks.scores.retrained import Recorded, Wording, human_training_scores
from tasks.train import train
from tests.encoder.small_study import changed, make_small_study

DRAW = Draw(200, 0.95, 0)


def wording(captions: pa.Table, vectors: pa.Table, shift: int) -> Wording:
    """Return what is said of the stimuli, or of others, so many places further on."""
    frame = captions.to_pandas()
    order = (frame.index.to_numpy() + 2 * shift) % len(frame)
    moved = frame.assign(text=frame["text"].to_numpy()[order])
    return Wording(
        pa.Table.from_pandas(moved, preserve_index=False),
        vectors_to_table({"caption_id": vectors["caption_id"]}, table_to_vectors(vectors)[order]),
    )


@pytest.mark.parametrize(
    ("own_shift", "human_shift", "verdict"),
    [
        (4, 0, "Captions of people train a better encoder than those of the study."),
        (0, 4, "The captions of the study train a better encoder than those of people."),
        (0, 0, "It makes no difference that these trials could show."),
    ],
)
def test_the_better_words_win(tmp_path, monkeypatch, own_shift, human_shift, verdict):
    monkeypatch.chdir(tmp_path)
    paths = make_small_study().write(tmp_path)
    trials, epochs, captions, text_vectors, image_vectors = paths
    tables = read_table(captions, CAPTIONS), read_table(text_vectors, TEXT_VECTORS)
    said, human = wording(*tables, own_shift), wording(*tables, human_shift)
    pa.parquet.write_table(said.captions, captions)
    pa.parquet.write_table(said.vectors, text_vectors)
    params = changed(architecture="linear")
    train(*paths, encoder=tmp_path / "encoder", training_log=tmp_path / "log.csv", params=params)
    recorded = Recorded(trials, epochs, image_vectors)
    own = load_encoder(tmp_path / "encoder")
    scores = human_training_scores(recorded, own, said, human, DRAW)
    gain = scores["human_instead_of_study_captions"]
    assert gain.verdict == verdict
    assert (gain.value > 0, gain.value < 0) == (own_shift > 0, human_shift > 0)
    n_test = pd.read_parquet(trials).query("split == 'test'")["stimulus_id"].nunique()
    assert scores["trained_on_human_captions"].chance == pytest.approx(1 / n_test)
    assert recorded.stimuli() == set(tables[0]["stimulus_id"].to_pylist())
