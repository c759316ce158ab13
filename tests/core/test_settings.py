"""Settings survive: whole files only, broken ones kept aside, unknown fields of other versions ignored."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.services.preferences import Preferences
from core import paths, settings
from core.settings import Settings


def test_round_trip(home: Path) -> None:
    file = paths.settings_file()
    settings.save(file, Settings(language="zh", keep_loaded_minutes=5))
    assert settings.load(file) == Settings(language="zh", keep_loaded_minutes=5)
    assert file.is_relative_to(home)


def test_nothing_there_means_defaults() -> None:
    assert settings.load(paths.settings_file()) == Settings()


@pytest.mark.parametrize("content", [b"", b"{", b'{"theme": "purple"}', b"[1]"])
@pytest.mark.errors_logged
def test_a_broken_file_is_kept_aside(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    file = paths.settings_file()
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert settings.load(file) == Settings()
    assert file.with_suffix(".bad").read_bytes() == content and not file.exists()


def test_a_field_of_a_newer_version_does_no_harm() -> None:
    file = paths.settings_file()
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"theme": "dark", "hologram": true}')
    assert settings.load(file).theme == "dark"


def test_a_change_is_saved_before_it_is_told() -> None:
    preferences = Preferences()
    seen: list[Settings] = []
    preferences.changed.listen(lambda new: seen.append(settings.load(paths.settings_file())))
    preferences.change(theme="dark")
    preferences.change(theme="dark")
    assert seen == [Settings(theme="dark")]
