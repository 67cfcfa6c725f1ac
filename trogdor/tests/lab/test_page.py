"""The live page in real Chromium, over a lab with real daemons."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from lab.browsing import CHROMIUM, artefacts, browser, door
from lab.waiting import forget_all, wait_until
from trogdor.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.xdist_group("page"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]

pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install playwright")

DEADLINE_MS = 60_000
SIZES = {"phone": (390, 844), "laptop": (1280, 800), "wide": (1920, 1080)}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(nodes=3) as nodes:
        nodes.start_daemons()
        yield nodes


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def address(lab: Lab) -> Iterator[str]:
    with door(lab.runtime / "coordinator.sock") as found:
        yield found


@pytest.fixture
def page(chromium: Any, address: str, lab: Lab) -> Iterator[Any]:
    """The page, open; fails the test when it asked for anything elsewhere or an error was thrown in it."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(DEADLINE_MS)
    asked: list[str] = []
    thrown: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: thrown.append(str(error)))
    opened.goto(address)
    opened.get_by_role("status").get_by_text("live", exact=True).wait_for()
    yield opened
    context.close()
    forget_all(lab.client())
    assert not thrown
    assert not [url for url in asked if not url.startswith((address, "data:"))]


def bar(page: Any, task_id: str, node: str, kind: str = "") -> Any:
    """A bar of the timeline; ``kind`` narrows it down by its class."""
    return page.locator(f'#timeline [data-node="{node}"] .bar{kind}[data-task="{task_id}"]')


DECIDED = ":not(.planned):not(.armed)"
"""What a fault's bar is once there is a verdict on it, whichever: that is for the probes' tests."""


def test_an_empty_list_says_how_to_fill_it(page: Any, lab: Lab) -> None:
    page.get_by_text("No tasks yet").wait_for()
    lab.client().create_task("first", {"class": "NoOpTaskSpec"})
    page.get_by_text("No tasks yet").wait_for(state="hidden")


def test_a_fault_is_created_by_the_form_seen_live_stopped_and_reported(page: Any, lab: Lab) -> None:
    page.get_by_role("button", name="New task").click()
    page.get_by_label("What", exact=True).select_option(label="NetworkPartitionFaultSpec")
    page.get_by_label("Task id").fill("by-form")
    page.get_by_label("For, in seconds").fill("600")
    page.get_by_role("button", name="Create").click()
    bar(page, "by-form", "n1", DECIDED).wait_for()
    page.screenshot(path=artefacts() / "page-fault.png")
    assert lab.client().task("by-form")["spec"]["partitions"] == [["n1"], ["n2", "n3"]]

    bar(page, "by-form", "n2").click()
    page.get_by_role("dialog").get_by_role("heading", name="by-form").wait_for()
    page.get_by_role("button", name="Stop it").click()
    page.locator("#details-words").get_by_text("done").wait_for()
    assert lab.client().task("by-form")["state"] == "DONE"
    told = page.locator("#details-nodes tbody tr")
    assert [row.split("\t")[0] for row in told.all_inner_texts()] == ["n1", "n2", "n3"]
    assert re.search(r"(stopped|unverified: .*)$", page.locator("#details-words").inner_text())
    page.screenshot(path=artefacts() / "page-details.png")

    page.get_by_role("link", name="Report").click()
    page.get_by_role("heading", name="Asked against actual").wait_for()
    assert page.get_by_role("cell", name="n3").count() >= 1
    page.screenshot(path=artefacts() / "report.png", full_page=True)


def test_what_is_wrong_with_a_form_is_said_and_nothing_is_created(page: Any, lab: Lab) -> None:
    page.get_by_role("button", name="New task").click()
    page.get_by_label("What", exact=True).select_option(label="ProcessStopFaultSpec")
    page.get_by_label("Task id").fill("wrong")
    page.locator('[data-field="nodeNames 1"]').fill("n99")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("alert").get_by_text("n99").wait_for()
    assert "wrong" not in lab.client().tasks()


def test_all_can_be_done_by_keyboard(page: Any, lab: Lab) -> None:
    lab.client().create_task("one", {"class": "NoOpTaskSpec", "durationMs": 600_000})
    bar(page, "one", "n1").wait_for()
    page.locator("#timeline").focus()
    page.keyboard.press("ArrowRight")
    chosen = page.evaluate("document.activeElement.closest('[data-node]').dataset.node")
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.closest('[data-node]').dataset.node")
    assert (chosen, below) == ("n1", "n2")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("heading", level=2).wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    lab.client().stop_task("one")


USABLE = {
    "button",
    "link",
    "textbox",
    "searchbox",
    "spinbutton",
    "combobox",
    "checkbox",
    "listitem",
    "dialog",
    "region",
}


def test_a_screen_reader_is_told_what_everything_is(page: Any, lab: Lab) -> None:
    lab.client().create_task("told", {"class": "NoOpTaskSpec", "durationMs": 600_000})
    bar(page, "told", "n1").wait_for()
    reading = page.context.new_cdp_session(page)

    def spoken() -> list[tuple[str, str]]:
        """(role, name) of all that can be used or gone to."""
        nodes = reading.send("Accessibility.getFullAXTree")["nodes"]
        shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in USABLE]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in shown]

    def running(role: str, name: str) -> bool:
        return role == "listitem" and name.startswith("NoOpTask on n1, task told: running")

    wait_until(lambda: any(running(role, name) for role, name in spoken()), DEADLINE_MS / 1000)
    of_page = spoken()
    page.get_by_role("button", name="New task").click()
    page.get_by_label("What", exact=True).select_option(label="DegradedLinksFaultSpec")
    page.locator("#summary").get_by_text("Slows directed links down").wait_for()
    of_form = spoken()
    assert ("dialog", "New task") in of_form
    events = {"listitem"}  # lines of the log of events are their own text
    assert [role for role, name in of_page + of_form if not name.strip() and role not in events] == []
    page.keyboard.press("Escape")
    lab.client().stop_task("told")


def test_a_mark_and_an_event_are_shown_as_they_come(page: Any, lab: Lab) -> None:
    lab.client().mark("deploy <b>42</b>")
    page.locator("#events").get_by_text("deploy <b>42</b>").wait_for()
    page.locator("#timeline").get_by_text("deploy <b>42</b>").first.wait_for(state="attached")


def test_zoom_and_filter_change_what_is_drawn(page: Any, lab: Lab) -> None:
    lab.client().create_task("filtered", {"class": "NoOpTaskSpec", "durationMs": 600_000})
    bar(page, "filtered", "n1").wait_for()
    page.get_by_label("Show only").fill("n2")
    bar(page, "filtered", "n1").wait_for(state="detached")
    bar(page, "filtered", "n2").wait_for()
    page.get_by_label("Show only").fill("")
    before = span(page)
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_function("before => shownSpan() < 0.7 * before", arg=before)
    page.get_by_role("button", name="All").click()
    page.wait_for_function("() => shownSpan() > 600000")
    lab.client().stop_task("filtered")


def span(page: Any) -> float:
    """How much time the drawing shows, in ms."""
    page.evaluate("""window.shownSpan = () => {
        const drawn = document.querySelector('#timeline svg').dataset
        return drawn.end - drawn.begin
    }""")
    return float(page.evaluate("shownSpan()"))


@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("laptop", "light"), ("wide", "dark")])
def test_it_fits_every_screen(chromium: Any, address: str, lab: Lab, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    parted = {"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2", "n3"]], "durationMs": 600_000}
    lab.client().create_task("parted", parted)
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    try:
        page = context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        page.goto(address)
        page.locator("#timeline svg").wait_for()
        page.get_by_role("status").get_by_text("live", exact=True).wait_for()
        bar(page, "parted", "n3", DECIDED).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=artefacts() / f"page-{size}-{scheme}.png")
        page.locator("#tasks").get_by_role("button", name="parted").click()
        page.get_by_role("columnheader", name="Undone by").wait_for()
        page.screenshot(path=artefacts() / f"details-{size}-{scheme}.png")
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        page.get_by_role("button", name="New task").click()
        page.get_by_label("What", exact=True).wait_for()
        page.screenshot(path=artefacts() / f"form-{size}-{scheme}.png")
    finally:
        context.close()
        forget_all(lab.client())
