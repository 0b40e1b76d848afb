"""Every file in tasks/ keeps the promises of a task; a new one is found and held to them by itself."""

import dataclasses
import inspect
import math
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pydantic
import pytest
import torch
from PIL import Image

from transferbench import records, settings
from transferbench.backbones import Architecture, build, complete
from transferbench.checkpoints import Candidate, Card, LoadReport, digest
from transferbench.data import Carries, DatasetInfo, LabeledImages, open_split
from transferbench.data.label_maps import LabelMaps
from transferbench.data.transforms import Preprocess
from transferbench.features.spec import FeatureSpec
from transferbench.features.tokens import TokenSpec
from transferbench.runtime import Runtime
from transferbench.settings import Settings
from transferbench.tasks import TASKS, Bench, Dataset, cost_of, depends_on_seed, takes

# What makes a task quick, where it has such a field.
DETECTOR = (
    "SOLVER.MAX_ITER 2 SOLVER.STEPS (1,) INPUT.MIN_SIZE_TRAIN (64,) INPUT.MIN_SIZE_TEST 64 TEST.PRECISE_BN.NUM_ITER 1"
)
QUICK = {
    "epochs": 2,
    "batch_size": 16,
    "recipe": "micro-r18-c4",
    "overrides": DETECTOR,
    "backend": "torchvision",
    "costs": (1e-2, 1.0),
    "iterations": 3,
}
every_task = pytest.mark.parametrize("name", TASKS.names())


def noise(n: int, split: str) -> LabeledImages:
    rng = np.random.default_rng(n)
    pixels, labels = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), np.arange(n, dtype=np.int64) % 3
    info = DatasetInfo("noise", ("a", "b", "c"), ("train", "test"), 8, "1")
    names = [str(i) for i in range(n)]
    return LabeledImages(info, split, labels, lambda i: Image.fromarray(pixels[i]), names, f"noise {split} {n}")


def several(images: LabeledImages) -> LabeledImages:
    """The same with a verdict for each class and image: each shows its own class and every fifth another."""
    targets = np.eye(3, dtype=np.int8)[images.labels]
    targets[::5, 0] = 1
    info = dataclasses.replace(images.info, metric="map11", carries="several labels")
    return dataclasses.replace(images, info=info, targets=targets)


def with_maps(images: LabeledImages) -> LabeledImages:
    """The same with a class for each pixel."""
    maps = np.random.default_rng(0).integers(0, 3, (len(images), 8, 8), dtype=np.uint8)
    info = dataclasses.replace(images.info, metric="miou", carries="label maps")
    label_maps = LabelMaps(lambda i: maps[i], images.names)
    return dataclasses.replace(images, info=info, labels=np.full(len(images), -1), label_maps=label_maps)


def candidate() -> Candidate:
    architecture = complete(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125, "stem": "cifar"}))
    backbone = build(architecture, seed=1)
    card = Card(architecture=architecture, preprocess=Preprocess(size=None, crop=8))
    mark = digest(backbone.state_dict())
    return Candidate("tiny", backbone, card, mark, LoadReport(format="live", matched=1, parameters=1))


def quick(task) -> Settings:
    chosen = {key: value for key, value in QUICK.items() if key in task.Config.model_fields}
    return task.Config(**chosen | ({"batch_size": 2} if "recipe" in chosen else {}))


def scenes() -> Dataset:
    """A few images with boxes and masks, for the tasks that are for them."""
    splits = (open_split("digit-scenes", split, Path("nowhere")) for split in ("train", "test"))
    return Dataset(*(images.subset(np.arange(4), "a few") for images in splits))


def dataset_for(task) -> Dataset:
    train, test = noise(60, "train"), noise(31, "test")
    if takes(task, "label maps"):
        return Dataset(with_maps(train), with_maps(test))
    dataset = Dataset(several(train), several(test)) if not takes(task, "one label") else Dataset(train, test)
    return scenes() if takes(task, "boxes") else dataset


def outcome(task, folder: Path, seed: int):
    judged = candidate()
    bench = Bench(Runtime(torch.device("cpu")), folder / "cache", folder / "scratch")
    found = task.run(judged, dataset_for(task), quick(task), seed, bench)
    return judged, found


@every_task
def test_a_task_says_what_it_is(name: str):
    task = TASKS.load(name)
    assert isinstance(task.VERSION, str)
    assert task.VERSION
    assert isinstance(task.FROZEN, bool)
    assert isinstance(task.PRIMARY, str)
    assert isinstance(task.label(task.Config()), str)
    assert set(getattr(task, "LABELS", ("one label",))) <= set(get_args(Carries))
    assert list(inspect.signature(task.run).parameters) == ["candidate", "dataset", "config", "seed", "bench"]
    assert TASKS.summary(name)


@every_task
def test_its_settings_are_strict_frozen_and_survive_json(name: str):
    Config = TASKS.load(name).Config  # noqa: N806
    assert issubclass(Config, Settings)
    config = Config()
    with pytest.raises(pydantic.ValidationError):
        Config(no_such_setting=1)
    field = next(iter(Config.model_fields))
    with pytest.raises(pydantic.ValidationError):
        setattr(config, field, getattr(config, field))
    assert Config.model_validate_json(settings.canonical_json(config)) == config


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory):
    """`once(name)`: what was judged, what was found and where, by a task with seed 3."""

    @cache
    def once(name: str):
        folder = tmp_path_factory.mktemp(name)
        return *outcome(TASKS.load(name), folder, seed=3), folder / "scratch"

    return once


@every_task
def test_a_run_scores_and_leaves_the_candidate_alone(name: str, once):
    task = TASKS.load(name)
    judged, found, scratch = once(name)
    metrics = [score.metric for score in found.scores]
    assert task.PRIMARY in metrics
    assert len(set(metrics)) == len(metrics)
    assert all(math.isfinite(score.value) and score.n > 0 for score in found.scores)
    for score in found.scores:
        if score.interval is not None:
            assert score.interval[0] <= score.value <= score.interval[1]
    assert digest(judged.backbone.state_dict()) == judged.digest
    assert all(module.training for module in judged.backbone.modules())
    assert found.artifacts
    assert {path.parent for path in found.artifacts.values()} == {scratch}
    kept = {path.name for path in scratch.iterdir()} - {"unfinished.safetensors", "unfinished"}
    assert kept == {path.name for path in found.artifacts.values()}


@every_task
def test_the_same_seed_gives_the_same_scores_and_artifacts(name: str, once, tmp_path: Path):
    first, second = once(name)[1], outcome(TASKS.load(name), tmp_path, seed=3)[1]
    assert first.scores == second.scores
    for artifact, path in first.artifacts.items():
        assert path.read_bytes() == second.artifacts[artifact].read_bytes()


@every_task
def test_it_says_whether_its_seed_matters_and_is_right_where_not(name: str, once, tmp_path: Path):
    task = TASKS.load(name)
    said = depends_on_seed(task, quick(task), dataset_for(task))
    assert isinstance(said, bool)
    if said:
        return
    first, second = once(name)[1], outcome(task, tmp_path, seed=4)[1]
    assert first.scores == second.scores
    for artifact, path in first.artifacts.items():
        assert path.read_bytes() == second.artifacts[artifact].read_bytes()


def of_tokens() -> Candidate:
    arguments = {"image_size": 8, "patch_size": 4, "dim": 16, "depth": 2, "heads": 1}
    architecture = complete(Architecture(family="vit", arguments=arguments))
    backbone = build(architecture, seed=1)
    card = Card(architecture=architecture, preprocess=Preprocess(size=None, crop=8))
    mark = digest(backbone.state_dict())
    return Candidate("tokens", backbone, card, mark, LoadReport(format="live", matched=1, parameters=1))


@pytest.mark.parametrize("name", [name for name, task in TASKS.all() if task.FROZEN and not takes(task, "label maps")])
def test_a_frozen_backbone_may_be_read_at_any_layer(name: str, tmp_path: Path):
    task = TASKS.load(name)
    assert issubclass(task.Config, FeatureSpec | TokenSpec)
    pools_itself = issubclass(task.Config, TokenSpec)
    wanted = {"layer": "last:2", "norm": False} | ({"tokens": "all"} if pools_itself else {"pooling": "token+mean"})
    config = task.Config(**{**quick(task).model_dump(), **wanted})
    plain = quick(task)
    assert config != plain
    hashes = [records.protocol_sha256(name, task.VERSION, each) for each in (config, plain)]
    assert hashes[0] != hashes[1]
    dataset = dataset_for(task)
    reading = cost_of(task, config, dataset).reading
    assert {key: getattr(reading, key) for key in wanted} == wanted
    bench = Bench(Runtime(torch.device("cpu")), tmp_path / "cache", tmp_path / "scratch")
    found = task.run(of_tokens(), dataset, config, 3, bench)
    assert found.scores
    widths = {np.load(path).shape[1] for path in (tmp_path / "cache" / "features").glob("*.npy")}
    assert widths == {5 * 2 * 16 if pools_itself else 3 * 16}
