"""The doctor answers everything, with reasons, quickly, and without loading what it looks at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from core import doctor, paths, translation


def test_every_answer_has_a_name_a_value_and_a_known_status() -> None:
    translation.use("en")
    findings = doctor.examine(paths.models())
    assert {"system", "processor", "memory", "card", "disk", "torch", "sqlite"} <= {f.key for f in findings}
    assert all(f.name and f.value and f.status in ("ok", "note", "warn", "bad") for f in findings)
    assert all(f.reason for f in findings if f.status in ("warn", "bad"))


def test_looking_loads_neither_torch_nor_qt() -> None:
    code = (
        "import sys; from pathlib import Path; from core import doctor; doctor.examine(Path('/'));"
        "print([m for m in ('torch', 'transformers', 'PySide6') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_command_prints_one_object() -> None:
    result = subprocess.run(
        [sys.executable, "main.py", "doctor", "--json"], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    report = json.loads(result.stdout)
    assert result.returncode == (0 if report["ok"] else 1)
    assert report["findings"][0]["key"] == "system"
