"""What can be had: both hubs in one list, a model looked at before it is fetched, and no hub that holds us up."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from app.services.discovery import DiscoveryService, Listing, Offer
from app.services.hub_access import HubAccess
from app.services.preferences import Preferences
from app.services.secrets import Secrets
from core.errors import UserError
from core.sources import Source
from tests.helpers import tiny_models
from tests.helpers.huggingface_server import HuggingFaceServer
from tests.helpers.modelscope_server import ModelScopeServer

CARD = "---\nlicense: apache-2.0\n---\n# Tiny\n\nA model for tests.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tiny_models.write_model(tmp_path_factory.mktemp("hub") / "tiny", "qwen3")
    (place / "README.md").write_text(CARD)
    (place / "LICENSE").write_text("Do what you like.")
    (place / "modeling_tiny.py").write_text("raise SystemExit('never run')")
    return place


@contextmanager
def both(folder: Path) -> Iterator[tuple[HuggingFaceServer, ModelScopeServer]]:
    with HuggingFaceServer() as face, ModelScopeServer() as scope:
        face.publish("Qwen/Qwen3-0.6B", folder, licence="apache-2.0", downloads=900)
        face.publish("someone/qwen3-tiny", folder, downloads=5)
        scope.publish("qwen/qwen3-0.6b", folder, licence="Apache License 2.0", downloads=700)
        scope.publish("else/Qwen3-Other", folder, downloads=50)
        yield face, scope


@asynccontextmanager
async def service(face: str, scope: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DiscoveryService]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(Secrets, "get", lambda self, place: "")  # whatever this machine's key ring holds
    preferences = Preferences()
    preferences.change(huggingface_endpoint=face, modelscope_endpoint=scope)
    found = DiscoveryService(HubAccess(preferences, Secrets()))
    try:
        yield found
    finally:
        await found.close()


async def searched(found: DiscoveryService, text: str) -> list[Listing]:
    return [listing async for listing in found.search(text)]


async def test_one_list_of_both_hubs_and_the_catalogue(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with both(folder) as (face, scope):
        async with service(face.address, scope.address, monkeypatch) as found:
            listings = await searched(found, "qwen3")
    assert listings[0].waiting and all(offer.entry for offer in listings[0].offers)  # the catalogue, at once
    last = listings[-1]
    assert last.waiting == () and last.problems == ()
    ids = [offer.id.lower() for offer in last.offers]
    assert len(ids) == len(set(ids))
    small = next(offer for offer in last.offers if offer.name == "Qwen3-0.6B")
    assert small.entry is not None and small.downloads == 900
    assert {source.place for source in small.sources} == {"huggingface", "modelscope"}
    assert {"someone/qwen3-tiny", "else/qwen3-other"} <= set(ids)


async def test_a_hub_that_is_not_there_costs_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with both(folder) as (face, scope):
        pass
    with both(folder) as (_, scope):
        began = time.monotonic()
        async with service(face.address, scope.address, monkeypatch) as found:
            last = (await searched(found, "qwen3-o"))[-1]
    assert time.monotonic() - began < 3.5
    assert [place for place, _ in last.problems] == ["huggingface"] and str(last.problems[0][1])
    assert "else/Qwen3-Other" in {offer.id for offer in last.offers}


async def test_without_any_network_the_catalogue_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service("http://127.0.0.1:9", "http://127.0.0.1:9", monkeypatch) as found:
        last = (await searched(found, "qwen-7b"))[-1]
        assert len(last.problems) == 2 and "Qwen-7B-Chat" in {offer.name for offer in last.offers}
        with pytest.raises(UserError) as told:
            await found.look(last.offers[0])
        assert told.value.code == "hub_unreachable"


async def test_a_pasted_address_is_that_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with both(folder) as (face, scope):
        async with service(face.address, scope.address, monkeypatch) as found:
            offers = (await searched(found, f"{scope.address}/models/else/Qwen3-Other/summary"))[-1].offers
            assert offers[0].sources[0] == Source("modelscope", "else/Qwen3-Other")
            offers = (await searched(found, "https://huggingface.co/Qwen/Qwen-7B-Chat"))[-1].offers
            assert offers[0].name == "Qwen-7B-Chat" and offers[0].entry is not None


async def test_an_id_that_nobody_has_is_no_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with both(folder) as (face, scope):
        async with service(face.address, scope.address, monkeypatch) as found:
            assert (await searched(found, "someone/does-not-exist"))[-1].offers == ()
            only = (await searched(found, "someone/qwen3-tiny"))[-1].offers
            assert [source.place for source in only[0].sources] == ["huggingface"]


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "rubbish", "127.0.0.1:7890"])
@pytest.mark.loops("asyncio")
async def test_a_proxy_that_cannot_be_used_is_told(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with service("http://127.0.0.1:9", "http://127.0.0.1:9", monkeypatch) as found:
        found._access._preferences.change(proxy=proxy)
        last = (await searched(found, "qwen3"))[-1]
        assert len(last.problems) == 2 and last.waiting == () and last.offers
        assert last.problems[0][1].code == ("hub_unreachable" if "://" in proxy else "proxy_unusable")
        assert str(last.problems[0][1])


@pytest.mark.loops("asyncio")
async def test_a_model_is_looked_at_without_fetching_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = Offer("tiny", (Source("huggingface", "someone/qwen3-tiny"),))
    with both(folder) as (face, scope):
        async with service(face.address, scope.address, monkeypatch) as found:
            look = await found.look(offer)
            assert look.subject is not None
            assert look.subject.shape.parameters == tiny_models.model("qwen3").num_parameters()
            assert look.needed.code_files == ("modeling_tiny.py",)
            assert look.total_bytes == sum(file.size_bytes for file in look.needed.files) > 0
            assert await found.card(look) == "# Tiny\n\nA model for tests.\n"
            assert await found.licence_text(look) == "Do what you like."
            asked = len(face.requests)
            assert await found.look(offer) is look and await found.card(look)
            assert len(face.requests) == asked  # what was answered once is not asked again
    sent = [request for request in face.requests if request.address.endswith("model.safetensors")]
    assert not sent or all(request.headers.get("range") for request in sent)


@pytest.mark.loops("asyncio")
async def test_the_second_hub_is_asked_where_the_first_has_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = Offer("other", (Source("huggingface", "else/Qwen3-Other"), Source("modelscope", "else/Qwen3-Other")))
    with both(folder) as (face, scope):
        async with service(face.address, scope.address, monkeypatch) as found:
            look = await found.look(offer)
    assert look.repository.source.place == "modelscope"


@pytest.mark.loops("asyncio")
async def test_the_faster_of_two_sources_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = (Source("huggingface", "Qwen/Qwen3-0.6B"), Source("modelscope", "qwen/qwen3-0.6b"))
    with both(folder) as (face, scope):
        async with service(face.address, scope.address, monkeypatch) as found:
            look = await found.look(Offer("small", sources))
            face.inject("slow", 20_000, "model.safetensors", times=9)
            speeds = await found.speeds(look)
    assert [speed.source.place for speed in speeds] == ["modelscope", "huggingface"]
    assert speeds[0].bytes_per_s > speeds[1].bytes_per_s > 0


@pytest.mark.loops("asyncio")
async def test_settings_go_before_the_environment_and_a_token_stays_with_its_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "scope.example")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(Secrets, "get", lambda self, place: "ms_kept" if place == "modelscope" else "")
    preferences = Preferences()
    face, scope = await HubAccess(preferences, Secrets()).now()
    assert (face.address, face.token) == ("https://mirror.example", "hf_secret")
    assert (scope.address, scope.token) == ("https://scope.example", "ms_kept")
    assert "secret" not in repr(face) and "kept" not in json.dumps(repr(scope))
    preferences.change(huggingface_endpoint="https://other.example")
    assert (await HubAccess(preferences, Secrets()).now())[0].address == "https://other.example"
