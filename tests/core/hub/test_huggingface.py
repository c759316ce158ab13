"""Hugging Face's interface: search, repositories pinned to commits, bytes by range, and each way of being refused."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest

from core.hub import huggingface
from core.hub.repository import Found, Repository
from core.sources import Access, Source
from tests.helpers.hub_clients import hub_client, refusal
from tests.helpers.huggingface_server import HuggingFaceServer
from tests.helpers.proxy_server import ProxyServer

ID = "Qwen/Qwen3-8B"
WEIGHTS = bytes(range(256)) * 64
BODIES = {
    "config.json": b'{"model_type": "qwen3"}',
    "model.safetensors": WEIGHTS,
    "LICENSE": b"the terms",
    "original/a b#c.txt": b"odd name",
}

pytestmark = pytest.mark.loops("asyncio")  # in the window's loop too where it matters: BOTH
BOTH = pytest.mark.loops("asyncio", "qasync")


@pytest.fixture
def server() -> Iterator[HuggingFaceServer]:
    with HuggingFaceServer() as server:
        server.publish(ID, BODIES, tags=["v1.0"], licence="apache-2.0", downloads=900, likes=7, parameters=8_000_000)
        yield server


def access(server: HuggingFaceServer, token: str = "") -> Access:
    return Access("huggingface", server.address, token)


async def described(server: HuggingFaceServer, id: str = ID, revision: str = "", token: str = "") -> Repository:
    async with hub_client() as client:
        return await huggingface.describe(client, access(server, token), Source("huggingface", id, revision))


async def read(
    server: HuggingFaceServer, path: str, start: int = 0, length: int | None = None, token: str = ""
) -> bytes:
    repository = await described(server, token=token)
    async with hub_client() as client:
        return await huggingface.read_bytes(
            client, access(server, token), repository, path, start, length, deadline_s=2
        )


@BOTH
async def test_a_search_tells_of_each_repository_what_a_row_shows(server: HuggingFaceServer) -> None:
    server.publish("someone/Qwen3-8B-GGUF", {"a.gguf": b"x"}, downloads=5, gated=True)
    async with hub_client() as client:
        first, second = await huggingface.search(client, access(server), "qwen3", 10)
    assert first.source == Source("huggingface", ID) and first.updated is not None
    assert (first.downloads, first.likes, first.parameters, first.licence) == (900, 7, 8_000_000, "apache-2.0")
    assert (first.task, first.gated, second.gated) == ("text-generation", False, True)


@pytest.mark.parametrize("is_mirror", [False, True])
async def test_a_search_goes_through_the_pages_it_needs(server: HuggingFaceServer, is_mirror: bool) -> None:
    """A mirror names the hub it mirrors in the link to the next page."""
    for number in range(25):
        server.publish(f"org/qwen-{number}", {"a": b""}, downloads=number)
    server.page_size, server.is_mirror = 10, is_mirror
    async with hub_client() as client:
        found = await huggingface.search(client, access(server), "qwen-", 23)
    assert [one.downloads for one in found] == list(range(24, 1, -1)) and len(server.asked("/api/models")) == 3


async def test_an_odd_row_of_a_search_hides_no_other(server: HuggingFaceServer) -> None:
    found = huggingface._rows(_answer(b'[{"id": 3}, {"id": "a/b", "gated": "auto", "downloads": null, "new": {}}]'))
    assert list(found) == [Found(Source("huggingface", "a/b"), gated=True)]


@BOTH
async def test_a_repository_is_pinned_with_sizes_and_digests(server: HuggingFaceServer) -> None:
    found = await described(server, revision="v1.0")
    assert found.commit == server.repositories[ID].commit and found.source == Source("huggingface", ID, "v1.0")
    weights, config = found.file("model.safetensors"), found.file("config.json")
    assert weights and (weights.size_bytes, weights.sha256) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    body = BODIES["config.json"]
    assert (
        config and config.sha256 == "" and config.git_oid == hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    )
    assert (found.licence, found.gated) == ("apache-2.0", False)
    assert found.licence_link == f"{server.address}/{ID}/blob/{found.commit}/LICENSE"


async def test_a_licence_of_its_own_is_named(server: HuggingFaceServer) -> None:
    link = "https://example.org/terms"
    server.publish(ID, BODIES, licence="other", licence_name="tongyi-qianwen", licence_link=link)
    found = await described(server)
    assert (found.licence, found.licence_link) == ("tongyi-qianwen", link)


async def test_a_renamed_repository_is_followed_and_goes_by_its_new_name(server: HuggingFaceServer) -> None:
    server.renamed["old/Name"] = ID
    assert (await described(server, "old/Name")).source.id == ID


@BOTH
async def test_bytes_come_by_range_from_where_they_are_stored(server: HuggingFaceServer) -> None:
    assert await read(server, "model.safetensors", 1000, 50) == WEIGHTS[1000:1050]
    assert server.requests[-1].host.startswith("localhost") and server.requests[-1].sent == 50
    assert await read(server, "model.safetensors", len(WEIGHTS) - 5, 50) == WEIGHTS[-5:]
    assert await read(server, "model.safetensors", len(WEIGHTS) + 5, 50) == b""
    assert await read(server, "config.json") == BODIES["config.json"]
    assert await read(server, "original/a b#c.txt") == b"odd name"


async def test_the_token_stays_with_the_hub(server: HuggingFaceServer) -> None:
    server.accounts["secret"] = set()
    await read(server, "model.safetensors", 0, 8, token="secret")
    stored = [request for request in server.requests if request.host.startswith("localhost")]
    assert stored and not any("authorization" in request.headers for request in stored)
    assert all(request.token == "secret" for request in server.requests if request not in stored)
    assert "secret" not in repr(access(server, "secret"))


@BOTH
async def test_a_hub_that_ignores_ranges_costs_no_more_than_was_asked_for(server: HuggingFaceServer) -> None:
    server.inject("whole", path="/stored/", times=0)
    assert await read(server, "model.safetensors", 100, 16) == WEIGHTS[100:116]


async def test_a_gate_names_the_page_with_the_terms(server: HuggingFaceServer) -> None:
    server.publish(ID, BODIES, gated=True)
    server.accounts |= {"outside": set(), "inside": {ID}}
    for token in ("", "outside"):
        error = await refusal(read(server, "config.json", token=token))
        assert (error.code, error.params["link"]) == ("hub_gated", f"{server.address}/{ID}")
    assert (await described(server)).gated and await read(server, "config.json", token="inside")


async def test_each_refusal_has_its_own_sentence(server: HuggingFaceServer) -> None:
    server.publish("org/hidden", BODIES, private=True)
    server.accounts["account"] = set()
    assert (await refusal(described(server, "org/none"))).code == "hub_unknown_repository"
    assert (await refusal(described(server, "org/hidden", token="account"))).code == "hub_unknown_repository"
    error = await refusal(described(server, revision="refs/pr/1"))
    assert (error.code, error.params["revision"]) == ("hub_unknown_revision", "refs/pr/1")
    assert (await refusal(read(server, "missing.json"))).code == "hub_unknown_file"
    for token in ("wrong", "两个字", "two words"):
        assert (await refusal(described(server, token=token))).code == "hub_token_refused"


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, {"Retry-After": "7"}, ("hub_busy", 7)),
        (
            429,
            {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'},
            ("hub_busy", 55),
        ),
        (503, {}, ("hub_busy", 30)),
        (418, {}, ("hub_refused", "418")),
    ],
)
async def test_a_busy_hub_says_how_long_to_wait(
    server: HuggingFaceServer, status: int, headers: dict[str, str], expected: tuple[str, object]
) -> None:
    server.inject("status", status, headers=headers)
    error = await refusal(described(server))
    assert (error.code, error.params.get("seconds", error.params.get("status"))) == expected


async def test_what_is_no_hub_is_unreadable(server: HuggingFaceServer) -> None:
    server.inject("corrupt")
    assert (await refusal(described(server))).code == "hub_unreadable"
    server.inject("loop", times=0)
    assert (await refusal(described(server))).code == "hub_unreadable"


@pytest.mark.parametrize("kind", ["silent", "stall", "slow"])
@BOTH
async def test_a_deadline_holds_whatever_the_hub_does(server: HuggingFaceServer, kind: str) -> None:
    server.inject(kind, 20, times=0)  # type: ignore[arg-type]
    start = time.monotonic()
    async with hub_client() as client:
        question = huggingface.describe(client, access(server), Source("huggingface", ID), deadline_s=0.3)
        error = await refusal(question)
    assert error.code == "hub_slow" and time.monotonic() - start < 2


@pytest.mark.parametrize("kind", ["drop", "cut", "longer"])
@BOTH
async def test_a_broken_connection_is_an_unreachable_hub(server: HuggingFaceServer, kind: str) -> None:
    server.inject(kind, 5)  # type: ignore[arg-type]
    assert (await refusal(described(server))).code == "hub_unreachable"


@BOTH
async def test_nobody_at_the_address_is_said_with_the_host() -> None:
    async with hub_client() as client:
        for endpoint in ("http://127.0.0.1:9", "hub.example", "http://[bad"):
            error = await refusal(huggingface.search(client, Access("huggingface", endpoint), "x", 5))
            assert error.code == "hub_unreachable" and error.params["host"]


async def test_a_mirror_below_another_site_works() -> None:
    with HuggingFaceServer("/mirrors/hf") as server:
        server.publish(ID, BODIES)
        server.renamed["old/Name"] = ID
        assert (await described(server, "old/Name")).source.id == ID
        assert await read(server, "config.json") == BODIES["config.json"]
        assert await read(server, "model.safetensors", 5, 5) == WEIGHTS[5:10]


async def test_a_mirror_that_sends_files_to_a_blocked_hub_is_told_from_itself(server: HuggingFaceServer) -> None:
    server.files_at = "http://localhost:9"
    error = await refusal(read(server, "config.json"))
    assert (error.code, error.params["host"]) == ("hub_unreachable", "localhost")


async def test_a_proxy_is_used_and_its_refusal_is_no_hang(server: HuggingFaceServer) -> None:
    with ProxyServer() as proxy:
        async with hub_client(proxy.address) as client:
            source = Source("huggingface", ID)
            assert (await huggingface.describe(client, access(server), source)).source.id == ID
            assert proxy.hosts == {"127.0.0.1"}
            proxy.login = "user:password"
            assert (await refusal(huggingface.describe(client, access(server), source))).code == "hub_proxy_login"


def _answer(body: bytes) -> huggingface.Answer:
    import httpx

    return huggingface.Answer(200, httpx.Headers(), body)
