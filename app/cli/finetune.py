"""`qwen-workbench finetune`: from training data to a trained adapter. Same services as the window.

Invariant: holds the list of the commands and nothing else; each stands in a file of its own.
"""

from __future__ import annotations

import typer

from app.cli import finetune_list, finetune_merge, finetune_run, finetune_settings
from app.cli.data_check import check_data
from core.translation import say

app = typer.Typer(no_args_is_help=True)
app.command("check", help=say("finetune.check"))(check_data)
app.command(
    "run", help=say("finetune.run"), epilog=say("finetune.run_settings"),
    options_metavar="[RECIPE.toml | FLAGS] [OPTIONS]", context_settings=finetune_run.LOOSE,
)(finetune_run.run_training)  # fmt: skip
app.command("settings", help=say("finetune.settings"))(finetune_settings.list_settings)
app.command("resume", help=say("finetune.resume"))(finetune_run.resume_training)
app.command("list", help=say("finetune.list"))(finetune_list.list_runs)
app.command("pause", help=say("finetune.pause"))(finetune_list.pause_run)
app.command("stop", help=say("finetune.stop"))(finetune_list.stop_run)
app.command("merge", help=say("finetune.merge"))(finetune_merge.merge)
app.command("export", help=say("finetune.export"))(finetune_merge.export)
