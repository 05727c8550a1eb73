"""Cloud Storage by its JSON API: https://cloud.google.com/storage/docs/json_api/v1.

Three calls are all that is needed, and importing google-cloud-storage takes longer than the emulator's start.
"""

from __future__ import annotations

import http.client
import io
import json
import re
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from edge_tasks.emulator.errors import ApiError, Code, invalid, precondition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

TIMEOUT = 60
PIECE = 1 << 20
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Location(NamedTuple):
    """A `gs://bucket/path`."""

    bucket: str
    path: str


def parse_uri(uri: str, field: str) -> Location:
    """Read a `gs://` URI; `field` names it in the error."""
    bucket, _, path = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket:
        raise invalid(f"{field} must be a Cloud Storage URI such as gs://bucket/path, not {uri!r}.")
    return Location(bucket, path)


def dated_folder(destination: Location, name: str, moment: datetime) -> Location:
    """Return the folder `NAME-TIME` below a destination, which Vertex AI makes for what it writes."""
    # A slash would make its own folder, and no object's name holds control characters.
    name = re.sub(r"[/\x00-\x1f\x7f]", "_", name)
    time = moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return Location(destination.bucket, f"{destination.path.rstrip('/')}/{name}-{time}Z".lstrip("/"))


class Storage:
    """The storage server, as a client sees it. Calls block: use them in a thread."""

    def __init__(self, url: str) -> None:
        self._netloc = urlsplit(url).netloc
        self._made: set[str] = set()

    def place(self, bucket: str) -> str | None:
        """Return where a bucket lies, as `us-central1` or `eu`; None when there is none."""
        response = self._get(f"/storage/v1/b/{quote(bucket, safe='')}?fields=location")
        if response is None:
            return None
        with response:
            return str(json.loads(_read(response))["location"]).lower()

    def names(self, bucket: str, prefix: str) -> Iterator[str]:
        """Yield the objects below a prefix; none when the bucket does not exist."""
        for item in self._items(bucket, prefix, "name"):
            yield item["name"]

    def _items(self, bucket: str, prefix: str, fields: str) -> Iterator[dict[str, str]]:
        token = ""
        while True:
            query = urlencode({"prefix": prefix, "pageToken": token, "fields": f"items({fields}),nextPageToken"})
            response = self._get(f"/storage/v1/b/{quote(bucket, safe='')}/o?{query}")
            if response is None:
                return
            page = json.loads(_read(response))
            yield from page.get("items", [])
            token = page.get("nextPageToken", "")
            if not token:
                return

    def download(self, bucket: str, name: str, target: Path) -> bool:
        """Write an object to `target`; False when there is none."""
        response = self._get(f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}?alt=media")
        if response is None:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with response, target.open("wb") as output:
            while piece := _read(response, PIECE):
                output.write(piece)
            # Read piece by piece, http.client takes a connection that breaks off for the end of the answer.
            if response.length:
                raise _unavailable(
                    ConnectionError(f"the last {response.length} bytes of gs://{bucket}/{name} are missing")
                )
        return True

    def read(self, bucket: str, name: str) -> bytes | None:
        """Return the content of an object; None when there is none."""
        response = self._get(f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}?alt=media")
        if response is None:
            return None
        with response:
            return _read(response)

    def download_folder(self, location: Location, target: Path) -> int:
        """Copy every object below a folder into `target` and return how many there were."""
        prefix = location.path.rstrip("/") + "/" if location.path.strip("/") else ""
        count = 0
        for name in self.names(location.bucket, prefix):
            relative = name.removeprefix(prefix)
            if not relative or relative.endswith("/"):
                continue
            path = safe_join(target, relative)
            count += self.download(location.bucket, name, path)
        return count

    def upload(self, source: Path, bucket: str, name: str) -> None:
        """Write a file as an object."""
        with source.open("rb") as body:
            self._put(body, source.stat().st_size, bucket, name)

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket if it is not there; once in the life of this process is enough."""
        if bucket in self._made:
            return
        body = json.dumps({"name": bucket}).encode()
        headers = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        with self._ask("POST", "/storage/v1/b?project=vertex-ai-emulator", io.BytesIO(body), headers) as response:
            _read(response)
        if response.status not in {200, 409}:
            raise precondition(f"Cloud Storage answered {response.status} to the creation of the bucket {bucket}.")
        self._made.add(bucket)

    def put(self, content: bytes, bucket: str, name: str) -> None:
        """Write an object from memory."""
        self._put(io.BytesIO(content), len(content), bucket, name)

    def put_over(self, content: bytes, bucket: str, name: str, generation: int) -> int | None:
        """Write an object over this generation of it (0: none), and return the new one; None when it is another."""
        return self._put(io.BytesIO(content), len(content), bucket, name, generation)

    def sizes(self, bucket: str, prefix: str) -> dict[str, int]:
        """Return the objects below a prefix with their bytes."""
        return {item["name"]: int(item["size"]) for item in self._items(bucket, prefix, "name,size")}

    def delete(self, bucket: str, name: str) -> None:
        """Delete an object; one that is not there is none to delete."""
        with self._ask("DELETE", f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}") as response:
            _read(response)
        if response.status not in {204, 404}:
            raise precondition(f"Cloud Storage answered {response.status} to the deletion of gs://{bucket}/{name}.")

    def _put(self, body: IO[bytes], size: int, bucket: str, name: str, over: int | None = None) -> int | None:
        condition = {} if over is None else {"ifGenerationMatch": over}
        query = urlencode({"uploadType": "media", "name": name, **condition})
        path = f"/upload/storage/v1/b/{quote(bucket, safe='')}/o?{query}"
        # Without a length the body would be sent in chunks.
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        with self._ask("POST", path, body, headers) as response:
            answer = _read(response)
        if response.status == 412:
            return None
        if response.status == 404:
            self._made.discard(bucket)
            raise precondition(f"The bucket {bucket} does not exist.")
        if response.status != 200:
            raise precondition(f"Cloud Storage answered {response.status} to the upload of gs://{bucket}/{name}.")
        return int(json.loads(answer)["generation"])

    def _get(self, path: str) -> http.client.HTTPResponse | None:
        response = self._ask("GET", path)
        if response.status == 200:
            return response
        response.close()
        if response.status == 404:
            return None
        raise precondition(f"Cloud Storage answered {response.status} to GET {path}.")

    def _ask(
        self, method: str, path: str, body: IO[bytes] | None = None, headers: Mapping[str, str] = NO_HEADERS
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._netloc, timeout=TIMEOUT)
        try:
            connection.request(method, path, body, {**headers, "Connection": "close"})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _unavailable(error) from error
        if connection.sock is not None:
            # The response holds it open until it is closed itself.
            connection.sock.close()
        return response


def _read(response: http.client.HTTPResponse, size: int | None = None) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> ApiError:
    return ApiError(Code.UNAVAILABLE, f"Cloud Storage does not answer: {error or type(error).__name__}.")


def safe_join(folder: Path, relative: str) -> Path:
    """Return a path inside `folder`; an object's name that would lead out of it is refused."""
    parts = relative.split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise precondition(f"The object name {relative!r} cannot be used as a file name.")
    return folder.joinpath(*parts)
