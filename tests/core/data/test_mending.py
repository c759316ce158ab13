"""A mended copy has none of the problems it was mended for, and the original stays as it was."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.data.check import check
from core.data.dataset import open_data
from core.data.mended_file import Mending, write_mended
from core.data.problems import KINDS
from core.data.steps import result
from core.errors import UserError
from tests.core.data.test_check import EXPECTED, GOOD, PLANTED, examples
from tests.helpers.training_data import FORMATS, as_lines, chat, report_of

FIXED = {code for code, kind in KINDS.items() if kind.fix}


def mend(source: Path, target: Path, fix: set[str] = FIXED, drop: set[str] = frozenset()) -> Mending:  # type: ignore[assignment]
    data = result(open_data(source))
    try:
        return result(write_mended(data, target, fix, drop))
    finally:
        data.close()


def planted(folder: Path) -> Path:
    good = [chat(*((role, text.format(n=n)) for role, text in GOOD)) for n in range(2)]
    text = as_lines([*good, *(bad for _, bad in PLANTED)]) + '{"messages": [\n'
    (folder / "in.jsonl").write_text(text)
    return folder / "in.jsonl"


def test_mended_is_clean_and_the_original_untouched(tmp_path: Path) -> None:
    source = planted(tmp_path)
    before = source.read_bytes()
    done = mend(source, tmp_path / "out" / "out.jsonl")
    report = report_of(tmp_path / "out" / "out.jsonl")
    assert dict(report.counts) == {"control_text": 1}
    assert (done.rows, done.kept) == (len(PLANTED) + 3, report.rows) and report.usable_rows == report.rows
    assert source.read_bytes() == before and os.listdir(tmp_path / "out") == ["out.jsonl"]


@pytest.mark.parametrize("code", sorted({code for code, _ in PLANTED} - {"control_text"}))
def test_one_kind_at_a_time(tmp_path: Path, code: str) -> None:
    source = planted(tmp_path)
    before = dict(report_of(source).counts)
    mend(source, tmp_path / "fixed", {code})
    mend(source, tmp_path / "dropped", set(), {code})
    dropped = dict(report_of(tmp_path / "dropped").counts)
    assert code not in dict(report_of(tmp_path / "fixed").counts)
    assert dropped == {other: count for other, count in before.items() if other != code}


def mended_row(tmp_path: Path, row: object, code: str) -> object:
    (tmp_path / "in").write_text(as_lines([row, chat(("user", "u"), ("assistant", "a"))]))
    (tmp_path / "out").unlink(missing_ok=True)
    mend(tmp_path / "in", tmp_path / "out", {code})
    rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    return rows[0] if len(rows) == 2 else None


def test_what_each_fix_does(tmp_path: Path) -> None:
    u, a = ("user", "u"), ("assistant", "a")
    s = ("system", "s")
    assert mended_row(tmp_path, chat(s, a, u, a), "starts_with_assistant") == chat(s, u, a)
    assert mended_row(tmp_path, chat(u, ("user", "v"), a, a), "roles_repeat") == chat(
        ("user", "u\n\nv"), ("assistant", "a\n\na")
    )
    assert mended_row(tmp_path, chat(u, a, u, u), "ends_with_question") == chat(u, a)
    thinking = ("assistant", "<think>\nx \n</think>\n\n\n  a  ")
    assert mended_row(tmp_path, chat(u, thinking), "blank_around_answer") == chat(
        u, ("assistant", "<think>\nx \n</think>\n\na")
    )
    assert mended_row(tmp_path, {"id": 7, **chat(("Human", "u"), ("bot", "a"))}, "odd_role") == {"id": 7, **chat(u, a)}
    calls = {
        "messages": [{"role": "user", "content": "u"}, *2 * [{"role": "assistant", "tool_calls": [{"name": "f"}]}]]
    }
    assert mended_row(tmp_path, calls, "roles_repeat") is None
    assert mended_row(tmp_path, chat(a, a), "starts_with_assistant") is None


def test_formats_stay_what_they_are(tmp_path: Path) -> None:
    for format, rows in FORMATS.items():
        for name, text in ((f"{format}.json", json.dumps(rows, indent=1)), (f"{format}.jsonl", as_lines(rows))):
            (tmp_path / name).write_text(text, "utf-16")
            mend(tmp_path / name, tmp_path / f"out-{name}")
            new = (tmp_path / f"out-{name}").read_text("utf-8")
            assert (json.loads(new) if name.endswith("n") else [json.loads(one) for one in new.splitlines()]) == rows
    out = io.StringIO()
    table = [("id", "question", "answer"), (1, "q\n1", " a "), (2, "q2", "a;2"), (3, "", "x")]
    csv.writer(out, delimiter=";").writerows(table)
    (tmp_path / "t.csv").write_text(out.getvalue(), "gb18030")
    assert mend(tmp_path / "t.csv", tmp_path / "o.csv") == Mending(3, 2, 1)
    with (tmp_path / "o.csv").open(newline="") as file:
        assert list(csv.reader(file, delimiter=";")) == [list(table[0]), ["1", "q\n1", "a"], ["2", "q2", "a;2"]]


def test_parquet_becomes_json_lines(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(FORMATS["messages"]), tmp_path / "m.parquet")
    mend(tmp_path / "m.parquet", tmp_path / "m.jsonl")
    assert examples(tmp_path / "m.jsonl") == EXPECTED


def test_lines_in_another_encoding_are_read_anew(tmp_path: Path) -> None:
    lines = [f'{{"question": "问题{n}在这里", "answer": "答案{n}在那里"}}' for n in range(5)]
    encoded = [line.encode("gb18030" if n == 2 else "utf-8") for n, line in enumerate(lines)]
    encoded[4] = b'{"question": "\xff\xff\x81", "answer": "a"}'
    (tmp_path / "d").write_bytes(b"\n".join(encoded))
    mend(tmp_path / "d", tmp_path / "new")
    assert (tmp_path / "new").read_text("utf-8").splitlines() == lines[:4]
    mend(tmp_path / "d", tmp_path / "other", set())
    assert (tmp_path / "other").read_text("utf-8").splitlines() == lines[:2] + lines[3:4]


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path: Path) -> None:
    source = planted(tmp_path)
    (tmp_path / "there").write_text("mine")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").write_text(as_lines([chat(("user", "u"))]))
    long, nul = tmp_path / ("x" * 300), tmp_path / "a\0b"
    for start, target, fix, code in (
        (source, tmp_path / "there", FIXED, "data_target_exists"), (source, source, FIXED, "data_target_exists"),
        (source, tmp_path / "file" / "x", FIXED, "data_not_written"), (source, long, FIXED, "data_not_written"),
        (source, tmp_path / "new", {"nonsense"}, "data_code_unknown"), (source, nul, FIXED, "data_not_written"),
        (tmp_path / "empty", tmp_path / "new", FIXED, "data_nothing_left"),
    ):  # fmt: skip
        with pytest.raises(UserError) as refused:
            mend(start, target, fix)
        assert refused.value.code == code and str(refused.value)
    assert (tmp_path / "there").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "in.jsonl", "there"]


def test_a_mend_that_is_closed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(as_lines([chat(("user", f"u{n}"), ("assistant", "a ")) for n in range(2000)]))
    data = result(open_data(tmp_path / "in"))
    work = write_mended(data, tmp_path / "out", FIXED)
    for _ in range(3):
        next(work)
    assert len(os.listdir(tmp_path)) == 2
    work.close()
    data.close()
    assert os.listdir(tmp_path) == ["in"]


KILLED = """
import os, signal, sys
from pathlib import Path
from core.data.dataset import open_data
from core.data.mended_file import write_mended
from core.data.steps import result
data = result(open_data(Path(sys.argv[1])))
for number, _ in enumerate(write_mended(data, Path(sys.argv[2]), {"blank_around_answer"})):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_no_half_file_under_the_name(tmp_path: Path) -> None:
    text = as_lines([chat(("user", f"u{n}"), ("assistant", "a ")) for n in range(3000)])
    (tmp_path / "in").write_text(text)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "in"), str(tmp_path / "out")]
    ended = subprocess.run(command, cwd=Path(__file__).parents[3], timeout=30)
    assert ended.returncode == -signal.SIGKILL and (tmp_path / "in").read_text() == text
    assert not (tmp_path / "out").exists() and len(os.listdir(tmp_path)) == 2
    assert mend(tmp_path / "in", tmp_path / "out").kept == 3000
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
    data = result(open_data(tmp_path / "out"))
    assert result(check(data)).counts == ()
    data.close()
