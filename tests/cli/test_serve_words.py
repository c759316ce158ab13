"""What `serve` says once it is open: where this machine asks, and where others do."""

from __future__ import annotations

import json

import pytest

from app.cli.serve import _Teller
from app.services.inference import ModelState
from core.protocol.messages import ModelLoaded

HERE, THERE = "http://127.0.0.1:8000", ["http://192.168.1.7:8000"]


def test_a_context_that_is_shorter_than_asked_for_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    loaded = ModelLoaded("job", "starter", "", "cpu", "", "float32", "", 1, 4, 8192, True, True, 0.1)
    state, teller = ModelState("ready", "starter", loaded=loaded), _Teller(True)
    for asked in (0, 8192, 100_000, 100_000):
        teller.on_model(state, asked)
    assert capsys.readouterr().err.count("100000") == 1


def test_a_server_in_the_network_names_the_address_for_others(capsys: pytest.CaptureFixture[str]) -> None:
    _Teller(False).opened("starter", HERE, THERE)
    said = capsys.readouterr().out
    assert f"{HERE}/v1" in said and f"{HERE}/" in said and f"{THERE[0]}/" in said
    _Teller(False).opened("starter", HERE, [])
    assert len(capsys.readouterr().out.splitlines()) == 1
    _Teller(False).opened("starter", HERE, [], ("*",))
    assert "Any web page" in capsys.readouterr().err
    _Teller(True).opened("starter", HERE, THERE)
    told = json.loads(capsys.readouterr().out)
    assert told["event"] == "serving" and told["base_url"] == f"{HERE}/v1" and told["network"] == THERE
