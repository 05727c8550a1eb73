"""CI of a generated repository: its files are valid, and their steps, run one after the other, do what they say.

A step is run as CI would run it: by bash, in its own clone, with an empty home and nothing on the PATH but the
system's programs and the Python environment. What is not as in CI: `pip install` may ask no registry (all that it wants
is installed, which uv checks), and what would go to Google Cloud goes to the emulator, by EDGE_TARGET.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.forking.commands import forked, read_at_import, with_forks
from tests.needs import isolated_environments
from tests.repositories import pip_beside

Bake = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

BIN = Path(sys.executable).parent
GITHUB = tuple(
    f".github/workflows/{name}.yml" for name in ("check", "release", "rollback", "monitor", "retrain", "undeploy")
)
INFRASTRUCTURE = ".github/workflows/infrastructure.yml"
CIRCLECI = (".circleci/config.yml",)

# Steps that are not commands: what the CI itself does, and what stands for it in these tests.
NOT_RUN = {
    "checkout": "the job's folder is a clone",
    "restore_cache": "there is no cache",
    "save_cache": "there is no cache",
    "store_artifacts": "the test looks at the file itself",
    "persist_to_workspace": "the test copies the paths",
    "attach_workspace": "the test copies the paths",
    "actions/checkout": "the job's folder is a clone",
    "actions/setup-python": "the tests' own Python",
    "actions/cache": "there is no cache",
    "actions/upload-artifact": "the test copies the paths",
    "actions/download-artifact": "the test copies the paths",
}


@dataclass(frozen=True)
class Step:
    """One command of a job."""

    name: str
    command: str
    on_failure: bool = False
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A job's commands, and the variables that it sets for all of them."""

    steps: tuple[Step, ...]
    environment: dict[str, str]
    passed_on: tuple[str, ...]


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def circleci_jobs(repository: Path, parameters: dict[str, str]) -> dict[str, Job]:
    """Read CircleCI's jobs; `<< pipeline.parameters.NAME >>` is what `parameters` says."""
    text = (repository / ".circleci/config.yml").read_text(encoding="utf-8")
    for name, value in {"monitor": True, "retrain": "m", "undeploy": True, "idle": "", **parameters}.items():
        text = text.replace(f"<< pipeline.parameters.{name} >>", json.dumps(value))
    config = yaml.safe_load(text)

    def steps(listed: list[Any]) -> Iterator[Step]:
        for step in listed:
            kind, body = (step, {}) if isinstance(step, str) else next(iter(step.items()))
            if kind in config["commands"]:
                yield from steps(config["commands"][kind]["steps"])
            elif kind == "run":
                assert set(body) <= {"name", "command", "when"}
                yield Step(body["name"], body["command"], body.get("when") == "on_fail")
            else:
                assert kind in NOT_RUN, kind

    jobs = {}
    for name, job in config["jobs"].items():
        environment = config["executors"][job["executor"]].get("environment", {}) | job.get("environment", {})
        kept = [path for step in job["steps"] if isinstance(step, dict) for path in _persisted(step)]
        jobs[name] = Job(tuple(steps(job["steps"])), environment, tuple(kept))
    return jobs


def _persisted(step: dict[str, Any]) -> list[str]:
    return list(step.get("persist_to_workspace", {}).get("paths", []))


def github_jobs(repository: Path, parameters: dict[str, str]) -> dict[str, Job]:
    """Read the jobs of the workflows; `${{ inputs.NAME }}` is what `parameters` says."""
    jobs = {}
    for path in (*GITHUB, INFRASTRUCTURE):
        if path == INFRASTRUCTURE and not (repository / path).exists():
            continue
        text = (repository / path).read_text(encoding="utf-8")
        for name, value in {"model": parameters["rollback"], "version": parameters["rollback_to"]}.items():
            text = text.replace("${{ inputs.%s }}" % name, json.dumps(value))
        workflow = yaml.safe_load(text)
        for name, job in workflow["jobs"].items():
            if "uses" in job:
                assert (repository / job["uses"]).is_file()
                continue
            steps: list[Step] = []
            kept: list[str] = []
            for step in job["steps"]:
                if "run" in step:
                    steps.append(Step(step["name"], step["run"], step.get("if") == "failure()", step.get("env", {})))
                else:
                    assert step["uses"].partition("@")[0] in NOT_RUN, step
                    kept += step["with"]["path"].split() if "upload" in step["uses"] else []
            jobs[name] = Job(tuple(steps), workflow.get("env", {}), tuple(kept))
    return jobs


JOBS = {"circleci": circleci_jobs, "github": github_jobs}


@pytest.fixture(scope="session")
def repositories(bake_into: Bake, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A repository for each CI. For reading only."""
    folder = tmp_path_factory.mktemp("ci")
    return {ci: bake_into(folder, project_slug=ci, ci=ci, example="hello-world") for ci in JOBS}


@pytest.fixture(scope="session")
def with_infrastructure(bake_into: Bake, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A repository for each CI, with what Terraform makes in it. For reading only."""
    folder = tmp_path_factory.mktemp("infrastructure")
    return {ci: bake_into(folder, project_slug=ci, ci=ci, infrastructure="terraform") for ci in JOBS}


# --- the files ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_config_keeps_to_circleci_s_schema(
    repositories: dict[str, Path], with_infrastructure: dict[str, Path], run: Run
) -> None:
    for baked in (repositories, with_infrastructure):
        run(BIN / "check-jsonschema", "--builtin-schema", "vendor.circle-ci", *CIRCLECI, cwd=baked["circleci"])


def test_the_workflows_keep_to_github_s_schema_and_are_safe(with_infrastructure: dict[str, Path], run: Run) -> None:
    root, files = with_infrastructure["github"], (*GITHUB, INFRASTRUCTURE)
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files, cwd=root)
    run(BIN / "zizmor", "--offline", "--no-progress", "--min-severity=medium", *files, cwd=root)


def test_there_is_no_orb_and_no_here_document(repositories: dict[str, Path]) -> None:
    assert "orbs" not in read_yaml(repositories["circleci"] / CIRCLECI[0])
    for ci, paths in (("circleci", CIRCLECI), ("github", GITHUB)):
        for path in paths:
            text = (repositories[ci] / path).read_text()
            assert not re.search(r"<<(?! pipeline\.)", text), path


@pytest.mark.parametrize("ci", JOBS)
def test_the_commands_are_sound_shell(with_infrastructure: dict[str, Path], run: Run, ci: str, tmp_path: Path) -> None:
    for name, job in JOBS[ci](with_infrastructure[ci], {"rollback": "m", "rollback_to": ""}).items():
        script = tmp_path / f"{name}.sh"
        variables = {*job.environment, *(key for step in job.steps for key in step.environment)}
        lines = [f"export {key}=x" for key in sorted(variables)] + [step.command for step in job.steps]
        script.write_text("#!/bin/bash\n" + "\n".join(lines) + "\n")
        # MODEL and VERSION come from outside; `${VERSION:+...}` is two words or none on purpose.
        run(BIN / "shellcheck", "--exclude=SC2086,SC2016", script, cwd=tmp_path)


def test_the_cache_of_packages_changes_with_the_requirements(repositories: dict[str, Path]) -> None:
    steps = read_yaml(repositories["circleci"] / CIRCLECI[0])["commands"]["install"]["steps"]
    restored, saved = steps[0]["restore_cache"]["keys"], steps[-1]["save_cache"]["key"]
    assert restored[0] == saved
    assert saved.startswith(restored[1])
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert f'checksum "{name}"' in saved


def test_what_isolated_environments_download_is_kept_as_long_as_the_same_is_wanted(repositories: dict[str, Path]) -> None:
    """An older cache would be taken by a second key, and grow with each list of requirements."""
    wanted = ("requirements.txt", "requirements-dev.txt", "edge.yaml")  # edge.yaml names the images
    config = read_yaml(repositories["circleci"] / CIRCLECI[0])
    (restored,) = config["commands"]["get-uv-s-packages"]["steps"]
    (saved,) = config["commands"]["keep-uv-s-packages"]["steps"]
    key = saved["save_cache"]["key"]
    assert restored["restore_cache"]["keys"] == [key]
    assert all(f'checksum "{name}"' in key for name in wanted)
    steps = config["jobs"]["check"]["steps"]
    repro = next(number for number, step in enumerate(steps) if "repro" in str(step))
    assert steps.index("get-uv-s-packages") < repro < steps.index("keep-uv-s-packages")
    # No job with an identity installs what a check has kept.
    assert [name for name, job in config["jobs"].items() if "get-uv-s-packages" in job["steps"]] == ["check"]

    texts = {path: (repositories["github"] / path).read_text() for path in GITHUB}
    assert [path for path, text in texts.items() if "actions/cache@" in text] == [GITHUB[0]]
    steps = read_yaml(repositories["github"] / GITHUB[0])["jobs"]["check"]["steps"]
    number, cache = next((number, step) for number, step in enumerate(steps) if "cache@" in step.get("uses", ""))
    assert number < next(number for number, step in enumerate(steps) if "repro" in str(step))
    assert set(cache["with"]) == {"key", "path"}
    assert all(f"'{name}'" in cache["with"]["key"] for name in wanted)
    assert cache["with"]["path"].split() == saved["save_cache"]["paths"] == ["~/.cache/uv", "~/.local/share/uv/python"]


def test_who_approves_has_seen_a_comparison_with_what_serves(repositories: dict[str, Path]) -> None:
    config = read_yaml(repositories["circleci"] / CIRCLECI[0])
    flows = [each["jobs"] for each in config["workflows"].values()]
    approvals = [job["approve"]["requires"] for jobs in flows for job in jobs if isinstance(job, dict) and "approve" in job]
    assert approvals == [["train"], ["canary"]]
    for (name,) in approvals:
        steps = config["jobs"][name]["steps"]
        assert any("ci.compare --serving --output comparison.md" in str(step) for step in steps)
        assert {"store_artifacts": {"path": "comparison.md"}} in steps

    documents = [read_yaml(repositories["github"] / path)["jobs"] for path in GITHUB]
    approved = [(jobs, job["needs"]) for jobs in documents for job in jobs.values() if "environment" in job]
    assert [before for _, before in approved] == ["train", "canary"]
    for jobs, before in approved:
        commands = [step.get("run", "") for step in jobs[before]["steps"]]
        shown = commands.index('cat comparison.md >> "$GITHUB_STEP_SUMMARY"')
        assert commands[shown - 1] == "invoke ci.compare --serving --output comparison.md"


@pytest.mark.parametrize("ci", JOBS)
def test_a_pull_request_gets_no_identity_and_no_secret(repositories: dict[str, Path], ci: str) -> None:
    job = JOBS[ci](repositories[ci], {"rollback": "", "rollback_to": ""})["check"]
    # edge.yaml may say gcp, where there is nothing without an identity.
    assert job.environment == {"EDGE_LOCAL_ENVIRONMENTS": "isolated", "EDGE_TARGET": "local"}
    texts = [(repositories[ci] / path).read_text() for path in (*CIRCLECI, *GITHUB) if (repositories[ci] / path).exists()]
    assert not [text for text in texts if "secrets." in text or "context:" in text]


def test_both_ci_do_the_same(with_infrastructure: dict[str, Path]) -> None:
    own = {
        *("Lead Google's clients to this repository's identity", "Show the comparison", "Show what was found"),
        *("Lead Google's clients to the account that plans", "Lead Google's clients to the account that applies"),
        "Show the plan",
    }
    done = {
        ci: {
            name: [(step.name, step.command, step.on_failure) for step in job.steps if step.name not in own]
            for name, job in read(with_infrastructure[ci], {"rollback": "m", "rollback_to": ""}).items()
        }
        for ci, read in JOBS.items()
    }
    assert {"plan", "apply", "undeploy"} <= set(done["github"])
    assert done["circleci"] == done["github"]


def test_infrastructure_is_planned_for_a_pull_request_and_applied_after_approval_by_another_account(
    with_infrastructure: dict[str, Path],
) -> None:
    jobs = read_yaml(with_infrastructure["github"] / INFRASTRUCTURE)["jobs"]
    assert [(name, job.get("needs"), job.get("environment")) for name, job in jobs.items()] == [
        ("plan", None, None), ("apply", "plan", "production"),
    ]  # fmt: skip
    assert "github.event_name != 'pull_request'" in jobs["apply"]["if"]
    files = [job["env"]["GOOGLE_APPLICATION_CREDENTIALS"].rpartition("/")[2] for job in jobs.values()]
    assert files == ["google-cloud-plan.json", "google-cloud-apply.json"]
    config = read_yaml(with_infrastructure["circleci"] / CIRCLECI[0])
    steps = config["workflows"]["apply"]["jobs"]
    assert [next(iter(job)) if isinstance(job, dict) else job for job in steps] == ["plan", "approve", "apply"]
    assert steps[1]["approve"] == {"type": "approval", "requires": ["plan"]}
    assert steps[2]["apply"] == {"context": "infrastructure", "requires": ["approve"]}
    # What nobody has approved never gets that context.
    assert config["workflows"]["plan"]["jobs"] == ["plan"]
    assert json.dumps(config).count('"context"') == 1


def test_only_main_is_released_and_only_after_approval(repositories: dict[str, Path]) -> None:
    config = read_yaml(repositories["circleci"] / CIRCLECI[0])
    assert config["parameters"]["release"]["default"] is False
    release = config["workflows"]["release"]
    order = {next(iter(job)): next(iter(job.values())) for job in release["jobs"] if isinstance(job, dict)}
    assert order["approve"]["type"] == "approval"
    assert [order[name]["requires"] for name in ("train", "approve", "deploy")] == [["check"], ["train"], ["approve"]]

    workflow = read_yaml(repositories["github"] / GITHUB[1])
    assert workflow[True] == {"push": {"branches": ["main"]}}  # YAML 1.1 reads `on` as true
    assert workflow["jobs"]["deploy"]["environment"] == "production"
    assert workflow["jobs"]["deploy"]["needs"] == "train"


def test_a_new_training_goes_to_a_canary_and_waits_for_approval(repositories: dict[str, Path]) -> None:
    retrain = read_yaml(repositories["circleci"] / CIRCLECI[0])["workflows"]["retrain"]
    order = {next(iter(job)): next(iter(job.values())) for job in retrain["jobs"] if isinstance(job, dict)}
    assert [order[name]["requires"] for name in ("canary", "approve", "promote")] == [["retrain"], ["canary"], ["approve"]]
    assert order["approve"]["type"] == "approval"
    jobs = read_yaml(repositories["github"] / GITHUB[4])["jobs"]
    assert [(name, job.get("needs"), job.get("environment")) for name, job in jobs.items()] == [
        ("retrain", None, None), ("canary", "retrain", None), ("promote", "canary", "production"),
    ]  # fmt: skip


@pytest.mark.parametrize(("ci", "brings"), [("circleci", "attach_workspace"), ("github", "actions/download-artifact")])
def test_each_step_of_a_release_has_the_results_of_the_training(repositories: dict[str, Path], ci: str, brings: str) -> None:
    """A checkout is that of the commit that started the pipeline, which has those of the training before."""
    documents = [read_yaml(repositories[ci] / path) for path in {"circleci": CIRCLECI, "github": GITHUB}[ci]]
    jobs = {name: json.dumps(job["steps"]) for each in documents for name, job in each["jobs"].items() if "steps" in job}
    released = {name for name, steps in jobs.items() if re.search(r"invoke ci\.(deploy --traffic|promote)", steps)}
    assert released == {"deploy", "canary", "promote"}
    assert {name for name, steps in jobs.items() if brings in steps} == released


def runs(condition: Any) -> bool:
    """Tell what CircleCI makes of a logic statement: https://circleci.com/docs/configuration-reference/#logic-statements."""
    if not isinstance(condition, dict):
        return bool(condition)
    ((operator, value),) = condition.items()
    if operator == "equal":
        return all(each == value[0] for each in value)
    if operator == "not":
        return not runs(value)
    if operator == "matches":
        return re.search(value["pattern"], value["value"]) is not None
    return {"and": all, "or": any}[operator](runs(each) for each in value)


@pytest.mark.parametrize(
    ("branch", "release", "given", "workflow"),
    [
        ("main", False, {}, "check"),
        ("main", True, {}, "release"),
        ("topic", True, {}, "check"),
        ("topic", False, {}, "check"),
        ("pull/7", True, {}, "check"),  # as CircleCI names what comes from a fork
        ("main", True, {"rollback": "digits"}, "rollback"),
        ("main", False, {"rollback": "digits"}, "rollback"),
        ("main", True, {"monitor": True}, "monitor"),
        ("main", True, {"retrain": "digits"}, "retrain"),
        ("main", True, {"undeploy": True}, "undeploy"),
    ],
)
def test_one_workflow_runs_and_it_is_the_right_one(
    repositories: dict[str, Path],
    with_infrastructure: dict[str, Path],
    branch: str,
    release: bool,
    given: dict[str, Any],
    workflow: str,
) -> None:
    assert started(repositories["circleci"], branch, release, given) == [workflow]
    # Until there are accounts for it, nothing is planned.
    off, on = {"infrastructure": False, "apply": False}, {"infrastructure": True, "apply": False}
    assert started(with_infrastructure["circleci"], branch, release, {**off, **given}) == [workflow]
    planned = ["plan"] if branch == "topic" else []
    assert sorted(started(with_infrastructure["circleci"], branch, release, {**on, **given})) == sorted([workflow, *planned])


def test_infrastructure_is_applied_on_main_alone(with_infrastructure: dict[str, Path]) -> None:
    given = {"infrastructure": True, "apply": True}
    assert started(with_infrastructure["circleci"], "main", True, given) == ["apply"]
    assert started(with_infrastructure["circleci"], "topic", True, given) == []


def started(repository: Path, branch: str, release: bool, given: dict[str, Any]) -> list[str]:
    """Return the workflows that CircleCI would start."""
    text = (repository / CIRCLECI[0]).read_text()
    parameters = {"release": release, "rollback": "", "monitor": False, "retrain": "", "undeploy": False, **given}
    values = {"git.branch": branch, **{f"parameters.{name}": value for name, value in parameters.items()}}
    for name, value in values.items():
        text = text.replace(f"<< pipeline.{name} >>", json.dumps(value))
    workflows = yaml.safe_load(text)["workflows"]
    return [
        name for name, each in workflows.items() if runs(each.get("when", True)) and not runs(each.get("unless", False))
    ]


def test_going_back_never_waits_for_a_release_that_nobody_approves(repositories: dict[str, Path]) -> None:
    workflow = read_yaml(repositories["github"] / GITHUB[2])
    assert "concurrency" not in workflow
    assert "concurrency" not in workflow["jobs"]["rollback"]
    release = read_yaml(repositories["github"] / GITHUB[1])
    assert [name for name, job in release["jobs"].items() if "concurrency" in job] == ["train"]
    assert "concurrency" not in release


# --- running them -------------------------------------------------------------------------------------------------


@dataclass
class Pipeline:
    """A repository with a remote, and clones of it in which jobs run."""

    ci: str
    folder: Path
    origin: Path
    mypy_cache: Path

    def clone(self, name: str, *options: str) -> Path:
        clone = self.folder / name / "project"
        clone.parent.mkdir()
        subprocess.run(["git", "clone", "--quiet", *options, f"file://{self.origin}", str(clone)], check=True)
        # The shared state and what was deployed before: on Google Cloud it would be there for every job.
        return clone

    def run(self, job: Job, clone: Path, **changes: str) -> dict[str, str]:
        """Run a job's steps; return what each printed. A step that fails is the test's failure."""
        home = clone.parent / "home"
        home.mkdir(exist_ok=True)
        summary, bash_env = clone.parent / "summary", clone.parent / "bash_env"
        bash_env.touch()
        isolation = isolated_environments()
        environment = {
            "HOME": str(home),
            "PATH": f"{self.folder / 'bin'}:{BIN}:/usr/bin:/bin",
            "CI": "true",
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "BASH_ENV": str(bash_env),
            "MYPY_CACHE_DIR": str(self.mypy_cache),
            "GITHUB_STEP_SUMMARY": str(summary),
            # The locale and the like are this machine's, so that commands are forked from what others are. What gcsfs
            # reads says nothing to the emulator's folder.
            **{key: value for key, value in job.environment.items() if "${{" not in value and not key.startswith("GCSFS_")},
            **read_at_import(os.environ),
            # Where no packages can be had, jobs and models share the tests' environment.
            **(isolation if isinstance(isolation, dict) else {"EDGE_LOCAL_ENVIRONMENTS": "shared"}),
            **changes,
        }
        printed = {}
        for step in job.steps:
            if step.on_failure:
                continue
            done = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", step.command],
                cwd=clone, env=with_forks({**environment, **step.environment}), capture_output=True, text=True, timeout=280,
            )  # fmt: skip
            assert done.returncode == 0, f"{step.name}: {step.command}\n{done.stdout}\n{done.stderr}"
            printed[step.name] = done.stdout + done.stderr
        return printed

    def jobs(self, rollback: str = "", rollback_to: str = "", retrain: str = "") -> dict[str, Job]:
        checkout = self.folder / "reading"
        shutil.rmtree(checkout, ignore_errors=True)
        subprocess.run(["git", "clone", "--quiet", str(self.origin), str(checkout)], check=True)
        return JOBS[self.ci](checkout, {"rollback": rollback, "rollback_to": rollback_to, "retrain": retrain})


@pytest.fixture
def pipeline(
    request: pytest.FixtureRequest, repositories: dict[str, Path], mypy_cache: Path, tmp_path: Path
) -> Iterator[Pipeline]:
    ci = request.param
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(repositories[ci]), str(origin)], check=True)
    pip_beside(tmp_path / "bin")
    yield Pipeline(ci, tmp_path, origin, mypy_cache)
    for clone in tmp_path.glob("*/project"):
        command, environment = forked(BIN / "invoke", "local.stop", environment=dict(os.environ))
        subprocess.run(command, env=environment, cwd=clone, capture_output=True, check=False)


def change(clone: Path, branch: str | None = None) -> None:
    """Change a parameter, commit, and push."""
    if branch:
        subprocess.run(["git", "switch", "--quiet", "--create", branch], cwd=clone, check=True)
    params = clone / "models/hello-world/params.yaml"
    params.write_text(params.read_text().replace("strategy: most_frequent", "strategy: prior"))
    name = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", *name, "commit", "--quiet", "--all", "--message", "Try prior"], cwd=clone, check=True)
    subprocess.run(["git", "push", "--quiet", "origin", "HEAD"], cwd=clone, check=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pipeline", ["circleci"], indirect=True)  # GitHub's commands are the same, and one more
def test_a_pull_request_is_checked_in_a_shallow_clone_without_main(
    pipeline: Pipeline, repositories: dict[str, Path]
) -> None:
    request = pipeline.clone("request")
    # As `invoke init --target gcp` leaves it: what main is released to, a pull request has no way into.
    edge_yaml, dvc_config = request / "edge.yaml", request / ".dvc/config"
    edge_yaml.write_text(edge_yaml.read_text().replace("target: local", "target: gcp"))
    bucket = read_yaml(edge_yaml)["storage_bucket"]["bucket_name"]
    dvc_config.write_text(re.sub("url = .*", f"url = gs://{bucket}/dvcstore", dvc_config.read_text()))
    change(request, "prior")
    shallow = pipeline.clone("shallow", "--depth", "1", "--branch", "prior", "--single-branch")
    job = pipeline.jobs()["check"]
    printed = pipeline.run(job, shallow)
    compared = printed["Compare the metrics with those of main"]
    assert re.search(r"\| models/hello-world/metrics.json *\| score *\| - *\| 0.75", compared)
    assert re.search(r"strategy *\| most_frequent *\| prior", compared)
    assert (shallow / "comparison.md").read_text().strip() == compared.strip()
    assert "answered 1 request:" in printed["Ask for predictions"]

    github = github_jobs(repositories["github"], {"rollback": "", "rollback_to": ""})["check"]
    more = tuple(step for step in github.steps if step not in job.steps)
    assert (github.environment, len(github.steps)) == (job.environment, len(job.steps) + 1)
    assert list(pipeline.run(replace(github, steps=more), shallow)) == ["Show the comparison"]
    assert (shallow.parent / "summary").read_text().strip() == compared.strip()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pipeline", ["circleci"], indirect=True)  # GitHub's commands are the same, as shown above
def test_main_is_trained_recorded_released_in_two_steps_and_taken_back(pipeline: Pipeline) -> None:
    jobs = pipeline.jobs(rollback="hello-world", rollback_to="1", retrain="hello-world")
    # One clone for all jobs: its emulator stands for Google Cloud, which is there for every job.
    cloud = pipeline.clone("cloud")
    local = {"EDGE_TARGET": "local"}
    command, environment = forked(BIN / "invoke", "init", environment=dict(os.environ))
    subprocess.run(command, env=environment, cwd=cloud, check=True, capture_output=True)

    # The first version is given all the requests.
    trained = pipeline.run(jobs["train"], cloud, **local)
    assert "committed the results to `main`" in trained["Commit dvc.lock and the metrics to main"]
    assert "Nothing serves yet" in trained["Compare it with what serves"]
    deployed = pipeline.run(jobs["deploy"], cloud, **local)
    assert "version 1 gets 100 % of the requests" in deployed["Give the new versions 10 % of the requests"]
    assert "has no new version" in deployed["Give them all the requests"]

    # A change was merged meanwhile.
    change(pipeline.clone("merged"))
    subprocess.run(["git", "pull", "--quiet", "origin", "main"], cwd=cloud, check=True)
    compared = pipeline.run(jobs["train"], cloud, **local)["Compare it with what serves"]
    assert re.search(r"^\| version \| 1 \| 2 \|", compared, re.MULTILINE)
    assert re.search(r"^\| score \| 0.75 \| 0.75 \| \+0 \|$", compared, re.MULTILINE)
    assert "| parameter strategy | most_frequent | prior | changed |" in compared
    assert (cloud / "comparison.md").read_text().strip() == compared.strip()
    log = subprocess.run(
        ["git", "log", "-1", "--format=%s", "--name-only", "main"], cwd=pipeline.origin, capture_output=True, text=True
    ).stdout.split("\n")
    assert log[0] == "Record what was trained [skip ci]"
    assert {"models/hello-world/dvc.lock", "models/hello-world/trained_model.json"} <= set(log)
    deployed = pipeline.run(jobs["deploy"], cloud, **local)
    assert "version 2 gets 10 % of the requests" in deployed["Give the new versions 10 % of the requests"]
    assert "answered 30 requests" in deployed["Try them"]
    assert "version 2 serves all the requests" in deployed["Give them all the requests"]

    # Nothing changed: nothing is trained, committed or deployed.
    trained = pipeline.run(jobs["train"], cloud, **local)
    assert "Version 2 serves already" in trained["Compare it with what serves"]
    assert "nothing to commit" in trained["Commit dvc.lock and the metrics to main"]

    back = pipeline.run(jobs["rollback"], cloud, **local)
    assert "version 1 serves all the requests" in back["Go back"]
    assert '"predictions"' in back["Ask for predictions"]

    # What a drift leads to: another version of the same, which waits as a canary.
    again = pipeline.run(jobs["retrain"], cloud, **local)
    assert "trained `hello-world` again" in again["Train on Vertex AI with new data, and push data and models"]
    assert "committed the results to `main`" in again["Commit dvc.lock and the metrics to main"]
    run_id = json.loads((cloud / "models/hello-world/trained_model.json").read_text())["run_id"]
    assert run_id in (cloud / "report.md").read_text()
    canary = pipeline.run(jobs["canary"], cloud, **local)
    assert "version 3 gets 10 % of the requests" in canary["Give the new version 10 % of the requests"]
    assert re.search(r"^\| version \| 1 \| 3 \|", canary["Compare it with what serves"], re.MULTILINE)
    promoted = pipeline.run(jobs["promote"], cloud, **local)
    assert "version 3 serves all the requests" in promoted["Give it all the requests"]
    # Nothing is kept of what is asked, so there is nothing to look at.
    looked = pipeline.run(jobs["monitor"], cloud, **local)
    assert "keeps nothing of what it is asked" in looked["Look at what the models are asked, and act on what has changed"]

    # Nothing was deployed for a time.
    ended = pipeline.run(jobs["undeploy"], cloud, **local)
    assert "nothing is to be taken off" in ended["Take off what has expired, and what nobody asks"]

    # What a failed trial runs. There is nothing to take off any more, which is not an error.
    (cancel,) = [step for step in jobs["deploy"].steps if step.on_failure]
    done = subprocess.run(
        ["bash", "-c", cancel.command], cwd=cloud, env={**os.environ, **local}, capture_output=True, text=True
    )
    assert "has no new version" in done.stderr
    assert set(jobs["train"].passed_on) == {"dvc.lock", "models", "report.md"}
