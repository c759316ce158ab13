"""Takes an adapter into the library, beneath the model it belongs to.

Invariant: an adapter in the library names a base that was there when it came and whose layers it fits; its own files
are only read, and stay where they lie unless their pickle is converted.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from core.errors import UserError
from core.models import adapter, checkpoint, families, manifest, shelf
from core.models.adapter import Adapter
from core.models.adapter_base import Base, find_base
from core.models.checksums import records
from core.models.manifest import Manifest
from core.models.safetensors_file import read_header
from core.models.space import disk_errors, need_space
from core.models.steps import Step, Work


def import_adapter(
    source: Path, name: str, base: str, models_folder: Path, *, convert_pickle: bool = False, at_home: bool = False
) -> Work[Path]:
    """Take the adapter folder `source` as `name`. base: a name of the library or a folder, where the user said it, else
    "". at_home: it lies in the models folder under that name already.

    Raises:
        UserError: adapter_*, model_unknown_base; the library is then as it was.
    """
    config = adapter.read_config(source)
    found_base = find_base(models_folder, base, str(config.get("base_model_name_or_path") or ""), source.name)
    if convert_pickle and (source / adapter.PICKLE_NAME).is_file() and not (source / adapter.WEIGHTS_NAME).is_file():
        return (yield from _import_pickle(source, name, found_base, models_folder))
    found = adapter.examine(source)
    facts = yield from _facts(found, name, str(source), found_base)
    with disk_errors(models_folder, 1_000_000):
        if at_home:
            manifest.write(source, facts)
            return source
        with shelf.incoming(models_folder) as folder:
            return shelf.put_in_place(folder, models_folder, msgspec.structs.replace(facts, location=str(source)))


def _need_fit(found: Adapter, base: Base) -> None:
    """As far as the headers of the base say: layers whose weights are quantised are judged when they are loaded."""
    entries = {
        name: entry
        for file in checkpoint.weight_files(base.folder)
        for name, entry in read_header(base.folder / file).items()
    }
    adapter.need_fit(found, adapter.header_shapes(entries))
    layers = adapter.header_layers(entries)
    unknown = [layer for layer in found.tensors if layer not in layers and not layer.endswith("lm_head")]  # often tied
    if unknown and not found.needs_peft:
        raise UserError("adapter_layer_unknown", name=found.folder.name, layer=unknown[0])


def _facts(found: Adapter, name: str, source: str, base: Base) -> Work[Manifest]:
    _need_fit(found, base)
    config = checkpoint.read_config(base.folder)
    files = yield from records(found.folder, found.file_names)
    has_format = checkpoint.has_chat_template(found.folder) or (found.folder / "generation_config.json").is_file()
    return Manifest(
        name=name,
        source=source,
        architecture=str(config["architectures"][0]),
        model_type=str(config["model_type"]),
        weights=found.weights,
        parameters=found.parameters,
        context_length=families.lengths(config).limit,
        files=files,
        can_chat=base.facts.can_chat if base.facts else checkpoint.has_chat_template(base.folder) or has_format,
        added=shelf.now(),
        base=base.name,
    )


def _import_pickle(source: Path, name: str, base: Base, models_folder: Path) -> Work[Path]:
    from safetensors.torch import save_file

    from core.models.pickles import read_tensors

    pickle = source / adapter.PICKLE_NAME
    needed = pickle.stat().st_size
    need_space(models_folder, needed)
    with disk_errors(models_folder, needed), shelf.incoming(models_folder) as folder:
        yield Step("converting", 0, needed, pickle.name)
        save_file(read_tensors(pickle), folder / adapter.WEIGHTS_NAME, metadata={"format": "pt"})
        yield Step("converting", needed, needed, pickle.name)
        for side in adapter.SIDE_FILES:
            if (source / side).is_file():
                shutil.copyfile(source / side, folder / side)
        facts = yield from _facts(adapter.examine(folder), name, str(source), base)
        return shelf.put_in_place(folder, models_folder, facts)
