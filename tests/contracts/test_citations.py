"""What a file cites a reader can follow: headings exist, and no document is named that is not in the repository."""

import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = {".cfg", ".css", ".html", ".js", ".json", ".md", ".py", ".sh", ".tex", ".toml", ".txt", ".yaml", ".yml", ""}
SKIPPED = re.compile(r"results/.*\.(json|html)$|.*/golden/.*\.json$|LICENSE$|constraints\.txt$|.*/data/splits/")
UNTRACKED = re.compile(r"(.*/)?(\.(?!ci/)[^/]+|__pycache__|[^/]+\.egg-info|build|dist|runs|shared|site)/")
"""Folders that are passed by where git cannot say what is tracked."""

FORMS = [
    re.compile(r"\bspec(?:ification)?,? (?:\d+(?:\.\d+)*\b|performance\b|peers\b)", re.IGNORECASE),
    re.compile(r"(?<![\w.]/)\bspec/(?:checkpoints|detection|methods|peers|performance)\w*", re.IGNORECASE),
    re.compile(r"\bpeers [A-Z]\.\d", re.IGNORECASE),
    re.compile(r"\bperformance \d[a-z]\b", re.IGNORECASE),
    re.compile(r"(?<![\w/-])issues? #?\d+\b", re.IGNORECASE),
    re.compile(r"\[(?:code|run|ver|readme|sec|mem|abstract|infer)(?:[ ,;+][^\]]*)?\](?![(\[:])", re.IGNORECASE),
]
"""Sections of documents that are not here, and the marks these gave to their evidence."""

CITED = re.compile(r"(?<![\w/.-])(docs/[\w/-]+\.md)(?:#([\w-]+))?")
LINK = re.compile(r"\]\(([^()\s#]*)#([^()\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PROSE = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


@cache
def files() -> tuple[Path, ...]:
    """The repository's own text files."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        listed = ""
    tracked = [ROOT / name for name in listed.split("\0") if name]
    walked = (path for path in ROOT.rglob("*") if not UNTRACKED.match(path.relative_to(ROOT).as_posix()))
    found = tracked or list(walked)
    named = [path for path in found if not SKIPPED.match(path.relative_to(ROOT).as_posix())]
    return tuple(sorted(path for path in named if path.suffix in TEXT and path.is_file()))


def part(path: Path) -> str:
    """The top-level folder a file lies in; of tests, the folder below it too."""
    *folders, _ = path.relative_to(ROOT).parts
    return "/".join(folders[: 2 if folders[:1] == ["tests"] else 1]) or "."


PARTS = sorted({part(path) for path in files()})


def slugs(text: str) -> set[str]:
    """The anchors that GitHub gives a Markdown text's headings."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)? *$", FENCE.sub("", text), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        count = found.get(slug, -1) + 1
        found[slug] = count
        if count:
            found[f"{slug}-{count}"] = 0
    return set(found)


def astray(path: Path) -> list[str]:
    """`file:line` of every citation in a file that leads nowhere."""
    told = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        cited = [(ROOT / name, anchor) for name, anchor in CITED.findall(line)]
        if path.suffix == ".md":
            links = [(name, anchor) for name, anchor in LINK.findall(line) if "://" not in name]
            cited += [(path.parent / name if name else path, anchor) for name, anchor in links]
        for to, anchor in cited:
            if not to.is_file() or (anchor and anchor not in slugs(to.read_text())):
                told.append(f"{path.relative_to(ROOT)}:{number}: {to.name}#{anchor} is not there")
    return told


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a text, of Python its comments and strings alone."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text().splitlines(), 1)
        return
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in PROSE:
                yield from enumerate(token.string.splitlines(), token.start[0])


def dangling(path: Path) -> list[str]:
    """`file:line` of every citation of the old kind."""
    if not any(form.search(path.read_text()) for form in FORMS):
        return []
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]!r} is explained nowhere"
        for number, line in prose(path)
        for form in FORMS
        for match in form.finditer(line)
    ]


@pytest.mark.parametrize("folder", PARTS)
def test_every_heading_that_is_cited_exists(folder: str) -> None:
    found = [told for path in files() if part(path) == folder for told in astray(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", PARTS)
def test_no_document_is_cited_that_is_not_here(folder: str) -> None:
    read = [path for path in files() if part(path) == folder and path != Path(__file__)]
    found = [told for path in read for told in dangling(path)]
    assert not found, "\n".join(found)


def test_headings_have_the_anchors_that_github_gives_them() -> None:
    text = "# W-MSE\n## MoCo v2, and `more`\n```\n# no heading\n```\n## W-MSE\n### A [link](x.md)\n"
    assert slugs(text) == {"w-mse", "moco-v2-and-more", "w-mse-1", "a-link"}


@pytest.mark.parametrize(
    ("line", "hits"),
    [
        ("as in spec 1.1, [code]; peers D.7", 3),
        ("(spec, performance 2a, identity 3) after issue 6", 3),
        ("in spec/detection.md 3, [run]", 2),
        ("find_spec(2), openings[1], a special 3, facebookresearch/moco#39, `[run](x.md)`", 0),
        ("https://git-lfs.github.com/spec/v1 shared/spec/checkpoint_cases performance 3 times", 0),
    ],
)
def test_old_citations_are_told_from_innocent_text(line: str, hits: int) -> None:
    assert sum(len(form.findall(line)) for form in FORMS) == hits
