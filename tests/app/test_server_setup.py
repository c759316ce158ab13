"""How the server is set up: its key, where it may be asked, by which addresses; without opening it."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import keyring
import keyring.backends.fail
import pytest

from app.context import AppContext
from app.services import addresses
from app.services.preferences import Preferences
from app.services.secrets import Secrets
from app.services.server_key import ServerKey, masked
from core.settings import ServerSettings
from tests.app.test_secrets import Ring

pytestmark = pytest.mark.loops("asyncio")


async def test_the_key_is_made_once_kept_in_the_key_ring_and_renewed(home: Path) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    try:
        first = ServerKey(Secrets())
        made = await first.need()
        assert first.is_kept and made == await ServerKey(Secrets()).need() and len(made) > 30
        assert await first.renew() != made and await ServerKey(Secrets()).need() == first.value
        keyring.set_keyring(keyring.backends.fail.Keyring())
        lost = ServerKey(Secrets())
        assert await lost.need() != await ServerKey(Secrets()).need() and not lost.is_kept
    finally:
        keyring.set_keyring(before)
    assert not home.exists(), "nothing is written"
    assert made not in masked(made) and made[-4:] in masked(made) and "short" not in masked("short")


async def test_what_is_chosen_survives_and_other_machines_are_never_let_in_without_a_key(home: Path) -> None:
    context = AppContext(Preferences())
    setup = context.server
    assert (await setup.options()).host == "127.0.0.1" and (await setup.options()).keys == ()
    setup.change(on_network=True, port=8123, origins=("https://a.example",), at_start=True)
    options = await setup.options()
    assert (options.host, options.port, len(options.keys)) == ("0.0.0.0", 8123, 1)
    assert options.keys[0] not in repr(options)
    kept = Preferences().settings.server
    assert kept == ServerSettings(on_network=True, port=8123, origins=("https://a.example",), at_start=True)
    assert options.keys[0] not in "".join(file.read_text("utf-8") for file in home.rglob("*.json"))
    await context.close()


def test_other_machines_are_told_addresses_of_this_one() -> None:
    found = addresses.reach()
    for one in found.addresses:
        assert not ipaddress.ip_address(one).is_loopback
        socket.create_server((one, 0)).close()


def test_the_next_port_is_one_that_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = addresses.free_port("127.0.0.1", port - 1)
        assert found > port
        socket.create_server(("127.0.0.1", found)).close()
