"""`qwen-workbench tour`: the main job done in the real window, with numbered screenshots and tour.json."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from core.translation import say


def tour(
    out: Annotated[Path, typer.Option("--out", help=say("cli.help_tour_out"))],
    finetune: Annotated[bool, typer.Option("--finetune", help=say("cli.help_tour_finetune"))] = False,
) -> None:
    from app.ui import tour

    phase = os.environ.get(tour.PHASE)
    if phase:
        code = tour.guided(out, phase)
    else:
        code = tour.run(out, tour.FINETUNE) if finetune else tour.run(out)
    if code:
        raise typer.Exit(code)
