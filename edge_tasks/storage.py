"""Objects and folders in the repository's bucket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_tasks.cloud import Cloud, sdk_errors
from edge_tasks.errors import CloudError, NotFoundError

# As many as the client keeps open.
_CONNECTIONS = 8


def bucket_exists(cloud: Cloud) -> bool:
    """Say whether the repository's bucket is there."""
    with sdk_errors(f"look at the bucket `{cloud.bucket_name}`"):
        return bool(cloud.bucket.exists(retry=cloud.retry))


def create_bucket(cloud: Cloud) -> None:
    """Make the repository's bucket in its region: uniform access, no public access.

    See https://cloud.google.com/storage/docs/uniform-bucket-level-access
    """
    bucket = cloud.bucket
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.iam_configuration.public_access_prevention = "enforced"
    with sdk_errors(f"make the bucket `{cloud.bucket_name}`"):
        cloud.storage.create_bucket(bucket, location=cloud.region, retry=cloud.retry)


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
