"""Encoding against plain tiktoken: `python -m benchmarks.encode QWEN_TIKTOKEN` prints one JSON object.

10 MB of mixed Chinese, English and code, made from this project's own documents, sources and translations, each copy
varied so that nothing repeats word for word. Compared are `encode_text` (which brings to NFC, stands endless blanks and
can make no control token) and tiktoken's `encode_ordinary` on the same text, in turn, each order as often as the other;
CPU time of this process. The ids must be the same. Also timed: the same text cut into documents of 4096 characters.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import tiktoken

from core.chat.tiktoken_file import encoding, read_ranks
from core.chat.tiktoken_vocabulary import TiktokenVocabulary

ROOT = Path(__file__).parents[1]
DOCUMENT = 4096  # characters


def material() -> list[str]:
    """A third each of Chinese, English prose and code, by bytes, as paragraphs in turn."""
    chinese = [*(ROOT / "docs").glob("*.zh.md"), *(ROOT / "resources/translations/zh").glob("*.json")]
    english = [file for file in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")) if ".zh." not in file.name]
    english += (ROOT / "resources/translations/en").glob("*.json")
    code = [file for folder in ("app", "core", "tests") for file in (ROOT / folder).rglob("*.py")]
    kinds = []
    for files in (chinese, english, code):
        text = "\n\n".join(file.read_text("utf-8") for file in sorted(files))
        kinds.append([part for part in text.split("\n\n") if part])
    size = max(sum(len(part.encode()) for part in parts) for parts in kinds)
    grown = []
    for parts in kinds:
        copies = -(-size // sum(len(part.encode()) for part in parts))
        grown.append([varied(part, copy) for copy in range(copies) for part in parts])
    longest = max(map(len, grown))
    return [parts[at * len(parts) // longest] for at in range(longest) for parts in grown]


def varied(part: str, copy: int) -> str:
    """Another text of the same kind: from the second copy on the lines come in another order and have a number."""
    if not copy:
        return part
    lines = part.split("\n")
    at = copy * 7 % len(lines)
    return "\n".join([*lines[at:], *lines[:at], f"{copy * 7919 % 100003}"])


def mixed(size_bytes: int) -> str:
    parts, made, copy = material(), bytearray(), 0
    while len(made) < size_bytes:
        made += "\n\n".join(varied(part, copy) for part in parts).encode()
        copy += 1
    return made[:size_bytes].decode("utf-8", "ignore")


def cpu_s(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(ours: Callable[[], object], theirs: Callable[[], object], pairs: int) -> dict[str, object]:
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(pairs):
        order = [("ours", ours), ("theirs", theirs)]
        for name, work in order if number % 2 else reversed(order):
            times[name].append(cpu_s(work))
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    return {"speed_ratio": statistics.median(ratios), "ratios": ratios, "seconds": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--megabytes", type=float, default=10)
    options = parser.parse_args()
    text = mixed(int(options.megabytes * 1e6))
    documents = [text[at : at + DOCUMENT] for at in range(0, len(text), DOCUMENT)]
    ranks = read_ranks(options.file)
    vocabulary, plain = TiktokenVocabulary(ranks), encoding(ranks)
    ids = plain.encode_ordinary(text)
    size = len(text.encode())
    whole = compare(lambda: vocabulary.encode_text(text), lambda: plain.encode_ordinary(text), options.pairs)
    apart = compare(
        lambda: [vocabulary.encode_text(part) for part in documents],
        lambda: [plain.encode_ordinary(part) for part in documents],
        options.pairs,
    )
    report = {
        "what": "encode_text / tiktoken encode_ordinary, speed ratio in CPU time, median of pairs",
        "must": 0.9,
        "bytes": size,
        "characters": len(text),
        "tokens": len(ids),
        "ids_equal": vocabulary.encode_text(text) == ids,
        "one_text": whole,
        "documents": apart,
        "load_average": os.getloadavg()[0],
        "processor": platform.processor() or platform.machine(),
        "versions": {"python": platform.python_version(), "tiktoken": tiktoken.__version__},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
