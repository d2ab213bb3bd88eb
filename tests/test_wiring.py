"""dvc.yaml, params.yaml, presets, the catalogue and the stage signatures must tell one story."""

import ast
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from dvc_render.vega_templates import TEMPLATES

from tasks import STAGES
from tasks.artifacts.catalogue import Artifacts
from tasks.runtime.errors import PerceptError
from tasks.wiring.contract import RENAMED, load_stage, params_for, params_model, reads, writes
from tasks.wiring.dvc import VERSION_FILE, has_code, import_closure, pipeline, write_pipeline
from tasks.wiring.presets import override
from tests.flows.workspaces import make_workspace, run

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "pandas",
    "pyarrow",
    "pydantic",
    "torch",
    "mne",
    "diffusers",
    "open_clip",
    "transformers",
    "sklearn",
    "matplotlib",
    "prefect",
}


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_every_template_of_a_plot_is_there_and_used():
    entries = [entry for plot in pipeline()["plots"] for entry in plot.values() if entry]
    named = {entry["template"] for entry in entries}
    own = {path.stem for path in (ROOT / ".dvc" / "plots").glob("*.json")}
    assert own == named - {template.DEFAULT_NAME for template in TEMPLATES}


def test_dvc_yaml_is_what_the_signatures_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert yaml.safe_load((ROOT / "dvc.yaml").read_text()) == pipeline(), "run `make wiring`"


def test_params_are_complete_and_valid():
    path = ROOT / "params.yaml"
    assert tuple(yaml.safe_load(path.read_text())) == STAGES
    for name in STAGES:
        params_for(load_stage(name), path)


def test_params_have_no_defaults():
    for name in STAGES:
        todo = [get_type_hints(load_stage(name))["params"]]
        while todo:
            model = todo.pop()
            for key, field in model.model_fields.items():
                assert field.is_required(), f"{name}: {key} has a default"
                if hasattr(field.annotation, "model_fields"):
                    todo.append(field.annotation)


@pytest.mark.parametrize("name", STAGES)
def test_signature_names_artefacts_only(name):
    stage = load_stage(name)
    names = reads(stage) + writes(stage)
    assert set(names) <= set(Artifacts.all())
    others = set(get_type_hints(stage)) - set(names) - {"params", "map", "return"}
    assert not others
    assert writes(stage)


def test_every_artefact_has_one_writer_and_a_reader():
    written = [a for s in STAGES for a in writes(load_stage(s))]
    read = {a for s in STAGES for a in reads(load_stage(s))}
    given = {name for name, artifact in Artifacts.all().items() if artifact.given}
    assert len(written) == len(set(written))
    assert set(Artifacts.all()) == set(written) | given
    assert set(Artifacts.all()) - read == {"simulated", "report_page"}


@pytest.mark.parametrize("name", STAGES)
def test_stages_read_only_what_earlier_ones_wrote(name):
    earlier = {a for s in STAGES[: STAGES.index(name)] for a in writes(load_stage(s))}
    given = {n for n, artifact in Artifacts.all().items() if artifact.given}
    assert set(reads(load_stage(name))) <= earlier | given


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("train", "report") else pytest.param(name, marks=pytest.mark.slow)
        for name in STAGES
    ],
)
def test_dvc_stage_depends_on_the_code_it_imports(name):
    """Run the stage's import for real and compare what was loaded with what DVC watches."""
    code = (
        f"import sys, tasks.{name}; "
        "print('\\n'.join(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'tasks'))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = {Path(line).relative_to(ROOT) for line in done.stdout.split()}
    loaded = {f.as_posix() for f in files if f.name != "__init__.py"}  # these hold nothing to run
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]["deps"]
    assert loaded <= set(deps)
    assert f"tasks/{name}.py" in deps
    assert import_closure(Path("tasks") / f"{name}.py") <= set(deps)


def test_the_report_depends_on_its_templates():
    assert "tasks/reporting/templates" in pipeline(ROOT)["stages"]["report"]["deps"]


def test_only_flows_know_prefect_and_nobody_imports_dvc():
    for path in sorted((ROOT / "tasks").rglob("*.py")):
        assert not {module.split(".")[0] for module in imported(path)} & {"prefect", "dvc"}, path


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").rglob("__init__.py")), ids=str)
def test_packages_import_nothing(path):
    assert not imported(path)


def test_help_answers_at_once_because_nothing_heavy_loads():
    code = (
        "import sys\nfrom tasks.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"sys.exit(','.join(set(sys.modules) & {HEAVY!r}) or 0)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trace" in done.stdout
    assert time.perf_counter() > start


def test_flow_order_is_the_order_of_the_stages():
    from flows.reproduce import parents

    for name, before in parents().items():
        assert all(STAGES.index(p) < STAGES.index(name) for p in before)
    assert parents()["ingest"] == ["simulate"]
    assert "embed" in parents()["train"]


def write_params(tmp_path: Path, change) -> Path:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(content)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.dump(content, Dumper=yaml.CSafeDumper))
    return path


def test_misspelt_param_is_named_with_the_known_ones(tmp_path):
    path = write_params(tmp_path, lambda c: c["train"]["optimiser"].update(learning_rat=1.0))
    with pytest.raises(
        PerceptError, match=r"^train.optimiser.learning_rat is no param of train. Known are: "
    ):
        params_for(load_stage("train"), path)


def test_missing_param_is_named(tmp_path):
    path = write_params(tmp_path, lambda c: c["train"]["optimiser"].pop("learning_rate"))
    with pytest.raises(
        PerceptError, match=r"^train.optimiser.learning_rate must be set; it is missing. Add it to "
    ):
        params_for(load_stage("train"), path)


@pytest.mark.parametrize(
    ("section", "chooser"), [("brain", "kind"), ("split", "strategy"), ("source", "name")]
)
def test_a_choice_that_is_missing_or_wrong_inside_is_named_as_in_the_file(
    tmp_path, section, chooser
):
    stage = {"brain": "simulate", "split": "preprocess", "source": "ingest"}[section]
    path = write_params(tmp_path, lambda c: c[stage][section].pop(chooser))
    with pytest.raises(
        PerceptError, match=rf"^{stage}.{section}.{chooser} must be set; it is missing. Add it to "
    ):
        params_for(load_stage(stage), path)
    path = write_params(tmp_path, lambda c: c[stage][section].update(no_such=1))
    with pytest.raises(PerceptError, match=rf"^{stage}.{section}.no_such is no param of {stage}"):
        params_for(load_stage(stage), path)


def test_param_of_the_wrong_type_is_named(tmp_path):
    path = write_params(tmp_path, lambda c: c["train"]["optimiser"].update(learning_rate="fast"))
    with pytest.raises(
        PerceptError, match=r"^train.optimiser.learning_rate: .*; found 'fast'. Mend it in "
    ):
        params_for(load_stage("train"), path)


def test_missing_section_is_named(tmp_path):
    path = write_params(tmp_path, lambda c: c.pop("train"))
    with pytest.raises(PerceptError) as caught:
        params_for(load_stage("train"), path)
    assert str(caught.value) == (
        f"{path} must have a section 'train'; it has none. "
        "`percept preset simulated --show` prints one: copy it from there."
    )


def test_a_params_file_that_holds_none_is_named_and_how_to_get_one(tmp_path):
    path = tmp_path / "my params.yaml"
    with pytest.raises(PerceptError) as caught:
        params_for(load_stage("train"), path)
    assert str(caught.value) == (
        f"{path} must exist; it does not. `percept preset simulated --params '{path}'` writes it."
    )
    path.write_text("- train")
    with pytest.raises(PerceptError, match=r"it holds list. `percept preset simulated --show` pri"):
        params_for(load_stage("train"), path)
    path.write_bytes(b"train: \xff")
    with pytest.raises(
        PerceptError, match=r"my params.yaml must be YAML; it is not \(.*0xff.*Mend"
    ):
        params_for(load_stage("train"), path)


def test_a_value_that_stages_must_agree_on_stands_once():
    assert {
        name: found for name in STAGES if (found := params_model(load_stage(name)).shared())
    } == {
        "check_captions": {
            "model": "embed.model",
            "precision": "embed.precision",
            "max_tokens": "caption.max_tokens",
        },
        "evaluate": {"model": "embed.model"},
    }


@pytest.mark.parametrize("name", STAGES)
def test_dvc_watches_exactly_the_params_that_a_stage_reads(name, tmp_path):
    """Change everything that dvc.yaml does not list: nothing reaches the stage. Each name that it lists does."""
    stage = load_stage(name)
    watched = pipeline(ROOT)["stages"][name]["params"]
    assert watched[0] == name

    def others(content):
        for section in content.keys() - {name}:
            for key in content[section]:
                if f"{section}.{key}" not in watched:
                    content[section][key] = "something else"

    before = params_for(stage, ROOT / "params.yaml")
    assert params_for(stage, write_params(tmp_path, others)) == before
    for place in watched[1:]:
        section, key = place.split(".")

        def changed(content, section=section, key=key):
            value = {"model": "local-dir:clip", "precision": "float16", "max_tokens": 76}[key]
            content[section][key] = value

        assert params_for(stage, write_params(tmp_path, changed)) != before


def test_a_shared_param_makes_exactly_its_readers_stale(tmp_path):
    stages = pipeline(ROOT)["stages"]
    dag = {name: {"cmd": "true", "params": stage["params"]} for name, stage in stages.items()}
    folder = make_workspace(tmp_path / "workspace", yaml.safe_dump({"stages": dag}))
    file = folder / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    file.write_text(text)
    run(folder, "dvc", "repro")

    def stale(changes):
        file.write_text(override(text, changes, file))
        return set(json.loads(run(folder, "dvc", "status", "--json")))

    assert stale({"embed.batch_size": 64}) == {"embed"}
    assert stale({"embed.model": "local-dir:clip"}) == {"embed", "check_captions", "evaluate"}
    assert stale({"embed.precision": "float16"}) == {"embed", "check_captions"}
    assert stale({"caption.max_tokens": 70}) == {"caption", "check_captions"}


def test_the_old_place_of_a_shared_param_is_refused_with_the_one_place(tmp_path):
    path = write_params(
        tmp_path, lambda c: c["check_captions"].update(model="shipped", max_tokens=77)
    )
    with pytest.raises(PerceptError) as caught:
        params_for(load_stage("check_captions"), path)
    assert str(caught.value) == (
        "check_captions.model must not be set: it is embed.model, for all stages that need it. "
        f"Remove it from {path}, and set embed.model there.\n"
        "check_captions.max_tokens must not be set: it is caption.max_tokens, for all stages that need it. "
        f"Remove it from {path}, and set caption.max_tokens there."
    )


def test_a_shared_param_is_called_by_its_one_place(tmp_path):
    path = write_params(tmp_path, lambda c: c["embed"].pop("model"))
    with pytest.raises(
        PerceptError, match=r"^embed.model must be set; it is missing. Add it to .*params.yaml.$"
    ):
        params_for(load_stage("evaluate"), path)
    path = write_params(tmp_path, lambda c: c["caption"].update(max_tokens="many"))
    with pytest.raises(PerceptError, match=r"^caption.max_tokens: .*; found 'many'. Mend it in "):
        params_for(load_stage("check_captions"), path)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_param_of_an_earlier_version_is_refused_with_its_new_name(tmp_path, old, new):
    def rename(content):
        places = []
        for dotted in (new, old):
            *place, name = dotted.split(".")
            section = content
            for part in place:
                section = section.setdefault(part, {})
            places.append((section, name))
        (now, name), (before, old_name) = places
        before[old_name] = now.pop(name)

    path = write_params(tmp_path, rename)
    with pytest.raises(PerceptError) as caught:
        params_for(load_stage(new.split(".")[0]), path)
    assert str(caught.value) == f"{old} is called {new} now. Rename it in {path}."


def test_a_study_without_a_checkout_depends_on_the_version_alone(tmp_path):
    write_pipeline(tmp_path / "dvc.yaml")
    assert (tmp_path / VERSION_FILE).read_text().strip() == version("percept")
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        assert stage["deps"][0] == VERSION_FILE
        assert not [dep for dep in stage["deps"] if dep.endswith(".py")]
        data = [
            dep
            for dep in pipeline(ROOT)["stages"][name]["deps"]
            if dep.startswith(("data/", "reports/"))
        ]
        assert stage["deps"][1:] == data
    assert has_code(ROOT)
    assert not has_code(tmp_path)
