"""The profiling service over real processes: however a cell ends the table goes on, and what was measured stays."""

from __future__ import annotations

import asyncio
import csv
import io
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from app.services import free_memory
from app.services.library import LibraryService
from app.services.profiling import ProfilingService, ProfilingState
from app.services.profiling_news import CellBegan, CellEnded, CellMoved, News, Probed, TableBegan, TableEnded
from app.services.profiling_table import Table
from core import hardware, paths, store, translation
from core.errors import UserError
from core.profiling import comparing, export, learning, shapes
from core.profiling.plan import Case, ProfilePlan
from core.profiling.result import Estimate
from core.store.store import Store
from tests.helpers.fake_profile_worker import ARGV, HANGS, MARKS, SAMPLES
from tests.helpers.refusals import refused

pytestmark = pytest.mark.loops("asyncio")

TINY = shapes.named("tiny")
PLAN = ProfilePlan((TINY,), ("bfloat16", "float32"), cases=(Case(4, 4),))


@asynccontextmanager
async def service(home: Path) -> AsyncIterator[ProfilingService]:
    database, library = Store(paths.database()), LibraryService(home / "models")
    made = ProfilingService(database, library, argv=ARGV)
    try:
        yield made
    finally:
        await made.close()
        await library.close()
        await database.close()


async def measured(profiler: ProfilingService, plan: ProfilePlan) -> list[News]:
    return [one async for one in profiler.start(plan)]


def results(news: list[News]) -> dict[str, str]:
    return {one.result.cell.weights: one.result.state for one in news if isinstance(one, CellEnded)}


async def until(profiler: ProfilingService, holds: Callable[[ProfilingState], bool]) -> None:
    changed = asyncio.Event()
    stop = profiler.changed.listen(lambda state: changed.set() if holds(state) else None)
    if not holds(profiler.state):
        await asyncio.wait_for(changed.wait(), 30)
    stop()


async def test_a_table_is_measured_told_of_and_kept(home: Path) -> None:
    async with service(home) as profiler:
        heard: list[News] = []
        profiler.news.listen(heard.append)
        news = await measured(profiler, PLAN)
        assert heard == news
        kinds = [type(one) for one in news]
        assert (kinds[0], kinds[-1]) == (TableBegan, TableEnded) and kinds.count(CellEnded) == 2
        assert Probed in kinds and CellBegan in kinds and CellMoved in kinds
        assert profiler.state.run is None
        (run,) = await profiler.runs()
        assert (run.state, run.cells, run.measured, run.name) == ("done", 2, 2, "tiny: BF16, FP32, 4 + 4")
        _, found = await profiler.run(run.id)
        first = found[0]
        assert first.inference is not None and first.inference.decode_tokens_per_s == 50
        assert first.command == (
            "qwen-workbench profile --architecture tiny --weights bfloat16 --kv auto --prompt 4 --new 4 --batch 1"
            " --repeats 3"
        )
        assert first.machine is not None and first.versions["torch"] and first.estimate is not None
        assert first.bandwidth_share is not None and 0 < first.bandwidth_share < 1
        assert first.timeline.samples == ()
        assert (await profiler.timeline(run.id, first.cell.key)).samples == SAMPLES
        assert profiler.known_probe() is not None
        again = await measured(profiler, PLAN)
        assert Probed not in [type(one) for one in again], "the machine is measured once"


async def test_a_crash_and_a_full_memory_are_results_and_the_table_goes_on(home: Path) -> None:
    plan = msgspec.structs.replace(PLAN, weights=("int8", "int4", "float16", "bfloat16"))
    async with service(home) as profiler:
        news = await measured(profiler, plan)
        assert results(news) == {
            "int8": "failed", "int4": "out_of_memory", "float16": "failed", "bfloat16": "done"
        }  # fmt: skip
        run, found = await profiler.run(1)
        assert (run.state, run.measured, run.lost) == ("done", 1, 3)
        assert [result.code for result in found] == ["worker_crashed", "out_of_memory", "profile_killed", ""]
        assert found[0].memory[-1].phase == "decode" and found[0].peak_bytes == 400
        assert found[2].estimate is not None and found[2].estimate_error is None, "of a whole cell only"
        assert (await profiler.timeline(1, found[0].cell.key)).marks == MARKS
        table = await profiler.export(1, "markdown")
        assert "There was not enough memory" in table and "crashed" in table
        rows = list(csv.DictReader(io.StringIO(await profiler.export(1, "csv", home / "table.csv"))))
        assert [row["state"] for row in rows] == ["failed", "out_of_memory", "failed", "done"]
        assert (home / "table.csv").read_text() == await profiler.export(1, "csv")


async def test_a_kill_means_that_memory_ran_out_only_where_little_was_free(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = hardware.system_memory()
    plan = msgspec.structs.replace(PLAN, weights=("float16",))
    async with service(home) as profiler:
        await measured(profiler, plan)
        _, (killed,) = await profiler.run(1)
        assert (killed.state, killed.code) == ("failed", "profile_killed")
        translation.use("zh")
        assert "测量进程" in export.why(killed) and "process" not in export.why(killed), "in the language of now"
        translation.use("en")
        assert "The measuring process was ended from outside" in export.why(killed)
        short = hardware.Memory(there.total, int(0.97 * there.total))
        monkeypatch.setattr(free_memory.hardware, "system_memory", lambda: short)
        monkeypatch.setattr(Table, "_foreseen", fits)
        await measured(profiler, msgspec.structs.replace(plan, weights=("float16", "nf4")))
        _, (killed, ended) = await profiler.run(2)
        assert (killed.state, killed.code) == ("out_of_memory", "worker_killed")
        assert (ended.state, ended.code) == ("out_of_memory", "out_of_memory"), "it saw that itself"


async def fits(*_: object) -> tuple[Estimate, None]:
    return Estimate(1, 1), None


async def test_a_cancelled_table_keeps_what_it_has_and_is_gone_on_with(home: Path) -> None:
    plan = msgspec.structs.replace(PLAN, weights=("bfloat16",), cases=(Case(4, 4), Case(4, HANGS), Case(4, 8)))
    async with service(home) as profiler:
        news: list[News] = []
        async with aclosing(profiler.start(plan)) as events:
            async for one in events:
                news.append(one)
                if isinstance(one, CellMoved) and one.index == 1:
                    with pytest.raises(UserError) as busy:
                        await measured(profiler, PLAN)
                    assert busy.value.code == "profile_busy"
                    profiler.cancel()
        assert isinstance(news[-1], TableEnded) and news[-1].state == "cancelled"
        run, _ = await profiler.run(1)
        assert (run.state, run.measured) == ("cancelled", 1)
        again: list[News] = []
        async for one in profiler.resume(1):
            again.append(one)
            if isinstance(one, CellMoved) and one.index == 1:
                profiler.skip()
        began = again[0]
        assert isinstance(began, TableBegan) and len(began.results) == 1
        ended = {one.result.cell.case: one.result.state for one in again if isinstance(one, CellEnded)}
        assert ended == {Case(4, HANGS): "not_run", Case(4, 8): "done"}
        run, found = await profiler.run(1)
        assert run.state == "done" and found[1].code == "profile_skipped"
        with pytest.raises(UserError) as done:
            await anext(profiler.resume(1))
        assert done.value.code == "profile_done"
        assert await profiler.expect(await profiler.foresee(plan)) is not None
        deleted = await profiler.delete(1)
        assert await profiler.runs() == [] and await profiler.expect(await profiler.foresee(plan)) is None
        await profiler.restore(deleted)
        assert (await profiler.run(1))[1] == found and (await profiler.timeline(1, found[0].cell.key)).samples
        assert comparing.compared(found, found)[0].ratio == 1
        await profiler.delete(1)
        with pytest.raises(UserError) as gone:
            await profiler.run(1)
        assert gone.value.code == "profile_gone"


async def test_leaving_the_events_cancels_the_table(home: Path) -> None:
    plan = msgspec.structs.replace(PLAN, cases=(Case(4, HANGS),))
    async with service(home) as profiler:
        async with aclosing(profiler.start(plan)) as events:
            async for one in events:
                if isinstance(one, CellMoved):
                    break
        await until(profiler, lambda state: state.run is None)
        assert (await profiler.run(1))[0].state == "cancelled"


async def test_a_full_disk_ends_the_table_with_a_sentence_and_another_can_be_begun(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise UserError("store_disk_full", file="x")

    async with service(home) as profiler:
        heard: list[News] = []
        profiler.news.listen(heard.append)
        with monkeypatch.context() as disk:
            disk.setattr(store.profiles, "put", full)
            disk.setattr(store.profiles, "end", full)
            with refused("store_disk_full"):
                await asyncio.wait_for(measured(profiler, PLAN), 60)
        ended = heard[-1]
        assert isinstance(ended, TableEnded) and ended.state == "interrupted", "pages hear of it too"
        assert profiler.state.run is None and [run.state for run in await profiler.runs()] == ["interrupted"]
        assert results([one async for one in profiler.resume(1)]) == {"bfloat16": "done", "float32": "done"}
        assert [run.state for run in await profiler.runs()] == ["done"]


async def test_what_would_not_fit_is_not_run(home: Path) -> None:
    long = msgspec.structs.replace(PLAN, subjects=(shapes.named("72B"),), weights=("float32",))
    too_long = msgspec.structs.replace(PLAN, cases=(Case(32_000, 10_000),), weights=("auto",))
    async with service(home) as profiler:
        assert results(await measured(profiler, long)) == {"float32": "not_run"}
        _, (found,) = await profiler.run(1)
        assert found.code == "profile_would_not_fit" and "would need" in str(UserError(found.code, **found.params))
        assert results(await measured(profiler, too_long)) == {"auto": "not_run"}
        assert (await profiler.run(2))[1][0].code == "profile_too_long"
        (foreseen,) = await profiler.foresee(long)
        assert foreseen.estimate is not None and foreseen.estimate.total > 280e9 and foreseen.obstacle
        (ahead, _) = await profiler.foresee(PLAN)
        assert not ahead.obstacle


async def test_time_is_told_of_what_will_run_and_from_the_first_cell_on(home: Path) -> None:
    hopeless = msgspec.structs.replace(PLAN, subjects=(TINY, shapes.named("72B")), weights=("float32",))
    async with service(home) as profiler:
        before = await measured(profiler, PLAN)
        assert next(one.left_s for one in before if isinstance(one, CellBegan)) is None, "nothing was measured yet"
        plain = msgspec.structs.replace(hopeless, subjects=(TINY,))
        seconds = [await profiler.expect(await profiler.foresee(plan)) for plan in (plain, hopeless)]
        assert seconds[0] is not None and seconds[1] == pytest.approx(seconds[0])
        began = [one for one in await measured(profiler, hopeless) if isinstance(one, CellBegan)]
        assert began[0].left_s == pytest.approx(seconds[0], rel=0.5), "from the tables before, in the first cell too"
        assert not began[1].left_s


async def test_estimates_learn_from_what_was_measured(home: Path) -> None:
    cases = tuple(Case(4, new) for new in (4, 8, 16))
    async with service(home) as profiler:
        await measured(profiler, msgspec.structs.replace(PLAN, weights=("bfloat16",), cases=cases))
        assert len(learning.known().pairs) == 3
        (foreseen, _) = await profiler.foresee(PLAN)
        assert foreseen.estimate is not None and foreseen.estimate.total != foreseen.estimate.formula


async def test_without_a_card_a_snapshot_is_refused_in_words(home: Path) -> None:
    async with service(home) as profiler:
        with pytest.raises(UserError) as refused:
            await profiler.take_snapshot(home / "snapshot.pickle")
        assert refused.value.code in ("snapshot_needs_card", "profile_idle")


KILLED = """
import asyncio, os, signal
from app.services.library import LibraryService
from app.services.profiling import ProfilingService
from app.services.profiling_news import CellEnded
from core import paths
from core.profiling import shapes
from core.profiling.plan import Case, ProfilePlan
from core.store.store import Store
from tests.helpers.fake_profile_worker import ARGV

async def main():
    profiler = ProfilingService(Store(paths.database()), LibraryService(paths.models()), argv=ARGV)
    plan = ProfilePlan((shapes.named("tiny"),), ("bfloat16", "float32"), cases=(Case(4, 4),))
    async for news in profiler.start(plan):
        if isinstance(news, CellEnded):
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_table_whose_program_was_killed_is_gone_on_with(home: Path) -> None:
    root = Path(__file__).parents[2]
    front = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, cwd=root)
    assert await front.wait() == -signal.SIGKILL
    async with service(home) as profiler:
        (run,) = await profiler.runs()
        assert (run.state, run.measured) == ("interrupted", 1)
        news = [one async for one in profiler.resume(run.id)]
        assert results(news) == {"float32": "done"}
        assert (await profiler.run(run.id))[0].state == "done"
