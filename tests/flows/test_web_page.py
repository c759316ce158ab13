"""The web page of `serve` in a real Chromium, with the real starter model behind it."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from core import paths, settings
from tests.helpers import browser as browsers
from tests.helpers.browser import Tab
from tests.helpers.scripted_server import ScriptedServer
from tests.helpers.server import Server
from tests.helpers.waiting import wait_until

KEY = "sk-of-this-page"
LONGEST_BLOCK_MS = 250  # of the page's thread, on a machine that does other things as well
COMPOSING = """document.querySelector('#question').dispatchEvent(
    new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))"""
WATCHED = """() => {
    window.longest = 0;
    const note = list => { for (const one of list.getEntries()) longest = Math.max(longest, one.duration) };
    new PerformanceObserver(note).observe({type: "longtask"});
}"""
HOSTILE = """
<script>window.hurt = 1</script><img src=x onerror="window.hurt = 2"><iframe src="https://evil.example/"></iframe>

[a](javascript:window.hurt=3) [b](data:text/html,<script>window.hurt=4</script>) <javascript:window.hurt=5>
[c]( java&#115;cript:window.hurt=6) [d](//evil.example/d) [e](https://evil.example/e "onclick=window.hurt=7")

![p](https://evil.example/p.png) ![q](//evil.example/q.png) ![r](x.png"onerror="window.hurt=8)

```"><script>window.hurt=9</script>
</code></pre><script>window.hurt = 10</script>
```

```html
<script>window.hurt = 11</script>
```

$\\href{javascript:window.hurt=12}{x}$ $\\includegraphics{https://evil.example/m.png}$ $\\htmlStyle{position: fixed}{y}$
$\\rule{9999em}{9999em}$ $\\def\\a{\\a\\a}\\a$ $\\sqrt{\\fbox{z}} \\nonsense$ $\\sqrt{\\fbox{z}}$

<style>body { display: none }</style> | <a href="https://evil.example" style="x">y</a>
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, starter_models: Path) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QWEN_WORKBENCH_HOME", str(home))
        settings.save(paths.settings_file(), settings.Settings(models_folder=str(starter_models)))
    with Server("starter", home, "--api-key", KEY) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.opened() as made:
        yield made


@pytest.fixture
def tab(server: Server, browser: Browser) -> Iterator[Tab]:
    """The page, with its key; in the end nothing has gone wrong in it and nothing was asked of anybody else."""
    with Tab(browser, server.address, key=KEY) as made:
        yield made
        assert made.trouble == [] and made.outside() == []


def raw(server: Server, request: str, host: str = "", key: str = "") -> str:
    """The answer to a request line as it stands, which no client has put right."""
    place, _, port = server.address.removeprefix("http://").rpartition(":")
    with socket.create_connection((place, int(port)), timeout=20) as connection:
        headers = [f"Host: {host or place}", f"Authorization: Bearer {key}", "Connection: close"]
        connection.sendall("\r\n".join([f"{request} HTTP/1.1", *headers, "", ""]).encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode("utf-8", "replace")


def test_the_page_is_open_and_keeps_to_itself(server: Server) -> None:
    for path in ("/", "/docs", "/chat.js", "/page.css", "/icon.svg", "/fonts/Inter-Regular.otf"):
        answer = httpx.get(f"{server.address}{path}")
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-cache"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy and "form-action 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        again = httpx.get(f"{server.address}{path}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304 and again.content == b""
        head = httpx.head(f"{server.address}{path}")
        assert head.status_code == 200 and head.headers["content-length"] == str(len(answer.content))
    vendor = httpx.get(f"{server.address}/vendor/katex-0.19.1/katex.min.css")
    assert "immutable" in vendor.headers["cache-control"] and vendor.headers["content-type"].startswith("text/css")


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/%2e%2e/pyproject.toml", "/vendor/..%2f..%2f..%2fpyproject.toml", "/fonts//../chat.js",
     "/vendor/", "/index.html", "/no-such-file.js", "/%00", "/openapi.json", "/v1/models"],
)  # fmt: skip
def test_nothing_else_is_open(server: Server, path: str) -> None:
    answer = raw(server, f"GET {path}")
    assert answer.startswith(("HTTP/1.1 401", "HTTP/1.1 400")) and "[project]" not in answer
    with_key = raw(server, f"GET {path}", key=KEY)
    assert "[project]" not in with_key
    if path not in ("/openapi.json", "/v1/models"):
        assert with_key.startswith(("HTTP/1.1 404", "HTTP/1.1 400"))


def test_other_methods_and_other_names_are_refused(server: Server) -> None:
    key = {"authorization": f"Bearer {KEY}"}
    for method in ("POST", "PUT", "DELETE"):
        assert httpx.request(method, f"{server.address}/", headers=key).status_code == 405
        assert httpx.request(method, f"{server.address}/chat.js").status_code == 401
    assert raw(server, "GET /", "evil.example").startswith("HTTP/1.1 403")
    assert raw(server, "GET /", "192.168.1.7:8000").startswith("HTTP/1.1 200")


def kept(tab: Tab) -> list[dict[str, Any]]:
    found: Any = tab.page.evaluate("JSON.parse(localStorage.getItem('qwen-workbench.conversation'))")
    return [] if found is None else list(found["messages"])


def show(tab: Tab, *messages: dict[str, Any]) -> None:
    """As if it had been said before."""
    value = json.dumps({"messages": messages, "draft": ""})
    tab.page.goto(f"{tab.address}/docs")
    tab.page.evaluate("value => localStorage.setItem('qwen-workbench.conversation', value)", value)
    tab.page.goto(tab.address)
    tab.until("document.querySelector('#model').value")


def test_a_wrong_key_is_told_and_the_right_one_lets_in(server: Server, browser: Browser) -> None:
    with Tab(browser, server.address) as tab:
        field = tab.page.get_by_label("Key", exact=True)
        field.fill("sk-wrong")
        tab.page.keyboard.press("Enter")
        expect(tab.page.get_by_text("does not accept this key")).to_be_visible()
        assert tab.page.evaluate("sessionStorage.length + localStorage.length") == 0
        field.fill(KEY)
        tab.page.get_by_role("button", name="Open").click()
        expect(tab.page.get_by_role("heading", name="Ask starter")).to_be_visible()
        assert tab.page.evaluate("[...Object.values(sessionStorage)]") == [KEY]
        assert KEY not in tab.page.evaluate("JSON.stringify(localStorage)")
        tab.page.reload()
        expect(tab.page.get_by_role("heading", name="Ask starter")).to_be_visible()
        assert not tab.page.locator("dialog[open]").count()
        assert all("401" in trouble for trouble in tab.trouble) and not tab.outside()


def test_a_question_is_answered_stopped_asked_anew_changed_and_cleared(tab: Tab) -> None:
    page = tab.page
    tab.ask("Write a long story about a lighthouse, at least 500 words.")
    tab.until("document.querySelector('.reply .prose')?.innerText.length > 20")
    first = tab.reply()
    tab.until(f"document.querySelector('.reply .prose').innerText.length > {len(first)}")
    page.keyboard.press("Escape")
    expect(page.get_by_text("Stopped. The text so far is kept.")).to_be_visible()
    stopped = tab.reply()
    assert stopped.startswith(first.rstrip()[:10])
    wait_until(lambda: kept(tab)[-1]["state"] == "stopped")

    page.reload()
    expect(page.locator(".bubble")).to_have_text("Write a long story about a lighthouse, at least 500 words.")
    assert tab.reply() == stopped

    set_choices(tab, {"#set-maxTokens": "12", "#set-temperature": "0", "#set-system": "Answer briefly."})
    page.get_by_role("button", name="Answer again").click()
    expect(page.get_by_text("Cut off")).to_be_visible()
    assert tab.reply() != stopped and page.locator("article").count() == 2
    expect(page.get_by_text(re.compile(r"12 tokens · [\d.]+ tokens/s"))).to_be_visible()

    page.locator(".question").hover()
    page.get_by_role("button", name="Edit").click()
    expect(page.get_by_label("Your question")).to_have_value(re.compile("lighthouse"))
    tab.ask("Name a colour.")
    expect(page.locator(".bubble")).to_have_text("Name a colour.")
    tab.until_idle()
    assert [message["role"] for message in kept(tab)] == ["user", "assistant"] and kept(tab)[1]["text"]

    page.get_by_label("Your question").fill("a draft")
    wait_until(lambda: "a draft" in page.evaluate("sessionStorage.getItem('qwen-workbench.draft')"))
    page.reload()
    expect(page.get_by_label("Your question")).to_have_value("a draft")
    page.get_by_label("Your question").fill("")
    page.get_by_role("button", name="Clear the conversation").click()
    expect(page.get_by_role("heading", name="Ask starter")).to_be_visible()
    wait_until(lambda: not kept(tab))
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".bubble")).to_have_text("Name a colour.")


def set_choices(tab: Tab, values: dict[str, str]) -> None:
    tab.page.get_by_role("button", name="Settings").click()
    for field, value in values.items():
        tab.page.locator(field).fill(value)
    tab.page.get_by_role("button", name="Apply").click()
    expect(tab.page.locator("dialog[open]")).to_have_count(0)


def test_settings_reach_the_server_and_what_is_not_possible_is_told(tab: Tab) -> None:
    page = tab.page
    page.get_by_role("button", name="Settings").click()
    page.locator("#set-temperature").fill("7")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("Not a value for this field")).to_be_visible()
    page.keyboard.press("Escape")
    set_choices(tab, {"#set-temperature": "0.5", "#set-seed": "7", "#set-system": "Be kind."})
    with ScriptedServer() as scripted:
        scripted.pieces = ["Yes."]
        scripted.answer_for(page)
        page.get_by_label("Your question").fill("Line one")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("line two")
        page.evaluate(COMPOSING)
        assert not scripted.bodies
        page.keyboard.press("Enter")
        tab.until_idle()
        (body,) = scripted.bodies
    assert body["temperature"] == 0.5 and body["seed"] == 7 and "max_tokens" not in body and body["model"] == "starter"
    assert body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Line one\nline two"},
    ]


def test_what_a_model_writes_is_shown_and_does_nothing(tab: Tab) -> None:
    show(
        tab,
        {"role": "user", "text": HOSTILE},
        {"role": "assistant", "text": HOSTILE, "thinking": HOSTILE, "state": "done"},
    )
    page = tab.page
    tab.until("document.querySelectorAll('.katex').length > 0 && document.querySelector('.hl-tag')")
    assert page.evaluate("window.hurt") is None
    assert page.locator(".prose :is(script, img, iframe, style, svg a)").count() == 0
    links = page.eval_on_selector_all(".prose a", "links => links.map(link => [link.href, link.rel, link.target])")
    assert {href for href, _, _ in links} == {
        "https://evil.example/",
        "https://evil.example/e",
        "https://evil.example/p.png",
    }
    assert all("noopener" in rel and target == "_blank" for _, rel, target in links)
    assert page.evaluate("document.querySelector('.prose').offsetHeight") < 3000
    assert "<script>window.hurt = 1</script>" in tab.reply()
    page.get_by_role("button", name="Copy the code").first.click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("</code></pre><script>")
    assert tab.trouble == []
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'https://evil.example/seen.png'}))")
    wait_until(lambda: tab.trouble)  # if there were a way in, the policy would still be in the way
    assert "Content Security Policy" in tab.trouble.pop() and tab.outside() == [tab.asked.pop()]


def test_faults_are_told_in_sentences_and_no_answer_is_lost(tab: Tab) -> None:
    page = tab.page
    fault = page.locator(".fault p").last
    with ScriptedServer() as scripted:
        scripted.answer_for(page)
        scripted.pieces, scripted.is_cut = ["Half of", " it"], True
        tab.ask("One")
        expect(fault).to_contain_text("connection to the server broke off")
        assert tab.reply() == "Half of it"
        scripted.pieces, scripted.is_cut = ["All of it"], False
        page.get_by_role("button", name="Try again").click()
        tab.until_idle()
        assert tab.reply() == "All of it" and page.locator(".fault").count() == 0
        scripted.pieces, scripted.error = ["Half"], {"code": "api_model_ended", "message": "It has ended."}
        page.get_by_role("button", name="Answer again").click()
        expect(fault).to_contain_text("process ended during this answer")
        assert tab.reply() == "Half"
        scripted.pieces, scripted.error = ["All of it"], None
        page.get_by_role("button", name="Try again").click()
        tab.until_idle()
        scripted.refusal = 429, {"error": {"code": "rate_limit_exceeded", "message": "64 wait"}}
        page.get_by_role("button", name="Answer again").click()
        expect(page.locator(".toast")).to_contain_text("The model is busy")
        assert tab.reply() == "All of it"
        scripted.refusal = 400, {"error": {"code": "context_length_exceeded", "message": "999 of 99"}}
        tab.ask("Three")
        expect(fault).to_contain_text("longer than the model can read")
        scripted.refusal = None
        page.get_by_role("button", name="Ask without what came before").click()
        tab.until_idle()
        assert [message["content"] for message in scripted.bodies[-1]["messages"]] == ["Three"]
        expect(page.get_by_text("The model does not see what stands above.")).to_be_visible()
        assert page.locator(".bubble").count() == 2
        scripted.refusal = 400, {"error": {"code": "api_unsupported", "message": "n is not supported."}}
        tab.ask("Two")
        expect(fault).to_contain_text("could not answer: n is not supported.")
    tab.page.get_by_role("button", name="Try again").click()
    expect(fault).to_contain_text("cannot be reached")
    page.unroute("**/v1/chat/completions")
    tab.ask("word " * 40_000)
    expect(fault).to_contain_text("longer than the model can read")
    page.get_by_role("button", name="Clear").click()
    assert all("Failed to load resource" in told for told in tab.trouble) and len(tab.trouble) >= 5
    tab.trouble.clear()


def test_two_tabs_show_the_same_conversation(tab: Tab) -> None:
    other = tab.page.context.new_page()
    other.goto(tab.address)
    with ScriptedServer() as scripted:
        scripted.pieces = ["To both."]
        scripted.answer_for(tab.page)
        tab.ask("Who sees it?")
        expect(other.locator(".bubble")).to_have_text("Who sees it?")
        expect(other.locator(".reply .prose")).to_have_text("To both.")
        tab.until_idle()
    other.get_by_role("button", name="Clear the conversation").click()
    expect(tab.page.locator("article")).to_have_count(0)
    expect(tab.page.get_by_role("heading", name="Ask starter")).to_be_visible()


def test_a_tab_never_writes_over_what_grows_in_another(tab: Tab) -> None:
    other, going_on = tab.page.context.new_page(), threading.Event()
    other.goto(tab.address)

    def pieces() -> Iterator[str]:
        yield "Half "
        going_on.wait(20)
        yield "and half."

    with ScriptedServer() as scripted:
        scripted.pieces = pieces()
        scripted.answer_for(tab.page)
        tab.ask("First?")
        expect(other.get_by_text("Another tab is being answered …")).to_be_visible()
        other.get_by_label("Your question").fill("Second?")
        other.keyboard.press("Enter")
        expect(other.locator(".toast")).to_contain_text("Wait for the end of its answer")
        expect(other.get_by_label("Your question")).to_have_value("Second?")
        expect(other.get_by_text("Interrupted")).to_have_count(0)
        other.reload()
        expect(other.locator(".reply .prose")).to_have_text("Half")
        expect(other.get_by_label("Your question")).to_have_value("Second?")
        going_on.set()
        tab.until_idle()
        expect(other.locator(".reply .prose")).to_have_text("Half and half.")
        scripted.pieces = ["Yes."]
        scripted.answer_for(other)
        other.get_by_label("Your question").press("Enter")
        expect(tab.page.locator(".reply .prose").last).to_have_text("Yes.")
    assert [message["text"] for message in kept(tab)] == ["First?", "Half and half.", "Second?", "Yes."]


def test_a_page_that_goes_amid_an_answer_says_so_and_one_that_waits_asks_again(tab: Tab) -> None:
    going_on = threading.Event()

    def pieces() -> Iterator[str]:
        yield "Half "
        going_on.wait(20)

    with ScriptedServer() as scripted:
        scripted.pieces = pieces()
        scripted.answer_for(tab.page)
        tab.ask("First?")
        expect(tab.page.locator(".reply .prose")).to_have_text("Half")
        tab.page.reload()
        expect(tab.page.get_by_text("Interrupted when the page was closed.")).to_be_visible()
        assert tab.page.locator(".fault").count() == 0
        going_on.set()
        scripted.refusal = 503, {"error": {"code": "api_loading", "message": "It is loaded again."}}
        tab.ask("Second?")
        expect(tab.page.get_by_text("The server is coming back.")).to_be_visible()
        scripted.refusal, scripted.pieces = None, ["Here I am."]
        expect(tab.page.locator(".reply .prose").last).to_have_text("Here I am.")
        tab.until_idle()
    assert all("503" in told for told in tab.trouble)
    tab.trouble.clear()


def test_thinking_is_open_while_it_comes_and_folded_then(tab: Tab) -> None:
    page, going_on = tab.page, threading.Event()

    def pieces() -> Iterator[str]:
        going_on.wait(20)
        yield "An answer."

    with ScriptedServer() as scripted:
        scripted.thoughts, scripted.pieces = ["Let me ", "think."], pieces()
        scripted.answer_for(page)
        tab.ask("Why?")
        expect(page.get_by_text("Let me think.")).to_be_visible()
        going_on.set()
        expect(page.get_by_text("An answer.")).to_be_visible()
        expect(page.get_by_text("Let me think.")).to_be_hidden()
        page.get_by_text("Thought for").click()
        expect(page.get_by_text("Let me think.")).to_be_visible()
        tab.until_idle()
        tab.ask("And then?")
        tab.until_idle()
        assert [message["content"] for message in scripted.bodies[1]["messages"]] == ["Why?", "An answer.", "And then?"]


def test_an_adapter_can_be_chosen_and_is_remembered(tab: Tab) -> None:
    page = tab.page
    models = {"data": [{"id": "starter"}, {"id": "taught"}]}
    page.route("**/v1/models", lambda route: route.fulfill(json=models))
    page.reload()
    page.get_by_label("Model", exact=True).select_option("taught")
    expect(page.get_by_role("heading", name="Ask taught")).to_be_visible()
    page.reload()
    with ScriptedServer() as scripted:
        scripted.pieces = ["Yes."]
        scripted.answer_for(page)
        expect(page.get_by_label("Model", exact=True)).to_have_value("taught")
        page.get_by_role("button", name="Explain how rainbows form.").click()
        tab.until_idle()
        assert scripted.bodies[0]["model"] == "taught"


def test_a_long_reply_never_holds_the_page_and_scrolls_only_at_its_end(tab: Tab) -> None:
    page = tab.page
    paragraph = "Rainbows form where **light** meets water; $n = 1.33$ says how much it bends, `so to say`. "
    code = "```python\n" + "\n".join(f"value_{n} = call({n})  # of many" for n in range(120)) + "\n```\n\n"
    points = "\n".join(f"{n}. Point {n} of *many* points" for n in range(1, 120)) + "\n\n"
    text = (paragraph * 8 + "\n\n") * 12 + code + points + (paragraph * 8 + "\n\n") * 6
    assert len(text) > 20_000
    page.evaluate(WATCHED)
    with ScriptedServer() as scripted:
        scripted.pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
        scripted.answer_for(page)
        tab.ask("Tell me all of it")
        tab.until("document.querySelector('.reply .prose')?.innerText.length > 3000")
        place = "document.querySelector('#scroll')"
        tab.until(f"{place}.scrollHeight - {place}.scrollTop - {place}.clientHeight < 60")
        page.mouse.move(500, 400)
        page.mouse.wheel(0, -100_000)
        tab.until(f"{place}.scrollTop === 0")
        tab.until_idle()
        assert page.evaluate(f"{place}.scrollTop") == 0
        page.get_by_role("button", name="To the newest text").click()
        tab.until(f"{place}.scrollTop > 1000")
    assert kept(tab)[-1]["text"] == text
    grown = page.locator(".reply .prose").inner_html()
    page.reload()
    tab.until("document.querySelectorAll('.katex').length > 50 && document.querySelector('.hl-number')")
    assert page.locator(".reply .prose").inner_html().count("<li>") == grown.count("<li>") == 119
    assert grown.count("<p>") == page.locator(".reply .prose").inner_html().count("<p>")
    assert page.evaluate("window.longest ?? 0") < LONGEST_BLOCK_MS


def test_a_phone_in_chinese_and_dark(server: Server, browser: Browser) -> None:
    wide = (
        "| a | b |\n|--|--|\n| "
        + "long " * 60
        + "| x |\n\n```\n"
        + "code " * 80
        + "\n```\n\n$$"
        + "x+" * 90
        + "y$$\n\n"
        + "w" * 300
    )
    options: Any = {"is_phone": True, "locale": "zh-CN", "color_scheme": "dark"}
    with Tab(browser, server.address, key=KEY, **options) as tab:
        page = tab.page
        expect(page.get_by_role("heading", name="向 starter 提问")).to_be_visible()
        show(
            tab,
            {"role": "user", "text": "w" * 200},
            {"role": "assistant", "text": wide, "thinking": "嗯", "state": "done"},
        )
        tab.until("document.querySelector('.katex')")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate("document.querySelector('#scroll').scrollWidth") <= 390
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(26, 26, 31)"
        targets = "[...document.querySelectorAll('button, summary, select')].filter(one => one.checkVisibility())"
        small = f"{targets}.filter(one => one.getBoundingClientRect().height < 44).map(one => one.outerHTML)"
        assert page.evaluate(small) == []
        nameless = f"{targets}.filter(one => !one.innerText && !one.ariaLabel && !one.labels?.length).length"
        assert page.evaluate(nameless) == 0
        page.get_by_role("button", name="切换到英文").or_(page.get_by_role("button", name="English")).click()
        expect(page.get_by_label("Your question")).to_be_visible()
        show(
            tab,
            {"role": "user", "text": "?"},
            {"role": "assistant", "text": "- [x] done\n- [ ] open\n- [a](https://b.example)"},
        )
        assert tab.reply().splitlines() == ["☑ done", "☐ open", "a"]
        page.get_by_role("button", name="中文").click()
        page.goto(f"{server.address}/docs")
        expect(page.get_by_text("模型是否就绪，以及有多忙。")).to_be_visible()
        expect(page.get_by_text("Whether a model is ready")).to_have_count(0)
        assert tab.trouble == [] and tab.outside() == []


def test_the_api_is_described_without_a_request_to_others(tab: Tab) -> None:
    tab.page.goto(f"{tab.address}/docs")
    expect(tab.page.get_by_role("heading", name="POST /v1/chat/completions")).to_be_visible()
    tab.page.get_by_text("Body", exact=True).first.click()
    expect(tab.page.get_by_text("messages", exact=True).first).to_be_visible()
    expect(tab.page.get_by_text("Bearer KEY").first).to_be_visible()
