"""Around the chart: tools, export, memory with its phases, numbers on the axes, colours."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtGui import QGuiApplication, QImage

from app.ui.tokens import DARK, LIGHT
from app.ui.widgets.chart import export, ticks
from app.ui.widgets.chart.bar import ChartBar, file_name, stop_of, weight_of
from app.ui.widgets.chart.chart import Chart
from app.ui.widgets.chart.lines import OTHERS, OWN, Line
from app.ui.widgets.chart.memory_timeline import MemoryTimeline
from app.ui.widgets.layout import column, pane
from core.errors import UserError
from tests.helpers.audit import faults
from tests.helpers.colour_sight import KINDS, distance
from tests.helpers.contrast import ratio
from tests.helpers.window import application, shown, turn, until
from tests.ui.widgets.test_chart import drawn, straight


@pytest.fixture
def bar() -> Iterator[ChartBar]:
    application()
    chart = Chart("Loss: run 1/2")
    with shown(pane(column(made := ChartBar(chart), chart), "surface"), 800, 400):
        yield made


def test_a_table_has_every_step_and_leaves_gaps_empty(tmp_path: Path, bar: ChartBar) -> None:
    loss, check = bar.chart.add(Line("loss", unit="nats", is_smoothed=True)), bar.chart.add(Line("val, all"))
    bar.chart.extend(loss, [(1.0, 0.1), (2.0, None), (3.0, 1e-7)])
    bar.chart.extend(check, [(2.0, 5.0), (2.5, 6.0)])
    export.write_table(export.snapshot(bar.chart.lines), tmp_path / "loss.csv")
    rows = list(csv.reader((tmp_path / "loss.csv").read_text("utf-8-sig").splitlines()))
    assert rows == [
        ["step", "loss (nats)", "val, all"],
        ["1", "0.1", ""],
        ["2", "", "5.0"],
        ["2.5", "", "6.0"],
        ["3", "1e-07", ""],
    ]
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["loss.csv"]


def test_a_table_of_several_runs_names_them() -> None:
    lines = [Line("loss", run="a"), Line("loss", run="b")]
    assert "".join(export.table(export.snapshot(lines))) == "step,a: loss,b: loss\n"


@pytest.mark.loops("qasync")
async def test_the_picture_is_twice_as_large_has_its_title_and_no_crosshair(tmp_path: Path, bar: ChartBar) -> None:
    bar.chart.extend(bar.chart.add(Line("loss")), straight())
    bar.chart.draw()
    plain = bar.chart.image()
    bar.chart.point_at(50.0)
    bar.chart.draw()
    await bar.save_picture(tmp_path / "loss.png")
    saved = QImage(str(tmp_path / "loss.png"))
    assert saved.width() > 2 * bar.chart.width() and saved.height() > 2 * bar.chart.height()
    assert saved.convertToFormat(plain.format()) == plain and bar.chart.cross == 50.0
    bar.copy()
    assert QGuiApplication.clipboard().image().size() == plain.size()


@pytest.mark.loops("qasync")
async def test_what_cannot_be_written_is_told(tmp_path: Path, bar: ChartBar) -> None:
    told: list[object] = []
    bar.failed.connect(told.append)
    bar.exported.connect(told.append)
    await bar.save_table(tmp_path / "none" / "loss.csv")
    await bar.save_picture(tmp_path / "none" / "loss.png")
    await bar.save_table(tmp_path / "loss.csv")
    first, second, file = told
    assert isinstance(first, UserError) and first.code == "file_not_written"
    assert isinstance(second, UserError) and "No such file" in str(second)
    assert file == tmp_path / "loss.csv"


def test_the_bar_and_its_chart_agree(bar: ChartBar) -> None:
    chart = bar.chart
    chart.extend(chart.add(Line("loss", is_smoothed=True)), straight())
    assert bar.follow.isChecked() and not bar.log.isChecked()
    bar.log.click()
    bar.smoothing.setValue(99)
    assert chart.is_log and chart.smoothing == 0.99
    chart.show_span(10, 20)
    assert not bar.follow.isChecked()
    bar.follow.click()
    assert chart.is_following
    bar.follow.click()
    chart.extend(chart.lines[0], straight(101, 200))
    assert chart.span() == (0.0, 100.0)  # held where it was
    turn()
    assert faults(bar.parentWidget()) == []


def test_the_slider_stands_where_its_number_says() -> None:
    assert [stop_of(weight_of(stop)) for stop in range(101)] == list(range(101))
    assert (weight_of(0), weight_of(90), weight_of(100)) == (0.0, 0.9, 0.999)
    assert file_name("Loss: run 1/2") == "Loss run 1 2" and file_name("//") == "chart"


def test_memory_has_phases_that_touch_and_a_limit() -> None:
    application()
    with shown(MemoryTimeline("Memory"), 700, 300) as memory:
        memory.extend_memory([(0.0, 1e9), (10.0, 5e9), (20.0, 6e9)])
        for step, name in ((0, "Load"), (5, "Forward"), (10, "Load")):
            memory.begin_phase(name, step)
        memory.show_available(8e9)
        drawn(memory)
        frame = memory.plot.frame
        assert [(phase.name, phase.start, phase.end) for phase in frame.phases] == [
            ("Load", 0, 5),
            ("Forward", 5, 10),
            ("Load", 10, None),
        ]
        assert frame.phases[0].series == frame.phases[2].series != frame.phases[1].series
        assert frame.low == 0 and frame.high > 8e9 and frame.limit is not None
        assert memory.accessibleDescription() == "in use 6.0 GB at 20"
        memory.clear()
        until(lambda: not memory._news.isActive(), "cleared")
        assert not frame.phases and len(memory.lines) == 1


def test_numbers_on_axes_are_round_and_told_apart() -> None:
    assert ticks.labels(ticks.linear(0.93, 2.61, 5)) == ["1.0", "1.5", "2.0", "2.5"]
    assert ticks.labels(ticks.linear(0, 1_000_000, 5)) == ["0", "200,000", "400,000", "600,000", "800,000", "1,000,000"]
    assert ticks.labels(ticks.linear(0, 2e-5, 4)) == ["0", "5.0e-6", "1.0e-5", "1.5e-5", "2.0e-5"]
    assert ticks.labels(ticks.linear(-1, 1, 4)) == ["−1.0", "−0.5", "0.0", "0.5", "1.0"]
    assert [round(10**place, 6) for place in ticks.logarithmic(-3.2, 3.2, 4)] == [0.01, 1.0, 100.0]
    assert [round(10**place, 6) for place in ticks.logarithmic(0.0, 0.5, 4)] == [1.0, 2.0, 3.0]
    for low, high in ((1.0, 1.0000001), (-5e-12, 3e-12), (1e9, 3e11)):
        shown_ = ticks.labels(ticks.linear(low, high, 5))
        assert 2 <= len(shown_) == len(set(shown_))


def test_values_are_written_with_the_digits_that_count() -> None:
    values = (1.1184, 0.00002, 12500.4, 0.0, -3.0, float("nan"), 4.2e8)
    assert [ticks.written(value) for value in values] == ["1.118", "2.000e-5", "12,500", "0", "−3.000", "–", "4.200e8"]


def test_lines_can_be_told_apart_without_seeing_every_colour() -> None:
    for colours in (LIGHT, DARK):
        for one, other in combinations(dict.fromkeys((*OWN, *OTHERS)), 2):
            if one.stroke == other.stroke:
                pair = colours.series[one.series], colours.series[other.series]
                assert min(distance(*pair, kind) for kind in KINDS) > 9, (one, other)
        for look in OWN:
            assert min(ratio(colours.series[look.series], ground) for ground in (colours.surface, colours.raised)) >= 3


def test_the_measure_of_colour_sight_agrees_with_known_values() -> None:
    assert distance("#000000", "#FFFFFF", "all") == pytest.approx(100, abs=0.1)
    assert distance("#FF0000", "#00A000", "deutan") < distance("#FF0000", "#00A000", "all") / 2
    assert not math.isnan(np.float64(distance("#0000FF", "#00FF00", "tritan")))
