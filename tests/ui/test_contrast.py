"""Text and marks stand out from their grounds in both themes, as WCAG asks."""

from tests.helpers.contrast import pairs, ratio


def test_every_pair_of_colours_that_meets_on_screen_has_its_contrast() -> None:
    found = list(pairs())
    assert len(found) > 150
    assert [pair for pair in found if not pair.holds] == []


def test_the_measure_itself_agrees_with_known_values() -> None:
    assert round(ratio("#FFFFFF", "#000000"), 1) == 21.0
    assert round(ratio("#777777", "#FFFFFF"), 2) == 4.48
