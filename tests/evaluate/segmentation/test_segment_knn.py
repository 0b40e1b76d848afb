"""The task against both protocols as their authors' code has them, in float64 loops over the same features."""

import json
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pydantic
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score
from torchvision.transforms import functional

from transferbench import runtime
from transferbench.backbones import Architecture, build, complete
from transferbench.checkpoints import Candidate, Card, LoadReport, digest
from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.label_maps import LabelMaps, LabelRule
from transferbench.data.loading import generator
from transferbench.data.transforms import Preprocess, crop_box, normalized
from transferbench.errors import UserError
from transferbench.runtime import Runtime
from transferbench.segmentation import patch_memory, patch_predictions
from transferbench.segmentation.dense_features import DenseFeatures
from transferbench.segmentation.kept_patches import Grain, Remembering, Shown, kept
from transferbench.segmentation.patch_cost import size_of
from transferbench.segmentation.patch_memory import Place, remembered
from transferbench.segmentation.patch_views import Views
from transferbench.tasks import Bench, Dataset, Outcome, segment_knn
from transferbench.tasks.segment_knn import Config

CLASSES, SIDE, PATCH = 4, 16, 4
CPU = Runtime(torch.device("cpu"))


def split(name: str, n: int, is_ade: bool) -> LabeledImages:
    """Images of several sizes, a shade for each class; no class is number 0, as in ADE20K, or 255, as in VOC."""
    rng = np.random.default_rng([n, is_ade])
    pixels, numbers = [], []
    for i in range(n):
        height, width = ((16, 16), (20, 16), (16, 28))[i % 3]
        coarse = rng.integers(0, CLASSES + 1, (height // 4, width // 4))
        classes = np.kron(coarse, np.ones((4, 4), int))[:height, :width]
        classes = np.roll(classes, i % 4, axis=(0, 1))
        numbers.append((classes if is_ade else np.where(classes == CLASSES, 255, classes)).astype(np.uint8))
        shade = 40 * classes[..., None] + rng.integers(0, 60, (height, width, 3))
        pixels.append(shade.astype(np.uint8))
    info = DatasetInfo("areas", ("a", "b", "c", "d"), ("train", "test"), 16, "1", "miou", "label maps")
    names = [f"{name}{i}.png" for i in range(n)]
    maps = LabelMaps(lambda i: numbers[i], names, zero_is_other=is_ade)
    labels = np.full(n, -1, np.int64)
    return LabeledImages(info, name, labels, lambda i: Image.fromarray(pixels[i]), names, name, label_maps=maps)


def areas(is_ade: bool) -> Dataset:
    return Dataset(split("train", 21, is_ade), split("test", 5, is_ade))


@pytest.fixture(scope="module")
def tiny() -> Candidate:
    arguments = {"image_size": SIDE, "patch_size": PATCH, "dim": 12, "depth": 1, "heads": 3}
    architecture = complete(Architecture(family="vit", arguments=arguments))
    backbone = build(architecture, seed=0)
    card = Card(architecture=architecture, preprocess=Preprocess(size=None, crop=SIDE))
    report = LoadReport(format="live", matched=1, parameters=1)
    return Candidate("tiny", backbone, card, digest(backbone.state_dict()), report)


def outcome(candidate: Candidate, data: Dataset, config: Config, folder: Path, seed: int = 0) -> Outcome:
    return segment_knn.run(candidate, data, config, seed, Bench(CPU, folder / "cache", folder / "scratch"))


def looked_at(candidate: Candidate, images: LabeledImages, filter_: Image.Resampling) -> list[np.ndarray]:
    """Features of every patch of each image, resized to a square, float64."""
    found = []
    for i in range(len(images)):
        shown = normalized(images.image(i).resize((SIDE, SIDE), filter_), candidate.card.preprocess)
        with torch.no_grad():
            tokens = candidate.backbone.eval().tokens(shown[None], 1, True)[0][0]
        found.append(tokens[-((SIDE // PATCH) ** 2) :].double().numpy())
    return found


def squares(images: LabeledImages) -> list[np.ndarray]:
    """The numbers of each label map, resized by Pillow."""
    return [np.asarray(Image.fromarray(images.maps.read(i)).resize((SIDE, SIDE), 0)) for i in range(len(images))]


def cut(numbers: np.ndarray) -> list[list[int]]:
    """The pixels of each patch."""
    places = [(y, x) for y in range(0, SIDE, PATCH) for x in range(0, SIDE, PATCH)]
    return [numbers[y : y + PATCH, x : x + PATCH].ravel().tolist() for y, x in places]


def put(patches: list[list[int]]) -> np.ndarray:
    whole = np.zeros((SIDE, SIDE), int)
    for i, pixels in enumerate(patches):
        y, x = divmod(i, SIDE // PATCH)
        whole[y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH] = np.reshape(pixels, (PATCH, PATCH))
    return whole


def commonest(numbers: list[int]) -> int:
    votes = Counter(numbers)
    return min(number for number, count in votes.items() if count == max(votes.values()))


class Capi:
    """facebookresearch/capi eval_segmentation.py at 98b4fa1: lines 78-84 (fit), 213-278 (k-NN), 346-449 (the whole)."""

    def __init__(self, candidate: Candidate, data: Dataset, held_out: np.ndarray) -> None:
        self.features = {s.split: looked_at(candidate, s, Image.Resampling.BICUBIC) for s in (data.train, data.test)}
        self.numbers = {s.split: squares(s) for s in (data.train, data.test)}
        self.taught = [i for i in range(len(data.train)) if i not in held_out]
        self.held_out = held_out.tolist()
        everything = np.concatenate([self.features["train"][i] for i in self.taught])
        mean, deviation = everything.mean(0), everything.std(0)
        self.features = {s: [(each - mean) / deviation for each in found] for s, found in self.features.items()}

    def predicted(self, k: int, metric: str, taught: list[int], s: str, i: int, ignored: set[int]) -> np.ndarray:
        rows = [
            (feature, pixels)
            for j in taught
            for feature, pixels in zip(self.features["train"][j], cut(self.numbers["train"][j]), strict=True)
            if commonest(pixels) not in ignored
        ]
        patches = []
        for query in self.features[s][i]:
            if metric == "cosine":
                far = [1 - query @ row / np.sqrt(query @ query) / np.sqrt(row @ row) for row, _ in rows]
            else:
                far = [np.sqrt(((query - row) ** 2).sum()) for row, _ in rows]
            near = np.argsort(far)[:k]
            patches.append([commonest([rows[j][1][p] for j in near]) for p in range(PATCH * PATCH)])
        return put(patches)

    def miou(self, k: int, metric: str, taught: list[int], s: str, images: list[int], ignored: set[int]) -> float:
        truth = np.concatenate([self.numbers[s][i].ravel() for i in images])
        predicted = np.concatenate([self.predicted(k, metric, taught, s, i, ignored).ravel() for i in images])
        mask = ~np.isin(truth, list(ignored))
        return float(jaccard_score(truth[mask], predicted[mask], average="macro"))


@pytest.mark.parametrize("is_ade", [True, False])
def test_capi_is_what_its_authors_code_does(tiny: Candidate, tmp_path: Path, is_ade: bool):
    data, ignored = areas(is_ade), {0, 255} if is_ade else {255}
    config = Config.model_validate({"preset": "capi", "resolution": SIDE, "ks": (1, 3)})
    _, held_out = config.parted(len(data.train), 0)
    literal = Capi(tiny, data, held_out)
    wanted = {
        (k, metric): literal.miou(k, metric, literal.taught, "train", literal.held_out, ignored)
        for k in (1, 3)
        for metric in ("cosine", "euclidean")
    }
    found = outcome(tiny, data, config, tmp_path)
    tried = json.loads(found.artifacts["choice"].read_text())
    assert {(each["k"], each["metric"]): each["miou"] / 100 for each in tried} == pytest.approx(wanted, rel=1e-9)
    best = max(wanted, key=lambda choice: wanted[choice])
    miou = literal.miou(*best, literal.taught + literal.held_out, "test", list(range(5)), ignored)
    assert found.scores[0].value / 100 == pytest.approx(miou, rel=1e-9)
    assert found.scores[0].selected_by == "val"
    classes = [each["class"] for each in json.loads(found.artifacts["classes"].read_text())]
    assert classes == ["a", "b", "c", "d", "uncounted"]


def hummingbird(candidate: Candidate, data: Dataset, k: int, classes: int, positions: list[list[int]]) -> float:
    """open-hummingbird-eval hbird/hbird_eval.py at 5e79da2: 304-330 (memory), 575-609 (attention), 236-243 (maps), and
    the mIoU of hbird/utils/eval_metrics.py:143-218, its best matching found by trying all.
    """
    features = {s.split: looked_at(candidate, s, Image.Resampling.BILINEAR) for s in (data.train, data.test)}
    memory = []
    for chosen, found, numbers in zip(positions, features["train"], squares(data.train), strict=True):
        patches = cut(np.where(numbers == 255, 0, numbers))
        shares = [[pixels.count(c) / PATCH**2 for c in range(classes)] for pixels in patches]
        memory += [(found[p] / np.sqrt(found[p] @ found[p]), np.array(shares[p])) for p in chosen]
    truths, maps = [], []
    for found, numbers in zip(features["test"], squares(data.test), strict=True):
        label_hat = []
        for query in found / np.linalg.norm(found, axis=1, keepdims=True):
            cosines = np.array([query @ key for key, _ in memory])
            near = np.argsort(-cosines)[:k]
            attention = np.exp(cosines[near] / 0.02 - cosines[near[0]] / 0.02)
            label_hat.append(sum(a * memory[j][1] for a, j in zip(attention / attention.sum(), near, strict=True)))
        grid = torch.from_numpy(np.array(label_hat)).T.reshape(1, classes, SIDE // PATCH, SIDE // PATCH)
        resized = torch.nn.functional.interpolate(grid, size=(SIDE, SIDE), mode="bilinear")
        maps.append(resized[0].argmax(0).numpy().ravel())
        truths.append(numbers.ravel())
    truth, predicted = np.concatenate(truths), np.concatenate(maps)
    counted = truth != (0 if classes > CLASSES else 255)
    table = np.zeros((classes, classes))
    np.add.at(table, (truth[counted], predicted[counted]), 1)
    union = table.sum(1)[:, None] + table.sum(0) - table
    iou = np.divide(table, union, out=np.zeros_like(table), where=union > 0)
    return max(np.mean([iou[c, order[c]] for c in range(classes)]) for order in permutations(range(classes)))


@pytest.mark.parametrize("is_ade", [True, False])
def test_hummingbird_is_what_the_open_code_does(tiny: Candidate, tmp_path: Path, is_ade: bool):
    """Without augmentation, whose numbers are drawn by other generators; half of the patches are remembered."""
    data = areas(is_ade)
    given = {"resolution": SIDE, "resize_masks": "pillow nearest", "augmented_passes": 0, "memory_patches": 21 * 8}
    config = Config.model_validate({"preset": "hummingbird", "ks": (5,), **given})
    views = Views(data.train, config, LabelRule(), tiny.card.preprocess, PATCH)
    shown = Shown.of(0, *config.parted(len(data.train), 0))
    positions = kept(views, shown, config, Grain(PATCH, PATCH, 12), CPU).positions
    assert [len(each) for each in positions] == [8] * 21
    wanted = hummingbird(tiny, data, 5, CLASSES + is_ade, [each.tolist() for each in positions])
    found = outcome(tiny, data, config, tmp_path)
    assert found.scores[0].value / 100 == pytest.approx(wanted, rel=1e-9)
    assert found.scores[0].selected_by == "last"


def test_sizes_are_said_before_and_kept(tiny: Candidate, tmp_path: Path):
    data = areas(False)
    config = Config.model_validate(
        {"memory_patches": 100, "augmented_passes": 2, "resize": "square", "standardize": False}
    )
    views = Views(data.train, config, LabelRule(), tiny.card.preprocess, PATCH, augmented=True)
    dense = DenseFeatures(tiny.backbone, config)
    size = size_of(views, config, Grain.of(dense, views, CPU.device), len(data.train))
    assert (size.rows, size.features, size.labels, size.code) == (100, 12, 16, 1)
    found = kept(views, Shown.of(2, np.arange(21), np.arange(0)), config, Grain.of(dense, views, CPU.device), CPU)
    memory, scale = remembered(
        dense, views, Shown.of(2, np.arange(21), np.arange(0)), found, False, Place(CPU, tmp_path)
    )
    assert scale is None
    assert len(memory.features) == len(found.labels) == found.starts[-1] <= 2 * 21 * (100 // 42)
    assert (tmp_path / patch_memory.FILE).stat().st_size <= 128 + size.on_disk


def test_a_disk_without_room_is_told_before_anything_is_written(
    tiny: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(patch_memory.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"patches with 12 features each take .* GiB in .* `memory_patches`"):
        outcome(tiny, areas(False), Config(), tmp_path)
    assert not list((tmp_path / "cache").iterdir())


def test_classes_go_with_the_pixels_that_augmentation_shows(tiny: Candidate):
    """Shades tell the classes, and a crop shows whole shades: each pixel's shade is nearest to that of its class."""
    data = areas(False)
    config = Config.model_validate(
        {"augmented_passes": 1, "resize": "square", "resolution": 32, "resize_masks": "torch nearest"}
    )
    views = Views(data.train, config, LabelRule(), Preprocess(mean=(0, 0, 0), std=(1, 1, 1)), PATCH, augmented=True)
    right, crops = [], set()
    for i in range(12):
        image, labels = views.image(i, 3), views.labels(i, 3)
        assert torch.equal(image, views.image(i, 3))
        assert not torch.equal(image, views.image(i, 4))
        assert image.shape == (3, *labels.shape) == (3, 32, 32)
        shades = 255 * image.mean(0).numpy()
        known = labels >= 0
        right.append(np.abs(np.corrcoef(shades[known], labels[known])[0, 1]))
        crops.add(labels.tobytes())
    assert min(right) > 0.7
    assert len(crops) == 12


def test_colors_are_changed_before_the_crop_as_torchvision_changes_them():
    data, seed, none = areas(False), 5, Preprocess(mean=(0, 0, 0), std=(1, 1, 1))
    config = Config.model_validate({"augmented_passes": 1, "resize": "square", "resolution": 12})
    views = Views(data.train, config, LabelRule(), none, PATCH, augmented=True, seed=seed)
    for index in range(4):
        image, rng = data.train.image(index), generator(seed, 1, index)
        box = crop_box(image.width, image.height, (0.5, 2.0), (3 / 4, 4 / 3), rng)
        for adjust, low, high in (
            (functional.adjust_brightness, 0.9, 1.1),
            (functional.adjust_contrast, 0.9, 1.1),
            (functional.adjust_saturation, 0.9, 1.1),
            (functional.adjust_hue, -0.1, 0.1),
        ):
            if rng.random() < 0.5:
                image = adjust(image, low + (high - low) * rng.random())
        wanted = functional.resized_crop(functional.to_tensor(image), *box, [12, 12], antialias=True)
        torch.testing.assert_close(views.image(index, 1), wanted)


def test_parts_of_any_size_give_one_result(tiny: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = Config.model_validate({"resize": "shorter_side"})
    whole = outcome(tiny, areas(True), config, tmp_path / "whole")
    monkeypatch.setattr(patch_predictions, "AT_ONCE", 1)
    parts = outcome(tiny, areas(True), config, tmp_path / "parts")
    assert parts.scores == whole.scores
    with np.load(whole.artifacts["counts"]) as counts:
        assert counts["labeled"].sum() == sum(int((m > 0).sum()) for m in map(areas(True).test.maps.read, range(5)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"vote": "shares"}, "metrics"),
        ({"temperature": 0.1}, "no temperature"),
        ({"augmented_passes": 1}, "resize=square"),
        ({"whole_patches": "padded"}, "whole_patches=rounded"),
        ({"ks": ()}, "at least one"),
        ({"ks": (0,)}, "from 1 on"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any], said: str):
    with pytest.raises(pydantic.ValidationError, match=said):
        Config.model_validate(given)


def test_labels_name_the_preset_or_what_is_not_usual():
    assert segment_knn.label(Config()) == "segment-knn"
    assert segment_knn.label(Config.model_validate({"preset": "capi"})) == "segment-knn (capi)"
    ignoring = Config.model_validate({"preset": "hummingbird", "ignore_index": 0})
    assert segment_knn.label(ignoring) == "segment-knn (hummingbird, ignore_index=0)"
    assert segment_knn.label(Config.model_validate({"scored_at": "resolution"})) == "segment-knn (scored_at=resolution)"


def test_the_seed_has_a_part_where_something_is_drawn(tiny: Candidate):
    data, one = areas(False), {"ks": (3,), "metrics": ("cosine",)}
    assert segment_knn.depends_on_seed(Config(), data)
    assert not segment_knn.depends_on_seed(Config.model_validate(one), data)
    assert segment_knn.depends_on_seed(Config.model_validate({**one, "memory_patches": 9}), data)
    alone = Dataset(data.train.subset(np.arange(1), "one"), data.test)
    assert "one of `ks`" in str(segment_knn.unfit(tiny, alone, Config()))
    assert segment_knn.unfit(tiny, alone, Config.model_validate(one)) is None
    assert "dilated" in str(segment_knn.unfit(tiny, data, Config.model_validate({"dilated": True})))


def test_a_memory_without_a_class_is_refused(tiny: Candidate):
    data = areas(False)
    views = Views(data.train, Config(), LabelRule(ignore_index=None, reduce_labels=True), tiny.card.preprocess, PATCH)
    blank = LabelMaps(lambda i: np.zeros_like(data.train.maps.read(i)), data.train.names)
    views = views.of(LabeledImages(**{**vars(data.train), "label_maps": blank}))
    with pytest.raises(UserError, match="No patch of the 21 training images has a class"):
        kept(views, Shown.of(0, np.arange(21), np.arange(0)), Remembering(), Grain(PATCH, PATCH, 12), CPU)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tiny: Candidate, tmp_path: Path):
    chosen: tuple[dict[str, Any], ...] = ({}, {"preset": "hummingbird", "resolution": 16, "memory_patches": 100})

    def measured(here: Runtime, folder: Path) -> list[dict[str, float]]:
        found = []
        for i, given in enumerate(chosen):
            bench = Bench(here, tmp_path / f"cache-{folder.name}", folder / str(i))
            result = segment_knn.run(tiny, areas(True), Config.model_validate(given), 0, bench)
            found.append({score.metric: score.value for score in result.scores})
            here.barrier()
        return found

    one = measured(CPU, tmp_path / "one")
    for two in forked.ranks(2, lambda rank: measured(runtime.start("cpu"), tmp_path / "two")):
        for wanted, scores in zip(one, two, strict=True):
            assert scores == pytest.approx(wanted, rel=1e-3)


def test_a_class_that_is_left_out_gives_its_name_to_no_other(tiny: Candidate, tmp_path: Path):
    given = {"resolution": SIDE, "ks": (1,), "metrics": ("cosine",), "reduce_labels": True}
    bench = Bench(CPU, tmp_path / "cache", tmp_path / "scratch")
    found = segment_knn.run(tiny, areas(False), Config.model_validate(given), 0, bench)
    classes = [each["class"] for each in json.loads(found.artifacts["classes"].read_text())]
    assert classes == ["b", "c", "d", "uncounted"]
