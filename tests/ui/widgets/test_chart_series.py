"""What a series keeps and what a few hundred pixels show of it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from app.ui.widgets.chart.pyramid import Numbers
from app.ui.widgets.chart.series import Series

COLUMNS = 500


def series_of(values: Numbers, steps: Numbers | None = None) -> Series:
    series = Series()
    steps = np.arange(len(values), dtype=np.float64) if steps is None else steps
    series.extend(np.stack((steps, values), axis=1))
    return series


def noise(count: int) -> Numbers:
    return np.random.default_rng(count).normal(0, 1, count)


def test_extremes_of_any_stretch_are_kept_exactly_in_few_points() -> None:
    values = noise(300_000)
    values[123_456], values[200_001] = 50.0, -60.0
    series = series_of(values)
    for left, right in ((0, 299_999), (123_000, 125_000), (199_999, 299_000), (5, 1004), (5, 30_000)):
        found = series.envelope(left, right, COLUMNS)
        inside = values[left : right + 1]
        assert len(found.x) <= 2 * COLUMNS + 2
        assert np.nanmax(found.high) >= inside.max() and np.nanmin(found.low) <= inside.min()
        wider = values[max(0, left - 300) : right + 300]
        assert np.nanmax(found.high) <= wider.max() and np.nanmin(found.low) >= wider.min()
    whole = series.envelope(0, 299_999, COLUMNS)
    assert (whole.high.max(), whole.low.min()) == (50.0, -60.0)


def test_each_column_holds_the_extremes_of_its_own_points() -> None:
    values = noise(64_000)
    found = series_of(values).envelope(0, 63_999, 1000)
    cells = values.reshape(1000, 64)
    assert np.mean(found.high == cells.max(axis=1)) > 0.9  # a bucket at the border of two columns goes to one of them


def test_few_points_are_shown_as_they_are() -> None:
    found = series_of(np.array([1.0, 5.0, 2.0])).envelope(0, 2, COLUMNS)
    assert found.is_exact and found.low.tolist() == [1.0, 5.0, 2.0]


@pytest.mark.parametrize("batch", [1, 7, 1023])
def test_points_that_come_in_pieces_are_shown_like_those_that_came_at_once(batch: int) -> None:
    values = noise(20_000 if batch > 1 else 3000)
    grown = Series()
    for start in range(0, len(values), batch):
        part = values[start : start + batch]
        grown.extend(np.stack((np.arange(start, start + len(part)), part), axis=1))
        if start % 5 == 0:
            grown.envelope(0, start, 20)
            grown.refine(500)
    once = series_of(values)
    for columns in (20, 333):
        ours, theirs = (one.envelope(0, len(values), columns) for one in (grown, once))
        assert np.array_equal(ours.low, theirs.low) and np.array_equal(ours.high, theirs.high)


def test_steps_with_a_hole_keep_their_places() -> None:
    steps = np.concatenate((np.arange(50_000.0), np.arange(900_000.0, 950_000.0)))
    found = series_of(noise(100_000), steps).envelope(0, 950_000, COLUMNS)
    assert not np.any((found.x > 60_000) & (found.x < 890_000))
    assert np.any(found.x > 940_000)


def test_gaps_stay_gaps_and_hide_nothing_beside_them() -> None:
    values = noise(100_000)
    values[40_000:60_000] = np.nan
    values[1000] = np.inf
    found = series_of(values).envelope(0, 99_999, COLUMNS)
    gap = (found.x > 40_500) & (found.x < 59_500)
    assert np.isnan(found.low[gap]).all() and np.isfinite(found.high[~gap][:100]).all()
    few = Series()
    few.extend([(1, 1.0), (2, None), (3, float("nan")), (float("nan"), 9.0), (4, 2.0)])
    assert len(few) == 4 and np.isnan(few.values).tolist() == [False, True, True, False]


def test_a_run_that_goes_on_from_a_checkpoint_replaces_what_was_after_it() -> None:
    series = series_of(noise(10_000))
    series.refine(10_000)
    series.envelope(0, 10_000, 10)
    series.extend([(5000, 7.0), (5001, 8.0), (4000, 1.0), (4000, 2.0)])
    assert len(series) == 4001 and series.at(4000) == (4000.0, 2.0)
    once = series_of(np.append(noise(10_000)[:4000], 2.0))
    ours, theirs = (one.envelope(0, 4000, 10) for one in (series, once))
    assert np.array_equal(ours.low, theirs.low) and np.array_equal(ours.high, theirs.high)
    series.refine(10_000)
    once.refine(10_000)
    assert series.is_refined and series.smoothed_at(4000) == once.smoothed_at(4000)


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.9, 0.999])
def test_smoothing_is_the_plain_recursion_whatever_the_pieces(weight: float) -> None:
    values = noise(5000)
    values[[0, 3, 4, 2000]] = np.nan
    series = Series()
    series.smooth(weight)
    for start, end in ((0, 1), (1, 3), (3, 100), (100, 5000)):
        series.extend(np.stack((np.arange(start, end), values[start:end]), axis=1))
        while not series.is_refined:
            series.refine(777)
    total, count, wanted = 0.0, 0, []
    for value in values:
        if not np.isnan(value):
            total, count = weight * total + (1 - weight) * value, count + 1
        wanted.append(np.nan if np.isnan(value) else total / (1 - weight**count))
    found = [series.smoothed_at(index) for index in range(5000)]
    assert np.allclose(found, wanted, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_the_smoothed_line_of_before_stays_until_the_new_one_is_made() -> None:
    series = series_of(noise(1000))
    series.smooth(0.5)
    series.refine(1000)
    before = series.smoothed_at(999)
    series.smooth(0.9)
    assert series.refine(400) == 0 and series.smoothed_at(999) == before
    series.refine(600)
    assert series.is_refined and series.smoothed_at(999) != before


def test_the_nearest_point() -> None:
    series = series_of(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 40.0]))
    assert [series.near(step) for step in (-5, 10, 14, 16, 29, 31, 99)] == [0, 0, 0, 1, 1, 2, 2]
    assert Series().near(3) == -1


def test_a_million_points_cost_no_more_to_add_to_or_to_draw_than_a_few() -> None:
    series = series_of(noise(1_000_000))
    series.envelope(0, 1e6, COLUMNS)
    start = time.thread_time()
    for at in range(1_000_000, 1_020_000, 200):
        series.extend(np.stack((np.arange(at, at + 200), noise(200)), axis=1))
        series.envelope(0, at, COLUMNS)
    assert (time.thread_time() - start) / 100 < 0.02  # s; 0.001 on a quiet machine
