"""A download goes on exactly where it stopped, and ends with the right file or a sentence that says why not."""

from __future__ import annotations

import hashlib
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from core.errors import UserError
from core.hub.fetching.download import Network, RemoteFile, fetch
from core.models.steps import result
from tests.helpers.file_server import FileServer

BODY = random.Random(7).randbytes(400_000)
QUICK = Network(connect_s=2, stall_s=0.3, attempts=3, attempts_later=3, backoff_s=0.01)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/big.bin": BODY}) as server:
        yield server


def remote(server: FileServer, **other: object) -> RemoteFile:
    facts: dict[str, object] = {"sha256": hashlib.sha256(BODY).hexdigest(), "size_bytes": len(BODY), **other}
    return RemoteFile(f"{server.address}/big.bin", "big.bin", **facts)  # type: ignore[arg-type]


def fetched(server: FileServer, folder: Path, **other: object) -> bytes:
    return result(fetch(remote(server, **other), folder, QUICK)).read_bytes()


def refused(server: FileServer, folder: Path, **other: object) -> str:
    with pytest.raises(UserError) as caught:
        fetched(server, folder, **other)
    assert str(caught.value)
    assert not (folder / "big.bin").exists()
    return caught.value.code


def test_a_whole_file_comes_once_and_leaves_nothing_beside(server: FileServer, tmp_path: Path) -> None:
    assert fetched(server, tmp_path) == BODY
    assert server.sent == len(BODY)
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith(".lock")] == ["big.bin"]


@pytest.mark.parametrize("trouble", ["cut:150000", "stall:150000", "status:503", "status:429"])
def test_trouble_on_the_way_costs_no_byte_twice(server: FileServer, tmp_path: Path, trouble: str) -> None:
    server.plan = [trouble, "ok"]
    assert fetched(server, tmp_path) == BODY
    assert server.sent == len(BODY)


def test_a_closed_download_is_continued_by_the_next(server: FileServer, tmp_path: Path) -> None:
    server.plan = ["slow:400000"]
    work = fetch(remote(server), tmp_path, QUICK)
    while (step := next(work)) is None or step.done < 100_000:
        pass
    work.close()
    kept = (tmp_path / "big.bin.part").stat().st_size
    assert kept >= 100_000
    server.plan = ["ok"]
    assert fetched(server, tmp_path) == BODY
    assert server.requests[-1].range == f"bytes={kept}-{len(BODY) - 1}"
    assert server.requests[-1].sent == len(BODY) - kept


def test_closing_a_stalled_download_does_not_wait_for_the_network(server: FileServer, tmp_path: Path) -> None:
    server.plan = ["stall:1000"]
    work = fetch(remote(server), tmp_path, Network(stall_s=30))
    while (step := next(work)) is None or step.done < 1000:
        pass
    start = time.monotonic()
    next(work)
    work.close()
    assert time.monotonic() - start < 0.3


@pytest.mark.parametrize("turn", ["whole", "other", "past", "status:416"])
def test_another_version_or_a_server_without_ranges_starts_anew(server: FileServer, tmp_path: Path, turn: str) -> None:
    server.plan = ["cut:150000", turn, "ok"]
    assert fetched(server, tmp_path) == BODY
    assert (tmp_path / "big.bin").stat().st_size == len(BODY)


def test_wrong_bytes_from_an_earlier_time_are_found_and_fetched_again(server: FileServer, tmp_path: Path) -> None:
    work = fetch(remote(server), tmp_path, QUICK)
    server.plan = ["stall:150000"]
    while (step := next(work)) is None or step.done < 150_000:
        pass
    work.close()
    with (tmp_path / "big.bin.part").open("r+b") as part:
        part.write(b"x" * 1000)
    server.plan = ["ok"]
    assert fetched(server, tmp_path) == BODY
    assert [request.start for request in server.requests] == [0, 150_000, 0]


def test_bytes_without_a_note_are_not_trusted(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "big.bin.part").write_bytes(b"x" * 1000)
    assert fetched(server, tmp_path) == BODY
    assert server.requests[0].range == ""


def test_a_wrong_hash_throws_the_file_away(server: FileServer, tmp_path: Path) -> None:
    assert refused(server, tmp_path, sha256="0" * 64) == "download_wrong_hash"
    assert not (tmp_path / "big.bin.part").exists()


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ("longer:7", "download_wrong_length"),
        ("silent", "download_interrupted"),
        ("shorter:7", "download_wrong_length"),
        ("loop", "download_redirects"),
        ("status:404", "download_gone"),
        ("status:403", "download_forbidden"),
        ("status:418", "download_refused"),
        ("status:503", "download_interrupted"),
        ("cut:0", "download_interrupted"),
    ],
)
def test_what_cannot_work_is_said_and_not_tried_for_ever(
    server: FileServer, tmp_path: Path, plan: str, code: str
) -> None:
    server.plan = [plan]
    assert refused(server, tmp_path) == code


def test_nobody_there(tmp_path: Path) -> None:
    with FileServer() as gone:
        pass
    assert refused(gone, tmp_path) == "download_interrupted"


def test_a_second_download_of_the_same_file_waits_for_no_one(server: FileServer, tmp_path: Path) -> None:
    with FileLock(tmp_path / "big.bin.lock"):
        assert refused(server, tmp_path) == "download_busy"


def test_no_room_is_said_before_a_byte_comes(server: FileServer, tmp_path: Path) -> None:
    assert refused(server, tmp_path, size_bytes=10**18) == "disk_full"
    assert not server.requests


def test_a_disk_that_fills_on_the_way_is_said_and_the_rest_kept(server: FileServer, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))  # the kernel refuses, as a full disk does
    try:
        assert refused(server, tmp_path) == "disk_full"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 0 < (tmp_path / "big.bin.part").stat().st_size <= 150_000
    assert fetched(server, tmp_path) == BODY
    assert server.requests[-1].range


def test_a_password_in_the_address_is_used_and_never_shown(server: FileServer, tmp_path: Path) -> None:
    server.plan = ["status:403"]
    file = RemoteFile(server.address.replace("//", "//ann:geheim@") + "/big.bin", "big.bin", "0" * 64, len(BODY))
    with pytest.raises(UserError) as caught:
        result(fetch(file, tmp_path, QUICK))
    assert server.requests[0].authorization.startswith("Basic ")
    assert "geheim" not in f"{caught.value} {caught.value.params} {file!r}"
