"""Training curves lie inside their frame and touch their axes where the numbers say."""

import math

import numpy as np
import pandas as pd

from tasks.reporting.charts import BOTTOM, LEFT, RIGHT, TOP, line_chart, training_charts


def test_one_chart_of_losses_and_one_of_shares() -> None:
    log = pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "train_loss": [4.0, 2.0, 1.0],
            "validation_loss": [4.0, 3.0, 2.5],
            "validation_recall_at_1": [0.1, 0.3, 0.5],
            "learning_rate": [1e-3] * 3,
        }
    )
    losses, shares = training_charts(log)
    assert [line.label for line in losses.lines] == ["Train loss", "Validation loss"]
    assert [line.last for line in losses.lines] == ["1.00", "2.50"]
    assert [line.label for line in shares.lines] == ["Validation recall at 1"]
    assert losses.lines[0].points == f"{LEFT:.1f},{TOP:.1f} 256.0,104.0 {RIGHT:.1f},150.0"
    assert [tick.label for tick in losses.y_ticks] == ["0", "1", "2", "3", "4"]


def test_gaps_are_left_out_and_flat_curves_drawn() -> None:
    log = pd.DataFrame({"epoch": [0, 1, 2], "loss": [2.0, math.nan, 2.0]})
    (chart,) = training_charts(log)
    points = [tuple(map(float, point.split(","))) for point in chart.lines[0].points.split()]
    assert len(points) == 2
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in points)


def test_too_few_epochs_make_no_chart() -> None:
    assert training_charts(pd.DataFrame({"epoch": [0], "loss": [2.0]})) == ()
    assert training_charts(pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0]})) == ()


def test_whole_numbers_have_no_ticks_between_them_and_chance_lies_inside() -> None:
    twice = (np.array([1.0, 2.0]), np.array([0.5, 0.7]))
    chart = line_chart(
        "Repetitions",
        [("mean", *twice)],
        "presentations",
        [(*twice, twice[1] + 0.1)],
        {"chance": 0.02},
    )
    assert [tick.label for tick in chart.x_ticks] == ["1", "2"]
    assert TOP < chart.levels[0].place < BOTTOM
    assert len(chart.bands[0].split()) == 4
    assert "the dashed line is chance" in chart.description
