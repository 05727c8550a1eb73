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
from edge_tasks.setup import infrastructure
from edge_tasks.setup.ci_federation import place_of
from edge_tasks.setup.infrastructure import Wanted

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


def test_an_export_takes_over_the_endpoints_that_a_teardown_would_delete(cloud: Cloud, config: EdgeConfig) -> None:
    (name, *_) = config.models
    store = StateStore(cloud)
    assert infrastructure.known_endpoints(config, cloud) == {}
    store.create()
    own = endpoints.create_endpoint(cloud, "own", layout.endpoint_labels(name, cloud.bucket_name)).name
    endpoints.create_endpoint(cloud, "own", layout.endpoint_labels(name, "a-bucket-of-others"))
    with store.locked(0) as locked:
        locked.save(locked.state.with_endpoint(name, own))
    (thing,) = teardown.find(cloud, config, bucket=False)
    known = infrastructure.known_endpoints(config, cloud)
    assert known == {name: thing.name.rpartition("/")[2]}
    wanted = Wanted(endpoints=True, endpoint_ids=known)
    importable = infrastructure.importable(infrastructure.make_plan(config, wanted), place_of(config))
    assert [one for _, one in importable if "/endpoints/" in one] == [f"{cloud.parent}/endpoints/{known[name]}"]
    # Imported, it carries Terraform's label, as main.tf says, by which a teardown keeps it.
    text = infrastructure.terraform_files(config, wanted, [], "infra")["main.tf"]
    assert f'{layout.MANAGED_LABEL} = "{layout.TERRAFORM}"' in text
    assert "labels" not in text.partition("ignore_changes")[2].partition("]")[0]


def test_nothing_of_a_stranger_s_goes_with_a_teardown_of_all(cloud: Cloud, config: EdgeConfig) -> None:
    (name, *_) = config.models
    labels = {layout.MODEL_LABEL: name}
    stranger = endpoints.create_endpoint(cloud, config.models[name].endpoint_name, labels).name
    # A team-mate's, of the same model in another bucket.
    team = endpoints.create_endpoint(cloud, name, layout.endpoint_labels(name, "another-bucket")).name
    bucket = cloud.storage.create_bucket("a-bucket-of-others")
    bucket.blob(".edge_state/state.yaml").upload_from_string("theirs")
    own = endpoints.create_endpoint(cloud, "own", layout.endpoint_labels(name, cloud.bucket_name)).name
    store = StateStore(cloud)
    store.create()
    with store.locked(0) as locked:
        locked.save(locked.state.with_endpoint(name, own))
    try:
        things = teardown.find(cloud, config, bucket=True)
        assert [thing.name for thing in things] == [own, f"gs://{cloud.bucket_name}"]
        teardown.remove(cloud, config, things, Silence(), 0)
        assert [exists(cloud, one) for one in (own, stranger, team)] == [False, True, True]
        assert bucket.blob(".edge_state/state.yaml").download_as_bytes() == b"theirs"
    finally:
        bucket.delete(force=True)
        cloud.storage.create_bucket(cloud.bucket_name)


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
