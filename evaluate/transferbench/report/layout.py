"""Where everything on a chart stands, before it is drawn on a page or on paper."""

from dataclasses import dataclass

from transferbench.report.charts import Axis, Chart, Series
from transferbench.report.labels import Word, apart, beside
from transferbench.report.scales import Scale

Places = tuple[tuple[float, float], ...]
"""Pixels to the right and downwards from the upper left corner of the field."""


@dataclass(frozen=True)
class ChartLayout:
    """A chart's scales, the places of each series' points, and the words in the field."""

    x: Scale
    y: Scale
    series: tuple[tuple[Series, Places], ...]
    words: tuple[Word, ...]


def layout(chart: Chart, width: float, height: float) -> ChartLayout:
    """The chart on a field of so many pixels."""
    drawn = chart.drawn()
    x = _scale(chart.x, [value for each in drawn for value in each.xs], width)
    y = _scale(chart.y, [value for each in drawn for value in each.ys], height)
    placed = [
        (each, tuple((x.place(a), height - y.place(b)) for a, b in zip(each.xs, each.ys, strict=True)))
        for each in drawn
    ]
    words = [*_named(placed, width, height), *_numbered(chart, placed)]
    return ChartLayout(x, y, tuple(placed), tuple(words))


def _scale(axis: Axis, values: list[float], length: float) -> Scale:
    return Scale.around(values, length, axis.is_log, axis.is_whole)


def _named(placed: list[tuple[Series, Places]], width: float, height: float) -> list[Word]:
    """Labels: each beside its point, or one in the middle of its series."""
    points, middles = [], []
    for each, places in placed:
        if len(each.labels) == len(places):
            points += [(a, b, text) for (a, b), text in zip(places, each.labels, strict=True)]
        elif each.labels:
            columns = [sorted(column)[len(places) // 2] for column in zip(*places, strict=True)]
            middles.append(Word(each.labels[0], columns[0], columns[1] + 4))
    return [*beside(points, width, height), *apart(middles)]


def _numbered(chart: Chart, placed: list[tuple[Series, Places]]) -> list[Word]:
    """The legend's numbers at the ends of lines."""
    marks = {id(series): mark for mark, series in chart.legend()}
    ends = [
        Word(marks[id(given)], places[-1][0] + 9, places[-1][1] + 4)
        for given, (_, places) in zip(chart.series, placed, strict=True)
        if marks.get(id(given)) and places
    ]
    return apart(ends)
