"""`models plan` as scripts and terminals use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.entry import run
from core import paths, settings
from core.load_options import LoadOptions
from core.translation import say
from tests.helpers import shelf_models


@pytest.fixture(autouse=True)
def _model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that reaches 4096 tokens, kept at 600 in the window."""
    monkeypatch.setenv("LANG", "en")
    shelf_models.put(paths.models(), "tiny")
    settings.save(paths.settings_file(), settings.Settings(load_options={"tiny": LoadOptions(context_length=600)}))


def planned(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[dict[str, Any], str]:
    assert run(["models", "plan", "-m", "tiny", "--json", *options]) == 0
    found = capsys.readouterr()
    return json.loads(found.out), found.err


def test_the_models_own_length_goes_before_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    kept, err = planned(capsys)
    assert kept["context_length"] == 600
    told = {"options": "--context-length 600", "override": "--context-length 0"}
    assert err == say("cli.kept_options", name="tiny", **told) + "\n"
    own, err = planned(capsys, "--context", "0")
    assert (own["context_length"], err) == (4096, "")
    assert own["need"]["kv_cache"] > kept["need"]["kv_cache"]


@pytest.mark.parametrize("option", ["--context", "--context-length"])
def test_no_model_is_planned_beyond_what_it_reaches(capsys: pytest.CaptureFixture[str], option: str) -> None:
    found, _ = planned(capsys, option, "1000000")
    assert found["context_length"] == 4096
    assert found["notices"] == [{"code": "context_shortened", "asked": 1000000, "given": 4096}]
    assert found["need"] == planned(capsys, option, "4096")[0]["need"]
    assert run(["models", "plan", "-m", "tiny", option, "1000000"]) == 0
    assert say("notice.context_shortened", asked=1000000, given=4096) in capsys.readouterr().err
