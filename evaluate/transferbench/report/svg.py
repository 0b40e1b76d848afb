"""Charts as SVG that takes its colours from the page it stands in."""

from collections.abc import Iterator
from html import escape

from transferbench.report.charts import Chart, Series
from transferbench.report.labels import Word, apart, beside
from transferbench.report.scales import Scale

WIDTH, HEIGHT = 420.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 10.0, 42.0
MINUS = "\N{MINUS SIGN}"
PALETTE = 10
"""Colours that the page knows."""


def svg(chart: Chart) -> str:
    """The chart as one element, which names itself to a screen reader."""
    bare = not chart.x.label
    left, right, top, bottom = (6.0, 6.0, 6.0, 6.0) if bare else (LEFT, RIGHT, TOP, BOTTOM)
    series, wide, high = chart.drawn(), WIDTH - left - right, HEIGHT - top - bottom
    x = Scale.around([value for each in series for value in each.xs], wide, chart.x.is_log)
    y = Scale.around([value for each in series for value in each.ys], high, chart.y.is_log)
    parts = [] if bare else list(_axes(chart, x, y))
    for each in series:
        places = [(x.place(a), high - y.place(b)) for a, b in zip(each.xs, each.ys, strict=True)]
        parts += _marks(each, places)
    parts += [_text(word) for word in [*_words(series, x, y), *_numbers(chart, series, x, y)]]
    name = escape(f"{chart.title}. {chart.caption}", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{name}">'
        f'<g transform="translate({left:g} {top:g})">{"".join(parts)}</g></svg>'
    )


def swatch(series: Series) -> str:
    """The sign of a series in a legend."""
    places = [(10.0, 5.0)] if series.style in ("points", "hollow", "dust") else [(0.0, 5.0), (20.0, 5.0)]
    return f'<svg class="swatch" viewBox="0 0 20 10" aria-hidden="true">{"".join(_marks(series, places))}</svg>'


def _axes(chart: Chart, x: Scale, y: Scale) -> Iterator[str]:
    for place, text in y.ticks():
        at = y.length - place
        yield f'<path class="grid" d="M0 {at:.1f}H{x.length:.0f}"/>'
        yield f'<text class="tick" x="-6" y="{at + 4:.1f}" text-anchor="end">{_power(text)}</text>'
    for place, text in x.ticks():
        yield f'<path class="grid" d="M{place:.1f} 0V{y.length:.0f}"/>'
        yield f'<text class="tick" x="{place:.1f}" y="{y.length + 15:.0f}" text-anchor="middle">{_power(text)}</text>'
    yield f'<path class="axis" d="M0 0V{y.length:.0f}H{x.length:.0f}"/>'
    middle, below = x.length / 2, y.length + 34
    yield f'<text class="label" x="{middle:.0f}" y="{below:.0f}" text-anchor="middle">{escape(chart.x.label)}</text>'
    yield (
        f'<text class="label" transform="translate({12 - LEFT:g} {y.length / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(chart.y.label)}</text>'
    )


def _power(text: str) -> str:
    """A tick's text; a power of ten has its exponent raised."""
    base, e, exponent = text.partition("1e")
    if base or not e:
        return escape(text)
    return f'10<tspan class="power" dy="-4">{escape(exponent).replace("-", MINUS)}</tspan>'


def _marks(series: Series, places: list[tuple[float, float]]) -> list[str]:
    if not places:
        return []
    style = f"{series.style} c{series.colour % PALETTE}"
    if series.style == "hollow":
        return [f'<circle class="{style}" cx="{a:.1f}" cy="{b:.1f}" r="4"/>' for a, b in places]
    if series.style in ("points", "dust"):
        size = "" if len(places) < 20 else " small"
        return [f'<path class="{style}{size}" d="{"".join(f"M{a:.1f} {b:.1f}h0" for a, b in places)}"/>']
    return [f'<path class="{style}" d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in places)}"/>']


def _words(series: tuple[Series, ...], x: Scale, y: Scale) -> list[Word]:
    points, middles = [], []
    for each in series:
        places = [(x.place(a), y.length - y.place(b)) for a, b in zip(each.xs, each.ys, strict=True)]
        if len(each.labels) == len(places):
            points += [(a, b, text) for (a, b), text in zip(places, each.labels, strict=True)]
        elif each.labels:
            columns = [sorted(column)[len(places) // 2] for column in zip(*places, strict=True)]
            middles.append(Word(each.labels[0], columns[0], columns[1] + 4))
    return [*beside(points, x.length, y.length), *apart(middles)]


def _numbers(chart: Chart, series: tuple[Series, ...], x: Scale, y: Scale) -> list[Word]:
    """The legend's numbers at the ends of lines."""
    marks = {id(each): mark for mark, each in chart.legend()}
    ends = [
        Word(marks[id(given)], x.place(each.xs[-1]) + 9, y.length - y.place(each.ys[-1]) + 4)
        for given, each in zip(chart.series, series, strict=True)
        if marks.get(id(given)) and each.xs
    ]
    return apart(ends)


def _text(word: Word) -> str:
    return f'<text class="word" x="{word.x:.1f}" y="{word.y:.1f}" text-anchor="middle">{escape(word.text)}</text>'
