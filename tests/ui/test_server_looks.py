"""The server page in every state, where room is least: nothing clipped, everything named."""

from __future__ import annotations

from typing import get_args

import pytest

from app.services.addresses import Reach
from app.services.serving import ServerOptions, ServerState
from app.ui.server import words
from core import paths
from core.errors import UserError
from core.protocol.messages import Progress
from core.protocol.serving import OutsideRequest, RequestEnded, RequestsRefused, RequestState
from core.translation import LANGUAGES, catalogue
from tests.helpers import shelf_models
from tests.helpers.audit import faults
from tests.helpers.live_window import settle
from tests.helpers.server_page import LONG_S, page_of, server_window
from tests.helpers.waiting import until

LOOKS = (
    ("en", "larger", "dark", (1000, 640)),
    ("zh", "normal", "light", (1440, 900)),
    ("zh", "large", "dark", (1000, 640)),
)
LONG = "a model with quite a long name of its own"
ADDRESS = "http://127.0.0.1:8000"
STATES = {
    "opening": ServerState("opening", LONG, progress=Progress("j", 1, 3, "loading_weights", "bytes")),
    "reopening": ServerState("opening", LONG, ADDRESS, deaths=1),
    "failed": ServerState(model=LONG, error=UserError("port_taken", host="127.0.0.1", port=8000)),
    "origins": ServerState(model=LONG, error=UserError("origin_unusable", origin="example.com/very/long/path")),
    "memory": ServerState(model=LONG, error=UserError("memory_too_small", needed="15 GB", free="3 GB")),
}


def request(state: RequestState, number: int) -> OutsideRequest:
    return OutsideRequest(
        str(number), "/v1/chat/completions", LONG, f"192.168.178.{number}", state, 12_345, 1_234, 75, 99.4
    )


@pytest.mark.loops("qasync")
@pytest.mark.parametrize("language, text_size, theme, size", LOOKS)
async def test_nothing_is_clipped_and_everything_has_a_name(
    language: str, text_size: str, theme: str, size: tuple[int, int]
) -> None:
    shelf_models.put(paths.models(), LONG)
    shelf_models.put_adapter(paths.models(), "an adapter that has a name, too", LONG)
    async with server_window(*size, real=False) as (window, context, page):
        window.preferences.change(language=language, theme=theme, text_size=text_size)
        page = await page_of(window)
        found = [f"closed: {fault}" for fault in faults(window)]
        for name, state in STATES.items():
            context.serving._set(state)
            await settle(30)
            found += [f"{name}: {fault}" for fault in faults(window)]
        live = [request(state, place) for place, state in enumerate(get_args(RequestState))]
        for one in live:
            context.serving.ended.emit(RequestEnded("j", one, "done", 200))
            context.serving.ended.emit(RequestEnded("j", one, "failed", 503, "out_of_memory"))
            context.serving.refused.emit(RequestsRefused("j", "", "192.168.178.9", 401, "api_key_wrong", 17))
        context.serving.options = ServerOptions("0.0.0.0", 8000, ("key",))
        context.server.reach = Reach(("192.168.178.25", "10.0.0.8"), ("my-long-name-of-a-computer.local",))
        context.server.change(on_network=True)
        page.local.setup.advanced.open()
        page.local.vllm.fold.open()
        await until(lambda: page.local.vllm.code.whole and page.local.setup.key.key, LONG_S)
        context.serving._set(ServerState("open", LONG, ADDRESS, tuple(live)))
        for kind in range(3):
            page.local.snippets.kind.choose(kind)
            await settle(30)
            found += [f"open {kind}: {fault}" for fault in faults(window)]
        context.serving._set(ServerState(model=LONG))
        assert found == []


def test_the_words_of_every_state_remedy_and_end_are_there() -> None:
    wanted = {f"server_ui.state_{state}" for state in get_args(RequestState)}
    wanted |= {f"server_ui.fix_{what}" for what in get_args(words.Remedy)}
    wanted |= {f"server_ui.{code}" for code in words.OWN_WORDS}
    for language in LANGUAGES:
        assert wanted <= set(catalogue(language))
