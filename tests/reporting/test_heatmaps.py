"""Matrices of concepts show each cell where its names say."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.artifacts.catalogue import Artifacts
from tasks.reporting.heatmaps import Heatmap, confusion_matrix, dissimilarity_matrices


def ink(heatmap: Heatmap) -> np.ndarray:
    data = base64.b64decode(heatmap.picture.split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(data)))[..., 3] / 255


def test_rows_of_the_confusion_matrix_are_shares_of_what_was_shown(artifacts: Artifacts) -> None:
    found = confusion_matrix(artifacts.evaluate_plots)
    assert found is not None
    assert found.labels == ("cat", "dog", "horse")
    assert np.allclose(ink(found), [[1, 0, 0], [2 / 3, 1 / 3, 0], [0, 1, 0]], atol=1 / 255)
    assert found.description == "Named right most often: cat; least often: horse."


def test_the_dissimilarity_matrices_keep_their_order(artifacts: Artifacts) -> None:
    encoder, captions = dissimilarity_matrices(artifacts.explain_plots)
    assert encoder.labels == captions.labels == ("cat", "dog", "ship")
    assert np.allclose(ink(captions), ink(encoder), atol=1 / 255)
    assert np.allclose(ink(encoder), [[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]], atol=1 / 255)


def test_many_concepts_have_no_labels_and_nothing_measured_is_nothing_shown(tmp_path: Path) -> None:
    names = [f"concept-{i:03d}" for i in range(61)]
    (tmp_path / "confusion.csv").write_text(
        "actual,predicted\n" + "".join(f"{n},{n}\n" for n in names)
    )
    found = confusion_matrix(tmp_path)
    assert found is not None
    assert found.labels == ()
    assert ink(found).shape == (61, 61)
    assert dissimilarity_matrices(tmp_path) == []
