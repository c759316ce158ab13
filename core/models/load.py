"""A transformers folder -> a model ready to compute, in a precision that was chosen with a reason.

Runs no code of the folder and reads safetensors only. Invariant: a `LoadedModel` has every weight it needs on its
device; whatever is wrong with the folder or too big for the machine is a UserError.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.figures import size
from core.load_options import DEFAULT, LoadOptions
from core.models import checkpoint, families, memory
from core.models.checkpoint import examine
from core.models.forms import Job
from core.models.native.library import library
from core.models.placement import Placement, place
from core.models.quantised.linear import QuantisedLinear
from core.protocol.messages import Notice

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """weight_bytes: of its weights in memory, tied ones once; a quantised head of a tied model is a copy and counts.
    stop_ids: tokens that end a reply.
    """

    model: Any
    placement: Placement
    architecture: str
    parameters: int
    weight_bytes: int
    context_length: int
    stop_ids: frozenset[int]
    weights: str  # how they lie in memory: "bfloat16" ... "int8", "int4", "nf4"
    backend: str = ""  # what multiplies by them; "" for plain weights
    backend_reason: str = ""
    attention: str = "sdpa"
    notices: tuple[Notice, ...] = ()
    config: checkpoint.Json = field(default_factory=dict)  # as in its folder
    parts: tuple[tuple[str, str], ...] = ()  # where it is spread over several devices: (device, what lies there)


@dataclass(frozen=True, slots=True)
class LoadStep:
    """`done` of `total` tensors are in place; total 0 while that is not known."""

    stage: str
    done: int = 0
    total: int = 0


Tell = Callable[[LoadStep], None]
Loader = Callable[[Path, LoadOptions, Tell], LoadedModel]


class _Abandoned(Exception):
    pass


class Loading:
    """Loads in a thread, so that whoever steps this can do other things and can change their mind.

    `for step in loading: ...`, then `loading.model`.
    """

    def __init__(
        self,
        folder: Path,
        options: LoadOptions = DEFAULT,
        loader: Loader | None = None,
        then: Callable[[LoadedModel, Tell], None] | None = None,
    ) -> None:
        """loader: for models of another engine; None for `load`. then: more to do in the thread, with its progress."""
        self._folder, self._options, self._loader, self._then = folder, options, loader or load, then
        self._step = LoadStep("loading_libraries")
        self._spare = memory.Sparing(folder)
        self._is_abandoned = False
        self._error: BaseException | None = None
        self._model: LoadedModel | None = None
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)

    def __iter__(self) -> Iterator[LoadStep | None]:
        """A LoadStep when there is news, None when there is none; it waits a little before each.

        Raises:
            UserError: everything `examine` says, memory_too_small, weights_incomplete.
        """
        self._thread.start()
        told: LoadStep | None = None
        while self._thread.is_alive():
            self._thread.join(POLL_S)
            self._spare()  # one large tensor may take long, and the small ones do not wait for it
            step = self._step
            yield step if step != told else None
            told = step
        if self._error is not None and not isinstance(self._error, _Abandoned):
            raise self._error

    @property
    def model(self) -> LoadedModel:
        assert self._model is not None, "not loaded"
        return self._model

    def abandon(self) -> None:
        """Stop at the next tensor. Iterating on comes to an end soon."""
        self._is_abandoned = True

    def _run(self) -> None:
        try:
            self._model = self._loader(self._folder, self._options, self._tell)
            if self._then is not None:
                self._then(self._model, self._tell)
            memory.give_back(self._folder)
        except BaseException as error:  # raised again where the steps are taken
            self._error = error

    def _tell(self, step: LoadStep) -> None:
        self._step = step
        if self._is_abandoned:
            raise _Abandoned


def load(folder: Path, options: LoadOptions = DEFAULT, tell: Tell = lambda step: None) -> LoadedModel:
    """Quantised weights are not packed yet: see core.models.quantised.choice.

    Raises:
        UserError: as Loading.
        Whatever `tell` raises.
    """
    found = examine(folder)
    job = Job(folder, found, options, place(options, found.precision, found.config))
    _need_memory(job)
    if job.placement.device.type == "cpu" and not job.placement.is_exact:
        library(lambda: tell(LoadStep("building_native")))
    made = job.make(lambda stage, done, total: tell(LoadStep(stage, done, total)))
    model, on_card = made.model, job.placement.device.type == "cuda"
    return LoadedModel(
        model=model,
        placement=job.placement,
        architecture=type(model).__name__,
        parameters=_parameters(model) if job.form == "plain" or found.scheme is not None else found.parameters,
        weight_bytes=weight_bytes(model),
        context_length=job.context.length,
        stop_ids=stop_ids(folder, found.config),
        weights=str(job.placement.dtype).removeprefix("torch.") if job.form == "plain" else job.form,
        backend=made.backend,
        backend_reason=made.backend_reason,
        attention=model.config._attn_implementation,
        notices=(*families.notices(found.config, found.code_files, on_card=on_card), *made.notices),
        config=found.config,
        parts=made.parts,
    )


def _need_memory(job: Job) -> None:
    needed, free = job.needed_bytes, job.placement.spare_bytes()
    if needed > free and job.options.device != "spread":
        code = "memory_card_too_small" if job.placement.device.type == "cuda" else "memory_too_small"
        raise UserError(code, needed=size(needed), free=size(free))


def weight_bytes(model: Any) -> int:
    """What the weights take in memory: parameters, tied ones once, and what quantised layers hold."""
    parameters: int = sum(p.numel() * p.element_size() for p in model.parameters())
    return parameters + sum(m.size_bytes for m in model.modules() if isinstance(m, QuantisedLinear))


def _parameters(model: Any) -> int:
    plain: int = sum(p.numel() for p in model.parameters())
    quantised = [m for m in model.modules() if isinstance(m, QuantisedLinear)]
    return plain + sum(m.in_features * m.out_features + (0 if m.bias is None else m.bias.numel()) for m in quantised)


def stop_ids(folder: Path, config: checkpoint.Json) -> frozenset[int]:
    """From the generation config, which knows a chat model's end of turn, and the config."""
    found: set[int] = set()
    generation = folder / "generation_config.json"
    sources = [config, families.text_config(config)]
    if generation.is_file():
        sources.append(json.loads(generation.read_text("utf-8")))
    for source in sources:
        ids = source.get("eos_token_id")
        found |= {id for id in (ids if isinstance(ids, list) else [ids]) if isinstance(id, int)}
    return frozenset(found)
