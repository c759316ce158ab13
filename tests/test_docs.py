"""The documents speak of what is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_architecture_names_every_file() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    files = [file for folder in ("app", "core") for file in (ROOT / folder).rglob("*.py")]
    unnamed = [str(f) for f in files if f.name not in text and f.name != "__init__.py" and "migrations" not in f.parts]
    assert not unnamed and len(text.splitlines()) <= 150


def test_links_and_pictures_of_the_documents_exist() -> None:
    broken = []
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
            if "://" not in target and not (document.parent / target).exists():
                broken.append(f"{document.name}: {target}")
    assert not broken
