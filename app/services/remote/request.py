"""What a remote engine is asked for: a job of the chat as the body of `/chat/completions`.

Invariant: three forms of the same request, each with fewer fields than the one before; what a server refuses to know is
left out, never guessed at under another name.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from core.chat.turns import Turn
from core.protocol.messages import Generate
from core.remote_engine import RemoteModel

Form = Literal["full", "standard", "plain"]
FORMS: tuple[Form, ...] = ("full", "standard", "plain")
"""full: with the fields of vLLM and SGLang; standard: those of OpenAI only; plain: without the count of tokens too"""


def body_of(job: Generate, model: RemoteModel, form: Form) -> bytes:
    sampling = job.sampling
    body: dict[str, Any] = {
        "model": model.id,
        "messages": messages_of(job.turns),
        "stream": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if not 0 < model.context_length <= sampling.max_new_tokens:  # such a one would be refused whatever is asked
        body["max_tokens"] = sampling.max_new_tokens
    for name in ("seed", "presence_penalty", "frequency_penalty", "stop"):
        if value := getattr(sampling, name):
            body[name] = value
    if sampling.seed == 0:
        body["seed"] = 0
    if form != "plain":
        body["stream_options"] = {"include_usage": True}
    if form == "full":
        body |= extra_fields(job)
    return json.dumps(body).encode()


def extra_fields(job: Generate) -> dict[str, Any]:
    """Beyond OpenAI's. top_k, repetition_penalty: also where they change nothing, for servers have other defaults."""
    sampling = job.sampling
    fields: dict[str, Any] = {
        "top_k": sampling.top_k or -1,
        "repetition_penalty": sampling.repetition_penalty,
    }
    if sampling.min_p:
        fields["min_p"] = sampling.min_p
    if job.thinking is not None:
        fields["chat_template_kwargs"] = {"enable_thinking": job.thinking}
    if job.continues:
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
    return fields


def messages_of(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    """Without the thinking of earlier replies, which no template puts into a prompt. A reply that broke off amid its
    thinking is begun anew."""
    return [{"role": turn.role, "content": turn.text} for turn in turns if turn.text or turn.role != "assistant"]
