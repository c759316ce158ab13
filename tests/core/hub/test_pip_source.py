"""Asking the real pip, against indexes on loopback."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import UserError
from core.hub import pip_source
from core.hub.pip_source import locate
from core.models.steps import result
from tests.helpers.file_server import FileServer

NAME = "tiny_model-1.0-py3-none-any.whl"


def wheel() -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return raw.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    body = wheel()
    digest = hashlib.sha256(body).hexdigest()
    pages = {"/simple/tiny-model/": f'<a href="/files/{NAME}#sha256={digest}">{NAME}</a>'}
    with FileServer({f"/files/{NAME}": body}, pages) as server:
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.address}/simple")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
            monkeypatch.delenv(name, raising=False)
        yield server


def test_address_and_hash_come_from_the_index_pip_is_set_up_with(index: FileServer) -> None:
    found = result(locate("tiny-model", "1.0"))
    assert found.url == f"{index.address}/files/{NAME}"
    assert found.sha256 == hashlib.sha256(index.files[f"/files/{NAME}"]).hexdigest()


def test_a_password_of_the_index_goes_with_the_address_and_nowhere_else(
    index: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.address.replace("//", "//ann:geheim@") + "/simple")
    found = result(locate("tiny-model", "1.0"))
    assert "ann:geheim@" in found.url and "geheim" not in repr(found)


def test_a_wheel_in_a_local_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_bytes(wheel())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    found = result(locate("tiny-model", "1.0"))
    assert pip_source.local_file(found.url) == tmp_path / NAME


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:9/simple"])
def test_no_such_package_and_no_network_are_one_sentence(
    index: FileServer, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", address or f"{index.address}/simple")
    with pytest.raises(UserError) as caught:
        result(locate("tiny-model", "9.9"))
    assert caught.value.code == "source_unreachable"


def test_a_python_without_pip_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else found(name))
    with pytest.raises(UserError, match="ensurepip"):
        result(locate("tiny-model", "1.0"))


def test_closing_the_question_ends_pip(index: FileServer) -> None:
    work = locate("tiny-model", "1.0")
    next(work)
    work.close()  # the leak check of the suite would find the child


def test_passwords_in_what_pip_says_are_masked() -> None:
    assert pip_source.without_credentials("see https://ann:geheim@host/simple/") == "see https://****@host/simple/"
