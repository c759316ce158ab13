"""Works an adapter into its base model: a model that answers as the two did, needs neither and is proven to.

Invariant: nothing stands under the new name before the proof has been given, and what ends the work earlier, a kill
included, leaves the library as it was. Whatever can be known before is said before the first byte is written.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from core.chat.chat_format import ChatFormat, chat_format, taught_format
from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from core.models import adapter as adapter_files
from core.models import checkpoint, shelf
from core.models.adapter_base import full_precision_of
from core.models.checkpoint import Checkpoint
from core.models.importing import store_built
from core.models.int4_folder import write_int4
from core.models.placement import DTYPES
from core.models.safetensors_file import write_sharded
from core.models.space import disk_errors, need_space
from core.models.steps import Step, Work
from core.protocol.messages import Notice
from core.training import card, proof
from core.training.merged_weights import MergedWeights
from core.training.run_files import CONFIG, RunFiles
from core.training.taught import write_json, write_side_files


@dataclass(frozen=True, slots=True)
class Lineage:
    """What is merged: folders, and names for people."""

    adapter_folder: Path
    base_folder: Path
    adapter: str
    base: str

    @property
    def run(self) -> RunFiles | None:
        """The run the adapter came from, where it still lies in its folder."""
        place = self.adapter_folder.resolve().parent
        return RunFiles(place) if (place / CONFIG).is_file() else None


@dataclass(frozen=True, slots=True)
class Merged:
    folder: Path
    notices: tuple[Notice, ...]


def merge(lineage: Lineage, name: str, models_folder: Path) -> Work[Merged]:
    """Into the library, as `name`.

    Raises:
        UserError: merge_quantised, merge_quantised_known, merge_unusual, merge_bias, merge_differs, name_taken,
            disk_full, and as adapter.examine and load.
    """
    name = shelf.safe_name(name)
    shelf.need_free_name(models_folder, name)
    work = _Merging(lineage, models_folder)
    with work.place(models_folder) as folder:
        notices = yield from work.build(folder)
        source = f"{lineage.base} + {lineage.adapter}"
        licence = work.base.licence
        stored = yield from store_built(folder, work.base.config, name, source, models_folder, licence)
    return Merged(stored, notices)


def merge_into(lineage: Lineage, out: Path, models_folder: Path) -> Work[Merged]:
    """Into the folder `out`, which must not exist yet.

    Raises:
        UserError: as merge; out_exists.
    """
    out = out.expanduser().absolute()
    if out.exists():
        raise UserError("out_exists", folder=str(out))
    shelf.sweep(out.parent)
    work = _Merging(lineage, models_folder)
    with work.place(out.parent) as folder:
        notices = yield from work.build(folder)
        for file in folder.iterdir():
            shelf.to_disk(file)
        folder.rename(out)
        shelf.to_disk(out.parent)
    return Merged(out, notices)


def merge_into_int4(lineage: Lineage, out: Path, models_folder: Path) -> Work[Merged]:
    """The same in 4 bits, as GPTQ lays them out: merged and proven in full, then rounded.

    Raises:
        UserError: as merge_into.
    """
    out = out.expanduser().absolute()
    if out.exists():
        raise UserError("out_exists", folder=str(out))
    shelf.sweep(out.parent)
    work = _Merging(lineage, models_folder)
    with work.place(out.parent) as folder:
        notices = yield from work.build(folder)
        yield from write_int4(folder, out)
    return Merged(out, notices)


class _Merging:
    def __init__(self, lineage: Lineage, models_folder: Path) -> None:
        self._lineage = lineage
        self.base = checkpoint.examine(lineage.base_folder)
        _need_plain(self.base, lineage, models_folder)
        self._adapter = adapter_files.examine(lineage.adapter_folder)
        if self._adapter.needs_peft:
            raise UserError("merge_unusual", name=lineage.adapter, what=self._adapter.needs_peft)
        self._weights = MergedWeights(self.base, self._adapter)
        self._plans = self._weights.planned()
        self._bytes = sum(plan.size_bytes for plan in self._plans)

    def place(self, parent: Path) -> AbstractContextManager[Path]:
        """An empty folder beside the place of the model, once there is room for it."""
        need_space(parent, self._bytes)
        return shelf.incoming(parent)

    def build(self, folder: Path) -> Work[tuple[Notice, ...]]:
        """The whole model in `folder`, proven."""
        lineage, run = self._lineage, self._lineage.run
        vocabulary = Vocabulary.load(lineage.base_folder)
        chat = asked_with(lineage.base_folder, lineage.adapter_folder, vocabulary)
        prompts = (run.recipe.prompts if run else ()) or proof.PROMPTS
        said = yield from proof.said_with_adapter(lineage.base_folder, self._adapter, chat, prompts)
        with disk_errors(folder, self._bytes):
            yield from self._write(folder)
            write_side_files(lineage.base_folder, folder, vocabulary, chat, lineage.adapter_folder)
            self._write_config(folder)
            (folder / "README.md").write_text(card.merged(lineage.adapter, lineage.base, self._adapter, run), "utf-8")
        found = yield from proof.ties(folder, said, DTYPES[self.base.precision])
        compared: dict[str, str | int | float] = {"tokens": sum(len(one.tokens) for one in said), "count": len(said)}
        told = (Notice("merge_compared", compared),)
        return (*told, Notice("merge_ties", {"count": len(found)})) if found else told

    def _write(self, folder: Path) -> Work[None]:
        done = 0
        for written in write_sharded(folder, self._plans):
            done += written
            yield Step("merging", done, self._bytes)

    def _write_config(self, folder: Path) -> None:
        config = dict(self.base.config)
        config.pop("_name_or_path", None)
        if self._weights.is_untied:
            config["tie_word_embeddings"] = False
            if isinstance(inner := config.get("text_config"), dict):
                config["text_config"] = inner | {"tie_word_embeddings": False}
        write_json(folder / checkpoint.CONFIG_NAME, config)


def asked_with(base: Path, adapter: Path, vocabulary: Vocabulary) -> ChatFormat:
    """How the base with the adapter is talked to."""
    own = chat_format(base, vocabulary)
    return own if own.can_chat else taught_format(adapter, vocabulary)


def _need_plain(base: Checkpoint, lineage: Lineage, models_folder: Path) -> None:
    if base.scheme is None:
        return
    if full := full_precision_of(models_folder, lineage.base):
        raise UserError("merge_quantised_known", name=lineage.adapter, base=lineage.base, full=full)
    raise UserError("merge_quantised", name=lineage.adapter, base=lineage.base)
