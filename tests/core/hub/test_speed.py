"""Which source is faster is measured, and one that fails says why."""

from __future__ import annotations

import time

import pytest

from core.hub import huggingface, modelscope, speed
from core.hub.speed import Candidate, faster
from core.sources import Access, Source
from tests.helpers.hub_clients import hub_client
from tests.helpers.huggingface_server import HuggingFaceServer
from tests.helpers.modelscope_server import ModelScopeServer

pytestmark = pytest.mark.loops("asyncio")  # in the window's loop too where it matters: BOTH
BOTH = pytest.mark.loops("asyncio", "qasync")

BODIES = {"config.json": b"{}", "model.safetensors": bytes(3_000_000)}


async def test_the_faster_source_comes_first_and_a_broken_one_last() -> None:
    with HuggingFaceServer() as first, ModelScopeServer() as second:
        first.publish("org/name", BODIES)
        second.publish("org/name", BODIES)
        one, other = Access("huggingface", first.address), Access("modelscope", second.address)
        async with hub_client() as client:
            there = await huggingface.describe(client, one, Source("huggingface", "org/name"))
            here = await modelscope.describe(client, other, Source("modelscope", "org/name"))
            first.inject("slow", 400_000, "/stored/", times=0)
            candidates = [
                Candidate(one, there),
                Candidate(other, here),
                Candidate(Access("huggingface", "http://127.0.0.1:9"), there),
            ]
            start = time.monotonic()
            found = await faster(client, candidates, 0.5)
            assert time.monotonic() - start < 1.5
    assert [one.source.place for one in found[:2]] == ["modelscope", "huggingface"]
    assert found[0].bytes_per_s > 2_000_000 and 100_000 < found[1].bytes_per_s < 600_000 and not found[1].error
    assert found[2].bytes_per_s == 0 and found[2].error and found[2].error.code == "hub_unreachable"


async def test_silence_and_refusals_are_told_apart() -> None:
    with HuggingFaceServer() as server:
        server.publish("org/name", BODIES)
        access = Access("huggingface", server.address)
        async with hub_client() as client:
            there = await huggingface.describe(client, access, Source("huggingface", "org/name"))
            server.inject("silent", path="/stored/")
            (silent,) = await faster(client, [Candidate(access, there)], 0.2)
            server.inject("status", 503, "resolve")
            (refused,) = await faster(client, [Candidate(access, there)], 1)
    assert silent.error and silent.error.code == "hub_slow" and refused.error and refused.error.code == "hub_busy"


@BOTH
async def test_a_source_that_ignores_ranges_is_left_after_the_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SLICE_BYTES", 100_000)
    with ModelScopeServer() as server:
        server.publish("org/name", BODIES)
        server.inject("whole", path="/stored/")
        access = Access("modelscope", server.address)
        async with hub_client() as client:
            there = await modelscope.describe(client, access, Source("modelscope", "org/name"))
            (found,) = await faster(client, [Candidate(access, there)], 1)
    assert found.bytes_per_s > 0 and not found.error
