"""A made-up study for every test of the report."""

from pathlib import Path

import pytest

from tasks.artifacts.catalogue import Artifacts
from tests.reporting.fabricated import copy_study, fabricate


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Return a made-up study that nobody may change."""
    return fabricate(tmp_path_factory.mktemp("study"))


@pytest.fixture
def artifacts(template: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """Return a made-up study of one's own, in the current directory."""
    monkeypatch.chdir(tmp_path)
    return copy_study(template, Path())
