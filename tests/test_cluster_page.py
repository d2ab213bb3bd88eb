"""The recipes of the page on clusters are what the packages that they are for accept."""

import json
import re
import runpy
import subprocess
import sys
from inspect import signature

import pytest
import yaml


@pytest.fixture(scope="module")
def page(repository) -> str:
    return (repository / "docs/cluster.md").read_text()


def block(page: str, first_line: str) -> str:
    """Return the block of code that begins with a line."""
    return re.search(rf"```\w*\n({re.escape(first_line)}.*?)```", page, re.DOTALL)[1]


def commands(page: str, program: str) -> list[list[str]]:
    """Return the words of every command of a program on the page, blocks and running text alike."""
    found = re.findall(
        rf"(?:^|[`|] *|&& |srun .*? )((?:{program}) [^`|>&#\n]*)", page, re.MULTILINE
    )
    return sorted({tuple(words.split()) for words in found})


@pytest.fixture(scope="module")
def template(page, tmp_path_factory):
    """The template of the package, as the script of the page changes it."""
    from prefect_kubernetes.worker import KubernetesWorker

    script = tmp_path_factory.mktemp("pool") / "pool.py"
    script.write_text(block(page, "# pool.py"))
    default = json.dumps(KubernetesWorker.get_default_base_job_template())
    done = subprocess.run(
        [sys.executable, script], input=default, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_job_of_the_kubernetes_recipe_has_the_volume_and_the_environment(page, template):
    from prefect.utilities.templating import apply_values

    (deployment,) = yaml.safe_load(block(page, "# prefect.yaml"))["deployments"]
    wanted = deployment["work_pool"]["job_variables"]
    assert set(wanted) <= set(template["variables"]["properties"])
    made = apply_values(template["job_configuration"], wanted)
    pod = made["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (volume,) = pod["volumes"]
    (mount,) = container["volumeMounts"]
    assert container["image"] == wanted["image"]
    assert container["env"]["PERCEPT_ROOT"].startswith(f"{mount['mountPath']}/")
    assert volume["name"] == mount["name"]


def test_the_flow_and_the_pull_step_of_the_recipe_exist(page, repository):
    from prefect.deployments import steps

    (deployment,) = yaml.safe_load(block(page, "# prefect.yaml"))["deployments"]
    path, name = deployment["entrypoint"].split(":")
    assert f"def {name}(" in (repository / path).read_text()
    ((step, arguments),) = (step for found in deployment["pull"] for step in found.items())
    assert set(arguments) <= set(signature(getattr(steps, step.rpartition(".")[2])).parameters)


def test_the_template_of_the_slurm_recipe_has_a_working_directory():
    from prefect.workers.process import ProcessWorker

    assert "working_dir" in ProcessWorker.get_default_base_job_template()["variables"]["properties"]


@pytest.mark.slow
def test_every_option_of_prefect_exists(page):
    found = commands(page, "prefect")
    assert len(found) >= 6
    for words in found:
        subcommand = [w for w in words[1:3] if not w.startswith("-")]
        command = [sys.executable, "-m", "prefect", *subcommand, "--help"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", told), words


def test_every_command_of_dvc_is_one(page):
    from dvc.cli import parse_args

    found = commands(page, "dvc")
    assert len(found) >= 6
    for words in found:
        assert parse_args(list(words[1:])).func, words


@pytest.mark.slow
def test_every_option_of_dask_and_ray_exists(page):
    from distributed.cli import dask_scheduler, dask_worker
    from ray.scripts import scripts

    known = {
        ("dask", "worker"): dask_worker.main,
        ("dask", "scheduler"): dask_scheduler.main,
        ("ray", "start"): scripts.start,
    }
    found = [*commands(page, "dask (?:worker|scheduler)"), *commands(page, "ray start")]
    assert len(found) >= 3
    for words in found:
        options = {o for p in known[words[:2]].params for o in p.opts}
        used = {word.split("=")[0] for word in words if word.startswith("--")}
        assert used <= options, words


def test_the_table_of_sizes_is_what_was_measured(page, repository):
    benchmark = runpy.run_path(str(repository / "benchmarks/scale.py"))
    table = benchmark["table"](repository / "benchmarks/scale.jsonl")
    assert "| `train` |" in table
    assert f"\n{table}\n" in page
