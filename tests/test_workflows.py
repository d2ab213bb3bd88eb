"""The workflow files are what GitHub accepts, run what a laptop runs, and are hard to misuse."""

import re
import subprocess
import sys

import pytest
import yaml

NAMES = ["ci.yaml", "metrics.yaml"]


@pytest.fixture(params=NAMES)
def workflow(request, repository):
    return repository / ".github/workflows" / request.param


def test_every_workflow_is_tested(repository):
    assert sorted(p.name for p in (repository / ".github/workflows").iterdir()) == NAMES


def test_schema(workflow):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run(
        [*command, "vendor.github-workflows", str(workflow)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_schema_check_can_fail(workflow, tmp_path):
    broken = tmp_path / workflow.name
    broken.write_text(workflow.read_text().replace("runs-on:", "runs_on:"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run([*command, "vendor.github-workflows", str(broken)], capture_output=True)
    assert done.returncode == 1


def test_only_actions_of_github_itself(workflow):
    used = re.findall(r"uses: (\S+)", workflow.read_text())
    assert used
    assert all(name.startswith("actions/") for name in used)


def test_no_text_of_a_pull_request_reaches_a_shell_as_code(workflow):
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")


def test_rights_are_named(workflow):
    assert yaml.safe_load(workflow.read_text())["permissions"]["contents"] == "read"


def test_metrics_workflow_is_the_command_of_a_laptop(repository):
    text = (repository / ".github/workflows/metrics.yaml").read_text()
    assert "make repro" in text
    assert "percept ci-report --base" in text
    paths = yaml.safe_load(text)[True]["pull_request"]["paths"]  # YAML reads `on` as true
    assert {"params.yaml", "dvc.yaml", "flows/**", "tasks/**"} <= set(paths)


@pytest.fixture
def metrics(repository):
    return yaml.safe_load((repository / ".github/workflows/metrics.yaml").read_text())


def test_metrics_of_the_main_branch_fill_the_cache_that_pull_requests_restore(metrics):
    events = metrics[True]
    assert events["push"]["branches"] == ["main"]
    assert events["push"]["paths"] == events["pull_request"]["paths"]
    (steps,) = (job["steps"] for job in metrics["jobs"].values())
    cache = next(s["with"] for s in steps if s.get("uses", "").startswith("actions/cache@"))
    assert cache["key"].startswith(cache["restore-keys"])
    assert "|| github.sha }}" in cache["key"]


def test_the_comment_is_made_when_the_pipeline_failed_too(metrics, tmp_path):
    (steps,) = (job["steps"] for job in metrics["jobs"].values())
    names = [step.get("name") for step in steps]
    behind = steps[names.index("Reproduce what this branch makes stale") + 1 :]
    assert "Comment" in [step.get("name") for step in behind]
    assert all("!cancelled()" in step["if"] for step in behind)
    (fallback,) = (step["run"] for step in behind if "test -e metrics.md" in step.get("run", ""))
    shell = ["bash", "-e", "-c", fallback]
    for written in ("", "what changed\n"):
        if written:
            (tmp_path / "metrics.md").write_text(written)
        subprocess.run(shell, cwd=tmp_path, env={"LOG": "https://x.org/1"}, check=True)
        text = (tmp_path / "metrics.md").read_text()
        assert text == written or "[The log](https://x.org/1)" in text
