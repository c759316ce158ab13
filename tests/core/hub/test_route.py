"""The way to a host: by proxies of each kind, with certificates, at hosts that are not there, and out of a cancel."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import UserError
from core.hub.download import Network, RemoteFile, fetch
from core.hub.halt import Halt, Halted
from core.hub.patience import asked_rest
from core.hub.route import Routes, origin_of
from core.models.steps import result
from tests.helpers import certificates
from tests.helpers.downloads import QUICK, digest
from tests.helpers.file_server import FileServer
from tests.helpers.tunnel_server import TunnelServer

BODY = random.Random(2).randbytes(200_000)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/big.bin": BODY}) as server:
        yield server


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return certificates.made_in(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secured(identity: tuple[Path, ssl.SSLContext]) -> Iterator[FileServer]:
    with FileServer({"/big.bin": BODY}, tls=identity[1]) as server:
        yield server


def fetched(address: str, folder: Path, network: Network) -> bytes:
    return result(fetch(RemoteFile(address, "big.bin", digest(BODY), len(BODY)), folder, network)).read_bytes()


def refused(address: str, folder: Path, network: Network) -> UserError:
    with pytest.raises(UserError) as caught:
        fetched(address, folder, network)
    assert str(caught.value)
    return caught.value


def test_a_plain_proxy_is_asked_for_the_whole_address(server: FileServer, tmp_path: Path) -> None:
    proxy = server.address.replace("//", "//ann:geheim@")
    assert fetched("http://models.invalid/big.bin", tmp_path, replace(QUICK, proxy=proxy)) == BODY
    (request,) = server.requests
    assert request.host == "models.invalid" and request.proxy_authorization.startswith("Basic ")


def test_the_environment_names_a_proxy_unless_the_setting_does(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    assert fetched("http://models.invalid/big.bin", tmp_path / "1", QUICK) == BODY
    monkeypatch.setenv("no_proxy", "models.invalid")
    assert refused("http://models.invalid/big.bin", tmp_path / "2", QUICK).code == "download_interrupted"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetched("http://models.invalid/big.bin", tmp_path / "3", replace(QUICK, proxy=server.address)) == BODY


@pytest.mark.parametrize("kind", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("user", ["", "ann:geheim@"])
def test_a_tunnel_through_a_proxy(
    secured: FileServer, identity: tuple[Path, ssl.SSLContext], tmp_path: Path, kind: str, user: str
) -> None:
    with TunnelServer(secured.port, password="geheim" if user else "") as proxy:
        network = replace(QUICK, proxy=f"{kind}://{user}{proxy.place}", certificates=str(identity[0]))
        assert fetched("https://localhost/big.bin", tmp_path, network) == BODY
    assert set(proxy.asked) == {"localhost:443"}


def test_socks_also_carries_what_is_not_secured(server: FileServer, tmp_path: Path) -> None:
    with TunnelServer(server.port) as proxy:
        assert fetched("http://10.1.2.3/big.bin", tmp_path, replace(QUICK, proxy=f"socks5://{proxy.place}")) == BODY
    assert set(proxy.asked) == {"10.1.2.3:80"}


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_that_wants_another_password(secured: FileServer, tmp_path: Path, kind: str) -> None:
    with TunnelServer(secured.port, password="geheim") as proxy:
        error = refused("https://localhost/big.bin", tmp_path, replace(QUICK, proxy=f"{kind}://{proxy.place}"))
    assert error.code == "download_forbidden" and error.params["status"] == 407


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_that_reaches_nobody_is_asked_again(secured: FileServer, tmp_path: Path, kind: str) -> None:
    with TunnelServer(secured.port, refusal=503) as proxy:
        error = refused("https://localhost/big.bin", tmp_path, replace(QUICK, proxy=f"{kind}://{proxy.place}"))
    assert error.code == "download_interrupted" and len(proxy.asked) == QUICK.attempts


@pytest.mark.parametrize("proxy", ["ftp://ann:geheim@old.invalid", "http://:8080", "http://host:port"])
def test_a_proxy_that_is_none(tmp_path: Path, proxy: str) -> None:
    error = refused("https://localhost/big.bin", tmp_path, replace(QUICK, proxy=proxy))
    assert error.code == "proxy_unusable" and "geheim" not in str(error)


def test_an_identity_is_proven_by_certificates(
    secured: FileServer, identity: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    address = f"{secured.address}/big.bin"
    assert refused(address, tmp_path, QUICK).code == "download_untrusted"
    assert fetched(address, tmp_path, replace(QUICK, certificates=str(identity[0]), piece_bytes=20_000)) == BODY
    broken = replace(QUICK, certificates=str(tmp_path / "big.bin"))
    assert refused(address, tmp_path / "again", broken).code == "certificates_unreadable"


def test_faults_within_a_secured_connection(
    secured: FileServer, identity: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    secured.plan = ["cut:70000", "stall:50000", "ok"]
    assert fetched(f"{secured.address}/big.bin", tmp_path, replace(QUICK, certificates=str(identity[0]))) == BODY
    assert secured.sent == len(BODY)


@pytest.mark.parametrize("address", ["http://no.such.host.invalid/a", "http://" + "a" * 70 + ".invalid/a"])
def test_a_name_nobody_knows(tmp_path: Path, address: str) -> None:
    assert refused(address, tmp_path, QUICK).code == "download_interrupted"


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/a", "nonsense", "http:///a"])
def test_an_address_nobody_can_open(tmp_path: Path, address: str) -> None:
    assert refused(address, tmp_path, QUICK).code == "download_refused"


def test_a_cancel_ends_waiting_for_a_connection() -> None:
    """A listener whose queue is full answers no more; connecting to it would take 30 seconds."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        halt = Halt()
        ended = threading.Event()

        def connect() -> None:
            with pytest.raises((Halted, OSError)):
                Routes(Network(connect_s=30), halt).open(origin_of(f"http://127.0.0.1:{full.getsockname()[1]}"))
            ended.set()

        thread = threading.Thread(target=connect)
        thread.start()
        assert not ended.wait(0.2)
        begun = time.monotonic()
        halt.now()
        thread.join()
        assert time.monotonic() - begun < 0.3
        for one in waiting:
            one.close()


def test_a_cancel_does_not_wait_for_a_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer, halt = threading.Event(), threading.Event(), Halt()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        asked.set()
        answer.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def look_up() -> None:
        with pytest.raises(Halted):
            Routes(Network(), halt).open(origin_of("http://a"))

    opening = threading.Thread(target=look_up)
    opening.start()
    assert asked.wait(5)
    begun = time.monotonic()
    halt.now()
    opening.join()
    assert time.monotonic() - begun < 0.3
    answer.set()


@pytest.mark.parametrize(
    ("retry_after", "rate_limit", "seconds"),
    [
        ("", "", 0),
        ("7", "", 7),
        ("soon", "", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "", 0),
        ("", '"api";r=0;t=55', 55),
        ("", '"api";r=12;t=55', 0),
        ("9", '"resolvers";r=0;t=120', 120),
    ],
)
def test_how_long_a_hub_asks_to_wait(retry_after: str, rate_limit: str, seconds: float) -> None:
    assert asked_rest(retry_after, rate_limit) == seconds
