"""`chat` as scripts and terminals use it, with a worker that says how it was asked."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cli.entry import run
from core import paths, settings
from core.load_options import LoadOptions
from core.protocol.messages import Tokenized
from core.remote_engine import RemoteEngine, RemoteModel
from core.translation import say
from tests.helpers import shelf_models
from tests.helpers.fake_answers import ARGV
from tests.helpers.remote_server import RemoteServer

QUESTIONS = '{"prompt": "one", "id": "a"}\n{"prompt": "two"}\n{"prompt": "three"}\n'


@pytest.fixture(autouse=True)
def _fake_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.inference.worker_argv", lambda name: ARGV)
    monkeypatch.setenv("LANG", "en")


@pytest.fixture
def model(tmp_path: Path) -> Callable[[str], str]:
    def made(name: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}')
        return str(tmp_path / name)

    return made


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    found = capsys.readouterr()
    return found.out, found.err


Model = Callable[[str], str]


def test_options_of_loading_and_answering_arrive(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    options = ["--weights", "int8", "--kv-cache", "int8", "--attention", "eager", "--device", "cpu"]
    asked = ["chat", "-m", model("chat"), "-p", "Hi", "--system", "Be brief.", "--adapter", str(adapter), *options]
    assert run([*asked, "--context-length", "100", "--json"]) == 0
    out, err = said(capsys)
    got = json.loads(json.loads(out)["text"])
    assert got["turns"] == [["system", "Be brief."], ["user", "Hi"]] and got["adapter"] == str(adapter)
    assert LoadOptions(**got["options"]) == LoadOptions("int8", "int8", "eager", "cpu", 100)
    assert err == say("notice.system_prompt_weak") + "\n"


def test_what_was_chosen_in_the_window_counts(model: Model, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = model("chat")
    home.mkdir()
    chosen = settings.Settings(load_options={name: LoadOptions(weights="int4", kv_cache="int8")})
    settings.save(paths.settings_file(), chosen)
    assert run(["chat", "-m", name, "-p", "Hi", "--weights", "int8"]) == 0
    out, err = said(capsys)
    assert LoadOptions(**json.loads(out)["options"]) == LoadOptions(weights="int8", kv_cache="int8")
    # What is known of a model is not told at every call; what rules unseen is.
    assert err == say("cli.kept_options", name=name, options="--kv-cache int8", override="--kv-cache auto") + "\n"
    assert run(["chat", "-m", name, "-p", "Hi", "--weights", "auto", "--kv-cache", "auto"]) == 0
    assert said(capsys)[1] == ""


def test_an_adapter_of_the_library_is_called_by_its_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelf_models.put(paths.models(), "first")
    shelf_models.put_adapter(paths.models(), "cooking", "first")
    settings.save(paths.settings_file(), settings.Settings(load_options={"first": LoadOptions(context_length=600)}))
    for asked in (["-m", "first", "--adapter", "Cooking"], ["-m", "cooking"]):
        assert run(["chat", *asked, "-p", "Hi", "--json"]) == 0
        out, err = said(capsys)
        assert json.loads(json.loads(out)["text"])["adapter"] == str(paths.models() / "cooking")
        assert json.loads(out).get("adapter", "") == ("Cooking" if "--adapter" in asked else "")
        assert "--context-length 600" in err and "--context-length 0" in err  # of the base, which is loaded
    assert run(["chat", "-m", "first", "--adapter", "first", "-p", "Hi"]) == 1
    assert said(capsys)[1].endswith(say("error.adapter_is_model", name="first") + "\n")
    assert run(["chat", "-m", "first", "--adapter", "baking", "-p", "Hi"]) == 1
    assert said(capsys)[1].endswith(say("error.adapter_folder_missing", folder="baking") + "\n")


def test_a_context_without_room_is_not_blamed_on_the_message(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chat", "-m", model("chat"), "-p", "Hi", "--context-length", "1"]) == 1
    assert said(capsys) == ("", say("error.context_too_short", asked=1, least=64) + "\n")


def test_a_model_whose_folder_is_gone_is_told_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Used where it lies, and deleted there: it is in no way a tokenizer that is missing."""
    folder = tmp_path / "elsewhere"
    shelf_models.put(paths.models(), "mine", location=str(folder))
    gone = say("error.model_folder_gone", name="mine", folder=str(folder)) + "\n"
    for asked in (["chat", "-m", "mine", "-p", "Hi"], ["tokenize", "-m", "mine", "--text", "Hi"],
                  ["models", "plan", "-m", "mine"]):  # fmt: skip
        assert run(asked) == 1
        assert said(capsys) == ("", gone)
    assert run(["models", "list"]) == 0 and "gone" in said(capsys)[0]
    assert run(["models", "show", "mine"]) == 0
    assert gone in said(capsys)[0]
    assert run(["models", "show", "mine", "--json"]) == 0 and json.loads(said(capsys)[0])["gone"] is True
    assert run(["models", "remove", "mine", "--yes"]) == 0


def test_an_empty_library_has_nothing_to_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "verify"]) == 0
    assert said(capsys) == ("", say("library.none") + "\n")


def test_a_model_of_another_machine_is_loaded_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RemoteServer() as server:
        engine = RemoteEngine("lab", f"{server.address}/v1", (RemoteModel("taught"), RemoteModel("new")))
        home.mkdir()
        settings.save(paths.settings_file(), settings.Settings(remote_engines=(engine,)))
        assert run(["chat", "-m", "lab/taught", "-p", "Hi", "--weights", "int8", "--context-length", "900"]) == 1
        assert "so --weights int8 --context-length 900 can change nothing" in said(capsys)[1] and not server.bodies
        assert run(["chat", "-m", "lab/taught", "-p", "Hi"]) == 0 and said(capsys)[1] == ""
        assert run(["chat", "-m", "lab/nope", "-p", "Hi"]) == 0
        assert "lab/nope is none of the models that were chosen there: lab/taught, lab/new" in said(capsys)[1]
        server.key = "sk"
        assert run(["chat", "-m", "lab/taught", "-p", "Hi"]) == 1
        told = said(capsys)[1]
        assert "--key" in told and "QWEN_WORKBENCH_KEY_NAME" in told


def test_streams_that_were_closed_are_empty(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `<&-` and `>&-` of a shell leave them, and programs that start others without a terminal."""
    name = model("chat")
    for closed in ("stdin", "stdout", "stderr"):
        with monkeypatch.context() as patch:
            patch.setattr(f"sys.{closed}", None)
            assert run(["chat", "-m", name, "-p", "Hi"]) == 0
            stream = getattr(sys, closed)
            stream.close()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", None)
        assert run(["chat", "-m", name]) == 1
        sys.stdin.close()


def test_a_base_model_is_said_to_be_one(
    model: Model, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("  The capital of Ethiopia is \n"))
    assert run(["chat", "-m", model("base")]) == 0
    out, err = said(capsys)
    assert err == say("notice.base_model") + "\n"
    assert json.loads(out)["turns"] == [["user", "  The capital of Ethiopia is "]]  # to the last space


def test_the_last_line_break_of_a_pipe_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def tokens(model: str, text: str, unsafe_special: bool) -> Tokenized:
        asked.append(text)
        return Tokenized("job", ())

    monkeypatch.setattr("app.cli.tokenize._tokens", tokens)
    for piped in ("text\n", "text", " two\nlines\n\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(piped))
        assert run(["tokenize", "-m", "any"]) == 0
    assert run(["tokenize", "-m", "any", "--text", "text\n"]) == 0
    assert asked == ["text", "text", " two\nlines\n", "text\n"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--weights", "int5", "-p", "x"], 2),
        (["--batch", "questions"], 2),
        (["--batch", "questions", "--out", "answers", "-p", "x"], 2),
        (["--batch", "no-such-file", "--out", "answers"], 1),
        (["--adapter", "no-such-folder", "-p", "x"], 1),
        (["--context-length", "1", "-p", "x"], 1),
        (["--seed", "-1", "-p", "x"], 2),
        (["--seed", str(2**63), "-p", "x"], 2),
        (["--max-new-tokens", str(2**31), "-p", "x"], 2),
    ],
)
def test_mistakes_are_told(model: Model, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> None:
    assert run(["chat", "-m", model("chat"), *arguments]) == code
    out, err = said(capsys)
    assert out == "" and err and "Traceback" not in err


# --- files of questions -------------------------------------------------------------


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_a_file_of_questions_becomes_a_file_of_answers(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text(QUESTIONS, "utf-8")
    out, name = tmp_path / "out", model("chat")
    asked = ["chat", "-m", name, "--batch", str(tmp_path / "in"), "--out", str(out), "--system", "S"]
    assert run([*asked, "--json"]) == 0
    summary, _ = said(capsys)
    assert json.loads(summary) == {
        "model": name, "out": str(out), "total": 3, "answered": 3, "failed": 0, "earlier": 0, "finish_reason": "stop"
    }  # fmt: skip
    found = rows(out)
    assert [row["index"] for row in found] == [0, 1, 2] and found[0]["id"] == "a"
    assert [row["prompt"] for row in found] == ["one", "two", "three"]
    assert json.loads(found[1]["text"]) == [["system", "S"], ["user", "two"]]
    assert (found[2]["finish_reason"], found[2]["figures"]) == ("stop", {"prompt_tokens": 2, "new_tokens": 3})
    assert not list(tmp_path.glob("out.*"))


def test_files_that_cannot_be_read_or_written_are_told_before_a_model_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, asked = tmp_path / "out", ["chat", "-m", str(tmp_path), "--batch"]
    out.touch()
    assert run([*asked, str(tmp_path / "none"), "--out", str(out)]) == 1
    assert "could not be read (No such file or directory)" in said(capsys)[1]
    assert run([*asked, str(tmp_path), "--out", str(out)]) == 1
    assert "could not be read (Is a directory)" in said(capsys)[1]
    (tmp_path / "in").write_bytes(b"\xff\xfe")
    assert run([*asked, str(tmp_path / "in"), "--out", str(out)]) == 1
    assert said(capsys)[1] == say("error.batch_no_text", file=str(tmp_path / "in")) + "\n"
    (tmp_path / "in").write_text("one", "utf-8")
    assert run([*asked, str(tmp_path / "in"), "--out", str(tmp_path / "none" / "out")]) == 1
    assert "There is no folder" in said(capsys)[1] and not (tmp_path / "none").exists()


def test_progress_is_told_now_and_then(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.batch.QUIET_S", 0)
    monkeypatch.setattr("app.cli.batch.SETTLED_S", 0)
    (tmp_path / "in").write_text(QUESTIONS, "utf-8")
    assert run(["chat", "-m", model("chat"), "--batch", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    lines = said(capsys)[1].splitlines()
    assert lines[0] == "1 of 3 answered, 3 tokens" and lines[-1].startswith("3 of 3 answered, 9 tokens")
    assert any(" left" in line for line in lines[1:-1])


def test_a_second_start_answers_what_is_missing(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a kill the file has lines as they came, the last of them cut."""
    (tmp_path / "in").write_text(QUESTIONS, "utf-8")
    out, name = tmp_path / "out", model("chat")
    kept = {"index": 2, "prompt": "three", "model": name, "text": "kept"}
    cut = json.dumps({"index": 0, "id": "a", "prompt": "one", "model": name, "text": "cut"})
    out.write_text(json.dumps(kept) + "\n" + cut[:-5], "utf-8")
    asked = ["chat", "-m", name, "--batch", str(tmp_path / "in"), "--out", str(out)]
    assert run(asked) == 0
    assert [json.loads(row["text"]) if row["index"] < 2 else row["text"] for row in rows(out)] == [
        [["user", "one"]], [["user", "two"]], "kept"
    ]  # fmt: skip
    before = out.read_bytes()
    assert run(asked) == 0 and out.read_bytes() == before
    assert said(capsys)[0].startswith("3 questions are")
    (tmp_path / "single").write_text("one", "utf-8")
    assert run(["chat", "-m", name, "--batch", str(tmp_path / "single"), "--out", str(tmp_path / "only")]) == 0
    assert said(capsys)[0].startswith("The question is answered")
    assert run(["chat", "-m", model("other"), *asked[3:]]) == 1
    assert "delete" in said(capsys)[1] and out.read_bytes() == before


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (["--system", "T"], "system"),
        (["--system", "S", "--weights", "int8"], "weights"),
        (["--system", "S", "--max-new-tokens", "9"], "max_new_tokens"),
        (["--system", "S", "--greedy"], "temperature"),
        (["--system", "S", "--seed", "4"], "seed"),
    ],
)
def test_answers_of_other_settings_are_not_mixed(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], other: list[str], named: str
) -> None:
    (tmp_path / "in").write_text("interrupt now\nfirst\nsecond\n", "utf-8")
    asked = ["chat", "-m", model("chat"), "--batch", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert run([*asked, "--system", "S"]) == 130
    before = (tmp_path / "out").read_bytes()
    assert run([*asked, *other]) == 1
    assert named in said(capsys)[1].rpartition("settings (")[2] and (tmp_path / "out").read_bytes() == before
    assert run([*asked, "--system", "S"]) == 130  # the same are no others
    old = [{key: value for key, value in row.items() if key != "settings"} for row in rows(tmp_path / "out")]
    (tmp_path / "out").write_text("".join(json.dumps(row) + "\n" for row in old), "utf-8")
    assert run([*asked, *other]) == 130  # what tells no settings is taken as it is


@pytest.mark.parametrize(("word", "code"), [("interrupt", 130), ("die", 1)])
def test_what_came_is_kept(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, code: int
) -> None:
    (tmp_path / "in").write_text(f"{word} now\nfirst\nsecond\n", "utf-8")
    asked = ["chat", "-m", model("chat"), "--batch", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert run(asked) == code
    assert [row["index"] for row in rows(tmp_path / "out")] == [1, 2]
    assert said(capsys)[1].strip()


def test_a_question_that_cannot_be_answered_stops_no_other(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("one\nlong long\ntwo\n", "utf-8")
    asked = ["chat", "-m", model("chat"), "--batch", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    for earlier in (0, 2):  # failed ones are tried again
        assert run([*asked, "--json"]) == 1
        summary, err = said(capsys)
        assert json.loads(summary)["earlier"] == earlier and "1 of 3" in err
        assert rows(tmp_path / "out")[1]["error"] == say("error.message_too_long", tokens=9, limit=8)
