"""`qwen-workbench tour`: the main job done in the real window, with numbered screenshots and tour.json."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def tour(out: Annotated[Path, typer.Option("--out", help="Folder for the pictures and tour.json.")]) -> None:
    from app.ui import tour

    phase = os.environ.get(tour.PHASE)
    if code := tour.guided(out, phase) if phase else tour.run(out):
        raise typer.Exit(code)
