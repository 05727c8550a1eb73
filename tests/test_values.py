"""Pure values: the state, provenance, payloads, and files that are whole or not there."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tasks.domain.provenance import Commit, Provenance, data_version, new_run_id
from edge_tasks.domain.state import KEPT_DEPLOYMENTS, Deployment, EdgeState, dump_state, parse_state
from edge_tasks.errors import StateError, TrainingError
from edge_tasks.repo.files import folder_sha256, replace_folder, write_atomically
from edge_tasks.repo.layout import registry_model_id, run_labels
from edge_tasks.repo.payloads import PayloadError, read_payload
from edge_tasks.repo.trained_model import TrainedModel, find_trained_model, load_trained_model, save_trained_model

NOW = datetime(2026, 11, 22, 20, 46, 55, tzinfo=timezone.utc)


def deployment(version: int) -> Deployment:
    return Deployment(
        model=f"projects/p/locations/l/models/m@{version}",
        deployed_model_id=str(version),
        deployed_at=NOW,
        deployed_by="ada",
        data={"data/a": "1" * 32},
    )


class TestState:
    def test_it_survives_being_written_and_read(self) -> None:
        state = EdgeState().with_endpoint("m", "projects/p/locations/l/endpoints/1").with_deployment("m", deployment(1))
        assert parse_state(dump_state(state)) == state

    def test_a_deployment_is_remembered_after_it_was_replaced_and_undeployed(self) -> None:
        state = EdgeState().with_deployment("m", deployment(1)).with_deployment("m", deployment(2))
        assert state.without_deployment("m").model("m").deployed is None
        assert [item.version for item in state.without_deployment("m").model("m").history] == ["1", "2"]

    def test_the_oldest_deployments_are_forgotten_and_the_last_can_be_gone_back_to(self) -> None:
        state = EdgeState()
        for version in range(1, KEPT_DEPLOYMENTS + 11):
            state = state.with_deployment("m", deployment(version))
        model = state.model("m")
        assert len(model.history) == KEPT_DEPLOYMENTS
        assert (model.served("10"), model.served("11")) == (None, deployment(11))
        assert model.before(str(KEPT_DEPLOYMENTS + 10)) == deployment(KEPT_DEPLOYMENTS + 9)
        assert parse_state(dump_state(state)) == state

    def test_changes_leave_the_old_value_as_it_was(self) -> None:
        state = EdgeState()
        state.with_endpoint("m", "e")
        assert state.models == {}

    def test_a_removed_model_leaves_the_others(self) -> None:
        state = EdgeState().with_endpoint("a", "1").with_endpoint("b", "2").without_model("a")
        assert set(state.models) == {"b"}

    def test_a_newer_format_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(StateError) as caught:
            parse_state("format_version: 2\n")
        assert "has format 2" in caught.value.problem
        assert caught.value.hint == "git pull, then pip install -r requirements.txt"

    @given(st.text(max_size=200))
    def test_garbage_is_a_state_error(self, text: str) -> None:
        try:
            parse_state(text)
        except StateError as error:
            assert "broken" in error.problem or "has format" in error.problem


class TestProvenance:
    def test_run_ids_sort_by_time_and_differ(self) -> None:
        ids = [new_run_id(NOW.replace(second=second)) for second in range(10)]
        assert ids == sorted(ids)
        assert len({new_run_id(NOW) for _ in range(1000)}) == 1000

    @given(
        name=st.from_regex(r"[a-z][a-z0-9-]{0,48}[a-z0-9]", fullmatch=True),
        sha=st.text(max_size=60),
        data=st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=3),
    )
    def test_labels_keep_to_what_google_allows(self, name: str, sha: str, data: dict[str, str]) -> None:
        made_from = Provenance.of_checkout(new_run_id(NOW), Commit(sha, dirty=True), data=data)
        for key, value in run_labels(name, made_from).items():
            assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
            assert re.fullmatch(r"[a-z0-9_-]{1,63}", value)

    def test_the_data_version_changes_with_any_hash_and_not_with_the_order(self) -> None:
        assert data_version({"a": "1", "b": "2"}) == data_version({"b": "2", "a": "1"})
        assert data_version({"a": "1", "b": "2"}) != data_version({"a": "1", "b": "3"})
        assert data_version({}) == ""

    def test_two_repositories_never_share_a_model_in_the_registry(self) -> None:
        assert registry_model_id("bucket-a", "digits") != registry_model_id("bucket-b", "digits")
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", registry_model_id("b", "d" * 50))


class TestFiles:
    def test_a_file_is_replaced_with_its_mode_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"old")
        path.chmod(0o755)
        write_atomically(path, b"new")
        assert path.read_bytes() == b"new"
        assert path.stat().st_mode & 0o777 == 0o755
        assert [file.name for file in tmp_path.iterdir()] == ["f"]

    def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"old")
        with pytest.raises(TypeError):
            write_atomically(path, "not bytes")  # type: ignore[arg-type]
        assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("f", b"old")]

    def test_a_folder_takes_the_place_of_another(self, tmp_path: Path) -> None:
        for name in ("new", "old"):
            (tmp_path / name).mkdir()
            (tmp_path / name / name).write_bytes(b"")
        replace_folder(tmp_path / "new", tmp_path / "old")
        assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["old", "old/new"]

    def test_a_missing_folder_does_not_cost_the_old_one(self, tmp_path: Path) -> None:
        (tmp_path / "old").mkdir()
        with pytest.raises(FileNotFoundError):
            replace_folder(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "old").is_dir()

    def test_the_hash_of_a_folder_sees_names_and_contents(self, tmp_path: Path) -> None:
        seen = set()
        for name, content in (("a", b"1"), ("b", b"1"), ("a", b"2")):
            folder = tmp_path / f"{name}{content.decode()}"
            folder.mkdir()
            (folder / name).write_bytes(content)
            seen.add(folder_sha256(folder))
        assert len(seen) == 3


class TestPayload:
    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"instances": []}', '{"instances": 3}', "\xff"])
    def test_what_is_no_payload_is_refused(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "p.json"
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(PayloadError):
            read_payload(path)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(PayloadError, match=r"nowhere\.json` cannot be read: No such file"):
            read_payload(tmp_path / "nowhere.json")

    def test_one_that_an_endpoint_would_refuse_is_refused_first(self, tmp_path: Path) -> None:
        path = tmp_path / "p.json"
        path.write_text(json.dumps({"instances": ["x" * 1_600_000]}))
        with pytest.raises(PayloadError, match="an endpoint takes 1,572,864"):
            read_payload(path)

    def test_bytes_go_through_as_they_are(self, tmp_path: Path) -> None:
        path = tmp_path / "p.json"
        path.write_bytes(b'{"instances":  [[1, 2]]}')
        assert read_payload(path) == b'{"instances":  [[1, 2]]}'


class TestTrainedModel:
    def test_it_survives_being_written_and_read(self, tmp_path: Path) -> None:
        trained = TrainedModel(
            model_name="m", run_id="r", target="local", trained_at=NOW, trained_by="ada", artifact_sha256="0" * 64
        )
        save_trained_model(tmp_path, trained)
        assert load_trained_model(tmp_path, "m") == trained

    def test_nothing_trained_yet_is_answered_with_the_command(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError) as caught:
            load_trained_model(tmp_path, "m")
        assert caught.value.problem == "the model `m` has not been trained yet"
        assert caught.value.hint == "dvc repro models/m/dvc.yaml"

    @pytest.mark.parametrize("text", ["", "{", "[]", "[" * 20_000, '{"format_version": 1}', '{"format_version": 99}'])
    def test_a_broken_file_is_said_so(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "trained_model.json").write_text(text)
        with pytest.raises(TrainingError):
            load_trained_model(tmp_path, "m")

    @pytest.mark.parametrize("text", [None, "{", '{"format_version": 1}'])
    def test_for_a_report_a_broken_file_is_as_none(self, tmp_path: Path, text: str | None) -> None:
        if text is not None:
            (tmp_path / "trained_model.json").write_text(text)
        assert find_trained_model(tmp_path, "m") is None
