"""What all tests share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.wiring.presets import merged

REPOSITORY = Path(__file__).resolve().parents[1]


LONGEST = ("test_pipeline.py", "test_wiring.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that two processes end at about the same time."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def preset(name: str) -> dict[str, Any]:
    """Return the params of a preset."""
    return yaml.safe_load(merged(name, REPOSITORY / "presets"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real recordings and photographs; skip, saying so, where there is none."""
    folder = Path(os.environ.get("PERCEPT_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; set PERCEPT_SHARED_DATA to their folder")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium; where there is none, skip, or fail if PERCEPT_TEST_BROWSER says that there must be."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        without = pytest.fail if os.environ.get("PERCEPT_TEST_BROWSER") else pytest.skip
        without("no Chromium on this machine; install the package chromium of the distribution")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=path,
            # a name of another site that leads to this machine: DNS rebinding
            args=["--no-sandbox", "--host-resolver-rules=MAP rebound.example 127.0.0.1"],
        )
        yield launched
        launched.close()
