"""The paths of the API, and what each asks of the model. FastAPI makes their description of it.

Invariant: every answer that is no success has OpenAI's shape, whoever found the fault.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from app.workers.answering import Answering, Order
from app.workers.invalid_bodies import refusal_of, whole
from app.workers.keeper_line import KeeperLine
from app.workers.outside import Requests, Stream
from app.workers.web_files import WebFiles
from core.errors import Param, UserError
from core.protocol.serving import OpenDoor, ServedModel
from core.serving import asked as asking
from core.serving.answers import (
    ChatCompletion,
    Faults,
    Health,
    ModelCard,
    ModelList,
    TextCompletion,
    Tokens,
    described,
)
from core.serving.asked import Asked, Model
from core.serving.conversation import messages_of
from core.serving.refusals import Refusal
from core.serving.replies import Envelope, Kind, Telling
from core.serving.requests import ChatRequest, CompletionRequest, TokenizeRequest

HEALTH = "/health"
HTTP_CODES = {404: "api_not_found", 405: "api_method", 413: "api_body_too_large"}
RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"model": Faults, "description": "Why it was not answered"}
    for code in (400, 401, 403, 404, 405, 413, 429, 500, 503)
}


@dataclass(frozen=True, slots=True)
class Present:
    """The model in memory, by the name it was loaded as."""

    name: str
    model: Model
    context_length: int


class Worker(Protocol):
    """What the door needs of the worker that it belongs to."""

    def present(self) -> Present | None: ...

    def model(self, present: Present, adapter: str) -> Model:
        """How it is talked to with that adapter, "" for none."""
        ...

    def matcher(self, present: Present, grammar: str) -> Any:
        """What holds one reply to a grammar; takes a while. Raises UserError."""
        ...

    def begin(self, asked: Asked, matcher: Any, present: Present, adapter: str, stream: Stream) -> Callable[[], None]:
        """Gives the worker the job; the returned callable cancels it. Raises UserError."""
        ...


def application(job: OpenDoor, worker: Worker, requests: Requests, keeper: KeeperLine, files: WebFiles) -> FastAPI:
    app = FastAPI(
        title="Qwen Workbench", version=version("qwen-workbench"), docs_url=None, redoc_url=None, responses=RESPONSES
    )
    paths = _Paths(job, worker, requests, keeper)
    app.post("/v1/chat/completions", response_model=None, responses=described(ChatCompletion))(paths.chat)
    app.post("/v1/completions", response_model=None, responses=described(TextCompletion))(paths.completion)
    app.get("/v1/models", response_model=None, responses=described(ModelList))(paths.models)
    app.get("/v1/models/{name:path}", response_model=None, responses=described(ModelCard))(paths.model)
    app.post("/tokenize", response_model=None, responses=described(Tokens))(paths.tokenize)
    app.get(HEALTH, response_model=None, responses=described(Health))(paths.health)
    app.head(HEALTH, response_model=None, include_in_schema=False)(paths.health)
    for path in files.paths:
        app.add_route(path, files.answer, methods=["GET"], include_in_schema=False)
    _tell_faults(app, job, requests)
    return app


class _Paths:
    def __init__(self, job: OpenDoor, worker: Worker, requests: Requests, keeper: KeeperLine) -> None:
        self._job, self._worker, self._requests, self._keeper = job, worker, requests, keeper
        self._created = int(time.time())

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """A reply to a conversation, whole or as a stream of events."""
        return self._answer(body, request, "chat", lambda model: asking.chat(body, model))

    async def completion(self, body: CompletionRequest, request: Request) -> Response:
        """A text that goes on where the prompt ends."""
        return self._answer(body, request, "text", lambda model: asking.completion(body, model))

    async def models(self) -> Response:
        """The model in memory and the adapters that it can answer with."""
        present = self._worker.present()
        shown = [self._shown(model, present) for model in self._served()] if present is not None else []
        return _json({"object": "list", "data": shown})

    async def model(self, name: str) -> Response:
        present = self._worker.present()
        for model in self._served():
            if model.name == name and present is not None:
                return _json(self._shown(model, present))
        raise Refusal("api_not_found", path=f"/v1/models/{name}"[:200])

    async def tokenize(self, body: TokenizeRequest) -> Response:
        """The ids of a text, or of a conversation as the model would read it."""
        present = self._need()
        if body.messages is not None:
            request = ChatRequest(messages=body.messages)
            messages_of(body.messages)
            ids = asking.chat(request, present.model).make_prompt().ids
        else:
            ids = present.model.vocabulary.encode_text(body.prompt or "")
        return _json({"tokens": ids, "count": len(ids), "max_model_len": present.context_length})

    async def health(self) -> Response:
        """Whether a model is ready, and how busy it is."""
        is_ready = self._worker.present() is not None
        state = {"running": self._requests.running, "waiting": self._requests.waiting}
        return _json({"status": "ok" if is_ready else "no model", **state}, 200 if is_ready else 503)

    def _answer(
        self, body: ChatRequest | CompletionRequest, request: Request, kind: Kind, ask: Callable[[Model], Asked]
    ) -> Response:
        present = self._need()
        served = self._chosen(body.model, present)
        asked = ask(self._worker.model(present, served.adapter))
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        envelope = Envelope(kind, served.name, is_stream=bool(body.stream), with_usage=with_usage)

        async def begin(stream: Stream) -> tuple[Telling, Callable[[], None]]:
            telling = Telling(asked.reader, is_legacy=asked.is_legacy, has_one_call=asked.has_one_call)
            matcher = await asyncio.to_thread(self._worker.matcher, present, asked.grammar) if asked.grammar else None
            return telling, self._worker.begin(asked, matcher, present, served.adapter, stream)

        order = Order(request.url.path, served.name, envelope, begin, bool(body.stream), asked.echo)
        return Answering(order, self._requests, self._keeper)

    def _need(self) -> Present:
        present = self._worker.present()
        if present is None:
            raise Refusal("no_model_loaded")
        return present

    def _served(self) -> list[ServedModel]:
        present = self._worker.present()
        if present is None:
            return []
        others = [model for model in self._job.models if model.base == present.name and model.adapter]
        all_of_them = [ServedModel(present.name, present.name), *others]
        return sorted(all_of_them, key=lambda model: model.name != self._job.default)  # what answers by itself is first

    def _chosen(self, name: str, present: Present) -> ServedModel:
        """By its name; any other name is answered by the default, as the first generation's server did, and the
        answer says which one that is."""
        served = self._served() or [ServedModel(present.name, present.name)]
        by_name = {model.name: model for model in served}
        return by_name.get(name) or by_name.get(self._job.default) or served[0]

    def _shown(self, model: ServedModel, present: Present) -> dict[str, Any]:
        parent = model.base if model.adapter else None
        return {
            "id": model.name,
            "object": "model",
            "created": self._created,
            "owned_by": "qwen-workbench",
            "root": model.base,
            "parent": parent,
            "max_model_len": present.context_length,
        }


def told_refusals(app: FastAPI, requests: Requests) -> Callable[[Refusal, Scope], None]:
    """Tells the front of a request that was sent away; of paths only those that are ours, others may hold anything."""
    ours = {getattr(route, "path", "") for route in app.routes}

    def tell(refusal: Refusal, scope: Scope) -> None:
        path = scope["path"] if scope["path"] in ours else ""
        requests.refuse(refusal, path, (scope.get("client") or ("", 0))[0])

    return tell


def _tell_faults(app: FastAPI, job: OpenDoor, requests: Requests) -> None:
    tell = told_refusals(app, requests)

    def sent(request: Request, refusal: Refusal, status: int = 0) -> Response:
        tell(refusal, request.scope)
        return _json(refusal.body, status or refusal.status)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return sent(request, error)

    async def world(request: Request, error: Exception) -> Response:
        assert isinstance(error, UserError)
        return sent(request, Refusal.of(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return sent(request, refusal_of(error.errors()), 400)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = HTTP_CODES.get(error.status_code, "api_invalid")
        said: dict[str, Param] = {"path": whole(request.url.path)[:200], "limit": job.most_body_bytes >> 20}
        said |= {"method": request.method, "place": "body", "reason": whole(str(error.detail))[:200]}
        return sent(request, Refusal(code, None, **said))

    async def bug(request: Request, error: Exception) -> Response:
        refusal = Refusal("bug", what="see the log of the program")
        return _json(refusal.body, 500)

    app.add_exception_handler(Exception, bug)
    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(UserError, world)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
