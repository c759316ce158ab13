"""Questions are read with care, and answers that were written stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.chat.batch_file import AnswerFile, Question, read_questions
from core.chat.turns import Turn
from core.errors import UserError

MADE_WITH = {"model": "m"}


def questions(count: int) -> list[Question]:
    return [Question((Turn("user", f"q{place}"),), {"prompt": f"q{place}"}) for place in range(count)]


def written(folder: Path, text: str) -> Path:
    (folder / "in").write_text(text, "utf-8")
    return folder / "in"


def test_both_kinds_of_lines_are_read(tmp_path: Path) -> None:
    plain = read_questions(written(tmp_path, "\ufeff one \n\ntwo\r\n"))
    assert [question.turns for question in plain] == [(Turn("user", " one "),), (Turn("user", "two"),)]
    messages = [{"role": "system", "content": "own"}, {"role": "user", "content": "你好"}]
    lines = f'{{"prompt": "p", "other": 1}}\n{json.dumps({"id": 7, "messages": messages})}\n'
    found = read_questions(written(tmp_path, lines), system="S")
    assert found[0] == Question((Turn("system", "S"), Turn("user", "p")), {"prompt": "p"})
    assert found[1] == Question((Turn("system", "own"), Turn("user", "你好")), {"id": 7, "messages": messages})


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", '{"prompt": 3}', '{"prompt": ""}', '{"prompt": "\\ud800"}', '{"messages": []}',
     '{"messages": [{"role": "judge", "content": "x"}]}', '{"messages": [{"role": "user"}]}',
     '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}'],
)  # fmt: skip
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match="Line 2 ") as refused:
        read_questions(written(tmp_path, f'{{"prompt": "fine"}}\n{line}\n'))
    assert refused.value.code == "batch_line_unreadable"


def test_files_without_questions_are_refused(tmp_path: Path) -> None:
    for file, code in ((written(tmp_path, "\n \n"), "batch_empty"), (tmp_path / "none", "batch_unreadable")):
        with pytest.raises(UserError) as refused:
            read_questions(file)
        assert refused.value.code == code and str(refused.value)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.permutations(range(6)), st.integers(0, 6), st.integers(0, 400))
def test_a_kill_at_any_byte_loses_only_what_was_not_whole(
    tmp_path: Path, order: list[int], count: int, cut: int
) -> None:
    out = tmp_path / "out"
    out.unlink(missing_ok=True)
    lines = [json.dumps({"index": place, "prompt": f"q{place}", "model": "m", "text": "t"}) for place in order[:count]]
    data = "".join(line + "\n" for line in lines).encode()[:cut]
    out.write_bytes(data)
    with AnswerFile(out, questions(6), MADE_WITH) as answers:
        assert set(answers.missing) == set(range(6)) - set(order[: data.count(b"\n")])
        for place in answers.missing:
            answers.write(place, {"text": "t"})
        assert answers.missing == []
    assert [json.loads(line)["index"] for line in out.read_text().splitlines()] == list(range(6))


def test_two_commands_do_not_share_a_file(tmp_path: Path) -> None:
    with AnswerFile(tmp_path / "out", questions(1), MADE_WITH):
        with pytest.raises(UserError) as refused, AnswerFile(tmp_path / "out", questions(1), MADE_WITH):
            pass
    assert refused.value.code == "batch_out_busy"


@pytest.mark.parametrize(
    "row",
    ['{"index": 0, "prompt": "q0", "model": "other"}', '{"index": 0, "prompt": "another", "model": "m"}',
     '{"index": 9, "prompt": "q9", "model": "m"}', '{"index": -1, "prompt": "q0", "model": "m"}', "my notes", "[]"],
)  # fmt: skip
def test_another_file_is_not_written_to(tmp_path: Path, row: str) -> None:
    (tmp_path / "out").write_text(row + "\n")
    with pytest.raises(UserError) as refused, AnswerFile(tmp_path / "out", questions(1), MADE_WITH):
        pass
    assert refused.value.code == "batch_out_differs" and (tmp_path / "out").read_text() == row + "\n"
    assert not list(tmp_path.glob("*.lock"))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused, AnswerFile(tmp_path, questions(1), MADE_WITH):
        pass
    assert refused.value.code == "batch_out_unusable" and str(refused.value)
