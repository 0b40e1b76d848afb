"""No hash moves by itself: numbers that were published stay comparable.

`hashes.json` was written by `python tests/contracts/test_hashes.py`. A task whose numbers could change gets a new
VERSION, a line in CHANGELOG.md and new lines there; nothing else changes a line.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(__file__).with_name("hashes.json")


def protocols() -> Iterator[tuple[str, str]]:
    """protocol_sha256 of every task as it is, and with each preset or detection recipe."""
    from transferbench.records import protocol_sha256
    from transferbench.tasks import TASKS

    for name, task in TASKS.all():
        if name == "detect":
            recipes = sorted(path.stem for path in (ROOT / "detectron_configs").glob("*.yaml"))
            chosen = {
                recipe: {"recipe": recipe, "backend": "torchvision"} for recipe in recipes if "Base" not in recipe
            }
        else:
            chosen = {"": {}} | {preset: {"preset": preset} for preset in task.Config.PRESETS}
        for label, settings in chosen.items():
            yield f"{name} {label}".strip(), protocol_sha256(name, task.VERSION, task.Config.model_validate(settings))


def suites() -> Iterator[tuple[str, str]]:
    """protocol_sha256 of every job of every suite."""
    from transferbench import suite
    from transferbench.records import protocol_sha256
    from transferbench.tasks import TASKS

    for name in suite.names():
        pinned = ["detect.backend=torchvision"] if any(e.task == "detect" for e in suite.load(name).jobs) else []
        for job in suite.plan({"digits": _for_any_data(suite.load(name))}, pinned):
            yield f"{name} {job.id}", protocol_sha256(job.task, TASKS.load(job.task).VERSION, job.config)


def _for_any_data(suite):
    return suite.model_copy(update={"jobs": tuple(job.model_copy(update={"data": ()}) for job in suite.jobs)})


def recipes() -> Iterator[tuple[str, str]]:
    """recipe_sha256 of every recipe that comes with the package or with kept results."""
    from decorssl import recipe

    for name in recipe.names():
        yield name, recipe.read(name).sha256
    for path in sorted((ROOT / "results").rglob("recipes/*.*")):
        yield str(path.relative_to(ROOT)), recipe.read(path).sha256


def kept_records() -> Iterator[tuple[str, str]]:
    """Identity and file name of every record in results/."""
    from transferbench import records

    for path in sorted((ROOT / "results").glob("*/records/*.json")):
        record = records.read(path)
        assert records.path_of(path.parent, record) == path
        yield str(path.relative_to(ROOT)), record.identity


EVERY = {each.__name__: each for each in (protocols, suites, recipes, kept_records)}


@pytest.mark.parametrize("kind", EVERY)
def test_a_hash_is_what_it_was(kind: str) -> None:
    found, wanted = dict(EVERY[kind]()), json.loads(KEPT.read_text())[kind]
    assert wanted
    moved = [name for name in wanted if found.get(name) != wanted[name]]
    assert moved == [], "these hashes moved or are gone"
    assert sorted(found) == sorted(wanted), "new ones belong into hashes.json"


if __name__ == "__main__":
    KEPT.write_text(json.dumps({kind: dict(each()) for kind, each in EVERY.items()}, indent=1) + "\n")
