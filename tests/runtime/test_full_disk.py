"""A disk that fills up while a stage writes: one sentence, nothing half-written, and the next run goes on."""

import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY, preset
from tests.eeg.studies import PARAMS, write_study

STAGES = ("ingest", "preprocess")
RUN = "import sys; from tasks.__main__ import main; sys.exit(next(filter(None, (main(['run', s]) for s in sys.argv[1:])), 0))"


def percept(root: Path, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the stages; no file may grow beyond ``limit`` bytes, which fails as a full disk does."""

    def fill_up() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment |= {
        "PYTHONPATH": str(REPOSITORY),
        "PERCEPT_RUNNER": "threads",
        "PERCEPT_WORKERS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", RUN, *STAGES],
        cwd=root, env=environment, capture_output=True, text=True, check=False, preexec_fn=fill_up,
    )  # fmt: skip


def written(root: Path) -> dict[str, str]:
    """Return the hash of every file that the stages write for others."""
    files = sorted(path for path in (root / "data" / "interim").rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def workspace(root: Path) -> Path:
    write_study(root / "data" / "raw")
    params = preset("tiny")
    params["ingest"]["source"] = {"name": "simulated", "folder": "simulated"}
    params["preprocess"] = yaml.safe_load(PARAMS)
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = workspace(tmp_path_factory.mktemp("whole"))
    assert percept(root).returncode == 0
    return written(root)


def check(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("percept: ")
    assert "too large" in last or "No space left" in last


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2_000, 30_000])
def test_the_next_run_goes_on_where_the_disk_was_full(
    tmp_path: Path, whole: dict[str, str], limit: int
) -> None:
    root = workspace(tmp_path)
    check(percept(root, limit))
    left = written(root)
    assert left.items() <= whole.items()  # what is there is whole
    assert percept(root).returncode == 0
    assert written(root) == whole
