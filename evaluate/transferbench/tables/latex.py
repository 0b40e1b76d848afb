r"""A grid as LaTeX: a `table` whose numbers siunitx aligns, and a document around it that compiles as it stands."""

from collections.abc import Iterable
from itertools import groupby

from transferbench.errors import printable
from transferbench.tables.grid import Grid, GridEntry

TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {
        "±": r"$\pm$",
        "\N{EN DASH}": "--",
        "↓": r"$\downarrow$",
        "\N{MINUS SIGN}": "$-$",
        "†": r"\dag{}",
        "‡": r"\ddag{}",
    }
    | {"<": "$<$", ">": "$>$"}
)
PACKAGES = (r"\usepackage{booktabs}", r"\usepackage{siunitx}")
SETTINGS = r"\sisetup{detect-weight, mode=text, separate-uncertainty=true}"


def document(table: str) -> str:
    """A page with the table, as wide as the table is."""
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[a3paper, landscape, margin=15mm]{geometry}",
            *PACKAGES,
            r"\begin{document}",
            r"\thispagestyle{empty}",
            table.rstrip(),
            r"\end{document}",
            "",
        ]
    )


def latex(grid: Grid, caption: str = "", label: str = "") -> str:
    r"""A `table` to \input, best in bold and second underlined; the preamble needs booktabs and siunitx."""
    first = len(grid.stub) + 1
    spans = [(name, len(list(group))) for name, group in groupby(grid.heads, lambda head: head[0])]
    starts = [first + sum(width for _, width in spans[:i]) for i in range(len(spans))]
    groups = [rf"\multicolumn{{{width}}}{{c}}{{{tex(name)}}}" for name, width in spans]
    rules = [
        rf"\cmidrule(lr){{{start}-{start + width - 1}}}"
        for start, (name, width) in zip(starts, spans, strict=True)
        if name
    ]
    above = [_row([*("" for _ in grid.stub), *groups]), "".join(rules)] if rules else []
    kinds = [line.kind for line in grid.lines]
    lines = [_row([*map(tex, line.stub), *map(_cell, line.entries)]) for line in grid.lines]
    body = [
        part
        for i, line in enumerate(lines)
        for part in ([r"\midrule"] if i and kinds[i] == "candidate" != kinds[i - 1] else []) + [line]
    ]
    title = caption if caption.endswith((".", "!", "?", ":")) or not grid.notes or not caption else f"{caption}."
    said = " ".join([text for text in (title, *grid.notes) if text])
    entries = zip(*(line.entries for line in grid.lines), strict=True)
    columns = "l" * len(grid.stub) + "".join(map(_column, entries))
    return "\n".join(
        [
            rf"% needs {' '.join(PACKAGES)}",
            r"\begin{table}",
            r"\centering",
            SETTINGS,
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *above,
            _row([*map(tex, grid.stub), *(f"{{{tex(name)}}}" for _, name in grid.heads)]),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\caption{{{tex(said)}}}"] if said else []),
            *([rf"\label{{{label}}}"] if label else []),
            r"\end{table}",
            "",
        ]
    )


def tex(text: str) -> str:
    """The text in one line, with what TeX would take for commands made harmless."""
    return printable(" ".join(text.split())).translate(TEX)


def _row(cells: Iterable[str]) -> str:
    r"""A line of the table. What begins with `[` or `*` would be an option of the `\\` or the rule before it."""
    line = " & ".join(cells)
    return ("{}" if line.lstrip().startswith(("[", "*")) else "") + line + r" \\"


def _column(entries: tuple[GridEntry, ...]) -> str:
    """`S` with room for the longest number and spread, `r` where there are no numbers."""
    numbers = [entry for entry in entries if entry.is_number]
    if not numbers:
        return "r"
    whole = max(len(entry.text.partition(".")[0].lstrip("-")) for entry in numbers)
    decimals = max(len(entry.text.partition(".")[2]) for entry in numbers)
    spreads = [_spread(entry) for entry in numbers if entry.spread]
    room = f"({max(len(spread.replace('.', '').lstrip('0')) for spread in spreads)})" if spreads else ""
    sign = "-" if any(entry.text.startswith("-") for entry in numbers) else ""
    return f"S[table-format={sign}{whole}.{decimals}{room}]"


def _spread(entry: GridEntry) -> str:
    return entry.spread.removeprefix("± ").partition(" ")[0]


def _cell(entry: GridEntry) -> str:
    if not entry.is_number:
        return f"{{{tex(entry.text)}}}"
    spread = f" +- {_spread(entry)}" if entry.spread else ""
    count = entry.spread.partition(" (")[2].rstrip(")")
    marks = f"{{\\textsuperscript{{{tex(entry.marks)}}}}}" if entry.marks else ""
    after = f"{{\\,({count})}}" if count else ""
    if entry.style == "second":
        return rf"{{\underline{{\num{{{entry.text}{spread}}}}}{marks.strip('{}') and marks}{after}}}"
    bold = r"\bfseries " if entry.style == "best" else ""
    return f"{bold}{entry.text}{spread}{marks}{after}"
