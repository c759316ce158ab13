"""The command line: finds the command, runs it, and turns every end into an exit code.

0 done, 1 the user's world (one sentence on stderr), 2 usage, 70 our bug (a report is written). Invariant: no traceback
reaches the user, and without arguments nothing but the window is imported.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
import tempfile
import textwrap
from importlib.metadata import version

from core import settings, translation
from core.errors import UserError
from core.paths import home, settings_file
from core.translation import say

DONE, WORLD, BUG, INTERRUPTED = 0, 1, 70, 130


def run(argv: list[str]) -> int:
    """The exit code of one call."""
    open_closed_streams()
    logging.getLogger().addHandler(logging.NullHandler())  # nothing of the log on the terminal
    try:
        _need_home()
        chosen = settings.load(settings_file()).language
        translation.use(translation.system_language() if chosen == "system" else chosen)
        if not argv:
            from app.ui.start import open_window

            return open_window()
        return _command(argv)
    except UserError as error:
        return _tell(error)
    except KeyboardInterrupt:
        print(say("cli.stopped"), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return WORLD
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            _silence_stdout()
            return _tell(UserError("file_system", reason=error.strerror or str(error)))
        return _report(error)


def open_closed_streams() -> None:
    """Python has None for a standard stream that was closed before it began. In its place: one that is empty, or whose
    text goes nowhere; its number is then no other file's, and programs that are started have one too."""
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, flags)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8"))


def _tell(error: UserError) -> int:
    print(_wrapped(f"{error}"), file=sys.stderr)
    return WORLD


def _wrapped(text: str) -> str:
    """Broken between words where somebody reads it, so that long lists of names stay readable."""
    if not sys.stderr.isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _report(error: Exception) -> int:
    """Our bug: one sentence and where the whole of it stands."""
    from app import crash

    print(say("error.bug", what=str(error).partition("\n")[0] or type(error).__name__), file=sys.stderr)
    print(say("cli.report_at", file=str(crash.save_report(error))), file=sys.stderr)
    return BUG


def _need_home() -> None:
    """
    Raises:
        UserError: home_unusable, because the folder of all state cannot be made or written.
    """
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        translation.use(translation.system_language())
        raise UserError("home_unusable", folder=str(folder), reason=error.strerror or str(error)) from None


def _command(argv: list[str]) -> int:
    if argv == ["--version"]:
        print(version("qwen-workbench"))
        return DONE
    import typer

    from app.cli import chat, doctor, finetune, machines, models, profile, serve, tokenize, tour

    commands = typer.Typer(name="qwen-workbench", help=say("cli.help"), add_completion=False, no_args_is_help=True)
    commands.command("chat", help=say("cli.chat"))(chat.chat)
    commands.add_typer(models.app, name="models", help=say("cli.models"))
    commands.add_typer(machines.app, name="machines", help=say("remote.help"))
    commands.add_typer(tokenize.app, name="tokenize", help=say("cli.tokenize"))
    commands.add_typer(finetune.app, name="finetune", help=say("cli.finetune"))
    commands.add_typer(profile.app, name="profile", help=say("cli.profile"))
    commands.command("serve", help=say("cli.serve"))(serve.serve)
    commands.command("doctor", help=say("cli.doctor"))(doctor.doctor)
    commands.command("tour", help=say("cli.tour"))(tour.tour)
    try:
        commands(argv, prog_name="qwen-workbench")
    except SystemExit as end:  # typer has said what there was to say: 2 for usage, else what the command chose
        return end.code if isinstance(end.code, int) else DONE
    return DONE


def _silence_stdout() -> None:
    """The reader of our pipe is gone; the interpreter must not complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
