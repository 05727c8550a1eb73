"""The dashboard as static files: to publish on any web server, or to open from the disk.

    index.html  page/               as they are served
    runs.js                         what /api/runs answers
    runs/MODEL/ID.js                what /api/runs/MODEL/ID answers, with its files, plots and attachments
    loop/SECTION.js                 what /api/loop/SECTION answers
    views.js                        what /api/views answers
    models/NAME/watched.js          what /api/models/NAME/watched answers; traffic.js and drifts.js, too

The data are scripts, because a page that is opened from the disk may load scripts and nothing else.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge_tasks.dashboard.assets import asset_names, read_asset
from edge_tasks.dashboard.feed import snapshot, to_json
from edge_tasks.dashboard.loop import SECTIONS, Loop
from edge_tasks.dashboard.records import Records, Row, attached_document, details_document, plain
from edge_tasks.dashboard.views import Views, document
from edge_tasks.domain.progress import Progress
from edge_tasks.errors import CloudError, EdgeError, NotFoundError

# What tells an export from a folder of somebody's files.
_MARK = '<html lang="en" data-source="files">'

# `file:` for pages that are opened from the disk, which have no origin.
_POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' file: data:; "
    "base-uri 'none'; form-action 'none'"
)

_SAFE_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# As many as the storage client keeps open.
_AT_ONCE = 8


def export_page(records: Records, loop: Loop, folder: Path, progress: Progress, views: Views | None = None) -> int:
    """Write all runs and the page into `folder`, all at once when everything is there. Returns the number of runs.

    `folder` may be an earlier export, which is replaced. Raises EdgeError when it holds anything else.
    """
    _check(folder)
    rows = [row for row in records.rows() if _is_safe(row)]
    update = snapshot(records, rows)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        made = Path(name) / "export"
        _write_page(made)
        _write_data(made, "runs", update.json())
        for section in SECTIONS:
            _write_data(made, f"loop/{section}", loop.section(section).json())
        _write_data(made, "views", to_json(plain(document(views))))
        _write_models(loop, made)
        begin = time.monotonic()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for done, trouble in enumerate(pool.map(lambda row: _write_run(records, made, row), rows), 1):
                if trouble:
                    progress.step(trouble)
                progress.waiting(f"exporting {done} of {len(rows)} runs", time.monotonic() - begin)
        _replace(folder, made, Path(name) / "before")
    return len(rows)


def _check(folder: Path) -> None:
    hint = "name a folder that is new, empty or an earlier export"
    if folder.exists() and not folder.is_dir():
        raise EdgeError(f"`{folder}` is a file", hint)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    index = folder / "index.html"
    if not index.is_file() or _MARK not in index.read_text(encoding="utf-8", errors="replace"):
        raise EdgeError(f"`{folder}` holds other files", hint)


def _is_safe(row: Row) -> bool:
    """Say whether the run's names can be names of files. Ours can; a record that somebody made by hand may not."""
    return all(_SAFE_PART.fullmatch(part) for part in (row.model, row.id))


def _write_page(made: Path) -> None:
    for name in asset_names() - {"index.html"}:
        path = made / "page" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(read_asset(name))
    text = read_asset("index.html").decode()
    text = text.replace('<html lang="en">', _MARK)
    text = text.replace("<head>", f'<head>\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">')
    (made / "index.html").write_text(text, encoding="utf-8")


def _write_data(made: Path, name: str, document: str) -> None:
    path = made / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A string of JSON, not an object: `{"__proto__": ...}` in a script would not be a key.
    path.write_text(f"source.receive({to_json(name)}, {to_json(document)});\n", encoding="utf-8")


def _write_models(loop: Loop, made: Path) -> None:
    """Write of each endpoint what its versions answered, and where that is kept, what they were asked.

    What cannot be read or compared is told on its page.
    """
    for endpoint in (loop.section("endpoints").content or {}).get("endpoints", []):
        name = endpoint["model"]
        if not _SAFE_PART.fullmatch(name):
            continue
        kept = {"watched": loop.watched, "drifts": loop.drifts} if endpoint["log"]["enabled"] else {}
        for what, ask in {"traffic": loop.traffic, **kept}.items():
            try:
                document = ask(name)
            except EdgeError as error:
                document = {"problem": error.problem}
            _write_data(made, f"models/{name}/{what}", to_json(plain(document)))


def _write_run(records: Records, made: Path, row: Row) -> str | None:
    """Write one run; one that is broken, or was removed meanwhile, stops nobody. Returns what was wrong with it."""
    try:
        details = records.details(row.model, row.id, 0)
        texts = {name: records.file(row.model, row.id, name) for name in details.record.sources}
        kinds = {"plots": details.record.plots, "attachments": details.record.attachments}
        attached = {
            f"{kind}/{name}": attached_document(name, records.attached(row.model, row.id, kind, name))
            for kind, names in kinds.items()
            for name in names
        }
    except EdgeError as error:
        if isinstance(error, CloudError) and not isinstance(error, NotFoundError):
            raise
        return f"the run {row.id} has no page: {error.problem}"
    document = {**details_document(details), "file_texts": texts, "attached": attached}
    _write_data(made, f"runs/{row.key}", to_json(document))
    return None


def _replace(folder: Path, made: Path, before: Path) -> None:
    if folder.exists():
        folder.rename(before)
    made.chmod(0o755)
    made.rename(folder)
    shutil.rmtree(before, ignore_errors=True)
