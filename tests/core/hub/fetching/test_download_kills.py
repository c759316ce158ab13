"""Downloads that are cut, stalled, killed or powered off at random end with the right bytes, and ask for none twice."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import UserError
from core.hub.fetching.crew import CHUNK_BYTES
from core.hub.fetching.download import fetch_all
from core.hub.fetching.marks import Marks
from core.models import space
from core.models.steps import Step
from tests.helpers.downloads import PIECES, Downloader, are_there, fetched, remotes, until
from tests.helpers.file_server import FileServer

PIECE = PIECES.piece_bytes
SIZE = 20 * PIECE + 77
FAULTS = ("cut", "cut", "cut", "stall", "status:503", "status:500", "ok", "ok", "ok", "slow:4000000")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/big.bin": random.Random(3).randbytes(SIZE)}) as server:
        yield server


def marks(folder: Path, *, after_reboot: bool = False) -> list[int]:
    """How much of each piece is there, as the download itself would read it."""
    note = json.loads((folder / "big.bin.part.json").read_text())
    count = -(-note["size_bytes"] // note["piece_bytes"])
    found = Marks(folder / "big.bin.part.marks", count).read(after_reboot=after_reboot)
    assert found is not None
    return found


def come(folder: Path, *, after_reboot: bool = False) -> int:
    return sum(marks(folder, after_reboot=after_reboot))


@pytest.mark.parametrize("seed", range(3))
def test_random_faults_and_kills_change_no_byte(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    bodies = {f"/{number}.bin": chance.randbytes(chance.randrange(6 * PIECE)) for number in range(12)}

    def turn() -> str:
        fault = chance.choice(FAULTS)
        return f"{fault}:{chance.randrange(PIECE)}" if fault in ("cut", "stall") else fault

    with FileServer(bodies, turn=turn) as server:
        files = remotes(server)
        for _ in range(4):
            child = Downloader(files, tmp_path / "model")
            child.until(chance.randrange(1 + sum(map(len, bodies.values()))))
            child.kill()
        kept = sum(file.stat().st_blocks for file in (tmp_path / "model").rglob("*"))
        assert kept
        fetched(files, tmp_path / "model", replace(PIECES, attempts=50, attempts_later=50))
    assert are_there(bodies, tmp_path / "model")


def test_a_kill_costs_no_byte_that_was_told(tmp_path: Path) -> None:
    chance = random.Random(9)
    bodies = {"/big.bin": chance.randbytes(100 * PIECE)}
    kept = [0] * 100
    for _ in range(5):
        with FileServer(bodies, plan=["slow:1000000"]) as server:
            child = Downloader(remotes(server), tmp_path)
            told = child.until(sum(kept) + chance.randrange(1, 3 * PIECE))
            child.kill()
        assert_asked_for_the_rest_only(server, kept)
        kept = marks(tmp_path)
        assert told <= sum(kept)
        # What the marks do not say was being written when the kill came: one chunk for each connection at the most.
        assert on_disk(tmp_path) - sum(kept) <= PIECES.connections * CHUNK_BYTES
    with FileServer(bodies) as server:
        fetched(remotes(server), tmp_path)
        assert_asked_for_the_rest_only(server, kept)
        assert 0 < server.sent == 100 * PIECE - sum(kept)
    assert are_there(bodies, tmp_path)


def assert_asked_for_the_rest_only(server: FileServer, kept: list[int]) -> None:
    starts = [request.start for request in server.requests if request.range]
    assert starts and len(starts) == len(set(starts))
    assert all(start >= start // PIECE * PIECE + kept[start // PIECE] for start in starts)


def on_disk(folder: Path) -> int:
    """Bytes of the part file that have been written: those that are not what a hole reads as."""
    return sum(byte != 0 for byte in (folder / "big.bin.part").read_bytes())


def test_a_loss_of_power_costs_what_was_not_on_the_disk(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.hub.fetching.keeper.SYNC_S", 0.05)
    server.plan = ["slow:1000000"]
    model, folder = tmp_path / "model", tmp_path / "as-it-was"
    work = fetch_all(remotes(server), model, PIECES)
    until(work, 1)
    while come(model, after_reboot=True) < PIECE:
        next(work)
    monkeypatch.setattr("core.hub.fetching.keeper.SYNC_S", 1000.0)
    while come(model) <= come(model, after_reboot=True) + PIECE:
        next(work)
    shutil.copytree(model, folder)  # not closed: no last word of it
    work.close()

    safe = come(folder, after_reboot=True)
    assert PIECE <= safe < come(folder)
    spoil_what_was_not_synced(folder)
    before = len(server.requests)
    server.plan = ["ok"]
    fetched(remotes(server), folder)
    assert (folder / "big.bin").read_bytes() == server.files["/big.bin"]
    assert sum(request.sent for request in server.requests[before:]) == SIZE - safe


def spoil_what_was_not_synced(folder: Path) -> None:
    """The machine starts again: another boot, and nothing in the file but what had reached the disk."""
    note = json.loads((folder / "big.bin.part.json").read_text())
    (folder / "big.bin.part.json").write_text(json.dumps(note | {"boot": "the one before"}))
    count = -(-SIZE // PIECE)
    safe = Marks(folder / "big.bin.part.marks", count).read(after_reboot=True)
    assert safe
    with (folder / "big.bin.part").open("r+b") as part:
        for piece, done in enumerate(safe):
            part.seek(piece * PIECE + done)
            part.write(b"\0" * (min(PIECE, SIZE - piece * PIECE) - done))


def test_a_closed_download_reaches_the_disk(server: FileServer, tmp_path: Path) -> None:
    server.plan = ["slow:1000000"]
    work = fetch_all(remotes(server), tmp_path, PIECES)
    until(work, 3 * PIECE)
    work.close()
    assert come(tmp_path, after_reboot=True) == come(tmp_path) >= 3 * PIECE


def test_state_that_cannot_be_read_begins_anew(server: FileServer, tmp_path: Path) -> None:
    for file in ("big.bin.part.json", "big.bin.part.marks"):
        server.plan = ["slow:1000000"]
        work = fetch_all(remotes(server), tmp_path, PIECES)
        until(work, 2 * PIECE)
        work.close()
        (tmp_path / file).write_bytes(b"")
        server.plan = ["ok"]
        fetched(remotes(server), tmp_path)
        assert (tmp_path / "big.bin").read_bytes() == server.files["/big.bin"]
        (tmp_path / "big.bin").unlink()


def test_a_disk_that_fills_keeps_what_came_and_goes_on(server: FileServer, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * PIECE + 5, hard))  # the kernel refuses, as a full disk does
    try:
        with pytest.raises(UserError) as caught:
            fetched(remotes(server), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "disk_full" and caught.value.params["needed"] and caught.value.params["free"]
    kept, before = come(tmp_path), len(server.requests)
    assert kept >= PIECE
    fetched(remotes(server), tmp_path)
    assert sum(request.sent for request in server.requests[before:]) == SIZE - kept


def test_the_reserve_of_the_disk_is_left_alone(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.hub.fetching.crew.LOOK_AT_DISK_BYTES", PIECE)
    free = [space.RESERVE_BYTES + SIZE] * 3

    def free_bytes(folder: Path) -> int:
        return free.pop() if free else 1000

    monkeypatch.setattr(space, "free_bytes", free_bytes)
    with pytest.raises(UserError) as caught:
        fetched(remotes(server), tmp_path)
    assert caught.value.code == "disk_full" and caught.value.params["free"] == "1 kB"
    assert 0 < come(tmp_path) < SIZE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_really_full_disk(server: FileServer, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        fetched(remotes(server), small_disk / "model")
    assert caught.value.code == "disk_full" and not server.requests
    monkeypatch.setattr("core.models.space.RESERVE_BYTES", -(10**9))  # as if another program had taken the room since
    steps: list[Step] = []
    with pytest.raises(UserError) as caught:
        steps.extend(step for step in fetch_all(remotes(server), small_disk / "model", PIECES) if step)
    assert caught.value.code == "disk_full" and 0 < come(small_disk / "model") < 600 * 1024
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    fetched(remotes(server), small_disk / "model")
    assert are_there(server.files, small_disk / "model")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_nobody_may_write_into(server: FileServer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o500)
        with pytest.raises(UserError) as caught:
            fetched(remotes(server), Path(folder) / "model")
        assert caught.value.code == "folder_read_only"
