"""`qwen-workbench doctor`: what this machine has, with reasons. Exit 1 when something needed is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from core import doctor as machine
from core import settings
from core.paths import models, settings_file
from core.translation import say

_MARK = {"ok": "✓", "note": "·", "warn": "!", "bad": "✗"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    chosen = settings.load(settings_file()).models_folder
    findings = machine.examine(Path(chosen) if chosen else models())
    report = machine.as_json(findings)
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        for finding in findings:
            print(f"{_MARK[finding.status]} {finding.name}: {finding.value}")
            if finding.reason:
                print(f"    {finding.reason}")
        bad = sum(finding.status == "bad" for finding in findings)
        print(say("doctor.problems", count=bad) if bad else say("doctor.fine"))
    if not report["ok"]:
        raise typer.Exit(1)
