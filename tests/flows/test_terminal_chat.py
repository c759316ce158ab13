"""`chat` in a real terminal: what a person types and sees. The real command; its model says what it is asked to say,
but for the first test, which has the starter."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from core import paths
from tests.helpers.terminal import FAKE, ROOT, Terminal
from tests.helpers.waiting import wait_until

END = "tokens/s"  # of the line below each reply
EVIL = "\\x1b[2J\\x1b]0;owned\\x07 \\x9b31m \\u202egnp"
PASTE, PASTED = "\033[200~", "\033[201~"

MARKDOWN = r"""# Title 标题

**bold** and `code`, <b>html</b>, $a_1*b$ and \(x\), [link](http://x.y/z) ![img](pic.png)
这是一个很长的没有空格的中文段落，用来测试换行是否正确（括号也要测试），宽字符不应该被切断。

3. one
4. two

```python
def f(x):
    return "中文" + x
```

| a | b |
|---|---|
| 1 | 单元格 |

<div>
raw
</div>"""

Model = Callable[[str], str]


@pytest.fixture
def model(tmp_path: Path, home: Path) -> Model:
    def made(name: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}')
        return str(tmp_path / name)

    return made


def test_the_starter_answers_and_ctrl_c_keeps_what_came(home_with_starter: Path) -> None:
    command = [sys.executable, str(ROOT / "main.py"), "chat", "-m", "starter", "--greedy"]
    with Terminal(command) as terminal:
        terminal.wait_for("User>")
        terminal.send("Tell me a long story.\r")
        terminal.until(lambda: re.search("[a-z]{3}", terminal.below("long story.\n")), "words")
        terminal.send("\x03")
        came = terminal.wait_for("Stopped. What came is kept", after="long story.\n").partition("Stopped")[0]
        terminal.wait_for("\nUser>", after=END)
        kept = terminal.enter(":history")
        assert " ".join(kept.partition("starter[0]: ")[2].split()).startswith(" ".join(came.split()))
        assert END in terminal.enter("Thank you.")
        terminal.send("\x04")
        assert terminal.end() == 0


def test_commands(model: Model, tmp_path: Path) -> None:
    with Terminal([*FAKE, "chat", "-m", model("chat"), "--seed", "5"], columns=120) as terminal:
        terminal.wait_for("User>")
        told = terminal.enter(":help")
        assert all(f":{word}" in told for word in ("exit, :quit, :q", "clear-history, :clh", "reset-conf", "seed [N]"))
        assert "Alt+Enter" in told
        assert terminal.enter(":conf top_p=0.1 top_p=0.5 max_new_tokens = 9") == "top_p=0.5\nmax_new_tokens=9"
        assert "top_k cannot be many; nothing was changed" in terminal.enter(":conf top_k=many")
        assert "  seed=5 " in terminal.enter(":conf")
        assert terminal.enter("how").startswith("top_p=0.5 top_k=20 max_new_tokens=9 seed=5")
        terminal.enter(":reset-conf")
        assert terminal.enter(":conf top_p") == "top_p=0.8"
        assert "seed cannot be x" in terminal.enter(":seed x") and "Seed: 6." in terminal.enter(":seed 6")
        terminal.enter(":system Be brief.")
        assert terminal.enter("turns").startswith("system:Be brief. user:how assistant:top_p")
        assert terminal.enter(":retry").startswith("system:Be brief. user:how assistant:top_p")
        told = terminal.enter(":his")
        assert "  History (2)\nUser[0]: how\nQWen[0]: top_p" in told and "QWen[1]: system" in told
        saved = tmp_path / "talk.md"
        assert "written to" in terminal.enter(f":save {saved}") and "already" in terminal.enter(f":save {saved}")
        assert "There is a folder" in terminal.enter(f":save {tmp_path}")
        assert "## System prompt\n\nBe brief.\n\n## User\n\nhow\n" in saved.read_text("utf-8")
        assert "Did you mean :help?" in terminal.enter(":hlep")
        assert "takes nothing after it" in terminal.enter(":clear now")
        assert "user::help\n9 tokens" in terminal.enter(" :help")  # as text
        assert terminal.enter(":clh").startswith("3 questions")
        assert "no conversation yet" in terminal.enter(":retry") and "(0)" in terminal.enter(":history")
        terminal.send(":clear\r")
        terminal.wait_for_bytes(b"\x1b[2J")
        terminal.send(":q\r")
        assert terminal.end() == 0


def test_lines_keys_and_history(model: Model, home: Path) -> None:
    name = model("chat")
    with Terminal([*FAKE, "chat", "-m", name]) as terminal:
        terminal.wait_for("User>")
        terminal.send(f"turns one\\\rtwo\x1b\rthree{PASTE} four\nfive\\{PASTED}six\r")
        terminal.wait_for("user:turns one\ntwo\nthree four\nfive\\six\n9 tokens")
        terminal.wait_for("\nUser>", after="4,096")
        terminal.send("thrown away\x03\x03")
        terminal.wait_for("Ctrl-D or :exit leaves", after="thrown away")
        terminal.wait_for("\nUser>", after="leaves")
        terminal.send(":conf te")
        terminal.wait_for("temperature=", after=":conf te\n")
        terminal.send("\t")
        terminal.wait_for(":conf temperature=")
        terminal.send("\x03")
        terminal.wait_for("User>", after="temperature=\n")
        assert "There is nothing to send" in terminal.enter("")
        terminal.enter("say remembered")
        terminal.send("\x04")
        assert terminal.end() == 0
    assert paths.terminal_history().stat().st_mode & 0o777 == 0o600
    with Terminal([*FAKE, "chat", "-m", name], environment={"LANG": "zh_CN.UTF-8"}) as terminal:
        terminal.wait_for("用户>")
        terminal.send("\x1b[A")
        terminal.wait_for("用户> say remembered")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 143


def test_a_reply_that_is_stopped_or_dies_is_kept(model: Model) -> None:
    with Terminal([*FAKE, "chat", "-m", model("chat")]) as terminal:
        terminal.wait_for("User>")
        terminal.send("forever\r")
        terminal.wait_for("word9 ", after="forever")
        terminal.send("unseen")
        terminal.send("\x03\x03\x03")
        stopped = terminal.wait_for("Stopped. What came is kept", after="forever").partition("Stopped.")[0]
        words = [int(number) for number in re.findall(r"word(\d+)", stopped)]
        assert words == list(range(1, len(words) + 1)) and "unseen" not in stopped
        terminal.wait_for("\nUser> unseen", after="4,096")
        terminal.send("\x03")
        assert "word1 word2 " in (told := terminal.enter(":continue")) and "and on after" in told
        told = terminal.enter("die")
        assert told.startswith("Some words came.\nThe model process was killed") and "What had come is kept" in told
        assert "assistant:Some words came. user:turns" in " ".join(terminal.enter("turns").split())
        front = psutil.Process(terminal.process.pid)
        for child in front.children(recursive=True):  # between two questions
            child.kill()
        wait_until(lambda: not front.children())
        assert terminal.enter("say back again").startswith("back again\n9 tokens")
        assert ":clear-history starts a new one" in terminal.enter("full")


def test_markdown_is_shown_whole_and_commands_nothing(model: Model) -> None:
    with Terminal([*FAKE, "chat", "-m", model("chat")], columns=60, rows=14) as terminal:
        terminal.wait_for("User>")
        code = "\n".join(f"x{number} = {number}" for number in range(40))  # higher than the screen
        terminal.send(f"{PASTE}say {MARKDOWN}\n\n```python\n{code}\n```\n\nThe end.{PASTED}\r")
        shown = terminal.wait_for(END).rpartition("      The end.\n")[2].partition("The end.\n")[0]
        title, *lines = [line.strip() for line in shown.splitlines() if line.strip()]
        text = " ".join(lines)
        assert title == "Title 标题"
        assert "bold and code, <b>html</b>, $a_1*b$ and \\(x\\), link (http://x.y/z) img (pic.png)" in text
        assert '3. one 4. two def f(x): return "中文" + x' in text and "<div> raw </div>" in text
        assert re.findall(r"x(\d+) =", text) == [str(number) for number in range(40)]
        chinese = MARKDOWN.splitlines()[3]
        wide = [line for line in lines if line[0] in chinese and len(line) > 4]
        assert "".join(wide) == chinese and len(wide) == 2 and len(wide[0]) <= 30
        told = terminal.enter("think one two // The answer.")
        assert told.startswith("Thought for") and "\n\nThe answer.\n" in told and "one two" not in told
        assert terminal.enter(":thinking") == "one two"
        told = terminal.enter(f"escaped {EVIL}")
        assert told.startswith("␛[2J␛]0;owned␇ \ufffd31m \ufffdgnp")
        assert "]: ␛[2J␛]0;owned␇" in terminal.enter(":history")
        forbidden = (b"\x1b[2J", b"\x1b]0", b"\xc2\x9b", "\u202e".encode())
        assert not [data for data in forbidden if data in terminal.raw]


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=["dumb", "no colour"])
def test_plain_terminals(model: Model, variables: dict[str, str]) -> None:
    with Terminal([*FAKE, "chat", "-m", model("chat")], environment=variables, columns=24) as terminal:
        terminal.wait_for("User>")
        told = terminal.enter("say **b** 中文")
        assert told.startswith("**b** 中文\n9 tokens" if "TERM" in variables else "b 中文\n9 tokens")
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", terminal.raw)


def test_a_base_model_writes_on(model: Model) -> None:
    with Terminal([*FAKE, "chat", "-m", model("base")]) as terminal:
        terminal.wait_for("Text>")
        assert "does not think" in terminal.enter(":conf thinking=on", "Text>")
        assert terminal.enter("Once **upon**", "Text>").startswith(" and on after 'pon**'\n9 tokens")
        assert terminal.enter("", "Text>").startswith(' and on after "on**\'"')


def test_one_question_beside_a_terminal(model: Model, tmp_path: Path) -> None:
    """Markdown on a terminal; a file or a pipe gets the text as it is, whoever asks."""
    name = model("chat")
    with Terminal([*FAKE, "chat", "-m", name, "-p", "think so // **bold**"]) as terminal:
        assert terminal.end() == 0
        assert terminal.text().split() == ["so", "bold"]
    out = tmp_path / "out"
    line = " ".join([*FAKE, "chat", "-m", name])
    with Terminal(["sh", "-c", f"{line} > {out}"]) as terminal:
        terminal.wait_for("User>")
        terminal.enter("say **bold**")
        terminal.send("\x04")
        assert terminal.end() == 0 and out.read_text() == "**bold**\n"
    question = "say **a**\n" + "b\n" * 3000
    piped = subprocess.run(f"{line} | head -n 1", shell=True, input=question, capture_output=True, text=True)
    assert (piped.stdout, piped.stderr) == ("**a**\n", "")


def test_one_question_pays_for_no_line_editor() -> None:
    heavy = ("prompt_toolkit", "pygments", "markdown_it")
    code = f"import sys, app.cli.entry, app.cli.chat; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "[]"
