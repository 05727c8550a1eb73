"""edge.yaml: what is accepted, what is refused with which words, and what survives an edit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_tasks.domain.config import MODEL_NAME, check_model_name, default_serving_image, json_schema, lookup
from edge_tasks.errors import ConfigError
from edge_tasks.repo.edge_yaml import add_model, find_root, load_config

GOOD = """\
# our repository
target: local  # or gcp
google_cloud_project:
  project_id: my-project
  region: europe-west1
storage_bucket:
  bucket_name: my-bucket
models:
  digits:  # the first one
    endpoint_name: digits-endpoint
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "edge.yaml").write_text(GOOD, encoding="utf-8")
    return tmp_path


def problem(root: Path, text: str) -> tuple[str, str | None]:
    (root / "edge.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(root, {})
    return caught.value.problem, caught.value.hint


def test_defaults_fill_what_is_not_written(root: Path) -> None:
    config = load_config(root, {})
    assert config.storage_bucket.dvc_store_directory == "dvcstore"
    assert config.models["digits"].serving_machine_type == "n1-standard-2"
    assert config.serving_image(config.models["digits"]).startswith(
        "europe-docker.pkg.dev/vertex-ai/prediction/sklearn"
    )


def test_a_name_that_yaml_takes_for_a_number_is_told_with_how_it_is_written(root: Path) -> None:
    assert problem(root, f"{GOOD}  5:\n    endpoint_name: x\n") == (
        "`edge.yaml`: the key `models.5` must be a text",
        'write `"5":`',
    )


def test_the_variable_overrides_the_target(root: Path) -> None:
    assert load_config(root, {"EDGE_TARGET": "gcp"}).target == "gcp"
    with pytest.raises(ConfigError, match="EDGE_TARGET is `moon`"):
        load_config(root, {"EDGE_TARGET": "moon"})


def test_a_variable_overrides_the_kind_of_environments(root: Path) -> None:
    assert load_config(root, {}).local.environments == "shared"
    assert load_config(root, {"EDGE_LOCAL_ENVIRONMENTS": "isolated"}).local.environments == "isolated"
    with pytest.raises(ConfigError, match="EDGE_LOCAL_ENVIRONMENTS is `moon`"):
        load_config(root, {"EDGE_LOCAL_ENVIRONMENTS": "moon"})


@pytest.mark.parametrize(
    ("old", "new", "fact", "hint"),
    [
        ("target: local", "target: lokal", "`edge.yaml`: target is `lokal`", "use `local` or `gcp`"),
        ("region: europe-west1", "region: europe-wset1", "`europe-wset1` is not a Vertex AI region; did you mean `europe-west1`?", None),
        ("project_id: my-project", "project_id: My_Project", "`My_Project` is not a Google Cloud project id", None),
        ("bucket_name: my-bucket", "bucket_name: goog-data", "cannot start with `goog`", None),
        ("bucket_name: my-bucket", "bucket_name: 192.168.5.4", "looks like an IP address", None),
        ("bucket_name: my-bucket", "bucket_nam: my-bucket", "`edge.yaml`: the key `storage_bucket.bucket_nam` is unknown (and 1 more)", "did you mean `bucket_name`?"),
        ("target: local", "targte: local", "`edge.yaml`: the key `targte` is unknown", "did you mean `target`?"),
        ("endpoint_name: digits-endpoint", "endpoint_nmae: x\n    endpoint_name: y", "the key `models.digits.endpoint_nmae` is unknown", "did you mean `endpoint_name`?"),
        ("  digits:", "  Digits!:", "`Digits!` cannot be a model's name", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    min_replica_count: 0", "models.digits.min_replica_count is `0`", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    min_replica_count: 3", "max_replica_count is 1, less than", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    training_accelerator_type: T4", "training_accelerator_type: `T4` is not an accelerator type, such as NVIDIA_TESLA_T4", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    training_service_account: me", "training_service_account: `me` is not a service account", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    training_requirements: [pandas, ==]", "training_requirements.1: `==` is not a requirement of pip", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    labels: {edge-run: mine}", "`edge-run` is not a label's name", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    labels: {team: The A-Team}", "`The A-Team` is not a label's value", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    scale_to_zero: {idle: 4m}", "scale_to_zero.idle: `4m` is not a time from 5m to 8h", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    scale_to_zero: {up_for: soon}", "scale_to_zero.up_for: `soon` is not a length of time", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    monitoring: {schedule: daily}", "monitoring.schedule: `daily` is not a cron expression", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    monitoring: {schedule: TZ=UTC 0 6 * *}", "monitoring.schedule: `TZ=UTC 0 6 * *` is not a cron", None),
        ("models:", "models: [", "is not valid YAML", None),
        ("models:", "models: " + "[" * 500, "is not valid YAML: lists and mappings stand too deep in each other", None),
        ("target: local", "target: \0", "special characters are not allowed (line 2)", None),
        ("  digits:", "\tdigits:", "is not valid YAML: a tab, where only spaces may stand", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    max_replica_count: two", "max_replica_count is the text `two`; it must be a whole number", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    training_spot: 3", "training_spot is `3`; it must be `true` or `false`", None),
        ("endpoint_name: digits-endpoint", "endpoint_name: e\n    training_requirements: pandas", "training_requirements is the text `pandas`; it must be a list", "write `training_requirements: [pandas]`"),
        ("endpoint_name: digits-endpoint", "endpoint_name: 12", "endpoint_name is `12`; it must be a text", 'write `endpoint_name: "12"`'),
        ("endpoint_name: digits-endpoint", "- e", "models.digits is a list; it must be lines `NAME: VALUE`", "write each below `digits:`, further to the right; `invoke config.schema` lists what may stand there"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_key_and_value(
    root: Path, old: str, new: str, fact: str, hint: str | None
) -> None:
    assert old in GOOD
    found, found_hint = problem(root, GOOD.replace(old, new))
    assert fact in found
    if hint is not None:
        assert found_hint == hint


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_a_file_without_keys_is_refused(root: Path, text: str) -> None:
    assert "must hold keys and values" in problem(root, text)[0]


def test_bytes_that_are_no_text_are_refused(root: Path) -> None:
    (root / "edge.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(root, {})


@given(text=st.text(max_size=300))
def test_any_garbage_gives_a_config_error_or_a_config(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    (folder / "edge.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        load_config(folder, {})
    except ConfigError as error:
        assert error.problem


@pytest.mark.parametrize("written", ["mongodb://user:pa55word@host", "pa55word!", "../other/secrets/pa55word"])
def test_a_secret_is_not_accepted_where_its_name_belongs_nor_shown(root: Path, written: str) -> None:
    found, _ = problem(root, f"{GOOD}experiments:\n  mongo_uri_secret: {written}\n")
    assert "is not the name of a secret" in found
    assert "pa55word" not in found


@pytest.mark.parametrize(
    "written", ["mine @ git+https://ada:pa55word@host/mine.git", "git+https://ada:pa55word@host/x"]
)
def test_a_login_is_not_accepted_among_the_requirements_nor_shown(root: Path, written: str) -> None:
    found, _ = problem(root, f"{GOOD}    training_requirements: ['{written}']\n")
    assert "training_requirements" in found
    assert "https://***@host" in found
    assert "pa55word" not in found


def test_the_repository_is_found_from_below(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(root / "a" / "b")
    assert find_root() == root.resolve()


def test_a_folder_outside_any_repository_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no `edge\.yaml` in"):
        find_root(tmp_path)


def test_adding_a_model_keeps_comments_and_order(root: Path) -> None:
    add_model(root, "second", {"endpoint_name": "second-endpoint"})
    text = (root / "edge.yaml").read_text(encoding="utf-8")
    assert text == GOOD + "  second:\n    endpoint_name: second-endpoint\n"
    assert list(load_config(root, {}).models) == ["digits", "second"]


def test_adding_a_model_twice_changes_nothing(root: Path) -> None:
    with pytest.raises(ConfigError, match="already has a model `digits`"):
        add_model(root, "digits", {"endpoint_name": "other"})
    assert (root / "edge.yaml").read_text(encoding="utf-8") == GOOD


def test_the_only_model_needs_no_name(root: Path) -> None:
    assert load_config(root, {}).model(None)[0] == "digits"


def test_one_of_several_models_needs_a_name(root: Path) -> None:
    add_model(root, "second", {"endpoint_name": "second-endpoint"})
    config = load_config(root, {})
    with pytest.raises(ConfigError, match=r"several models: `digits`, `second`"):
        config.model(None)


def test_a_misspelt_model_is_answered_with_the_nearest(root: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(root, {}).model("digts")
    assert caught.value.hint == "did you mean `digits`?"


def test_lookup_gives_values_and_names_the_keys_that_there_are(root: Path) -> None:
    config = load_config(root, {})
    assert lookup(config, "google_cloud_project.region") == "europe-west1"
    with pytest.raises(ConfigError) as caught:
        lookup(config, "google_cloud_project.zone")
    assert caught.value.hint == "there are `project_id`, `region`"


@pytest.mark.parametrize(
    ("region", "prefix"), [("europe-north1", "europe"), ("asia-east1", "asia"), ("us-west1", "us"), ("me-west1", "us")]
)
def test_the_serving_image_comes_from_a_multi_region_that_exists(region: str, prefix: str) -> None:
    assert default_serving_image(region).startswith(f"{prefix}-docker.pkg.dev/")


@given(st.from_regex(MODEL_NAME, fullmatch=True))
def test_every_model_name_is_a_legal_label_and_model_id(name: str) -> None:
    assume(name not in ("no", "off", "on", "yes", "true", "false", "null"))
    check_model_name(name)
    assert len(f"{name}-12345678") <= 63
    assert name == name.lower()
    assert "/" not in name


def test_the_schema_describes_every_key(root: Path) -> None:
    schema = json_schema()
    names = {"target", "google_cloud_project", "storage_bucket", "experiments", "local", "models"}
    assert set(schema["properties"]) == names
    assert schema["additionalProperties"] is False
