"""What other stages drew becomes figures, a chart and tables; what they did not draw is left out."""

from pathlib import Path

from tasks.artifacts.catalogue import Artifacts
from tasks.reporting.plots import confusion_table, figures, recall_chart, region_table


def test_known_figures_come_first_under_their_titles(artifacts: Artifacts) -> None:
    found = figures(artifacts.explain_plots)
    assert [figure.path.stem for figure in found] == [
        "scalp_maps_by_tier",
        "tsne_of_heads",
        "a_new_figure",
    ]
    assert [figure.is_wide for figure in found] == [True, False, False]
    assert (found[0].title, found[2].title) == ("Scalp maps by tier", "A new figure")


def test_recall_is_one_curve_per_gallery(artifacts: Artifacts) -> None:
    chart = recall_chart(artifacts.evaluate_plots)
    assert chart is not None
    assert [line.label for line in chart.lines] == ["Concept out of 40", "Stimulus out of 120"]
    assert all(len(line.points.split()) == 10 for line in chart.lines)


def test_mistakes_are_counted_and_right_answers_left_out(artifacts: Artifacts) -> None:
    table = confusion_table(artifacts.evaluate_plots)
    assert table is not None
    assert table.rows == (("dog", "cat", "2", "3"), ("horse", "dog", "1", "1"))


def test_regions_stand_beside_the_truth(artifacts: Artifacts) -> None:
    table = region_table(artifacts.explain_plots)
    assert table is not None
    assert table.columns[-1] == ("Planted share", True)
    assert table.rows[0][:3] == ("object", "occipital", "25.0\N{NO-BREAK SPACE}%")


def test_unknown_truth_is_a_dash(artifacts: Artifacts) -> None:
    path = artifacts.explain_plots / "saliency_by_region.csv"
    path.write_text(path.read_text().replace(",0.22", ","))
    table = region_table(artifacts.explain_plots)
    assert table is not None
    assert {row[-1] for row in table.rows} == {"\N{EN DASH}"}


def test_nothing_drawn_nothing_shown(tmp_path: Path) -> None:
    assert figures(tmp_path / "none") == []
    assert recall_chart(tmp_path) is None
    assert confusion_table(tmp_path) is None
    assert region_table(tmp_path) is None
