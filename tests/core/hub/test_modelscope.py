"""ModelScope's interfaces: search, repositories pinned to commits, bytes by range, failures said with status 200."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest

from core.hub import modelscope
from core.hub.repository import RepoFile, Repository
from core.sources import Access, Source
from tests.helpers.hub_clients import hub_client, refusal
from tests.helpers.hub_server import Reply
from tests.helpers.modelscope_server import ModelScopeServer

ID = "qwen/Qwen-7B-Chat"
WEIGHTS = bytes(range(256)) * 64
BODIES = {
    "config.json": b'{"model_type": "qwen", "Success": true, "Code": 5}',
    "model.safetensors": WEIGHTS,
    "LICENSE.md": b"the terms",
    "assets/a b.png": b"odd name",
}

pytestmark = pytest.mark.loops("asyncio")  # in the window's loop too where it matters: BOTH
BOTH = pytest.mark.loops("asyncio", "qasync")


@pytest.fixture
def server() -> Iterator[ModelScopeServer]:
    with ModelScopeServer() as server:
        made = server.publish(ID, BODIES, tags=["v1.0.5"], licence="Apache License 2.0", downloads=900, likes=7)
        made.commits["v1.0.5"] = "5" * 40
        yield server


def access(server: ModelScopeServer, token: str = "") -> Access:
    return Access("modelscope", server.address, token)


async def described(server: ModelScopeServer, id: str = ID, revision: str = "", token: str = "") -> Repository:
    async with hub_client() as client:
        return await modelscope.describe(client, access(server, token), Source("modelscope", id, revision))


async def read(server: ModelScopeServer, path: str, start: int = 0, length: int | None = None) -> bytes:
    repository = await described(server)
    async with hub_client() as client:
        return await modelscope.read_bytes(client, access(server), repository, path, start, length, deadline_s=2)


@BOTH
async def test_a_search_tells_of_each_repository_what_a_row_shows(server: ModelScopeServer) -> None:
    server.publish("qwen/Qwen-7B", BODIES, downloads=5, gated=True, parameters=7)
    async with hub_client() as client:
        first, second = await modelscope.search(client, access(server), "qwen-7b", 10)
    assert first.source == Source("modelscope", ID) and first.updated is not None
    assert (first.downloads, first.likes, first.licence, first.task) == (900, 7, "apache-2.0", "text-generation")
    assert (first.gated, second.gated, second.parameters) == (False, True, 7)


async def test_a_search_goes_through_the_pages_it_needs(server: ModelScopeServer) -> None:
    for number in range(120):
        server.publish(f"org/tiny-{number}", BODIES, downloads=number)
    async with hub_client() as client:
        found = await modelscope.search(client, access(server), "tiny", 70)
    assert [one.downloads for one in found] == list(range(119, 49, -1)) and len(server.requests) == 2


@pytest.mark.parametrize(("revision", "is_branch"), [("", True), ("v1.0.5", False), ("5" * 40, False)])
async def test_a_repository_is_pinned_with_sizes_and_digests(
    server: ModelScopeServer, revision: str, is_branch: bool
) -> None:
    found = await described(server, revision=revision)
    assert found.commit == (server.repositories[ID].commit if is_branch else "5" * 40)
    assert found.source == Source("modelscope", ID, revision)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert found.file("model.safetensors") == RepoFile("model.safetensors", len(WEIGHTS), digest)
    assert found.file("assets/a b.png") and not found.file("assets")
    assert (found.licence, found.gated) == ("apache-2.0", False) and "LICENSE.md" in found.licence_link
    asked = [request.query["Revision"] for request in server.asked("/repo/files")]
    assert asked == [found.commit]


async def test_without_the_interface_for_commits_the_revision_itself_is_used(server: ModelScopeServer) -> None:
    server.has_commits = False
    assert (await described(server)).commit == "master"
    assert (await described(server, revision="v1.0.5")).commit == "v1.0.5"
    assert (await refusal(described(server, revision="v9"))).code == "hub_unknown_revision"


async def test_a_repository_that_the_documented_interface_does_not_know_is_found(server: ModelScopeServer) -> None:
    server.inject("status", 404, "/openapi/")
    found = await described(server)
    assert (found.source.id, found.licence) == (ID, "apache-2.0") and found.updated is not None


async def test_the_hub_s_own_spelling_is_kept(server: ModelScopeServer) -> None:
    server.repositories["QWEN/qwen-7b-chat"] = server.repositories[ID]
    assert (await described(server, "QWEN/qwen-7b-chat")).source.id == ID


@BOTH
async def test_bytes_come_by_range_of_small_and_large_files(server: ModelScopeServer) -> None:
    assert await read(server, "config.json", 1, 4) == BODIES["config.json"][1:5]  # 200 with Content-Range
    assert await read(server, "config.json") == BODIES["config.json"]
    assert await read(server, "model.safetensors", 1000, 50) == WEIGHTS[1000:1050]
    assert server.requests[-1].host.startswith("localhost") and server.requests[-1].sent == 50
    assert await read(server, "model.safetensors", len(WEIGHTS), 50) == b""
    assert await read(server, "assets/a b.png") == b"odd name"


async def test_the_token_stays_with_the_hub(server: ModelScopeServer) -> None:
    server.accounts["secret"] = set()
    repository = await described(server, token="secret")
    async with hub_client() as client:
        await modelscope.read_bytes(client, access(server, "secret"), repository, "model.safetensors", 0, 8)
    stored = [request for request in server.requests if request.host.startswith("localhost")]
    assert stored and not any({"authorization", "cookie"} & set(request.headers) for request in stored)
    assert all(request.token == "secret" for request in server.requests if request not in stored)


@pytest.mark.parametrize("status", [200, 404])
async def test_a_missing_file_is_told_from_its_contents(server: ModelScopeServer, status: int) -> None:
    server.missing_status = status
    assert (await refusal(read(server, "missing.json"))).code == "hub_unknown_file"


async def test_each_refusal_has_its_own_sentence(server: ModelScopeServer) -> None:
    server.publish("org/gated", BODIES, gated=True)
    server.accounts |= {"inside": {"org/gated"}}
    assert (await refusal(described(server, "org/none"))).code == "hub_unknown_repository"
    assert (await refusal(described(server, revision="v9"))).code == "hub_unknown_revision"
    assert (await refusal(described(server, revision="9" * 40))).code == "hub_unknown_revision"
    error = await refusal(described(server, "org/gated"))
    assert (error.code, error.params["link"]) == ("hub_gated", f"{server.address}/models/org/gated")
    assert (await refusal(described(server, token="wrong"))).code == "hub_token_refused"
    assert (await described(server, "org/gated", token="inside")).gated


async def test_a_hub_out_of_breath_is_not_a_missing_model(server: ModelScopeServer) -> None:
    said = "获取模型信息失败，信息：Error 1461: Can't create more than max_prepared_stmt_count statements"
    body = {"Code": 10010205001, "Message": said, "Success": False}
    server.reply = lambda request, path: Reply.json(body, 404)  # type: ignore[method-assign]
    assert (await refusal(described(server))).code == "hub_busy"


@pytest.mark.parametrize("status", [429, 502])
async def test_a_busy_hub_says_how_long_to_wait(server: ModelScopeServer, status: int) -> None:
    server.inject("status", status, headers={"Retry-After": "9"})
    error = await refusal(described(server))
    assert (error.code, error.params["seconds"]) == ("hub_busy", 9)


async def test_a_listing_that_was_cut_falls_back_to_the_top_folder(server: ModelScopeServer) -> None:
    server.publish("org/many", {**BODIES, **{f"deep/{number}.txt": b"" for number in range(3001)}})
    found = await described(server, "org/many")
    assert {file.path for file in found.files} == {"LICENSE.md", "config.json", "model.safetensors"}


@pytest.mark.parametrize("kind", ["silent", "slow"])
@BOTH
async def test_a_deadline_holds_whatever_the_hub_does(server: ModelScopeServer, kind: str) -> None:
    server.inject(kind, 20, times=0)  # type: ignore[arg-type]
    start = time.monotonic()
    async with hub_client() as client:
        error = await refusal(modelscope.describe(client, access(server), Source("modelscope", ID), deadline_s=0.3))
    assert error.code == "hub_slow" and time.monotonic() - start < 2
