"""The pages in a real browser: what a person sees and does there, with the keyboard, on a phone, in the dark."""

import random
import re
import shutil
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright
from rapidfuzz.distance import LCSseq
from tests.support.gateways import Scripted, arms_of, ask, until

from copydesk.gateway.backends.base import BackendError
from copydesk.report.diff import _TOKEN, compute_diff
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key
from copydesk.store.read import find_completion

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
DRAFT = "Dear Ann, we met on Monday. Best regards, Bo"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; apt install chromium"),
]

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS.split())


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens pages of a gateway; in the end nothing may have gone wrong in any of them that a test did not expect."""
    errors: list[str] = []
    contexts = []

    def start(url: object, expected: str = "nothing", **more) -> Page:
        context = browser.new_context(base_url=str(url), **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: errors.append(said.text) if expected not in said.text else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield start
    for context in contexts:
        context.close()
    assert not errors


def begin(page: Page, text: str = "Write to Ann", **fields: str) -> None:
    """Ask for a draft and wait for it."""
    page.goto("/")
    page.fill("#request", text)
    for name, value in fields.items():
        page.fill(f"#{name}", value)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#draft")).to_be_focused()


def tab_to(page: Page, selector: str) -> None:
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(selector).evaluate("one => one === document.activeElement"):
            return
    raise AssertionError(f"the keyboard does not reach {selector}")


def test_write_edit_and_send_with_the_keyboard_alone(serve, store: EditStore, open_page: Open) -> None:
    client = serve(Scripted("a", lambda request: DRAFT))
    page = open_page(client.base_url)
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the page")).to_be_focused()
    expect(page.get_by_text("Skip to the page")).to_be_in_viewport()
    page.keyboard.press("Enter")
    tab_to(page, "#request")
    page.keyboard.type("Write to Ann")
    tab_to(page, "#user")
    page.keyboard.type("mia")
    page.keyboard.press("Control+Enter")

    expect(page.locator("#draft")).to_be_focused()
    expect(page.locator("#draft")).to_have_value(DRAFT)
    expect(page.locator("#status")).to_have_text("The draft is ready. Edit it, then send it.")
    expect(page.locator("#send")).to_have_text("Accept unchanged")
    for _ in range(4):
        page.keyboard.press("Delete")
    page.keyboard.type("Hi")
    expect(page.locator("#changes")).to_have_text(f"DearHi{DRAFT.removeprefix('Dear')}")
    expect(page.locator("#changes del")).to_have_text("Dear")
    expect(page.locator("#changes ins")).to_have_text("Hi")
    expect(page.locator("#cost")).to_have_text("0.08")  # one of twelve words
    expect(page.locator("#send")).to_have_text("Send edit")
    expect(page.locator("[data-policy='a']")).to_be_hidden()
    page.keyboard.press("Control+Enter")

    expect(page.locator("#sent")).to_be_focused()
    expect(page.locator("#sent-cost")).to_have_text("0.08")
    expect(page.locator("[data-policy='a']")).to_be_visible()
    expect(page.locator("#sent-propensity")).to_have_text("1")
    expect(page.locator("#sent-note")).to_have_text("The ensemble has learned from it.")
    tab_to(page, "#sent-link")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Edited at a cost of 0.08")
    expect(page.locator("main")).to_contain_text("mia")
    with store.begin_read() as connection:
        found = find_completion(connection, page.url.rsplit("/", 1)[1])
    assert found is not None
    assert found.record.edit == "Hi Ann, we met on Monday. Best regards, Bo"
    assert arms_of(client)["a"]["observed"] == 1


def test_a_draft_can_be_accepted_and_edited_again(serve, open_page: Open) -> None:
    client = serve(Scripted("a", lambda request: DRAFT), Scripted("b", lambda request: DRAFT))
    page = open_page(client.base_url)
    page.goto("/")
    page.fill("#request", "x")
    page.select_option("#policy", "b")
    page.click("text=Write a draft")
    page.click("text=Accept unchanged")
    expect(page.locator("#sent-title")).to_have_text("Accepted unchanged")
    expect(page.locator("#sent-propensity")).to_have_text("requested by name")
    expect(page.locator("#sent-note")).to_contain_text("does not learn from this edit")
    page.click("text=Edit again")
    page.fill("#draft", DRAFT + "!")
    page.click("text=Send edit")
    expect(page.locator("#sent-title")).to_have_text("Your edit is logged")
    page.click("text=See this edit in the log")
    expect(page.get_by_role("heading", name="Revisions")).to_be_visible()
    page.goto("/")
    expect(page.locator("#request")).to_be_visible()


def test_a_draft_that_takes_long_can_be_stopped(serve, open_page: Open) -> None:
    slow = Scripted("a", lambda request: "word " * 200, pause=0.05)
    client = serve(slow)
    page = open_page(client.base_url)
    page.goto("/")
    page.fill("#request", "keep me")
    page.click("text=Write a draft")
    expect(page.locator("#draft")).to_have_value(re.compile("word"))
    expect(page.locator("#stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Stopped. The draft was discarded.")
    expect(page.locator("#request")).to_have_value("keep me")
    until(lambda: slow.stopped == 1)
    until(lambda: arms_of(client)["a"]["pulls"] == 0)  # it waits for no edit


class Breaks(Scripted):
    """Ends in the middle of an answer."""

    async def stream(self, request):
        yield self._chunk({"content": "Dear"}, None)
        raise BackendError(502, "the server behind it went away")


def test_errors_are_shown_and_the_request_is_kept(serve, open_page: Open) -> None:
    too_long = BackendError(400, "the prompt has <b>too many</b> tokens", retriable_elsewhere=False)
    client = serve(Scripted("long", lambda request: too_long), Breaks("broken"))
    page = open_page(client.base_url, expected="400 (Bad Request)")
    page.goto("/")
    for policy, said in [
        ("long", "The prompt has <b>too many</b> tokens."),
        ("broken", "The server behind it went away."),
    ]:
        page.fill("#request", "keep me")
        page.select_option("#policy", policy)
        page.click("text=Write a draft")
        expect(page.get_by_role("alert")).to_have_text(said)
        expect(page.locator("#request")).to_be_focused()
        expect(page.locator("#request")).to_have_value("keep me")


def test_an_edit_that_is_refused_is_not_lost(serve, open_page: Open) -> None:
    client = serve(Scripted("a", lambda request: DRAFT))
    page = open_page(client.base_url, expected="400 (Bad Request)")
    begin(page)
    page.fill("#draft", "x" * 100_001)
    expect(page.locator("#cost")).to_have_text("unknown")
    page.click("#send")
    expect(page.get_by_role("alert")).to_have_text("The edit has 100001 characters; at most 100000 are taken.")
    expect(page.locator("#draft")).to_be_editable()
    page.fill("#draft", "shorter")
    page.click("#send")
    expect(page.locator("#sent")).to_be_focused()


def test_leaving_with_an_unsent_edit_is_asked_about(serve, open_page: Open) -> None:
    client = serve(Scripted("a", lambda request: DRAFT))
    page = open_page(client.base_url)
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    begin(page)
    page.keyboard.type("Oh! ")
    page.click("text=Ensemble")
    expect(page.locator("#draft")).to_have_value("Oh! " + DRAFT)
    page.click("text=Start over")
    expect(page.locator("#draft")).to_have_value("Oh! " + DRAFT)
    assert asked == ["beforeunload", "confirm"]
    page.click("#send")
    expect(page.locator("#sent")).to_be_focused()
    page.click("nav >> text=Ensemble")  # now nothing is lost
    expect(page.get_by_role("heading", level=1)).to_have_text("Ensemble")
    assert len(asked) == 2


def test_carriage_returns_of_a_draft_are_kept(serve, store: EditStore, open_page: Open) -> None:
    client = serve(Scripted("a", lambda request: "one\r\ntwo\r\nthree"))
    page = open_page(client.base_url)
    begin(page)
    expect(page.locator("#send")).to_have_text("Accept unchanged")
    page.keyboard.type("0\n")
    page.click("#send")
    page.click("text=See this edit in the log")
    with store.begin_read() as connection:
        found = find_completion(connection, page.url.rsplit("/", 1)[1])
    assert found is not None
    assert found.record.edit == "0\r\none\r\ntwo\r\nthree"


def test_untrusted_texts_run_nowhere(serve, open_page: Open, evil: str) -> None:
    client = serve(Scripted("a", lambda request: f"{evil} answered"))
    page = open_page(client.base_url)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    begin(page, f"{evil} asked", user=evil)
    page.keyboard.type(f"{evil} edited")
    expect(page.locator("#changes ins").first).to_be_visible()
    page.click("#send")
    page.click("text=See this edit in the log")
    expect(page.locator(".turn .prose")).to_have_text(f"{evil} asked")
    expect(page.locator(".side .prose").nth(1)).to_have_text(f"{evil} edited{evil} answered")
    page.goto("/edits")
    page.fill("#q", evil)
    page.keyboard.press("Enter")
    expect(page.locator("#q")).to_have_value(evil)
    assert page.locator("main script, main img").count() == 0


def test_signing_in_and_out(serve, store: EditStore, open_page: Open) -> None:
    client = serve(Scripted("a", lambda request: DRAFT))
    with store.begin_write() as tx:
        key = create_key(tx.connection, "state", tenant="acme")[1]
    page = open_page(client.base_url, expected="401 (Unauthorized)")
    page.goto("/edits?q=x")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type("ck-wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This key is unknown or was revoked.")
    expect(page.get_by_label("API key")).to_be_focused()  # else the browser says that filling it in came first
    page.fill("#key", key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Edits")
    assert page.url.endswith("/edits?q=x")
    assert page.evaluate("document.cookie") == ""
    begin(page)
    page.click("#send")
    expect(page.locator("#sent")).to_be_focused()
    page.click("text=Sign out")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


LONG = "unbroken" * 30


@pytest.fixture
def busy(serve) -> Iterator[tuple[str, list[str]]]:
    """A gateway whose log holds texts that are hard to lay out; and all its pages."""
    names = ["a", "a-policy-with-quite-a-long-name-of-more-than-fifty-letters", "c"]
    client = serve(*(Scripted(name, lambda request: f"Some words and {LONG}") for name in names))
    for i in range(12):
        completion_id = ask(client, text=f"{LONG} {i}", user=LONG[:200]).json()["id"]
        if i < 10:
            for edit in (f"Other words and {LONG}", f"Some {'more ' * i} and {LONG}"):
                client.post("/v1/edits", json={"completion_id": completion_id, "edit": edit})
    pages = ["/", "/edits?pending=true", f"/edits/{completion_id}", "/edits?q=none", "/ensemble", "/docs", "/nothing"]
    first = client.get("/v1/edits?limit=1").json()["completion_id"]
    yield str(client.base_url), [*pages, f"/edits/{first}"]


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_screen(busy, open_page: Open, width: int) -> None:
    url, pages = busy
    page = open_page(url, expected="404 (Not Found)", viewport={"width": width, "height": 740})
    for there in pages:
        page.goto(there)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, there
    begin(page)
    page.keyboard.type(LONG)
    expect(page.locator("#changes ins")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#send")
    expect(page.locator("#sent")).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_pages_are_dark_if_the_browser_prefers_that(busy, open_page: Open) -> None:
    url, _ = busy
    grounds = {}
    for scheme in ("light", "dark"):
        page = open_page(url, color_scheme=scheme)
        page.goto("/ensemble")
        ground = page.locator("body").evaluate("one => getComputedStyle(one).backgroundColor")
        line = page.locator("svg.plot path[stroke^='var(--method']").first.evaluate(
            "one => getComputedStyle(one).stroke"
        )
        grounds[scheme] = (ground, line)
    assert grounds["light"][0] == "rgb(251, 251, 249)"
    assert grounds["dark"][0] == "rgb(20, 23, 27)"
    assert grounds["light"][1] != grounds["dark"][1]


def difference(page: Page, before: str, after: str) -> list[list[str]]:
    found: list[list[str]] = page.evaluate(
        "async ([before, after]) => (await import('/static/diff.js')).diff(before, after)", [before, after]
    )
    return found


def test_the_browser_and_the_server_compute_the_same_diff(serve, open_page: Open) -> None:
    page = open_page(serve(Scripted("a")).base_url)
    page.goto("/")
    pairs = [
        ("", ""), ("a", ""), ("", "a"), ("same", "same"), ("Dear Ann, hello", "Hi Ann, hello"),
        ("one two three", "one 2 3"), ("a\n\nb c", "a\n\nd e"), ("x y z", "x  y z"),
        ("naïve café 東京", "naive café 大阪"),
    ]  # fmt: skip
    for before, after in pairs:
        assert difference(page, before, after) == [list(segment) for segment in compute_diff(before, after)]
    chance = random.Random(0)
    for _ in range(30):
        words = [chance.choice(["a", "b", "c,", "\n", "it's"]) for _ in range(40)]
        before = " ".join(words)
        after = " ".join(word if chance.random() < 0.7 else chance.choice(["a", "d", ""]) for word in words)
        found = difference(page, before, after)
        assert "".join(text for kind, text in found if kind != "insert") == before
        assert "".join(text for kind, text in found if kind != "delete") == after
        kept = sum(len(_TOKEN.findall(text)) for kind, text in found if kind == "equal")
        gaps = sum(kind == "equal" for kind, _ in compute_diff(before, after))
        most = LCSseq.similarity(_TOKEN.findall(before), _TOKEN.findall(after))
        assert most - kept <= len(found) + gaps  # short of the longest by no more than the spaces given to changes


def test_two_thousand_words_are_compared_at_once(serve, open_page: Open) -> None:
    page = open_page(serve(Scripted("a")).base_url)
    page.goto("/")
    chance = random.Random(1)
    before = " ".join(chance.choice(["alpha", "beta", "gamma", "delta", "epsilon"]) for _ in range(2000))
    after = " ".join(chance.choice(["alpha", "beta", "gamma", "delta", "zeta"]) for _ in range(2000))
    started = time.perf_counter()
    found = difference(page, before, after)
    assert time.perf_counter() - started < 2.0
    assert "".join(text for kind, text in found if kind != "insert") == before
    huge = difference(page, "x " * 20_000, "y " * 20_000)  # too long for a table: rewritten as a whole
    assert [kind for kind, _ in huge] == ["delete", "insert", "equal"]
