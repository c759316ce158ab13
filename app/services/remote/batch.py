"""Many conversations answered by a remote model, several at a time: the server batches what comes at once.

Invariant: each answer comes as it would alone; a question that the server refuses stops no other, while what keeps it
from answering at all ends the batch, so that no file fills with the same error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from core.errors import UserError
from core.protocol.messages import BatchAnswer, Failed, Finished, Generate, GenerateBatch, JobEvent, Progress, TextDelta

TOGETHER = 8
OF_ONE_QUESTION = ("remote_rejected", "remote_filtered")

Answering = Callable[[Generate], AsyncGenerator[JobEvent, None]]


async def answer_all(answer: Answering, job: GenerateBatch, tell: Callable[[JobEvent], None]) -> None:
    """Tells a BatchAnswer for each conversation, and Progress in tokens.

    Raises:
        UserError: why no more can be answered.
    """
    batch = _Batch(answer, job, tell)
    try:
        async with asyncio.TaskGroup() as group:
            for index in range(len(job.conversations)):
                group.create_task(batch.answer_one(index), name="remote answer")
    except* UserError as several:
        raise several.exceptions[0] from None


class _Batch:
    def __init__(self, answer: Answering, job: GenerateBatch, tell: Callable[[JobEvent], None]) -> None:
        self._answer, self._job, self._tell = answer, job, tell
        self._room = asyncio.Semaphore(TOGETHER)
        self._tokens = 0

    async def answer_one(self, index: int) -> None:
        job = self._job
        one = Generate(f"{job.job_id}-{index}", job.conversations[index], job.sampling, job.thinking)
        said: dict[bool, list[str]] = {True: [], False: []}
        async with self._room:
            async for event in self._answer(one):
                match event:
                    case TextDelta():
                        said[event.thinking].append(event.text)
                        self._tokens += event.tokens
                        self._tell(Progress(job.job_id, self._tokens, None, "answering", "tokens"))
                    case Finished() | Failed():
                        self._tell(self._whole(index, "".join(said[False]), "".join(said[True]), event))
                    case _:
                        pass

    def _whole(self, index: int, text: str, thinking: str, end: Finished | Failed) -> BatchAnswer:
        if isinstance(end, Failed):
            if end.code not in OF_ONE_QUESTION:
                raise UserError(end.code, **end.params)
            return BatchAnswer(self._job.job_id, index, "", "", "stop", 0, 0, end.code, end.params)
        known = end.figures
        prompt, new = (known.prompt_tokens, known.new_tokens) if known else (0, 0)
        return BatchAnswer(self._job.job_id, index, text, thinking, end.reason, prompt, new)
