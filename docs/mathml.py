"""Hooks of mkdocs: formulas become MathML, which browsers draw, and what lies outside `docs/` is brought in."""

import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
FIGURES = ("results/collapse/spectra.png",)
FORMULA = re.compile(r'<(?:span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</(?:span|div)>', re.DOTALL)
SPELLED = {r"\Big\lVert": r"\left\|", r"\Big\rVert": r"\right\|", r"\arg": r"\mathrm{arg}"}
"""What the converter does not know, in words that it does."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie in the root, their links as seen from `docs/`, and the figures that lie in `results/`."""
    for name in PAGES:
        text = (ROOT / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, name.lower(), content=text))
    for name in FIGURES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to those pages and figures lead to where they are here."""
    for name in PAGES:
        markdown = markdown.replace(f"](../{name}", f"]({name.lower()}")
    for name in FIGURES:
        markdown = markdown.replace(f"](../{name}", f"]({name}")
    return markdown


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Every formula as MathML."""
    return FORMULA.sub(lambda found: _formula(found, page.file.src_uri), html)


def _formula(found: re.Match[str], where: str) -> str:
    latex = unescape(found[2])
    for word, known in SPELLED.items():
        latex = latex.replace(word, known)
    shown = convert(latex, display="inline" if found[1] == "(" else "block")
    if "\\" in shown:
        raise PluginError(f"{where}: this formula is not understood: {latex}")
    return shown
