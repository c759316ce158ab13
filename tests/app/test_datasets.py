"""The service of training data: a real worker, the real store."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from app.services.datasets import DatasetService
from core import store
from core.errors import UserError
from core.protocol.messages import DataChecked, DataFile, DataMended
from core.store.store import Store
from tests.helpers.training_data import MESSAGES, as_lines, report_of
from tests.helpers.waiting import is_dead, until

if TYPE_CHECKING:
    from core.store.store import Session


async def test_check_row_mend_and_a_worker_that_died(tmp_path: Path) -> None:
    (tmp_path / "data").write_text(as_lines([*MESSAGES, MESSAGES[0]]))
    data = DataFile(str(tmp_path / "data"))
    service = DatasetService()
    [report] = [e.report async for e in service.check(data, validation_share=0.5) if isinstance(e, DataChecked)]
    assert (report.rows, report.duplicates) == (4, 1)
    assert [one.code for one in (await service.row(data, 4)).problems] == ["duplicate"]
    [child] = psutil.Process().children()
    os.kill(child.pid, signal.SIGKILL)
    await until(lambda: is_dead(child.pid))
    with pytest.raises(UserError):
        await service.row(data, 9)
    assert (await service.row(data, 1)).line == 1
    target = tmp_path / "out"
    mended = [e async for e in service.mend(data, target, ["duplicate"]) if isinstance(e, DataMended)]
    assert (mended[0].kept, report_of(target).duplicates) == (3, 0)
    await service.close()
    await service.close()


async def test_chats_become_training_data(tmp_path: Path) -> None:
    the_store = Store(tmp_path / "db", tmp_path / "backups")

    def chats(s: Session) -> list[int]:
        first = store.conversations.create(s, system_prompt="Be kind.").id
        asked = store.messages.append(s, first, "user", "q", parent_id=None)
        store.messages.append(s, first, "assistant", "not in view", parent_id=asked.id)
        answered = store.messages.append(s, first, "assistant", " a\n", parent_id=asked.id, thinking="hm")
        store.messages.append(s, first, "user", "and nobody answered", parent_id=answered.id)
        second = store.conversations.create(s).id
        store.messages.append(s, second, "user", "q", parent_id=None)
        return [first, second]

    ids = await the_store.call(chats)
    service = DatasetService(the_store)
    assert await service.chats_as_data(ids, tmp_path / "chats.jsonl") == 1
    assert [json.loads(line) for line in (tmp_path / "chats.jsonl").read_text().splitlines()] == [
        {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "q"},
                      {"role": "assistant", "content": "a", "reasoning_content": "hm"}]}
    ]  # fmt: skip
    assert report_of(tmp_path / "chats.jsonl").counts == ()
    for chosen, target, code in (
        (ids, tmp_path / "chats.jsonl", "data_target_exists"), (ids[1:], tmp_path / "new", "chats_hold_no_answer"),
        ([99], tmp_path / "new", "conversation_gone"),
    ):  # fmt: skip
        with pytest.raises(UserError) as refused:
            await service.chats_as_data(chosen, target)
        assert refused.value.code == code and str(refused.value)
    await service.close()
    await the_store.close()
