"""Objects and folders in the repository's bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_tasks.cloud.client import CALL_TIMEOUT, Cloud, sdk_errors
from edge_tasks.errors import BucketTakenError, CloudError, NotFoundError


@dataclass(frozen=True)
class Bucket:
    """The settings of a bucket that there is. `location` is None when the account may use it, but not look at it."""

    location: str | None
    uniform_access: bool
    public_access_prevented: bool


def find_bucket(cloud: Cloud) -> Bucket | None:
    """Return the repository's bucket, or None when its name is free.

    Raises BucketTakenError when there is one that this account may not use.
    """
    from google.api_core.exceptions import Forbidden, NotFound

    with sdk_errors(f"look at the bucket `{cloud.bucket_name}`"):
        try:
            bucket = cloud.storage.get_bucket(cloud.bucket_name, retry=cloud.retry, timeout=CALL_TIMEOUT)
        except NotFound:
            return None
        except Forbidden:
            return _usable_bucket(cloud)
    settings = bucket.iam_configuration
    return Bucket(
        location=str(bucket.location).lower(),
        uniform_access=bool(settings.uniform_bucket_level_access_enabled),
        public_access_prevented=settings.public_access_prevention == "enforced",
    )


def _usable_bucket(cloud: Cloud) -> Bucket:
    """Return the bucket as somebody knows it who may use its objects only: roles/storage.objectAdmin allows no more."""
    from google.api_core.exceptions import Forbidden

    try:
        next(iter(cloud.storage.list_blobs(cloud.bucket_name, max_results=1, retry=cloud.retry)), None)
    except Forbidden:
        raise BucketTakenError(
            f"the bucket name `{cloud.bucket_name}` is taken, and this account may not use that bucket",
            "invoke init --bucket ANOTHER-NAME, or ask its owner for roles/storage.objectAdmin on it",
        ) from None
    return Bucket(location=None, uniform_access=True, public_access_prevented=True)


# As many as the client keeps open.
_CONNECTIONS = 8


def bucket_exists(cloud: Cloud) -> bool:
    """Say whether the repository's bucket is there for this account."""
    return find_bucket(cloud) is not None


def create_bucket(cloud: Cloud) -> None:
    """Make the repository's bucket in its region: uniform access, no public access.

    See https://cloud.google.com/storage/docs/uniform-bucket-level-access
    """
    bucket = cloud.bucket
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.iam_configuration.public_access_prevention = "enforced"
    from google.api_core.exceptions import Conflict

    with sdk_errors(f"make the bucket `{cloud.bucket_name}`"):
        try:
            cloud.storage.create_bucket(bucket, location=cloud.region, retry=cloud.retry)
        except Conflict:
            # The client repeats a request whose answer was lost, and then meets its own first success.
            if find_bucket(cloud) is None:
                raise


def delete_bucket(cloud: Cloud) -> None:
    """Delete the repository's bucket with every object in it."""
    with sdk_errors(f"delete the bucket `{cloud.bucket_name}`"):
        for blob in cloud.storage.list_blobs(cloud.bucket_name, retry=cloud.retry):
            blob.delete(retry=cloud.retry)
        cloud.bucket.delete(retry=cloud.retry)


def upload(cloud: Cloud, content: bytes | Path, name: str) -> str:
    """Write `content` (bytes, or a file) as the object `name`; return its gs:// address."""
    blob = cloud.bucket.blob(name)
    with sdk_errors(f"write gs://{cloud.bucket_name}/{name}"):
        if isinstance(content, Path):
            blob.upload_from_filename(str(content), retry=cloud.retry)
        else:
            blob.upload_from_string(content, content_type="application/octet-stream", retry=cloud.retry)
    return f"gs://{cloud.bucket_name}/{name}"


def upload_folder(cloud: Cloud, folder: Path, prefix: str) -> str:
    """Write every file of `folder` under `prefix`; return the gs:// address of the folder."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        upload(cloud, path, f"{prefix}/{path.relative_to(folder).as_posix()}")
    return f"gs://{cloud.bucket_name}/{prefix}"


def read(cloud: Cloud, uri: str) -> bytes:
    """Return the content of the object at `uri` (gs://BUCKET/NAME). Raises NotFoundError when there is none."""
    bucket, name = split_uri(uri)
    with sdk_errors(f"read {uri}"):
        content: bytes = cloud.storage.bucket(bucket).blob(name).download_as_bytes(retry=cloud.retry)
    return content


def download(cloud: Cloud, uri: str, path: Path) -> None:
    """Fetch the object at `uri` (gs://BUCKET/NAME) into the file `path`, whose folder is made.

    Raises NotFoundError when there is no such object.
    """
    bucket, name = split_uri(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with sdk_errors(f"read {uri}"):
        cloud.storage.bucket(bucket).blob(name).download_to_filename(str(path), retry=cloud.retry)


def download_folder(cloud: Cloud, uri: str, folder: Path) -> int:
    """Fetch every object under `uri` (gs://BUCKET/PREFIX) into `folder`; return how many there were."""
    bucket, prefix = split_uri(uri)
    prefix = prefix.rstrip("/") + "/"
    with sdk_errors(f"read {uri}"):
        listed = cloud.storage.list_blobs(bucket, prefix=prefix, retry=cloud.retry)
        blobs: list[Any] = [blob for blob in listed if not blob.name.endswith("/")]
    for blob in blobs:
        relative = Path(blob.name[len(prefix) :])
        if relative.is_absolute() or ".." in relative.parts:
            raise CloudError(f"the object `{blob.name}` would be written outside its folder")
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with sdk_errors(f"read gs://{bucket}/{blob.name}"):
            blob.download_to_filename(str(target), retry=cloud.retry)
    return len(blobs)


def has_objects(cloud: Cloud, uri: str) -> bool:
    """Say whether there is an object under `uri` (gs://BUCKET/PREFIX)."""
    bucket, prefix = split_uri(uri)
    with sdk_errors(f"list {uri}"):
        listed = cloud.storage.list_blobs(bucket, prefix=f"{prefix.rstrip('/')}/", max_results=1, retry=cloud.retry)
        return any(True for _ in listed)


def download_many(cloud: Cloud, files: Mapping[Path, str]) -> None:
    """Fetch objects into files (path to gs://BUCKET/NAME), whose folders exist, several at a time."""
    from google.cloud.storage import transfer_manager

    pairs = []
    for path, uri in files.items():
        bucket, name = split_uri(uri)
        pairs.append((cloud.storage.bucket(bucket).blob(name), str(path)))
    with sdk_errors(f"read {len(pairs)} objects"):
        transfer_manager.download_many(
            pairs,
            download_kwargs={"retry": cloud.retry},
            worker_type=transfer_manager.THREAD,
            max_workers=_CONNECTIONS,
            raise_exception=True,
        )


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and object name (or prefix) of a gs:// address."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket or not name:
        raise NotFoundError(f"`{uri}` is not an address in Cloud Storage (gs://BUCKET/NAME)")
    return bucket, name
