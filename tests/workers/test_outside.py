"""The queue of the door: who runs, who waits, who is sent away, and what is told of it."""

from __future__ import annotations

import asyncio

import pytest

from app.workers.outside import MOST_KINDS, MOST_RUNNING, Live, News, Requests, Stream
from core.protocol.messages import Finished, JobEvent, Progress
from core.protocol.serving import RequestEnded, RequestsRefused
from core.serving.refusals import Refusal
from tests.helpers.waiting import until

WAITING = 2

pytestmark = pytest.mark.loops("asyncio")


async def test_so_many_run_and_so_many_wait_and_the_next_is_sent_away() -> None:
    told: list[News] = []
    requests = Requests("door", WAITING, told.append)
    order: list[int] = []

    async def one(number: int) -> Live:
        live = requests.arrive("/v1/completions", "m", "127.0.0.1")
        await requests.turn(live)
        order.append(number)
        return live

    running = [await one(number) for number in range(MOST_RUNNING)]
    waiting = [asyncio.create_task(one(100 + number)) for number in range(WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        requests.arrive("/v1/completions", "m", "127.0.0.1")
    assert refused.value.status == 429 and (requests.running, requests.waiting) == (MOST_RUNNING, WAITING)
    running[3].leave()
    running[3].leave()
    await waiting[0]
    assert order[-1] == 100 and not waiting[1].done()
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    requests.stop()
    with pytest.raises(Refusal) as stopped:
        requests.arrive("/v1/completions", "m", "127.0.0.1")
    assert stopped.value.code == "api_stopping"
    ended = [event for event in told if isinstance(event, RequestEnded)]
    assert len(ended) == 1 and ended[0].end == "cancelled"


async def test_refusals_are_told_together_and_a_flood_of_them_in_few_lines() -> None:
    told: list[News] = []
    requests = Requests("door", WAITING, told.append)
    for number in range(300):
        requests.refuse(Refusal("api_key_wrong"), "", f"10.0.0.{number % 250}")
    requests.refuse(Refusal("api_busy", waiting=2), "/v1/completions", "127.0.0.1")
    await until(lambda: told)
    refused = [event for event in told if isinstance(event, RequestsRefused)]
    assert len(refused) <= MOST_KINDS + 2 and sum(event.count for event in refused) == 301
    assert {event.status for event in refused} == {401, 429}
    requests.refuse(Refusal("api_key_wrong"), "", "127.0.0.1")
    requests.stop()
    assert told[-1] == RequestsRefused("door", "", "127.0.0.1", 401, "api_key_wrong"), "the last ones too"


async def test_events_of_another_thread_come_in_order_and_none_is_lost() -> None:
    stream = Stream(asyncio.get_running_loop())
    count = 2000

    def put() -> None:
        for number in range(count):
            stream.put(Progress("j", number))
        stream.put(Finished("j"))

    work = asyncio.get_running_loop().run_in_executor(None, put)
    taken: list[JobEvent] = []
    while not taken or not isinstance(taken[-1], Finished):
        taken += await stream.take()
    await work
    assert [event.done for event in taken if isinstance(event, Progress)] == list(range(count))
