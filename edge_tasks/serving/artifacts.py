"""Fetching an artifact to this machine: from Cloud Storage by its plain REST API, which needs no client library.

In a container the account is the one that Vertex AI gives it: the metadata server tells the token.
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#artifacts
"""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

_TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105  an address
_SECONDS, _ATTEMPTS, _AT_ONCE = 60.0, 5, 8
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class ArtifactError(Exception):
    """The artifact cannot be had."""


def fetch(uri: str, folder: Path) -> Path:
    """Return a folder on this machine with the artifact at `uri`, a gs:// address or a folder; `folder` takes copies.

    Raises ArtifactError when there is nothing at the address, or it does not answer.
    """
    if not uri.startswith("gs://"):
        if not Path(uri).is_dir():
            raise ArtifactError(f"there is no artifact at `{uri}`: AIP_STORAGE_URI must name a folder or gs:// address")
        return Path(uri)
    bucket, _, prefix = uri.removeprefix("gs://").rstrip("/").partition("/")
    prefix = f"{prefix}/" if prefix else ""
    client = _Client(bucket)
    names = [name for name in client.names(prefix) if not name.endswith("/")]
    if not names:
        raise ArtifactError(f"there is nothing at {uri}")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: client.download(name, _place(folder, name.removeprefix(prefix))), names))
    return folder


def _place(folder: Path, relative: str) -> Path:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise ArtifactError(f"`{relative}` in the artifact would lie outside its folder")
    return folder / path


class _Client:
    def __init__(self, bucket: str):
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        root = (
            (emulator if "://" in emulator else f"http://{emulator}") if emulator else "https://storage.googleapis.com"
        )
        self._base = f"{root.rstrip('/')}/storage/v1/b/{urllib.parse.quote(bucket, safe='')}/o"
        self._headers = {} if emulator else {"Authorization": f"Bearer {_token()}"}

    def names(self, prefix: str) -> Iterator[str]:
        page = ""
        while True:
            query = {"prefix": prefix, "fields": "items/name,nextPageToken", **({"pageToken": page} if page else {})}
            with self._open(f"{self._base}?{urllib.parse.urlencode(query)}") as response:
                listing = json.load(response)
            yield from (item["name"] for item in listing.get("items", ()))
            page = listing.get("nextPageToken", "")
            if not page:
                return

    def download(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        url = f"{self._base}/{urllib.parse.quote(name, safe='')}?alt=media"
        with self._open(url) as response, path.open("wb") as file:
            shutil.copyfileobj(response, file, 1 << 20)

    def _open(self, url: str) -> Any:
        request = urllib.request.Request(url, headers=self._headers)  # noqa: S310  http(s), see above
        return _opened(request)


def _token() -> str:
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    request = urllib.request.Request(f"http://{host}{_TOKEN_PATH}", headers={"Metadata-Flavor": "Google"})
    with _opened(request) as response:
        return str(json.load(response)["access_token"])


def _opened(request: urllib.request.Request) -> Any:
    for attempt in range(_ATTEMPTS):
        try:
            return urllib.request.urlopen(request, timeout=_SECONDS)  # noqa: S310
        except urllib.error.HTTPError as error:
            if error.code not in _TRANSIENT or attempt == _ATTEMPTS - 1:
                raise ArtifactError(f"{request.full_url.partition('?')[0]} answered {error.code}") from error
        except OSError as error:
            if attempt == _ATTEMPTS - 1:
                raise ArtifactError(f"{request.full_url.partition('?')[0]} does not answer: {error}") from error
        time.sleep(0.5 * 2**attempt)
    raise AssertionError("unreachable")
