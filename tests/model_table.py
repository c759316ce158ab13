"""The README's table of models, made from the `covers` markers of the tests: `python -m tests.model_table` writes it.

A marker stands on a test that really takes a model of the family through the weights it names. Invariant: what no test
covers is a dash in the table, and the table says what a dash means.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from core.models.families import BY_KEY

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- model table, written by `python -m tests.model_table` -->\n", "<!-- end of the model table -->\n"

WEIGHTS = {
    "plain": "bf16, fp16, fp32",
    "int8": "int8 at load",
    "int4": "int4 at load",
    "nf4": "NF4 at load",
    "gptq_int4": "GPTQ Int4",
    "gptq_int8": "GPTQ Int8",
    "gguf": "GGUF import",
    "int8_kv": "int8 KV cache",
    "adapter": "Adapters",
    "lora": "LoRA training",
    "qlora": "Q-LoRA training",
    "full": "full training",
}
ANY = tuple(WEIGHTS)
QUANTISED = ("gptq_int4", "gptq_int8", "int8_kv", "adapter", "qlora")


class Row(NamedTuple):
    """words: what people look for; weights: those that this kind of it is published or can be loaded in."""

    words: str
    family: str
    weights: tuple[str, ...] = ANY
    published: str = "not run here"


FIRST = "tiny model of the same code path; published weights not run here"
PLAIN = tuple(key for key in WEIGHTS if not key.startswith("gptq"))
ROWS = (
    Row("Qwen 1.8B, 7B, 14B, 72B (first generation), base", "qwen", PLAIN, FIRST),
    Row("Qwen 1.8B, 7B, 14B, 72B Chat", "qwen", PLAIN, FIRST),
    Row("Qwen 1.8B, 7B, 14B, 72B Chat-Int4, Chat-Int8", "qwen", QUANTISED, FIRST),
    Row("Qwen1.5", "qwen1_5"),
    Row("Qwen2", "qwen2"),
    Row("Qwen2.5", "qwen2_5"),
    Row("Qwen1.5-MoE", "qwen1_5_moe"),
    Row("Qwen2-MoE", "qwen2_moe"),
    Row("Qwen3, also Instruct, Thinking and 2507", "qwen3"),
    Row("Qwen3-MoE, Qwen3-Coder", "qwen3_moe"),
    Row("Qwen3-Next", "qwen3_next"),
    Row("Qwen3.5, language part", "qwen3_5"),
    Row("Qwen3.5-MoE, language part", "qwen3_5_moe"),
    Row("Qwen4, experimental", "qwen4_exp"),
    Row("Others that transformers knows, “not a Qwen”", "other", ANY, "SmolLM2-135M, the starter"),
)
LEGEND = """\
✓ a tiny model with random weights, built by the family's own classes and saved as it is published, goes through it in
the tests, by the code that reads the published one; – not run here; empty: there is no such thing. Published Qwen
weights were not run: no hub that has them can be reached from where this was built.
"""


class Coverage(NamedTuple):
    family: str
    weights: str
    how: str


def coverage_of(items: Iterable[pytest.Item]) -> list[Coverage]:
    """What the markers on these tests say, each of them checked."""
    found = []
    for item in items:
        for marker in item.iter_markers("covers"):
            said = Coverage(**marker.kwargs)
            assert said.family in BY_KEY and said.weights in WEIGHTS and said.how, f"{item.nodeid}: {said}"
            if item.get_closest_marker("gpu") is None:  # those are not run where there is no card
                found.append(said)
    return found


def table(found: Sequence[Coverage]) -> str:
    ran = {(one.family, one.weights) for one in found}
    head = ["Family", *WEIGHTS.values(), "With published weights"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in ROWS:
        cells = [("✓" if (row.family, key) in ran else "–") if key in row.weights else "" for key in WEIGHTS]
        lines.append("| " + " | ".join((row.words, *cells, row.published)) + " |")
    ways = [f"- {words}: {ways}" for key, words in WEIGHTS.items() if (ways := _ways(found, key))]
    return "\n".join((*lines, "", LEGEND, "What was run:", "", *ways, ""))


def _ways(found: Sequence[Coverage], weights: str) -> str:
    return "; ".join(dict.fromkeys(one.how for one in found if one.weights == weights))


def written(readme: str) -> str:
    """The table as it stands in the README."""
    return readme.split(BEGIN)[1].split(END)[0]


class _Collector:
    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = session.items


def main() -> int:
    collector = _Collector()
    if code := pytest.main(["--collect-only", "-p", "no:terminal", str(README.parent / "tests")], [collector]):
        return int(code)
    readme = README.read_text("utf-8")
    before, rest = readme.split(BEGIN)
    text = table(coverage_of(collector.items))
    README.write_text(before + BEGIN + text + END + rest.split(END)[1], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
