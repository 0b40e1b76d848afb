"""Drawings of the report: round ticks, places that go up for more, words that do not collide, colors one can read."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from transferbench import report
from transferbench.report.charts import Axis, Chart, Series
from transferbench.report.features_map import project
from transferbench.report.labels import Word, apart, beside
from transferbench.report.scales import Scale, nice
from transferbench.report.svg import svg


@pytest.mark.parametrize(("step", "found"), [(0.3, 0.5), (1.0, 1.0), (11.0, 20.0), (60.0, 100.0)])
def test_steps_of_an_axis_are_round(step: float, found: float):
    assert nice(step) == pytest.approx(found)


def test_a_scale_places_by_value_and_by_power():
    plain = Scale.around([0.0, 10.0], 116.0)
    assert plain.place(0.0) == pytest.approx(8)
    assert plain.place(10.0) == pytest.approx(108)
    assert [text for _, text in plain.ticks()] == ["0", "2", "4", "6", "8", "10"]
    power = Scale.around([1e-4, 1.0], 100.0, is_log=True)
    assert power.place(1e-2) == pytest.approx(50)
    assert [text for _, text in power.ticks()] == ["1e-4", "1e-3", "1e-2", "1e-1", "1e0"]
    assert [text for _, text in Scale.around([1.0, 3.0], 100.0, is_whole=True).ticks()] == ["1", "2", "3"]
    assert Scale.around([3.0], 10.0).place(3.0) == pytest.approx(5)


def test_a_drawing_leaves_out_what_has_no_place_and_goes_up_for_more():
    series = Series("x", (1.0, 2.0, 3.0, 4.0), (1.0, 0.0, float("nan"), 0.01))
    drawn = svg(Chart("k", 'a "title" <b>', "c", Axis("x"), Axis("y", is_log=True), (series,)))
    path = re.search(r'class="line c0" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', drawn)
    assert path
    left, high, right, low = map(float, path.groups())
    assert left < right
    assert high < low
    assert "a &quot;title&quot; &lt;b&gt;" in drawn


def test_words_beside_points_do_not_cover_each_other():
    words = beside([(100.0, 100.0, "first"), (104.0, 102.0, "second"), (97.0, 104.0, "third")], 400.0, 300.0)
    boxes = [(w.x - len(w.text) * 3, w.y - 9, w.x + len(w.text) * 3, w.y + 2) for w in words]
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_words_in_one_place_move_apart_evenly_and_keep_their_order():
    found = {
        word.text: word.y
        for word in apart([Word("ship", 50.0, 20.0), Word("dog", 52.0, 18.0), Word("far", 300.0, 19.0)])
    }
    assert found == pytest.approx({"dog": 13.5, "far": 19.0, "ship": 24.5})
    many = apart([Word(str(i), 5.0, 100 + 0.1 * i) for i in range(9)])
    assert [word.text for word in many] == [str(i) for i in range(9)]
    assert min(low.y - high.y for high, low in pairwise(many)) > 10
    assert sum(word.y for word in many) / 9 == pytest.approx(100.4)


def colors(scheme: str) -> dict[str, tuple[int, ...]]:
    """The page's colors by their names."""
    style = (Path(report.__file__).parent / "page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    found = re.findall(r"--(\w+): #(\w{6})", light if scheme == "light" else dark)
    return {name: tuple(int(code[i : i + 2], 16) for i in (0, 2, 4)) for name, code in found}


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """WCAG 2.2's contrast ratio of two sRGB colors."""

    def luminance(color: tuple[int, ...]) -> float:
        parts = [value / 255 for value in color]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_differ_enough_to_be_read(scheme: str):
    found = colors(scheme)
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    for ground in ("page", "card", "wash"):
        for text in ("ink", "quiet", "accent"):
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    for line in ("good", "bad", *(f"c{i}" for i in range(10))):
        assert contrast(found[line], found["card"]) >= 3, line
    for text in ("good", "bad"):
        assert contrast(found[text], found["card"]) >= 4.5, text


def test_a_map_is_the_same_each_time_and_keeps_clusters():
    rows = np.random.default_rng(0).normal(0, 0.01, (40, 8)).astype(np.float32)
    rows[:20] += 5
    places = project(rows)
    np.testing.assert_array_equal(places, project(rows))
    middles = places[:20].mean(0), places[20:].mean(0)
    spread = max(np.linalg.norm(places[:20] - middles[0], axis=1).max(), 1e-9)
    assert np.linalg.norm(middles[0] - middles[1]) > spread
