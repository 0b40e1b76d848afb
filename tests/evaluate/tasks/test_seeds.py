"""What a task says of its seed depends on its settings and on the images, and is what runs of it show."""

from pathlib import Path
from typing import Any

import pytest
import torch

from transferbench.runtime import Runtime
from transferbench.tasks import TASKS, Bench, Dataset, Outcome, Score, depends_on_seed, semi, with_seeding


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def dataset(tiny_images) -> Dataset:
    """Five images of each of four classes, and a test split."""
    return Dataset(tiny_images(20), tiny_images(16, split="test"))


@pytest.mark.parametrize(
    ("task", "settings", "said"),
    [
        ("knn", {"per_class": 4}, True),
        ("knn", {"per_class": 5}, False),
        ("fewshot", {"shots": 5, "others": (4,)}, True),
        ("fewshot", {"shots": 5, "others": ()}, False),
        ("logistic", {"choose_C": (1.0,)}, False),
        ("logistic", {"choose_C": (0.1, 1.0)}, True),
        ("semi_logistic", {"percent": 40}, True),
        ("semi_logistic", {"percent": 99}, False),
        ("linear_small", {}, True),
    ],
)
def test_it_depends_on_settings_and_images(
    task: str, settings: dict[str, Any], said: bool, dataset: Dataset, tiny_candidate, cache: Path, tmp_path: Path
):
    plugin = TASKS.load(task)
    config = plugin.Config(**({"epochs": 1} if task == "linear_small" else {}) | settings)
    assert depends_on_seed(plugin, config, dataset) is said
    if "choose_C" in settings and said:
        return  # several C may give the same answers on images as easy as these
    bench, seen = Bench(Runtime(torch.device("cpu")), cache, tmp_path), set()
    for seed in range(3 if said else 2):
        found = plugin.run(tiny_candidate, dataset, config, seed, bench)
        kept = sorted((name, path.read_bytes()) for name, path in found.artifacts.items())
        seen.add(repr([(score.metric, score.value) for score in found.scores]) + repr(kept))
    assert (len(seen) > 1) == said


def test_a_published_list_of_labels_leaves_nothing_to_the_seed(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = TASKS.load("semi_logistic").Config(percent=40)
    monkeypatch.setattr(semi, "SPLITS", tmp_path)
    assert depends_on_seed(TASKS.load("semi_logistic"), config, dataset)
    (tmp_path / f"{dataset.train.info.name}_40percent.txt").write_text("\n".join(dataset.train.names[:8]))
    assert not depends_on_seed(TASKS.load("semi_logistic"), config, dataset)


def test_a_score_over_all_images_of_each_class_says_so_among_others_that_are_drawn(
    dataset: Dataset, tiny_candidate, tmp_path: Path
):
    task, bench = TASKS.load("fewshot"), Bench(Runtime(torch.device("cpu")), tmp_path / "c", tmp_path / "s")
    found = task.run(tiny_candidate, dataset, task.Config(shots=10, others=(1,), draws=2), 0, bench)
    said = {score.metric: score.seeded for score in with_seeding(found, True).scores}
    assert said == {"top1": False, "top1@10": False, "std@10": False, "top1@1": True, "std@1": True}


def test_what_nobody_said_is_not_written_and_records_are_as_they_were():
    score = Score(metric="top1", value=1.0, n=1)
    assert "seeded" not in score.model_dump()
    (said,) = with_seeding(Outcome((score,)), False).scores
    assert said.model_dump()["seeded"] is False
    assert Score.model_validate(said.model_dump()) == said
