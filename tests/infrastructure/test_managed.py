"""What Terraform manages stays when a repository is torn down, and so does what a stranger made."""

from __future__ import annotations

import pytest

from edge_tasks.cloud import endpoints
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Silence
from edge_tasks.releases import teardown
from edge_tasks.releases.plan import ReleaseError, delete_endpoint
from edge_tasks.repo import layout

MANAGED = {layout.MANAGED_LABEL: layout.TERRAFORM}


def exists(cloud: Cloud, name: str) -> bool:
    return endpoints.get_endpoint(cloud, name) is not None


def test_an_endpoint_of_terraform_is_emptied_and_stays(cloud: Cloud) -> None:
    labels = layout.endpoint_labels("digits", cloud.bucket_name)
    managed = endpoints.create_endpoint(cloud, "managed", {**labels, **MANAGED}).name
    own = endpoints.create_endpoint(cloud, "own", labels).name
    for name in (managed, own):
        delete_endpoint(cloud, name)
    assert exists(cloud, managed)
    assert not exists(cloud, own)


def test_a_teardown_takes_neither_terraform_s_nor_a_stranger_s(cloud: Cloud, config: EdgeConfig) -> None:
    managed = endpoints.create_endpoint(cloud, "managed", MANAGED).name
    own = endpoints.create_endpoint(cloud, "own", {}).name
    stranger = endpoints.create_endpoint(cloud, "own", {"edge-model": "own"}).name
    store = StateStore(cloud)
    store.create()
    with store.locked(0) as locked:
        locked.save(locked.state.with_endpoint("one", managed).with_endpoint("two", own))
    things = teardown.find(cloud, config, bucket=False)
    assert [thing.name for thing in things] == [own]
    teardown.remove(cloud, config, things, Silence(), 0)
    assert [exists(cloud, name) for name in (managed, own, stranger)] == [True, False, True]


def test_a_bucket_of_terraform_is_not_torn_down(cloud: Cloud, config: EdgeConfig) -> None:
    bucket = cloud.storage.get_bucket(cloud.bucket_name)
    bucket.labels = MANAGED
    bucket.patch()
    try:
        with pytest.raises(ReleaseError, match=f"Terraform manages the bucket gs://{cloud.bucket_name}") as caught:
            teardown.find(cloud, config, bucket=True)
        assert caught.value.hint
        assert "terraform -chdir=infra destroy" in caught.value.hint
    finally:
        bucket.labels = {}
        bucket.patch()
