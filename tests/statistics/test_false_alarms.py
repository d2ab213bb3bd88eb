"""Tests ring falsely as often as they say, and intervals hold the truth as often as the report says."""

import re
import runpy

import pytest

from tasks.reporting.formats import number
from tasks.reporting.score_rows import coverage_in_words
from tasks.statistics.resampling import MEASURED_COVERAGE

N_NULL, N_STUDIES = 400, 400


@pytest.fixture(scope="module")
def benchmark(repository):
    return runpy.run_path(str(repository / "benchmarks/false_alarms.py"))


def test_the_page_shows_what_the_benchmark_simulates(benchmark, repository):
    page = (repository / "docs/reading_scores.md").read_text()
    rates = dict(re.findall(r"^\| (.+?) \| ([\d.]+)% \| [\d.]+ at", page, re.MULTILINE))
    assert set(rates) == set(benchmark["TESTS"])
    assert max(map(float, rates.values())) <= 6.5
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \(.*?\) \| ([\d.]+) \(", page, re.MULTILINE)
    assert {int(n): min(float(a), float(b)) for n, a, b in rows} == dict(MEASURED_COVERAGE)


def test_coverage_is_said_beside_the_interval():
    assert coverage_in_words("stimuli") == coverage_in_words("stimuli of one subject")
    held = number(MEASURED_COVERAGE[3], "share")
    assert f"held the truth in {held} of" in coverage_in_words("stimuli and 3 subjects")
    assert coverage_in_words("stimuli and 9 subjects") == coverage_in_words(
        "stimuli and 3 subjects"
    )
    assert coverage_in_words("halves of the pictures") == ""


@pytest.mark.nightly
def test_false_alarms_are_as_rare_as_tests_say(benchmark):
    for name, (test, unit, _) in benchmark["TESTS"].items():
        rate = benchmark["alarms"](test, 0.0, N_NULL, seed=100)
        assert rate <= 0.085, name  # 5 % and 3.2 standard errors of 400 studies
        assert benchmark["alarms"](test, 4 * unit, 20, seed=100) >= 0.8, name


@pytest.mark.nightly
@pytest.mark.parametrize("n_subjects", [1, 2, 3, 10])
def test_intervals_hold_the_truth_as_often_as_the_report_says(benchmark, n_subjects):
    for spread in (0.0, 0.5):
        held, _ = benchmark["coverage"](n_subjects, spread, N_STUDIES, seed=100)
        assert held >= MEASURED_COVERAGE[n_subjects] - 0.035
