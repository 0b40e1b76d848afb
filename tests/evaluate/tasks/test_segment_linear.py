"""The task: its choice, its resumption, its presets and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from labeled_shapes import TOKENS, candidate, shapes

from transferbench import runtime, stopping
from transferbench.checkpoints import digest
from transferbench.data.label_maps import LabelMaps
from transferbench.errors import UserError
from transferbench.runtime import Runtime
from transferbench.segmentation import linear_fit
from transferbench.segmentation.scoring import PixelCounts, segmentation_scores
from transferbench.stopping import Interrupted
from transferbench.tasks import TASKS, Bench, Dataset, Outcome

task = TASKS.load("segment_linear")
CPU = Runtime(torch.device("cpu"))
FEW = {"iterations": 12, "batch_size": 6, "layer": "layer1", "dropout": 0.1}


def dataset() -> Dataset:
    return Dataset(shapes(20, 0), shapes(6, 1, "test"))


def run(folder: Path, report=None, **settings: object) -> Outcome:
    bench = Bench(CPU, folder / "cache", folder / "scratch", report=report)
    return task.run(candidate(), dataset(), task.Config(**{**FEW, **settings}), 3, bench)


def values(found: Outcome) -> dict[str, float]:
    return {score.metric: score.value for score in found.scores}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_rate_is_chosen_by_held_out_training_images_and_scored_on_the_test_images(tmp_path: Path):
    found = run(tmp_path, lrs=(1e-5, 0.03, 1e-3))
    grid = lines(found.artifacts["grid"])
    best = max(grid, key=lambda row: row["held_out_miou"])
    assert values(found)["chosen_lr"] == best["lr"] > 1e-5
    assert {score.selected_by for score in found.scores} == {"val"}
    kept = np.load(found.artifacts["counts"])
    counts = PixelCounts(kept["intersection"], kept["labeled"], kept["predicted"])
    assert len(counts) == 6
    assert counts.labeled.sum() == 6 * (40 * 48 - 5)
    for said, again in zip(found.scores[:3], segmentation_scores(counts, "left out", "over the set"), strict=True):
        assert (said.metric, said.value, said.bootstrap) == (again.metric, again.value, again.bootstrap)
    assert [row["class"] for row in json.loads(found.artifacts["classes"].read_text())] == ["ground", "red", "green"]
    assert found.artifacts["pictures"].read_bytes().startswith(b"\x89PNG")
    assert lines(found.artifacts["curve"])[-1]["iteration"] == 12


def test_test_images_have_no_part_in_the_choice_and_held_out_ones_none_in_training(tmp_path: Path):
    plain = run(tmp_path / "plain", lrs=(1e-5, 0.03))
    other = Dataset(shapes(20, 0), shapes(6, 9, "test"))
    bench = Bench(CPU, tmp_path / "cache", tmp_path / "scratch")
    again = task.run(candidate(), other, task.Config(**FEW, lrs=(1e-5, 0.03)), 3, bench)
    for name in ("grid", "curve"):
        assert again.artifacts[name].read_bytes() == plain.artifacts[name].read_bytes()
    apart = set(task.held_out(20, 2, 3).tolist())
    read: list[int] = []
    train = shapes(20, 0)
    maps = train.maps
    watched = replace(train, label_maps=LabelMaps(lambda i: (read.append(i), maps.read(i))[1], maps.names))

    def report(done: int, total: int) -> None:
        if total == 12 and done == 12:
            seen.update(read)

    seen: set[int] = set()
    bench = Bench(CPU, tmp_path / "cache2", tmp_path / "scratch2", report=report)
    task.run(candidate(), Dataset(watched, shapes(6, 1, "test")), task.Config(**FEW, lrs=(1e-5, 0.03)), 3, bench)
    assert seen == set(range(20)) - apart


def test_one_rate_is_trained_on_all_images_and_nothing_is_chosen(tmp_path: Path):
    found = run(tmp_path, lrs=(0.01,))
    assert {score.selected_by for score in found.scores} == {"last"}
    assert lines(found.artifacts["grid"]) == [{"lr": 0.01, "held_out_miou": None}]


def test_a_refit_is_the_chosen_rate_alone_on_all_images(tmp_path: Path):
    chosen, alone = run(tmp_path / "a", lrs=(1e-5, 0.03), refit=True), run(tmp_path / "b", lrs=(0.03,))
    assert values(chosen) == values(alone)
    assert chosen.artifacts["counts"].read_bytes() == alone.artifacts["counts"].read_bytes()
    assert values(run(tmp_path / "c", lrs=(1e-5, 0.03))) != values(alone)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What a run that was never stopped found."""
    return run(tmp_path_factory.mktemp("whole"), lrs=(1e-3, 0.03))


@pytest.mark.parametrize("at", [("train", 5), ("held out", 1), ("test", 3)], ids=str)
def test_what_was_stopped_ends_as_if_never_stopped(at: tuple[str, int], whole: Outcome, tmp_path: Path, monkeypatch):
    """A stop that is asked for at a batch or an image comes before the next one, and nothing is computed twice."""
    totals = {"train": 12, "held out": 2, "test": 6}
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        if (total, done) == (totals[at[0]], at[1]):
            monkeypatch.setattr(stopping, "check", ask)

    def ask() -> None:
        raise Interrupted(2)

    with pytest.raises(Interrupted):
        run(tmp_path / "parts", stop, lrs=(1e-3, 0.03))
    monkeypatch.undo()
    parts = run(tmp_path / "parts", lambda done, total: told.append((total, done)), lrs=(1e-3, 0.03))
    assert parts.scores == whole.scores
    for name, path in whole.artifacts.items():
        assert path.read_bytes() == parts.artifacts[name].read_bytes()
    before = [(totals["train"], i) for i in range(1, 13)] + [(totals["held out"], i) for i in (1, 2)]
    before += [(totals["test"], i) for i in range(1, 7)]
    assert told == before[before.index((totals[at[0]], at[1])) + 1 :]


def test_unfinished_work_of_other_settings_is_not_taken_up(tmp_path: Path):
    run(tmp_path, lrs=(1e-3,))
    assert values(run(tmp_path, lrs=(0.03,))) == values(run(tmp_path / "fresh", lrs=(0.03,)))


def test_a_rate_that_diverges_is_not_chosen_and_all_of_them_are_an_error(tmp_path: Path):
    settings = {"optimizer": "sgd", "batch_norm": False, "weight_decay": 0.0}
    found = run(tmp_path / "one", lrs=(1e38, 0.1), **settings)
    assert values(found)["chosen_lr"] == 0.1
    assert lines(found.artifacts["grid"])[0] == {"lr": 1e38, "held_out_miou": None}
    with pytest.raises(UserError, match=r"The training loss became .* Lower them, lrs"):
        run(tmp_path / "all", lrs=(1e37, 1e38), **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"layer": "last:2", "norm": False, "precision": "bfloat16"},
        {"resize": "square", "scored_at": "resolution", "trained_at": "majority", "enlarge": "nearest"},
        {"inference": "slide", "whole_patches": "padded", "resolution": 36, "trained_at": "places", "flips": True},
    ],
    ids=["two layers", "square", "padded windows"],
)
def test_patch_tokens_are_read_in_every_way_and_the_backbone_stays(settings: dict, tmp_path: Path):
    judged = candidate("vit", **TOKENS)
    bench = Bench(CPU, tmp_path / "cache", tmp_path / "scratch")
    config = task.Config(iterations=3, batch_size=4, lrs=(0.01,), **settings)
    found = task.run(judged, dataset(), config, 0, bench)
    assert all(np.isfinite(score.value) for score in found.scores)
    assert digest(judged.backbone.state_dict()) == judged.digest
    pixels = np.load(found.artifacts["counts"])["labeled"].sum(1)
    assert (pixels <= (32 * 32 if settings.get("resize") else 40 * 48)).all()


def test_a_place_is_of_the_class_that_most_of_its_pixels_are():
    labels = torch.tensor([[[0, 0, 1, 2], [0, 2, 2, 1], [-1, -1, 1, 1], [-1, 2, -1, -1]]], dtype=torch.int16)
    found = linear_fit.at_places(labels, (2, 2), "majority", "pillow nearest")
    assert found.tolist() == [[[0, 1], [-1, 1]]]  # of equal ones the first, and a class before none
    nearest = linear_fit.at_places(labels, (2, 2), "places", "torch nearest")
    assert nearest.tolist() == [[[0, 1], [-1, 1]]]
    assert linear_fit.at_places(labels, (2, 2), "pixels", "pillow nearest") is labels


def test_labels_name_what_published_numbers_differ_by():
    said = {
        "segment-linear": {},
        "segment-linear (dinov2)": {"preset": "dinov2"},
        "segment-linear (dinov2-ms)": {"preset": "dinov2-ms"},
        "segment-linear (capi, absent=0)": {"preset": "capi", "absent": "0"},
        "segment-linear (layer=layer3, dilated, resolution=448, scored_at=resolution)": {
            "layer": "layer3", "dilated": True, "resolution": 448, "scored_at": "resolution",
        },
        "segment-linear (resize_masks=torch nearest, ignore_index=None, reduce_labels=True, averaged=by image)": {
            "resize_masks": "torch nearest", "ignore_index": None, "reduce_labels": True, "averaged": "by image",
        },
    }  # fmt: skip
    assert {task.label(task.Config(**settings)): settings for settings in said.values()} == said


def test_rates_rise_and_fall_as_mmcv_has_it():
    """`PolyLrUpdaterHook` with linear warm-up, written out at some iterations."""
    config = task.Config(preset="dinov2")
    for at in (0, 1, 749, 1499, 1500, 20_000, 39_999):
        regular = 1e-3 * (1 - at / 40_000)
        k = (1 - at / 1500) * (1 - 1e-6)
        assert config.rates(at) == pytest.approx([regular * (1 - k) if at < 1500 else regular], rel=1e-12)
    floor = task.Config(preset="vicregl")
    assert floor.rates(30_000) == pytest.approx([(0.01 - 1e-4) * 0.25**0.9 + 1e-4], rel=1e-12)
    assert task.Config(schedule="cosine", lrs=(2.0,), iterations=10).rates(5) == pytest.approx([1.0])
    assert task.Config(schedule="constant", lrs=(2.0, 1.0)).rates(99) == [2.0, 1.0]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path):
    def measure(here: Runtime, folder: Path) -> tuple[dict[str, float], list[dict]]:
        bench = Bench(here, folder / "cache", folder / "scratch")
        config = task.Config(**{**FEW, "batch_size": 5}, lrs=(1e-3, 0.03), refit=True)
        found = task.run(candidate(), dataset(), config, 3, bench)
        here.barrier()
        return values(found), lines(found.artifacts["curve"])

    one = measure(CPU, tmp_path / "one")
    for two in forked.ranks(2, lambda rank: measure(runtime.start("cpu"), tmp_path / "two")):
        assert two[0] == pytest.approx(one[0], abs=0.2)
        for its, ours in zip(two[1], one[1], strict=True):
            assert its == pytest.approx(ours, rel=1e-3)


def test_cost_counts_every_look(tmp_path: Path):
    config = task.Config(iterations=10, batch_size=4, lrs=(1.0, 2.0), scales=(1.0, 2.0), flips=True, refit=True)
    assert task.cost(config, 50, 20, 3).passes == 2 * 40 + 4 * (20 + 5)
    assert task.cost(task.Config(iterations=10, batch_size=4, lrs=(1.0,)), 50, 20, 3).passes == 40 + 20
    bench = Bench(CPU, tmp_path / "cache", tmp_path / "scratch")
    seconds, held = task.forecast(candidate(), dataset(), task.Config(**FEW), bench)
    assert 0 < seconds < 600
    assert held > 0


def test_what_has_no_maps_or_no_image_to_choose_by_is_refused():
    fit = candidate()
    assert task.unfit(fit, dataset(), task.Config()) is None
    one = Dataset(shapes(1, 0), shapes(6, 1, "test"))
    assert "leaves none to choose" in task.unfit(fit, one, task.Config())
    assert task.unfit(fit, one, task.Config(lrs=(0.1,))) is None
    assert "for ResNets" in task.unfit(candidate("vit", **TOKENS), dataset(), task.Config(dilated=True))


def test_a_class_that_is_left_out_gives_its_name_to_no_other(tmp_path: Path):
    found = run(tmp_path, lrs=(0.03,), reduce_labels=True)
    rows = json.loads(found.artifacts["classes"].read_text())
    held = np.bincount(np.concatenate([shapes(6, 1, "test").maps.read(i).ravel() for i in range(6)]))
    assert {row["class"]: row["labeled"] for row in rows} == {"red": held[1], "green": held[2]}
