"""The pages build without a warning and ask nothing of a network; `make docs` adds the reference."""

import re
import shutil
import subprocess
import sys

import pytest

PAGES = [
    "tutorial",
    "reading_scores",
    "real_recordings",
    "runs",
    "experiments",
    "cluster",
    "security",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory, repository):
    """Build every page but the reference, whose docstrings take every import there is."""
    folder = tmp_path_factory.mktemp("site")
    left_out = shutil.ignore_patterns("_build", "reference")
    shutil.copytree(repository / "docs", folder / "docs", ignore=left_out)
    index = (repository / "docs/index.md").read_text()
    without = re.sub(r"```\{toctree\}\n:caption: Reference\n.*?```", "", index, flags=re.DOTALL)
    assert without != index
    (folder / "docs/index.md").write_text(without)
    (folder / "tasks").symlink_to(repository / "tasks")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-b", "html"]
    done = subprocess.run(
        [*command, str(folder / "docs"), str(folder / "html")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


def test_every_page_is_there_and_in_the_navigation(site):
    start = (site / "index.html").read_text()
    for name in PAGES:
        assert (site / f"{name}.html").exists()
        assert f'href="{name}.html"' in start


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.glob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="([^"]+)"', page.read_text())
        assert loaded
        assert not [url for url in loaded if url.startswith(("http:", "https:", "//"))]
