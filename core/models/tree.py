"""The module tree of a folder, made by transformers: with the folder's weights, or empty for others to fill.

Invariant: no code of the folder is run and no pickle is opened; progress and a change of mind pass through `tell`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import torch

from core.errors import UserError

Tell = Callable[[int, int], None]  # done, total; what it raises ends the loading


def read(
    folder: Path,
    dtype: torch.dtype,
    device: torch.device | dict[str, str | int],
    attention: str | None,
    tell: Tell,
    *,
    config: Any = None,
    quantisation: Any = None,
) -> Any:
    """The model with its weights on `device`, or spread as a device map says; those that need no change stay mapped
    from the files.

    attention, quantisation: as transformers takes them; config: in place of the folder's own

    Raises:
        UserError: weights_incomplete.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as their_logging

    _prepare_library()
    options: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    options |= {"config": config} if config is not None else {}
    if quantisation is not None:
        options["quantization_config"] = quantisation
    if isinstance(device, dict):
        options["device_map"] = device
    elif quantisation is not None or device.type == "cuda":
        options["device_map"] = {"": device}
    before = their_logging.set_tqdm_hook(lambda factory, args, kwargs: _Bar(tell, *args, **kwargs))
    try:
        made: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, all of them
            **options,
        )
    finally:
        their_logging.set_tqdm_hook(before)
    model, report = made
    need_all(sorted([*map(str, report["missing_keys"]), *(str(key) for key, *_ in report["mismatched_keys"])]))
    model.requires_grad_(False)
    return model.eval()


def config_of(folder: Path) -> Any:
    """transformers' config of a folder."""
    from transformers import AutoConfig

    _prepare_library()
    return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def empty(folder: Path, config: Any, dtype: torch.dtype, attention: str | None) -> Any:
    """The model without memory for its parameters; its buffers are real. Whatever its config says of quantisation is
    left out."""
    from accelerate import init_empty_weights  # type: ignore[import-untyped]
    from transformers import AutoModelForCausalLM, GenerationConfig

    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        vars(part).pop("quantization_config", None)
    options: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    make: Any = AutoModelForCausalLM.from_config
    with init_empty_weights(include_buffers=False):
        model = make(config, dtype=dtype, trust_remote_code=False, **options)
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model.eval()


def need_all(missing: list[str]) -> None:
    """
    Raises:
        UserError: weights_incomplete, when there are any.
    """
    if missing:
        raise UserError("weights_incomplete", count=len(missing), first=missing[0])


def _prepare_library() -> None:
    """transformers knows the first generation, and does not write to the user's log: what it would say of missing
    packages are notices of ours."""
    from transformers.utils import logging as their_logging

    from core.models.qwen_v1.registration import register

    register()
    their_logging.set_verbosity(logging.ERROR)


class _Bar:
    """What transformers takes for a tqdm bar: it reports its progress through those only."""

    def __init__(self, tell: Tell, items: Iterable[Any] = (), **kwargs: Any) -> None:
        self._tell, self._items = tell, items
        self._total = len(items) if isinstance(items, Sized) else int(kwargs.get("total") or 0)

    def __iter__(self) -> Iterator[Any]:
        for done, item in enumerate(self._items):
            self._tell(done, self._total)
            yield item

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None  # update, close, set_description ...
