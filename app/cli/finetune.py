"""`qwen-workbench finetune`: from training data to a trained adapter. Same services as the window.

Invariant: holds the list of the commands and nothing else; each stands in a file of its own.
"""

from __future__ import annotations

import typer

from app.cli.data_check import check_data
from core.translation import say

app = typer.Typer(no_args_is_help=True)
app.command("check", help=say("finetune.check"))(check_data)
