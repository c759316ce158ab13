"""Files in every usual encoding, and files that are in two at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.dataset import open_data
from core.data.encoding import open_text
from core.data.steps import result
from core.errors import UserError
from tests.core.data.test_check import EXPECTED, examples
from tests.helpers.training_data import MESSAGES, as_lines, report_of

TEXT = as_lines(MESSAGES)


@pytest.mark.parametrize(
    ("encoding", "found"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16-le"), ("utf-16-be", "utf-16-be"),
     ("utf-16-le", "utf-16-le"), ("gbk", "gb18030"), ("gb18030", "gb18030")],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["lines", "array", "table"])
def test_encodings(tmp_path: Path, encoding: str, found: str, shape: str) -> None:
    array = f"[{TEXT.strip().replace(chr(10), ', ' + chr(10))}]"
    table = "question,answer\r\nWhat is a pear?,A fruit.\r\n你好,你好！有什么可以帮您？\r\n"
    table += '"Say it,\nplease","He said ""no""."\r\n'
    text = {"lines": TEXT, "array": array, "table": table}[shape]
    file = tmp_path / "data.json"
    file.write_bytes(text.encode(encoding))
    assert examples(file) == EXPECTED and report_of(file).encoding == found


@pytest.mark.parametrize(("main", "other"), [("utf-8", "gb18030"), ("gb18030", "utf-8")])
def test_a_line_in_another_encoding_is_told(tmp_path: Path, main: str, other: str) -> None:
    lines = [f'{{"question": "问题{n}在这里", "answer": "答案{n}在那里"}}' for n in range(9)]
    encoded = [line.encode(other if n == 4 else main) for n, line in enumerate(lines)]
    encoded[6] = b'{"question": "\xff\xff\x81", "answer": "a"}'
    (tmp_path / "d").write_bytes(b"\n".join(encoded))
    report = report_of(tmp_path / "d")
    assert [(one.code, one.line) for one in report.problems] == [("mixed_encoding", 5), ("undecodable", 7)]
    assert report.problems[0].params == {"encoding": other} and report.usable_rows == 7


def row(question: str, answer: str) -> str:
    return json.dumps({"question": question, "answer": answer}, ensure_ascii=False)


def faults(file: Path) -> tuple[str, list[str]]:
    """The encoding, and the first fault of each row."""
    data = result(open_data(file))
    try:
        codes = [[fault.code for fault in data.read(number).faults] for number in range(len(data.rows))]
        return data.rows.encoding, [found[0] if found else "" for found in codes]
    finally:
        data.close()


def test_utf_8_that_is_cut_or_has_a_bad_spot_stays_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    whole = f"[{', '.join([row('你好吗', '我很好，谢谢')] * 4)}]".encode()
    for cut in range(4, 9):
        file.write_bytes(whole[:-cut])
        encoding, found = faults(file)
        assert encoding == "utf-8" and found[:3] == ["", "", ""] and found[3] in ("broken_json", "damaged_text")
    file.write_bytes(whole.replace("谢".encode(), b"\x81", 1))
    assert faults(file) == ("utf-8", ["damaged_text", "", "", ""])
    lines = [row("你好吗", "我很好"), row("你好吗", "我X很好，谢谢"), row("a", "b")]
    file.write_bytes("\n".join(lines).encode().replace(b"X", b"\xff"))
    assert faults(file) == ("utf-8", ["", "damaged_text", ""])
    report = report_of(file)
    assert report.usable_rows == 2 and "cut off or damaged" in report.problems[0].sentence()


@pytest.mark.parametrize("first", [row("Où est le café ?", "Là"), row("a", "b"), row("你好", "你好")])
def test_a_line_of_latin_1_is_told_as_that(tmp_path: Path, first: str) -> None:
    file = tmp_path / "d.jsonl"
    file.write_bytes(first.encode() + b"\n" + row("Où est le café ?", "Là-bas, près de l'été").encode("latin-1"))
    encoding, found = faults(file)
    if encoding == "utf-8":  # by the first line, which says so
        assert found == ["", "mixed_encoding"] and report_of(file).problems[0].params == {"encoding": "cp1252"}
    else:
        assert first == row("a", "b") and (encoding, found) == ("cp1252", ["", ""])


def test_a_table_of_latin_1_does_not_become_chinese(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes("question,answer\nWas heißt Mädchen?,Grüße aus Köln\n".encode("latin-1"))
    data = result(open_data(tmp_path / "d.csv"))
    assert data.rows.encoding == "cp1252" and data.rows.value(0)["answer"] == "Grüße aus Köln"
    data.close()
    (tmp_path / "d.csv").write_bytes("question,answer\n什麼是機器學習,讓電腦從資料中學習\n".encode("gbk"))
    assert faults(tmp_path / "d.csv") == ("gb18030", [""])


def test_half_a_character_of_utf_16_is_told(tmp_path: Path) -> None:
    lines = [line.encode("utf-16-le") for line in TEXT.splitlines(keepends=True)]
    lines[1] = lines[1][:-4] + b"\x00\xd8" + lines[1][-4:]
    (tmp_path / "d").write_bytes(b"\xff\xfe" + b"".join(lines))
    report = report_of(tmp_path / "d")
    assert [(one.code, one.line) for one in report.problems] == [("undecodable", 2)]


def test_pictures_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(b"\x89PNG\r\n" + bytes(range(128, 256)) * 40)
    with pytest.raises(UserError):
        result(open_data(tmp_path / "d.json"))


def test_long_lines_and_characters_on_the_edge_of_a_piece(tmp_path: Path) -> None:
    long = json.dumps([{"question": "啊" * 999, "answer": "b"}] * 1200, ensure_ascii=False)
    for encoding in ("utf-8", "utf-16", "gb18030"):
        (tmp_path / "d").write_bytes(long.encode(encoding))
        text = result(open_text(tmp_path / "d"))
        assert len(text.data) == len(long.encode()) and not text.odd
        text.close()
        assert report_of(tmp_path / "d").usable_rows == 1200
