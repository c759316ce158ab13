"""Remote engines: other machines that answer as OpenAI's servers do, and their models as models of the chat.

Invariant: a reply of a remote model is told by the same events as one of this machine, and ends with exactly one
Finished or Failed; nothing is loaded or unloaded here for it. A key lies in the key ring under the address that it is
for, so that no other address is ever sent it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from app.services.events import Event
from app.services.preferences import Preferences
from app.services.remote.batch import answer_all
from app.services.remote.client import MOST_BYTES, Found, RemoteClient, chunks_of, read_body
from app.services.remote.refusals import REFUSED_FORM, refusal
from app.services.remote.request import FORMS, Form, body_of, extra_fields
from app.services.remote.stream import ReplyReader, events_of
from app.services.secrets import Secrets
from core import remote_engine
from core.errors import Param, UserError
from core.protocol.messages import (
    Failed,
    Finished,
    Generate,
    GenerateBatch,
    JobEvent,
    Notice,
    Progress,
    PromptRead,
    TextDelta,
)
from core.remote_engine import RemoteEngine, RemoteModel

log = logging.getLogger("remote")

KEY_VARIABLE = "QWEN_WORKBENCH_KEY_"  # and the name of the engine in capitals


@dataclass(frozen=True, slots=True)
class RemoteNews:
    """Something to know of a remote model's answers, once: its sentence is `notice.<code>`."""

    name: str
    notice: Notice


class _FormRefused(Exception):
    """The server may not know a field; it is asked again with fewer of them."""


class RemoteService:
    """
    Attributes:
        changed: the engines are others, or what is known of their models
        noticed: RemoteNews
    """

    def __init__(self, preferences: Preferences, secrets: Secrets) -> None:
        self.changed: Event[None] = Event()
        self.noticed: Event[RemoteNews] = Event()
        self._preferences, self._secrets = preferences, secrets
        self._client = RemoteClient(lambda: preferences.settings.proxy)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._forms: dict[tuple[str, str], Form] = {}  # by address and model, once more than "full" was refused
        self._thinkers: set[str] = set()

    # --- engines -------------------------------------------------------------------

    @property
    def engines(self) -> tuple[RemoteEngine, ...]:
        return self._preferences.settings.remote_engines

    @property
    def names(self) -> list[str]:
        """Of their models, as the chat offers them."""
        return [engine.called(model) for engine in self.engines for model in engine.models]

    def find(self, name: str) -> tuple[RemoteEngine, RemoteModel] | None:
        return remote_engine.find(self.engines, name)

    async def keep(self, engine: RemoteEngine, key: str | None = None, *, old: str = "") -> bool:
        """Add an engine, or put it in the place of the one called `old`. key: None leaves it as it is, "" forgets it.
        False where the key lasts only until the program ends."""
        kept = True
        if key is not None:
            kept = await asyncio.to_thread(self._secrets.set, engine.url, key) or not key
        place = next((at for at, one in enumerate(self.engines) if one.name == old), len(self.engines))
        before = self.engines[place : place + 1]
        self._set((*self.engines[:place], engine, *self.engines[place + 1 :]))
        await self._forget_keys(before)
        return kept

    async def remove(self, engine: RemoteEngine) -> str:
        """Its key, so that it can be put back."""
        key = await self.kept_key(engine.url)
        self._set(tuple(one for one in self.engines if one.name != engine.name))
        await self._forget_keys((engine,))
        return key

    async def kept_key(self, url: str) -> str:
        return await asyncio.to_thread(self._secrets.get, url)

    async def has_keyring(self) -> bool:
        return await asyncio.to_thread(lambda: self._secrets.has_keyring)

    async def check(self, url: str, key: str | None = None) -> Found:
        """What answers at an address, with the models it has. key: None for the one that is kept for it.

        Raises:
            UserError: remote_*, proxy_unusable.
        """
        if key is None:
            own = next((engine for engine in self.engines if engine.url == url), RemoteEngine("", url))
            key = await asyncio.to_thread(self._key, own)
        return await self._client.check(url, key)

    def can_think(self, name: str) -> bool:
        """Whether it has been seen to think, and can be told not to."""
        found = self.find(name)
        return found is not None and name in self._thinkers and self._form(*found) == "full"

    def _set(self, engines: tuple[RemoteEngine, ...]) -> None:
        self._preferences.change(remote_engines=engines)
        self._forms.clear()
        self.changed.emit(None)

    async def _forget_keys(self, gone: tuple[RemoteEngine, ...]) -> None:
        for url in {engine.url for engine in gone} - {engine.url for engine in self.engines}:
            await asyncio.to_thread(self._secrets.set, url, "")

    # --- replies -------------------------------------------------------------------

    async def generate(self, name: str, job: Generate) -> AsyncGenerator[JobEvent, None]:
        """The events of a reply. Left early or cancelled, the connection is closed."""
        news: asyncio.Queue[JobEvent] = asyncio.Queue()
        async with aclosing(self._told(job.job_id, self._answer(name, job, news), news)) as events:
            async for event in events:
                yield event

    async def generate_batch(self, name: str, job: GenerateBatch) -> AsyncGenerator[JobEvent, None]:
        """The answers to many conversations, as they come."""
        news: asyncio.Queue[JobEvent] = asyncio.Queue()
        async with aclosing(self._told(job.job_id, self._answer_all(name, job, news), news)) as events:
            async for event in events:
                yield event

    async def _told(
        self, job_id: str, work: Coroutine[Any, Any, None], news: asyncio.Queue[JobEvent]
    ) -> AsyncGenerator[JobEvent, None]:
        """What `work` puts into `news`, up to the end."""
        task = asyncio.get_running_loop().create_task(work, name="remote reply")
        self._jobs[job_id] = task
        try:
            while True:
                event = await news.get()
                yield event
                if isinstance(event, Finished | Failed):
                    return
        finally:
            task.cancel()
            await asyncio.wait([task])
            del self._jobs[job_id]

    def cancel(self, job_id: str) -> None:
        """Unknown ids are ignored."""
        if task := self._jobs.get(job_id):
            task.cancel()

    async def close(self) -> None:
        if tasks := list(self._jobs.values()):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await self._client.close()

    async def _answer(self, name: str, job: Generate, news: asyncio.Queue[JobEvent]) -> None:
        """Puts the events into `news`; the last one is the end, however it comes."""
        key = ""
        found = self.find(name)
        length = found[1].context_length if found else 0
        reader = ReplyReader(job.job_id, time.monotonic(), continues=job.continues, context_length=length)
        try:
            if found is None:
                raise UserError("remote_gone", name=name)
            engine, model = found
            news.put_nowait(Progress(job.job_id, 0, None, "remote", detail=engine.name))
            key = await asyncio.to_thread(self._key, engine)
            is_waiting = True
            async for event in self._events(engine, model, job, key, reader):
                if is_waiting:
                    news.put_nowait(PromptRead(job.job_id, 0, 0))
                is_waiting = False
                self._note_thinking(name, event)
                news.put_nowait(event)
        except asyncio.CancelledError:
            self._put_rest(reader, news)
            news.put_nowait(reader.finished("cancelled"))
        except UserError as error:
            self._put_rest(reader, news)
            log.info("%s did not answer: %s", name, error.code)
            news.put_nowait(Failed(job.job_id, "user", error.code, _without(key, error.params)))
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            log.exception("a remote reply failed")
            news.put_nowait(Failed(job.job_id, "bug", "bug", {"what": what}))

    async def _answer_all(self, name: str, job: GenerateBatch, news: asyncio.Queue[JobEvent]) -> None:
        try:
            await answer_all(lambda one: self.generate(name, one), job, news.put_nowait)
        except asyncio.CancelledError:
            news.put_nowait(Finished(job.job_id, "cancelled"))
        except UserError as error:
            news.put_nowait(Failed(job.job_id, "user", error.code, error.params))
        else:
            news.put_nowait(Finished(job.job_id))

    def _note_thinking(self, name: str, event: JobEvent) -> None:
        if isinstance(event, TextDelta) and event.thinking and name not in self._thinkers:
            self._thinkers.add(name)
            self.changed.emit(None)

    def _put_rest(self, reader: ReplyReader, news: asyncio.Queue[JobEvent]) -> None:
        for event in reader.rest():
            news.put_nowait(event)

    async def _events(
        self, engine: RemoteEngine, model: RemoteModel, job: Generate, key: str, reader: ReplyReader
    ) -> AsyncIterator[JobEvent]:
        """In the fullest form that the server takes."""
        first = FORMS.index(self._form(engine, model))
        for form in FORMS[first:]:
            try:
                async for event in self._in_form(engine, model, job, key, reader, form):
                    yield event
            except _FormRefused:
                continue
            return

    async def _in_form(
        self, engine: RemoteEngine, model: RemoteModel, job: Generate, key: str, reader: ReplyReader, form: Form
    ) -> AsyncIterator[JobEvent]:
        async with self._client.chat(engine.url, key, body_of(job, model, form)) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if response.status_code != 200:
                body = await read_body(response, MOST_BYTES)
                if response.status_code in REFUSED_FORM and form != FORMS[-1]:
                    raise _FormRefused
                raise refusal(response.status_code, response.headers, body, engine.url, key, model.id)
            self._settle(engine, model, job, form)
            if kind == "text/event-stream":
                async with aclosing(events_of(chunks_of(response))) as stream:
                    async for data in stream:
                        for event in reader.take(data):
                            yield event
                        if reader.is_done:  # some servers leave the connection open
                            break
            elif kind == "application/json":  # a server that does not stream
                for event in reader.take_object(await read_body(response, MOST_BYTES), "message"):
                    yield event
            else:
                raise UserError("remote_not_openai", host=remote_engine.host_of(engine.url), reason=kind or "?")
        for event in reader.rest():
            yield event
        yield reader.end()

    def _form(self, engine: RemoteEngine, model: RemoteModel) -> Form:
        return self._forms.get((engine.url, model.id), "full")

    def _settle(self, engine: RemoteEngine, model: RemoteModel, job: Generate, form: Form) -> None:
        """What this server takes is known from now on; what it does not take is told once."""
        if form != self._form(engine, model):
            self._forms[engine.url, model.id] = form
            name, fields = engine.called(model), ", ".join(extra_fields(job))
            self.noticed.emit(RemoteNews(name, Notice("remote_fields_refused", {"name": name, "fields": fields})))

    def _key(self, engine: RemoteEngine) -> str:
        """Of the key ring, else of the environment: machines without a screen often have no key ring."""
        return self._secrets.get(engine.url) or os.environ.get(self.key_variable(engine), "")

    def key_variable(self, engine: RemoteEngine) -> str:
        """Of the environment, for its key."""
        return KEY_VARIABLE + re.sub(r"\W", "_", engine.name).upper()


def _without(key: str, params: dict[str, Param]) -> dict[str, Param]:
    """A server may repeat in its answers what it was sent."""
    if not key:
        return params
    return {name: value.replace(key, "•••") if isinstance(value, str) else value for name, value in params.items()}
