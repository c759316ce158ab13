"""The model card of what a fine-tune leaves: where it comes from and how it was made, for whoever finds the folder.

Invariant: every figure in it stands in the run's own files.
"""

from __future__ import annotations

from pathlib import Path

from core.models.adapter import Adapter
from core.training import recipe as recipes
from core.training.recipe import Recipe
from core.training.run_files import RunFiles

METHODS = {"full": "full fine-tune", "lora": "LoRA", "qlora": "Q-LoRA"}


def text(recipe: Recipe, run: RunFiles, step: int) -> str:
    """As Markdown with the front matter that hubs read."""
    facts, origin = run.facts, run.origin
    kind = "peft" if recipe.method != "full" else "transformers"
    lines = [
        "---", f"base_model: {origin.model}", f"library_name: {kind}", "pipeline_tag: text-generation",
        "tags:", "- qwen-workbench", f"- {recipe.method}", "---", "",
        f"# {recipe.name or run.path.name}", "",
        f"A {METHODS[recipe.method]} of `{origin.model}`, made with Qwen Workbench.", "",
        "| | |", "|---|---|", f"| Base model | `{origin.model}` |", f"| Data | `{Path(recipe.data).name}` |",
    ]  # fmt: skip
    if facts is not None:
        lines += [
            f"| Data, SHA-256 | `{facts.fingerprint}` |",
            f"| Conversations | {facts.rows} to learn from, {facts.kept_aside} kept aside |",
            f"| Steps | {step} of {facts.steps} |",
            f"| Trained parameters | {facts.trained:,} of {facts.parameters:,} |",
            f"| Precision | {facts.precision} |",
            f"| Made with | {', '.join(f'{name} {number}' for name, number in facts.versions.items())} |",
        ]
    return "\n".join([*lines, "", "## Recipe", "", "```toml", recipes.text(recipe).strip(), "```", ""])


def merged(adapter: str, base: str, found: Adapter, run: RunFiles | None) -> str:
    """Of a model that an adapter was worked into; `run` is where that came from, as far as it is known."""
    lines = [
        "---", f"base_model: {base}", "base_model_relation: merge", "library_name: transformers",
        "pipeline_tag: text-generation", "tags:", "- qwen-workbench", "- merge", "---", "",
        f"# {base} + {adapter}", "",
        f"`{base}` with the adapter `{adapter}` worked into its weights, made with Qwen Workbench. The greedy answers",
        "to several prompts were compared with those of the base model with the adapter before the model was kept.", "",
        "| | |", "|---|---|", f"| Base model | `{base}` |", f"| Adapter | `{adapter}` |",
        f"| Kind | {found.kind}, rank {found.rank}, alpha {found.alpha:g} |",
        f"| Changed layers | {', '.join(found.targets)} |",
    ]  # fmt: skip
    if run is None:
        return "\n".join([*lines, ""])
    recipe, facts = run.recipe, run.facts
    lines.append(f"| Data | `{Path(recipe.data).name}` |")
    if facts is not None:
        lines += [f"| Data, SHA-256 | `{facts.fingerprint}` |", f"| Conversations | {facts.rows} to learn from |"]
    return "\n".join([*lines, "", "## Recipe", "", "```toml", recipes.text(recipe).strip(), "```", ""])
