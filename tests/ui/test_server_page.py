"""The server page in the real window with the real worker: opened, asked by real clients, failing, answered."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from typing import Any

import httpx
import psutil
import pytest
from PySide6.QtGui import QGuiApplication

from app.context import AppContext
from app.ui.models.consent import Question
from app.ui.server.page import ServerPage
from app.ui.server.snippets import KINDS
from app.ui.widgets.button import Button
from app.ui.widgets.toast import Toast
from app.ui.window import PAGES, Window
from core import paths
from core.translation import say
from tests.helpers.live_window import settle
from tests.helpers.server_page import ASKED, LONG_S, endless, opened, page_of, put_models, run, server_window
from tests.helpers.waiting import until

pytestmark = [pytest.mark.loops("qasync"), pytest.mark.timeout(240)]
PLACE = PAGES.index("server")


def rows(page: ServerPage, table: str) -> list[str]:
    model = getattr(page.local.requests, table).model()
    return [" ".join(str(model.index(row, column).data()) for column in range(model.columnCount()))
            for row in range(model.rowCount())]  # fmt: skip


def state(page: ServerPage) -> str:
    return page.local.state.badge.accessibleName()


def chosen(page: ServerPage) -> str:
    """What is served without a choice."""
    return page.local.setup.model._choices[0][1]


def toast(window: Window) -> str:
    return next((one._words for one in window.findChildren(Toast) if one.isVisible()), "")


async def question(window: Window) -> Question:
    def asked() -> list[Question]:
        return [one for one in window.findChildren(Question) if one.isVisible()]

    await until(asked, LONG_S)
    return asked()[0]


async def say_hello(window: Window) -> Any:
    """On the chat page; the page, once its reply is being made."""
    chat: Any = window.go("chat")
    await until(lambda: chat.is_open and chat.models and not chat.composer.is_busy, LONG_S)
    before = len(chat.messages)
    chat.composer.box.setPlainText("Hello")
    chat.composer.send.click()
    await until(lambda: len(chat.messages) > before, LONG_S)
    return chat


async def test_what_is_pasted_works_and_what_is_asked_is_seen_beside_the_chat() -> None:
    put_models("one", adapter="taught")
    async with server_window() as (window, context, page):
        context.server.change(needs_key=True)
        await until(lambda: page.local.setup.key.key, LONG_S)
        assert state(page) == say("server_ui.closed")
        address, key = await opened(page, context), context.server.key.value
        await _paste_each(page, context, key)
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
            names = [one["id"] for one in (await client.get(f"{address}/v1/models")).json()["data"]]
            assert names == ["one", "taught"]
            await _refuse(page, context, client, address)
        async with endless(address, key, model="taught"):
            chat = await say_hello(window)
            await until(lambda: window.status._server.text() == say("server_ui.status_requests", count=1))
            assert window.rail.items[PLACE].busy
            await until(lambda: not chat.composer.is_busy, LONG_S)
            assert chat.messages[-1].figures.new_tokens, "the chat goes on beside it"
            window.status._server_part.click()
            await until(lambda: rows(page, "live"))
            assert page.isVisible() and "taught" in rows(page, "live")[0]
        await until(lambda: not rows(page, "live"), LONG_S)
        await until(lambda: any(say("server_ui.end_cancelled") in line for line in rows(page, "log")))
        page.local.requests.clear.click()
        await until(lambda: not rows(page, "log"))
        page.turn.click()
        await until(lambda: page.turn.text() == say("server_ui.start"), LONG_S)
        assert not window.rail.items[PLACE].busy and not window.status._server_part.isVisible()
        assert context.inference.state.phase == "ready", "the model stays"


async def _paste_each(page: ServerPage, context: AppContext, key: str) -> None:
    page.local.copy_address()
    assert QGuiApplication.clipboard().text() == f"{context.serving.state.address}/v1"
    runs = {"curl": ("bash", "-c"), "python": (sys.executable, "-c"), "javascript": ("node", "-e")}
    answered = 0
    for place, kind in enumerate(KINDS):
        page.local.snippets.kind.choose(place)
        page.local.copy_snippet()
        pasted = QGuiApplication.clipboard().text()
        assert key in pasted and key not in page.local.snippets.code.source, "masked on the screen, whole when copied"
        if shutil.which(runs[kind][0]):
            code, said = await run(*runs[kind], pasted)
            assert code == 0 and "rror" not in said and said.strip(), (kind, said)
            answered += 1
    await until(lambda: context.requests.answered == answered)
    await until(lambda: len(rows(page, "log")) == answered)
    for line in rows(page, "log"):
        assert say("server_ui.end_done") in line and say("server_ui.this_computer") in line


async def _refuse(page: ServerPage, context: AppContext, client: httpx.AsyncClient, address: str) -> None:
    """Counted and told, with nothing in it that a client has sent."""
    for _ in range(3):
        wrong = {"authorization": "Bearer sk-guessed"}
        assert (await client.post(f"{address}/v1/completions", json=ASKED, headers=wrong)).status_code == 401
    assert (await client.get(f"{address}/secret-of-a-client")).status_code == 404
    assert (await client.post(f"{address}/v1/chat/completions", json={"messages": 1})).status_code == 400
    await until(lambda: context.requests.refused == 5)
    await until(lambda: len(rows(page, "log")) == len(context.requests.entries))
    told = " ".join(rows(page, "log"))
    for code in ("api_key_wrong", "api_not_found", "api_invalid"):
        assert say(f"server_ui.code_{code}") in told
    kept = str(list(context.requests.entries)) + paths.settings_file().read_text("utf-8") + str(context.serving.options)
    assert "guessed" not in told + kept and "secret-of" not in told + kept
    assert context.server.key.value not in told + kept
    assert say("server_ui.count_refused", count=5) in page.local.state.counts.text()


async def test_a_served_model_leaves_the_memory_only_when_the_user_agrees() -> None:
    put_models("one", "two")
    async with server_window() as (window, context, page):
        assert chosen(page) == say("server_ui.model_first", name="one"), "none is loaded, and none was used"
        context.server.change(model="one")
        context.inference._keep_loaded_s = lambda: 0.05
        address = await opened(page, context)
        chat: Any = window.go("chat")
        await until(lambda: chat.is_open and chat.models, LONG_S)
        chat.choice.take("two")
        chat = await say_hello(window)
        asked = await question(window)
        assert asked.go.text() == say("server_ui.exchange_now", name="two")
        asked.reject()
        await until(lambda: chat.messages[-1].error_code == "served_model_kept", LONG_S)
        assert chosen(page) == say("server_ui.model_loaded", name="one")
        assert context.inference.state.name == "one" and context.serving.state.phase == "open", "idle, but served"
        chat = await say_hello(window)
        await question(window)
        chat.actions_.stop()  # with which the question goes
        await until(lambda: chat.messages[-1].state == "stopped" and not window.findChildren(Question), LONG_S)
        chat = await say_hello(window)
        (await question(window)).accept()
        await until(lambda: context.serving.state.model == "two", LONG_S)
        await until(lambda: chosen(page) == say("server_ui.model_loaded", name="two"), LONG_S)
        await until(lambda: not chat.composer.is_busy, LONG_S)
        assert chat.messages[-1].figures.new_tokens
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"{address}/v1/chat/completions", json=ASKED | {"model": "one"})
            assert answer.json()["model"] == "two", "others are answered by whichever is loaded, and told so"
        chat.choice.take("one")
        assert context.server.settings.model == "two", "chosen by name, so its successor is"
        models: Any = window.go("models")
        await until(lambda: models.is_ready, LONG_S)
        models.actions_.act("remove", context.library.find("two"))
        asked = await question(window)
        assert asked.go.text() == say("server_ui.unload_now")
        asked.reject()
        await settle(5)
        assert context.serving.state.phase == "open" and context.library.find("two")
        window.go("server")
        await context.inference.unload()  # by whoever has not asked: the page says what it meant
        await until(lambda: state(page) == say("server_ui.failed"), LONG_S)
        assert "two" in page.local.state.sentence.text() and page.local.state.fix.text() == say("server_ui.fix_again")


@pytest.mark.errors_logged  # of the death
async def test_it_is_opened_elsewhere_comes_back_and_takes_changes_when_it_is_opened_anew() -> None:
    put_models("one")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with server_window(port=port) as (window, context, page):
            window.go("chat")
            context.server.change(at_start=True)
            await context.server.open_at_start()
            assert str(port) in toast(window), "what keeps it closed is said wherever the user is"
            window.go("server")
            await until(lambda: page.local.state.fix.text().startswith(say("server_ui.fix_port", port="")), LONG_S)
            assert str(port) in page.local.state.sentence.text() and "--port" not in page.local.state.sentence.text()
            page.local.state.fix.click()
            await until(lambda: context.serving.state.phase == "open", LONG_S)
            address, chosen = context.serving.state.address, context.server.settings.port
            assert chosen != port and address.endswith(f":{chosen}")
            await until(lambda: page.local.setup.port.text() == str(chosen))
            await _die(window, context, page)
            assert context.serving.state.address == address
            await _go_to_the_network(window, context, page)


async def _die(window: Window, context: AppContext, page: ServerPage) -> None:
    window.go("chat")
    os.kill(psutil.Process().children()[0].pid, signal.SIGKILL)
    await until(lambda: state(page) == say("server_ui.reopening"), LONG_S)
    await until(lambda: context.serving.state.phase == "open", LONG_S)
    assert context.serving.state.deaths == 1 and toast(window) == say("server_ui.toast_again")
    window.go("server")


async def _go_to_the_network(window: Window, context: AppContext, page: ServerPage) -> None:
    setup = page.local.setup
    setup.reach.choose(1)
    await until(lambda: page.local.pending.isVisible() and setup.key.key, LONG_S)
    assert not setup.needs_key.isEnabled() and setup.needs_key.isChecked()
    assert setup.key.key not in setup.key.words.text()
    setup.key.see.click()
    assert setup.key.words.text() == setup.key.key
    page.local.changed.click()
    await until(lambda: bool(context.serving.options.keys) and context.serving.state.phase == "open", LONG_S)
    known = len(context.server.reach.addresses) + len(context.server.reach.names)
    await until(lambda: sum(line.isVisible() for line in page.local.state._others) == known, LONG_S)
    assert not page.local.pending.isVisible()
    url, old = f"{context.serving.state.address}/v1/models", setup.key.key
    async with httpx.AsyncClient(timeout=60) as client:
        assert (await client.get(url)).status_code == 401
        setup.key.renew.click()
        await until(lambda: setup.key.key != old and page.local.pending.isVisible(), LONG_S)
        offered = next(one for one in window.findChildren(Toast) if one.isVisible())
        assert say("server_ui.reopen") in [one.text() for one in offered.findChildren(Button)]
        assert (await client.get(url, headers={"authorization": f"Bearer {old}"})).status_code == 200
    window.preferences.change(language="zh")  # built anew, the server goes on
    page = await page_of(window)
    assert page.turn.text() == say("server_ui.stop") and context.serving.state.phase == "open"
    assert page.local.setup.reach.current == 1 and page.local.setup.key.key not in ("", old)


async def test_what_is_typed_is_checked_and_the_command_for_vllm_names_model_and_adapters() -> None:
    put_models("one", adapter="taught")
    async with server_window(real=False) as (_, context, page):
        setup, vllm = page.local.setup, page.local.vllm
        setup.advanced.open()
        both = ("https://a.example", "http://b.example")
        for typed, kept in (("example.com", ()), ("https://a.example, http://b.example/", both)):
            setup.origins.box.setText(typed)
            setup.origins.box.editingFinished.emit()
            assert context.server.settings.origins == kept and setup.origins.wrong.isHidden() == bool(kept)
        for typed in ("my lab", "lab.example"):
            setup.names.box.setText(typed)
            setup.names.box.editingFinished.emit()
        assert context.server.settings.names == ("lab.example",) and setup.origins.note.isHidden()
        setup.origins.box.setText("*")
        setup.origins.box.editingFinished.emit()
        await until(lambda: not setup.origins.note.isHidden())  # what it opens is said
        port = context.server.settings.port
        for typed in ("70000", "0", "", "8x"):
            setup.port.setText(typed)
            setup.port.editingFinished.emit()
            assert setup.port.text() == str(port) == str(context.server.settings.port)
            assert str(port) in setup.port_wrong.text() and not setup.port_wrong.isHidden()
        setup.needs_key.click()
        vllm.fold.open()
        await until(lambda: context.server.key.value and context.server.key.value in vllm.code.whole, LONG_S)
        assert vllm.code.whole.startswith(f"vllm serve {paths.models() / 'one'}")
        assert "--served-model-name one" in vllm.code.whole
        assert f"--lora-modules taught={paths.models() / 'taught'}" in vllm.code.whole
        assert context.server.key.value not in vllm.code.source
        setup.needs_key.click()
        await until(lambda: "--api-key" not in vllm.code.whole, LONG_S)
