"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.repo.edge_yaml import load_config
from tests import mypy_cache as mypy
from tests import needs, seeds, threads
from tests.buckets import bucket, emptied
from tests.published import publish
from tests.repositories import Repository, bake, copy

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser import Page

# A shell starts what stands before `&` with Ctrl-C ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Commands can be forked, and compile their bytecode once, as the tests do, whatever the machine's setting.
for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(name, None)
sys.dont_write_bytecode = False

# Fixtures that bake repositories to run commands in, or start what others share, or a browser.
SLOW = frozenset(
    {
        *("baked", "servers", "shared", "own_emulator", "job_emulator", "isolated", "running", "engine"),
        *("provider", "wheel", "checkout", "browser"),
    }
)

_WATCH = pytest.StashKey[threads.Watch]()

seeds.draw()
seeds.set_up_hypothesis()


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a misspelt EDGE_TESTS_REQUIRE before anything runs; note the threads that no test has started."""
    needs.required()
    config.stash[_WATCH] = threads.Watch()


def pytest_report_header() -> str:
    """Say what repeats this run."""
    return f"EDGE_TESTS_SEED={seeds.first()} EDGE_TESTS_REQUIRE={','.join(sorted(needs.required()))}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what runs whole commands, or servers of its own."""
    for item in items:
        if SLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look at the marks `needs`, before any fixture of the test is made."""
    needs.check(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Fail the last test of a module whose tests have left threads behind, when its fixtures have ended."""
    yield
    watch = item.config.stash[_WATCH]
    watch.look(item.nodeid)
    if nextitem is None or nextitem.path != item.path:
        left = watch.left()
        assert left == []


@pytest.fixture(scope="session")
def baked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One fresh repository for each example, to be copied, never changed."""
    folder = tmp_path_factory.mktemp("baked")
    return {
        example: bake(folder / example, project_name="My project", example=example)
        for example in ("hello-world", "tabular", "digits", "fashion-mnist")
    }


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for mypy's cache that knows the libraries of a generated repository already."""
    return shutil.copytree(mypy.kept(), tmp_path_factory.mktemp("mypy") / "cache")


@pytest.fixture(scope="session")
def github(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables by which git finds this checkout at GitHub's address."""
    return publish(tmp_path_factory.mktemp("github"))


@pytest.fixture
def hello_world(baked: dict[str, Path], tmp_path: Path) -> Iterator[Repository]:
    """A fresh hello-world repository, not initialised; its servers are ended afterwards."""
    repository = copy(baked["hello-world"], tmp_path)
    yield repository
    repository.run("invoke", "local.stop", check=False)


@pytest.fixture(scope="module")
def digits(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """One digits repository for all tests of a module: initialised, trained as a job, and deployed."""
    repository = copy(baked["digits"], tmp_path_factory.mktemp("digits"))
    try:
        repository.run("invoke", "init")
        repository.run("dvc", "repro", "models/digits/dvc.yaml")
        repository.run("invoke", "model.deploy")
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    from tests.browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of it; what goes wrong in it fails the test."""
    from tests.browser import Page

    page = Page(browser)
    yield page
    page.evaluate("0")  # what has gone wrong until now has been heard of
    assert page.problems == []
    page.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an edge.yaml, its own servers and a bucket."""
    with bucket(tmp_path_factory.mktemp("bucket")) as root:
        yield root


@pytest.fixture
def config(root: Path) -> EdgeConfig:
    """What the edge.yaml of `root` says."""
    return load_config(root, {})


@pytest.fixture
def cloud(root: Path, config: EdgeConfig) -> Iterator[Cloud]:
    """The clients for the bucket of `root`, which is emptied afterwards."""
    with emptied(connect(config, root)) as cloud:
        yield cloud


@pytest.fixture
def store(cloud: Cloud, config: EdgeConfig) -> RunStore:
    """The runs in that bucket."""
    return RunStore(cloud, config)
