"""Renaming and deleting a model; and what is said when somebody did a half of it by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge_tasks.cloud import model_registry, storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.progress import Silence
from edge_tasks.domain.serving_choice import ContainerSpec
from edge_tasks.domain.state import EdgeState
from edge_tasks.errors import ConfigError, EdgeError, TrainingError
from edge_tasks.jobs.run_script import check_script
from edge_tasks.models import report
from edge_tasks.models.overview import list_models
from edge_tasks.releases.plan import Options, Release
from edge_tasks.repo import edge_yaml, layout, model_folders
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.trained_model import TrainedModel, load_trained_model, save_trained_model
from edge_tasks.setup import doctor, model_deletion, model_rename
from edge_tasks.setup.checks import State
from tests.buckets import EDGE_YAML
from tests.repositories import copy

ROOT_STAGE = """\
# Every model.
stages:
  report:
    cmd: invoke model.report
    deps:
      - models/digits/metrics.json # the first
      - models/digits/trained_model.json
      - models/other/metrics.json
"""

TRAIN = 'ex = Experiment("digits")\n\n\n@ex.config\ndef cfg():\n    model_name = "digits"\n    other = "digits"\n'


@pytest.fixture
def models(root: Path) -> Iterator[Path]:
    """A repository with the model `digits`, as far as these tasks look at it."""
    (root / "edge.yaml").write_text(EDGE_YAML.replace("models:\n", "models:  # all of them\n"))
    (root / "dvc.yaml").write_text(ROOT_STAGE)
    folder = root / "models" / "digits"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "dvc.yaml").write_text("stages:\n  train:\n    deps:\n      - ../../.code/digits\n")
    (folder / "test_payload.json").write_text("{}")
    (root / "test_payload.json").symlink_to("models/digits/test_payload.json")
    yield root
    shutil.rmtree(root / "models")
    (root / "test_payload.json").unlink(missing_ok=True)
    (root / "edge.yaml").write_text(EDGE_YAML)


def endpoint_of(cloud: Cloud, name: str) -> None:
    StateStore(cloud).create()
    with StateStore(cloud).locked() as locked:
        locked.save(EdgeState().with_endpoint(name, "projects/p/locations/us-central1/endpoints/1"))


def rename(root: Path, cloud: Cloud) -> list[str]:
    return model_rename.rename_model(root, load_config(root, {}), cloud, "digits", "numbers", Silence(), 0.0)


def assert_renamed(root: Path, cloud: Cloud) -> None:
    assert list(load_config(root, {}).models) == ["numbers"]
    assert not (root / "models" / "digits").exists()
    text = (root / "models" / "numbers" / "train.py").read_text()
    assert text == TRAIN.replace('model_name = "digits"', 'model_name = "numbers"')
    assert ".code/numbers" in (root / "models" / "numbers" / "dvc.yaml").read_text()
    stage = (root / "dvc.yaml").read_text()
    assert stage == ROOT_STAGE.replace("models/digits", "models/numbers")
    assert (root / "test_payload.json").read_text() == "{}"
    state = StateStore(cloud).load()
    assert list(state.models) == ["numbers"]
    assert state.model("numbers").endpoint is not None
    assert state.model("numbers").former_names == ("digits",)


def test_a_rename_changes_every_place_and_tells_what_still_has_the_old_name(models: Path, cloud: Cloud) -> None:
    endpoint_of(cloud, "digits")
    assert rename(models, cloud) == ["models/numbers/train.py"]
    assert_renamed(models, cloud)
    text = (models / "edge.yaml").read_text()
    assert "models:  # all of them\n" in text
    # The endpoint is there, under its own name.
    assert load_config(models, {}).models["numbers"].endpoint_name == "digits-endpoint"


def test_a_model_without_an_endpoint_gets_the_new_name_for_it(models: Path, cloud: Cloud) -> None:
    StateStore(cloud).create()
    rename(models, cloud)
    assert load_config(models, {}).models["numbers"].endpoint_name == "numbers-endpoint"


@pytest.mark.parametrize(
    "step",
    [
        (Path, "rename"),
        (model_rename, "_rename_inside"),
        (model_rename, "rename_model_in_report"),
        (model_rename, "_lead_payload"),
        (edge_yaml, "rename_model"),
    ],
    ids=lambda step: step[1],
)
def test_a_rename_that_was_cut_off_is_finished_by_the_same_command(
    models: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, step: tuple[object, str]
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    endpoint_of(cloud, "digits")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*step, cut_off)
        rename(models, cloud)
    rename(models, cloud)
    assert_renamed(models, cloud)


def test_a_rename_to_what_is_there_changes_nothing(models: Path, cloud: Cloud) -> None:
    (models / "models" / "numbers").mkdir()
    with pytest.raises(ConfigError, match="there is a model `numbers` already"):
        rename(models, cloud)
    with pytest.raises(ConfigError, match="has no model `digit`"):
        model_rename.rename_model(models, load_config(models, {}), cloud, "digit", "xx", Silence(), 0.0)
    assert (models / "models" / "digits").is_dir()


def delete(root: Path, cloud: Cloud, name: str = "digits", **options: bool) -> list[str]:
    release = Release(cloud, load_config(root, {}), root, name, Silence(), Options(**options))
    return model_deletion.delete_model(release)


def assert_deleted(root: Path) -> None:
    assert load_config(root, {}).models == {}
    assert not (root / "models" / "digits").exists()
    assert not (root / "test_payload.json").is_symlink()
    assert report.reported_models(root) == ["other"]


def test_a_dvc_yaml_that_cannot_be_read_is_told_before_anything_is_changed(models: Path, cloud: Cloud) -> None:
    (models / "dvc.yaml").write_text(ROOT_STAGE + "\tdeps: [\n")
    told = "`dvc.yaml` is not valid YAML: a tab, where only spaces may stand (line 9, column 1)"
    for change in (
        lambda: rename(models, cloud),
        lambda: model_deletion.check(models, load_config(models), "digits"),
        lambda: report.add_model_to_report(models, "new"),
    ):
        with pytest.raises(ConfigError) as caught:
            change()
        assert (caught.value.problem, caught.value.hint) == (told, "fix `dvc.yaml`, or git checkout dvc.yaml")
    assert (models / "models" / "digits").is_dir()


def test_doctor_names_a_pipeline_whose_stage_does_not_bring_data_into_a_job(models: Path) -> None:
    pipeline = models / "models/digits/dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("train:", "learn:"))
    found = {result.check: result for result in doctor.examine_repository(models)}["digits: training code"]
    assert found.state == State.WARNING
    assert found.fact == "models/digits/dvc.yaml has no stage `train`, by whose deps data get into a job"


def test_the_list_of_models_says_as_what_a_renamed_one_was_trained_and_no_version_of_another_registry(
    models: Path, cloud: Cloud
) -> None:
    storage.upload(cloud, b"model", "m/model.joblib")
    container = ContainerSpec("us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest")
    operation = model_registry.start_upload(
        cloud,
        model_id="digits",
        display_name="digits",
        artifact_uri="gs://my-bucket/m",
        container=container,
        labels={layout.RUN_LABEL: "r"},
    )
    made = model_registry.finish_upload(cloud, operation, "digits").versioned_name
    then = datetime(2026, 1, 2, tzinfo=timezone.utc)
    # A colleague's registry has a version 1, too, which is another run's.
    for version, run, shown in ((made, "r", "1"), (made, "other", "no"), (made.replace("@1", "@7"), "r", "no")):
        trained = TrainedModel(
            model_name="digits", run_id=run, target="local", trained_at=then, artifact_sha256="0" * 64, model=version
        )
        save_trained_model(models / "models/digits", trained)
        (listed,) = list_models(models, load_config(models), cloud)
        assert listed.row()[:4] == ["digits", "2026-01-02 00:00", "", shown]
    StateStore(cloud).create()
    rename(models, cloud)
    (listed,) = list_models(models, load_config(models), cloud)
    assert listed.row()[:4] == ["numbers", "as digits", "", "no"]
    assert listed.note == (
        "`numbers` was trained as `digits`, before it was renamed; "
        "dvc repro models/numbers/dvc.yaml trains it under its new name"
    )


def test_doctor_names_a_script_that_is_missing_or_not_python(models: Path) -> None:
    def found() -> tuple[State, str]:
        result = {each.check: each for each in doctor.examine_repository(models)}["digits: training code"]
        return result.state, result.fact

    script = models / "models/digits/train.py"
    for text, told in (
        (b"if 1:\n\tx\n        y\n", "inconsistent use of tabs and spaces in indentation (line 3)"),
        (b"x = '\xff'\n", "(unicode error) 'utf-8' codec can't decode byte 0xff"),
        (b"x = (\n", "'(' was never closed (line 1)"),
    ):
        script.write_bytes(text)
        state, fact = found()
        assert state == State.BROKEN
        assert fact.startswith(f"models/digits/train.py is not Python: {told}")
    for nothing in (b"", b'"""Trains."""\nimport sacred\n\n\ndef run():\n    return 1\n'):
        script.write_bytes(nothing)
        state, fact = found()
        assert state == State.BROKEN
        assert fact.startswith("models/digits/train.py trains nothing")
    script.unlink()
    assert found() == (State.BROKEN, "there is no models/digits/train.py, which dvc.yaml has a stage for")
    (models / "models/digits/dvc.yaml").unlink()
    assert found() == (State.OK, "there is no train.py")


@pytest.mark.parametrize("there", ["a file", "a loop", "a link to nowhere", "a folder for a file", "unreadable"])
def test_a_model_whose_folder_cannot_be_read_does_not_hide_the_others(models: Path, cloud: Cloud, there: str) -> None:
    for name in ("one", "two"):
        (models / "models" / name).mkdir(exist_ok=True)
        then = datetime(2026, 1, 2, tzinfo=timezone.utc)
        trained = TrainedModel(
            model_name=name, run_id="r", target="local", trained_at=then, artifact_sha256="0" * 64,
            metrics={"score": 0.5, "deep": {"a": 1}, "kind": "good"},
        )  # fmt: skip
        save_trained_model(models / "models" / name, trained)
    folder = models / "models/one"
    if there == "a folder for a file":
        (folder / "trained_model.json").unlink()
        (folder / "trained_model.json").mkdir()
    elif there == "unreadable":
        text = (folder / "trained_model.json").read_text()
        (folder / "trained_model.json").write_text(text.replace('"model": null', '"model": "nonsense"'))
    else:
        shutil.rmtree(folder)
        if there == "a file":
            folder.write_text("")
        else:
            folder.symlink_to("one" if there == "a loop" else "nowhere")
    entries = "".join(f"\n  {name}: {{endpoint_name: {name}-endpoint}}" for name in ("one", "two"))
    (models / "edge.yaml").write_text(f"{EDGE_YAML.partition('models:')[0]}models:{entries}\n")
    with pytest.raises(
        TrainingError, match=r"no folder models/one|cannot be read: Is a dir|broken at `model`"
    ) as caught:
        load_trained_model(folder, "one")
    assert caught.value.hint
    config = load_config(models)
    StateStore(cloud).create()
    rows = {row[0]: row[2] for row in (found.row() for found in list_models(models, config, cloud))}
    assert rows == {"one": "", "two": "score 0.5"}
    assert "## two" in report.report(models, config)
    found = {result.check: result for result in doctor.examine_repository(models)}
    broken = found["models" if folder.is_symlink() or folder.is_file() else "one: artifact"]
    assert broken.state.value == "broken"
    assert found["two: artifact"].state.value == "ok"


def test_a_deletion_takes_a_model_out_of_every_place_but_only_tells_so_in_a_dry_run(models: Path, cloud: Cloud) -> None:
    StateStore(cloud).create()
    delete(models, cloud, dry_run=True)
    assert list(load_config(models, {}).models) == ["digits"]
    delete(models, cloud)
    assert_deleted(models)


@pytest.mark.parametrize(
    "step", [(model_deletion, "remove_model_from_report"), (shutil, "rmtree"), (edge_yaml, "remove_model")], ids=str
)
def test_a_deletion_that_was_cut_off_is_finished_by_the_same_command(
    models: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, step: tuple[object, str]
) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    StateStore(cloud).create()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*step, cut_off)
        delete(models, cloud)
    delete(models, cloud)
    assert_deleted(models)


@pytest.mark.parametrize(
    "by_hand",
    [
        lambda root: shutil.rmtree(root / "models" / "digits"),
        lambda root: edge_yaml.remove_model(root, "digits"),
        lambda root: report.remove_model_from_report(root, "digits"),
    ],
    ids=["folder", "edge.yaml", "dvc.yaml"],
)
def test_what_was_deleted_by_hand_in_part_can_be_deleted_whole(
    models: Path, cloud: Cloud, by_hand: Callable[[Path], None]
) -> None:
    StateStore(cloud).create()
    by_hand(models)
    delete(models, cloud)
    assert_deleted_but_for_the_link(models)


def assert_deleted_but_for_the_link(root: Path) -> None:
    assert load_config(root, {}).models == {}
    assert not (root / "models" / "digits").exists()
    assert report.reported_models(root) == ["other"]


def test_what_is_not_there_at_all_cannot_be_deleted(models: Path, cloud: Cloud) -> None:
    for name in ("numbers", "..", "a/b"):
        with pytest.raises(EdgeError, match=name.replace(".", r"\.")):
            delete(models, cloud, name)


def test_half_of_a_rename_by_hand_is_told_with_the_command_that_finishes_it(models: Path) -> None:
    config = load_config(models, {})
    (models / "models" / "digits").rename(models / "models" / "digits2")
    with pytest.raises(ConfigError, match="there is no folder models/digits") as refusal:
        model_folders.check_folder(models, config, "digits")
    assert "invoke model.rename digits digits2" in str(refusal.value.hint)
    with pytest.raises(TrainingError, match=r"models/digits2/train\.py says that it trains `digits`") as of_the_script:
        check_script(models, models / "models" / "digits2" / "train.py", "digits")
    assert of_the_script.value.hint == "invoke model.rename digits digits2"
    check_script(models, models / "train.py", "digits")


def change_edge_yaml(root: Path) -> None:
    (root / "edge.yaml").write_text((root / "edge.yaml").read_text().replace("  digits:", "  numbers:"))


def move_the_folder(root: Path) -> None:
    (root / "models" / "digits").rename(root / "models" / "numbers")


def test_a_new_name_in_edge_yaml_alone_is_told_and_taken_for_what_is_meant(models: Path, cloud: Cloud) -> None:
    endpoint_of(cloud, "digits")
    change_edge_yaml(models)
    config = load_config(models, {})
    with pytest.raises(ConfigError, match="there is no folder models/numbers") as of_the_name:
        model_folders.check_folder(models, config, "numbers")
    with pytest.raises(ConfigError, match="does not name the model `digits`") as of_the_folder:
        model_folders.check_named(models, config, "digits")
    for refusal in (of_the_name, of_the_folder):
        assert "invoke model.rename digits numbers; else" in str(refusal.value.hint)
    rename(models, cloud)
    assert_renamed(models, cloud)


def test_a_rename_by_hand_that_forgot_what_is_in_the_folder_is_told_and_finished(models: Path, cloud: Cloud) -> None:
    StateStore(cloud).create()
    change_edge_yaml(models)
    move_the_folder(models)
    with pytest.raises(ConfigError, match="the files in models/numbers name the model `digits`") as refusal:
        model_folders.check_inside(models, "numbers")
    assert refusal.value.hint == "invoke model.rename digits numbers"
    assert {one.check: one for one in doctor.examine_repository(models)}["models"].fix == refusal.value.hint
    rename(models, cloud)
    model_folders.check_inside(models, "numbers")
    assert load_config(models, {}).models["numbers"].endpoint_name == "numbers-endpoint"
    with pytest.raises(ConfigError, match="has no model `digits`"):  # there is nothing left to do
        rename(models, cloud)


def test_doctor_names_a_file_that_hides_a_library(models: Path) -> None:
    for name in ("sklearn", "random"):
        hiding = models / "models" / "digits" / f"{name}.py"
        hiding.write_text("")
        found = {one.check: one for one in doctor.examine_repository(models)}["digits: training code"]
        assert found.fact.startswith(f"models/digits/{name}.py hides the library `{name}`")
        hiding.unlink()


def test_a_folder_that_was_copied_is_told_as_that(models: Path) -> None:
    copied = models / "models" / "numbers"
    shutil.copytree(models / "models" / "digits", copied)
    with pytest.raises(TrainingError) as refusal:
        check_script(models, copied / "train.py", "digits")
    assert refusal.value.hint == "write `numbers` for it in train.py and dvc.yaml"
    (copied / "train.py").write_text(TRAIN.replace('model_name = "digits"', 'model_name = "numbers"'))
    assert model_folders.named_in(copied) == "digits"  # dvc.yaml does still
    with pytest.raises(ConfigError) as unknown:
        model_folders.check_named(models, load_config(models, {}), "numbers")
    assert "add it under `models` in edge.yaml" in str(unknown.value.hint)


def test_a_model_is_renamed_and_deleted_where_nobody_wants_a_report_and_files_are_in_another_encoding(
    models: Path, cloud: Cloud
) -> None:
    (models / "dvc.yaml").unlink()
    (models / "models" / "digits" / "old.py").write_bytes("# für digits".encode("latin-1"))
    StateStore(cloud).create()
    rename(models, cloud)
    assert (models / "models" / "numbers" / "train.py").is_file()
    delete(models, cloud, "numbers")
    assert load_config(models, {}).models == {}


def test_a_folder_that_is_gone_is_told_and_what_takes_it_out(models: Path) -> None:
    shutil.rmtree(models / "models" / "digits")
    (models / "models").mkdir(exist_ok=True)
    found = {result.check: result for result in doctor.examine_repository(models)}
    assert found["models"].state is State.BROKEN
    assert "invoke model.delete digits" in found["models"].fix
    with pytest.raises(EdgeError, match="there is no folder models/digits"):
        load_trained_model(models / "models" / "digits", "digits")


def test_doctor_tells_what_one_place_alone_names(models: Path) -> None:
    def models_check() -> str:
        result = next(one for one in doctor.examine_repository(models) if one.check == "models")
        return f"{result.state.value}: {result.fact}: {result.fix}"

    assert models_check() == (
        "broken: dvc.yaml's stage report depends on `other`, which edge.yaml does not name: invoke model.delete other"
    )
    report.remove_model_from_report(models, "other")
    (models / "dvc.yaml").write_text(
        (models / "dvc.yaml").read_text().replace("      - models/other/metrics.json\n", "")
    )
    assert models_check() == "ok: edge.yaml, dvc.yaml and folders agree: digits: "
    shutil.copytree(models / "models" / "digits", models / "models" / "lonely")
    assert models_check().startswith("warning: edge.yaml does not name models/lonely: ")


@pytest.mark.slow
def test_a_renamed_model_serves_on_trains_again_and_is_deleted_with_all_its_versions(
    baked: dict[str, Path], tmp_path: Path
) -> None:
    repository = copy(baked["hello-world"], tmp_path)
    try:
        repository.run("invoke", "init")
        repository.run("dvc", "repro", "--quiet", "models/hello-world/dvc.yaml")
        repository.run("invoke", "model.deploy")
        endpoint = repository.run("invoke", "model.get-endpoint").stdout
        said = repository.run("invoke", "model.rename", "hello-world", "greeter").stderr
        assert "now train it: dvc repro models/greeter/dvc.yaml" in said
        assert repository.run("invoke", "model.get-endpoint").stdout == endpoint
        assert "predictions" in repository.run("./test_endpoint.sh").stdout
        problem, hint = repository.fails("invoke", "model.deploy")
        assert "tells of the model `hello-world`, not of `greeter`" in problem
        assert hint == "dvc repro models/greeter/dvc.yaml"
        repository.run("dvc", "repro", "--quiet")
        repository.run("invoke", "model.deploy")
        assert repository.run("invoke", "model.get-endpoint").stdout == endpoint
        told = repository.run("invoke", "teardown", "--dry-run").stderr
        assert "hello-world-" in told
        assert "greeter-" in told
        assert repository.fails("invoke", "model.delete", "greeter")[1].startswith("add `--yes`")
        repository.run("invoke", "model.delete", "greeter", "--yes")
        assert "nothing to remove" in repository.run("invoke", "teardown", "--dry-run").stderr
        assert not (repository.root / "models" / "greeter").exists()
    finally:
        repository.run("invoke", "local.stop", check=False)
