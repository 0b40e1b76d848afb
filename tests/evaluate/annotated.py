"""Small annotated data sets in the layouts that people have, written to a folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferbench.data import LabeledImages
from transferbench.detection.targets.views import decoded

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 90, "name": "eel"}]
SQUARE = [[4.0, 6.0, 24.0, 6.0, 24.0, 21.0, 4.0, 21.0]]  # the box 4 6 20 15


def picture(path: Path, width: int, height: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def annotation(number: int, image: int, category: int, **more: Any) -> dict[str, Any]:
    found = {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [4, 6, 20, 15],
        "area": 300,
        "iscrowd": 0,
    }
    return found | {"segmentation": SQUARE} | more


def coco(root: Path, annotations: list[dict[str, Any]] | None = None) -> Path:
    """Two splits of three images: one with three kinds of objects, one with a crowd alone, one with nothing."""
    crowd = {"size": [30, 40], "counts": [0, 60, 1140]}
    bitmap = {"size": [30, 40], "counts": [120, 300, 780]}
    objects = annotations if annotations is not None else [
        annotation(1, 10, 7),
        annotation(2, 10, 90, segmentation=bitmap, bbox=[4, 0, 10, 30]),
        annotation(3, 10, 3, segmentation=crowd, iscrowd=1, bbox=[0, 0, 2, 30]),
        annotation(4, 500, 3, segmentation=crowd, iscrowd=1, bbox=[0, 0, 2, 30]),
    ]  # fmt: skip
    for split in ("train", "val"):
        images = []
        for i, number in enumerate((10, 500, 77)):
            name = f"{number:012d}.png"
            picture(root / f"{split}2017" / name, 40, 30, i + 10 * (split == "val"))
            images.append({"id": number, "file_name": name, "width": 40, "height": 30})
        tables = {"images": images, "annotations": objects, "categories": CATEGORIES}
        path = root / "annotations" / f"instances_{split}2017.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(tables))
    return root


def edit(root: Path, change: Callable[[dict[str, Any]], object], *splits: str) -> Path:
    """Change the tables of some splits of `coco`, of both when none is named."""
    for split in splits or ("train", "val"):
        path = root / "annotations" / f"instances_{split}2017.json"
        tables = json.loads(path.read_text())
        change(tables)
        path.write_text(json.dumps(tables))
    return root


def colored(root: Path) -> Path:
    """Two splits of six images with one bright square each, red (1) or blue (2), on gray."""
    for split in ("train", "val"):
        rng, images, objects = np.random.default_rng(split == "val"), [], []
        for i in range(1, 7):
            x, y, category = *rng.integers(2, 40, 2).tolist(), 1 + i % 2
            pixels = np.full((60, 80, 3), 90, np.uint8)
            pixels[y : y + 16, x : x + 12] = (230, 30, 30) if category == 1 else (30, 30, 230)
            path = root / f"{split}2017" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            images.append({"id": i, "file_name": path.name, "width": 80, "height": 60})
            objects.append(
                annotation(i, i, category, bbox=[x, y, 12, 16], area=192, segmentation=_corners(x, y, 12, 16))
            )
        tables = {
            "images": images,
            "annotations": objects,
            "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}],
        }
        path = root / "annotations" / f"instances_{split}2017.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(tables))
    return root


def on_their_objects(images: LabeledImages) -> int:
    """How many boxes of `colored` lie on a square of their class's color, in the pictures as detectors see them."""
    count = 0
    for i, found in enumerate(images.boxes.objects):
        pixels = np.asarray(decoded(images, i)).astype(int)
        for each in found:
            x, y, width, height = (round(value) for value in each.box)
            red, _, blue = pixels[y : y + height, x : x + width].mean((0, 1))
            count += bool(red - blue > 150 if images.info.classes[each.label] == "red" else blue - red > 150)
    return count


def _corners(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def voc(root: Path, year: int, parts: dict[str, list[str]]) -> Path:
    """A year with images named in `parts`; each has a car and a difficult dog."""
    folder = root / f"VOC{year}"
    for part, names in parts.items():
        listing = folder / "ImageSets" / "Main" / f"{part}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"{name}\n" for name in names))
        for i, name in enumerate(names):
            picture(folder / "JPEGImages" / f"{name}.jpg", 40, 30, i)
            path = folder / "Annotations" / f"{name}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                "<annotation><size><width>40</width><height>30</height></size>"
                + voc_object("car", 0, (5, 7, 24, 21))
                + voc_object("dog", 1, (1, 1, 10, 30))
                + "</annotation>"
            )
    return root


def voc_object(name: str, difficult: int, corners: tuple[int, int, int, int]) -> str:
    tags = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{tags}</bndbox></object>"
