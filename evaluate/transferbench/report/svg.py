"""Charts as SVG that takes its colors from the page it stands in."""

from collections.abc import Iterator
from html import escape

from transferbench.report.charts import Chart, Series
from transferbench.report.labels import Word
from transferbench.report.layout import Places, layout
from transferbench.report.scales import Scale

WIDTH, HEIGHT = 420.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 10.0, 42.0
MINUS = "\N{MINUS SIGN}"
PALETTE = 10
"""Colors that the page knows."""


def svg(chart: Chart) -> str:
    """The chart as one element, which names itself to a screen reader."""
    bare = not chart.x.label
    left, right, top, bottom = (6.0, 6.0, 6.0, 6.0) if bare else (LEFT, RIGHT, TOP, BOTTOM)
    laid = layout(chart, WIDTH - left - right, HEIGHT - top - bottom)
    parts = [] if bare else list(_axes(chart, laid.x, laid.y))
    for each, places in laid.series:
        parts += _marks(each, places)
    parts += map(_text, laid.words)
    name = escape(f"{chart.title}. {chart.caption}", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{name}">'
        f'<g transform="translate({left:g} {top:g})">{"".join(parts)}</g></svg>'
    )


def swatch(series: Series) -> str:
    """The sign of a series in a legend."""
    places = ((10.0, 5.0),) if series.style in ("points", "hollow", "dust") else ((0.0, 5.0), (20.0, 5.0))
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


def _marks(series: Series, places: Places) -> list[str]:
    if not places:
        return []
    style = f"{series.style} c{series.color % PALETTE}"
    if series.style == "hollow":
        return [f'<circle class="{style}" cx="{a:.1f}" cy="{b:.1f}" r="4"/>' for a, b in places]
    if series.style in ("points", "dust"):
        size = "" if len(places) < 20 else " small"
        return [f'<path class="{style}{size}" d="{"".join(f"M{a:.1f} {b:.1f}h0" for a, b in places)}"/>']
    return [f'<path class="{style}" d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in places)}"/>']


def _text(word: Word) -> str:
    return f'<text class="word" x="{word.x:.1f}" y="{word.y:.1f}" text-anchor="middle">{escape(word.text)}</text>'
