"""Access tokens, and the key of the server, in the system's key ring.

Invariant: a token is never written to a file, a log or the store. A place is a hub, the server, or the address of a
remote engine. Where the system has no key ring, a token lives in memory until the program ends, and the page says so.
"""

from __future__ import annotations

import logging
from typing import Literal

log = logging.getLogger("secrets")

Place = Literal["huggingface", "modelscope", "server"]
SERVICE = "qwen-workbench"


class Secrets:
    """get, set, forget. `has_keyring` is False where nothing safe can keep a token; looked up once, at first use."""

    def __init__(self) -> None:
        self._memory: dict[str, str] = {}
        self._has_keyring: bool | None = None

    @property
    def has_keyring(self) -> bool:
        if self._has_keyring is None:
            self._has_keyring = _usable()
        return self._has_keyring

    def get(self, place: str) -> str:
        if self.has_keyring:
            import keyring
            from keyring.errors import KeyringError

            try:
                return keyring.get_password(SERVICE, place) or ""
            except KeyringError as error:  # locked, or taken away while we run
                log.info("the key ring did not answer: %s", error)
        return self._memory.get(place, "")

    def set(self, place: str, token: str) -> bool:
        """Keep a token; False when only until the program ends. An empty one is forgotten."""
        self._memory.pop(place, None)
        if self.has_keyring:
            import keyring
            from keyring.errors import KeyringError, PasswordDeleteError

            try:
                if token:
                    keyring.set_password(SERVICE, place, token)
                else:
                    keyring.delete_password(SERVICE, place)
                return True
            except PasswordDeleteError:
                return True
            except KeyringError as error:
                log.info("the key ring did not take the token: %s", error)
        if token:
            self._memory[place] = token
        return False


def _usable() -> bool:
    """Only a real key ring counts: the backends that fail or write plain files do not."""
    import keyring
    from keyring.backends.fail import Keyring as Fail

    backend = keyring.get_keyring()
    is_plain = "plaintext" in type(backend).__module__.lower()
    return not isinstance(backend, Fail) and backend.priority > 0 and not is_plain
