"""Fetches one file whose hash is known, and goes on exactly where it stopped: after a cut, a cancel or a kill.

Beside `<name>.part` lies `<name>.part.json` with what the server said of the file. Invariant: the part file holds the
first bytes of one version of the file and nothing else; `<name>` itself only ever holds all of them, checked.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx
import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct

from core.errors import UserError
from core.hub.async_steps import driven
from core.models.checksums import sha256
from core.models.space import disk_errors, need_space
from core.models.steps import Step, Work

MAX_REDIRECTS = 5
STEP_S = 0.1
BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What to fetch. The address may hold credentials, so it is never shown."""

    url: str = field(repr=False)
    name: str
    sha256: str
    size_bytes: int

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or "?"


@dataclass(frozen=True, slots=True)
class Network:
    """How to reach it. `attempts` are those in a row without a byte."""

    proxy: str = field(default="", repr=False)
    certificates: str = ""
    connect_s: float = 15.0
    stall_s: float = 30.0
    attempts: int = 5
    backoff_s: float = 1.0
    backoff_most_s: float = 20.0

    def like_pip(self, proxy: str, certificates: str) -> Network:
        """With what pip is set up to use, where the user has not chosen otherwise."""
        return replace(self, proxy=self.proxy or proxy, certificates=self.certificates or certificates)


class Sidecar(Struct, frozen=True):
    """What the server said of the version that the part file belongs to."""

    sha256: str
    etag: str = ""
    last_modified: str = ""

    @property
    def validator(self) -> str:
        """For If-Range; weak tags are not allowed there."""
        return self.etag if self.etag.startswith('"') else self.last_modified


def fetch(remote: RemoteFile, folder: Path, network: Network) -> Work[Path]:
    """Have the whole file in `folder`; the result is its path. Closing the generator keeps what has come so far.

    Raises:
        UserError: download_*, disk_full, folder_read_only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / remote.name
    lock = FileLock(folder / f"{remote.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError("download_busy", file=remote.name) from None
    try:
        if whole.exists():
            yield from _check(whole, remote)
        else:
            part = _Part(whole, remote)
            yield from driven(_Transfer(remote, part, network).steps())
            yield from _check(part.file, remote)
            part.finish()
        return whole
    finally:
        lock.release()


def check_local(file: Path, remote: RemoteFile) -> Work[Path]:
    """The same check for a file that is on this machine already; it is left where it lies."""
    if not file.is_file():
        raise UserError("download_gone", file=remote.name, host=file.parent.as_posix())
    found = yield from sha256(file)
    if found != remote.sha256:
        raise UserError("download_wrong_hash", file=remote.name)
    return file


def _check(file: Path, remote: RemoteFile) -> Work[None]:
    if (yield from sha256(file)) != remote.sha256:
        file.unlink()
        raise UserError("download_wrong_hash", file=remote.name)


class _Part:
    """The unfinished file and its sidecar."""

    def __init__(self, whole: Path, remote: RemoteFile) -> None:
        self.file = whole.with_name(whole.name + ".part")
        self._whole = whole
        self._note = whole.with_name(whole.name + ".part.json")
        self._remote = remote

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def sidecar(self) -> Sidecar | None:
        """None where nothing can be continued."""
        try:
            note = msgspec.json.decode(self._note.read_bytes(), type=Sidecar)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return note if note.sha256 == self._remote.sha256 else None

    def restart(self, note: Sidecar | None = None) -> None:
        """From the first byte. The old bytes go before the new note comes, so that the two never mix."""
        self.file.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        if note is not None:
            draft = self._note.with_name(self._note.name + ".new")
            draft.write_bytes(msgspec.json.encode(note))
            draft.replace(self._note)

    def finish(self) -> None:
        with self.file.open("rb") as file:
            os.fsync(file.fileno())
        self.file.replace(self._whole)
        self._note.unlink(missing_ok=True)


class _Again(Exception):
    """Worth another attempt. `after_s`: how long the server asks us to wait."""

    def __init__(self, after_s: float = 0.0) -> None:
        self.after_s = after_s


class _Transfer:
    def __init__(self, remote: RemoteFile, part: _Part, network: Network) -> None:
        self._remote = remote
        self._part = part
        self._network = network

    async def steps(self) -> AsyncGenerator[Step, None]:
        """Until the part file has its full length."""
        failures = 0
        async with self._client() as client:
            while True:
                before = self._prepare()
                if before == self._remote.size_bytes:
                    return
                wait_s = 0.0
                try:
                    async for step in self._attempt(client, before):
                        yield step
                except _Again as again:
                    wait_s = again.after_s
                except httpx.TooManyRedirects:
                    raise UserError("download_redirects", host=self._remote.host) from None
                except (httpx.UnsupportedProtocol, httpx.InvalidURL):
                    raise UserError("download_refused", host=self._remote.host, status="?") from None
                except httpx.TransportError as error:
                    self._refuse_untrusted(error)
                failures = 1 if self._part.size > before else failures + 1
                if self._part.size < self._remote.size_bytes:
                    yield Step("downloading", self._part.size, self._remote.size_bytes, self._remote.name)
                    await self._rest(failures, wait_s)

    def _client(self) -> httpx.AsyncClient:
        network = self._network
        trust = ssl.create_default_context()
        if network.certificates:
            trust.load_verify_locations(network.certificates)
        return httpx.AsyncClient(
            verify=trust,
            proxy=network.proxy or None,
            timeout=httpx.Timeout(network.stall_s, connect=network.connect_s),
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            headers={"Accept-Encoding": "identity", "User-Agent": "qwen-workbench"},
        )

    def _prepare(self) -> int:
        """How many bytes can be kept; asks for room for the others."""
        have = self._part.size
        if have and (self._part.sidecar() is None or have > self._remote.size_bytes):
            self._part.restart()
            have = 0
        need_space(self._part.file.parent, self._remote.size_bytes - have)
        return have

    async def _attempt(self, client: httpx.AsyncClient, have: int) -> AsyncGenerator[Step, None]:
        async with client.stream("GET", self._remote.url, headers=self._range(have)) as response:
            start = self._start(response, have)
            left = self._remote.size_bytes - start
            with disk_errors(self._part.file.parent, left), self._part.file.open("ab") as out:
                async for done in self._write(response, out, start):
                    yield Step("downloading", done, self._remote.size_bytes, self._remote.name)

    def _range(self, have: int) -> dict[str, str]:
        note = self._part.sidecar()
        if not have or note is None:
            return {}
        return {"Range": f"bytes={have}-", **({"If-Range": note.validator} if note.validator else {})}

    async def _write(self, response: httpx.Response, out: BinaryIO, done: int) -> AsyncGenerator[int, None]:
        due = 0.0
        async for chunk in response.aiter_raw():
            done += out.write(chunk)
            if done > self._remote.size_bytes:
                out.close()
                self._part.restart()
                raise self._wrong_length(done)
            if (now := time.monotonic()) >= due:
                due = now + STEP_S
                yield done
        yield done

    def _start(self, response: httpx.Response, have: int) -> int:
        """Where the body of this answer begins; the part file is made to end there."""
        match response.status_code:
            case 200:
                self._need_length(response.headers.get("Content-Length"))
                self._part.restart(self._note(response))
                return 0
            case 206 if have and self._continues(response, have):
                return have
            case 206 | 416:  # another version, or more than there is: from the first byte
                self._part.restart()
                raise _Again
            case status if status in BUSY:
                raise _Again(_seconds(response.headers.get("Retry-After", "")))
            case 401 | 403 | 407:
                raise UserError("download_forbidden", host=self._remote.host, status=response.status_code)
            case 404 | 410:
                raise UserError("download_gone", host=self._remote.host, file=self._remote.name)
            case status:
                raise UserError("download_refused", host=self._remote.host, status=str(status))

    def _continues(self, response: httpx.Response, have: int) -> bool:
        """Whether a partial answer goes on with the version we have, at the byte we need."""
        note, now = self._part.sidecar(), self._note(response)
        same = note is not None and all(
            not old or not new or old == new
            for old, new in ((note.etag, now.etag), (note.last_modified, now.last_modified))
        )
        return same and response.headers.get("Content-Range") == f"bytes {have}-{self._last}/{self._remote.size_bytes}"

    @property
    def _last(self) -> int:
        return self._remote.size_bytes - 1

    def _note(self, response: httpx.Response) -> Sidecar:
        headers = response.headers
        return Sidecar(self._remote.sha256, headers.get("ETag", ""), headers.get("Last-Modified", ""))

    def _need_length(self, length: str | None) -> None:
        """A page that asks for a login is found here, not after the last byte."""
        if length is not None and length != str(self._remote.size_bytes):
            raise self._wrong_length(length)

    def _wrong_length(self, length: int | str) -> UserError:
        return UserError(
            "download_wrong_length", file=self._remote.name, expected=self._remote.size_bytes, found=str(length)
        )

    def _refuse_untrusted(self, error: httpx.TransportError) -> None:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise UserError("download_untrusted", host=self._remote.host) from None

    async def _rest(self, failures: int, asked_s: float) -> None:
        """Before the next attempt, longer each time.

        Raises:
            UserError: download_interrupted, when it was the last.
        """
        network = self._network
        if failures >= network.attempts:
            raise UserError("download_interrupted", host=self._remote.host, file=self._remote.name)
        wait_s = network.backoff_s * 2 ** (failures - 1)
        await asyncio.sleep(min(max(wait_s, asked_s), network.backoff_most_s))


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdecimal() else 0.0
