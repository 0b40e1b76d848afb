"""The page's figures as PNG and as PDF, as papers take them; drawn by matplotlib."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferbench import state
from transferbench.data.decoding import opened
from transferbench.errors import UserError
from transferbench.report.charts import Chart, Figure, Gallery, Matrix, Pictures, Series
from transferbench.report.layout import Places, layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

COLORS = ("#1f5f8b", "#b04a1c", "#2f7a4d", "#77499f", "#8a6200", "#a52f66", "#0c6f86", "#4d5663", "#5f6d10", "#865338")
"""Those of the page in the light."""
FAINT = "#b3b0a8"
LINE = "#e1dfda"
SIZE = (4.2, 3.0)
"""Inches of a chart without its legend."""
LEGEND = 1.2
WIDE = 7.0
"""Inches of what fills a page."""
FIELD = (354.0, 238.0)
"""Pixels that a chart is laid out on."""
DOTS = 300
STYLE: dict[Any, Any] = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}


def write(path: Path, figure: Figure) -> Iterator[Path]:
    """Write a figure beside `path` with the endings .png (300 dots an inch) and .pdf, yielding where.

    Raises:
        UserError: without matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure as Sheet
    except ImportError:
        raise UserError("Figures need matplotlib. Install it: pip install 'transferbench[plots]'") from None
    draw: dict[str, Callable[..., None]] = {
        "chart": _chart,
        "matrix": _matrix,
        "gallery": _gallery,
        "pictures": _pictures,
    }
    with matplotlib.rc_context(STYLE):
        sheet = Sheet(figsize=SIZE, layout="constrained")
        draw[figure.kind](figure, sheet)
        for ending in ("png", "pdf"):
            buffer = io.BytesIO()
            sheet.savefig(buffer, format=ending, dpi=DOTS)
            state.write(path.with_name(f"{path.name}.{ending}"), buffer.getvalue())
            yield path.with_name(f"{path.name}.{ending}")


def _chart(chart: Chart, sheet: "Sheet") -> None:
    axes = sheet.subplots()
    laid, named = layout(chart, *FIELD), {id(series): f"{mark} {series.name}" for mark, series in chart.legend()}
    for given, (each, places) in zip(chart.series, laid.series, strict=True):
        if places:
            _series(axes, each, places, _plain(named.get(id(given), "").strip()))
    for word in laid.words:
        axes.text(word.x, word.y, _plain(word.text), ha="center", fontsize=7, path_effects=_halo())
    axes.set(xlim=(0, FIELD[0]), ylim=(FIELD[1], 0))
    if chart.x.label:
        axes.set(xlabel=_plain(chart.x.label), ylabel=_plain(chart.y.label))
        axes.set_xticks(*zip(*[(place, _power(text)) for place, text in laid.x.ticks()], strict=True))
        axes.set_yticks(*zip(*[(FIELD[1] - place, _power(text)) for place, text in laid.y.ticks()], strict=True))
        axes.grid(color=LINE, linewidth=0.5)
        axes.set_axisbelow(True)
    else:
        axes.set_axis_off()
    if chart.legend():
        sheet.legend(loc="outside right upper", frameon=False, fontsize=7)
        sheet.set_size_inches(SIZE[0] + LEGEND, SIZE[1])


def _series(axes: "Axes", each: Series, places: Places, label: str) -> None:
    color, (xs, ys) = COLORS[each.color % len(COLORS)], zip(*places, strict=True)
    match each.style:
        case "line" | "dashed":
            dashes = "-" if each.style == "line" else "--"
            axes.plot(xs, ys, dashes, color=color, linewidth=1.2, label=label or None)
        case "faint":
            axes.plot(xs, ys, color=FAINT, linewidth=0.8, zorder=1)
        case "dust":
            axes.scatter(xs, ys, s=3, color=FAINT, linewidths=0)
        case _:
            face, size = "none" if each.style == "hollow" else color, 18 if len(xs) < 20 else 4
            axes.scatter(xs, ys, s=size, facecolor=face, edgecolor=color)


def _halo() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=1.5, foreground="white")]


def _power(text: str) -> str:
    """A tick's text; a power of ten has its exponent raised."""
    base, e, exponent = text.partition("1e")
    return f"$10^{{{exponent}}}$" if e and not base else text


def _matrix(matrix: Matrix, sheet: "Sheet") -> None:
    count = len(matrix.classes)
    sheet.set_size_inches(max(SIZE[0], 0.32 * min(count, 25)), max(SIZE[1], 0.28 * min(count, 25)))
    axes = sheet.subplots()
    axes.imshow(matrix.shares(), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="taken for", ylabel="true")
    axes.spines[:].set_visible(False)
    if count > 25:
        return
    axes.set_xticks(range(count), map(_plain, matrix.classes), rotation=90)
    axes.set_yticks(range(count), map(_plain, matrix.classes))
    for i, line in enumerate(matrix.shares()):
        for j, share in enumerate(line):
            if matrix.counts[i, j]:
                axes.text(
                    j,
                    i,
                    str(matrix.counts[i, j]),
                    ha="center",
                    va="center",
                    fontsize=5,
                    color="w" if share > 0.5 else "k",
                )


def _gallery(gallery: Gallery, sheet: "Sheet") -> None:
    wide = 1 + max(len(near) for _, near in gallery.lines)
    sheet.set_size_inches(0.62 * wide, 0.78 * len(gallery.lines))
    grid = sheet.subplots(len(gallery.lines), wide, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (query, near) in zip(grid, gallery.lines, strict=True):
        for place, (axes, each) in enumerate(zip(line, (query, *near), strict=False)):
            mark = ("" if place == 0 else "✓ " if each.is_right else "✗ ") + each.label
            axes.imshow(opened(each.content))
            axes.set_title(_plain(mark), fontsize=5, pad=2)


def _pictures(pictures: Pictures, sheet: "Sheet") -> None:
    image = opened(pictures.content)
    sheet.set_size_inches(WIDE, WIDE * image.height / image.width)
    axes = sheet.subplots()
    axes.imshow(image)
    axes.set_axis_off()


def _plain(text: str) -> str:
    """A text without what matplotlib would take for mathematics."""
    return text.replace("$", r"\$")
