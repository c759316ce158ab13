"""`finetune check` as scripts and terminals use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli.entry import run
from core import paths
from core.translation import say
from tests.helpers import shelf_models
from tests.helpers.tiny_models import write_tokenizer
from tests.helpers.training_data import MESSAGES, as_lines, chat


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "en")


def test_json_tells_all_and_mends(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelf_models.put(paths.models(), "tiny")
    write_tokenizer(paths.models() / "tiny")
    file, out = tmp_path / "d.jsonl", tmp_path / "new.jsonl"
    file.write_text(as_lines([*MESSAGES, 3, MESSAGES[0]]))
    options = ["-m", "tiny", "--length", "8", "--eval-data", str(file), "--mend", str(out), "--json"]
    assert run(["finetune", "check", str(file), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"not_an_object": 1, "duplicate": 1} and told["usable_rows"] == 4
    assert [(one["line"], one["sentence"]) for one in told["problems"]][1] == (5, say("data.duplicate", first=1))
    assert told["lengths"]["cut_rows"] == 4 and told["leaks"]["questions"] == 4
    assert told["mended"] == {"file": str(out), "kept": 3, "changed": 0} and out.read_text() == as_lines(MESSAGES)


def test_people_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text(as_lines([*MESSAGES, 3]))
    assert run(["finetune", "check", str(file), "--validation", "0.5"]) == 0
    said = capsys.readouterr().out
    assert say("finetune.rows", rows=4, usable=3, duplicates=0) in said and say("data.not_an_object") in said
    file.write_text(as_lines([3, 4]))
    assert run(["finetune", "check", str(file)]) == 1
    assert say("error.data_nothing_usable", file=str(file), count=2) in capsys.readouterr().err


def test_columns_are_asked_for_and_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "d.csv"
    file.write_text("left,right\nq,a\n")
    assert run(["finetune", "check", str(file)]) == 1
    assert "left, right" in capsys.readouterr().err
    columns = ["--column", "question=left", "--column", "answer=right"]
    assert run(["finetune", "check", str(file), *columns]) == 0
    for wrong in (["--column", "nonsense=left"], ["--column", "question=left"], ["--column", "question"]):
        assert run(["finetune", "check", str(file), *wrong]) == 2
    assert run(["finetune", "check", str(tmp_path / "none")]) == 1


def test_what_is_mended_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text(as_lines([chat(("user", "u"), ("assistant", "a ")), chat(("user", "u"), ("assistant", ""))]))
    call = ["finetune", "check", str(file), "--mend"]
    assert run([*call, str(tmp_path / "a"), "--fix", "blank_around_answer"]) == 0
    assert len((tmp_path / "a").read_text().splitlines()) == 2
    assert run([*call, str(tmp_path / "b"), "--drop", "blank_around_answer"]) == 0
    assert (tmp_path / "b").read_text() == as_lines([chat(("user", "u"), ("assistant", ""))])
    assert run([*call, str(tmp_path / "c"), "--fix", "nonsense"]) == 2
    assert "blank_around_answer" in capsys.readouterr().err
    assert run(["finetune", "check", str(file), "--drop", "empty_answer"]) == 2 and "--mend" in capsys.readouterr().err
    assert run([*call, str(file)]) == 1 and str(file) in capsys.readouterr().err


def test_the_copy_is_what_its_ending_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, array = tmp_path / "d.csv", tmp_path / "d.json"
    table.write_text('question,answer\n"q, and more", a \nq2,a2\n')
    array.write_text('[{"question": "q",\n "answer": "a"},\n {"question": "r",\n "answer": "b"}]')
    assert run(["finetune", "check", str(table), "--mend", str(tmp_path / "t.jsonl")]) == 0
    assert (tmp_path / "t.jsonl").read_text() == (
        '{"question":"q, and more","answer":"a"}\n{"question":"q2","answer":"a2"}\n')  # fmt: skip
    assert run(["finetune", "check", str(array), "--mend", str(tmp_path / "a.jsonl")]) == 0
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["answer"] for line in lines] == ["a", "b"]
    for ending in (".csv", ".parquet"):
        assert run(["finetune", "check", str(array), "--mend", str(tmp_path / f"x{ending}")]) == 1
        assert f"cannot be a {ending} file" in capsys.readouterr().err


def test_what_is_said_of_many_rows_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text(as_lines([*MESSAGES, *[3] * 9]))
    assert run(["finetune", "check", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.count(say("data.not_an_object")) == 1 and "lines 4, 5, 6, 7, 8 and 4 more:" in said
    assert "Not a record: 9 rows (not_an_object)" in said
    (tmp_path / "cut.json").write_text(json.dumps([MESSAGES[0], 3, MESSAGES[1]])[:-9])
    assert run(["finetune", "check", str(tmp_path / "cut.json")]) == 0
    said = capsys.readouterr().out
    assert "row 2, line 1:" in said and "row 3, line 1:" in said and "Broken JSON: 1 row (" in said
    (tmp_path / "guess.csv").write_bytes("question,answer\nOù ?,Là\n".encode("latin-1"))
    assert run(["finetune", "check", str(tmp_path / "guess.csv"), "--column", "question=frag", "--column",
                "answer=answer"]) == 1  # fmt: skip
    assert "has no column frag; it has question, answer." in capsys.readouterr().err
    assert run(["finetune", "check", str(tmp_path / "guess.csv")]) == 0
    assert "cp1252 is a guess" in capsys.readouterr().out
