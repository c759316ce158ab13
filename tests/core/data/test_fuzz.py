"""Whatever a file holds, there is a report or a sentence; and what was mended is not found again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from core.data.check import check
from core.data.dataset import open_data
from core.data.mended_file import write_mended
from core.data.problems import KINDS
from core.data.steps import result
from core.errors import UserError
from tests.core.data.test_check import PLANTED
from tests.helpers.training_data import FORMATS, LetterRenderer, as_lines

FIXED = frozenset(code for code, kind in KINDS.items() if kind.fix)

words = st.sampled_from(
    ["user", "assistant", "system", "tool", "human", "gpt", "Bot", "function_call", "", " ", "a", "你好", " x\n", "\0",
     "<think>", "<think>\nx</think> y ", "<|im_start|>", "[]", "{", '{"name": "f"}', '"', "\r", ",", "\ud800",
     "é\u2028"]
)  # fmt: skip
keys = st.sampled_from(
    ["messages", "conversations", "role", "content", "from", "value", "tool_calls", "function", "name", "arguments",
     "tools", "system", "history", "instruction", "input", "output", "question", "answer", "text", "x",
     "reasoning_content"]
)  # fmt: skip
atoms = st.none() | st.booleans() | st.integers() | st.floats() | words | words
values: st.SearchStrategy[Any] = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=6
)
roles = st.sampled_from(["user", "assistant", "user", "assistant", "system", "tool", "Human", "bot"])
spoken = st.fixed_dictionaries({"role": roles, "content": st.sampled_from(["a", "b ", "", "你好<|im_end|>"])})
message = st.fixed_dictionaries(
    {"role": roles | words, "content": words | values}, optional={"tool_calls": values, "name": words}
)
messages = st.lists(spoken, max_size=5) | st.lists(spoken, max_size=5) | st.lists(spoken | message, max_size=5)
rows = (
    values
    | st.fixed_dictionaries({"messages": messages})
    | st.fixed_dictionaries({"messages": messages}, optional={"tools": values, "system": values, "id": values})
)
pairs = st.fixed_dictionaries({"instruction": words, "output": words}, optional={"history": values, "input": values})


@st.composite
def of_json(draw: st.DrawFn) -> bytes:
    found = draw(st.lists(rows, max_size=4) | st.lists(pairs, max_size=4))
    ascii = draw(st.booleans())
    match draw(st.integers(0, 2)):
        case 0:
            text = "\n".join(json.dumps(row, ensure_ascii=ascii) for row in found)
        case 1:
            text = json.dumps(found, ensure_ascii=ascii, indent=draw(st.sampled_from([None, 1, 4])))
        case _:
            text = json.dumps(found[0] if found else {}, indent=2)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"])), "replace")


@st.composite
def of_csv(draw: st.DrawFn) -> bytes:
    out = io.StringIO()
    columns = draw(st.just(["question", "answer"]) | st.lists(keys | words, min_size=1, max_size=4))
    cells = words | values.map(lambda value: json.dumps(value))
    lines = draw(st.lists(st.lists(cells, max_size=4), max_size=5))
    try:
        writer = csv.writer(
            out, delimiter=draw(st.sampled_from(",\t;|")), lineterminator=draw(st.sampled_from(["\n", "\r\n"]))
        )
        writer.writerows([columns, *lines])
    except csv.Error:
        pass
    return out.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"])), "replace")


def _parquet() -> bytes:
    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([*FORMATS["messages"]] * 5), out, row_group_size=4)
    return out.getvalue()


VALID = [
    _parquet(),
    *(as_lines(rows).encode() for rows in FORMATS.values()),
    *(json.dumps(rows, indent=2).encode() for rows in FORMATS.values()),
    as_lines([bad for _, bad in PLANTED]).encode("utf-16"), as_lines([bad for _, bad in PLANTED]).encode(),
    "question,answer\n你,好\n\"a\nb\",c\n".encode("gb18030"),
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + draw(st.integers(1, 30))] = b""
            case 1:
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case 2:
                data[at : at + 1] = draw(st.sampled_from([b'"', b"{", b"]", b"\n", b"\xff", b"\0", b",", b"\\"]))
            case _:
                data[at:at] = data[at // 2 : at]
    return bytes(data)


@settings(
    max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.binary(max_size=200) | mutated() | mutated() | of_json() | of_json() | of_csv(), st.sampled_from(["a", "a.csv"])
)
def test_any_file_gives_a_report_or_a_sentence(tmp_path: Path, content: bytes, name: str) -> None:
    source, target = tmp_path / name, tmp_path / "out.json"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    try:
        data = result(open_data(source))
    except UserError as refused:
        assert str(refused)
        return
    report = result(check(data, renderer=LetterRenderer(), length=10))
    assert report.usable_rows <= report.rows and all(one.sentence() for one in report.problems)
    assert all((report.kind != "parquet") <= one.line <= content.count(b"\n") + 1 for one in report.problems)
    try:
        result(write_mended(data, target, FIXED))
    except UserError as refused:
        assert refused.code == "data_nothing_left" and not target.exists()
    else:
        again = target.rename(tmp_path / ("again" + source.suffix))
        assert not FIXED & dict(_counts(again)).keys()
    finally:
        data.close()
    assert source.read_bytes() == content


def _counts(path: Path) -> tuple[tuple[str, int], ...]:
    data = result(open_data(path))
    try:
        return result(check(data)).counts
    finally:
        data.close()
