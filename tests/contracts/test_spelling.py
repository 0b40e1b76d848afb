"""Code, messages and pages are spelled the American way, but for names that are stored or somebody else's."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("evaluate", "pretrain", "docs", "benchmarks", "detectron_configs", "README.md", "CONTRIBUTING.md")
READ = {".py", ".md", ".yaml", ".html", ".css", ".js"}

STEMS = re.compile(
    "colour|behaviour|neighbour|honour|favour|flavour|labour|rigour|centre|centring|metres?$|fibre"
    "|(?:label|model|cancel|travel|signal|channel|total|level|tunnel)l(?:ed|ing|er)"
    "|catalogue|analogue|dialogue|licence|defence|offence|analys(?:e[drs]?$|ing)|artefact|judgement|grey"
    "|learnt$|spelt$|burnt$|fulfils?$|whilst|amongst|programmes?$|percents$"
)
ENDING = re.compile("[a-z]{3,}is(?:e[drs]?|ers|ing|ations?)$")
"""`normalise` and the like; some words end so on both sides of the ocean."""
EVERYWHERE = re.compile(
    "(?:un|mis|self)?(?:[a-z]*wise|(?:de)?nois|precise|promis|[a-z]*rais|[a-z]*ris(?:e[ns]?|ing)$|[a-z]*supervis|f?advis"
    "|exercis|surpris|compris|compromis|concise|revis|devis|disguis|expertise|premise)"
)

STORED = {
    "evaluate/transferbench/data/subsets.py": {'"labelled"'},
    "evaluate/transferbench/features/pruning.py": {'"neighbours"'},
    "evaluate/transferbench/neighbors/cache.py": {'"neighbours"'},
    "evaluate/transferbench/report/page.html": {"aria-labelledby"},
    "evaluate/transferbench/tasks/linear_svm.py": {"normalise: bool = Field", "config.normalise"},
    "pretrain/decorssl/batch_whitening.py": {"normalised: bool = Field", "config.normalised"},
    "pretrain/decorssl/methods/cwrgp.py": {"normalised: bool = Field", "config.normalised"},
    "pretrain/decorssl/methods/dino.py": {"centre_momentum", '"centre"'},
}
"""Settings, keys of stored states and of caches, what fingerprints are made of, and the names of others."""
OLD_NAMES = ("renamed.py",)


def british(text: str) -> list[str]:
    """The words of `text`, and the parts of its identifiers, that are spelled the British way."""
    words = {word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", text)}
    ending = {word for word in words if ENDING.search(word) and not EVERYWHERE.match(word)}
    phrases = re.findall(r"\bper cent\b", text, re.IGNORECASE)
    return sorted(ending | {word for word in words if STEMS.search(word)}) + phrases


@pytest.mark.parametrize("place", PLACES)
def test_words_are_spelled_the_american_way(place: str):
    start = ROOT / place
    files = [start] if start.is_file() else sorted(path for path in start.rglob("*") if path.suffix in READ)
    assert files
    problems = list[str]()
    for path in files:
        if path.name in OLD_NAMES:
            continue
        name, text = path.relative_to(ROOT).as_posix(), path.read_text()
        for stored in STORED.get(name, ()):
            assert stored in text, f"{name} no longer holds {stored}: no exception is needed"
            text = text.replace(stored, "")
        problems += [f"{name}: {word}" for word in british(text)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "text",
    [
        "normalise",
        "is_normalised",
        "LabelledImages",
        "Colours",
        "INTL_COLOUR",
        "misspelt",
        "5 per cent",
        "initialisation",
    ],
)
def test_british_words_are_met(text: str):
    assert british(text)


@pytest.mark.parametrize(
    "text",
    ["likewise, noise rises", "raise promised", "UserError raised", "self-supervised", "precise", "meter", "central"],
)
def test_words_of_both_are_left_alone(text: str):
    assert not british(text)
