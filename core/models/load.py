"""A transformers folder -> a model ready to compute, in a precision that was chosen with a reason.

Runs no code of the folder and reads safetensors only. Invariant: a `LoadedModel` has every weight it needs on its
device; whatever is wrong with the folder or too big for the machine is a UserError.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.figures import size
from core.load_options import DEFAULT, LoadOptions
from core.models import checkpoint, families
from core.models.checkpoint import Checkpoint, examine
from core.models.placement import Placement, attention, place
from core.protocol.messages import Notice

FALLBACK_CONTEXT = 2048  # tokens, for configs that do not say
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """weight_bytes: of its parameters in memory, tied ones once. stop_ids: tokens that end a reply."""

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


@dataclass(frozen=True, slots=True)
class LoadStep:
    """`done` of `total` tensors are in place; total 0 while that is not known."""

    stage: str
    done: int = 0
    total: int = 0


Loader = Callable[[Path, LoadOptions, Callable[[LoadStep], None]], LoadedModel]


class _Abandoned(Exception):
    pass


class Loading:
    """Loads in a thread, so that whoever steps this can do other things and can change their mind.

    `for step in loading: ...`, then `loading.model`.
    """

    def __init__(self, folder: Path, options: LoadOptions = DEFAULT, loader: Loader | None = None) -> None:
        """loader: for models of another engine; None for `load`."""
        self._folder, self._options, self._loader = folder, options, loader or load
        self._step = LoadStep("loading_libraries")
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
        except BaseException as error:  # raised again where the steps are taken
            self._error = error

    def _tell(self, step: LoadStep) -> None:
        self._step = step
        if self._is_abandoned:
            raise _Abandoned


def load(
    folder: Path, options: LoadOptions = DEFAULT, tell: Callable[[LoadStep], None] = lambda step: None
) -> LoadedModel:
    """
    Raises:
        UserError: as Loading.
        Whatever `tell` raises.
    """
    found = examine(folder)
    placement = place(options, found.weights, found.config)
    implementation, notices = attention(options, placement)
    _need_memory(found, placement)
    tell(LoadStep("loading_weights"))
    model = _from_folder(folder, placement, implementation, tell)
    parameters = list(model.parameters())
    return LoadedModel(
        model=model,
        placement=placement,
        architecture=type(model).__name__,
        parameters=sum(p.numel() for p in parameters),
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters),
        context_length=found.context_length or FALLBACK_CONTEXT,
        stop_ids=stop_ids(folder, found.config),
        weights=str(placement.dtype).removeprefix("torch."),
        attention=model.config._attn_implementation,
        notices=(
            *notices,
            *families.notices(found.config, found.code_files, on_card=placement.device.type == "cuda"),
        ),
        config=found.config,
    )


def _need_memory(found: Checkpoint, placement: Placement) -> None:
    needed, free = found.parameters * placement.dtype.itemsize, placement.spare_bytes()
    if needed > free:
        code = "memory_card_too_small" if placement.device.type == "cuda" else "memory_too_small"
        raise UserError(code, needed=size(needed), free=size(free))


def _from_folder(folder: Path, placement: Placement, attention: str | None, tell: Callable[[LoadStep], None]) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as their_logging

    from core.models.qwen_v1.registration import register

    register()
    before = their_logging.set_tqdm_hook(lambda factory, args, kwargs: _Bar(tell, *args, **kwargs))
    their_logging.set_verbosity(logging.ERROR)
    try:
        made: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=placement.dtype,
            attn_implementation=attention,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            device_map={"": placement.device} if placement.device.type == "cuda" else None,
            output_loading_info=True,
        )
    finally:
        their_logging.set_tqdm_hook(before)
    model, report = made
    missing = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report[kind])
    if missing:
        raise UserError("weights_incomplete", count=len(missing), first=missing[0])
    model.requires_grad_(False)
    return model.eval()


class _Bar:
    """What transformers takes for a tqdm bar: it reports its progress through those only."""

    def __init__(self, tell: Callable[[LoadStep], None], items: Iterable[Any] = (), **kwargs: Any) -> None:
        self._tell, self._items = tell, items
        self._total = len(items) if isinstance(items, Sized) else int(kwargs.get("total") or 0)

    def __iter__(self) -> Iterator[Any]:
        for done, item in enumerate(self._items):
            self._tell(LoadStep("loading_weights", done, self._total))
            yield item

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None  # update, close, set_description ...


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
