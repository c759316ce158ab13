"""The catalogue that ships."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.hub import catalogue


def test_the_starter_is_there_with_everything_that_recognises_it() -> None:
    entry = catalogue.find("Starter")
    assert len(entry.source.sha256) == len(entry.source.member_sha256) == 64
    assert entry.licence == "apache-2.0"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="starter"):
        catalogue.find("gpt-9")
