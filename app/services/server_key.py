"""The key that programs on other machines send to the server: made here, kept in the system's key ring.

Invariant: it is in no file, no log and no setting; the key ring is asked in a thread, since it may wait for a person.
"""

from __future__ import annotations

import asyncio
import secrets

from app.services.secrets import Secrets

BYTES = 24
PREFIX = "qw-"
SHOWN = 4  # signs at each end of a masked one


class ServerKey:
    """
    Attributes:
        value: "" until it was read or made
        is_kept: a key ring has it; otherwise it is gone when the program ends
    """

    def __init__(self, kept: Secrets) -> None:
        self.value = ""
        self.is_kept = True
        self._secrets = kept
        self._turn = asyncio.Lock()

    async def need(self) -> str:
        """The one that is kept; made where there is none."""
        async with self._turn:
            if not self.value:
                self.value = await asyncio.to_thread(self._secrets.get, "server")
                self.is_kept = await asyncio.to_thread(lambda: self._secrets.has_keyring)
            if not self.value:
                await self._make()
            return self.value

    async def renew(self) -> str:
        """A new one in its place: the old one is let in no more once the server was opened anew."""
        async with self._turn:
            await self._make()
            return self.value

    async def _make(self) -> None:
        made = PREFIX + secrets.token_urlsafe(BYTES)
        self.is_kept = await asyncio.to_thread(self._secrets.set, "server", made)
        self.value = made


def masked(key: str) -> str:
    """For the screen: its beginning tells whose it is, its end which one."""
    return f"{key[: len(PREFIX)]}••••••••{key[-SHOWN:]}" if len(key) > 2 * SHOWN else "••••••••"
