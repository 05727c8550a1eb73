"""Runs that the bucket did not take: kept on this machine, and sent when the bucket is there again.

.edge/unsent/TARGET/BUCKET/RUN_ID/      record.json, metrics.json (the curves), system.json, output.txt, sources/,
                                        plots/, attachments/
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edge_tasks.cloud.run_store import RunStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.runs import RunRecord, Series, dump_record, dump_series, parse_record, parse_series
from edge_tasks.errors import EdgeError
from edge_tasks.repo.files import replace_folder
from edge_tasks.repo.layout import outbox_folder

_RECORD_FILE, _SERIES_FILE, _OUTPUT_FILE, _SOURCES_FOLDER = "record.json", "metrics.json", "output.txt", "sources"
_SYSTEM_FILE = "system.json"


@dataclass(frozen=True)
class Outbox:
    """The runs that wait in `folder` for one bucket."""

    folder: Path

    @classmethod
    def of(cls, config: EdgeConfig, root: Path) -> Outbox:
        """Return those of the repository in `root` for the bucket that its config names."""
        return cls(outbox_folder(config, root))

    def keep(
        self,
        record: RunRecord,
        series: Mapping[str, Series],
        output: Path,
        sources: Mapping[str, Path],
        system: Mapping[str, Series] = MappingProxyType({}),
        files: Mapping[tuple[str, str], Path] = MappingProxyType({}),
    ) -> Path:
        """Keep a run with what it has printed and its files; return the folder. Raises OSError.

        `files` are plots and attachments by their kind and name.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=self.folder) as name:
            new = Path(name) / record.run_id
            for path, source in sources.items():
                copy = new / _SOURCES_FOLDER / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
            for (kind, file), source in files.items():
                (new / kind).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, new / kind / file)
            new.mkdir(exist_ok=True)
            if output.exists():
                shutil.copyfile(output, new / _OUTPUT_FILE)
            (new / _SERIES_FILE).write_text(dump_series(dict(series)), encoding="utf-8")
            (new / _SYSTEM_FILE).write_text(dump_series(dict(system)), encoding="utf-8")
            (new / _RECORD_FILE).write_text(dump_record(record), encoding="utf-8")
            replace_folder(new, self.folder / record.run_id)
        return self.folder / record.run_id

    def send(self, store: RunStore, most: int | None = None) -> list[str]:
        """Send the runs, or the `most` oldest of them, and keep them no longer; return their ids.

        Several processes may do so at once. Raises EdgeError when the bucket does not take them now.
        """
        sent = []
        for place in sorted(self.folder.glob("[!.]*"))[:most]:
            try:
                _send(place, store)
            except FileNotFoundError:
                continue  # another process has just sent it
            shutil.rmtree(place, ignore_errors=True)
            sent.append(place.name)
        return sent


def _send(place: Path, store: RunStore) -> None:
    try:
        record = parse_record((place / _RECORD_FILE).read_bytes())
        series = parse_series((place / _SERIES_FILE).read_bytes())
    except EdgeError as error:
        raise EdgeError(f"{place}: {error.problem}", error.hint) from None
    # The record goes last, so that nobody lists a run in parts.
    for path in record.sources:
        content = (place / _SOURCES_FOLDER / path).read_bytes()
        store.write_source(record.model_name, record.run_id, path, content)
    for kind, names in (("plots", record.plots), ("attachments", record.attachments)):
        for name in names:
            store.write_file(record.model_name, record.run_id, f"{kind}/{name}", place / kind / name)
    if (place / _SYSTEM_FILE).exists() and (system := parse_series((place / _SYSTEM_FILE).read_bytes())):
        store.write_system(record.model_name, record.run_id, system)
    if series:
        store.write_series(record.model_name, record.run_id, series)
    if (place / _OUTPUT_FILE).exists():
        store.write_output(record.model_name, record.run_id, place / _OUTPUT_FILE)
    store.update(record.model_name, record.run_id, lambda now: record.changed(tags=now.tags) if now else record)
