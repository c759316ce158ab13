"""The front process while the real starter answers: `python -m benchmarks.front_cpu MODELS` (the models folder).

The real window (offscreen), worker, pipe and store. CPU is the front's own process time from the first piece of text to
the end of the reply, as a share of that time; the worker is a process of its own and not counted. Also the time of a
change of theme, which holds the window once. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from core.chat.turns import Sampling

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

REPLIES = 3
QUESTION = "Tell me a long story about a river and a town, in many paragraphs."


async def reply(window: Window, context: AppContext, seed: int) -> dict[str, float]:
    from app.ui.tour import REPLY_S, chat_page, until

    panel = await chat_page(window)
    await until(lambda: bool(panel.models), 30)
    made = await context.chat.create("starter", sampling=Sampling(seed=seed, max_new_tokens=400))
    await panel.open(made.id)
    begun: list[tuple[float, float]] = []
    ended: list[tuple[float, float, int]] = []
    tokens = 0

    def grew(news: object) -> None:
        nonlocal tokens
        tokens += news.tokens  # type: ignore[attr-defined]
        if not begun:
            begun.append((time.perf_counter(), time.process_time()))

    ends = [
        context.chat.reply_grew.listen(grew),
        context.chat.reply_ended.listen(lambda _: ended.append((time.perf_counter(), time.process_time(), tokens))),
    ]
    await context.chat.send(made.id, QUESTION)
    await until(lambda: ended, REPLY_S)
    for end in ends:
        end()
    (wall, cpu), (wall_end, cpu_end, count) = begun[0], ended[0]
    spent = cpu_end - cpu
    return {
        "tokens": count,
        "tokens_per_s": round(count / (wall_end - wall), 1),
        "cpu_share": round(spent / (wall_end - wall), 4),
        "cpu_ms_per_token": round(spent * 1000 / count, 2),
    }


async def measure(window: Window, context: AppContext) -> None:
    window.resize(1440, 900)
    await reply(window, context, 0)  # loads the model
    replies = [await reply(window, context, seed) for seed in range(1, REPLIES + 1)]
    themes = []
    for theme in ("dark", "light", "dark", "light"):
        begin = time.perf_counter()
        window.preferences.change(theme=theme)
        themes.append(round((time.perf_counter() - begin) * 1000))
        await asyncio.sleep(0.5)
    report = {"what": "front process while the starter answers", "must": {"cpu_share": 0.08}, "replies": replies}
    print(json.dumps(report | {"theme_change_ms": themes, "load_average": os.getloadavg()[0]}, indent=1))


def main() -> None:
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    with tempfile.TemporaryDirectory() as home:
        os.environ["QWEN_WORKBENCH_HOME"] = home
        from app.ui.start import open_window
        from core import paths, settings

        settings.save(paths.settings_file(), settings.Settings(models_folder=str(Path(sys.argv[1]).resolve())))
        open_window(guide=measure)


if __name__ == "__main__":
    main()
