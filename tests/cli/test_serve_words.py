"""What `serve` says once it is open: where this machine asks, and where others do."""

from __future__ import annotations

import json

import pytest

from app.cli.serve import _Teller

HERE, THERE = "http://127.0.0.1:8000", ["http://192.168.1.7:8000"]


def test_a_server_in_the_network_names_the_address_for_others(capsys: pytest.CaptureFixture[str]) -> None:
    _Teller(False).opened("starter", HERE, THERE)
    said = capsys.readouterr().out
    assert f"{HERE}/v1" in said and f"{HERE}/" in said and f"{THERE[0]}/" in said
    _Teller(False).opened("starter", HERE, [])
    assert len(capsys.readouterr().out.splitlines()) == 1
    _Teller(True).opened("starter", HERE, THERE)
    told = json.loads(capsys.readouterr().out)
    assert told["event"] == "serving" and told["base_url"] == f"{HERE}/v1" and told["network"] == THERE
