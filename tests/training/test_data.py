"""The data of a training: the version that DVC has recorded, on a laptop and in a job."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.errors import DataError
from edge_tasks.tools import dvc
from edge_tasks.training import data
from edge_tasks.training.context import SPEC_VARIABLE
from edge_tasks.training.data import data_uri, open_data, used_data
from tests.emulator.harness import Emulator

EDGE_YAML = """
google_cloud_project: {project_id: my-project, region: us-central1}
storage_bucket: {bucket_name: my-bucket}
"""


def run_dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments, "--quiet"], cwd=root, check=True, capture_output=True)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a file and a folder that DVC tracks, and a folder next to it as DVC's remote."""
    folder = tmp_path_factory.mktemp("prepared") / "repository"
    (folder / "data" / "images" / "deep").mkdir(parents=True)
    (folder / "edge.yaml").write_text(EDGE_YAML)
    (folder / "data" / "table.csv").write_text("a,b\n1,2\n")
    for number in range(3):
        (folder / "data" / "images" / "deep" / f"{number}.txt").write_text(f"image {number}")
    run_dvc(folder, "init", "--no-scm")
    run_dvc(folder, "remote", "add", "--default", "store", "../store")
    run_dvc(folder, "add", "data/table.csv", "data/images")
    return folder


@pytest.fixture
def root(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "repository"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(data, "_used", {})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return folder


class TestOnALaptop:
    @pytest.mark.slow
    def test_a_file_is_itself_and_its_version_is_pushed_and_recorded(self, root: Path, tmp_path: Path) -> None:
        assert data_uri("data/table.csv") == str(root / "data" / "table.csv")
        md5 = hashlib.md5(b"a,b\n1,2\n").hexdigest()
        assert used_data() == {"data/table.csv": md5}
        assert (tmp_path / "store" / "files" / "md5" / md5[:2] / md5[2:]).read_bytes() == b"a,b\n1,2\n"

    @pytest.mark.slow
    def test_a_folder_is_itself_and_its_version_is_pushed_and_recorded(self, root: Path, tmp_path: Path) -> None:
        assert data_uri("./data/images/") == str(root / "data" / "images")
        assert used_data()["data/images"].endswith(".dir")
        assert len([path for path in (tmp_path / "store").rglob("*") if path.is_file()]) == 4

    @pytest.mark.slow
    def test_the_output_of_a_stage_is_found_like_a_file_that_was_added(self, root: Path) -> None:
        (root / "dvc.yaml").write_text(
            "stages:\n  make:\n    cmd: echo made > data/made.txt\n    outs: [data/made.txt]\n"
        )
        with pytest.raises(DataError) as caught:
            data_uri("data/made.txt")
        assert caught.value.hint == "dvc pull data/made.txt, or dvc repro when a stage makes it"
        run_dvc(root, "repro")
        with open_data("data/made.txt") as file:
            assert file.read() == b"made\n"
        assert used_data() == {"data/made.txt": hashlib.md5(b"made\n").hexdigest()}
        (root / "data" / "made.txt").write_text("changed by hand")
        data._used.clear()
        with pytest.raises(DataError, match="not the version that DVC has recorded") as caught:
            data_uri("data/made.txt")
        assert caught.value.hint == "dvc repro dvc.yaml"

    @pytest.mark.parametrize("path", ["data/table.csv", "data/images"])
    def test_data_that_were_changed_are_refused_with_the_command_that_records_them(self, root: Path, path: str) -> None:
        (root / "data" / "table.csv").write_text("a,b\n3,4\n")
        (root / "data" / "images" / "deep" / "more.txt").write_text("more")
        with pytest.raises(DataError, match=f"`{path}` is not the version") as caught:
            data_uri(path)
        assert caught.value.hint == f"dvc add {path}"
        assert used_data() == {}

    def test_only_what_the_remote_does_not_have_is_to_be_pushed(self, root: Path) -> None:
        versions = dvc.versions(root, ["data/table.csv", "data/images"])
        assert [version.path for version in dvc.unpushed(list(versions.values()))] == ["data/table.csv", "data/images"]
        dvc.push(root, [versions["data/images"]])
        assert [version.path for version in dvc.unpushed(list(versions.values()))] == ["data/table.csv"]
        assert dvc.unpushed([versions["data/images"]]) == []

    def test_data_that_are_not_there_are_to_be_pulled(self, root: Path) -> None:
        (root / "data" / "table.csv").unlink()
        with pytest.raises(DataError, match=r"there is no `data/table\.csv`") as caught:
            data_uri("data/table.csv")
        assert caught.value.hint == "dvc pull data/table.csv, or dvc repro when a stage makes it"

    def test_data_that_dvc_does_not_track_are_to_be_added(self, root: Path) -> None:
        (root / "data" / "other.csv").write_text("")
        with pytest.raises(DataError, match="DVC does not track") as caught:
            data_uri("data/other.csv")
        assert caught.value.hint == "dvc add data/other.csv"

    @pytest.mark.slow
    def test_a_remote_that_is_away_is_told_and_stops_nothing(
        self, root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "store").write_text("no folder")
        assert data_uri("data/table.csv") == str(root / "data" / "table.csv")
        assert "later: dvc push data/table.csv" in capfd.readouterr().err

    def test_a_folder_cannot_be_opened_like_a_file(self, root: Path) -> None:
        with pytest.raises(DataError, match="`data/images` is a folder"):
            open_data("data/images")


class TestInAJob:
    """The process is made a job by its specification; DVC's files are not where it looks."""

    @pytest.fixture
    def versions(self, root: Path, tmp_path: Path) -> dict[str, str]:
        paths = ("data/table.csv", "data/images")
        run_dvc(root, "push")
        return {path: dvc.data_version(root, path).url for path in paths}

    def become(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
        folder = tmp_path / "job"
        folder.mkdir()
        (folder / "edge.yaml").write_text(EDGE_YAML)
        spec = TrainingSpec(
            run_id="run", model_name="m", script="train.py", output_uri="gs://my-bucket/output", addresses=versions
        )
        (folder / "order.json").write_text(spec.to_json())
        monkeypatch.setenv(SPEC_VARIABLE, str(folder / "order.json"))
        monkeypatch.chdir(folder)

    def check_everything(self, root: Path) -> None:
        file = Path(data_uri("data/table.csv"))
        assert (file.name, file.read_text()) == ("table.csv", "a,b\n1,2\n")
        folder = Path(data_uri("data/images"))
        assert folder.name == "images"
        assert root not in folder.parents
        assert {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.txt")} == {
            f"deep/{number}.txt": f"image {number}" for number in range(3)
        }
        with open_data("data/images/deep/2.txt") as opened:
            assert opened.read() == b"image 2"

    def test_a_remote_that_is_a_folder_is_read_by_hash(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]
    ) -> None:
        self.become(tmp_path, monkeypatch, versions)
        self.check_everything(root)

    @pytest.mark.slow
    def test_a_remote_in_cloud_storage_is_read_by_hash(
        self,
        root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        versions: dict[str, str],
        emulator: Emulator,
    ) -> None:
        bucket, store = emulator.new_bucket(), tmp_path / "store"
        for path in store.rglob("*"):
            if path.is_file():
                emulator.put(bucket, f"dvcstore/{path.relative_to(store).as_posix()}", path.read_bytes())
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.storage_url)
        remote = {path: url.replace(str(store), f"gs://{bucket}/dvcstore") for path, url in versions.items()}
        assert all(url.startswith("gs://") for url in remote.values())
        self.become(tmp_path, monkeypatch, remote)
        self.check_everything(root)

    @pytest.mark.slow
    def test_five_thousand_small_files_arrive(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = tmp_path / "store" / "files" / "md5"
        entries = []
        for number in range(5000):
            content = str(number).encode()
            digest = hashlib.md5(content).hexdigest()
            (store / digest[:2]).mkdir(parents=True, exist_ok=True)
            (store / digest[:2] / digest[2:]).write_bytes(content)
            entries.append({"md5": digest, "relpath": f"{number % 50}/{number}.txt"})
        listing = json.dumps(entries).encode()
        digest = hashlib.md5(listing).hexdigest()
        url = store / digest[:2] / f"{digest[2:]}.dir"
        url.parent.mkdir(exist_ok=True)
        url.write_bytes(listing)
        self.become(tmp_path, monkeypatch, {"data/many": str(url)})
        folder = Path(data_uri("data/many"))
        files = {path.stem: path.read_text() for path in folder.rglob("*.txt")}
        assert len(files) == 5000
        assert all(name == text for name, text in files.items())

    def test_content_that_is_not_what_its_hash_tells_is_refused(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]
    ) -> None:
        stored = Path(versions["data/table.csv"])
        stored.chmod(0o644)
        stored.write_text("spoilt")
        self.become(tmp_path, monkeypatch, versions)
        with pytest.raises(DataError, match="are not what their hash tells"):
            data_uri("data/table.csv")
        assert not list((tmp_path / "tmp" / "edge-data").rglob("*table*"))

    def test_a_list_that_leads_outside_its_folder_is_refused(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listing = json.dumps([{"md5": "0" * 32, "relpath": "../../escape.txt"}]).encode()
        digest = hashlib.md5(listing).hexdigest()
        url = tmp_path / "files" / "md5" / digest[:2] / f"{digest[2:]}.dir"
        url.parent.mkdir(parents=True)
        url.write_bytes(listing)
        self.become(tmp_path, monkeypatch, {"data/evil": str(url)})
        with pytest.raises(DataError, match="would lie outside its folder"):
            data_uri("data/evil")

    def test_data_that_no_stage_depends_on_did_not_travel(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.become(tmp_path, monkeypatch, {})
        with pytest.raises(DataError, match="did not travel") as caught:
            data_uri("data/table.csv")
        assert caught.value.hint == "add it to `deps` of the train stage in models/m/dvc.yaml"


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    emulator = Emulator(tmp_path / "emulator", "--port", "0", "--storage-port", "0")
    yield emulator
    emulator.process.terminate()
    emulator.process.communicate(timeout=30)
