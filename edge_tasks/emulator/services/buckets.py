"""Buckets that requests name: a service uses those of its own region.

https://cloud.google.com/vertex-ai/docs/general/locations. Buckets of several regions are refused, too:
https://github.com/googleapis/python-aiplatform/issues/885.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import precondition
from edge_tasks.emulator.runtime.bucket import parse_uri
from edge_tasks.emulator.services.names import project_and_location

if TYPE_CHECKING:
    from edge_tasks.emulator.runtime.bucket import Storage


async def check_bucket(storage: Storage, uri: str, field: str, parent: str) -> None:
    """Refuse an address in a bucket that does not exist, or that lies elsewhere than the service of a parent."""
    bucket = parse_uri(uri, field).bucket
    place = await asyncio.to_thread(storage.place, bucket)
    if place is None:
        # Google looks at the bucket, too, before it starts anything; its words are not known.
        raise precondition(f"The Cloud Storage bucket of `{uri}` does not exist.")
    _, location = project_and_location(parent)
    if place != location:
        # In Google's words.
        raise precondition(
            f"The Cloud Storage bucket of `{uri}` is in location `{place}`. It must be in the same regional location as"
            f" the service location `{location}`."
        )
