"""Few-shot: the scores of draws, their mean and spread, in the metric of the data set."""

import dataclasses
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from transferbench.data.subsets import per_class
from transferbench.metrics import mean_per_class
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, fewshot


def run(tiny_candidate, dataset: Dataset, folder: Path, seed: int = 0, **settings):
    config = fewshot.Config(**({"shots": 3, "others": (1,), "draws": 4} | settings))
    bench = Bench(Runtime(torch.device("cpu")), folder / "cache", folder / "scratch")
    found = fewshot.run(tiny_candidate, dataset, config, seed, bench)
    return {score.metric: score.value for score in found.scores}, dict(np.load(found.artifacts["predictions"]))


@pytest.mark.parametrize("metric", ["top1", "mean_per_class"])
def test_scores_are_means_over_draws_in_the_metric_of_the_data_set(metric, tiny_candidate, tiny_images, tmp_path):
    test = tiny_images(26, split="test")
    info = dataclasses.replace(test.info, metric=metric)
    dataset = Dataset(tiny_images(40), dataclasses.replace(test, info=info))
    scores, kept = run(tiny_candidate, dataset, tmp_path)
    for shots in (1, 3):
        hits = kept[f"shots{shots}"] == test.labels
        assert hits.shape == (4, 26)
        values = [100 * (mean_per_class(h, test.labels) if metric == "mean_per_class" else h.mean()) for h in hits]
        assert scores[f"{metric}@{shots}"] == pytest.approx(statistics.fmean(values))
        assert scores[f"std@{shots}"] == pytest.approx(statistics.stdev(values))
    assert scores[metric] == scores[f"{metric}@3"]
    assert kept["predictions"].tolist() == kept["shots3"][0].tolist()
    assert scores[metric] > 60


def test_every_draw_and_seed_has_images_of_its_own(tiny_candidate, tiny_images, tmp_path):
    labels = tiny_images(40).labels
    chosen = {tuple(per_class(labels, 3, seed * 4 + draw).tolist()) for seed in (0, 1) for draw in range(4)}
    assert len(chosen) == 8
    dataset = Dataset(tiny_images(40), tiny_images(26, split="test"))
    first, second = (run(tiny_candidate, dataset, tmp_path, seed)[1]["shots1"] for seed in (0, 1))
    assert first.tolist() != second.tolist()


def test_another_layer_gives_other_predictions(tiny_candidate, tiny_images, tmp_path):
    dataset = Dataset(tiny_images(40), tiny_images(26, split="test"))
    pooled, stem = (run(tiny_candidate, dataset, tmp_path, layer=layer)[1]["shots1"] for layer in ("pooled", "stem"))
    assert pooled.tolist() != stem.tolist()


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"others": (0,)}, {"penalties": (0.0,)}, {"penalties": ()}, {"draws": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            fewshot.Config(**wrong)
