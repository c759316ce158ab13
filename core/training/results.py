"""What a fine-tune leaves: an adapter that PEFT and this program load, or a whole model.

Invariant: `result` is whole when it has its name, and holds everything that is needed beside the base model: factors
and every other tensor that was trained, and the template the training taught.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from core.chat.chat_format import chat_format
from core.chat.chatml import ChatMl
from core.chat.vocabulary import Vocabulary
from core.data.chatml_rendering import ChatMlRenderer
from core.data.rendering import renderer_of
from core.files import replace_file
from core.training import card
from core.training.preparing import Prepared
from core.training.recipe import Recipe
from core.training.run_files import RunFiles
from core.training.taught import copy_side_files, write_side_files

NOT_OF_ADAPTERS = ("config.json", "generation_config.json", "model.safetensors.index.json", "quantize_config.json")
DRAFT = ".result"


def write(
    prepared: Prepared, recipe: Recipe, base: Path, run: RunFiles, step: int, state: dict[str, Tensor] | None = None
) -> Path:
    """state: the weights, where the model is spread over several processes.

    Raises:
        OSError: the disk is full; an older result is untouched then.
    """
    draft = run.path / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    if recipe.method == "full":
        _write_model(prepared, base, draft, state)
    else:
        _write_adapter(prepared.model, base, draft, state)
    (draft / "README.md").write_text(card.text(recipe, run, step), "utf-8")
    old = run.path / (DRAFT + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if run.result.exists():
        run.result.rename(old)
    draft.rename(run.result)
    shutil.rmtree(old, ignore_errors=True)
    return run.result


def _write_adapter(model: Any, base: Path, folder: Path, state: dict[str, Tensor] | None) -> None:
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(str(folder), state_dict=state)
    copy_side_files(base, folder, leave_out=NOT_OF_ADAPTERS)
    name_format(Vocabulary.load(base), folder)


def name_format(vocabulary: Vocabulary, folder: Path) -> None:
    """Into the folder of an adapter: how the training taught the base to be asked, where its template does not say."""
    if isinstance(renderer_of(vocabulary), ChatMlRenderer):
        replace_file(folder / "generation_config.json", json.dumps({"chat_format": "chatml"}).encode())


def _write_model(prepared: Prepared, base: Path, folder: Path, held: dict[str, Tensor] | None) -> None:
    """In the precision the weights had; training held them in fp32."""
    model, dtype = prepared.model, prepared.compute
    state = {name: tensor.to(dtype) for name, tensor in (held or model.state_dict()).items()}
    kept, model.config.dtype = model.config.dtype, dtype
    try:
        model.save_pretrained(str(folder), state_dict=state, max_shard_size="4GB")
    finally:
        model.config.dtype = kept
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"use_cache": True, "dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    vocabulary = Vocabulary.load(base)
    chat = chat_format(base, vocabulary)
    if not chat.can_chat and isinstance(renderer_of(vocabulary), ChatMlRenderer):
        chat = ChatMl(vocabulary)
    write_side_files(base, folder, vocabulary, chat, None)
