"""What the HTTP door has this worker do: its own job, and a job of the scheduler for every request.

So requests share passes with chats and batches. Invariant: a request is answered by the model its prompt was made for,
or not at all; while a model is exchanged none is answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from app.workers.host import Inlet, JobControl
from app.workers.http_door import HttpDoor
from app.workers.replies import ReadyModel, Reply
from core.chat.continuation import Continuation
from core.chat.template import ChatTemplate
from core.chat.thinking import THINK_CLOSE
from core.chat.vocabulary import Vocabulary
from core.chat.window import Prompt
from core.errors import UserError
from core.models import families
from core.protocol.messages import Finished, Generate, JobEvent
from core.protocol.serving import OpenDoor

if TYPE_CHECKING:
    from app.workers.http_routes import Present
    from app.workers.outside import Stream
    from core.inference.constraint import Constraint, GrammarTokens
    from core.serving.asked import Asked, Model

POLL_S = 0.002
Events = Iterator[JobEvent | None]
SortedErrors = Callable[[Any], AbstractContextManager[None]]


class OutsideJobs:
    def __init__(self, ready: Callable[[], ReadyModel | None], sorted_errors: SortedErrors) -> None:
        """ready: the model that answers now; None while there is none, or it is about to be exchanged."""
        self._ready, self._sorted_errors = ready, sorted_errors
        self._inlet: Inlet | None = None
        self._running = 0
        self._shown: tuple[ReadyModel, Present] | None = None
        self._grammars: tuple[Vocabulary, GrammarTokens] | None = None
        self._making = threading.Lock()

    def use(self, inlet: Inlet) -> None:
        self._inlet = inlet

    @property
    def is_busy(self) -> bool:
        """The model in memory is still answering some of them."""
        return self._running > 0

    # --- in the thread that steps the jobs -------------------------------------------

    def forget(self) -> None:
        """Keep nothing of the model, which leaves the memory."""
        self._shown = self._grammars = None

    def open_door(self, job: OpenDoor, control: JobControl) -> Events:
        inlet = self._inlet
        assert inlet is not None
        door = HttpDoor(job, self, partial(inlet.wake, control))
        door.start()
        try:
            while door.is_open and not control.is_cancelled:
                control.is_waiting = True  # before the look, so that what comes after it wakes us
                if news := list(door.news()):
                    control.is_waiting = False
                    yield from news
                elif door.is_open:
                    yield None
            control.is_waiting = False
        finally:
            door.stop()
        while door.is_open:
            door.wait(POLL_S)
            yield from door.news()
            yield None
        yield from door.news()
        if door.failure is not None:
            raise door.failure
        yield Finished(job.job_id, "cancelled")

    def _reply(self, asked: Asked, matcher: Any, model: ReadyModel, job: Generate, control: JobControl) -> Events:
        if self._ready() is not model:
            raise UserError("api_model_changed")
        self._running += 1
        try:
            with self._sorted_errors(model.engine):
                yield from self._events(asked, matcher, model, job, control)
        finally:
            self._running -= 1

    def _events(self, asked: Asked, matcher: Any, model: ReadyModel, job: Generate, control: JobControl) -> Events:
        limit = model.loaded.context_length - 1

        def make_prompt(_: object) -> Prompt:
            prompt = asked.make_prompt()
            if len(prompt.ids) > limit:
                raise UserError("prompt_too_long", tokens=len(prompt.ids), limit=limit)
            return prompt

        template = Continuation(model.vocabulary) if asked.is_raw else None
        constrained = partial(_constraint, matcher, model.vocabulary) if matcher is not None else None
        reply = Reply(job, control, model, make_prompt=make_prompt, template=template, constrained=constrained)
        yield from reply.events()

    # --- in the door's thread ----------------------------------------------------------

    def present(self) -> Present | None:
        from app.workers.http_routes import Present
        from core.serving.asked import Model

        model = self._ready()
        if model is None:
            return None
        if self._shown is None or self._shown[0] is not model:
            family = families.family_of(model.loaded.config, model.vocabulary.template)
            tools = families.tools_of(family, model.vocabulary.template)
            shown = Present(model.name, Model(model.template, model.vocabulary, tools), model.loaded.context_length)
            self._shown = (model, shown)
        return self._shown[1]

    def model(self, present: Present, adapter: str) -> Model:
        """An adapter may have taught a base model to chat."""
        from core.serving.asked import Model

        shown = self._of(present)
        if not adapter or present.model.template.can_chat:
            return present.model
        template = shown.format_of(adapter)
        vocabulary = template.vocabulary if isinstance(template, ChatTemplate) else shown.vocabulary
        family = families.family_of(shown.loaded.config, vocabulary.template)
        return Model(template, vocabulary, families.tools_of(family, vocabulary.template))

    def matcher(self, present: Present, grammar: str) -> Any:
        """What holds one reply to a grammar; from any thread, for it takes a while.

        Raises:
            UserError: grammar_refused, grammar_needs_bytes, api_model_changed.
        """
        from core.inference.constraint import GrammarTokens

        model = self._of(present)
        with self._making:
            if self._grammars is None or self._grammars[0] is not model.vocabulary:
                ends = sorted(model.loaded.stop_ids or model.stop_ids)
                self._grammars = (model.vocabulary, GrammarTokens(model.vocabulary, ends[0] if ends else 0))
            tokens = self._grammars[1]
        return tokens.matcher(grammar)

    def begin(self, asked: Asked, matcher: Any, present: Present, adapter: str, stream: Stream) -> Callable[[], None]:
        model, inlet = self._of(present), self._inlet
        assert inlet is not None
        job = Generate(stream.id, (), asked.sampling, adapter=adapter)

        def reply(job: Generate, control: JobControl) -> Events:
            return self._reply(asked, matcher, model, job, control)

        return inlet.submit(job, reply, stream.put).cancel

    def _of(self, present: Present) -> ReadyModel:
        shown = self._shown
        if shown is None or shown[1] is not present:
            raise UserError("api_model_changed")
        return shown[0]


def _constraint(matcher: Any, vocabulary: Vocabulary, prompt: Prompt) -> Constraint:
    from core.inference.constraint import Constraint

    return Constraint(matcher, starts_after=vocabulary.id_of(THINK_CLOSE) if prompt.is_thinking else None)
