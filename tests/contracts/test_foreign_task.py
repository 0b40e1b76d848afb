"""A task from elsewhere may call its settings as it likes: the program reads nothing into their names."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from transferbench.data import LabeledImages
from transferbench.planning import plan
from transferbench.run import DatasetCache, run
from transferbench.runtime import Runtime
from transferbench.settings import Settings
from transferbench.suite import Job
from transferbench.tasks import TASKS, Bench, Dataset, JobCost, Outcome, Score, cost_of

NAME = "from_elsewhere.hostile"


class Config(Settings):
    """Names that settings of our own tasks have, with other meanings and types."""

    layer: int = 3
    pooling: bool = True
    precision: float = 0.5
    updates: str = "weekly"
    ks: bool = True
    epochs: list[int] = [1, 2]  # noqa: RUF012
    crops: str = "five"
    percent: str = "all"
    batch_size: int | None = None
    lrs: int = 7
    weight_decays: None = None
    held_out: str = "no"
    recipe: int = 1


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    def judged(candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
        features = bench.features(candidate, dataset.test, "float32").features
        return Outcome((Score(metric="size", value=float(abs(features).mean()), n=len(dataset.test)),))

    module = ModuleType(NAME)
    vars(module).update(
        VERSION="1", FROZEN=True, PRIMARY="size", Config=Config, run=judged, label=lambda config: "size"
    )
    monkeypatch.setitem(sys.modules, NAME, module)
    return module


@pytest.fixture
def datasets(tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch) -> DatasetCache:
    found, dataset = DatasetCache(Path()), Dataset(tiny_images(24), tiny_images(8, split="test"))
    monkeypatch.setattr(found, "take", lambda data, limit=None: dataset)
    return found


def test_it_is_planned_and_runs(foreign: ModuleType, datasets: DatasetCache, tiny_candidate, tmp_path: Path):
    job = Job("hostile", NAME, "tiny", Config(), 0)
    bench = Bench(Runtime(torch.device("cpu")), tmp_path / "cache", tmp_path / "scratch")
    assert plan.ordered([job], datasets) == [job]
    (estimate,) = plan.forecast([job], tiny_candidate, datasets, bench)
    assert estimate.images == 24 + 8
    (record,) = run([job], tiny_candidate, bench, datasets)
    assert (record.status, record.error) == ("ok", None)


def test_what_it_says_of_its_cost_is_what_is_planned(foreign: ModuleType, datasets: DatasetCache):
    dataset = datasets.take("tiny")
    vars(foreign)["cost"] = lambda config, n_train, n_test, classes: JobCost(("test",), n_train * config.layer)
    assert cost_of(TASKS.load(NAME), Config(), dataset) == JobCost(("test",), 72)
