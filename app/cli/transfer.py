"""How a job of the library is shown on a terminal: a bar where somebody can see it, JSON lines where a program reads.

Invariant: progress and sentences go to standard error; standard output holds the results.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from app.services.inference import as_error
from core.protocol.messages import Failed, JobEvent, Progress
from core.translation import say


async def shown(events: AsyncGenerator[JobEvent, None], *, as_json: bool = False) -> AsyncGenerator[JobEvent, None]:
    """The events but Progress, which is shown.

    Raises:
        UserError: of a job that failed.
    """
    with _bar() as bar:
        line = bar.add_task("", total=None)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Failed):
                    raise as_error(event)
                if isinstance(event, Progress):
                    stage = say(f"progress.{event.stage}")
                    bar.update(line, description=stage, completed=event.done, total=event.total)
                    if as_json:
                        told = {"stage": event.stage, "done": event.done, "total": event.total, "unit": event.unit}
                        print_json({"event": "progress", **told})
                else:
                    yield event


def print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)


def _bar() -> Bar:
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}")
    return Bar(text, *columns, console=console, transient=True, disable=not console.is_terminal)
