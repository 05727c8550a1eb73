"""The dashboard's pages next to runs, in a browser: models, endpoints, jobs, pipelines, monitoring, data."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from edge_tasks.dashboard.loop import Section
from edge_tasks.dashboard.server import DashboardServer
from edge_tasks.domain.saved_views import SavedView
from edge_tasks.errors import ConflictError, NotFoundError
from tests.browser import HOSTILE, Page
from tests.invented_loop import InventedLoop
from tests.invented_runs import InventedRuns, invented_row

pytestmark = pytest.mark.needs("chromium")

GRID_ROWS = "document.querySelectorAll('.grid-row:not([hidden])').length"


@pytest.fixture
def runs() -> InventedRuns:
    return InventedRuns(40)


@pytest.fixture
def loop(runs: InventedRuns) -> InventedLoop:
    return InventedLoop(runs)


@pytest.fixture
def server(runs: InventedRuns, loop: InventedLoop, page: Page) -> Iterator[DashboardServer]:
    server = DashboardServer(runs, loop, port=0)
    server.feed.read()
    with page.visiting(server):
        yield server


def places(runs: InventedRuns) -> dict[str, str]:
    """Each kind of page, and what is there once it is drawn."""
    row = next(row for row in runs.rows() if row.metrics and row.job)
    job = (row.job or "").rpartition("/")[2]
    return {
        "#/": ".grid-row",
        f"#/run/{row.key}": ".picture",
        "#/compare?filter=user%3Dada": ".plot canvas",
        "#/groups": ".grid-row",
        "#/models": ".panel",
        "#/model/digits": ".try form",
        "#/endpoints": ".minutes svg",
        "#/jobs": ".grid-row",
        f"#/job/{job}": ".output",
        "#/pipelines": ".grid-row",
        "#/pipeline/churn-weekly-20261123080000": ".task",
        "#/monitoring": ".panel",
        "#/monitor/digits": ".histogram",
        "#/data": ".grid-row",
        f"#/data/{row.data}": ".lineage",
    }


def visit(page: Page, place: str, sign: str) -> None:
    page.evaluate(f"location.hash = {place!r}")
    page.page.locator(f"main {sign}").first.wait_for(state="attached")


# --- every page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 3840])
def test_no_page_is_wider_than_its_window_and_all_has_a_name(
    page: Page, server: DashboardServer, runs: InventedRuns, width: int
) -> None:
    page.look(width=width, height=800)
    page.open(server.address)
    for place, sign in places(runs).items():
        visit(page, place, sign)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, place
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, a, select, input, textarea')].filter((element) => !element.hidden"
            " && !(element.ariaLabel || element.innerText?.trim() || element.labels?.length)).map((e) => e.outerHTML)"
        )
        assert nameless == [], place


@pytest.mark.slow
@pytest.mark.needs("axe")
def test_axe_finds_nothing_on_any_page(page: Page, server: DashboardServer, runs: InventedRuns) -> None:
    page.open(server.address)
    found = {}
    for place, sign in places(runs).items():
        visit(page, place, sign)
        if problems := page.audit():
            found[place] = problems
    assert found == {}


@pytest.mark.needs("axe")
def test_axe_sees_all_text_in_the_dark(page: Page, server: DashboardServer, runs: InventedRuns) -> None:
    page.look(dark=True)
    page.open(server.address)
    for place, sign in places(runs).items():
        if place.startswith(("#/run", "#/endpoints", "#/monitor/")):
            visit(page, place, sign)
            assert page.audit("color-contrast") == [], place


class SlowLoop(InventedLoop):
    """A job's log is answered when the test says so."""

    def __init__(self, runs: InventedRuns):
        super().__init__(runs)
        self.answering = threading.Event()

    def job_log(self, job_id: str, first: int) -> dict[str, Any]:
        self.answering.wait(60)
        return super().job_log(job_id, first)


@pytest.mark.needs("axe")
def test_axe_finds_nothing_on_a_log_before_its_first_line(page: Page, runs: InventedRuns) -> None:
    row = next(row for row in runs.rows() if row.job)
    loop = SlowLoop(runs)
    with page.visiting(DashboardServer(runs, loop, port=0)) as url:
        page.open(f"{url}#/job/{(row.job or '').rpartition('/')[2]}")
        page.wait("document.querySelector('.output')")
        found = page.audit()
        loop.answering.set()
        page.wait("document.querySelector('.output').textContent")
        assert found == []


def test_pages_are_reached_by_keys_and_tabs(page: Page, server: DashboardServer) -> None:
    page.open(server.address)
    page.wait(f"{GRID_ROWS} > 0")
    page.press("3")
    page.wait("document.querySelector('main h1')?.innerText === 'Endpoints'")
    assert page.text('.tabs [aria-current="page"]') == "Endpoints"
    page.click('.tabs [data-tab="jobs"]')
    page.wait(f"document.title === 'Jobs' && {GRID_ROWS} > 0")


def test_what_cannot_be_read_is_told_on_each_page(page: Page, server: DashboardServer, loop: InventedLoop) -> None:
    from edge_tasks.errors import CloudError

    loop.problem = CloudError("no answer from the `API`", "check the network")
    page.open(server.address)
    for name in ("models", "endpoints", "jobs", "pipelines", "monitoring"):
        visit(page, f"#/{name}", ".empty p")
        assert page.texts(".empty p") == ["No answer from the API", "Check the network"], name


def test_where_the_records_lie_gives_way_before_the_pages_names(page: Page, server: DashboardServer) -> None:
    page.open(f"{server.url}#/models")
    page.wait("document.querySelector('#place').textContent && document.querySelector('#pulse').textContent")
    page.evaluate("document.querySelector('#place').textContent = 'gs://' + 'a-long-name-of-a-bucket/'.repeat(20)")
    assert page.evaluate("(tabs => tabs.scrollWidth - tabs.clientWidth)(document.querySelector('.tabs'))") == 0
    assert page.evaluate("(place => place.scrollWidth > place.clientWidth)(document.querySelector('#place'))")


def test_an_address_of_no_page_is_told(page: Page, server: DashboardServer) -> None:
    page.open(server.address)
    page.wait(f"{GRID_ROWS} > 0")
    for place in ("#/nothing", "#/models/digits", "#/run/digits", "#/job", "#/model/"):
        visit(page, place, ".empty code")
        assert page.text(".empty h2") == "There is no such page"
        assert page.text(".empty code") == place
        assert page.texts(".tabs [aria-current]") == []
    page.click(".empty a")
    page.wait(f"{GRID_ROWS} > 0")
    visit(page, "#/models/", ".panel")


# --- what serves --------------------------------------------------------------------------------------------------


def test_the_card_of_a_model_shows_what_the_version_that_serves_was_measured_as(
    page: Page, server: DashboardServer, runs: InventedRuns, loop: InventedLoop
) -> None:
    served = loop.section("models").content
    assert served is not None
    stable = next(one for one in served["models"] if one["name"] == "digits")["serving"][0]
    row = next(row for row in runs.rows() if row.id == stable["run"])
    runs.change(row, metrics={"accuracy": 0.875})
    runs.add(replace(row, id="a-try", version=None, metrics={"accuracy": 0.125}, created="2100-01-01T00:00:00+00:00"))
    page.open(f"{server.url}#/models")
    visit(page, "#/models", ".panel")
    (card,) = (text for text in page.texts(".panel") if text.startswith("digits"))
    assert f"accuracy of version {row.version}\n0.875" in card.lower()
    assert "0.125" not in card


def test_a_canary_stands_beside_the_stable_version_with_where_both_come_from(
    page: Page, server: DashboardServer, loop: InventedLoop
) -> None:
    page.open(f"{server.url}#/endpoints")
    card = "[data-model=digits] "
    page.wait("document.querySelectorAll('[data-model=digits] .minutes svg').length === 2")
    page.wait(f"document.querySelectorAll({card + '.measured .changed'!r}).length === 1")
    stable, canary = loop.section("endpoints").content["endpoints"][1]["versions"]  # type: ignore[index]
    # A card is laid out, and has a text, once it is in view; what comes later makes it again.
    page.wait(
        f"""(roles => {{
            roles.at(-1)?.scrollIntoView();
            return roles.length === 2 && roles.every(role => role.innerText);
        }})([...document.querySelectorAll({card + ".version h3 .role"!r})])"""
    )
    assert page.texts(f"{card}.version h3 .role") == [f"version {stable['version']}", f"version {canary['version']}"]
    assert page.texts(f"{card}.version h3 strong") == ["90 %", "10 %"]
    titles = page.texts(f"{card}.lineage ol:nth-child(2) .step-title")
    assert titles == ["data/digits.npz", canary["commit"][:8], canary["run"][:15], canary["version"], "digits-endpoint"]
    measured = [text.split("\n") for text in page.texts(f"{card}.measured")]
    assert [line[3].partition(" ")[0] for line in measured] == ["none", "3"]
    assert [(line[5], line[7]) for line in measured] == [("12 ms", "38 ms"), ("12 ms", "1.2 s")]
    assert [text.split("\n")[9] for text in page.texts(f"{card}.measured")] == ["age changed", "none"]
    assert "Locked by grace on ci-3" in page.text("main")
    assert page.texts(".plain tbody td")[1:] == ["ada", "invoke model.deploy", "digits: version 3 -> 4"]


def test_versions_are_put_side_by_side(page: Page, server: DashboardServer) -> None:
    page.open(f"{server.url}#/model/digits")
    page.wait(f"{GRID_ROWS} > 2")
    page.click(".grid-row:nth-child(1) .select input")
    page.click(".grid-row:nth-child(2) .select input")
    page.click(".selection .primary")
    page.wait("document.querySelector('main h1')?.innerText === '2 runs compared'")


def test_a_request_is_made_by_a_form_and_answered(page: Page, server: DashboardServer, loop: InventedLoop) -> None:
    page.open(server.address)
    page.wait("runs.size > 0")
    visit(page, "#/model/digits", ".try form")
    page.page.get_by_role("spinbutton", name="age").fill("52")
    page.page.get_by_role("spinbutton", name="monthly_fee").fill("")
    page.page.get_by_role("combobox", name="roams").select_option("true")
    page.click(".try button[type=submit]")
    assert "stays" in page.text(".prediction")
    wanted = {"instances": [{"age": 52, "plan": "family", "roams": True}]}
    assert json.loads(loop.asked[-1]) == wanted
    curl, python = page.texts(".snippet pre")
    words = shlex.split(curl.replace("\\\n", " "))
    assert words[1].endswith("/digits:predict")
    assert json.loads(words[words.index("-d") + 1]) == wanted
    sent: dict[str, Any] = {}
    run_python(python, sent)
    assert sent["json"] == wanted
    page.click("text=with an explanation")
    page.click(".try button[type=submit]")
    page.wait("document.querySelectorAll('.attribution').length === 2")
    page.page.get_by_role("combobox", name="plan").fill("refuse")
    page.click(".try button[type=submit]")
    assert "column age is a text, not an integer" in page.text(".answer .failure")
    assert ["502" in problem for problem in page.problems] == [True]
    page.problems.clear()


def run_python(code: str, sent: dict[str, Any]) -> None:
    """Run the page's Python with a `requests` that only notes what it is asked to send."""

    class Session:
        def post(self, url: str, **options: Any) -> Session:
            sent.update(url=url, **options)
            return self

        def raise_for_status(self) -> None: ...

        def json(self) -> dict[str, Any]:
            return {"predictions": []}

    exec(code.replace("import requests", ""), {"requests": SimpleNamespace(Session=Session), "print": lambda *_: None})


def test_who_has_no_key_may_read_only(page: Page, server: DashboardServer, runs: InventedRuns) -> None:
    row = next(iter(runs.rows()))
    page.open(f"{server.url}#/run/{row.key}")
    page.wait("document.querySelector('.run-head .line')")
    assert page.evaluate("document.querySelectorAll('.run-head .small').length") == 0
    visit(page, "#/model/digits", ".try form")
    assert page.evaluate("document.querySelector('.try button[type=submit]').disabled") is True


def frames(page: Page, scroller: str, step: int, count: int) -> list[float]:
    """Scroll, and return the milliseconds between the frames."""
    found: list[float] = page.evaluate(
        f"(async () => {{ const box = {scroller}; const times = []; for (let number = 0; number < {count}; number++) {{"
        f" box.scrollTop += {step}; times.push(await new Promise(requestAnimationFrame)); }}"
        " return times.slice(1).map((time, place) => time - times[place]) })()"
    )
    return found


def test_a_hundred_endpoints_and_a_thousand_versions_stay_fluid(page: Page) -> None:
    runs = InventedRuns(0)
    for number in range(2400):
        runs.add(replace(invented_row(number), model="digits" if number % 2 else f"model-{number // 2 % 99:02}"))
    server = DashboardServer(runs, InventedLoop(runs), port=0)
    server.feed.read()
    with page.visiting(server):
        took = {}
        for name, count in (("endpoints", "document.querySelectorAll('.endpoint').length === 100"),
                            ("model/digits", f"{GRID_ROWS} > 2")):  # fmt: skip
            page.open(f"{server.url}#/{name}")
            page.wait(count)
            ready = page.evaluate("performance.now()")
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            box = "document.scrollingElement" if name == "endpoints" else "document.querySelector('.grid')"
            took[name] = (page.evaluate(paint), ready, max(frames(page, box, 400, 60)))
        assert page.evaluate(f"{GRID_ROWS} < 100 && document.querySelector('.grid').scrollTop > 10000")
        print(took)  # noqa: T201 - seen when it fails
        # Generous, as for runs; docs/dashboard.md has what was measured on a quiet machine.
        assert max(first for first, _, _ in took.values()) < 5000
        assert max(gap for _, _, gap in took.values()) < 1000


# --- views ----------------------------------------------------------------------------------------------------------


class KeptViews:
    """Views in memory."""

    def __init__(self, *views: SavedView) -> None:
        self.views = {view.name: view for view in views}

    def list(self) -> list[SavedView]:
        return list(self.views.values())

    def save(self, view: SavedView, *, replace: bool = False) -> None:
        if view.name in self.views and not replace:
            raise ConflictError(f"there is a view `{view.name}` already", "choose another name, or replace it")
        self.views[view.name] = view

    def remove(self, name: str) -> None:
        if name not in self.views:
            raise NotFoundError(f"there is no view `{name}`")
        del self.views[name]


def a_view(name: str, address: str = "#/groups") -> SavedView:
    return SavedView(name, address, "ada", "2026-11-28T23:00:00+00:00")


def with_views(runs: InventedRuns, views: KeptViews) -> DashboardServer:
    server = DashboardServer(runs, InventedLoop(runs), port=0, views=views, user="grace")
    server.feed.read()
    return server


def test_what_is_shown_is_saved_for_the_team_and_opened_by_its_link(page: Page, runs: InventedRuns) -> None:
    views = KeptViews()
    server = with_views(runs, views)
    with page.visiting(server):
        page.open(server.address)
        page.wait(f"{GRID_ROWS} > 0")
        page.evaluate("location.hash = '#/?filter=user+%3D+ada&sort=metrics.loss&order=up'")
        page.wait("document.querySelector('#filter')?.value === 'user = ada'")
        page.click("text=Columns")
        page.page.get_by_role("checkbox", name="host", exact=True).check()
        page.click("dialog .primary")
        page.click("main >> text=Views")
        page.page.get_by_label("Save what is shown as").fill("ada's <b>best</b>")
        page.press("Enter")
        page.wait("document.querySelectorAll('.view-list li').length === 1")
        (saved,) = views.list()
        assert (saved.name, saved.by) == ("ada's <b>best</b>", "grace")
        assert {"filter=user+%3D+ada", "sort=metrics.loss", "order=up", "column=host"} <= set(
            saved.address[3:].split("&")
        )
        page.page.get_by_label("Save what is shown as").fill("ada's <b>best</b>")
        assert page.text(".view-form button") == "Replace"
        page.click("dialog >> text=Done")
        # Another browser, in which nobody has chosen columns, opens the link.
        page.evaluate("localStorage.clear()")
        page.open(f"{server.url}#/view/{quote(saved.name, safe='')}")
        page.wait(f"{GRID_ROWS} > 0")
        assert "host" in page.texts(".grid-head [role=columnheader]")
        assert page.evaluate("document.querySelector('#filter').value") == "user = ada"
        page.open(server.address)
        page.wait(f"{GRID_ROWS} > 0")
        page.click("main >> text=Views")
        page.click(".view-list button")
        page.wait("document.querySelectorAll('.view-list li').length === 0")
        assert views.list() == []


def test_a_view_of_a_comparison_keeps_how_its_plots_are_chosen(page: Page, server: DashboardServer) -> None:
    page.open(f"{server.url}#/compare?filter=user%3Dada")
    page.wait("document.querySelector('.plot canvas')")
    page.page.locator("[data-axis=y]").select_option("parameters.depth")
    page.page.get_by_label("only what differs").uncheck()
    page.wait("location.hash.endsWith('&scatter-y=parameters.depth&all=yes')")
    address = page.evaluate("location.hash")
    page.open(server.url + address)
    page.wait("document.querySelector('.scatter canvas')")
    page.wait("document.querySelector('[data-axis=y]').value === 'parameters.depth'")
    assert not page.page.get_by_label("only what differs").is_checked()


def test_a_view_that_is_not_there_is_told(page: Page, server: DashboardServer) -> None:
    page.open(f"{server.url}#/view/{quote(HOSTILE, safe='')}")
    page.wait("document.querySelector('.empty .button')")
    assert "There is no view <script>" in page.text(".empty h2")


def test_no_view_leads_out_of_the_page_or_runs_as_script(page: Page, runs: InventedRuns) -> None:
    wrong = ("javascript:document.title='owned'", "https://example.com/", "#/?a=<b>", "//example.com")
    views = KeptViews(a_view(HOSTILE), a_view("__proto__"), *(a_view(f"to {address}", address) for address in wrong))
    server = with_views(runs, views)
    with page.visiting(server):
        page.open(server.url)
        page.wait(f"{GRID_ROWS} > 0")
        page.click("main >> text=Views")
        page.wait("document.querySelectorAll('.view-list li').length === 2")
        assert page.texts(".view-list li a") == [HOSTILE, "__proto__"]
        assert page.evaluate("document.querySelectorAll('.view-list button').length") == 0, "no key, no removal"
        page.click("dialog >> text=Done")
        for address in wrong:
            page.evaluate(f"location.hash = {'#/view/' + quote('to ' + address, safe='')!r}")
            page.wait("document.querySelector('.empty h2')?.innerText.startsWith('There is no view')")
        page.evaluate(f"location.hash = {'#/view/' + quote(HOSTILE, safe='')!r}")
        page.wait("location.hash === '#/groups'")
        assert page.evaluate("document.title") != "owned"


# --- jobs, pipelines, monitoring, data ------------------------------------------------------------------------------


def test_a_job_has_its_log_and_a_batch_prediction_its_results(page: Page, server: DashboardServer) -> None:
    page.open(f"{server.url}#/jobs")
    page.wait(f"{GRID_ROWS} > 2")
    page.click(".grid-row:nth-child(2) a")
    page.wait("document.querySelector('.output')?.textContent.endsWith('loss 0.0250\\n')")
    visit(page, "#/job/77", ".pairs")
    assert page.texts(".pairs td")[1:3] == ["9,998", "2"]


def test_a_pipeline_is_drawn_as_a_graph(page: Page, server: DashboardServer) -> None:
    page.open(f"{server.url}#/pipeline/churn-weekly-20261123080000")
    page.wait("document.querySelectorAll('.task').length === 5")
    assert page.evaluate("document.querySelectorAll('.graph path').length") == 5
    lefts = page.evaluate("[...document.querySelectorAll('.task')].map((box) => box.getBoundingClientRect().left)")
    prepare, train, baseline, evaluate, deploy = lefts
    assert prepare < train == baseline < evaluate < deploy


def test_an_api_without_pipelines_is_told(page: Page, runs: InventedRuns) -> None:
    server = DashboardServer(runs, InventedLoop(runs, pipelines=False), port=0)
    with page.visiting(server):
        page.open(f"{server.url}#/pipelines")
        page.wait("document.querySelector('.empty h2')?.innerText === 'No pipelines here'")
        assert "UNIMPLEMENTED" in page.text(".empty")


def test_drift_is_shown_with_what_was_before_and_is_now(page: Page, server: DashboardServer) -> None:
    page.open(f"{server.url}#/monitoring")
    page.click(".panel a")
    page.wait("document.querySelectorAll('.histogram').length === 4")
    assert page.text(".verdict") == "age has changed against its training"
    assert page.texts(".card.changed .name") == ["age"]
    # A category's names, the beginnings of a date's bins, and one bin where the training had no value at all.
    names, dates, none = ["basic", "family", "prime", "student"], ["< 01-01", "01-01", "\u2265 03-10"], ["any"]
    assert page.texts(".card:not(.changed) .bar-labels span") == names + dates + none


def test_data_lead_to_what_came_of_them(page: Page, server: DashboardServer, runs: InventedRuns) -> None:
    row = next(row for row in runs.rows() if row.version)
    page.open(f"{server.url}#/data/{row.data}")
    page.wait("document.querySelector('.pairs code')")
    assert page.texts(".step-title")[:4] == [
        (row.data or "")[:8], (row.commit or "")[:8], row.id[:15], row.version,
    ]  # fmt: skip


# --- runs ---------------------------------------------------------------------------------------------------------


def test_a_run_is_described_and_removed(page: Page, server: DashboardServer, runs: InventedRuns) -> None:
    row = max(runs.rows(), key=lambda row: row.created)
    page.open(server.address)
    page.wait("runs.size > 0")
    assert page.evaluate("location.hash") == "#/", "the key does not stay in the address"
    visit(page, f"#/run/{row.key}", ".small")
    page.click("text=Describe")
    page.page.get_by_label("Name").fill("first <b>try</b>")
    page.page.get_by_label("Tags").fill("best, kept")
    page.page.get_by_label("Notes").fill("it works")
    page.click("dialog .primary")
    page.wait("document.querySelector('.called')?.innerText === 'first <b>try</b>'")
    page.wait("document.querySelector('.notes')?.innerText === 'it works'")
    assert page.texts(".run-head .tag") == ["best", "kept"]
    page.click(".run-head >> text=Remove")
    page.click("dialog .danger")
    page.wait("document.title === 'Runs'")
    page.wait(f"!runs.get({row.key!r})")


def test_seeds_are_taken_together_with_their_spread(page: Page) -> None:
    runs = InventedRuns(4)
    for number, row in enumerate(list(runs.rows())):
        values = {"parameters": {"C": number // 2, "seed": number}, "metrics": {"accuracy": 0.9 + number / 100}}
        runs.change(row, status="completed", **values)
        runs.change(replace(next(one for one in runs.rows() if one.key == row.key), model=row.model), **values)
    server = DashboardServer(runs, InventedLoop(runs), port=0)
    with page.visiting(server):
        page.open(f"{server.url}#/groups?model=digits")
        page.wait(f"{GRID_ROWS} > 0")
        found = {tuple(text.split("\n")) for text in page.texts(".grid-row:not([hidden])")}
        groups: dict[int, list[float]] = {}
        for row in runs.rows():
            if row.model == "digits":
                groups.setdefault(row.parameters["C"], []).append(row.metrics["accuracy"])
        assert {(line[0], line[2]) for line in found} == {(f"C={c}", str(len(values))) for c, values in groups.items()}
        several = [line for line in found if line[2] == "2"]
        assert all("± 0.0071" in line[3] for line in several)
        assert several


def test_the_runs_shown_are_saved_as_csv(page: Page, server: DashboardServer, runs: InventedRuns) -> None:
    row = next(row for row in runs.rows() if row.user == "ada")
    runs.change(row, tags=("=1+1",))
    server.feed.read()
    page.open(f"{server.url}#/?filter=user%3Dada")
    page.wait(f"{GRID_ROWS} > 0")
    with page.page.expect_download() as download:
        page.click("text=CSV")
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    head = lines[0].split(",")
    assert {"run", "metrics.accuracy", "parameters.depth", "commit"} <= set(head)
    assert len(lines) == 1 + sum(row.user == "ada" for row in runs.rows())
    assert any("'=1+1" in line for line in lines), "no spreadsheet computes what a run recorded"


def test_two_texts_are_compared_line_by_line(page: Page, server: DashboardServer) -> None:
    page.open(server.url)
    before, after = "a\nb\nc\nd\n", "a\nc\nx\nd\n"
    lines = page.evaluate(
        f"difference.lines({json.dumps(before)}.split('\\n'), {json.dumps(after)}.split('\\n'))"
        ".map((line) => line.sign + line.text)"
    )
    assert lines == [" a", "-b", " c", "+x", " d", " "]


# --- foreign text -------------------------------------------------------------------------------------------------


class HostileLoop(InventedLoop):
    """Every name and every text is an attack."""

    def section(self, name: str) -> Section:
        found = super().section(name)
        return Section(hostile(found.content), found.read_at)

    def watched(self, model: str) -> dict[str, Any]:
        found: dict[str, Any] = hostile(super().watched("digits"))
        return found

    def drifts(self, model: str) -> dict[str, Any]:
        found: dict[str, Any] = hostile(super().drifts("digits"))
        return found

    def form(self, model: str) -> dict[str, Any]:
        found: dict[str, Any] = hostile(super().form("digits"))
        return found


# What the page chooses by stays what it is.
_KEPT = {"kind", "role", "at", "created", "started", "ended", "since", "until", "form", "type", "name", "model", "id"}


def hostile(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: hostile(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner, key) for inner in value]
    return value + HOSTILE if isinstance(value, str) and key not in _KEPT else value


def test_nothing_that_is_told_of_the_loop_runs_as_script(page: Page, runs: InventedRuns) -> None:
    server = DashboardServer(runs, HostileLoop(runs), port=0)
    server.feed.read()
    with page.visiting(server):
        page.open(server.address)
        for place, sign in places(runs).items():
            if place.startswith(("#/job/", "#/groups", "#/compare", "#/data", "#/run")):
                continue
            visit(page, place, sign)
            assert page.evaluate("document.title") != "owned", place
            assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0, place
        visit(page, "#/endpoints", ".panel")
        assert HOSTILE in page.text("main")
