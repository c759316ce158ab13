"""The real data worker in its own process: reports, rows, mended files, cancels."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.launch import worker_argv
from app.supervisor import WorkerSupervisor
from core.protocol.messages import (
    CheckData,
    DataChecked,
    DataFile,
    DataMended,
    Failed,
    Finished,
    Job,
    JobEvent,
    MendData,
    Progress,
    RowShown,
    ShowRow,
)
from tests.helpers.tiny_models import write_tokenizer
from tests.helpers.training_data import as_lines, chat

pytestmark = pytest.mark.loops("asyncio")


def worker() -> WorkerSupervisor:
    return WorkerSupervisor("data", worker_argv("data"))


async def events_of(process: WorkerSupervisor, job: Job) -> list[JobEvent]:
    return [event async for event in process.run(job)]


async def test_check_look_and_mend(tmp_path: Path) -> None:
    rows = [chat(("user", f"q{n}"), ("assistant", f"The answer {n}")) for n in range(50)]
    file, model = tmp_path / "data.jsonl", tmp_path / "model"
    file.write_text(as_lines([*rows, rows[7], chat(("user", "q"), ("assistant", "a "))]))
    model.mkdir()
    write_tokenizer(model)
    data = DataFile(str(file), model_folder=str(model), length=12)
    process = worker()
    await process.start()

    events = await events_of(process, CheckData("c", data, validation_share=0.2, eval_data=str(file)))
    [report] = [event.report for event in events if isinstance(event, DataChecked)]
    assert {event.unit for event in events if isinstance(event, Progress)} == {"bytes", "rows"}
    assert report.lengths and report.lengths.counted == 52 and 0 < report.lengths.learned < report.lengths.tokens
    assert report.leaks and report.leaks.questions == report.leaks.answers == 52
    assert (report.duplicates, report.validation_rows > 0) == (1, True)

    began = time.perf_counter()
    [shown, end] = [e for e in await events_of(process, ShowRow("s", data, 51)) if not isinstance(e, Progress)]
    assert time.perf_counter() - began < 1.0 and isinstance(end, Finished) and isinstance(shown, RowShown)
    assert [(one.code, one.params) for one in shown.problems] == [("duplicate", {"first": 8})]
    assert len(shown.tokens) == len(shown.learned) == shown.count == sum(1 for _ in shown.tokens)
    assert b"The answer 7" in b"".join(
        t.data for t, learned in zip(shown.tokens, shown.learned, strict=True) if learned
    )
    assert (shown.cut, shown.text) == (shown.count - 12, as_lines([rows[7]]).strip())

    [failed] = await events_of(process, ShowRow("n", data, 53))
    assert isinstance(failed, Failed) and failed.code == "data_no_such_row"
    fix = ("duplicate", "blank_around_answer")
    *_, mended, end = await events_of(process, MendData("m", data, str(tmp_path / "out.jsonl"), fix))
    assert mended == DataMended("m", str(tmp_path / "out.jsonl"), 52, 51, 1) and isinstance(end, Finished)

    file.write_text(as_lines(rows[:3]))  # another file under the same name is read anew
    [failed] = [e for e in await events_of(process, ShowRow("o", data, 4)) if not isinstance(e, Progress)]
    assert isinstance(failed, Failed) and failed.params == {"row": 4, "rows": 3}
    [failed] = await events_of(process, CheckData("x", DataFile(str(tmp_path / "none"))))
    assert isinstance(failed, Failed) and (failed.kind, failed.code) == ("user", "data_missing")
    await process.stop()


LONG = "a" * 300
LINES = [f'{{"question": "q{n}", "answer": "{LONG}"}}' for n in range(60_000)]
ARRAY = "[" + ",\n".join(LINES) + "]"


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [("lines.jsonl", "\n".join(LINES), "utf-8"), ("array.json", ARRAY, "utf-8"), ("wide.json", ARRAY, "utf-16"),
     ("table.csv", "question,answer\n" + "\n".join(f"q{n},{LONG}" for n in range(60_000)), "utf-8")],
    ids=["lines", "array", "wide", "table"],
)  # fmt: skip
async def test_a_cancel_is_obeyed_at_once(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    file, target = tmp_path / name, tmp_path / "out"
    file.write_text(text, encoding)
    process = worker()
    await process.start()
    for job in (CheckData("c", DataFile(str(file))), MendData("m", DataFile(str(file)), str(target), ("duplicate",))):
        asked = 0.0
        async for event in process.run(job):
            if isinstance(event, Progress) and not asked and event.done:
                asked = time.perf_counter()
                process.cancel(job.job_id)
        assert event == Finished(job.job_id, "cancelled") and time.perf_counter() - asked < 0.4
    assert not target.exists() and [one.name for one in tmp_path.iterdir() if one.is_file()] == [name]
    await process.stop()


def test_a_check_needs_no_torch() -> None:
    heavy = ("torch", "transformers", "PySide6", "pyarrow", "tokenizers")
    code = f"import sys, app.workers.data_worker; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).parents[2]
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=root).strip() == "[]"
