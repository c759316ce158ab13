"""Plans, the README's values, what is learned, time left, exports: arithmetic, without a model."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.models.shape import shape_of
from core.profiling import comparing, estimating, export, learning, presets, shapes, time_left
from core.profiling.command import command_of, command_of_plan
from core.profiling.config_check import need_possible
from core.profiling.learning import Learned
from core.profiling.plan import Case, Cell, ProfilePlan, Subject, TrainingCase, cells_of
from core.profiling.readme_table import GIB, compared, published, relative
from core.profiling.result import CellResult, Estimate, InferenceFigures, TrainingFigures
from tests.helpers.refusals import refused

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SEVEN = shapes.named("7B")


def done(cell: Cell, *, peak: int = 100, formula: int = 0, seconds: float = 10.0, **more: Any) -> CellResult:
    figures = InferenceFigures(1, 1, 0.1, 10, 0.1, 20, 0.05, 0.06, 15.17, 1, device="cpu") if cell.case else None
    told = Estimate(formula, formula) if formula else None
    return CellResult(cell, "done", NOW, inference=figures, peak_bytes=peak, estimate=told, seconds=seconds, **more)


# --- plans ---------------------------------------------------------------------------------


def test_a_plan_gives_the_same_cells_after_it_was_stored() -> None:
    plan = ProfilePlan(
        (Subject("a", "/a"), SEVEN), ("int8", "auto"), ("plain", "int8"), (Case(8, 4), Case(8, 4), Case(9, 4, 2)),
        (TrainingCase("lora", 64),), quality=True,
    )  # fmt: skip
    cells = cells_of(plan)
    assert cells_of(msgspec.json.decode(msgspec.json.encode(plan), type=ProfilePlan)) == cells
    assert len({cell.key for cell in cells}) == len(cells) == 2 * (2 * 2 * 2 + 1) + 4
    assert {cell.kind for cell in cells if cell.subject.is_random} == {"inference", "training"}
    assert cells[0].key == "a|int8|plain|8+4x1" and cells[0].options.context_length == 8 + 4 + 64


def test_the_window_is_as_long_as_the_case() -> None:
    assert Cell(SEVEN, case=Case(10, 20)).tokens == 30
    assert Cell(SEVEN, training=TrainingCase("lora", 64)).options.context_length == 0


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("7B", 7_721_324_544), ("14B", 14_167_290_880), ("1.8B", 1_836_828_672), ("Qwen3-8B", 8_190_735_360),
     ("Qwen3-0.6B", 596_049_920), ("0.5B", 463_987_712), ("starter-shape", 134_515_008)],
)  # fmt: skip
def test_named_shapes_are_those_that_were_published(name: str, parameters: int) -> None:
    assert shape_of(shapes.NAMED[name]).parameters == parameters


def test_an_architecture_is_a_name_or_a_file(tmp_path: Path) -> None:
    assert shapes.architecture("7b") == SEVEN
    file = tmp_path / "mine.json"
    file.write_bytes(msgspec.json.encode(shapes.NAMED["tiny"]))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_bytes(file.read_bytes())
    assert shapes.architecture(str(tmp_path / "folder")).name == "folder"
    assert (shapes.architecture(str(file)).name, shapes.architecture(str(file)).source) == ("mine", str(file))
    for wrong, code in (("8B", "shape_unknown"), (str(tmp_path / "no.json"), "import_missing")):
        with refused(code):
            shapes.architecture(wrong)
    file.write_text("[")
    with refused("config_unreadable"):
        shapes.architecture(str(file))


def test_the_command_of_a_cell_measures_that_cell() -> None:
    assert command_of(Cell(SEVEN, "int4", "int8", case=Case(1, 2048, 4), device="cpu", threads=2)) == (
        "qwen-workbench profile --architecture 7B --weights int4 --kv int8 --prompt 1 --new 2048 --batch 4 --repeats 3"
        " --device cpu --threads 2"
    )
    trained = Cell(Subject("m", "/m", source="/my models/m"), training=TrainingCase("lora", 256, 8, embeddings=True))
    assert "-m '/my models/m' --train lora+emb --length 256 --accumulate 8" in command_of(trained)
    assert "--only-quality" in command_of(Cell(Subject("m", "/m"), "int8"))
    assert "--preset readme" in command_of_plan(presets.preset("readme", on_card=True))


# --- the README's tables ---------------------------------------------------------------------


def test_the_readmes_values_stand_beside_ours() -> None:
    plan = presets.preset("readme", on_card=True)
    known = {cell.key: published(cell) for cell in cells_of(plan)}
    assert known["7B|bfloat16|plain|1+2048x1"][0] == ("speed", 30.34)
    assert known["7B|int4|plain|1+8192x1"] == (("speed", 33.92), ("memory", 13.62 * GIB))
    assert known["14B|bfloat16|plain|2048+1x1"] == (("memory", 30.15 * GIB),)
    assert known["1.8B|int8|plain|1+2048x1"] == (("speed", 55.56), ("memory", 3.48 * GIB))
    cell = next(cell for cell in cells_of(plan) if cell.key == "7B|bfloat16|plain|1+2048x1")
    (speed, memory) = compared([done(cell, card_peak_bytes=GIB)])
    assert speed.ratio == pytest.approx(0.5)
    assert (memory.quantity, memory.measured) == ("memory", GIB)


def test_out_of_memory_of_the_readme_and_ours_are_told_apart() -> None:
    plan = presets.preset("kv-cache", on_card=True)
    cells = {cell.key: cell for cell in cells_of(plan)}
    assert published(cells["7B|bfloat16|plain|1+1024x64"]) == (("memory", None),)
    assert published(cells["7B|bfloat16|int8|1+1024x100"]) == (("memory", 72.4 * GIB),)
    failed = CellResult(cells["7B|bfloat16|int8|1+8192x1"], "out_of_memory", NOW)
    (one,) = compared([failed])
    assert one.is_out_of_memory and one.ratio is None and one.published == 17.6 * GIB


def test_the_kv_table_asks_no_model_for_what_none_of_its_kind_can_do() -> None:
    later, first = shapes.named("starter-shape"), shapes.named("1.8B")
    for models, kinds in (((later,), {"plain"}), ((first,), {"plain", "int8"}), ((first, later), {"plain", "int8"})):
        cells = cells_of(presets.preset("kv-cache", models, on_card=False))
        assert {cell.kv_cache for cell in cells if cell.case and cell.case.batch > 1} == kinds
        assert {cell.kv_cache for cell in cells} == {"plain", "int8"}


def test_lora_is_compared_with_the_readmes_way_only() -> None:
    cells = [cell for cell in cells_of(presets.preset("training", on_card=True)) if cell.training]
    assert all(len(published(cell)) == 2 for cell in cells) and len(cells) == 16
    small = Cell(SEVEN, training=TrainingCase("lora", 256))  # embedding and head stay as they are
    assert published(small) == ()
    result = CellResult(cells[0], "done", NOW, training=TrainingFigures(0.4, 2, 100, 1), peak_bytes=GIB)
    assert [one.ratio for one in compared([result])] == [pytest.approx(1 / 33.5), pytest.approx(0.25)]


def test_presets_on_a_processor_are_small_and_compare_nothing_unlike() -> None:
    starter = Subject("starter", "/s")
    for name in presets.PRESETS:
        plan = presets.preset(name, [starter], on_card=False)
        assert all(cell.tokens <= 320 and not published(cell) for cell in cells_of(plan))


def test_of_other_models_what_a_form_gains_over_bf16_is_compared() -> None:
    starter = Subject("starter", "/s")
    results = [done(cell, peak=peak * GIB) for cell, peak in zip(
        [Cell(starter, form, "plain", case=Case(1, 64)) for form in ("bfloat16", "int8", "int4")], (4, 2, 1),
        strict=True)]  # fmt: skip
    found = {(one.weights, one.quantity): one for one in relative(results)}
    assert set(found) == {("int8", "speed"), ("int8", "memory"), ("int4", "speed"), ("int4", "memory")}
    assert found["int4", "memory"].measured == 0.25
    assert found["int4", "memory"].published == pytest.approx(13.62 / 22.58)
    assert found["int8", "speed"].published == pytest.approx(37.47 / 40.93) and found["int8", "speed"].measured == 1
    text = export.markdown_of("t", presets.preset("readme", [starter], on_card=False), results)
    assert "| starter | int4 : bfloat16 | memory | 0.60 | 0.25 |" in text


def test_a_cell_that_broke_off_is_no_improvement() -> None:
    cells = cells_of(ProfilePlan((SEVEN,), ("bfloat16", "int4"), cases=(Case(1, 8),)))
    before = [done(cell, peak=1000) for cell in cells]
    crashed = CellResult(cells[0], "failed", NOW, "worker_crashed", peak_bytes=10)
    faster = done(cells[1], peak=500)
    changes = comparing.compared(before, [crashed, faster])
    assert (
        {one.cell for one in changes}
        == {cells[1]}
        == {one.cell for one in comparing.compared([crashed, faster], before)}
    )
    verdicts = {one.figure: one.verdict for one in changes}
    assert (verdicts["peak_bytes"], verdicts["decode_tokens_per_s"]) == ("better", "same")


# --- estimates and what is learned --------------------------------------------------------------


def test_a_cell_without_headroom_is_not_run() -> None:
    cell = Cell(SEVEN, "bfloat16", "plain", case=Case(2048, 64))
    shape = shape_of(shapes.NAMED["7B"])
    wanted = estimating.estimate(cell, shape, "cuda", 80 << 30)
    assert estimating.obstacle(cell, wanted, 80 << 30, 80 << 30) is None
    code, params = estimating.obstacle(cell, wanted, wanted.total + (1 << 30), 80 << 30) or ("", {})
    assert code == "profile_would_not_fit" and params["headroom"] == "5.2 GB"
    batch = Cell(shapes.named("Qwen3-8B"), kv_cache="int8", case=Case(1, 8, 4))
    assert estimating.obstacle(batch, wanted, 1 << 60, 1 << 30) == ("profile_batch_kv", {})


def test_a_row_longer_than_the_model_holds_is_not_trained() -> None:
    subject = shapes.named("starter-shape")
    shape = shape_of(shapes.NAMED["starter-shape"])
    for length, code in ((8192, None), (8193, "profile_too_long")):
        cell = Cell(subject, training=TrainingCase("lora", length))
        wanted = estimating.estimate(cell, shape, "cpu", 1 << 50)
        found = estimating.obstacle(cell, wanted, 1 << 50, 1 << 50)
        assert (found and found[0]) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"hidden_size": 65, "num_attention_heads": 7, "num_key_value_heads": 3}, "config_no_multiple"),
        ({"num_hidden_layers": -1}, "config_no_count"),
        ({"vocab_size": "many"}, "config_no_count"),
        ({"hidden_size": 2.5}, "config_no_count"),
        ({"head_dim": 33}, "config_odd"),
    ],
)
def test_an_impossible_config_is_no_bug_of_the_program(changes: dict[str, Any], code: str, tmp_path: Path) -> None:
    config = shapes.NAMED["starter-shape"] | changes
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(config))
    with refused(code):
        shapes.architecture(str(tmp_path))
    with refused(code):
        estimating.shape_of_subject(Subject("m", str(tmp_path)))


def test_every_known_shape_is_possible() -> None:
    for config in shapes.NAMED.values():
        need_possible(config, "")


def test_a_token_reads_the_weights_once_and_the_shares_are_below_one() -> None:
    cell = Cell(SEVEN, "bfloat16", "plain", case=Case(1, 2048))
    moved = estimating.step_bytes(cell, shape_of(shapes.NAMED["7B"]), done(cell))
    assert moved == pytest.approx(14.20e9 + 1024 * (512 << 10), rel=0.01)  # as of the roofline of the research
    long = Cell(SEVEN, "bfloat16", "plain", case=Case(2048, 1))
    operations = estimating.prompt_operations(long, shape_of(shapes.NAMED["7B"]))
    assert operations == pytest.approx(2 * 6.477e9 * 2048 + 2 * 2048 * 2048 * 4096 * 32, rel=0.01)


def learned(*offs: int, formula: int = 10_000) -> Learned:
    cells = [Cell(SEVEN, case=Case(1, 1 + at)) for at in range(len(offs))]
    results = [done(cell, peak=formula + off, formula=formula) for cell, off in zip(cells, offs, strict=True)]
    return Learned().with_results("here", results)


def test_what_is_learned_is_the_median_and_needs_several_runs() -> None:
    assert learned(300, 310).extra_bytes("cpu", False, 10_000) == 0
    assert learned(300, 310, 320).extra_bytes("cpu", False, 10_000) == 310
    assert learned(300, 310, 320).extra_bytes("cuda", False, 10_000) == 0
    assert learned(300, 310, 320).extra_bytes("cpu", True, 10_000) == 0


def test_no_remembered_run_is_underestimated_by_more_than_three_percent() -> None:
    offs = (-500, -500, -500, 400)
    known = learned(*offs)
    for off in offs:
        assert 10_000 + known.extra_bytes("cpu", False, 10_000) >= 0.97 * (10_000 + off)


def test_what_is_learned_is_bounded_and_forgotten_on_another_machine() -> None:
    known = learned(9000, 9000, 9000)
    assert known.extra_bytes("cpu", False, 10_000) == 2000
    assert known.with_results("elsewhere", []).pairs == ()
    same = known.with_results("here", [done(Cell(SEVEN, case=Case(1, 1)), peak=10_100, formula=10_000)])
    assert len(same.pairs) == 3, "the newest of the same cell counts"


def test_what_was_learned_is_read_from_its_file_and_a_broken_one_teaches_nothing(home: Path) -> None:
    assert learning.known() == Learned()
    cells = [Cell(SEVEN, case=Case(1, at)) for at in (1, 2, 3)]
    learning.note("here", [done(cell, peak=110, formula=100) for cell in cells])
    assert learning.known().extra_bytes("cpu", False, 100) == 10
    learning.file().write_text("{")
    assert learning.known() == Learned()


def test_the_window_and_the_wizard_reckon_with_what_was_learned(home: Path) -> None:
    from app.services.fitting import Room, Subject, fit
    from app.services.training_plan import plan
    from core.load_options import DEFAULT
    from core.models.families import Lengths
    from core.training.recipe import Recipe

    subject, room = Subject("m", shape_of(shapes.NAMED["0.5B"]), "", Lengths(1024, 1024, 1024, "")), Room(64 << 30)
    recipe = Recipe(model="m", data="-")
    before, plan_before = fit(subject, DEFAULT, room).footprint.total, plan(recipe, subject, room).footprint.total
    cells = [Cell(SEVEN, case=Case(1, at)) for at in (1, 2, 3)]
    learning.note("here", [done(cell, peak=10_500_000, formula=10_000_000) for cell in cells])
    assert fit(subject, DEFAULT, room).footprint.total == before + 500_000
    assert plan(recipe, subject, room).footprint.total == plan_before  # training teaches training


# --- time and text ---------------------------------------------------------------------------------


def test_time_left_is_told_from_what_was_measured() -> None:
    cells = [Cell(SEVEN, case=Case(1, 100)), Cell(SEVEN, case=Case(1, 1000)), Cell(SEVEN, case=Case(2, 1000))]
    sizes = {"7B": 7_000_000_000}
    assert time_left.left(cells, {}, sizes) is None
    known = {cells[0].key: done(cells[0], seconds=10)}
    first = time_left.left(cells, known, sizes)
    assert first is not None and 100 < first < 200
    known[cells[1].key] = done(cells[1], seconds=60)
    second = time_left.left(cells, known, sizes)
    assert second is not None and 50 < second < 80
    known[cells[2].key] = done(cells[2])
    assert time_left.left(cells, known, sizes) == 0


def test_exports_have_a_row_for_every_cell_and_say_why_one_has_no_figures() -> None:
    cells = cells_of(ProfilePlan((SEVEN,), ("bfloat16", "int4"), cases=(Case(1, 2048),), preset="readme"))
    missing = CellResult(cells[1], "not_run", NOW, "profile_would_not_fit",
                         {"needed": "9 GB", "free": "8 GB", "headroom": "1 GB"})  # fmt: skip
    results = [done(cells[0], peak=GIB), missing]
    rows = export.csv_of(results).splitlines()
    assert len(rows) == 3 and rows[0].startswith("model,kind,weights") and "profile_would_not_fit" in rows[2]
    text = export.markdown_of("Mine", ProfilePlan((SEVEN,), preset="readme"), results)
    assert "It would need 9 GB. 8 GB are free" in text and "30.34 tok/s | 15.17 tok/s | 0.50" in text
