"""The exact command that measures a cell, or a table, again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from core.profiling.plan import Cell, ProfilePlan, Subject


def command_of(cell: Cell) -> str:
    words = ["qwen-workbench", "profile", *_subject(cell.subject)]
    if cell.case is not None:
        words += ["--weights", cell.weights, "--kv", cell.kv_cache]
        words += ["--prompt", str(cell.case.prompt), "--new", str(cell.case.new), "--batch", str(cell.case.batch)]
    elif (work := cell.training) is not None:
        words += ["--train", f"{work.method}+emb" if work.embeddings else work.method, "--length", str(work.length)]
        words += ["--accumulate", str(work.accumulate)]
    else:
        words += ["--weights", cell.weights, "--kv", cell.kv_cache, "--only-quality"]
    return shlex.join([*words, *_rest(cell)])


def command_of_plan(plan: ProfilePlan) -> str:
    """Of a table that is no preset: all of its axes; its cases must be a product for that to be exact."""
    words = ["qwen-workbench", "profile"]
    for subject in plan.subjects:
        words += _subject(subject)
    if plan.preset:
        return shlex.join([*words, "--preset", plan.preset, *_rest(plan)])
    words += ["--weights", ",".join(plan.weights), "--kv", ",".join(plan.kv_caches)]
    for option, name in (("--prompt", "prompt"), ("--new", "new"), ("--batch", "batch")):
        if plan.cases:
            words += [option, _each(plan.cases, name)]
    return shlex.join([*words, *(["--quality"] if plan.quality else []), *_rest(plan)])


def _subject(subject: Subject) -> list[str]:
    if not subject.is_random:
        return ["-m", subject.source or subject.name]
    return ["--architecture", subject.source or subject.name]


def _each(cases: Sequence[Any], name: str) -> str:
    return ",".join(dict.fromkeys(str(getattr(case, name)) for case in cases))


def _rest(of: Cell | ProfilePlan) -> list[str]:
    words = ["--repeats", str(of.repeats)]
    words += ["--device", of.device] if of.device != "auto" else []
    words += ["--threads", str(of.threads)] if of.threads else []
    return words + (["--snapshot"] if of.snapshot else [])
