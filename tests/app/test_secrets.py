"""Tokens: in the key ring, or in memory, never on disk."""

from __future__ import annotations

from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import pytest

from app.services.secrets import Secrets


class Ring(keyring.backend.KeyringBackend):
    """A key ring that forgets with the test."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.kept:
            raise keyring.errors.PasswordDeleteError("not there")
        del self.kept[service, username]


@pytest.fixture
def ring() -> object:
    before = keyring.get_keyring()
    ring = Ring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def test_a_token_lives_in_the_key_ring(ring: Ring) -> None:
    assert Secrets().set("huggingface", "hf_secret")
    assert Secrets().get("huggingface") == "hf_secret"
    assert Secrets().set("huggingface", "") and Secrets().get("huggingface") == ""
    assert Secrets().set("huggingface", ""), "forgetting twice is no error"


def test_without_a_key_ring_it_lives_in_memory_only(home: Path) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    try:
        secrets = Secrets()
        assert not secrets.has_keyring and not secrets.set("modelscope", "ms-secret")
        assert secrets.get("modelscope") == "ms-secret"
        assert Secrets().get("modelscope") == ""
    finally:
        keyring.set_keyring(before)
    assert not home.exists()


def test_tests_have_no_key_ring_unless_they_bring_one() -> None:
    assert not Secrets().has_keyring
