"""A conversation that lives as long as the command: its turns, how it is answered, one reply at a time.

Invariant: what came of a reply is in the conversation whatever ended it (Ctrl-C, a model process that died); of a
question to which nothing came, nothing is left.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.cli.notices import Notices
from app.cli.screen import Screen
from app.services.inference import InferenceService, as_error
from core.chat.turns import Sampling, Turn
from core.protocol.messages import Failed, Finished, Generate, Progress, PromptRead, TextDelta


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one question. dropped_turns: the oldest turns that the model did not read, for want of room."""

    turn: Turn
    end: Finished
    dropped_turns: int


@dataclass(slots=True)
class _Came:
    """What has come of the reply under way."""

    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    dropped_turns: int = 0

    def turn(self, begun: Turn | None) -> Turn:
        first = begun or Turn("assistant", "")
        return Turn("assistant", first.text + "".join(self.text), first.thinking + "".join(self.thinking))


class Talk:
    """
    Attributes:
        turns: questions and replies, the newest last; the system prompt apart
        thinking: None leaves it to the model
    """

    def __init__(self, model: str, system: str, sampling: Sampling, adapter_folder: str, screen: Screen) -> None:
        self.model, self.system, self.sampling, self.screen = model, system, sampling, screen
        self.thinking: bool | None = None
        self.turns: list[Turn] = []
        self._adapter_folder = adapter_folder
        self._notices = Notices(has_system_prompt=bool(system))
        self._job_id = ""

    async def ask(self, service: InferenceService, question: str) -> Reply:
        """Raises UserError, or RuntimeError with the detail of a bug."""
        return await self._reply(service, [*self.turns, Turn("user", question)])

    async def ask_again(self, service: InferenceService) -> Reply:
        """Another reply to the last question, in place of the last one. There must be one."""
        return await self._reply(service, self.turns[:-1])

    async def go_on(self, service: InferenceService) -> Reply:
        """More of the last reply. There must be one."""
        return await self._reply(service, self.turns, begun=self.turns[-1])

    def stop(self, service: InferenceService) -> None:
        """End the reply under way; what came stays."""
        service.cancel(self._job_id)

    def tell_notices(self, service: InferenceService) -> None:
        """What is worth knowing of the model, once it is loaded; later calls say nothing."""
        self._notices.tell(service)

    async def _reply(self, service: InferenceService, turns: Sequence[Turn], begun: Turn | None = None) -> Reply:
        self._job_id = uuid.uuid4().hex
        system = (Turn("system", self.system),) if self.system else ()
        job = Generate(
            self._job_id, (*system, *turns), self.sampling, self.thinking, begun is not None, self._adapter_folder
        )
        came = _Came()
        is_whole = False
        try:
            end = await self._stream(service, job, came, begun)
            is_whole = end.reason != "cancelled"
        finally:
            self.screen.end()
            if is_whole or came.text or came.thinking:
                self.turns = [*(turns[:-1] if begun else turns), came.turn(begun)]
        return Reply(came.turn(begun), end, came.dropped_turns)

    async def _stream(self, service: InferenceService, job: Generate, came: _Came, begun: Turn | None) -> Finished:
        async for event in service.generate(self.model, job):
            match event:
                case Progress():
                    self.screen.progress(event)
                case PromptRead():
                    loaded = service.state.loaded
                    can_chat = loaded is None or loaded.can_chat
                    self.screen.begin(can_chat=can_chat)
                    if begun and can_chat:  # the whole reply again: its Markdown may have been cut anywhere
                        self.screen.show(TextDelta("", begun.text))
                    self.tell_notices(service)
                    came.dropped_turns = event.dropped_turns
                case TextDelta():
                    (came.thinking if event.thinking else came.text).append(event.text)
                    self.screen.show(event)
                case Finished():
                    return event
                case Failed():
                    raise as_error(event)
                case _:
                    pass
        raise RuntimeError("the reply has no end")
