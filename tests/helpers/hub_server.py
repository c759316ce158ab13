"""What the loopback servers of both hubs share: repositories published from folders, storage of large files under
another host name with signed addresses that expire, byte ranges, and faults injected into single answers.

A subclass says what its hub answers to a path (`reply`); everything about the wire is here. HTTP/1.1, kept alive.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

PIECE = 64 * 1024
LARGE = (".safetensors", ".bin", ".gguf", ".tiktoken", ".pt")  # kept apart, as git-lfs does
UPDATED = "2025-07-26T03:46:27.000Z"

# status N; silent (no answer); drop (closed without one); cut N and stall N (after N bytes of the body); longer N and
# shorter N (of the length announced); corrupt; etag (another one); loop; away (redirected to another endpoint);
# whole (ignores the range); slow N (bytes/s)
FaultKind = Literal[
    "status", "silent", "drop", "cut", "stall", "longer", "shorter", "corrupt", "etag", "loop", "away", "whole", "slow"
]  # fmt: skip


@dataclass
class Fault:
    """For requests whose address `path` is found in; times 0: for ever."""

    kind: FaultKind
    amount: int = 0
    path: str = ""
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    to: str = ""


@dataclass
class Request:
    """As it came, and how many bytes of the body went out."""

    method: str
    address: str
    host: str
    headers: dict[str, str]
    sent: int = 0

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.address).path)

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.address).query).items()}

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Reply:
    """body of a HEAD request: what a GET would send."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def json(cls, found: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        body = json.dumps(found, ensure_ascii=False).encode()
        return cls(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, body)

    @classmethod
    def redirect(cls, to: str, status: int = 302, headers: Mapping[str, str] | None = None) -> Reply:
        return cls(status, {"Location": to, **(headers or {})}, b"Redirecting")


@dataclass(frozen=True)
class StoredFile:
    body: bytes
    is_large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @property
    def pointer(self) -> bytes:
        head = "version https://git-lfs.github.com/spec/v1"
        return f"{head}\noid sha256:{self.sha256}\nsize {len(self.body)}\n".encode()

    @property
    def git_oid(self) -> str:
        kept = self.pointer if self.is_large else self.body
        return hashlib.sha1(b"blob %d\0" % len(kept) + kept).hexdigest()


@dataclass
class Published:
    """A repository. card: what stands at the head of its README.md; `commits` by the names that stand for them."""

    id: str
    files: dict[str, StoredFile]
    commits: dict[str, str]
    card: dict[str, Any] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    downloads: int = 0
    likes: int = 0
    parameters: int = 0
    task: str = "text-generation"

    @property
    def commit(self) -> str:
        return next(iter(self.commits.values()))

    def resolved(self, revision: str) -> str | None:
        """The commit that a revision means."""
        return revision if revision in self.commits.values() else self.commits.get(revision)


class HubServer:
    """
    Attributes:
        branch: the name of the default one
        prefix: of all paths, for a mirror below another site
        accounts: the ids whose terms an account accepted, by its token; "*" for all of them
        files_at: "" or another endpoint that files are redirected to, as a mirror may do
    """

    branch = "main"

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.repositories: dict[str, Published] = {}
        self.accounts: dict[str, set[str]] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.files_at = ""
        self.released = threading.Event()
        self._secret = b"first"
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        with self._lock:
            for connection in self._connections:
                _shut(connection)
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def storage(self) -> str:
        """Where large files lie: the same machine by another name."""
        return f"http://localhost:{self.port}"

    def publish(
        self,
        id: str,
        folder: Path | Mapping[str, bytes],
        *,
        tags: Iterable[str] = (),
        licence: str = "",
        licence_name: str = "",
        licence_link: str = "",
        gated: bool = False,
        private: bool = False,
        downloads: int = 0,
        likes: int = 0,
        parameters: int = 0,
    ) -> Published:
        """A folder, or bodies by path. The tags stand for the same commit as the branch."""
        found = folder if isinstance(folder, Mapping) else _read(folder)
        bodies = {path: body for path, body in sorted(found.items())}
        files = {path: StoredFile(body, path.endswith(LARGE)) for path, body in bodies.items()}
        tree = "".join(f"{path} {file.git_oid}\n" for path, file in files.items())
        commit = hashlib.sha1(f"{id}\n{tree}".encode()).hexdigest()
        fields = {"license": licence, "license_name": licence_name, "license_link": licence_link}
        card = {name: value for name, value in fields.items() if value}
        commits = {self.branch: commit, **dict.fromkeys(tags, commit)}
        made = Published(id, files, commits, card, gated, private, downloads, likes, parameters)
        self.repositories[id] = made
        return made

    def inject(
        self,
        kind: FaultKind,
        amount: int = 0,
        path: str = "",
        times: int = 1,
        headers: dict[str, str] | None = None,
        to: str = "",
    ) -> None:
        """See FaultKind. `path` is a pattern that is searched in the address."""
        with self._lock:
            self.faults.append(Fault(kind, amount, path, times, headers or {}, to))

    def expire_addresses(self) -> None:
        """Those given out so far are refused from now on."""
        self._secret += b"+"

    def asked(self, pattern: str) -> list[Request]:
        return [request for request in self.requests if re.search(pattern, unquote(request.address))]

    def reply(self, request: Request, path: str) -> Reply:
        """To a path below the prefix."""
        raise NotImplementedError

    def answer(self, request: Request) -> tuple[Reply, Fault | None]:
        fault = self._fault(request)
        if fault and fault.kind == "whole":
            request.headers.pop("range", None)
        if request.path.startswith("/stored/"):
            return self._stored(request), fault
        if not request.path.startswith(f"{self.prefix}/"):
            return Reply(404), fault
        return self.reply(request, request.path.removeprefix(self.prefix)), fault

    def may_read(self, request: Request, repository: Published) -> bool:
        accepted = self.accounts.get(request.token, set())
        return bool({repository.id, "*"} & accepted) or not (repository.gated or repository.private)

    def stored_address(self, id: str, path: str) -> str:
        place = f"/stored/{quote(id)}/{quote(path)}"
        expires = str(int(time.time()) + 3600)
        return f"{self.storage}{place}?Expires={expires}&Signature={self._signature(place, expires)}"

    def ranged(
        self, request: Request, body: bytes, etag: str, headers: Mapping[str, str] | None = None, partial: int = 206
    ) -> Reply:
        """The whole of a file or the part that was asked for. partial: the status of a part."""
        kept = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **(headers or {})}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if found is None or request.headers.get("if-range", etag) != etag:
            return Reply(200, kept, body)
        start, last = int(found[1]), min(int(found[2] or len(body)), len(body) - 1)
        if start >= len(body):
            return Reply(416, kept | {"Content-Range": f"bytes */{len(body)}"})
        return Reply(partial, kept | {"Content-Range": f"bytes {start}-{last}/{len(body)}"}, body[start : last + 1])

    def _stored(self, request: Request) -> Reply:
        if not request.host.startswith("localhost"):
            return Reply(404)
        asked = request.query
        place = urlsplit(request.address).path
        signed = self._signature(place, asked.get("Expires", ""))
        if asked.get("Signature") != signed or int(asked["Expires"]) < time.time():
            return Reply(403, {"Content-Type": "application/xml"}, b"<Code>AccessDenied</Code>Request has expired")
        owner, name, path = request.path.removeprefix("/stored/").split("/", 2)
        file = self.repositories[f"{owner}/{name}"].files[path]
        return self.ranged(request, file.body, f'"{file.sha256}"')

    def _signature(self, place: str, expires: str) -> str:
        return hmac.new(self._secret, f"{place}?{expires}".encode(), hashlib.sha256).hexdigest()

    def _fault(self, request: Request) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if re.search(fault.path, unquote(request.address)):
                    if fault.times == 1:
                        self.faults.remove(fault)
                    fault.times -= fault.times > 0
                    return fault
        return None

    def connected(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def left(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            server.connected(self.connection)

        def finish(self) -> None:
            server.left(self.connection)
            super().finish()

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers.get("host", ""), headers)
            server.requests.append(request)
            reply, fault = server.answer(request)
            if fault and fault.kind in ("silent", "drop"):
                if fault.kind == "silent":
                    self._hold()
                self._hang_up()
                return
            self._send(request, _changed(reply, fault, self.path), fault)

        do_HEAD = do_GET

        def _send(self, request: Request, reply: Reply, fault: Fault | None) -> None:
            kind, amount = (fault.kind, fault.amount) if fault else ("", 0)
            wrong = amount if kind == "longer" else -amount if kind == "shorter" else 0
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + wrong))
            self.end_headers()
            if self.command == "HEAD":
                return
            limit = amount if kind in ("cut", "stall") else len(reply.body)
            self._send_body(request, reply.body[:limit], amount if kind == "slow" else 0)
            if kind == "stall":
                self._hold()
            if kind in ("cut", "stall", "longer", "shorter"):
                self._hang_up()

        def _send_body(self, request: Request, body: bytes, per_second: int) -> None:
            piece = max(1, min(PIECE, per_second // 20)) if per_second else PIECE
            for at in range(0, len(body), piece):
                try:
                    request.sent += self.wfile.write(body[at : at + piece])
                except OSError:
                    self._hang_up()
                    return
                if per_second and server.released.wait(piece / per_second):
                    return

        def _hold(self) -> None:
            """Say nothing until the client is gone or the server ends."""
            while not server.released.is_set():
                ready, _, _ = select.select([self.connection], [], [], 0.02)
                if ready and not self.connection.recv(1, socket.MSG_PEEK):
                    return

        def _hang_up(self) -> None:
            self.close_connection = True
            _shut(self.connection)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    return Handler


def _changed(reply: Reply, fault: Fault | None, address: str) -> Reply:
    if fault is None:
        return reply
    match fault.kind:
        case "status":
            return Reply.json({"error": "injected"}, fault.amount, fault.headers)
        case "loop":
            return Reply.redirect(address)
        case "away":
            return Reply.redirect(fault.to + address)
        case "etag":
            return Reply(reply.status, reply.headers | {"ETag": '"another"'}, reply.body)
        case "corrupt":
            return Reply(reply.status, reply.headers, bytes(byte ^ 1 for byte in reply.body))
        case _:
            return reply


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _read(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }
