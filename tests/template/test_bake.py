"""What the template gives: the files, and that each of them is well formed."""

from __future__ import annotations

import ast
import configparser
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import edge_tasks
from hooks import source
from edge_tasks.repo.edge_yaml import load_config
from cookiecutter.main import cookiecutter
from edge_tasks.errors import ConfigError
from edge_tasks.setup import doctor, infrastructure, initialise
from edge_tasks.setup.template import render_model
from tests.template.conftest import REPOSITORY, Baked

Bake = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMMON = {
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvcignore",
    ".edge-template.json",
    ".gitignore",
    "CONTRIBUTING.md",
    "README.md",
    "dvc.yaml",
    "edge.yaml",
    "notebooks/first-look.ipynb",
    "pyproject.toml",
    "requirements-dev.txt",
    "requirements.txt",
    "src/.gitkeep",
    "tasks.py",
    "test_endpoint.sh",
    "test_payload.json",
}
MODEL = {
    ".gitignore",
    "README.md",
    "dvc.yaml",
    "params.yaml",
    "test_payload.json",
    "test_train.py",
    "train.py",
}
OF_EXAMPLE = {
    "hello-world": {"data/.gitkeep"},
    "tabular": {"data/.gitignore", "models/{model}/prepare.py", "models/{model}/tune.yaml"},
    "digits": {"data/.gitignore", "models/{model}/prepare.py", "models/{model}/tune.yaml"},
    "fashion-mnist": {
        "data/.gitignore",
        "models/{model}/SHA256SUMS",
        "models/{model}/data.yaml",
        "models/{model}/get_data.py",
        "models/{model}/prepare.py",
        "models/{model}/tune.yaml",
        "services/fashion-web/.dockerignore",
        "services/fashion-web/Dockerfile",
        "services/fashion-web/README.md",
        "services/fashion-web/app.py",
        "services/fashion-web/calibrate.py",
        "services/fashion-web/calibration.json",
        "services/fashion-web/endpoint.py",
        "services/fashion-web/page.html",
        "services/fashion-web/pages.py",
        "services/fashion-web/pictures.py",
        "services/fashion-web/probabilities.py",
        "services/fashion-web/requirements.txt",
        "services/fashion-web/static/draw.js",
        "services/fashion-web/static/style.css",
        "services/fashion-web/test_app.py",
    },
}
OF_CI = {
    "circleci": {".circleci/config.yml"},
    "github": {
        f".github/workflows/{name}.yml" for name in ("check", "monitor", "release", "retrain", "rollback", "undeploy")
    },
    "none": set[str](),
}
OF_INFRASTRUCTURE = {
    "none": set[str](),
    "terraform": {
        f"infra/{name}"
        for name in ("README.md", "main.tf", "outputs.tf", "terraform.tfvars", "variables.tf", "versions.tf")
    },
}
MARKS = ("<<", ">>", "<%", "%>", "<#", "#>", "cookiecutter")

# The script that hello-world's train.py must be, apart from layout.
HELLO_WORLD = """
from edge_tasks.training import get_config_and_state, vertex_wrapper
from edge_tasks.training.sklearn import save_results

from sacred import Experiment

import numpy as np
from sklearn.dummy import DummyClassifier

_config, state = get_config_and_state()

ex = Experiment("hello-world-model-training", save_git_info=False)

@ex.config
def cfg():
    strategy = "most_frequent"
    model_name = "hello-world"
    is_vertex = False

@ex.automain
@vertex_wrapper(_config, state)
def run(
        _run,
        strategy,
        model_output_dir="./",
):
    X = np.array([-1, 1, 1, 1])
    y = np.array([0, 1, 1, 1])
    dummy_clf = DummyClassifier(strategy=strategy)
    dummy_clf.fit(X, y)

    metrics = {
        "score": dummy_clf.score(X, y)
    }

    save_results(dummy_clf, metrics, model_output_dir)
"""


def files_of(repository: Path) -> set[str]:
    return {
        path.relative_to(repository).as_posix()
        for path in repository.rglob("*")
        if not path.is_dir() and ".git" not in path.relative_to(repository).parts
    }


def expected_files(example: str, model: str, ci: str = "circleci") -> set[str]:
    own = {path.format(model=model) for path in OF_EXAMPLE[example]}
    return COMMON | {f"models/{model}/{name}" for name in MODEL} | own | OF_CI[ci]


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def model_of(baked: Path) -> str:
    """Return the only model's name, which is the example's name by default."""
    return next((baked / "models").iterdir()).name


def test_every_choice_of_the_questions_is_known_here(answers_module: types.ModuleType) -> None:
    known = {"example": set(OF_EXAMPLE), "ci": set(OF_CI), "infrastructure": set(OF_INFRASTRUCTURE)}
    assert known == {question: set(choices) for question, choices in answers_module.CHOICES.items()}


@pytest.mark.slow
def test_the_files_are_exactly_these(combination: Baked) -> None:
    example, ci, infrastructure = (combination.choices[name] for name in ("example", "ci", "infrastructure"))
    further = OF_INFRASTRUCTURE[infrastructure]
    if (ci, infrastructure) == ("github", "terraform"):
        further = further | {".github/workflows/infrastructure.yml"}
    assert files_of(combination.root) == expected_files(example, example, ci) | further


def test_infra_holds_what_an_export_of_the_new_repository_would_write(bake: Bake) -> None:
    """`scripts/template-infra` writes it again."""
    baked = bake(infrastructure="terraform", google_cloud_project_id="ada-project", region="europe-west4", ci="none")
    config = load_config(baked, {})
    exported = infrastructure.terraform_files(config, infrastructure.Wanted(), (), "infra")
    assert {name: (baked / "infra" / name).read_text() for name in exported} == exported
    assert infrastructure.write(baked / "infra", exported) == []


@pytest.mark.parametrize("example", OF_EXAMPLE)
def test_the_model_may_have_a_name_of_its_own(bake: Bake, example: str) -> None:
    baked = bake(example=example, model_name="churn-2")
    assert files_of(baked) == expected_files(example, "churn-2")
    texts = {name: (baked / name).read_text(encoding="utf-8") for name in files_of(baked)}
    assert not [name for name, text in texts.items() if f"models/{example}" in text]
    if example != "hello-world":
        ending = "csv" if example == "tabular" else "npz"
        assert f"/churn-2.{ending}\n" in texts["data/.gitignore"]
        assert f"../../data/churn-2.{ending}" in texts["models/churn-2/dvc.yaml"]


def test_no_mark_of_the_template_is_left(combination: Baked) -> None:
    for name in files_of(combination.root):
        text = (combination.root / name).read_text(encoding="utf-8")
        # CircleCI's own way to write a parameter, and the shell's to append to a file.
        text = re.sub(r'<< pipeline\.[a-z_.]+ >>|>> "\$[A-Z_]+"', "", text)
        assert not [mark for mark in MARKS if mark in text or mark in name], name


def test_no_folder_is_empty(combination: Baked) -> None:
    folders = [path for path in combination.root.rglob("*") if path.is_dir() and ".git" not in path.parts]
    assert not [folder for folder in folders if not any(folder.iterdir())]


def test_every_file_ends_with_one_newline_and_has_no_trailing_blanks(combination: Baked) -> None:
    for name in files_of(combination.root):
        text = (combination.root / name).read_text(encoding="utf-8")
        assert not text or (text.endswith("\n") and not text.endswith("\n\n")), name
        assert not text.startswith("\n"), name
        assert "\n\n\n" not in text or name.endswith(".py"), name
        assert not [line for line in text.splitlines() if line != line.rstrip()], name


def test_every_yaml_json_and_python_file_parses(combination: Baked) -> None:
    read: dict[str, Callable[[str], Any]] = {
        ".yaml": yaml.safe_load,
        ".yml": yaml.safe_load,
        ".json": json.loads,
        ".py": ast.parse,
    }
    for name in files_of(combination.root):
        if Path(name).suffix in read:
            assert read[Path(name).suffix]((combination.root / name).read_text(encoding="utf-8")) is not None, name


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is new in Python 3.11")
def test_the_toml_file_parses(combination: Baked) -> None:
    settings = importlib.import_module("tomllib").loads((combination.root / "pyproject.toml").read_text())
    assert set(settings["tool"]) == {"mypy", "pytest", "ruff"}


def test_the_shell_scripts_are_sound_and_may_be_run(combination: Baked, run: Run) -> None:
    scripts = [combination.root / name for name in files_of(combination.root) if name.endswith(".sh")]
    assert scripts
    for script in scripts:
        assert os.access(script, os.X_OK)
        assert lines_of(script)[0] == "#!/usr/bin/env bash"
        run(Path(sys.executable).parent / "shellcheck", script, cwd=combination.root)


@pytest.mark.slow
def test_the_python_files_are_linted_and_formatted(combination: Baked, run: Run) -> None:
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=combination.root)
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", cwd=combination.root)


def test_the_python_files_are_typed(baked: Path, run: Run, mypy_cache: Path) -> None:
    run(Path(sys.executable).parent / "mypy", "--cache-dir", mypy_cache, cwd=baked)


def test_a_repository_without_its_last_step_is_told_with_what_makes_it(
    clean_environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(f"replay_dir: {tmp_path}\ncookiecutters_dir: {tmp_path}\n")
    made = cookiecutter(
        str(REPOSITORY), no_input=True, accept_hooks=False, output_dir=str(tmp_path / "out"),
        config_file=str(tmp_path / "config.yaml"), extra_context={"example": "digits"},
    )  # fmt: skip
    root = Path(made)
    assert (root / "models" / "digits~digits").is_dir()
    with pytest.raises(ConfigError, match="the template's last step was not run") as refusal:
        initialise.plan(root, load_config(root, {}), {})
    assert str(refusal.value.hint).endswith("cookiecutter --accept-hooks yes")
    found = {result.check: result for result in doctor.examine_repository(root)}["models"]
    assert (found.state.value, found.fix) == ("broken", refusal.value.hint)


def test_an_invoke_of_another_environment_says_how_to_get_the_right_one(baked: Path) -> None:
    # -S leaves out what is installed, as an `invoke` elsewhere does not have it.
    command = [sys.executable, "-I", "-S", str(baked / "tasks.py")]
    done = subprocess.run(command, cwd=baked, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: this `invoke` knows no vertex:edge \(.+\)\n\nhint: source .+\n", done.stderr)


def test_hello_world_trains_with_the_script_of_the_readme(bake: Bake) -> None:
    script = (bake(example="hello-world") / "models/hello-world/train.py").read_text()
    assert ast.dump(ast.parse(script)) == ast.dump(ast.parse(HELLO_WORLD))


def test_edge_yaml_holds_the_answers(bake: Bake) -> None:
    baked = bake(
        model_name="churn",
        google_cloud_project_id="acme-ml",
        region="us-east4",
        bucket_name="acme-bucket",
    )
    assert read_yaml(baked / "edge.yaml") == {
        "target": "local",
        "local": {"environments": "shared"},
        "google_cloud_project": {"project_id": "acme-ml", "region": "us-east4"},
        "storage_bucket": {
            "bucket_name": "acme-bucket",
            "dvc_store_directory": "dvcstore",
            "vertex_jobs_directory": "vertex",
        },
        "experiments": {"directory": "experiments", "mongo_uri_secret": None},
        "models": {
            "churn": {
                "endpoint_name": "churn-endpoint",
                "training_container_image_uri": "mirror.gcr.io/library/python:3.10-slim",
                "serving_container_image_uri": ("us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"),
                "training_machine_type": "n1-standard-4",
                "serving_machine_type": "n1-standard-2",
                "min_replica_count": 1,
                "max_replica_count": 1,
            }
        },
    }


def test_edge_yaml_is_what_the_package_reads(baked: Path) -> None:
    config = load_config(baked, environ={})
    assert list(config.models) == [model_of(baked)]


@pytest.mark.parametrize(
    ("region", "area"),
    [("europe-west4", "europe"), ("asia-south2", "asia"), ("us-west1", "us"), ("me-west1", "us")],
)
def test_the_serving_image_comes_from_near_the_region(bake: Bake, region: str, area: str) -> None:
    (model,) = read_yaml(bake(region=region) / "edge.yaml")["models"].values()
    assert model["serving_container_image_uri"].startswith(f"{area}-docker.pkg.dev/")


@pytest.mark.slow
@pytest.mark.parametrize("bucket_name", ["123", "2026-01-31", "1e5", "0x10", "off", "null", "1_000"])
def test_a_bucket_name_stays_a_name_in_yaml(bake: Bake, bucket_name: str) -> None:
    baked = bake(bucket_name=bucket_name)
    assert read_yaml(baked / "edge.yaml")["storage_bucket"]["bucket_name"] == bucket_name


@pytest.mark.slow
@pytest.mark.parametrize(
    "project_name",
    [
        "Prévision des ventes: été",
        "需求预测",
        "نمونه\u200cی آزمایشی",
        "👩\u200d🔬 Lab",
        "# \"Quotes\", 'more' & back\\slashes: {{ x }} ${y} %s `z`",
        '"""',
        "'''",
    ],
)
def test_a_project_name_may_hold_any_characters(bake: Bake, project_name: str) -> None:
    baked = bake(project_name=project_name)
    assert (baked / "README.md").read_text(encoding="utf-8").startswith(f"# {project_name}\n")
    recorded = json.loads((baked / ".edge-template.json").read_text(encoding="utf-8"))
    assert recorded["answers"]["project_name"] == project_name
    assert load_config(baked, environ={}).target == "local"


@pytest.mark.parametrize("name", ["a" * 50, "a-" * 24 + "b1"])
def test_long_names_are_legal(bake: Bake, name: str) -> None:
    baked = bake(project_slug=name, model_name=name, google_cloud_project_id="p" * 30)
    config = load_config(baked, environ={})
    assert list(config.models) == [name]
    assert 62 <= len(config.storage_bucket.bucket_name) <= 63  # one less when the cut would leave a hyphen at the end


def test_a_path_with_spaces_is_legal(bake_into: Bake, tmp_path: Path) -> None:
    baked = bake_into(tmp_path / "my work", example="digits")
    assert (baked / "models" / "digits" / "train.py").is_file()


def test_the_payload_at_the_root_is_a_relative_link_to_the_model_s(baked: Path) -> None:
    link = baked / "test_payload.json"
    assert link.readlink() == Path("models", model_of(baked), "test_payload.json")
    assert list(json.loads(link.read_text())) == ["instances"]


def test_params_hold_what_the_training_is_configured_with(baked: Path) -> None:
    model = model_of(baked)
    source = ast.parse((baked / "models" / model / "train.py").read_text())
    (configure,) = [node for node in ast.walk(source) if getattr(node, "name", "") == "cfg"]
    assert isinstance(configure, ast.FunctionDef)
    defaults = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in configure.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert defaults.pop("model_name") == model
    assert defaults.pop("is_vertex") is False
    assert read_yaml(baked / "models" / model / "params.yaml") == {"is_vertex": True, **defaults}


def test_dvc_keeps_its_remote_in_the_repository_and_sends_no_analytics(baked: Path) -> None:
    config = configparser.ConfigParser()
    config.read_file(io.StringIO((baked / ".dvc" / "config").read_text()))
    assert dict(config["core"]) == {"analytics": "false", "check_update": "false", "remote": "store"}
    assert config["'remote \"store\"'"]["url"] == "../.edge/dvcstore"


def test_the_requirements_are_what_this_project_is_tested_with(baked: Path, repository: Path) -> None:
    lines = (baked / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line.split("  #")[0]) for line in lines if line and not line.startswith(("#", "-r "))]
    pins = {(line.name, str(line.marker).replace("'", '"')): str(line.specifier) for line in wanted}
    assert ("vertex-edge", "None") in pins
    tested = (repository / "pyproject.toml").read_text().replace("'", '"')
    for (name, marker), specifier in pins.items():
        if name in {"scikit-learn", "numpy"}:
            assert name in tested
            assert all(part in tested for part in specifier.split(",")), specifier
            assert marker == "None" or marker in tested


def test_the_template_has_the_version_of_the_package(repository: Path, baked: Path) -> None:
    questions = json.loads((repository / "cookiecutter.json").read_text())
    assert questions["_template_version"] == edge_tasks.__version__
    named = source.requirement(edge_tasks.__version__, repository)
    assert f"{named}\n" in (baked / "requirements.txt").read_text()


@pytest.mark.slow
def test_the_readme_names_every_file_and_only_tasks_that_exist(combination: Baked, run: Run) -> None:
    baked, model = combination.root, combination.choices["example"]
    readme = (baked / "README.md").read_text()
    for name in COMMON | {f"models/{model}/{name}" for name in MODEL} | OF_CI[combination.choices["ci"]]:
        name = re.sub(r"^(\.github/workflows/).*", r"\1", name)
        if not name.endswith(("README.md", "ignore")):
            name = name.removesuffix(".gitkeep")
            assert name.replace(f"models/{model}/", "models/NAME/") in readme, name
    listed = run(sys.executable, "-m", "invoke", "--list", cwd=baked).stdout
    words = readme.replace("`", " ").replace(",", " ").split()
    tasks = set(filter(re.compile(r"(model|local|service|state|config|dvc|ci|template)\.[a-z-]+").fullmatch, words)) - {"dvc.yaml", "dvc.lock"}
    assert {"model.init", "model.deploy", "local.stop"} <= tasks
    assert not [task for task in tasks if f"  {task} " not in listed]


def test_each_file_that_only_this_example_has_is_described_in_the_readme_beside_it(baked: Path) -> None:
    model = model_of(baked)
    for path in (Path(name.format(model=model)) for name in OF_EXAMPLE[model]):
        described = (baked / Path(*path.parts[:2]) / "README.md") if path.parts[0] != "data" else None
        if described and path.name not in {"README.md", "requirements.txt", ".dockerignore"}:
            text = described.read_text()
            assert path.name in text or f"`{path.parent.name}/`" in text, path


def test_the_package_renders_a_model_as_the_template_does(baked: Path, tmp_path: Path) -> None:
    model = model_of(baked)
    render_model(model, {"model_name": model, "project_slug": "a-repository"}, tmp_path / model)
    assert files_of(tmp_path / model) == files_of(baked / "models" / model)
    for name in files_of(tmp_path / model):
        assert (tmp_path / model / name).read_text() == (baked / "models" / model / name).read_text()


def test_the_link_at_the_root_is_the_template(repository: Path) -> None:
    link = repository / "<<cookiecutter.project_slug>>"
    assert link.is_symlink()
    assert link.readlink() == Path("template/<<cookiecutter.project_slug>>")
    assert (link / "edge.yaml").is_file()


def test_it_bakes_from_a_copy_as_from_a_clone(bake: Bake, repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "clone"
    copy.mkdir()
    for name in ("cookiecutter.json", "hooks", "template", "<<cookiecutter.project_slug>>"):
        source = repository / name
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, copy / name, symlinks=True)
        else:
            shutil.copy2(source, copy / name, follow_symlinks=False)
    through_a_link = tmp_path / "link"
    through_a_link.symlink_to(copy)
    for template in (copy, through_a_link):
        baked = bake(template=template, project_slug=f"from-{template.name}")
        assert files_of(baked) == expected_files("hello-world", "hello-world")
