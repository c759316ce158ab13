"""The commands about fine-tunes, in this process, with a worker that trains nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli.entry import run
from app.services import training
from core import paths
from core.protocol.messages import Finished
from core.run_dir import RunDir
from core.translation import say
from tests.helpers import fake_training, shelf_models
from tests.helpers.run_pages import DIVERGED, finished, put, recipe
from tests.helpers.tiny_models import write_tokenizer
from tests.helpers.training_data import MESSAGES, as_lines

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "en")
    monkeypatch.setattr(training, "detached_argv", lambda name, run_dir: fake_training.argv(run_dir))


@pytest.fixture
def model() -> str:
    shelf_models.put(paths.models(), "tiny")
    write_tokenizer(paths.models() / "tiny")
    return "tiny"


def call(said: Said, *arguments: str, code: int = 0) -> tuple[str, str]:
    assert run(["finetune", *arguments]) == code
    found = said.readouterr()
    return found.out, found.err


# --- stop, pause, merge and export of runs in every state ----------------------------


@pytest.mark.parametrize("end", [finished(reason="paused"), DIVERGED])
def test_a_run_at_rest_is_stopped_and_its_checkpoint_kept(capsys: Said, end: Finished) -> None:
    put(recipe(), steps=100, end=end, checkpoints=(100,))
    err = call(capsys, "export", "identity", "--to", "out", code=1)[1]
    assert "finetune stop identity" in err and "step 100" in err and "let it finish" not in err.lower()
    out = call(capsys, "stop", "identity")[0]
    assert "Stopped at your request" in out and "checkpoint of step 100" in out
    assert RunDir(paths.runs() / "identity").record().end == Finished("identity", "cancelled")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("end", "stop", "pause"),
    [(finished(), "run_is_finished", "run_is_finished"), (DIVERGED, "run_nothing_to_keep", "run_not_running"),
     (finished(reason="paused"), "run_nothing_to_keep", "run_is_paused"),
     (None, "run_nothing_to_keep", "run_not_running"),
     (finished(reason="cancelled"), "run_is_stopped", "run_is_stopped")],
)  # fmt: skip
def test_what_cannot_be_asked_of_a_run_is_said_as_it_stands(capsys: Said, end: Finished, stop: str, pause: str) -> None:
    put(recipe(), steps=7, end=end)
    assert call(capsys, "stop", "identity", code=1)[1].strip() == say(f"error.{stop}", run="identity")
    assert call(capsys, "pause", "identity", code=1)[1].strip() == say(f"error.{pause}", run="identity")
    assert "before its first checkpoint" in call(capsys, "merge", "identity", code=1)[1]


@pytest.mark.errors_logged
def test_a_failed_run_ends_for_who_waits_whatever_else_fails(
    capsys: Said, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was waited for without end where the summary in the database could not be written."""

    async def fail(*args: object) -> None:
        raise RuntimeError("the database is locked")

    monkeypatch.setattr(training.TrainingService, "_sum_up", fail)
    assert "out of hand" in start(capsys, model, tmp_path, mood="diverges", code=1, monkeypatch=monkeypatch)[1]


# --- what is looked at before a run is made ------------------------------------------


def start(said: Said, model: str, place: Path, *more: str, mood: str, code: int,
          monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:  # fmt: skip
    """A run whose worker behaves so."""
    create = training.run_files.create

    def created(*args: object) -> training.RunFiles:
        made = create(*args)  # type: ignore[arg-type]
        (made.path / "config.json").write_text(json.dumps({"steps": 60, "step_s": 0.0, "mood": mood}))
        return made

    monkeypatch.setattr(training.run_files, "create", created)
    (place / "d.jsonl").write_text(as_lines(MESSAGES))
    given = ("--set", f"model={model}", "--set", f"data={place / 'd.jsonl'}", *more)
    return call(said, "run", *given, code=code)


def test_a_failed_run_says_why_once_and_the_list_in_a_few_words(
    capsys: Said, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = start(capsys, model, tmp_path, "--set", "name=a/b", mood="diverges", code=1, monkeypatch=monkeypatch)
    assert out.strip() == "Failed after 49 steps." and err.count("out of hand") == 1
    assert "called a-b" in err and "Ctrl-C" in err
    monkeypatch.setenv("COLUMNS", "200")
    assert "failed: The loss went out of hand" in call(capsys, "list")[0]


def test_a_name_that_is_taken_or_long_is_told(
    capsys: Said, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    name = "a-very-long-name-of-a-run-that-nobody-wants-to-read"
    put(recipe(name), steps=1, end=finished(reason="cancelled"))
    assert f"{name[:31]}…" in call(capsys, "list")[0]
    assert "stopped before" in call(capsys, "stop", f"{name[:31]}…", code=1)[1]
    err = start(capsys, model, tmp_path, "--set", f"name={name}", mood="good", code=0, monkeypatch=monkeypatch)[1]
    assert f"called {name}-2, since there is a run {name} already" in err


def test_data_that_cannot_be_used_makes_no_run(capsys: Said, model: str, tmp_path: Path) -> None:
    files = {"empty.json": "", "rows.jsonl": as_lines([3]), "odd.csv": "left,right\nq,a\n", "none.json": "[]"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    words = {"missing.json": "no file", ".": "folder", "empty.json": "no rows", "none.json": "no rows"}
    for name, word in (words | {"rows.jsonl": "finetune check", "odd.csv": "[columns]"}).items():
        for how in ((), ("--detach",)):
            given = ("--set", f"model={model}", "--set", f"data={tmp_path / name}")
            err = call(capsys, "run", *given, *how, code=1)[1]
            assert word in err and len(err.splitlines()) == 1
    wrong = ("--set", f"model={model}", "--set", f"data={tmp_path / 'odd.csv'}", "--set")
    assert "no column frag; it has left, right" in call(
        capsys, "run", *wrong, 'columns={question="frag", answer="right"}', code=1)[1]  # fmt: skip
    assert "conversation" in call(capsys, "run", *wrong, 'columns={question="left"}', code=1)[1]
    assert not paths.runs().exists()


# --- what is asked for, and said of it ----------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [("weight_decay=abc", "It can be a number from 0 to 10."), ("method=banana", "It can be full, lora or qlora."),
     ("packing=5", "It can be true or false."), ("steps=1.5", "It can be a whole number from 0 to 100,000,000."),
     ("length=9999999", "between 16 and 1,048,576"), ("seed=-1", "between 0 and 2,147,483,647"),
     ("targets=5", "It can be a list of texts"), ("learnig_rate=1", "Did you mean learning_rate?"),
     ("model=", '"model" is empty')],
)  # fmt: skip
def test_what_a_setting_can_be_is_said_as_a_sentence(capsys: Said, model: str, change: str, said: str) -> None:
    given = ("--set", f"model={model}", "--set", "data=d.jsonl", "--set", change)
    assert said in call(capsys, "run", *given, code=1)[1]


def test_what_is_no_recipe_is_said_in_words(capsys: Said, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(as_lines(MESSAGES))
    (tmp_path / "latin.toml").write_bytes("name = 'é'".encode("latin-1"))
    (tmp_path / "wrong.toml").write_text("model = 'm'\nepochs 3\n")
    (tmp_path / "cut.toml").write_text("model = '")
    words = {"none.toml": "no recipe", ".": "a folder", "d.jsonl": "training data and no recipe", "latin.toml": "UTF-8",
             "wrong.toml": "Line 2", "cut.toml": "recipe"}  # fmt: skip
    for name, word in words.items():
        err = call(capsys, "run", str(tmp_path / name), code=1)[1]
        assert word in err and "Errno" not in err and "codec" not in err and "(at" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [("--model_name_or_path tiny", "--data_path is missing"), ("--data_path x", "--model_name_or_path is missing"),
     ("--q_lora maybe", "True or False"), ("--lora_r four", "whole number"), ("--optim lion", "adamw_torch"),
     ("--learning_rat 1", "Did you mean --learning_rate?"), ("r.toml --learning_rate 3", "--set learning_rate=3"),
     ("r.toml --num_train_epochs=2", "--set epochs=2"), ("r.toml stray", "stray")],
)  # fmt: skip
def test_flags_are_refused_with_what_to_do(
    capsys: Said, words: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    err = call(capsys, "run", *words.split(), code=2)[1]
    assert said in " ".join(err.replace("│", " ").split()) and "RECIPE.toml" in err


def test_an_export_into_a_folder_that_cannot_be_made_does_not_speak_of_a_full_disk(capsys: Said) -> None:
    run_files = put(recipe(), end=finished())
    run_files.result.mkdir()
    (run_files.result / "config.json").write_text('{"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}')
    (run_files.result / "model.safetensors").write_bytes(b"")
    err = call(capsys, "export", "identity", "--to", "/proc/nope/x", code=1)[1]
    assert "/proc/nope" in err and "cannot be made" in err
