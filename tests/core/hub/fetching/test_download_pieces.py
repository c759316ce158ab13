"""Many files in pieces over several connections: from redirects, mirrors and servers without ranges, with and without
digests."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import UserError
from core.hub.fetching.download import RemoteFile, fetch_all
from core.models.manifest import FileRecord
from core.models.steps import FileStep, result
from tests.helpers.downloads import PIECES, QUICK, are_there, digest, fetched, oid, remotes, until
from tests.helpers.file_server import FileServer

PIECE = PIECES.piece_bytes
CHANCE = random.Random(11)
BODIES = {
    "/weights-1.bin": CHANCE.randbytes(9 * PIECE + 123),
    "/weights-2.bin": CHANCE.randbytes(5 * PIECE),
    "/deep/down/config.json": CHANCE.randbytes(700),
    "/empty.txt": b"",
}
SIZE = sum(map(len, BODIES.values()))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(dict(BODIES)) as server:
        yield server


def one(server: FileServer, **other: object) -> RemoteFile:
    return replace(remotes(server)[0], **other)  # type: ignore[arg-type]


def test_all_files_come_in_pieces_and_their_digests_with_them(server: FileServer, tmp_path: Path) -> None:
    records = fetched(remotes(server), tmp_path / "model")
    assert records == tuple(FileRecord(path[1:], len(body), digest(body)) for path, body in BODIES.items())
    assert are_there(BODIES, tmp_path / "model")
    assert server.sent == SIZE and len(server.requests) == 10 + 5 + 1 + 1


def test_progress_never_falls_and_tells_the_last_of_each_file(server: FileServer, tmp_path: Path) -> None:
    server.plan = ["cut:30000", "slow:2000000"]
    steps = [step for step in fetch_all(remotes(server), tmp_path / "model", PIECES) if step]
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total == SIZE
    last = {file.name: file for step in steps for file in step.files}
    assert last == {path[1:]: FileStep(path[1:], len(body), len(body)) for path, body in BODIES.items()}


def test_files_that_are_there_are_checked_and_only_wrong_ones_fetched(server: FileServer, tmp_path: Path) -> None:
    fetched(remotes(server), tmp_path)
    (tmp_path / "weights-2.bin").write_bytes(b"x" * len(BODIES["/weights-2.bin"]))
    (tmp_path / "empty.txt").write_bytes(b"not so empty")
    before = len(server.requests)
    assert len(fetched(remotes(server), tmp_path)) == 4
    assert are_there(BODIES, tmp_path)
    assert {request.path for request in server.requests[before:]} == {"/weights-2.bin", "/empty.txt"}


def test_files_of_like_names_and_what_a_kill_left_beside_them(server: FileServer, tmp_path: Path) -> None:
    server.files = {"/vocab": b"one", "/vocab.json": b"two"}
    for name in ("vocab.part.json.new", "vocab.part.marks", "vocab.json.part.json"):
        (tmp_path / name).write_bytes(b"half a word")
    for _ in range(2):
        fetched(remotes(server), tmp_path)
        assert are_there(server.files, tmp_path)


def test_connections_share_one_large_file(server: FileServer, tmp_path: Path) -> None:
    server.waits_for = 4  # nobody waits for the whole of the first piece
    large = 3 * PIECE
    fetched([one(server)], tmp_path, replace(PIECES, piece_bytes=large))
    assert server.most_at_once == 4
    assert sorted(request.start for request in server.requests) == [0, large, 2 * large, 3 * large]


def test_no_files_are_there_at_once(tmp_path: Path) -> None:
    assert fetched([], tmp_path) == ()


@pytest.mark.parametrize("serves", [0, 1, 3])
def test_signed_addresses_are_used_while_they_serve_and_asked_for_again(
    server: FileServer, tmp_path: Path, serves: int
) -> None:
    server.signature_serves = serves
    secret = {"Authorization": "Bearer hidden"}
    fetched(remotes(server, "/resolve", headers=secret), tmp_path / "model", replace(PIECES, connections=2))
    assert are_there(BODIES, tmp_path / "model") and server.sent == SIZE
    assert {request.authorization for request in server.resolved} == {"Bearer hidden"}
    assert {request.authorization for request in server.requests} == {""}
    assert all(request.host.startswith("localhost") for request in server.requests)
    if not serves:
        assert len(server.resolved) == len(BODIES)


def test_a_file_that_has_moved_on_its_own_host_is_asked_for_with_the_same_rights(
    server: FileServer, tmp_path: Path
) -> None:
    fetched(remotes(server, "/moved", headers={"Authorization": "Bearer hidden"}), tmp_path / "model")
    assert are_there(BODIES, tmp_path / "model")
    assert {request.authorization for request in server.requests} == {"Bearer hidden"}


def test_another_mirror_goes_on_with_what_one_has_sent(server: FileServer, tmp_path: Path) -> None:
    server.plan = ["slow:400000"]
    work = fetch_all([one(server)], tmp_path, PIECES)
    until(work, 2 * PIECE)
    work.close()
    with FileServer(dict(BODIES), etag='"as-the-mirror-sees-it"') as mirror:
        fetched([one(mirror)], tmp_path)
        assert mirror.sent <= len(BODIES["/weights-1.bin"]) - 2 * PIECE


def test_without_a_digest_only_the_same_version_goes_on(server: FileServer, tmp_path: Path) -> None:
    def closed_halfway() -> None:
        server.plan = ["slow:400000"]
        work = fetch_all([one(server, sha256="")], tmp_path, replace(PIECES, connections=1))
        until(work, 2 * PIECE)
        work.close()
        server.plan = ["ok"]

    closed_halfway()
    before = len(server.requests)
    assert fetched([one(server, sha256="")], tmp_path)[0].sha256 == digest(BODIES["/weights-1.bin"])
    assert all(request.if_range == '"v1"' and request.start >= 2 * PIECE for request in server.requests[before:])

    (tmp_path / "weights-1.bin").unlink()
    closed_halfway()
    server.etag, server.files["/weights-1.bin"] = '"v2"', (new := random.Random(5).randbytes(9 * PIECE + 123))
    assert fetched([one(server, sha256="")], tmp_path)[0].sha256 == digest(new)

    (tmp_path / "weights-1.bin").unlink()
    server.etag = ""
    closed_halfway()
    server.files["/weights-1.bin"] = BODIES["/weights-1.bin"]
    assert fetched([one(server, sha256="")], tmp_path)[0].sha256 == digest(BODIES["/weights-1.bin"])


@pytest.mark.parametrize("etag", ['"v1"', ""])
@pytest.mark.parametrize("plan", [["cut:90000", "ok"], ["unsized"], ["ok", "other", "ok"], ["ok", "past", "ok"]])
def test_nothing_known_but_the_address(server: FileServer, tmp_path: Path, plan: list[str], etag: str) -> None:
    server.plan, server.etag = plan, etag
    records = fetched([RemoteFile(f"{server.address}{path}", path[1:]) for path in BODIES], tmp_path / "model")
    assert records == tuple(FileRecord(path[1:], len(body), digest(body)) for path, body in BODIES.items())
    assert are_there(BODIES, tmp_path / "model")


def test_what_git_calls_a_file_is_checked_too(server: FileServer, tmp_path: Path) -> None:
    body = BODIES["/weights-2.bin"]
    file = RemoteFile(f"{server.address}/weights-2.bin", "a.bin", "", len(body), oid(body))
    assert fetched([file], tmp_path)[0].sha256 == digest(body)
    with pytest.raises(UserError) as caught:
        fetched([replace(file, name="b.bin", git_oid="0" * 40)], tmp_path)
    assert caught.value.code == "download_wrong_hash" and not list(tmp_path.glob("b.bin*"))


@pytest.mark.parametrize("plan", [["whole"], ["ok", "whole", "ok"], ["unsized"], ["past"], ["status:416", "whole"]])
def test_servers_that_serve_no_ranges_serve_the_file_all_the_same(
    server: FileServer, tmp_path: Path, plan: list[str]
) -> None:
    server.plan = plan
    fetched(remotes(server), tmp_path / "model")
    assert are_there(BODIES, tmp_path / "model")


def test_a_part_under_the_status_of_a_whole_is_still_a_part(server: FileServer, tmp_path: Path) -> None:
    server.plan = ["cut:500", "part200"]
    fetched(remotes(server), tmp_path / "model", replace(PIECES, connections=1))
    assert are_there(BODIES, tmp_path / "model") and server.sent == SIZE


def test_a_cut_on_a_server_without_ranges_keeps_what_came(server: FileServer, tmp_path: Path) -> None:
    server.turn = lambda: "whole" if len(server.requests) > 1 else f"cut:{3 * PIECE}"
    seen = [step.done for step in fetch_all([one(server)], tmp_path, replace(QUICK, piece_bytes=10**9)) if step]
    assert seen == sorted(seen) and server.sent == len(BODIES["/weights-1.bin"]) + 3 * PIECE


def test_one_file_that_cannot_be_had_ends_them_all_and_keeps_what_came(server: FileServer, tmp_path: Path) -> None:
    server.plan = ["slow:3000000"]
    missing = RemoteFile(f"{server.address}/missing", "missing", "0" * 64, 10)
    done = 0
    with pytest.raises(UserError) as caught:
        for step in fetch_all([*remotes(server), missing], tmp_path, replace(PIECES, connections=2)):
            done = step.done if step else done
    assert caught.value.code == "download_gone" and caught.value.params["file"] == "missing"
    before = server.sent
    fetched(remotes(server), tmp_path)
    assert server.sent - before <= SIZE - done < SIZE and are_there(BODIES, tmp_path)


def test_closing_is_immediate_whatever_the_connections_wait_for(server: FileServer, tmp_path: Path) -> None:
    for plan in (["silent"], ["ok", "silent"], ["stall:1000"]):
        server.plan = plan
        work = fetch_all(remotes(server), tmp_path / plan[-1], replace(PIECES, stall_s=30))
        due = time.monotonic() + 0.2
        while time.monotonic() < due:
            next(work)
        begun = time.monotonic()
        work.close()
        assert time.monotonic() - begun < 0.3
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("download")]


def test_the_whole_is_done_by_one_at_a_time(server: FileServer, tmp_path: Path) -> None:
    server.plan = ["stall:1000"]
    work = fetch_all(remotes(server), tmp_path / "model", PIECES)
    next(work)
    with pytest.raises(UserError) as caught:
        result(fetch_all(remotes(server), tmp_path / "model", PIECES))
    assert caught.value.code == "download_busy"
    work.close()


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "1"}, {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";q=1;w=300'}]
)
def test_a_hub_that_asks_for_patience_gets_it(server: FileServer, tmp_path: Path, headers: dict[str, str]) -> None:
    server.plan, server.headers = ["status:429", "ok"], headers
    begun = time.monotonic()
    fetched([one(server)], tmp_path)
    assert 0.9 < time.monotonic() - begun < 3 and server.sent == len(BODIES["/weights-1.bin"])
