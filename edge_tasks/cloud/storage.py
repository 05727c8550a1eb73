"""Objects and folders in the repository's bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.errors import BucketTakenError, CloudError, NotFoundError
from edge_tasks.repo.layout import by_terraform


@dataclass(frozen=True)
class BucketSettings:
    """The settings of a bucket that there is. `location` is None when the account may use it, but not look at it."""

    location: str | None
    uniform_access: bool
    public_access_prevented: bool
    by_terraform: bool = False


def find_bucket(cloud: Cloud) -> BucketSettings | None:
    """Return the repository's bucket, or None when its name is free.

    Raises BucketTakenError when there is one that this account may not use.
    """
    from google.api_core.exceptions import Forbidden, NotFound

    with sdk_errors(f"look at the bucket `{cloud.bucket_name}`"):
        try:
            bucket = cloud.storage.get_bucket(cloud.bucket_name, **cloud.storage_limits)
        except NotFound:
            return None
        except Forbidden:
            return _usable_bucket(cloud)
    settings = bucket.iam_configuration
    return BucketSettings(
        location=str(bucket.location).lower(),
        uniform_access=bool(settings.uniform_bucket_level_access_enabled),
        public_access_prevented=settings.public_access_prevention == "enforced",
        by_terraform=by_terraform(bucket.labels),
    )


def _usable_bucket(cloud: Cloud) -> BucketSettings:
    """Describe a bucket whose settings this account may not read: roles/storage.objectAdmin allows its objects only."""
    from google.api_core.exceptions import Forbidden

    try:
        next(cloud.objects.list("", most=1), None)
    except Forbidden:
        raise BucketTakenError(
            f"the bucket name `{cloud.bucket_name}` is taken, and this account may not use that bucket",
            "invoke init --bucket ANOTHER-NAME, or ask its owner for roles/storage.objectAdmin on it",
        ) from None
    return BucketSettings(location=None, uniform_access=True, public_access_prevented=True)


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
            cloud.storage.create_bucket(bucket, location=cloud.region, **cloud.storage_limits)
        except Conflict:
            # The client repeats a request whose answer was lost, and then meets its own first success.
            if find_bucket(cloud) is None:
                raise


def delete_bucket(cloud: Cloud) -> None:
    """Delete the repository's bucket with every object in it."""
    with sdk_errors(f"delete the bucket `{cloud.bucket_name}`"):
        for stored in cloud.objects.list(""):
            cloud.objects.delete(stored.name)
        cloud.bucket.delete(**cloud.storage_limits)


def upload(cloud: Cloud, content: bytes | Path, name: str) -> str:
    """Write `content` (bytes, or a file) as the object `name`; return its gs:// address."""
    with sdk_errors(f"write gs://{cloud.bucket_name}/{name}"):
        cloud.objects.write(name, content)
    return f"gs://{cloud.bucket_name}/{name}"


def upload_new(cloud: Cloud, content: bytes | Path, uri: str) -> None:
    """Write the object at `uri` (gs://BUCKET/NAME) unless there is one: what is named by its content stays as it is."""
    from google.api_core.exceptions import PreconditionFailed

    bucket, name = split_uri(uri)
    with sdk_errors(f"write {uri}"), contextlib.suppress(PreconditionFailed):
        cloud.objects_in(bucket).write(name, content, generation=0)


def upload_folder(cloud: Cloud, folder: Path, prefix: str) -> str:
    """Write every file of `folder` under `prefix`; return the gs:// address of the folder."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        upload(cloud, path, f"{prefix}/{path.relative_to(folder).as_posix()}")
    return f"gs://{cloud.bucket_name}/{prefix}"


def read(cloud: Cloud, uri: str) -> bytes:
    """Return the content of the object at `uri` (gs://BUCKET/NAME). Raises NotFoundError when there is none."""
    bucket, name = split_uri(uri)
    with sdk_errors(f"read {uri}"):
        return cloud.objects_in(bucket).read(name)


def download_folder(cloud: Cloud, uri: str, folder: Path) -> int:
    """Fetch every object under `uri` (gs://BUCKET/PREFIX) into `folder`; return how many there were."""
    bucket, prefix = split_uri(uri)
    prefix = prefix.rstrip("/") + "/"
    objects = cloud.objects_in(bucket)
    with sdk_errors(f"read {uri}"):
        names = [found.name for found in objects.list(prefix) if not found.name.endswith("/")]
    for name in names:
        relative = Path(name[len(prefix) :])
        if relative.is_absolute() or ".." in relative.parts:
            raise CloudError(f"the object `{name}` would be written outside its folder")
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with sdk_errors(f"read gs://{bucket}/{name}"):
            objects.download(name, target)
    return len(names)


def names(cloud: Cloud, uri: str) -> tuple[str, ...]:
    """Return the names of the objects under `uri` (gs://BUCKET/PREFIX), relative to it, sorted."""
    bucket, prefix = split_uri(uri)
    prefix = f"{prefix.rstrip('/')}/"
    with sdk_errors(f"list {uri}"):
        found = [one.name.removeprefix(prefix) for one in cloud.objects_in(bucket).list(prefix)]
    return tuple(sorted(name for name in found if name and not name.endswith("/")))


def has_objects(cloud: Cloud, uri: str) -> bool:
    """Say whether there is an object under `uri` (gs://BUCKET/PREFIX)."""
    bucket, prefix = split_uri(uri)
    with sdk_errors(f"list {uri}"):
        return any(True for _ in cloud.objects_in(bucket).list(f"{prefix.rstrip('/')}/", most=1))


def download_many(cloud: Cloud, files: Mapping[Path, str]) -> None:
    """Fetch objects into files (path to gs://BUCKET/NAME), whose folders exist, several at a time."""
    by_bucket: dict[str, dict[Path, str]] = {}
    for path, uri in files.items():
        bucket, name = split_uri(uri)
        by_bucket.setdefault(bucket, {})[path] = name
    with sdk_errors(f"read {len(files)} objects"):
        for bucket, names in by_bucket.items():
            cloud.objects_in(bucket).download_many(names)


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and object name (or prefix) of a gs:// address."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket or not name:
        raise NotFoundError(f"`{uri}` is not an address in Cloud Storage (gs://BUCKET/NAME)")
    return bucket, name
