"""The test servers are real: the hubs' own libraries work against them, and fetch the same bytes our clients describe.

Each library runs in a process of its own, behind a proxy that lets nothing but this machine through and counts.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.hub.local_cache import cached_models
from core.sources import Source
from tests.helpers.hub_server import HubServer
from tests.helpers.huggingface_server import HuggingFaceServer
from tests.helpers.modelscope_server import ModelScopeServer
from tests.helpers.proxy_server import ProxyServer

ROOT = Path(__file__).parents[3]
ID = "Qwen/Qwen-7B-Chat-Int4"
BODIES = {
    "config.json": b'{"model_type": "qwen"}',
    "qwen.tiktoken": b"IQ== 0\n",
    "model.safetensors": bytes(range(256)) * 1000,
    "README.md": b"# Card",
    "assets/wechat.png": b"\x89PNG",
}

HUGGINGFACE = """
import json, sys
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
api, found = HfApi(), {}
found["rows"] = [[one.id, one.downloads, one.likes, one.gated, one.pipeline_tag, one.last_modified is not None,
                  one.safetensors and one.safetensors.total] for one in
                 api.list_models(search="qwen", sort="downloads", expand=["downloads", "likes", "gated",
                                 "pipeline_tag", "lastModified", "safetensors"])]
info = api.model_info("old/Name", files_metadata=True)
found["info"] = [info.id, info.sha, info.card_data.license, {s.rfilename: [s.size, s.lfs and s.lfs.sha256] for s in
                 info.siblings}]
found["folder"] = snapshot_download("Qwen/Qwen-7B-Chat-Int4", revision="v1.0.5")
for name, (id, revision) in {"gated": ("org/gated", None), "none": ("org/none", None), "revision":
                             ("Qwen/Qwen-7B-Chat-Int4", "v9")}.items():
    try:
        snapshot_download(id, revision=revision)
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""

MODELSCOPE = """
import json, sys
from modelscope_hub import HubApi
from modelscope_hub.errors import HubError
api, found = HubApi(), {}
page = api.list_repos("model", search="qwen", sort="downloads", page_size=2)
found["rows"] = [page.total_count, [[one.repo_id, one.downloads, one.license, one.gated] for one in page.items]]
info = api.get_repo("Qwen/Qwen-7B-Chat-Int4", "model")
found["info"] = [info.repo_id, info.license, str(info.last_modified)]
found["revisions"] = [one["Revision"] for one in api.list_repo_revisions("Qwen/Qwen-7B-Chat-Int4", "model")]
found["files"] = {one.path: [one.size, one.sha256] for one in api.list_repo_files("Qwen/Qwen-7B-Chat-Int4", "model")}
found["folder"] = str(api.download_repo("Qwen/Qwen-7B-Chat-Int4", "model", revision="v1.0.5"))
for name, id in {"gated": "org/gated", "none": "org/none"}.items():
    try:
        api.list_repo_files(id, "model")
    except HubError as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def proxy() -> Iterator[ProxyServer]:
    with ProxyServer(only_loopback=True) as proxy:
        yield proxy


def run(code: str, proxy: ProxyServer, home: Path, **environment: str) -> dict[str, Any]:
    """What the library found. Nothing of this machine's own set-up is in its environment."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    proxies = {name: proxy.address for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    child = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | proxies | {"HOME": str(home), **environment},
        capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return found


def publish(server: HubServer) -> None:
    server.publish(ID, BODIES, tags=["v1.0.5"], licence="tongyi", downloads=30, likes=3, parameters=8)
    server.publish("org/gated", BODIES, gated=True)
    for number in range(4):
        server.publish(f"org/qwen-{number}", BODIES, downloads=number)


def bodies(folder: str) -> dict[str, bytes]:
    """Of all files that were fetched, wherever links lead."""
    place = Path(folder)
    files = [file for file in place.rglob("*") if file.is_file()]
    return {file.relative_to(place).as_posix(): file.read_bytes() for file in files}


def test_hugging_face_s_own_library_works_against_our_server(proxy: ProxyServer, tmp_path: Path) -> None:
    with HuggingFaceServer() as server:
        publish(server)
        server.renamed["old/Name"] = ID
        server.page_size = 2
        found = run(HUGGINGFACE, proxy, tmp_path, HF_ENDPOINT=server.address, HF_HUB_DISABLE_PROGRESS_BARS="1")
        commit = server.repositories[ID].commit
        digest = server.repositories[ID].files["model.safetensors"].sha256
    assert found["rows"][0] == [ID, 30, 3, False, "text-generation", True, 8] and len(found["rows"]) == 5
    assert found["info"][:3] == [ID, commit, "tongyi"]
    assert found["info"][3]["model.safetensors"] == [256_000, digest] and found["info"][3]["README.md"] == [6, None]
    assert bodies(found["folder"]) == BODIES
    assert (found["gated"], found["none"]) == ("GatedRepoError", "RepositoryNotFoundError")
    assert found["revision"] == "RevisionNotFoundError"
    assert proxy.hosts <= {"127.0.0.1", "localhost"}
    (cached,) = cached_models(tmp_path / ".cache" / "huggingface" / "hub", tmp_path / "none")
    assert (cached.source, cached.commit) == (Source("huggingface", ID, "v1.0.5"), commit)
    assert cached.folder == Path(found["folder"]) and cached.size_bytes == sum(
        len(body) for path, body in BODIES.items() if "/" not in path
    )


def test_modelscope_s_own_library_works_against_our_server(proxy: ProxyServer, tmp_path: Path) -> None:
    with ModelScopeServer() as server:
        publish(server)
        found = run(MODELSCOPE, proxy, tmp_path, MODELSCOPE_ENDPOINT=server.address)
        stored = server.repositories[ID].files
    assert found["rows"] == [5, [[ID, 30, "tongyi", False], ["org/qwen-3", 3, "", False]]]
    assert found["info"][:2] == [ID, "tongyi"] and found["info"][2].startswith("2025-07-26")
    assert set(found["revisions"]) == {"master", "v1.0.5"}
    expected = {path: [len(file.body), file.sha256] for path, file in stored.items()}
    assert {path: facts for path, facts in found["files"].items() if path in BODIES} == expected
    assert bodies(found["folder"]) == BODIES
    assert (found["gated"], found["none"]) == ("NotExistError", "NotExistError")
    assert proxy.hosts <= {"127.0.0.1", "localhost"}
    (cached,) = cached_models(tmp_path / "none", tmp_path / ".cache" / "modelscope")
    assert (cached.source, str(cached.folder)) == (Source("modelscope", ID, "v1.0.5"), found["folder"])


def test_addresses_of_stored_files_expire() -> None:
    with HuggingFaceServer() as server:
        publish(server)
        with httpx.Client(trust_env=False) as client:
            answer = client.get(f"{server.address}/{ID}/resolve/main/model.safetensors")
            assert (answer.status_code, answer.headers["X-Linked-Size"]) == (302, "256000")
            signed = answer.headers["Location"]
            part = client.get(signed, headers={"Range": "bytes=5-9", "If-Range": answer.headers["X-Linked-Etag"]})
            assert (part.status_code, part.headers["Content-Range"]) == (206, "bytes 5-9/256000")
            assert client.get(signed, headers={"Range": "bytes=5-9", "If-Range": '"old"'}).status_code == 200
            assert client.get(signed, headers={"Range": "bytes=256000-"}).status_code == 416
            server.expire_addresses()
            assert client.get(signed).status_code == 403
            assert client.get(signed.replace("localhost", "127.0.0.1")).status_code == 404
            again = client.get(f"{server.address}/{ID}/resolve/main/model.safetensors", follow_redirects=True)
            assert again.content == BODIES["model.safetensors"]
            head = client.head(f"{server.address}/{ID}/resolve/main/config.json", follow_redirects=True)
            assert head.headers["Content-Length"] == "22" and head.headers["X-Repo-Commit"] and not head.content


def test_faults_are_what_they_are_called() -> None:
    body = BODIES["model.safetensors"]
    with ModelScopeServer() as server, httpx.Client(trust_env=False, follow_redirects=True, timeout=0.3) as client:
        publish(server)
        address = f"{server.address}/api/v1/models/{ID}/repo?Revision=master&FilePath=model.safetensors"

        def fetched(kind: Any, amount: int = 0) -> httpx.Response:
            server.inject(kind, amount, "/stored/")
            return client.get(address, headers={"Range": "bytes=0-99"})

        for kind, amount in (("cut", 50), ("longer", 5), ("drop", 0)):
            with pytest.raises(httpx.RemoteProtocolError):
                fetched(kind, amount)
        for kind, amount in (("silent", 0), ("stall", 10)):
            with pytest.raises(httpx.ReadTimeout):
                fetched(kind, amount)
        with pytest.raises(httpx.TooManyRedirects):
            server.inject("loop", path="/stored/", times=0)
            client.get(address)
        server.faults.clear()
        assert len(fetched("shorter", 5).content) == 95
        assert fetched("corrupt").content == bytes(byte ^ 1 for byte in body[:100])
        assert fetched("etag").headers["ETag"] == '"another"'
        assert fetched("whole").content == body and fetched("status", 418).status_code == 418
        assert fetched("slow", 2000).content == body[:100]
        assert client.get(address).content == body


def test_the_proxy_opens_tunnels_and_refuses_hosts() -> None:
    with HuggingFaceServer() as server, ProxyServer(refused={"example.org"}) as proxy:
        publish(server)
        for host, expected in ((f"127.0.0.1:{server.port}", b"200"), ("example.org:443", b"403")):
            with socket.create_connection(("127.0.0.1", int(proxy.address.rpartition(":")[2])), 5) as line:
                line.sendall(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                answer = line.makefile("rb")
                assert expected in answer.readline()
                if expected == b"200":
                    while answer.readline().strip():
                        pass
                    line.sendall(b"GET /api/models?search=qwen HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    assert b"200" in answer.readline() and ID.encode() in answer.read()
        assert proxy.requests == [("CONNECT", "127.0.0.1"), ("CONNECT", "example.org")]
