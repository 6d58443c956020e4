"""25 fps by time stamps, from any source rate."""

from fractions import Fraction

import pytest

from headsplat.video.timeline import lay_timeline


@pytest.mark.parametrize(
    ("rate", "count"),
    [(Fraction(25), 50), (Fraction(30), 60), (Fraction(30000, 1001), 60), (Fraction(60), 120)],
)
def test_takes_the_nearest_image_in_time(rate: Fraction, count: int) -> None:
    base = Fraction(1, 90000)
    stamps = [round(k / rate / base) for k in range(count)]
    line = lay_timeline(stamps, [], round(1 / rate / base), base)
    assert len(line.images) == 50
    assert line.undecodable == []
    for index, image in enumerate(line.images):
        error = abs(stamps[image] * base - Fraction(index, 25))
        assert error <= 1 / rate / 2 + base


def test_source_at_25_keeps_every_image_once_in_a_coarse_time_base() -> None:
    stamps = [40 * k + 7 for k in range(100)]
    line = lay_timeline(stamps, [], 40, Fraction(1, 1000))
    assert line.images == list(range(100))
    assert line.duration == 4


def test_variable_rate_holds_a_image_over_a_gap() -> None:
    stamps = [0, 40, 80, 400, 440]
    line = lay_timeline(stamps, [], 40, Fraction(1, 1000))
    shown = [stamps[image] for image in line.images]
    assert shown == [0, 40, 80, 80, 80, 80, 80, 400, 400, 400, 400, 440]


def test_damaged_image_inside_is_marked_and_replaced_and_at_the_end_ignored() -> None:
    stamps = [0, 40, 120, 160]
    line = lay_timeline(stamps, [80, 200, 240], 40, Fraction(1, 1000))
    assert [stamps[image] for image in line.images] == [0, 40, 40, 120, 160]
    assert line.undecodable == [3]
