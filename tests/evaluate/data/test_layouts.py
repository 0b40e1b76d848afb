"""One small labeled set in every layout that is read: k-NN gives the same number on all of them."""

import io
import json
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from coloured import COLOURS, encoded, knn, network, parquet, picture, zipped
from PIL import Image
from scipy.io import savemat

from transferbench.data.transforms import IMAGENET_MEAN, IMAGENET_STD

NAMES = ("wren", "auk", "kite")
"""Of the classes 0, 1 and 2: not in the order of the alphabet."""


class Sample(NamedTuple):
    """An image, its place in its split, and the class that it is said to be of."""

    content: bytes
    number: int
    label: int

    @property
    def name(self) -> str:
        return NAMES[self.label]


def drawn() -> dict[str, list[Sample]]:
    """24 training and 12 test images of three colours, a quarter of them wrongly labeled."""
    rng, splits = np.random.default_rng(5), {}
    for split, start, n in (("train", 0, 24), ("test", 100, 12)):
        colours = rng.permutation(np.arange(n) % len(COLOURS))
        labels = np.where(rng.random(n) < 0.25, (colours + 1) % len(COLOURS), colours)
        splits[split] = [
            Sample(encoded(picture(int(colour), start + i)), start + i, int(label))
            for i, (colour, label) in enumerate(zip(colours, labels, strict=True))
        ]
    return splits


SET = drawn()


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def each() -> list[tuple[str, Sample]]:
    return [(split, sample) for split, samples in SET.items() for sample in samples]


def folder(root: Path) -> str:
    for split, sample in each():
        write(root / "set" / split / sample.name / f"{sample.number}.png", sample.content)
    return f"{root}/set"


def validated(root: Path) -> str:
    folder(root)
    (root / "set/test").rename(root / "set/val")
    return f"{root}/set"


def a_zip(root: Path, inside: str = "") -> str:
    return str(zipped(Path(folder(root)), inside))


def wrapped_zip(root: Path) -> str:
    return a_zip(root, "birds-1.0/")


def shards(root: Path, names: str = "") -> str:
    for split, samples in SET.items():
        for part in range(2):
            path = root / "set" / f"{split}-{part:03d}.tar"
            path.parent.mkdir(exist_ok=True)
            with tarfile.open(path, "w") as archive:
                for sample in samples[part::2]:
                    for suffix, content in (("png", sample.content), ("cls", str(sample.label).encode())):
                        info = tarfile.TarInfo(f"{sample.number:04d}.{suffix}")
                        info.size = len(content)
                        archive.addfile(info, io.BytesIO(content))
    if names:
        write(root / "set/classnames.txt", names)
    return f"{root}/set"


def named_shards(root: Path) -> str:
    return shards(root, "\n".join([*NAMES, "dodo"]))


def tables(root: Path, labels: tuple[int, ...] = (0, 1, 2), names: dict[str, tuple[str, ...]] | None = None) -> str:
    for split, samples in SET.items():
        pairs = [(0, 0)] * len(samples)
        content = [{"bytes": sample.content, "path": None} for sample in samples]
        order = (names or {}).get(split, ())
        column = [order.index(sample.name) if order else labels[sample.label] for sample in samples]
        parquet(root / "set", split, pairs, order, image=content, label=column)
    return f"{root}/set"


def named_tables(root: Path) -> str:
    return tables(root, names={"train": NAMES, "test": tuple(sorted(NAMES))})


def far_apart(root: Path) -> str:
    return tables(root, (3, 2**40, 70_000))


def bare_tables(root: Path) -> str:
    for split, samples in SET.items():
        content, labels = [sample.content for sample in samples], [sample.label for sample in samples]
        parquet(root / "set", split, [(0, 0)] * len(samples), image=None, label=None, img=content, fine_label=labels)
    return f"{root}/set"


def hub(root: Path) -> str:
    datasets = pytest.importorskip("datasets")
    datasets.config.HF_DATASETS_CACHE = str(root / "hub-cache")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    for split, samples in SET.items():
        rows = {
            "img": [{"bytes": sample.content, "path": None} for sample in samples],
            "label": [sample.label for sample in samples],
        }
        datasets.Dataset.from_dict(rows, features=features).to_parquet(root / f"hub/data/{split}-0.parquet")
    return f"hf:{root}/hub"


def sun397(root: Path) -> str:
    base = root / "sun397"
    write(base / "Partitions/ClassName.txt", "".join(f"/{name[0]}/{name}\n" for name in NAMES))
    for split, listing in (("train", "Training_01.txt"), ("test", "Testing_01.txt")):
        lines = [f"/{sample.name[0]}/{sample.name}/sun_{sample.number}.jpg" for sample in SET[split]]
        write(base / "Partitions" / listing, "\n".join(lines))
        for line, sample in zip(lines, SET[split], strict=True):
            write(base / "SUN397" / line[1:], sample.content)
    return "sun397"


def places205(root: Path) -> str:
    base = root / "places205"
    for split, listing in (("train", "train"), ("test", "val")):
        lines = [f"{sample.name[0]}/{sample.name}/{sample.number}.jpg {sample.label}" for sample in SET[split]]
        write(base / "trainvalsplit_places205" / f"{listing}_places205.csv", "\n".join(lines))
        for line, sample in zip(lines, SET[split], strict=True):
            write(base / "data/vision/torralba/deeplearning/images256" / line.split()[0], sample.content)
    return "places205"


def inat18(root: Path) -> str:
    base, ids = root / "inat18", (7, 40, 11)
    for split, listing in (("train", "train"), ("test", "val")):
        images = [{"id": sample.number, "file_name": f"all/{sample.number}.jpg"} for sample in SET[split]]
        labels = [{"image_id": sample.number, "category_id": ids[sample.label]} for sample in SET[split]]
        categories = [{"id": number, "name": name} for number, name in zip(ids, NAMES, strict=True)]
        content = {"images": images, "annotations": labels[::-1], "categories": categories}
        write(base / f"{listing}2018.json", json.dumps(content))
        for sample in SET[split]:
            write(base / "all" / f"{sample.number}.jpg", sample.content)
    return "inat18"


def tiny_imagenet(root: Path) -> str:
    base = root / "tiny_imagenet/tiny-imagenet-200"
    for sample in SET["train"]:
        write(base / "train" / sample.name / "images" / f"{sample.number}.JPEG", sample.content)
    for sample in SET["test"]:
        write(base / "val/images" / f"val_{sample.number}.JPEG", sample.content)
    lines = [f"val_{sample.number}.JPEG\t{sample.name}\t0\t0\t1\t1" for sample in SET["test"]]
    write(base / "val/val_annotations.txt", "\n".join(lines))
    return "tiny_imagenet"


def imagenet(root: Path) -> str:
    base, ids = root / "imagenet", (3, 900, 41)
    for sample in SET["train"]:
        write(base / "train" / sample.name / f"{sample.number}.JPEG", sample.content)
    for sample in SET["test"]:
        write(base / "val" / f"ILSVRC2012_val_{sample.number:08d}.JPEG", sample.content)
    truth = "\n".join(str(ids[sample.label]) for sample in SET["test"])
    write(base / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth)
    rows = np.array(list(zip(ids, NAMES, strict=True)), dtype=[("ILSVRC2012_ID", object), ("WNID", object)])
    savemat(base / "ILSVRC2012_devkit_t12/data/meta.mat", {"synsets": rows})
    return "imagenet"


def food101(root: Path) -> str:
    base = root / "food101/food-101"
    for split, samples in SET.items():
        meta = {name: [f"{name}/{sample.number}" for sample in samples if sample.name == name] for name in NAMES}
        write(base / "meta" / f"{split}.json", json.dumps(meta))
    for _, sample in each():
        write(base / "images" / sample.name / f"{sample.number}.jpg", sample.content)
    return "food101"


def dtd(root: Path) -> str:
    base, parts = root / "dtd/dtd", {"train": SET["train"][:9], "val": SET["train"][9:], "test": SET["test"]}
    for part, samples in parts.items():
        lines = [f"{sample.name}/{sample.number}.jpg" for sample in samples]
        write(base / "labels" / f"{part}1.txt", "\n".join(lines))
        for line, sample in zip(lines, samples, strict=True):
            write(base / "images" / line, sample.content)
    return "dtd"


def aircraft(root: Path) -> str:
    data = root / "aircraft/fgvc-aircraft-2013b/data"
    write(data / "variants.txt", "\n".join(NAMES) + "\n")
    for split, listing in (("train", "trainval"), ("test", "test")):
        lines = [f"{sample.number:07d} {sample.name}" for sample in SET[split]]
        write(data / f"images_variant_{listing}.txt", "\n".join(lines) + "\n")
        for sample in SET[split]:
            write(data / "images" / f"{sample.number:07d}.jpg", sample.content)
    return "aircraft"


def pets(root: Path) -> str:
    base = root / "pets/oxford-iiit-pet"
    for split, listing in (("train", "trainval"), ("test", "test")):
        lines = [f"{sample.name}_{sample.number} {sample.label + 1} 1 1" for sample in SET[split]]
        write(base / "annotations" / f"{listing}.txt", "\n".join(lines))
        for sample in SET[split]:
            write(base / "images" / f"{sample.name}_{sample.number}.jpg", sample.content)
    return "pets"


def cars(root: Path) -> str:
    base = root / "cars/stanford_cars"
    write(base / "devkit/README", "")
    savemat(base / "devkit/cars_meta.mat", {"class_names": np.array(NAMES, object)})
    for split, listing in (("train", "devkit/cars_train_annos"), ("test", "cars_test_annos_withlabels")):
        rows = [(f"{sample.number:05d}.jpg", sample.label + 1) for sample in SET[split]]
        savemat(base / f"{listing}.mat", {"annotations": np.array(rows, [("fname", object), ("class", object)])})
        for sample in SET[split]:
            write(base / f"cars_{split}" / f"{sample.number:05d}.jpg", sample.content)
    return "cars"


LAYOUTS = [
    *(folder, validated, a_zip, wrapped_zip, shards, named_shards, tables, named_tables, far_apart, bare_tables, hub),
    *(sun397, places205, inat18, tiny_imagenet, imagenet, food101, dtd, aircraft, pets, cars),
]


@cache
def expected() -> float:
    """The weighted vote among the five nearest by cosine, on the pictures as they are."""
    pixels = {split: np.stack([_pixels(sample.content) for sample in samples]) for split, samples in SET.items()}
    labels = {split: np.array([sample.label for sample in samples]) for split, samples in SET.items()}
    with torch.no_grad():
        train, test = (network()(torch.from_numpy(pixels[split])).double().numpy() for split in ("train", "test"))
    cosine = (test @ train.T) / np.linalg.norm(test, axis=1)[:, None] / np.linalg.norm(train, axis=1)
    nearest = np.argsort(-cosine, axis=1)[:, :5]
    weights = np.exp(np.take_along_axis(cosine, nearest, 1) / 0.07)
    votes = [[row[labels["train"][at] == c].sum() for c in range(3)] for row, at in zip(weights, nearest, strict=True)]
    return 100 * float(np.mean(np.argmax(votes, 1) == labels["test"]))


def _pixels(content: bytes) -> np.ndarray:
    image = np.asarray(Image.open(io.BytesIO(content)), np.float32) / 255
    return ((image - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_STD, np.float32)).transpose(2, 0, 1)


@pytest.mark.parametrize("lay", LAYOUTS, ids=lambda lay: lay.__name__)
def test_knn_is_the_same_in_every_layout(lay: Callable[[Path], str], tmp_path: Path):
    assert knn(lay(tmp_path), tmp_path) == pytest.approx(expected())


def test_the_number_is_neither_chance_nor_all():
    assert 40 < expected() < 90
    assert sorted(NAMES) != list(NAMES)
