"""A GGUF file as it is, decoded by llama.cpp: another engine behind the same interface, from the extra `llama-cpp`.

Owns everything said to llama.cpp's C interface. Invariant: a cache holds exactly the tokens that were put into it; each
has a context of its own, which is freed with it and grows by doubling as ours do.
"""

from __future__ import annotations

import ctypes
import logging
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.inference.decoder import KVKind
from core.load_options import KVChoice, LoadOptions
from core.models import checkpoint, context, manifest
from core.models.gguf_file import GgufFile, open_gguf
from core.models.load import LoadedModel, LoadStep, stop_ids
from core.models.placement import Placement
from core.protocol.messages import Notice

log = logging.getLogger("inference")

CHUNK = 128  # tokens read at once; a cancel waits for them
FIRST_ROOM = 256  # tokens a context holds at first
SEQUENCE = 0  # of the only sequence in each context


def usable_file(folder: Path, options: LoadOptions) -> tuple[Path | None, tuple[Notice, ...]]:
    """The GGUF file that the model in `folder` was imported from, where llama.cpp is asked for and can have it; else
    why not."""
    if options.engine != "llama_cpp":
        return None, ()
    if find_spec("llama_cpp") is None:
        return None, (Notice("llama_cpp_missing"),)
    known = (folder / manifest.FILE_NAME).is_file()
    file = Path(manifest.read(folder).gguf) if known else Path()
    if not file.name:
        return None, (Notice("llama_cpp_no_gguf"),)
    if not file.is_file():
        return None, (Notice("llama_cpp_file_gone", {"file": str(file)}),)
    return file, ()


def load(file: Path, folder: Path, options: LoadOptions, tell: Callable[[LoadStep], None]) -> LoadedModel:
    """folder: the one the file was converted into, for its configs.

    Raises:
        UserError: gguf_*, llama_cpp_refused.
        Whatever `tell` raises.
    """
    config = checkpoint.read_config(folder)
    found = open_gguf(file)
    model = LlamaModel(file, tell)
    longest = checkpoint.examine(folder, config).context_length or context.FALLBACK
    return LoadedModel(
        model=model,
        placement=model.placement,
        architecture=str(config["architectures"][0]),
        parameters=sum(tensor.rows * tensor.shape[-1] for tensor in found.tensors.values()),
        weight_bytes=sum(tensor.size_bytes for tensor in found.tensors.values()),
        context_length=min(options.context_length or longest, longest),
        stop_ids=stop_ids(folder, config),
        weights=_kind(found),
        backend="llama.cpp",
        backend_reason="backend_llama_cpp",
        attention="llama.cpp",
        config=config,
    )


def _kind(file: GgufFile) -> str:
    """The quantisation that most of the bytes are in, as llama.cpp calls it."""
    from gguf.constants import GGMLQuantizationType

    sizes: Counter[int] = Counter()
    for tensor in file.tensors.values():
        sizes[tensor.kind] += tensor.size_bytes
    return str(GGMLQuantizationType(sizes.most_common(1)[0][0]).name)


class LlamaModel:
    """The weights, mapped from the file."""

    def __init__(self, file: Path, tell: Callable[[LoadStep], None]) -> None:
        import llama_cpp

        self.api: Any = llama_cpp
        _route_log(llama_cpp)
        raised: list[BaseException] = []

        @llama_cpp.llama_progress_callback  # type: ignore[untyped-decorator]
        def progress(share: float, data: object) -> bool:
            try:
                tell(LoadStep("loading_weights", int(share * 100), 100))
            except BaseException as error:  # must not cross C; raised again below
                raised.append(error)
            return not raised

        parameters = llama_cpp.llama_model_default_params()
        self.is_on_card = bool(llama_cpp.llama_supports_gpu_offload()) and torch.cuda.is_available()
        parameters.n_gpu_layers = -1 if self.is_on_card else 0
        parameters.progress_callback = progress
        llama_cpp.llama_backend_init()
        self.handle = llama_cpp.llama_model_load_from_file(str(file).encode(), parameters)
        if raised:
            raise raised[0]
        if not self.handle:
            raise UserError("llama_cpp_refused", file=file.name)
        self.rows = int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.handle)))
        recurrent = llama_cpp.llama_model_is_recurrent(self.handle) or llama_cpp.llama_model_is_hybrid(self.handle)
        self.keeps_all = not recurrent and not llama_cpp.llama_model_n_swa(self.handle)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.api.llama_model_free(self.handle)

    def new_context(self, tokens: int, kv_cache: KVKind) -> Any:
        """None when it cannot be had. Whoever asked for it frees it."""
        parameters = self.api.llama_context_default_params()
        parameters.n_ctx = tokens
        parameters.n_batch = parameters.n_ubatch = CHUNK
        parameters.n_seq_max = 1
        parameters.n_threads = parameters.n_threads_batch = torch.get_num_threads()
        parameters.no_perf = True
        if kv_cache == "int8":
            parameters.type_k = parameters.type_v = self.api.GGML_TYPE_Q8_0
        return self.api.llama_init_from_model(self.handle, parameters)

    def can_round(self) -> bool:
        """Its heads are wide enough for keys and values in blocks of 8 bits."""
        context = self.new_context(FIRST_ROOM, "int8")
        if context:
            self.api.llama_free(context)
        return bool(context)

    @property
    def placement(self) -> Placement:
        device = torch.device("cuda" if self.is_on_card else "cpu")
        return Placement(device, "llama_cpp_device", torch.float32, "llama_cpp_precision", False)


class LlamaCache:
    """One sequence and the context that holds it."""

    adapter = ""
    ntk_alpha = 1.0

    def __init__(self, model: LlamaModel, room: int, kv_cache: KVKind, longest: int) -> None:
        self._model, self._kv_cache, self._longest = model, kv_cache, longest
        self._context = self._new_context(room)
        self.length = 0

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._model.api.llama_free(self._context)

    def serves(self, total: int) -> bool:
        return True

    @property
    def can_crop(self) -> bool:
        return self._model.keeps_all

    @property
    def size_bytes(self) -> int:
        return int(self._model.api.llama_state_seq_get_size(self._context, SEQUENCE))

    def crop(self, length: int) -> None:
        if length >= self.length:
            return
        memory = self._model.api.llama_get_memory(self._context)
        if not self._model.api.llama_memory_seq_rm(memory, SEQUENCE, length, -1):
            raise ValueError("this cache cannot go back")
        self.length = length

    def fork(self, length: int) -> Self:
        copy = type(self)(self._model, self.length, self._kv_cache, self._longest)
        _move(self._model.api, self._context, copy._context)
        copy.length = self.length
        copy.crop(length)
        return copy

    def put(self, ids: Sequence[int]) -> Tensor:
        """The logits after the last of them, (vocabulary,)."""
        api, end = self._model.api, self.length + len(ids)
        self._need_room(end)
        tokens = (api.llama_token * len(ids))(*ids)
        code = api.llama_decode(self._context, api.llama_batch_get_one(tokens, len(ids)))
        if code:
            raise RuntimeError(f"llama_decode ended with {code}")
        self.length = end
        rows = np.ctypeslib.as_array(api.llama_get_logits_ith(self._context, -1), (self._model.rows,))
        return torch.from_numpy(rows.copy())

    def _need_room(self, tokens: int) -> None:
        if tokens <= self._model.api.llama_n_ctx(self._context):
            return
        grown = self._new_context(tokens)
        if self.length:
            _move(self._model.api, self._context, grown)
        self._model.api.llama_free(self._context)
        self._context = grown

    def _new_context(self, tokens: int) -> Any:
        room = FIRST_ROOM
        while room < tokens:
            room *= 2
        context = self._model.new_context(max(min(room, self._longest), tokens), self._kv_cache)
        if not context:
            raise MemoryError("llama.cpp could not make a context")
        return context


def _move(api: Any, source: Any, target: Any) -> None:
    size = api.llama_state_seq_get_size(source, SEQUENCE)
    data = (ctypes.c_uint8 * size)()
    if api.llama_state_seq_get_data(source, data, size, SEQUENCE) != size:
        raise RuntimeError("llama.cpp did not give its state")
    if not api.llama_state_seq_set_data(target, data, size, SEQUENCE):
        raise RuntimeError("llama.cpp did not take its state")


class LlamaCppDecoder:
    """Answers with the model alone: adapters are for our own engine."""

    def __init__(self, model: LlamaModel, context_length: int, kv_cache: KVChoice = "auto") -> None:
        self._model, self._context_length = model, context_length
        self.kv_cache: KVKind = "int8" if kv_cache in ("int8", "int8_compatible") and model.can_round() else "plain"

    def new_cache(self, total: int = 0, adapter: str = "") -> LlamaCache:
        return LlamaCache(self._model, total, self.kv_cache, self._context_length)

    def read(self, ids: Sequence[int], cache: LlamaCache) -> Generator[None, None, Tensor]:
        """As Decoder.read; yields after every chunk."""
        logits: Tensor | None = None
        for start in range(0, len(ids), CHUNK):
            logits = cache.put(ids[start : start + CHUNK])
            yield
        assert logits is not None, "nothing to read"
        return logits

    def step(self, id: int, cache: LlamaCache) -> Tensor:
        return cache.put([id])

    def need(self, adapter: str) -> None:
        """
        Raises:
            UserError: llama_cpp_adapter.
        """
        if adapter:
            raise UserError("llama_cpp_adapter", name=Path(adapter).name)

    def has_changed(self, adapter: str) -> bool:
        return False

    def drop(self, adapter: str) -> None:
        pass


def _route_log(api: Any) -> None:
    """What llama.cpp says goes to our log; standard error is not for it."""
    api.llama_log_set(_heard(api), ctypes.c_void_p(0))


_callbacks: list[Any] = []  # C keeps a pointer to the first one


def _heard(api: Any) -> Any:
    if not _callbacks:

        @api.llama_log_callback  # type: ignore[untyped-decorator]
        def hear(level: int, text: bytes, data: object) -> None:
            log.debug("llama.cpp (%d): %s", level, text.decode("utf-8", "replace").rstrip())

        _callbacks.append(hear)
    return _callbacks[0]
