"""A transformers folder -> a model ready to compute, in a precision that was chosen with a reason.

Runs no code of the folder and reads safetensors only. Invariant: a `LoadedModel` has every weight it needs on its
device; whatever is wrong with the folder or too big for the machine is a UserError.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import UserError
from core.figures import size
from core.load_options import DEFAULT, LoadOptions
from core.models import checkpoint, context, families, tree
from core.models.attention import choose_attention, in_use
from core.models.checkpoint import Checkpoint, examine
from core.models.context import Context
from core.models.placement import DTYPES, Placement, place
from core.models.quantised import at_load, bits_and_bytes
from core.models.quantised.gptq import Files, Filling
from core.models.quantised.linear import QuantisedLinear
from core.protocol.messages import Notice

POLL_S = 0.02
# Bytes a weight takes, with its share of scales and of what stays plain, in models of the usual sizes.
QUANTISED_BYTES = {"int8": 1.1, "int4": 0.7, "nf4": 0.7}


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
    placement = place(options, found.precision, found.config)
    job = _Job(folder, found, options, placement, context.plan(found.config, options.context_length))
    _need_memory(found, job)
    tell(LoadStep("loading_weights"))
    model, told = job.make(tell)
    backend, reason = ("bitsandbytes", "backend_bitsandbytes") if job.uses_bitsandbytes else _backend(model)
    return LoadedModel(
        model=model,
        placement=job.placement,
        architecture=type(model).__name__,
        parameters=_parameters(model) if job.form == "plain" or found.scheme is not None else found.parameters,
        weight_bytes=weight_bytes(model),
        context_length=job.context.length,
        stop_ids=stop_ids(folder, found.config),
        weights=str(job.placement.dtype).removeprefix("torch.") if job.form == "plain" else job.form,
        backend=backend,
        backend_reason=reason,
        attention=in_use(model),
        notices=(
            *families.notices(found.config, found.code_files, on_card=job.placement.device.type == "cuda"),
            *job.context.notices,
            *told,
        ),
        config=found.config,
    )


class _Job(NamedTuple):
    folder: Path
    found: Checkpoint
    options: LoadOptions
    placement: Placement
    context: Context

    @property
    def form(self) -> str:
        """How the weights will lie in memory: "plain", "int8", "int4" or "nf4"."""
        if self.options.weights in DTYPES:
            return "plain"
        if self.found.scheme is not None:
            return self.found.weights
        return "plain" if self.options.weights == "auto" else self.options.weights

    @property
    def uses_bitsandbytes(self) -> bool:
        on_card = self.placement.device.type == "cuda"
        if self.found.scheme is not None:
            return False
        return self.form == "nf4" or (self.form == "int8" and on_card and not bits_and_bytes.obstacle("int8", "cuda"))

    def make(self, tell: Callable[[LoadStep], None]) -> tuple[Any, tuple[Notice, ...]]:
        attention, told = choose_attention(self.options, self.placement)
        loading = _telling(tell, "loading_weights")
        if self.found.scheme is not None:
            model = self._packed(attention, loading)
            return model, (*told, *self._remarks_on_packed(model))
        config = None
        if self.context.yarn:
            config = tree.config_of(self.folder)
            context.stretch(config, self.context)
        device, dtype = self.placement.device, self.placement.dtype
        if self.uses_bitsandbytes:
            how = bits_and_bytes.settings("int8" if self.form == "int8" else "nf4", dtype, device)
            return tree.read(self.folder, dtype, device, attention, loading, config=config, quantisation=how), told
        if self.form == "plain":
            return tree.read(self.folder, dtype, device, attention, loading, config=config), told
        stored = DTYPES[self.found.precision]  # nothing is converted before it is quantised, so all stays mapped
        model = tree.read(self.folder, stored, at_load.READING_DEVICE, attention, loading, config=config)
        quantising = _telling(tell, "quantising_weights")
        at_load.quantise(model, "int8" if self.form == "int8" else "int4", device, dtype, quantising)
        return model, (*told, *((Notice("experts_stay_plain"),) if at_load.has_plain_experts(model) else ()))

    def _packed(self, attention: str | None, tell: tree.Tell) -> Any:
        assert self.found.scheme is not None
        config = tree.config_of(self.folder)
        context.stretch(config, self.context)
        model = tree.empty(self.folder, config, self.placement.dtype, attention)
        Filling(
            model,
            Files(self.folder, self.found.weight_files),
            self.found.scheme,
            self.placement.dtype,
            self.placement.device,
            keeps_packed=self.form != "plain",
            is_exact=self.placement.is_exact,
        ).run(tell)
        return model

    def _remarks_on_packed(self, model: Any) -> Iterator[Notice]:
        asked, stored = self.options.weights, self.found.weights
        if self.form != "plain" and asked not in ("auto", stored):
            yield Notice("weights_already_quantised", {"stored": stored, "asked": asked})
        if self.form != "plain" and at_load.has_plain_experts(model):
            yield Notice("experts_dequantised")


def _telling(tell: Callable[[LoadStep], None], stage: str) -> tree.Tell:
    return lambda done, total: tell(LoadStep(stage, done, total))


def _need_memory(found: Checkpoint, job: _Job) -> None:
    has_experts = "num_experts" in families.text_config(found.config)  # they stay plain
    is_plain = job.form == "plain" or has_experts
    item = job.placement.dtype.itemsize if is_plain else QUANTISED_BYTES[job.form]
    needed, free = round(found.parameters * item), job.placement.spare_bytes()
    if needed > free:
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


def _backend(model: Any) -> tuple[str, str]:
    """What multiplies by most of the quantised weights, and why; empty for plain ones."""
    shares: Counter[tuple[str, str]] = Counter()
    for module in model.modules():
        if isinstance(module, QuantisedLinear):
            shares[module.backend, module.backend_reason] += module.in_features * module.out_features
    return shares.most_common(1)[0][0] if shares else ("", "")


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
