"""A file of questions, and the file of their answers, which grows as they come.

Invariant: an answer that was written stays, whatever ends the program: each is one line, put on disk at once, and the
next start goes on with the questions that have none. Whole, the file is in the order of the questions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from filelock import FileLock, Timeout

from core.chat.turns import Role, Turn
from core.errors import UserError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """given: what of its line is repeated beside the answer."""

    turns: tuple[Turn, ...]
    given: Json


def read_questions(file: Path, system: str = "") -> list[Question]:
    """JSON lines, {"prompt": ...} or {"messages": [{"role": ..., "content": ...}, ...]}, with an "id" if wanted, or
    plain text with one question a line; empty lines do not count. `system` is for those without a system message.

    Raises:
        UserError: batch_unreadable, batch_no_text, batch_line_unreadable, batch_empty.
    """
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise UserError("batch_unreadable", file=str(file), reason=error.strerror or str(error)) from error
    except UnicodeDecodeError:
        raise UserError("batch_no_text", file=str(file)) from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UserError("batch_empty", file=str(file))
    is_json = lines[0][1].lstrip().startswith("{")
    found = []
    for number, line in lines:
        question = _from_json(line) if is_json else _from_prompt(line.rstrip("\r"))
        if question is None:
            raise UserError("batch_line_unreadable", file=str(file), line=number)
        found.append(_with_system(question, system))
    return found


def _from_prompt(prompt: str) -> Question:
    return Question((Turn("user", prompt),), {"prompt": prompt})


def _from_json(line: str) -> Question | None:
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()  # halves of characters, which no model can be given
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    id = {"id": row["id"]} if "id" in row else {}
    if isinstance(prompt := row.get("prompt"), str) and prompt:
        return Question((Turn("user", prompt),), {**id, "prompt": prompt})
    turns = [_turn(message) for message in row["messages"]] if isinstance(row.get("messages"), list) else []
    whole = tuple(turn for turn in turns if turn is not None)
    if not whole or len(whole) < len(turns) or whole[-1].role != "user":
        return None
    return Question(whole, {**id, "messages": row["messages"]})


def _turn(message: object) -> Turn | None:
    if not isinstance(message, dict):
        return None
    content = message.get("content")
    role: Role | None = next((role for role in get_args(Role) if role == message.get("role")), None)
    return Turn(role, content) if role and isinstance(content, str) else None


def _with_system(question: Question, system: str) -> Question:
    if not system or question.turns[0].role == "system":
        return question
    return Question((Turn("system", system), *question.turns), question.given)


class AnswerFile:
    """
    with AnswerFile(...) as answers: ask what is missing, `write` what comes. Nobody else writes the file meanwhile.
    """

    def __init__(
        self, file: Path, questions: Sequence[Question], made_with: Json, settings: Json | None = None
    ) -> None:
        """made_with: what is the same for all answers, such as the model; answers of another make are refused.
        settings: the same; answers that tell none, as those of earlier versions, are taken as they are.

        Raises:
            UserError: when entered: batch_out_nowhere, batch_out_unusable, batch_out_busy, batch_out_differs,
                batch_out_settings.
        """
        self._file, self._questions, self._made_with, self._settings = file, questions, made_with, settings
        self._rows: dict[int, Json] = {}
        self._lock = FileLock(file.with_name(file.name + ".lock"), timeout=0)

    def __enter__(self) -> Self:
        if not self._file.parent.is_dir():  # the lock would make it
            raise UserError("batch_out_nowhere", folder=str(self._file.parent))
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError("batch_out_busy", file=str(self._file)) from None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._read()
            self._stream = self._file.open("ab")
        except OSError as error:
            self._release()
            raise self._unusable(error) from error
        except UserError:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._sort()
        self._release()

    @property
    def missing(self) -> list[int]:
        """Places of the questions without an answer. Those that failed count as such."""
        return [place for place in range(len(self._questions)) if "error" in self._rows.get(place, {"error": ""})]

    @property
    def failed(self) -> list[int]:
        return [place for place, row in self._rows.items() if "error" in row]

    def write(self, place: int, answer: Json) -> None:
        """Add the answer to the question at `place`; it is on disk when this returns.

        Raises:
            OSError
        """
        told = {"settings": self._settings} if self._settings else {}
        row = {"index": place, **self._questions[place].given, **self._made_with, **answer, **told}
        self._stream.write(_line(row))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._rows[place] = row

    def _read(self) -> None:
        if not self._file.exists():
            return
        data = self._file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]  # a kill may have cut the last line
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            self._keep(line, number)
        if len(whole) < len(data):
            os.truncate(self._file, len(whole))

    def _keep(self, line: bytes, number: int) -> None:
        try:
            row = json.loads(line)
            place = row["index"]
            expected = {"index": place, **self._questions[place].given, **self._made_with}
            is_ours = {key: row.get(key) for key in expected} == expected and isinstance(place, int) and place >= 0
        except (ValueError, KeyError, TypeError, IndexError):
            is_ours = False
        if not is_ours:
            raise UserError("batch_out_differs", file=str(self._file), line=number)
        self._need_settings(row, number)
        self._rows[place] = row

    def _need_settings(self, row: Json, number: int) -> None:
        told, own = row.get("settings"), self._settings
        if isinstance(told, dict) and own is not None and told != own:
            other = ", ".join(sorted(key for key in {*told, *own} if told.get(key) != own.get(key)))
            raise UserError("batch_out_settings", file=str(self._file), line=number, settings=other)

    def _sort(self) -> None:
        """In the order of the questions, each once. Until this is done the file holds them as they came."""
        part = self._file.with_name(self._file.name + ".part")
        with part.open("wb") as stream:
            stream.writelines(_line(self._rows[place]) for place in sorted(self._rows))
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(self._file)

    def _release(self) -> None:
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _unusable(self, error: OSError) -> UserError:
        return UserError("batch_out_unusable", file=str(self._file), reason=error.strerror or str(error))


def _line(row: Json) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
