"""Charts as they are used: by mouse and keyboard, while points come, in both themes."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.ui import theme
from app.ui.widgets.chart.chart import NEWS_MS, Chart
from app.ui.widgets.chart.lines import Line
from core import translation
from tests.helpers.audit import faults
from tests.helpers.window import application, shown, turn, until


@pytest.fixture
def chart() -> Iterator[Chart]:
    application()
    with shown(Chart("Loss"), 800, 360) as made:
        yield made


def straight(first: int = 0, last: int = 100) -> list[tuple[float, float | None]]:
    return [(float(step), 2.0 * step + 1) for step in range(first, last + 1)]


def drawn(chart: Chart) -> None:
    until(lambda: not chart._news.isActive() and not chart._soon.isActive(), "drawn")


def place(chart: Chart, step: float) -> QPointF:
    area = chart.plot.area
    return QPointF(chart.plot.frame.x(area, step), area.center().y())


def mouse(chart: Chart, kind: QMouseEvent.Type, where: QPointF, held: bool = False) -> None:
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    moves = kind == QMouseEvent.Type.MouseMove
    port = chart.plot.viewport()
    globally = QPointF(port.mapToGlobal(where.toPoint()))
    event = QMouseEvent(
        kind, where, globally, none if moves else left, left if held else none, Qt.KeyboardModifier.NoModifier
    )
    QApplication.sendEvent(port, event)


def falling(count: int) -> list[tuple[float, float | None]]:
    return [(float(step), 3.0 * 0.6**step) for step in range(1, count + 1)]


@pytest.mark.parametrize(("count", "weight"), [(1, 0.0), (6, 0.0), (20, 0.6), (60, 0.8), (250, 0.9), (5000, 0.95)])
def test_the_smoothed_line_ends_near_the_last_value_however_few_there_are(
    chart: Chart, count: int, weight: float
) -> None:
    loss = chart.add(Line("loss", is_smoothed=True))
    chart.extend(loss, falling(count))
    drawn(chart)
    assert chart.smoothing == weight
    assert chart.readings()[-1].value == pytest.approx(3.0 * 0.6**count, abs=0.02)
    chart.set_smoothing(0.3)
    chart.extend(loss, [(step + count, value) for step, value in falling(600)])
    drawn(chart)
    assert chart.smoothing == 0.3  # chosen by hand


@pytest.mark.parametrize("last", [2, 3, 6, 40, 397])
def test_steps_are_whole_and_the_last_is_not_lost_to_the_name(chart: Chart, last: int) -> None:
    chart.extend(chart.add(Line("loss")), straight(1, last))
    drawn(chart)
    frame, area = chart.plot.frame, chart.plot.area
    places = frame.columns(area.width())
    assert all(place == round(place) and shown == f"{place:.0f}" for place, shown in places)
    assert last > 10 or places[-1][0] == last


def test_seconds_may_stand_between_whole_ones() -> None:
    application()
    with shown(Chart("Memory", x_name="seconds"), 800, 360) as chart:
        chart.extend(chart.add(Line("used")), [(0.0, 1.0), (1.0, 2.0)])
        drawn(chart)
        assert any(place != round(place) for place, _ in chart.plot.frame.columns(chart.plot.area.width()))
        assert chart.plot.area.left() > 50  # room for the longer name


def test_nothing_is_shown_before_the_start() -> None:
    """A single sample at the beginning of a measurement."""
    with shown(Chart("Memory", x_name="second"), 800, 360) as chart:
        chart.extend(chart.add(Line("own")), [(0.1, 5.0)])
        drawn(chart)
        assert chart.whole() == (0.0, 0.6)


def test_a_marker_at_the_edge_is_whole(chart: Chart) -> None:
    chart.extend(chart.add(Line("validation", has_points=True)), [(4.0, 1.0), (6.0, 0.5)])
    drawn(chart)
    plot = chart.plot
    around = plot.view.mapToView(QPointF(plot.view.width(), 0)).x()
    assert plot.frame.x(plot.area, around) >= plot.frame.x(plot.area, 6.0) + 4  # half of its 7 px
    assert plot.view.geometry().right() <= plot.width()
    assert plot.view.span() == chart.span() == (4.0, 6.0)  # panning does not widen it


def test_hovering_says_what_every_line_measured_nearest_to_there(chart: Chart) -> None:
    loss = chart.add(Line("loss", unit="nats"))
    check = chart.add(Line("validation", has_points=True))
    chart.extend(loss, straight())
    chart.extend(check, [(20.0, 5.0), (40.0, 4.0), (60.0, 3.0)])
    drawn(chart)
    mouse(chart, QMouseEvent.Type.MouseMove, place(chart, 43.2))
    drawn(chart)
    assert chart.cross == 43.0
    assert [(one.name, one.shown, one.step) for one in chart.readings()] == [
        ("loss", "87.00 nats", 43.0),
        ("validation", "4.000", 40.0),
    ]
    assert chart._card.isVisible() and "loss 87.00 nats" in chart.accessibleDescription()
    mouse(chart, QMouseEvent.Type.MouseMove, QPointF(2, 2))
    drawn(chart)
    assert chart.cross is None and not chart._card.isVisible()


def test_a_smoothed_line_says_both_values(chart: Chart) -> None:
    loss = chart.add(Line("loss", is_smoothed=True))
    chart.extend(loss, straight(0, 10))
    chart.set_smoothing(0.9)
    drawn(chart)
    raw, smoothed = chart.readings()
    assert (raw.value, raw.is_faint, smoothed.is_faint) == (21.0, True, False)
    assert smoothed.name == "loss, smoothed" and 10 < smoothed.value < 21
    chart.set_smoothing(0.0)
    drawn(chart)
    assert [one.value for one in chart.readings()] == [21.0]


def test_the_view_follows_until_the_user_looks_elsewhere(chart: Chart) -> None:
    loss = chart.add(Line("loss"))
    chart.extend(loss, straight())
    drawn(chart)
    assert chart.span() == (0.0, 100.0) and not chart.follow.isVisible()
    chart.show_span(20, 40)
    chart.extend(loss, straight(101, 200))
    drawn(chart)
    assert chart.span() == (20.0, 40.0) and chart.follow.isVisible()
    assert [round(end) for end in chart.plot.view.viewRange()[0]] == [20, 40]
    chart.follow.click()
    chart.extend(loss, straight(201, 300))
    drawn(chart)
    assert chart.is_following and chart.span() == (0.0, 300.0) and not chart.follow.isVisible()


def test_wheel_and_drag_zoom_and_a_double_click_resets(chart: Chart) -> None:
    chart.extend(chart.add(Line("loss")), straight())
    drawn(chart)
    port, where = chart.plot.viewport(), place(chart, 50)
    none = Qt.MouseButton.NoButton
    for turned in (-120, 120):
        wheel = QWheelEvent(
            where,
            where,
            QPoint(),
            QPoint(0, turned),
            none,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(port, wheel)
        assert wheel.isAccepted() == (turned > 0)  # further out there is nothing: the page scrolls
    drawn(chart)
    left, right = chart.span()
    assert not chart.is_following and 9 < left < 11 and 89 < right < 91
    chart.reset()
    drawn(chart)
    mouse(chart, QMouseEvent.Type.MouseButtonPress, place(chart, 20), held=True)
    for step in (25, 35, 60):
        time.sleep(0.03)  # the scene joins moves that come faster than they can be seen
        mouse(chart, QMouseEvent.Type.MouseMove, place(chart, step), held=True)
    mouse(chart, QMouseEvent.Type.MouseButtonRelease, place(chart, 60))
    drawn(chart)
    left, right = chart.span()
    assert abs(left - 20) < 1 and abs(right - 60) < 1
    where = place(chart, 40)
    for click in (QTest.mousePress, QTest.mouseRelease, QTest.mouseDClick, QTest.mouseRelease):
        click(port, Qt.MouseButton.LeftButton, pos=where.toPoint())
    drawn(chart)
    assert chart.is_following and chart.span() == (0.0, 100.0)


def test_a_point_that_no_line_leads_to_is_seen(chart: Chart) -> None:
    line = chart.add(Line("loss"))
    chart.extend(line, [(1.0, 2.0)])
    drawn(chart)
    assert chart.plot._items[line][-1].getData()[0].tolist() == [1.0]
    chart.extend(line, [(2.0, 3.0), (3.0, None), (4.0, 5.0), (5.0, None)])
    drawn(chart)
    assert chart.plot._items[line][-1].getData()[0].tolist() == [4.0]


def test_a_constant_is_a_straight_line_also_where_smoothing_rounds_it(chart: Chart) -> None:
    gradient = chart.add(Line("gradient", is_smoothed=True))
    chart.extend(gradient, [(float(step), 1.0) for step in range(2000)])
    drawn(chart)
    chart.compose()
    assert chart.plot.frame.high - chart.plot.frame.low > 0.01


def test_a_click_gives_the_chart_the_keys(chart: Chart) -> None:
    QTest.mouseClick(chart.plot.viewport(), Qt.MouseButton.LeftButton)
    assert chart.window().focusWidget() is chart


def test_keys_move_the_crosshair_and_zoom(chart: Chart) -> None:
    chart.extend(chart.add(Line("loss")), straight())
    drawn(chart)
    for key in (Qt.Key.Key_Home, Qt.Key.Key_Right, Qt.Key.Key_Right):
        QTest.keyClick(chart, key)
    assert chart.cross == 2.0
    QTest.keyClick(chart, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClick(chart, Qt.Key.Key_Left)
    assert chart.cross == 11.0
    QTest.keyClick(chart, Qt.Key.Key_Plus)
    drawn(chart)
    left, right = chart.span()
    assert left <= 11 <= right and right - left == pytest.approx(70)
    QTest.keyClick(chart, Qt.Key.Key_Minus)
    assert chart.is_following
    QTest.keyClick(chart, Qt.Key.Key_End)
    assert chart.cross == 100.0
    QTest.keyClick(chart, Qt.Key.Key_Escape)
    assert chart.cross is None
    chart.show_span(10, 20)
    QTest.keyClick(chart, Qt.Key.Key_0)
    assert chart.is_following


def test_a_logarithmic_scale_leaves_out_what_has_no_logarithm(chart: Chart) -> None:
    line = chart.add(Line("gradient"))
    chart.extend(line, [(1.0, 100.0), (2.0, 0.0), (3.0, -1.0), (4.0, 0.01)])
    chart.set_log(True)
    drawn(chart)
    _, y = chart.plot._items[line][0].getData()
    assert np.array_equal(y, [2.0, np.nan, np.nan, -2.0], equal_nan=True)
    assert chart.plot.frame.low < -2 < 2 < chart.plot.frame.high
    many = np.stack((np.arange(10, 100_000), np.tile([0.0, 10.0, 1000.0], 33_330)), axis=1)
    chart.extend(line, many)
    drawn(chart)
    _, y = chart.plot._items[line][0].getData()
    assert np.isfinite(y).mean() > 0.99  # zeros between other values hide none of them


def test_nothing_positive_is_said_in_words(chart: Chart) -> None:
    chart.extend(chart.add(Line("change")), [(1.0, -1.0), (2.0, 0.0)])
    chart.set_log(True)
    drawn(chart)
    assert "above zero" in chart.plot.frame.words
    chart.set_log(False)
    drawn(chart)
    assert chart.plot.frame.words == ""


def test_an_empty_chart_says_so_and_one_without_lines_too(chart: Chart) -> None:
    drawn(chart)
    assert chart.plot.frame.words == chart.accessibleDescription() == translation.say("chart.empty")
    chart.extend(chart.add(Line("loss")), straight())
    drawn(chart)
    assert "loss 201.0 at 100" in chart.accessibleDescription()
    chart.legend.entries[0].click()
    drawn(chart)
    assert chart.plot.frame.words == translation.say("chart.all_hidden") and not chart.plot._items


def test_runs_are_laid_over_each_other_and_switched_as_one(chart: Chart) -> None:
    for run in ("first", "second", "third"):
        for name in ("training", "validation"):
            chart.extend(chart.add(Line(name, run=run)), straight())
    looks = {line.run: line.look for line in chart.lines}
    assert len(set(looks.values())) == 3
    own = [line.look for line in chart.lines if line.run == "first"]
    names = [entry.accessibleName() for entry in chart.legend.entries]
    assert names == [word for run in ("first", "second", "third") for word in (run, "training", "validation")]
    chart.legend.entries[3].click()
    assert [line.is_shown for line in chart.lines] == [True, True, False, False, True, True]
    assert "third · training" in [one.name for one in chart.readings()]
    chart.remove_run("second")
    assert own == [line.look for line in chart.lines if line.run == "first"] and len(chart.lines) == 4


def test_news_are_drawn_together(chart: Chart) -> None:
    line = chart.add(Line("loss"))
    drawn(chart)
    draws, compose = [], chart.compose
    chart.compose = lambda: (draws.append(time.monotonic()), compose())  # type: ignore[method-assign,return-value]
    end, step = time.monotonic() + 0.6, 0.0
    while time.monotonic() < end:
        chart.extend(line, [(step, 1.0)])
        step += 1
        turn(1)
    assert 1 <= len(draws) <= 1 + 600 / NEWS_MS
    chart.hide()
    turn()
    known = len(draws)
    chart.extend(line, [(step, 1.0)])
    until(lambda: not chart._news.isActive(), "waited")
    assert len(draws) == known
    chart.show()
    assert len(draws) == known + 1


def test_a_change_of_theme_and_text_size_is_drawn(chart: Chart) -> None:
    app = application()
    chart.extend(chart.add(Line("loss", is_smoothed=True)), straight())
    drawn(chart)
    light = chart.grab().toImage()
    theme.apply(app, "dark", 1.3)
    drawn(chart)
    turn()
    dark = chart.grab().toImage()
    assert faults(chart) == []
    theme.apply(app, "light", 1.0)
    drawn(chart)
    turn()
    assert dark != light and chart.grab().toImage() == light


def test_words_follow_the_language(chart: Chart) -> None:
    translation.use("zh")
    try:
        chart.redraw()
        drawn(chart)
        assert chart.plot.frame.words == translation.say("chart.empty") and chart.plot.frame.x_name == "步"
    finally:
        translation.use("en")


def test_a_chart_leaves_nothing_behind() -> None:
    application()
    before = len(QApplication.allWidgets())
    with shown(Chart("Loss"), 600, 300) as chart:
        chart.extend(chart.add(Line("loss", is_smoothed=True, has_points=True)), straight())
        drawn(chart)
        chart.point_at(5.0)
        drawn(chart)
        chart.extend(chart.lines[0], straight(101, 110))  # a draw still waits
        left = [weakref.ref(part) for part in (chart, chart.plot, chart.plot.view, chart._news, chart._card)]
    del chart
    gc.collect()
    turn()
    theme.state.changed.emit()
    assert [ref() for ref in left] == [None] * len(left)
    assert len(QApplication.allWidgets()) == before


def test_pyqtgraph_waits_for_the_first_chart() -> None:
    code = "import sys, app.ui.widgets.chart.chart, app.ui.window; assert 'pyqtgraph' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
