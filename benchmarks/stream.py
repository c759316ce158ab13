"""How the window feels while a reply streams: `python -m benchmarks.stream [--quick]` prints one JSON object.

fast: 20,000 tokens of mixed Markdown at 1,000 tokens/s; the stall of the event loop, from the lateness of a precise
5 ms timer. slow: 40 tokens/s for 20 s; CPU time of the whole process as a share of one core. The window is offscreen
and visible, driven by the loop the program uses. Times on a shared machine are noisy: compare medians of several runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from app.ui import aio, theme
from app.ui.transcript.view import TranscriptView
from app.ui.transcript.warm import warm_up
from core.store.records import Message

TICK_MS = 5
CHARS_A_TOKEN = 3
SECTION = """## 第 {n} 节 Reading files in pieces

Don't read a large file in one go. Take it **in pieces**, use each piece and let it go; memory then stays *flat* however
large the file is. 不要一次读完。**按块读取**，处理完一块就丢掉，内存占用就与文件大小无关。See [the docs](https://docs.python.org/3/).

1. Open the file in binary mode, `open(path, "rb")`.
2. 每次只拿 1 MB，处理完就丢掉：
   - the buffer is reused, so nothing grows
   - 缓冲区大小 $n = 2^{{20}}$ 字节
3. Close it.

```python
def pieces_{n}(path: str, size: int = 1 << 20):
    \"\"\"Yield the file in blocks of `size` bytes.\"\"\"
    with open(path, "rb") as file:
        while block := file.read(size):
            yield block


total = sum(len(block) for block in pieces_{n}("big.log"))
print(f"{{total / 1e9:.2f}} GB in {n} parts")
```

| Way | 用时 | Memory |
|---|--:|--:|
| Text, line by line | 142 s | 12 MB |
| 二进制逐行 | 58 s | 12 MB |
| `mmap` | 31 s | {n} MB |

The cost is linear in the length of the file:

$$
T_{{{n}}} = \\frac{{N}}{{B}} \\cdot \\left(t_0 + \\frac{{B}}{{v}}\\right), \\qquad v \\approx 500\\,\\text{{MB/s}}
$$

> 注意：最后一块可能比较短。The last piece may be shorter.

这一段是普通的中文说明文字，没有特别的标记，用来模拟模型在解释概念时写出的长段落；它会持续地增长，直到写满好几行为止。
And then it goes on in English for a while, as replies of models in both languages tend to do, without any mark-up.

"""


def tokens(count: int) -> list[str]:
    text = ""
    number = 0
    while len(text) < count * CHARS_A_TOKEN:
        number += 1
        text += SECTION.format(n=number)
    return [text[i * CHARS_A_TOKEN : (i + 1) * CHARS_A_TOKEN] for i in range(count)]


class Lateness:
    """How late a precise timer fires: what an event had to wait at that moment."""

    def __init__(self) -> None:
        self.stalls_ms: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(self._timer.timerType().PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.stalls_ms.append(max(0.0, (now - self._last) * 1000 - TICK_MS))
        self._last = now

    def stop(self) -> dict[str, float]:
        self._timer.stop()
        ordered = sorted(self.stalls_ms)
        return {
            "p50_ms": round(ordered[len(ordered) // 2], 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)], 2),
            "max_ms": round(ordered[-1], 2),
            "ticks": len(ordered),
        }


async def stream(view: TranscriptView, number: int, parts: list[str], rate: float, timed: bool) -> dict[str, float]:
    """Feed the tokens by the clock, as a worker's pipe does: all that are due at each wake-up, one by one.

    `timed` measures stalls too, which itself costs some 3 % of a core.
    """
    reply = Message(number, 1, None, "assistant", "", "", "bench", "streaming", None, "", {}, datetime.now(UTC))
    view.begin_reply(reply)
    await asyncio.sleep(0.3)
    lateness = Lateness() if timed else None
    cpu, start, fed = time.process_time(), time.perf_counter(), 0
    while fed < len(parts):
        due = min(len(parts), int((time.perf_counter() - start) * rate) + 1)
        for token in parts[fed:due]:
            view.grow(number, token)
        fed = due
        await asyncio.sleep(0.01 if rate > 100 else 1 / rate)
    wall = time.perf_counter() - start
    used = time.process_time() - cpu
    view.end_reply(replace(reply, text="".join(parts), state="done"))
    await asyncio.sleep(0.5)
    result = {"tokens": len(parts), "wall_s": round(wall, 2), "tokens_per_s": round(len(parts) / wall, 1)}
    result |= {"cpu_s": round(used, 2), "cpu_share": round(used / wall, 4)}
    return result | lateness.stop() if lateness else result


async def measure(quick: bool) -> int:
    theme.apply(QApplication.instance(), "light")  # type: ignore[arg-type]
    view = TranscriptView()
    view.resize(900, 800)
    view.show_branch([])
    view.show()
    warm_up()  # as the program does after its first paint
    await asyncio.sleep(2)
    fast = await stream(view, 1, tokens(4_000 if quick else 20_000), 1_000, timed=True)
    view.show_branch([])
    slow = await stream(view, 2, tokens(200 if quick else 800), 40, timed=False)
    print(json.dumps({"fast": fast, "slow": slow}, indent=1))
    view.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(aio.run(QApplication(sys.argv[:1]), measure("--quick" in sys.argv)))
