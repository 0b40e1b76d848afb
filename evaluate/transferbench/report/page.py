"""One HTML file with everything in it: nothing is fetched, and a policy in it forbids that it be."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import jinja2
from markupsafe import Markup

from transferbench.report import svg
from transferbench.report.charts import Chart, MissingError, Panel
from transferbench.report.facts import Facts, Result
from transferbench.report.standings import Standings
from transferbench.report.subject import Subject

MOST_CLASSES = 25
"""With more classes, only the most frequent mistakes are shown."""
MISTAKES = 15


@dataclass(frozen=True)
class Section:
    """All that the page says of a checkpoint."""

    subject: Subject
    results: Sequence[Result]
    weights: Sequence[Facts]
    environments: Sequence[Facts]
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Page:
    """What a page shows; `left_out` are reasons why a file is no part of it."""

    title: str
    made: str
    standings: Standings
    overview: Sequence[Chart]
    more: Sequence[Chart]
    overview_missing: Sequence[MissingError]
    sections: Sequence[Section]
    left_out: Sequence[str]


def render(page: Page) -> str:
    """The page as HTML."""
    script, style = _text("page.js"), _text("page.css")
    mark = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{mark}'"
    return _template().render(page=page, script=Markup(script), style=Markup(style), policy=policy)


def plain(title: str, said: Sequence[str], charts: Sequence[Chart]) -> str:
    """Charts alone, below some lines of text, as HTML of the same look."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    style = Markup(_text("page.css"))
    return _template("plain.html").render(title=title, said=said, charts=charts, style=style, policy=policy)


@cache
def _template(name: str = "page.html") -> jinja2.Template:
    here = jinja2.FunctionLoader(_text)
    environment = jinja2.Environment(
        loader=here, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["svg"] = lambda chart: Markup(svg.svg(chart))
    environment.filters["swatch"] = lambda series: Markup(svg.swatch(series))
    environment.filters["data_uri"] = lambda content: f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    environment.globals |= {"MOST_CLASSES": MOST_CLASSES, "MISTAKES": MISTAKES}
    return environment.get_template(name)


def _text(name: str) -> str:
    return files("transferbench.report").joinpath(name).read_text(encoding="utf-8")
