"""The split stays when rows come, go or move; files that share questions are told."""

from __future__ import annotations

import random
from pathlib import Path

from core.data.conversation import Example, Message
from core.data.dataset import open_data
from core.data.split import content_key, is_validation, question_key
from core.data.steps import result
from tests.helpers.training_data import as_lines, chat, report_of


def example(question: str, answer: str = "a") -> Example:
    return Example((Message("system", "s"), Message("user", question), Message("assistant", answer)))


def test_the_side_hangs_on_the_question_alone() -> None:
    assert question_key(example("Was  IST das?\n")) == question_key(example("was ist das?", "b"))
    assert content_key(example("q")) != content_key(example("q", "b"))
    sides = [is_validation(question_key(example(f"q{n}")), 0.1) for n in range(5000)]
    assert 430 < sum(sides) < 570
    assert not any(is_validation(question_key(example(f"q{n}")), 0.0) for n in range(500))
    # A release that changed this would train on what was put aside before.
    assert question_key(example("q0")) == 2195274083305894413


def test_the_report_says_how_many(tmp_path: Path) -> None:
    rows = [chat(("user", f"q{n % 300}"), ("assistant", f"a{n}")) for n in range(600)]
    (tmp_path / "a").write_text(as_lines(rows))
    first = report_of(tmp_path / "a", validation_share=0.2)
    random.Random(1).shuffle(rows)
    (tmp_path / "b").write_text(as_lines(rows))
    second = report_of(tmp_path / "b", validation_share=0.2)
    assert first.validation_rows == second.validation_rows > 60
    assert first.train_rows + first.validation_rows == 600 and first.validation_rows % 2 == 0


def test_shared_questions_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(as_lines([chat(("user", f"q{n}"), ("assistant", "a")) for n in range(10)]))
    apart = [chat(("user", "new"), ("assistant", "a")), chat(("user", "Q3 "), ("assistant", "b")),
             chat(("system", "s"), ("user", "q4"), ("assistant", "a")), 3]  # fmt: skip
    (tmp_path / "b").write_text(as_lines(apart))
    other = result(open_data(tmp_path / "b"))
    leaks = report_of(tmp_path / "a", eval_data=other).leaks
    other.close()
    assert leaks and (leaks.rows_checked, leaks.questions, leaks.answers, leaks.rows) == (4, 2, 1, (2, 3))
