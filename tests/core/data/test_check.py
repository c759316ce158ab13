"""Every format read as the same conversations, planted faults found where they are, tokens counted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from core.data import json_items, lengths
from core.data.check import PROBLEMS_MOST
from core.data.conversation import Example, Message, ToolCall
from core.data.dataset import open_data
from core.data.problems import KINDS, Problem
from core.data.shape import Columns
from core.data.steps import result
from core.errors import UserError
from tests.helpers.training_data import FORMATS, PAIRS, LetterRenderer, as_lines, chat, report_of

EXPECTED = [Example((Message("user", question), Message("assistant", answer))) for question, answer in PAIRS]


def examples(path: Path, columns: Columns = Columns()) -> list[Example | None]:
    data = result(open_data(path, columns))
    found = [data.read(row).example for row in range(len(data.rows))]
    assert [example for _, example in data.usable()] == [example for example in found if example]
    data.close()
    return found


def written(folder: Path, text: str, name: str = "data.jsonl", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_says_the_same(tmp_path: Path, format: str) -> None:
    rows = FORMATS[format]
    for number, text in enumerate((as_lines(rows), json.dumps(rows), json.dumps(rows, indent=2, ensure_ascii=False))):
        file = written(tmp_path, text, f"{number}.json")
        assert examples(file) == EXPECTED
        report = report_of(file)
        assert (report.format, report.usable_rows, report.problems) == (format, 3, ())
        assert report.kind == ("jsonl" if number == 0 else "json")


def test_lines_of_items_in_an_array(tmp_path: Path) -> None:
    text = json.dumps(FORMATS["qwen"], indent=2)
    data = result(open_data(written(tmp_path, text, "a.json")))
    lines = [data.rows.line(row) for row in range(3)]
    data.close()
    assert lines == [number for number, line in enumerate(text.split("\n"), 1) if line == "  {"]
    data = result(open_data(written(tmp_path, text.replace("\n    ]\n  },", "]},\n\n"), "b.json")))
    assert [data.read(row).example for row in range(3)] == EXPECTED
    data.close()


def test_tables(tmp_path: Path) -> None:
    import csv
    import io

    for delimiter, header in ((",", "question,answer"), ("\t", "prompt\tcompletion"), (";", "instruction;output")):
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter).writerows(PAIRS)
        file = written(tmp_path, header + "\r\n" + out.getvalue(), "t.csv", "utf-8-sig")
        assert examples(file) == EXPECTED
    data = result(open_data(file))
    assert [data.rows.line(row) for row in range(3)] == [2, 3, 4]
    data.close()
    cells = io.StringIO()
    csv.writer(cells).writerows(
        [("id", "messages"), *((n, json.dumps(r["messages"])) for n, r in enumerate(FORMATS["messages"]))]
    )
    assert examples(written(tmp_path, cells.getvalue(), "m.csv")) == EXPECTED


def test_columns_nobody_knows_are_asked_for(tmp_path: Path) -> None:
    file = written(tmp_path, "left,right\n" + "".join(f'"{q}","{a}"\n' for q, a in PAIRS[:2]), "t.csv")
    report = report_of(file)
    assert (report.format, report.names, report.columns.is_enough) == ("unknown", ("left", "right"), False)
    assert examples(file, Columns(question="left", answer="right")) == EXPECTED[:2]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(FORMATS["messages"]), tmp_path / "m.parquet")
    assert examples(tmp_path / "m.parquet") == EXPECTED
    many = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(3000)]
    parquet.write_table(pyarrow.Table.from_pylist(many), tmp_path / "p.parquet", row_group_size=700)
    data = result(open_data(tmp_path / "p.parquet"))
    for row in (2999, 0, 1500, 699, 700, 701, 1):
        assert data.rows.value(row) == many[row]
    assert report_of(tmp_path / "p.parquet").usable_rows == 3000
    (tmp_path / "b.parquet").write_bytes((tmp_path / "p.parquet").read_bytes()[:500])
    with pytest.raises(UserError) as refused:
        open_it = open_data(tmp_path / "b.parquet")
        result(open_it)
    assert refused.value.code == "data_parquet_unreadable"


def test_tools_thinking_and_systems(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    call = {"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    rows: list[dict[str, Any]] = [
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": [{"type": "text", "text": "u"}]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "name": "f", "content": "2"},
                {"role": "assistant", "content": "<think>\nhm\n</think>\n\ntwo"},
            ],
            "tools": [tool],
        }
    ]
    shown = {
        "system": "S", "tools": json.dumps([tool]),
        "conversations": [
            {"from": "human", "value": "u"}, {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
            {"from": "observation", "value": "2"}, {"from": "gpt", "value": "two"},
        ],
    }  # fmt: skip
    expected = Example(
        (Message("system", "S"), Message("user", "u"), Message("assistant", "", calls=(ToolCall("f", {"x": 1}),)),
         Message("tool", "2", name="f"), Message("assistant", "two", "hm")), (tool,),
    )  # fmt: skip
    assert examples(written(tmp_path, as_lines(rows))) == [expected]
    [found] = examples(written(tmp_path, as_lines([shown])))
    assert found and [(m.role, m.text, m.calls) for m in found.messages] == [
        (m.role, m.text, m.calls) for m in expected.messages
    ]
    alpaca = {"instruction": "I", "input": "more", "output": "O", "system": "S", "history": [["q", "a"]]}
    [found] = examples(written(tmp_path, as_lines([alpaca])))
    assert found and [m.text for m in found.messages] == ["S", "q", "a", "I\nmore", "O"]


U, A, GOOD = ("user", "u"), ("assistant", "a"), [("user", "q{n}"), ("assistant", "a{n}")]
PLANTED: list[tuple[str, Any]] = [
    ("not_an_object", 3), ("no_conversation", {"messages": []}), ("no_conversation", {"other": 1}),
    ("not_text", {"messages": [3]}), ("not_text", chat(("user", {"x": 1}), A)), ("not_text", {"messages": "no"}),
    ("unknown_role", chat(("judge", "x"), A)), ("unknown_role", {"messages": [{"content": "x"}]}),
    ("tool_call_unreadable", {"messages": [{"role": "user", "content": "u"},
                              {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}),
    ("tool_out_of_place", chat(U, ("tool", "2"), A)), ("system_out_of_place", chat(U, A, ("system", "s"), U, A)),
    ("starts_with_assistant", chat(A, ("user", "u1"), A)), ("roles_repeat", chat(("user", "u2"), U, A)),
    ("no_answer", chat(U)), ("empty_question", chat(("user", " "), A)), ("empty_answer", chat(U, ("assistant", ""))),
    ("odd_role", chat(("Human", "u3"), A)), ("ends_with_question", chat(("user", "u4"), A, U)),
    ("blank_around_answer", chat(("user", "u5"), ("assistant", "a\n"))),
    ("control_text", chat(("user", "u6 <|im_start|>"), A)), ("duplicate", chat(("user", "q1"), ("assistant", "a1"))),
]  # fmt: skip


def test_planted_faults_are_found_at_their_lines(tmp_path: Path) -> None:
    good = [chat(*((role, text.format(n=n)) for role, text in GOOD)) for n in range(len(PLANTED) + 2)]
    lines = []
    for number, (_, bad) in enumerate(PLANTED):
        lines += [json.dumps(good[number + 1]), json.dumps(bad)]
    lines += ["", '{"messages": [', json.dumps(good[0])]
    report = report_of(written(tmp_path, "\n".join(lines)))
    expected = [(code, 2 * place) for place, (code, _) in enumerate(PLANTED, 1)]
    expected.append(("broken_json", 2 * len(PLANTED) + 2))
    assert [(one.code, one.line) for one in report.problems] == expected
    assert [one.row for one in report.problems[-1:]] == [2 * len(PLANTED) + 1]
    assert {one.severity for one in report.problems if one.code in ("odd_role", "duplicate")} == {"warning"}
    usable = sum(KINDS[code].severity == "warning" for code, _ in PLANTED)
    assert report.usable_rows == len(PLANTED) + 1 + usable and report.rows == 2 * len(PLANTED) + 2
    assert all(one.sentence() for one in report.problems)


def test_every_kind_has_its_sentence() -> None:
    class AnyParam(dict[str, str]):
        def __missing__(self, key: str) -> str:
            return "x"

    from core.translation import LANGUAGES, catalogue

    for language in LANGUAGES:
        for code in KINDS:
            assert catalogue(language)[f"data.{code}"].format_map(AnyParam())


def test_a_broken_item_does_not_hide_the_others(tmp_path: Path) -> None:
    text = json.dumps(FORMATS["messages"], indent=2, ensure_ascii=False)
    broken = text.replace('"content": "你好"', '"content": "你"好"')
    report = report_of(written(tmp_path, broken, "a.json"))
    start = [number for number, line in enumerate(text.split("\n"), 1) if line == "  {"][1]
    assert [(one.code, one.line, one.row) for one in report.problems] == [("broken_json", start, 2)]
    assert report.usable_rows == 2
    report = report_of(written(tmp_path, text[:-30], "a.json"))
    assert (report.usable_rows, [one.row for one in report.problems]) == (2, [3])


def test_a_quote_without_an_end_costs_one_row(tmp_path: Path) -> None:
    lines = ["question,answer", *(f"q{n},a{n}" for n in range(50))]
    lines[10] = 'q9,"a9'
    report = report_of(written(tmp_path, "\n".join(lines), "t.csv"))
    assert (report.rows, report.usable_rows) == (50, 49)
    assert [(one.code, one.line) for one in report.problems] == [("broken_csv", 11)]
    report = report_of(written(tmp_path, "question,answer\na,b\na,b,c\n", "t.csv"))
    assert [(one.code, one.line) for one in report.problems] == [("columns_differ", 3)]


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [("", "a.json", "data_empty"), ("\n \n", "a.json", "data_empty"), ("[]", "a.json", "data_empty"),
     ("just words", "a.txt", "data_format_unknown"), ("question,answer\n", "a.csv", "data_empty"),
     ("\x00\x01\x02" * 50, "a.bin", "data_format_unknown")],
)  # fmt: skip
def test_what_is_no_training_data_is_refused(tmp_path: Path, content: str, name: str, code: str) -> None:
    with pytest.raises(UserError) as refused:
        report_of(written(tmp_path, content, name))
    assert refused.value.code == code and str(refused.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path, code in (
        (tmp_path / "none", "data_missing"),
        (tmp_path, "data_not_a_file"),
        (Path("a\0b"), "data_unreadable"),
    ):
        with pytest.raises(UserError) as refused:
            report_of(path)
        assert refused.value.code == code and str(refused.value)


def test_twenty_thousand_rows_take_seconds(tmp_path: Path) -> None:
    file = written(
        tmp_path, as_lines([chat(("user", f"q {n}" * 20), ("assistant", f"a {n}" * 60)) for n in range(20_000)])
    )
    start = time.perf_counter()
    report = report_of(file)
    assert report.usable_rows == 20_000 and time.perf_counter() - start < 5


def test_problems_are_counted_past_the_ones_kept(tmp_path: Path) -> None:
    report = report_of(written(tmp_path, "{\n" * 1200))
    assert len(report.problems) == PROBLEMS_MOST and dict(report.counts) == {"broken_json": 1200}
    assert [one.line for one in report.problems] == list(range(1, PROBLEMS_MOST + 1))


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [chat(("user", "u" * n), ("assistant", "a" * n)) for n in range(1, 101)]
    file = written(tmp_path, as_lines([*rows, 3]))
    found = report_of(file, renderer=LetterRenderer(), length=100).lengths
    assert found and (found.counted, found.tokens, found.learned) == (100, 10_100, 5050)
    assert (found.longest, found.longest_row, sum(found.histogram), found.histogram[0]) == (200, 100, 100, 32)
    lost = sum(min(n, 2 * n - 100) for n in range(51, 101))
    assert (found.cut_rows, found.lost_rows, found.cut_learned) == (50, 1, lost / 5050)
    monkeypatch.setattr(lengths, "EXACT_ROWS", 10)
    monkeypatch.setattr(lengths.sample, "__defaults__", (10,))
    found = report_of(file, renderer=LetterRenderer()).lengths
    assert found and found.counted == 10 and abs(found.tokens - 10_100) < 1500


def test_rows_the_template_refuses_are_problems(tmp_path: Path) -> None:
    class Picky(LetterRenderer):
        def render(self, example: Example) -> Any:
            if "u2" in example.messages[0].text:
                raise UserError("nothing_asked")
            return super().render(example)

    rows = [chat(("user", f"u{n}"), ("assistant", "a ")) for n in range(4)]
    report = report_of(written(tmp_path, as_lines(rows)), renderer=Picky())
    assert report.usable_rows == 3 and dict(report.counts)["nothing_asked"] == 1
    assert [one.row for one in report.problems] == [1, 2, 3, 3, 4]
    assert isinstance(report.problems[3], Problem) and report.problems[3].sentence()


@pytest.mark.parametrize("window", [100, 300])
def test_the_size_of_the_window_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    text = json.dumps([*FORMATS["messages"], 3, "x", {"messages": [{"a": "你" * 50}]}], indent=2, ensure_ascii=False)
    for broken in (text, text.replace('"你好"', '"你"好"'), text[:-9], text.replace("},\n  {", "}\n{"), text + "x"):
        spans = list(json_items.items(broken.encode(), is_array=True))
        monkeypatch.setattr(json_items, "WINDOW", window)
        assert [(s[:3], bool(s[3])) for s in json_items.items(broken.encode(), is_array=True)] == [
            (s[:3], bool(s[3])) for s in spans
        ]
        monkeypatch.undo()
