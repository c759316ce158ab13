"""A search of both hubs at once: one row for the same repository, and never longer than its deadline."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from core.hub.hubs import Row, merged, search_all, searching
from core.hub.repository import Found
from core.sources import Access, Source
from tests.helpers.hub_clients import hub_client
from tests.helpers.huggingface_server import HuggingFaceServer
from tests.helpers.modelscope_server import ModelScopeServer

DEADLINE_S = 0.6

pytestmark = pytest.mark.loops("asyncio")  # in the window's loop too where it matters: BOTH
BOTH = pytest.mark.loops("asyncio", "qasync")


@pytest.fixture
def huggingface() -> Iterator[HuggingFaceServer]:
    with HuggingFaceServer() as server:
        server.publish("Qwen/Qwen-7B-Chat", {}, downloads=50)
        server.publish("Qwen/Qwen-7B", {}, downloads=900)
        yield server


@pytest.fixture
def modelscope() -> Iterator[ModelScopeServer]:
    with ModelScopeServer() as server:
        server.publish("qwen/Qwen-7B-Chat", {}, downloads=70)
        yield server


@pytest.fixture
def blocked() -> Iterator[str]:
    """An address whose packets get no answer: its queue of connections is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        for one in waiting:
            one.close()


def accesses(huggingface: str, modelscope: str) -> list[Access]:
    return [Access("huggingface", huggingface), Access("modelscope", modelscope)]


async def test_the_same_repository_on_both_hubs_is_one_row(
    huggingface: HuggingFaceServer, modelscope: ModelScopeServer
) -> None:
    async with hub_client() as client:
        found = await search_all(client, accesses(huggingface.address, modelscope.address), "qwen-7b-chat", 10)
    assert [row.id for row in found.rows] == ["Qwen/Qwen-7B-Chat"] and not found.problems and not found.waiting
    assert found.rows[0].sources == (
        Source("huggingface", "Qwen/Qwen-7B-Chat"),
        Source("modelscope", "qwen/Qwen-7B-Chat"),
    )
    assert found.rows[0].downloads == 70


@pytest.mark.parametrize("trouble", ["silent", "slow", "blocked", "nobody", "drop"])
@BOTH
async def test_one_hub_in_trouble_costs_neither_the_other_s_rows_nor_more_time(
    huggingface: HuggingFaceServer, modelscope: ModelScopeServer, blocked: str, trouble: str
) -> None:
    if trouble in ("silent", "slow", "drop"):
        huggingface.inject(trouble, 20, times=0)  # type: ignore[arg-type]
    address = {"blocked": blocked, "nobody": "http://127.0.0.1:9"}.get(trouble, huggingface.address)
    start = time.monotonic()
    async with hub_client() as client:
        found = await search_all(client, accesses(address, modelscope.address), "qwen-7b", 10, DEADLINE_S)
    assert time.monotonic() - start < DEADLINE_S + 1  # a hub that holds the line would take 10 s
    assert [row.id for row in found.rows] == ["qwen/Qwen-7B-Chat"] and not found.waiting
    assert [problem.place for problem in found.problems] == ["huggingface"]
    expected = "hub_slow" if trouble in ("silent", "slow") else "hub_unreachable"
    assert found.problems[0].error.code == expected


@BOTH
async def test_rows_are_shown_while_the_other_hub_is_still_asked(
    huggingface: HuggingFaceServer, modelscope: ModelScopeServer
) -> None:
    huggingface.inject("silent", times=0)
    async with hub_client() as client:
        known = accesses(huggingface.address, modelscope.address)
        async with aclosing(searching(client, known, "qwen", 10)) as stages:
            first = await anext(stages)
            assert [row.id for row in first.rows] == ["qwen/Qwen-7B-Chat"] and first.waiting == ("huggingface",)


async def test_a_pasted_id_is_searched_by_its_name_and_comes_first(
    huggingface: HuggingFaceServer, modelscope: ModelScopeServer
) -> None:
    huggingface.publish("other/Qwen-7B-Chat", {}, downloads=9000)
    async with hub_client() as client:
        known = accesses(huggingface.address, modelscope.address)
        found = await search_all(client, known, "Qwen/Qwen-7B-Chat", 10)
    assert [row.id for row in found.rows] == ["Qwen/Qwen-7B-Chat", "other/Qwen-7B-Chat"]


async def test_without_any_hub_there_is_nothing() -> None:
    async with hub_client() as client:
        assert (await search_all(client, [], "qwen", 5)).rows == ()


def test_rows_that_fit_best_come_first_and_then_the_most_fetched() -> None:
    ids = {"a/my-qwen3-8b": 90, "b/Qwen3-8B": 1, "c/Qwen3-8B-Chat": 5, "d/Qwen3-8B-Base": 7, "qwen3/8b-other": 99}
    rows = merged([Found(Source("huggingface", id), downloads) for id, downloads in ids.items()], "qwen3 8b")
    assert [row.id for row in rows] == [
        "b/Qwen3-8B",
        "d/Qwen3-8B-Base",
        "c/Qwen3-8B-Chat",
        "a/my-qwen3-8b",
        "qwen3/8b-other",
    ]
    assert Row((Found(Source("huggingface", "a/b"), 3),)).downloads == 3
