"""`service.run` and the page of the example fashion-mnist: over HTTP, and in a real browser where there is one."""

from __future__ import annotations

import io
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Page

from edge_tasks.cloud.client import client_environment
from edge_tasks.repo.edge_yaml import load_config
from tests.browser import LIMIT
from tests.fashion_mnist import bar, use_made_up_data
from tests.repositories import Repository, copy

# Seconds. A service loads Google's SDK before it listens.
START_LIMIT = 120.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Service:
    """A service that runs, as `invoke service.run` started it."""

    repository: Repository
    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def upload(self, content: bytes) -> requests.Response:
        return requests.post(self.url, files={"picture": ("picture.png", content)}, timeout=60)


def start(repository: Repository, *arguments: str) -> Service:
    """Run `invoke service.run` until the page answers."""
    port = free_port()
    process = repository.start("invoke", "service.run", "--port", str(port), *arguments)
    service = Service(repository, process, port)
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        if answers(port):
            return service
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"the service did not answer:\n{process.communicate()[0]}")


def stop(service: Service) -> str:
    """End the service as Ctrl-C does, and return what it printed."""
    service.process.send_signal(signal.SIGINT)
    try:
        return service.process.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired:
        service.process.kill()
        raise


def png(label: int, scale: int = 10) -> bytes:
    """Return the made-up image of a class as a PNG, dark on light as on paper."""
    file = io.BytesIO()
    Image.fromarray(255 - bar(label)).resize((28 * scale, 28 * scale), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def repository(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A fashion-mnist repository, trained on made-up data, and deployed."""
    folder = tmp_path_factory.mktemp("services")
    repository = copy(baked["fashion-mnist"], folder)
    use_made_up_data(repository, folder / "source")
    try:
        repository.run("invoke", "init")
        repository.set_parameter("fashion-mnist", "components", "20")
        repository.set_parameter("fashion-mnist", "is_vertex", "true")
        repository.run("dvc", "repro", "models/fashion-mnist/dvc.yaml")
        repository.run("invoke", "model.deploy")
        yield repository
    finally:
        repository.run("invoke", "local.stop", check=False)


@pytest.fixture(scope="module")
def service(repository: Repository) -> Iterator[Service]:
    service = start(repository)
    try:
        yield service
    finally:
        stop(service)


@pytest.mark.parametrize(("label", "name"), [(9, "Ankle boot"), (2, "Pullover"), (1, "Trouser")])
def test_an_uploaded_picture_is_answered_by_the_endpoint(service: Service, label: int, name: str) -> None:
    answer = service.upload(png(label))
    assert answer.status_code == 200
    assert f"<title>{name} - " in answer.text
    assert re.search(rf'<th scope="row">{name}</th>\s*<td>[1-9]\d %</td>', answer.text)


def test_50_mb_are_refused_with_the_page(service: Service) -> None:
    answer = service.upload(bytes(50_000_000))
    assert answer.status_code == 413
    assert "larger than 10 MB" in answer.text


def test_it_listens_on_this_machine_alone(service: Service) -> None:
    listening = Path("/proc/net/tcp").read_text().split("\n")
    addresses = {line.split()[1] for line in listening[1:] if line and line.split()[3] == "0A"}
    assert f"0100007F:{service.port:04X}" in addresses
    assert f"00000000:{service.port:04X}" not in addresses


def test_a_model_that_is_gone_is_told_on_the_page_and_ctrl_c_ends_the_service(repository: Repository) -> None:
    service = start(repository, "--name", "fashion-web", "--model", "fashion-mnist")
    try:
        repository.run("invoke", "model.undeploy")
        answer = service.upload(png(1))
    finally:
        output = stop(service)
        repository.run("invoke", "model.deploy")
    assert answer.status_code == 502
    assert "The model does not answer" in answer.text
    assert "no answer from the endpoint" in output
    assert f"`fashion-web` at http://127.0.0.1:{service.port}" in output
    assert "Traceback" not in output


def test_with_target_gcp_the_clients_are_led_to_the_project_and_region(baked: dict[str, Path]) -> None:
    config = load_config(baked["fashion-mnist"], {"EDGE_TARGET": "gcp"})
    assert client_environment(config, baked["fashion-mnist"]) == {
        "GOOGLE_CLOUD_PROJECT": "my-gcp-project",
        "GOOGLE_CLOUD_REGION": "us-central1",
    }


class TestWrongUse:
    def test_a_repository_without_services(self, hello_world: Repository) -> None:
        problem, hint = hello_world.fails("invoke", "service.run")
        assert problem == "there are no services here"
        assert "services/NAME/app.py" in hint

    def test_a_name_that_is_none(self, repository: Repository) -> None:
        problem, hint = repository.fails("invoke", "service.run", "--name", "web")
        assert problem == "there is no service `web`; there are `fashion-web`"
        assert hint == "--name fashion-web"

    def test_several_services(self, repository: Repository) -> None:
        second = repository.root / "services" / "second"
        second.mkdir()
        (second / "app.py").touch()
        try:
            problem, hint = repository.fails("invoke", "service.run")
        finally:
            shutil.rmtree(second)
        assert problem == "there are several services: `fashion-web`, `second`"
        assert hint == "add `--name NAME`"

    def test_a_port_that_is_taken(self, service: Service) -> None:
        problem, hint = service.repository.fails("invoke", "service.run", "--port", str(service.port))
        assert problem == f"the service cannot listen on port {service.port}: Address already in use"
        assert "--port" in hint

    def test_packages_that_are_not_installed(self, repository: Repository) -> None:
        requirements = repository.root / "services" / "fashion-web" / "requirements.txt"
        before = requirements.read_text()
        requirements.write_text(f"{before}no-such-package>=1  # for nothing\npillow<2\n")
        try:
            problem, hint = repository.fails("invoke", "service.run")
        finally:
            requirements.write_text(before)
        assert problem == "the service needs packages that are not installed: no-such-package>=1, pillow<2"
        assert hint == "pip install -r services/fashion-web/requirements.txt"

    def test_several_models(self, baked: dict[str, Path], tmp_path: Path) -> None:
        several = copy(baked["fashion-mnist"], tmp_path)
        try:
            several.run("invoke", "model.init", "second", "--example", "hello-world")
            problem, hint = several.fails("invoke", "service.run")
        finally:
            several.run("invoke", "local.stop", check=False)
        assert problem == "there are several models: `fashion-mnist`, `second`"
        assert "--model NAME" in hint


# --- in a browser -----------------------------------------------------------------------------------------------

# The contrast of each visible text with what is behind it, as WCAG 2 counts it: [text, ratio].
CONTRASTS = """() => {
  const light = ([r, g, b]) => {
    const part = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = numbers(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility()) continue;
    const both = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    found.push([text, (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)]);
  }
  return found;
}"""


@pytest.mark.needs("chromium")
class TestInABrowser:
    @pytest.fixture
    def page(self, browser: Browser, service: Service) -> Page:
        page = browser.new_page()
        page.set_default_timeout(LIMIT)
        page.goto(service.url)
        return page

    def test_a_picture_is_uploaded_with_the_keyboard_alone(self, page: Page, tmp_path: Path) -> None:
        (tmp_path / "boot.png").write_bytes(png(9))
        # The browser is told to hand choosers over, which must have happened before the key is pressed.
        page.on("filechooser", lambda _: None)
        page.reload()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.labels[0].textContent") == "Picture of one piece of clothing"
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Space")
        chooser.value.set_files(tmp_path / "boot.png")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="The model says Ankle boot").wait_for()
        assert page.evaluate("document.activeElement.className") == "answer"

    def test_a_drawing_is_answered(self, page: Page) -> None:
        box = page.locator("canvas").bounding_box()
        assert box
        for x in (12, 268):  # one bar from side to side near the top, and the sides
            page.mouse.move(box["x"] + x, box["y"] + 45)
            page.mouse.down()
            page.mouse.move(box["x"] + x, box["y"] + 248, steps=5)
            page.mouse.up()
        page.mouse.move(box["x"] + 12, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 268, box["y"] + 60, steps=5)
        page.mouse.up()
        page.get_by_role("button", name="Ask about the drawing").click()
        page.locator(".answer").wait_for()
        assert " %" in page.locator(".answer").inner_text()
        # The drawing is shown again, to continue it.
        grey = "() => document.querySelector('canvas').getContext('2d').getImageData(140, 60, 1, 1).data[0] < 128"
        page.wait_for_function(grey)

    def test_a_cleared_drawing_is_told_to_be_empty(self, page: Page) -> None:
        page.locator("canvas").click()
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("button", name="Ask about the drawing").click()
        assert "one colour only" in page.get_by_role("alert").inner_text()

    def test_without_javascript_uploading_works_and_drawing_is_not_shown(
        self, browser: Browser, service: Service
    ) -> None:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.set_default_timeout(LIMIT)
        page.goto(service.url)
        assert not page.get_by_role("button", name="Ask about the drawing").is_visible()
        page.get_by_label("Picture of one piece of clothing").set_input_files(
            {"name": "trouser.png", "mimeType": "image/png", "buffer": png(1)}
        )
        page.get_by_role("button", name="Ask about the picture").click()
        page.get_by_role("heading", name="Trouser").wait_for()

    def test_50_mb_are_answered_with_the_reason(self, page: Page, tmp_path: Path) -> None:
        with (tmp_path / "large.png").open("wb") as file:
            file.truncate(50_000_000)
        page.get_by_label("Picture of one piece of clothing").set_input_files(tmp_path / "large.png")
        page.get_by_role("button", name="Ask about the picture").click()
        assert "larger than 10 MB" in page.get_by_role("alert").inner_text()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_can_be_read_and_nothing_comes_from_elsewhere(
        self, browser: Browser, service: Service, scheme: Literal["light", "dark"]
    ) -> None:
        page = browser.new_page(color_scheme=scheme, viewport={"width": 320, "height": 640})
        page.set_default_timeout(LIMIT)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for content in (png(9), b"no picture"):
            page.goto(service.url)
            page.get_by_label("Picture of one piece of clothing").set_input_files(
                {"name": "picture.png", "mimeType": "image/png", "buffer": content}
            )
            page.get_by_role("button", name="Ask about the picture").click()
            page.locator("section").wait_for()
            contrasts = page.evaluate(CONTRASTS)
            assert len(contrasts) > 10
            assert not [text for text, ratio in contrasts if ratio < 4.5]
            assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert all(url.startswith((service.url, "data:")) for url in asked)
