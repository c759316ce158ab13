"""The command line's fine-tune from the published script's flags to a merged model that answers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import finetune_run, script_flags
from core import hardware
from core.models.importing import import_model
from core.models.steps import result
from tests.helpers import tiny_models

ROOT = Path(__file__).parents[2]
# As in finetune_lora_single_gpu.sh, made small.
SCRIPT = """--model_name_or_path Some/tiny --data_path rows.json --fp16 False --output_dir output_qwen
  --num_train_epochs 5 --max_steps 3 --per_device_train_batch_size 2 --per_device_eval_batch_size 1
  --gradient_accumulation_steps 1 --evaluation_strategy no --save_strategy steps --save_steps 2
  --save_total_limit 10 --learning_rate 1e-3 --weight_decay 0.1 --adam_beta2 0.95 --warmup_ratio 0.01
  --lr_scheduler_type cosine --logging_steps 1 --report_to none --model_max_length 64 --lazy_preprocess True
  --gradient_checkpointing --use_lora --lora_r 4""".split()


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Path:
    """A folder with training data; the library has a model."""
    result(import_model(tiny_models.write_model(tmp_path / "tiny"), "tiny", home / "models"))
    words = ["over the lazy dog", "step by step", "quick brown fox"]
    turns = [
        [{"from": "user", "value": f"Explain {number}"}, {"from": "assistant", "value": words[number % 3]}]
        for number in range(12)
    ]
    rows = [{"id": str(number), "conversations": both} for number, both in enumerate(turns)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return tmp_path


def run(place: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=place, stdin=subprocess.DEVNULL)
    assert found.returncode == code, found.stderr
    return found


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_script_flags_train_and_the_result_is_merged_and_answers(place: Path) -> None:
    ran = run(place, "finetune", "run", *SCRIPT, "--json")
    events = lines(ran.stdout)
    kinds = [event["event"] for event in events if event["event"] != "progress"]
    assert kinds == ["start", "step", "step", "checkpoint", "step", "checkpoint", "end"]
    assert "--lazy_preprocess" in ran.stderr and "--lora_r" not in ran.stderr
    recipe, end = events[0]["recipe"], events[-1]
    assert recipe["mask"] == "original" and recipe["alpha"] == 16 and recipe["dropout"] == 0.05 and recipe["rank"] == 4
    assert end["state"] == "finished" and end["result"] == end["run"] == "tiny-lora" and end["error"] is None
    assert (place / "output_qwen" / "adapter_model.safetensors").is_file()
    merged = lines(run(place, "finetune", "merge", "tiny-lora", "--name", "whole", "--json").stdout)
    assert merged[-1]["event"] == "stored" and merged[-1]["model"]["source"] == "tiny + tiny-lora"
    ask = ("-p", "Explain 1", "--greedy", "--max-new-tokens", "6", "--json")
    assert json.loads(run(place, "chat", "-m", "whole", *ask).stdout)["text"]
    run(place, "finetune", "export", "tiny-lora", "--to", "given", "--base-as", "relative")
    config = json.loads((place / "given" / "adapter_config.json").read_text())
    assert (place / "given" / config["base_model_name_or_path"] / "config.json").is_file()
    assert not (place / "given" / "workbench.json").exists() and (place / "given" / "README.md").is_file()
    assert "given" in run(place, "finetune", "export", "tiny-lora", "--to", "given", code=1).stderr
    run(place, "finetune", "export", "tiny-lora", "--to", "four", "--format", "int4")
    assert "quantization_config" in json.loads((place / "four" / "config.json").read_text())


@pytest.mark.timeout(240)
def test_ctrl_c_keeps_what_was_learned_and_resume_goes_on(place: Path) -> None:
    recipe = 'model = "tiny"\ndata = "rows.json"\nname = "mine"\nbatch = 2\nsteps = 100000\nsave_every = 100000\n'
    (place / "recipes").mkdir()
    (place / "recipes" / "mine.toml").write_text(recipe)
    command = [
        sys.executable,
        str(ROOT / "main.py"),
        "finetune",
        "run",
        "recipes/mine.toml",
        "--json",
        "--set",
        "rank=2",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place) as process:
        assert process.stdout and process.stderr
        for line in process.stdout:
            if json.loads(line)["event"] == "step":
                process.send_signal(signal.SIGINT)
                break
        events = lines(process.stdout.read())
        assert process.wait() == 130 and "finetune resume mine" in process.stderr.read()
    assert events[-1]["event"] == "end" and events[-1]["state"] == "stopped" and events[-1]["result"] == "mine"
    run(place, "finetune", "resume", "mine", "--detach")
    deadline = time.monotonic() + 60
    while (told := listed(place))["step"] <= events[-1]["step"] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert told["state"] == "running"
    assert json.loads(run(place, "finetune", "pause", "mine", "--json").stdout)["state"] == "paused"
    assert listed(place)["state"] == "paused"
    assert json.loads(run(place, "finetune", "stop", "mine", "--json").stdout)["state"] == "stopped"


def listed(place: Path) -> dict[str, Any]:
    runs = json.loads(run(place, "finetune", "list", "--json").stdout)["runs"]
    found: dict[str, Any] = runs[0]
    return found


def test_what_cannot_be_trained_is_said_before_anything_is_made(place: Path, home: Path) -> None:
    run(place, "finetune", "run", "--model_name_or_path", "tiny", "--data_path", "rows.json", "--neftune", "5", code=2)
    run(place, "finetune", "run", code=2)
    for wrong, word in (("model=nothing-here", "nothing-here"), ("frob=1", "frob"), ("batch=0", "batch")):
        given = ("--set", "model=tiny", "--set", "data=rows.json", "--set", wrong)
        assert word in run(place, "finetune", "run", *given, code=1).stderr
    assert "finetune settings" in run(place, "finetune", "run", *given[:-1], "frob=1", code=1).stderr
    shown = run(place, "finetune", "settings").stdout
    assert "learning_rate" in shown and "adamw_8bit" in shown and "finetune settings" in run(
        place, "finetune", "run", "--help").stdout  # fmt: skip
    assert "tiny" in run(place, "finetune", "merge", "tiny", code=1).stderr
    assert "no-run" in run(place, "finetune", "resume", "no-run", code=1).stderr
    assert not (home / "runs").exists()


def test_flags_become_a_recipe() -> None:
    found = script_flags.read(["--data_path=x", "--q_lora", "True", "--lora_target_modules", "c_attn", "w1", "--fp16"])
    assert found.values["method"] == "qlora" and found.values["precision"] == "float16"
    assert found.values["targets"] == ("c_attn", "w1") and found.values["batch"] == 16
    assert script_flags.read(["--max_steps", "-1"]).values["steps"] == 0
    assert script_flags.read(["--use_lora", "False"]).values["method"] == "full"
    assert script_flags.read(["--per_device_train_batch_size", "4"]).values["batch"] == 4
    read = script_flags.read(["--eval_data_path", "y", "--evaluation_strategy", "no", "--fix_vit", "True"])
    assert "eval_data" not in read.values and read.unused == ["eval_data_path"]


def test_the_batch_of_the_flags_is_that_of_each_device(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--model_name_or_path", "tiny", "--data_path", str(place / "rows.json"), "--use_lora",
             "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "8"]  # fmt: skip
    spread = [*flags, "--deepspeed", "finetune/ds_config_zero2.json"]
    monkeypatch.setattr(hardware, "usable_cards", lambda: tuple("0123"))
    asked, _ = finetune_run._asked(spread, [])
    assert (asked.devices, asked.parallel, asked.batch) == (4, "zero2", 64)
    asked, _ = finetune_run._asked(flags, ["devices=2", "parallel=fsdp"])
    assert (asked.devices, asked.parallel, asked.batch) == (2, "fsdp", 32)
    assert finetune_run._asked(spread, ["devices=2", "batch=7"])[0].batch == 7
    (place / "mine.json").write_text('{"zero_optimization": {"stage": 3}}')
    assert script_flags.read(["--deepspeed", str(place / "mine.json")], 2).values["parallel"] == "zero3"
    monkeypatch.setattr(hardware, "usable_cards", lambda: ("0",))
    asked, _ = finetune_run._asked(spread, [])
    assert (asked.devices, asked.parallel, asked.batch) == (1, "none", 16)


@pytest.mark.parametrize(
    "words",
    ["--bf16 True --fp16 True", "--bf16 perhaps", "--learning_rate", "--lora_r four", "--fix_vit False", "stray",
     "--optim lion", "--frobnicate 3", "--deepspeed elsewhere.json", "--lora_bias all"],
)  # fmt: skip
def test_flags_that_would_be_passed_over_are_refused(words: str) -> None:
    with pytest.raises(typer.BadParameter):
        script_flags.read(words.split())
