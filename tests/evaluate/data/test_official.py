"""Each data set from a few fabricated images in its official layout: files, labels, classes, splits and metric."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import Flowers102

from transferbench.data import LabeledImages, open_split
from transferbench.data.sources import imagenet100
from transferbench.errors import UserError


def photo(path: Path) -> None:
    """A gray image whose level, 0 to 99, is the last number in its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    level = int("".join(c for c in path.stem.split("_")[-1] if c.isdigit()) or 0) % 100
    Image.new("RGB", (8, 6), (level,) * 3).save(path, "PNG")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def food101(root: Path) -> None:
    for split, numbers in {"train": (10, 11), "test": (12,)}.items():
        meta = {dish: [f"{dish}/{n + 5 * i}" for n in numbers] for i, dish in enumerate(("apple_pie", "waffles"))}
        write(root / "food101/food-101/meta" / f"{split}.json", json.dumps(meta))
        for paths in meta.values():
            for path in paths:
                photo(root / "food101/food-101/images" / f"{path}.jpg")


def dtd(root: Path) -> None:
    for n, split in enumerate(("train", "val", "test")):
        lines = [f"{name}/{name}_{10 * c + n}.jpg" for c, name in enumerate(("banded", "woven"))]
        write(root / "dtd/dtd/labels" / f"{split}1.txt", "\n".join(lines))
        for line in lines:
            photo(root / "dtd/dtd/images" / line)


def aircraft(root: Path) -> None:
    data = root / "aircraft/fgvc-aircraft-2013b/data"
    write(data / "variants.txt", "707-320\nF-16A/B\n")
    for split, numbers in {"trainval": (11, 12), "test": (13,)}.items():
        lines = [f"00000{n} {name}" for n, name in zip(numbers, ("F-16A/B", "707-320"), strict=False)]
        write(data / f"images_variant_{split}.txt", "\n".join(lines) + "\n")
        for n in numbers:
            photo(data / "images" / f"00000{n}.jpg")


def flowers102(root: Path) -> None:
    folder = root / "flowers102/flowers-102"
    for n in range(1, 7):
        photo(folder / "jpg" / f"image_{n:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([5, 5, 102, 102, 1, 1])})
    savemat(folder / "setid.mat", {"trnid": [1, 3], "valid": [2, 4], "tstid": [5, 6]})


def cars(root: Path) -> None:
    folder = root / "cars/stanford_cars"
    write(folder / "devkit/README", "")
    savemat(folder / "devkit/cars_meta.mat", {"class_names": np.array(["AM General Hummer", "Audi TT"], object)})
    for part, where, numbers in (
        ("train", "devkit/cars_train_annos", (1, 2)),
        ("test", "cars_test_annos_withlabels", (3, 4)),
    ):
        for n in numbers:
            photo(folder / f"cars_{part}" / f"{n:05d}.jpg")
        rows = np.array([(f"{n:05d}.jpg", 2 - n % 2) for n in numbers], dtype=[("fname", object), ("class", object)])
        savemat(folder / f"{where}.mat", {"annotations": rows})


def pets(root: Path) -> None:
    folder = root / "pets/oxford-iiit-pet"
    for part, lines in {
        "trainval": ("Abyssinian_12 1 1 1", "shiba_inu_13 2 2 1"),
        "test": ("shiba_inu_14 2 2 1", "Abyssinian_15 1 1 1"),
    }.items():
        write(folder / "annotations" / f"{part}.txt", "\n".join(lines) + "\n")
        for line in lines:
            photo(folder / "images" / f"{line.split()[0]}.jpg")


def caltech101(root: Path) -> None:
    for c, name in enumerate(("BACKGROUND_Google", "accordion")):
        for n in range(33 + c):
            photo(root / "caltech101/101_ObjectCategories" / name / f"image_{n:04d}.jpg")


def eurosat(root: Path) -> None:
    for name in ("AnnualCrop", "SeaLake"):
        for n in range(10):
            photo(root / "eurosat/2750" / name / f"{name}_{n}.jpg")


def sun397(root: Path) -> None:
    lists = root / "sun397/Partitions"
    write(lists / "ClassName.txt", "/a/abbey\n/b/bar/indoor\n")
    for name, numbers in {"Training_01.txt": (11, 12), "Testing_01.txt": (13, 14)}.items():
        lines = [f"/b/bar/indoor/sun_{numbers[0]}.jpg", f"/a/abbey/sun_{numbers[1]}.jpg"]
        write(lists / name, "\n".join(lines))
        for line in lines:
            photo(root / "sun397/SUN397" / line.strip("/"))


def places205(root: Path) -> None:
    for split, numbers in {"train": (11, 12), "val": (13, 14)}.items():
        lines = [f"a/art studio/gsun_{numbers[0]}.jpg 1", f"a/abbey/gsun_{numbers[1]}.jpg 0"]
        write(root / "places205/trainvalsplit_places205" / f"{split}_places205.csv", "\n".join(lines) + "\n")
        for line in lines:
            photo(root / "places205/data/vision/torralba/deeplearning/images256" / line[:-2])


def inat18(root: Path) -> None:
    categories = [{"id": 1, "name": "Parus major"}, {"id": 0, "name": "Quercus robur"}]
    for split, numbers in {"train": (11, 12), "val": (13, 14)}.items():
        names = [f"train_val2018/Aves/1/{numbers[0]}.jpg", f"train_val2018/Plantae/0/{numbers[1]}.jpg"]
        images = [{"id": n, "file_name": name} for n, name in zip(numbers, names, strict=True)]
        labels = [{"image_id": numbers[1], "category_id": 0}, {"image_id": numbers[0], "category_id": 1}]
        content = {"images": images, "annotations": labels, "categories": categories}
        write(root / "inat18" / f"{split}2018.json", json.dumps(content))
        for name in names:
            photo(root / "inat18" / name)


def tiny_imagenet(root: Path) -> None:
    folder = root / "tiny_imagenet/tiny-imagenet-200"
    for c, wnid in enumerate(("n02", "n01")):
        photo(folder / "train" / wnid / "images" / f"{wnid}_{10 + c}.JPEG")
        photo(folder / "val/images" / f"val_{20 + c}.JPEG")
    write(folder / "val/val_annotations.txt", "val_20.JPEG\tn02\t0\t0\t1\t1\nval_21.JPEG\tn01\t0\t0\t1\t1\n")


def imagenet(root: Path, wnids: tuple[str, ...] = ("n02", "n01")) -> None:
    for c, wnid in enumerate(wnids):
        photo(root / "imagenet/train" / wnid / f"{wnid}_{10 + c}.JPEG")
        photo(root / "imagenet/val" / wnid / f"ILSVRC2012_val_{20 + c:08d}.JPEG")


class Laid(NamedTuple):
    """How to lay a set out, and what must be read: (label, gray level) of each image of each split."""

    lay: Callable[[Path], None]
    metric: str
    classes: tuple[str, ...]
    splits: dict[str, list[tuple[int, int]]]


PAIR = [(1, 11), (0, 12)]
NEXT = [(1, 13), (0, 14)]
LAYOUTS = {
    "food101": Laid(
        food101,
        "top1",
        ("apple_pie", "waffles"),
        {"train": [(0, 10), (0, 11), (1, 15), (1, 16)], "test": [(0, 12), (1, 17)]},
    ),
    "dtd": Laid(
        dtd,
        "top1",
        ("banded", "woven"),
        {"train": [(0, 0), (1, 10), (0, 1), (1, 11)], "test": [(0, 2), (1, 12)]},
    ),
    "aircraft": Laid(aircraft, "mean_per_class", ("707-320", "F-16A/B"), {"train": PAIR, "test": [(1, 13)]}),
    "cars": Laid(cars, "top1", ("AM General Hummer", "Audi TT"), {"train": [(0, 1), (1, 2)], "test": [(0, 3), (1, 4)]}),
    "pets": Laid(
        pets,
        "mean_per_class",
        ("Abyssinian", "shiba_inu"),
        {"train": [(0, 12), (1, 13)], "test": [(1, 14), (0, 15)]},
    ),
    "sun397": Laid(sun397, "top1", ("abbey", "bar/indoor"), {"train": PAIR, "test": NEXT}),
    "places205": Laid(places205, "top1", ("a/abbey", "a/art studio"), {"train": PAIR, "val": NEXT}),
    "inat18": Laid(inat18, "top1", ("Quercus robur", "Parus major"), {"train": PAIR, "val": NEXT}),
    "tiny_imagenet": Laid(
        tiny_imagenet, "top1", ("n01", "n02"), {"train": [(0, 11), (1, 10)], "val": [(1, 20), (0, 21)]}
    ),
    "imagenet": Laid(imagenet, "top1", ("n01", "n02"), {"train": [(0, 11), (1, 10)], "val": [(0, 21), (1, 20)]}),
}


def seen(images: LabeledImages) -> list[tuple[int, int]]:
    """(label, gray level) of every image."""
    return [(int(label), images.image(i).getpixel((0, 0))[0]) for i, label in enumerate(images.labels)]  # pyright: ignore


@pytest.mark.parametrize("name", LAYOUTS)
def test_files_labels_classes_and_metric(name: str, tmp_path: Path):
    lay, metric, classes, expected = LAYOUTS[name]
    lay(tmp_path)
    for split, images in expected.items():
        found = open_split(name, split, tmp_path)
        assert seen(found) == images
        assert (found.info.name, found.info.metric, found.info.classes) == (name, metric, classes)
        assert found.info.test_split in expected
    assert open_split(name, "train", tmp_path).fingerprint != found.fingerprint


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_set_that_lost_an_image_says_how_to_get_it_whole(name: str, tmp_path: Path):
    LAYOUTS[name].lay(tmp_path)
    images = open_split(name, "train", tmp_path)
    before = images.fingerprint
    lost = tmp_path / name / images.names[0].partition("/")[2]
    content = lost.read_bytes()
    lost.write_bytes(content + b"more")
    assert open_split(name, "train", tmp_path).fingerprint != before
    lost.unlink()
    with pytest.raises(UserError, match=r"(?s)incomplete.*(Expected there:|evaluate download )"):
        open_split(name, "train", tmp_path)


def test_flowers_trains_on_train_and_val(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flowers102(tmp_path)
    folder = tmp_path / "flowers102/flowers-102"
    names = {"image": "102flowers.tgz", "label": "imagelabels.mat", "setid": "setid.mat"}
    sums = {
        key: (name, hashlib.md5((folder / name).read_bytes()).hexdigest() if key != "image" else "")
        for key, name in names.items()
    }
    monkeypatch.setattr(Flowers102, "_file_dict", sums)
    train, test = (open_split("flowers102", split, tmp_path) for split in ("train", "test"))
    assert seen(train) == [(4, 1), (101, 3), (4, 2), (101, 4)]
    assert seen(test) == [(0, 5), (0, 6)]
    assert (train.info.metric, len(train.info.classes)) == ("mean_per_class", 102)


def test_caltech_gives_thirty_of_each_class_to_train_on_and_always_the_same(tmp_path: Path):
    caltech101(tmp_path)
    train, test = (open_split("caltech101", split, tmp_path) for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [30, 30]
    assert np.bincount(test.labels).tolist() == [3, 4]
    assert len({name.partition("/")[2] for name in [*train.names, *test.names]}) == 67
    assert train.names == open_split("caltech101", "train", tmp_path).names
    assert test.info.metric == "mean_per_class"


def test_eurosat_tests_on_every_fifth_tile_of_a_class(tmp_path: Path):
    eurosat(tmp_path)
    train, test = (open_split("eurosat", split, tmp_path) for split in ("train", "test"))
    assert seen(test) == [(0, 4), (0, 9), (1, 4), (1, 9)]
    assert np.bincount(train.labels).tolist() == [8, 8]
    (tmp_path / "eurosat/2750").rename(tmp_path / "eurosat/EuroSAT_RGB")
    assert open_split("eurosat", "test", tmp_path).labels.tolist() == test.labels.tolist()


def test_tiny_imagenet_may_have_its_validation_images_in_folders(tmp_path: Path):
    tiny_imagenet(tmp_path)
    folder = tmp_path / "tiny_imagenet/tiny-imagenet-200/val"
    for wnid, n in (("n02", 20), ("n01", 21)):
        photo(folder / wnid / "images" / f"val_{n}.JPEG")
    (folder / "val_annotations.txt").unlink()
    assert seen(open_split("tiny_imagenet", "val", tmp_path)) == [(0, 21), (1, 20)]


def flatten(root: Path, truth: str = "7\n3\n") -> None:
    """All validation images in one folder, with the development kit's numbers for their classes."""
    val = root / "imagenet/val"
    for path in sorted(val.rglob("*.JPEG")):
        path.rename(val / path.name)
    for folder in [path for path in val.iterdir() if path.is_dir()]:
        folder.rmdir()
    devkit = root / "imagenet/ILSVRC2012_devkit_t12/data"
    write(devkit / "ILSVRC2012_validation_ground_truth.txt", truth)
    rows = np.array([(7, "n02"), (3, "n01")], dtype=[("ILSVRC2012_ID", object), ("WNID", object)])
    savemat(devkit / "meta.mat", {"synsets": rows})


def test_imagenets_flat_validation_images_are_labeled_by_the_development_kit(tmp_path: Path):
    imagenet(tmp_path)
    flatten(tmp_path)
    found = open_split("imagenet", "val", tmp_path)
    assert seen(found) == [(1, 20), (0, 21)]
    assert found.info == open_split("imagenet", "train", tmp_path).info
    flatten(tmp_path, "7\n")
    with pytest.raises(UserError, match="2 images in val/, 1 lines"):
        open_split("imagenet", "val", tmp_path)


def test_imagenet_100_is_found_in_imagenet_by_its_published_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    listed = imagenet100.classes()
    assert (len(listed), len(set(listed))) == (100, 100)
    digest = hashlib.sha256((imagenet100.SPLITS / "imagenet100.txt").read_bytes()).hexdigest()
    assert digest == "79f3f1552ccc478ce24bd934b4573625db584ddc1f4643ae23c994a94cb11397"
    imagenet(tmp_path, ("n02", "n01", "n03"))
    with pytest.raises(UserError, match="Expected there"):
        open_split("imagenet100", "train", tmp_path)
    monkeypatch.setattr(imagenet100, "classes", lambda: ["n01", "n03"])
    for split, expected in {"train": [(0, 11), (1, 12)], "val": [(0, 21), (1, 22)]}.items():
        assert seen(open_split("imagenet100", split, tmp_path)) == expected
    flatten(tmp_path, "7\n3\n9\n")
    rows = np.array([(7, "n02"), (3, "n01"), (9, "n03")], dtype=[("ILSVRC2012_ID", object), ("WNID", object)])
    savemat(tmp_path / "imagenet/ILSVRC2012_devkit_t12/data/meta.mat", {"synsets": rows})
    assert seen(open_split("imagenet100", "val", tmp_path)) == [(0, 21), (1, 22)]
    (tmp_path / "imagenet").rename(tmp_path / "imagenet100")
    assert open_split("imagenet100", "train", tmp_path).info.classes == ("n01", "n03")


def voc07(root: Path) -> None:
    from transferbench.data.sources.voc07 import CLASSES

    main = root / "voc07/VOCdevkit/VOC2007/ImageSets/Main"
    verdicts = {"dog": {"000011": 1, "000012": 0, "000013": -1}, "person": {"000011": 1, "000012": 1, "000013": -1}}
    verdicts["train"] = {"000011": -1, "000012": -1, "000013": 1}
    for part, images in {"trainval": ("000011", "000012"), "test": ("000013",)}.items():
        for name in CLASSES:
            lines = [f"{image} {verdicts.get(name, {}).get(image, -1):2d}" for image in images]
            write(main / f"{name}_{part}.txt", "\n".join(lines) + "\n")
        write(main / f"{part}.txt", "\n".join(images))
        for image in images:
            photo(root / "voc07/VOCdevkit/VOC2007/JPEGImages" / f"{image}.jpg")


def test_voc_has_a_verdict_for_each_class_and_image(tmp_path: Path):
    voc07(tmp_path)
    train, test = (open_split("voc07", split, tmp_path) for split in ("train", "test"))
    dog, person, rail = (train.info.classes.index(name) for name in ("dog", "person", "train"))
    assert train.targets is not None
    assert test.targets is not None
    assert train.targets.shape == (2, 20)
    assert train.targets[:, [dog, person, rail]].tolist() == [[1, 1, 0], [-1, 1, 0]]
    assert test.targets[:, [dog, person, rail]].tolist() == [[0, 0, 1]]
    assert train.targets.sum() == 1 + 1 + (-1) + 1
    assert train.labels.tolist() == [dog, person]
    assert (train.info.metric, train.info.carries, train.info.chance) == ("map11", "several labels", None)
    part = train.subset(np.array([1]), "one").targets
    assert part is not None
    assert part.tolist() == train.targets[1:].tolist()
    lists = tmp_path / "voc07/VOCdevkit/VOC2007/ImageSets/Main/dog_trainval.txt"
    lists.write_text(lists.read_text().replace("000012  0", "000012  1"))
    assert open_split("voc07", "train", tmp_path).fingerprint != train.fingerprint
    lists.write_text("000011 1\n")
    with pytest.raises(UserError, match="name different images"):
        open_split("voc07", "train", tmp_path)
