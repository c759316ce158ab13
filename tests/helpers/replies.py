"""Messages for transcripts, and Markdown that is hard to stream."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from core.chat.turns import ReplyFigures
from core.store.records import Message

FIGURES = ReplyFigures(1612, 234, 0.21, 61.3, 800, 6.2)
CODE = '```python\ndef pieces(path: str) -> int:\n    """Doc."""\n    return 1\n```\n'
NASTY = {
    "nested lists": "- a\n  - b\n    1. c\n    2. d\n\n       more of d\n  - e\n- f\n",
    "list over blank lines": "1. one\n\n2. two\n\n   still two\n\n\n3. three\n\nout",
    "numbers that restart": "3. a\n1. b\n\n- x\n* y\n",
    "setext": "Title\n=====\n\nUnder\n---\ntext\n-\nmore\n",
    "late link": "See [docs] and [more][m] here.\n\nText.\n\n[docs]: https://a.example\n[m]: https://b.example 't'\n",
    "link with a title on the next line": "[a]: https://a.example\n'title\nmore'\n\nuse [a]\n",
    "open fence": "text\n```python\nprint(1)\n\nprint(2)",
    "fence in a fence": "````md\n```py\nx\n```\n````\nafter\n",
    "fence closed by spaces": "```\na\n   ```  \nb",
    "tilde fence": "~~~ sh\necho `x`\n~~~\nafter",
    "growing table": "| a | b |\n|---|--:|\n| 1 | **2** |\n| x | `y` |\n\nafter\n",
    "no table after all": "a | b\n--- and more\n",
    "html": "<b>bold</b>\n\n<div>\n*x*\n</div>\n\n<!-- no -->\n",
    "quotes": "> a\nlazy\n> > b\n\n> - c\n>   d\n",
    "emphasis": "**bold *and* more** _x_ un_der_score ~~gone~~ **注意：**后面 `co``de` \\*no\\*\n",
    "formulas": "Inline $x^2$ and \\(y\\), $5 and $6.\n\n$$\na\n+ b\n$$\n\n\\[ c \\]\nend $$d$$\n\n$$\nopen\n\nx",
    "hard breaks": "a  \nb\\\nc\nd\n",
    "crlf": "a\r\n\r\n- b\r\n- c\r\n\r\n```\r\nd\r\n```\r\n",
    "indented code": "a\n\n    code\n\n    more\n\nb\n",
    "tasks": "- [x] done\n- [ ] open\n",
    "headings in a row": "# A\n## B\ntext\n### C\n- d\n# E",
    "rulers": "a\n\n---\n***\nb\n\n___\n",
    "entities": "&amp; &lt;b&gt; &copy; AT&T; &",
    "one long line": "word " * 400,
    "long list": "".join(f"{n}. item **{n}** with words\n" for n in range(1, 80)),
    "only blank": "\n\n  \n",
}


def message(number: int, role: str = "assistant", text: str = "", **more: Any) -> Message:
    """A message of conversation 1 whose parent is the one before."""
    fields: dict[str, Any] = {
        "id": number,
        "conversation_id": 1,
        "parent_id": number - 1 or None,
        "role": role,
        "text": text,
        "thinking": "",
        "model": "Qwen3-8B · Int4",
        "state": "done",
        "figures": None,
        "error_code": "",
        "error_params": {},
        "created": datetime.now(UTC),
    }
    return Message(**(fields | more))


def dialogue(count: int) -> list[Message]:
    """Questions and answers of different lengths."""
    lines = "Read it in pieces, and memory stays flat. 按块读取，内存占用就与文件大小无关。\n\n"
    answers = [lines * (n % 7 + 1) + (CODE if n % 3 == 0 else "") for n in range(21)]
    return [
        message(n, "user" if n % 2 else "assistant", f"Question {n}?" if n % 2 else answers[n % 21])
        for n in range(1, count + 1)
    ]
