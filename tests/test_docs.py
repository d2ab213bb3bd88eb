"""The pages build without a warning and ask nothing of a network; `make docs` adds the reference."""

import html
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

from tasks import STAGES
from tasks.__main__ import COMMANDS, make_parser
from tasks.artifacts.catalogue import Artifacts
from tasks.encoder.baselines.shapes import EpochShape
from tasks.reporting.definitions import TERMS
from tasks.wiring.presets import leaves

PAGES = [
    "tutorial",
    "own_recordings",
    "look_at_recordings",
    "own_models",
    "gpu",
    "compare_runs",
    "glossary",
    "troubleshooting",
    "help",
    "changelog",
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
    for name in ("CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(repository / name, folder / name)
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


@pytest.fixture(scope="module")
def pages(repository):
    """Return the module that writes the generated pages."""
    spec = importlib.util.spec_from_file_location(
        "reference_pages", repository / "docs/reference_pages.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_glossary_has_the_words_of_the_report(site):
    text = html.unescape((site / "glossary.html").read_text())
    for term in TERMS.values():
        assert f"<dt>{term.name}" in text
    assert TERMS["drift"].definition in text


def test_the_reference_names_every_command_column_and_metric(pages, repository):
    said = pages.commands(make_parser())
    assert all(f"## percept {name.replace('_', '-')}\n" in said for name in COMMANDS)
    assert all(text in said for text in ("exit codes: 0 done", "example: percept doctor"))
    columns = pages.columns()
    for name, artifact in Artifacts.all().items():
        if artifact.schema is not None:
            assert f"## {name}\n" in columns
            assert all(f"| `{column}` | " in columns for column in artifact.schema.names)
    metrics = pages.metrics(repository / "reports/metrics")
    for path in (repository / "reports/metrics").glob("*.json"):
        scores = {
            name for name, value in json.loads(path.read_text()).items() if isinstance(value, dict)
        }
        assert all(f"| `{name}` | " in metrics for name in scores)


@pytest.mark.slow
def test_the_reference_names_every_param_with_its_default(pages, repository):
    said = pages.params(repository / "presets")
    assert "| `train.optimiser.learning_rate` | " in said
    assert said.count("\n## ") == len(STAGES)
    for name in leaves(yaml.safe_load((repository / "presets/base.yaml").read_text())):
        assert f"| `{name}` | " in said or f"| `{name.rsplit('.', 1)[0]}` | " in said, name


def test_every_message_of_the_page_of_troubles_is_one_that_the_code_says(repository):
    code = " ".join(
        path.read_text()
        for folder in ("tasks", "flows")
        for path in (repository / folder).rglob("*.py")
    )
    code = re.sub(r'"\s+f?"', "", code)  # texts that go on in the next line
    page = (repository / "docs/troubleshooting.md").read_text()
    messages = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert len(messages) > 10
    assert [message for message in messages if message not in code] == []


def test_the_encoder_of_the_page_gives_features(repository):
    page = (repository / "docs/add_an_encoder.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(code.splitlines()) < 50
    namespace = {"__name__": "tiny_conv"}
    exec(compile(code, "tiny_conv.py", "exec"), namespace)
    network = namespace["tiny_conv"](EpochShape(n_channels=5, n_times=50, sfreq_hz=100, n_groups=1))
    features = network(torch.zeros(3, 5, 50), torch.zeros(3, dtype=torch.long))
    assert features.shape[0] == 3
    assert features.ndim == 2


def test_every_command_in_the_pages_is_understood(repository):
    parser = make_parser()
    lines = [
        line
        for path in (repository / "docs").glob("*.md")
        for block in re.findall(
            r"^```\w*\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE
        )
        for line in block.splitlines()
    ]
    commands = [
        shlex.split(line, comments=True)
        for line in lines
        if re.match(r"(PERCEPT_\w+=\w+ )?percept [a-z]", line)
    ]
    assert len(commands) > 20
    for words in commands:
        words = words[words.index("percept") + 1 :]
        if "2>" not in words and ";" not in " ".join(words):
            parser.parse_args([word for word in words if word != "..."])
