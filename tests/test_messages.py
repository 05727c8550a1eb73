"""Messages that once led nowhere: each names the slip, and its hint is the command that helps."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api_core import exceptions as api
from requests import ConnectionError as RequestsConnectionError

from edge_tasks.cloud.client import sdk_errors
from edge_tasks.errors import CloudError, ConfigError, DataError, EdgeError, GitError, NoAnswerError, NotFoundError
from edge_tasks.explanations import code_of
from edge_tasks.jobs import run_script
from edge_tasks.jobs.csv_instances import check_words_are_quoted
from edge_tasks.releases import branch_comparison
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.tune_yaml import read_ranges
from edge_tasks.setup import doctor
from edge_tasks.setup.requirements import unfulfilled
from edge_tasks.tools import dvc
from tests.repositories import Repository, copy

EDGE_YAML = """
google_cloud_project: {project_id: my-project, region: europe-west1}
storage_bucket: {bucket_name: my-bucket}
"""


@pytest.fixture(scope="module")
def repository(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """One initialised repository with nothing trained; tests leave it as they found it."""
    repository = copy(baked["hello-world"], tmp_path_factory.mktemp("messages"))
    repository.run("invoke", "init")
    yield repository
    repository.run("invoke", "local.stop", check=False)


def problem_of(folder: Path, text: str) -> tuple[str, str | None]:
    (folder / "edge.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(folder, {})
    return caught.value.problem, caught.value.hint


# --- edge.yaml, tune.yaml, parameters -------------------------------------------------------------------------------


def test_a_misspelt_key_is_named_before_the_one_that_is_missing_for_it(tmp_path: Path) -> None:
    assert problem_of(tmp_path, EDGE_YAML.replace("project_id", "projectid")) == (
        "`edge.yaml`: the key `google_cloud_project.projectid` is unknown (and 1 more)",
        "did you mean `project_id`?",
    )


def test_a_key_without_a_value_is_told_as_that(tmp_path: Path) -> None:
    assert problem_of(tmp_path, EDGE_YAML.replace("my-bucket", "")) == (
        "`edge.yaml`: the key `storage_bucket.bucket_name` has no value",
        "write one behind `bucket_name:`",
    )


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (100, "n: {min: 50, max: 200}"),
        (0, "n: {min: 0, max: 10}"),
        (-3, "n: {min: -6, max: -2}"),
        (0.5, "n: {min: 0.05, max: 5, scale: log}"),
        (-0.5, "n: {min: -1.5, max: 0.5}"),
    ],
)
def test_the_range_that_is_suggested_is_of_the_parameter_s_type(tmp_path: Path, value: float, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_ranges(tmp_path, {"is_vertex": True, "n": value})
    assert str(caught.value.hint).endswith(f"parameters:\n  {line}")
    (tmp_path / "tune.yaml").write_text(str(caught.value.hint).partition("\n\n")[2])
    read_ranges(tmp_path, {"n": value})


@pytest.mark.slow
def test_an_unknown_parameter_is_named_with_those_that_there_are(repository: Repository) -> None:
    train = ("python", "models/hello-world/train.py", "with", "is_vertex=False")
    expected = (
        "train.py has no parameter `stratgey`; it has `is_vertex`, `strategy`",
        "did you mean `strategy`?",
    )
    assert repository.fails(*train, "stratgey=uniform") == expected
    assert repository.fails("invoke", "model.train", "--local", "--set", "stratgey=uniform") == expected
    assert repository.fails(*train, "foo=3")[1] == "add it to @ex.config, or leave it out"
    # A text is true: it would be a job.
    assert repository.fails(*train[:-1], "is_vertex=false")[0] == (
        "`is_vertex` is the text `false`, neither True nor False"
    )
    assert repository.fails(*train[:2], "is_vertex=False")[0] == "`is_vertex=False` stands without `with` before it"


def test_what_a_model_without_numbers_could_search_is_a_word_of_its_own_and_its_own_metric(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"score": 0.75}')
    with pytest.raises(ConfigError) as caught:
        read_ranges(tmp_path, {"is_vertex": True, "strategy": "prior"})
    lines = "metric: score\ngoal: maximize\nparameters:\n  strategy: {values: [prior, OTHER]}"
    assert str(caught.value.hint).endswith(lines)


def test_a_comparison_in_which_nothing_changed_is_no_table_without_rows() -> None:
    head = "| Path | Metric | main |\n|---|---|---|\n"
    assert branch_comparison._rows(f"\n{head}") == ""
    assert branch_comparison._rows(f"{head}| a | b | 1 |\n") == f"{head}| a | b | 1 |"


# --- git and DVC ----------------------------------------------------------------------------------------------------


@pytest.fixture
def without_git(tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "edge.yaml").write_text(EDGE_YAML)
    return tmp_path


def test_where_git_is_missing_dvc_says_so_and_how_to_begin(without_git: Path) -> None:
    with pytest.raises(GitError) as caught:
        dvc.tracked_paths(without_git)
    assert caught.value.problem == f"`{without_git}` is not in a git repository, which DVC needs"
    assert code_of(caught.value.problem) == "E105"
    assert caught.value.hint == "git init && git add . && git commit -m Start"


def test_where_nothing_answers_the_error_has_its_code() -> None:
    with pytest.raises(NoAnswerError) as caught, sdk_errors("read the shared state"):
        raise RequestsConnectionError("Name or service not known")
    assert "no answer from" in caught.value.problem
    assert code_of(caught.value.problem) == "E503"
    with pytest.raises(NoAnswerError) as caught, sdk_errors("read the shared state"):
        raise api.RetryError("timeout", None)
    assert "no answer for 20 s" in caught.value.problem
    assert code_of(caught.value.problem) == "E503"


def test_what_quota_refuses_is_told_with_where_to_get_more() -> None:
    with pytest.raises(CloudError) as caught, sdk_errors("deploy `digits`"):
        raise api.ResourceExhausted("The following quota metrics exceed quota limits: x.com/custom_model_serving_cpus")
    assert caught.value.problem.endswith("exceed quota limits: x.com/custom_model_serving_cpus")
    assert "iam-admin/quotas" in str(caught.value.hint)


def test_for_the_doctor_a_folder_without_git_is_broken(without_git: Path) -> None:
    found = {result.check: result for result in doctor.examine_repository(without_git)}
    assert found["git"].state.value == "broken"
    assert found["git"].fix == "git init && git add . && git commit -m Start"


def test_a_comparison_tells_that_the_branch_is_behind_main(tmp_path: Path) -> None:
    """CircleCI checks a branch out as it was pushed: what main has got since looks as if the branch undid it."""
    root, name = tmp_path / "here", ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    root.mkdir()

    def git(*arguments: str, cwd: Path = root) -> None:
        subprocess.run(["git", *name, *arguments], cwd=cwd, check=True, capture_output=True)

    git("init", "--quiet", "--initial-branch", "main")
    git("commit", "--allow-empty", "--message", "Start")
    git("branch", "topic")
    assert branch_comparison._moved_on(root, "main", "refs/heads/main") == ""
    git("commit", "--allow-empty", "--message", "Meanwhile")
    git("switch", "--quiet", "topic")
    assert branch_comparison._moved_on(root, "main", "refs/heads/main").strip() == (
        "`main` has 1 commit that is not here, so what changed there looks undone: `git merge main`"
    )
    # Where the histories do not meet, as with depth 1, nobody knows.
    git(
        "clone",
        "--quiet",
        "--depth",
        "1",
        "--branch",
        "topic",
        f"file://{root}",
        str(tmp_path / "shallow"),
        cwd=tmp_path,
    )
    git("fetch", "--depth", "1", "origin", "main:refs/remotes/origin/main", cwd=tmp_path / "shallow")
    assert branch_comparison._moved_on(tmp_path / "shallow", "main", "refs/remotes/origin/main") == ""


@pytest.mark.slow
def test_the_branch_or_commit_that_is_compared_with_is_called_by_its_name(repository: Repository) -> None:
    git = ("git", "-C", str(repository.root))
    branch = subprocess.run([*git, "branch", "--show-current"], capture_output=True, text=True, check=True).stdout
    (repository.root / "models/hello-world/metrics.json").write_text('{"score": 0.5}')
    try:
        text, of_commit = (branch_comparison.compare(repository.root, base) for base in (branch.strip(), "HEAD"))
    finally:
        (repository.root / "models/hello-world/metrics.json").unlink()
    assert "score" in text
    assert "refs/" not in text
    assert of_commit.startswith("## Metrics, against HEAD\n")
    assert "score" in of_commit


# --- what is installed ----------------------------------------------------------------------------------------------


def test_a_package_that_had_the_sdk_downgraded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unfulfilled() == []
    for name, version, wants in (
        ("google-cloud-aiplatform", "1.71.0", ""),
        ("google-cloud-pipeline-components", "2.20.0", "Requires-Dist: google-cloud-aiplatform<2,>=1.14"),
    ):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wants}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "edge.yaml").write_text(EDGE_YAML)
    found = {result.check: result for result in doctor.examine_repository(tmp_path)}["packages"]
    assert found.state.value == "broken"
    assert found.fact == (
        "google-cloud-aiplatform 1.71.0 is installed, vertex-edge needs <3,>=2.7; "
        "google-cloud-pipeline-components 2.20.0 asked for it"
    )
    assert found.fix == (
        "pip install 'google-cloud-aiplatform<3,>=2.7', "
        "and google-cloud-pipeline-components 2.20.0 in an environment by itself"
    )


# --- Google's answers -----------------------------------------------------------------------------------------------


def test_a_bucket_that_went_away_leads_to_init_and_no_json_is_shown() -> None:
    answer = '{"error":{"code":404,"message":"The specified bucket does not exist.","errors":[]}}: (...)'
    with pytest.raises(NotFoundError) as caught, sdk_errors("lock the shared state"):
        raise api.NotFound(answer)
    assert (caught.value.problem, caught.value.hint) == (
        "cannot lock the shared state: the bucket of edge.yaml does not exist",
        "invoke init",
    )
    named = "GET http://127.0.0.1:1/storage/v1/b/my-bucket/o/x?alt=media: The specified bucket does not exist."
    with pytest.raises(NotFoundError, match="the bucket `my-bucket` does not exist"), sdk_errors("read it"):
        raise api.NotFound(named)
    assert code_of("the bucket `my-bucket` does not exist") == code_of(caught.value.problem) == "E107"
    with pytest.raises(EdgeError) as other, sdk_errors("read it"):
        raise api.BadRequest('{"error":{"code":400,"message":"Say \\"please\\".","errors":[]}}: (...)')
    assert other.value.problem == 'cannot read it: Say "please".'


@pytest.mark.parametrize(
    "words",
    [
        "Service agents are being provisioned (https://cloud.google.com/...). So please try again in a few minutes.",
        "Service account service-4242@gcp-sa-aiplatform.iam.gserviceaccount.com does not exist.",
    ],
)
def test_a_service_agent_that_google_has_not_made_yet_is_a_matter_of_minutes(words: str) -> None:
    with pytest.raises(EdgeError) as caught, sdk_errors("submit the job"):
        raise api.FailedPrecondition(words)
    assert "try again in a few minutes; gcloud beta services identity create" in str(caught.value.hint)
    with pytest.raises(EdgeError) as other, sdk_errors("submit the job"):
        raise api.FailedPrecondition("The machine is not there.")
    assert other.value.hint is None


# --- data, jobs -----------------------------------------------------------------------------------------------------


def test_a_word_without_quotation_marks_is_found_before_a_job_is_paid_for(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text('age,region\n31,"north"\n32,west\n')
    with pytest.raises(DataError) as caught:
        check_words_are_quoted(path)
    assert caught.value.problem.startswith(f"`{path}`, line 3: `west` is a word without quotation marks")
    assert "csv.QUOTE_NONNUMERIC" in str(caught.value.hint)
    path.write_text('age,region\n31,"north"\n,"west"\n1e3,"a\nb"\n')
    check_words_are_quoted(path)


def test_the_exit_status_after_ctrl_c_is_130() -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 0.3; kill -INT $PPID; sleep 0.1; exit 1"])
    assert run_script._wait(child) == 130
    assert run_script._wait(subprocess.Popen(["sh", "-c", "exit 3"])) == 3
