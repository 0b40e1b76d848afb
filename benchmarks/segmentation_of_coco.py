"""Masks in VOC's layout made from COCO's outlines, and a linear head for segmentation on them, trained and scored.

python benchmarks/segmentation_of_coco.py coco-mini.zip /tmp/voc

A pixel is of the VOC class of the object that covers it, the smallest where several do; crowds have no class (255), and
nor has a line of two pixels around each object, as in VOC. What is written is palette PNGs and lists, so that the road
from files to a score is walked.
"""

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from transferbench.backbones import Architecture, build, complete
from transferbench.checkpoints import Candidate, Card, LoadReport, digest
from transferbench.data import open_split
from transferbench.data.sources.voc07 import CLASSES
from transferbench.data.transforms import Preprocess
from transferbench.runtime import Runtime
from transferbench.segmentation.pictures import palette
from transferbench.tasks import TASKS, Bench, Dataset

NAMES = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "dining table": "diningtable",
    "potted plant": "pottedplant",
}
NAMES |= {"couch": "sofa", "tv": "tvmonitor"}
"""COCO's names of VOC's classes, where they differ."""
SETTINGS = {"resolution": 128, "iterations": 60, "batch_size": 8, "layer": "last:2", "lrs": (1e-3, 1e-2)}


def write(archive: Path, folder: Path) -> None:
    """VOC2012/ below `folder`: images, masks and lists of both splits."""
    root = folder / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as file:
        for split, year in (("train", "train2017"), ("val", "val2017")):
            content = json.loads(file.read(f"annotations/instances_{year}.json"))
            numbers = _numbers(content["categories"])
            by_image: dict[int, list[dict[str, Any]]] = {each["id"]: [] for each in content["images"]}
            for each in content["annotations"]:
                by_image[each["image_id"]].append(each)
            names = []
            for image in content["images"]:
                objects = [each for each in by_image[image["id"]] if each["category_id"] in numbers]
                if not objects:
                    continue
                name = Path(image["file_name"]).stem
                pixels = Image.open(io.BytesIO(file.read(f"{year}/{image['file_name']}"))).convert("RGB")
                pixels.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
                _mask(pixels.size, objects, numbers).save(root / "SegmentationClass" / f"{name}.png")
                names.append(name)
            (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join([*names, ""]))


def _numbers(categories: list[dict[str, Any]]) -> dict[int, int]:
    """VOC's number of each of COCO's categories that has one; 0 is the background."""
    found = {each["id"]: NAMES.get(each["name"], each["name"]) for each in categories}
    return {number: CLASSES.index(name) + 1 for number, name in found.items() if name in CLASSES}


def _mask(size: tuple[int, int], objects: list[dict[str, Any]], numbers: dict[int, int]) -> Image.Image:
    labels = np.zeros(size[::-1], np.uint8)
    edge = np.zeros(size[::-1], bool)
    for each in sorted(objects, key=lambda each: -each["area"]):
        drawn = _covered(size, each["segmentation"])
        labels[drawn] = 255 if each["iscrowd"] else numbers[each["category_id"]]
        shape = Image.fromarray(drawn)
        shape = shape.convert("L")
        edge |= np.asarray(shape.filter(ImageFilter.MaxFilter(5))) != np.asarray(shape.filter(ImageFilter.MinFilter(5)))
    labels[edge] = 255
    mask = Image.fromarray(labels, "P")
    colors = palette(256)
    mask.putpalette(colors.tobytes())
    return mask


def _covered(size: tuple[int, int], outlines: Any) -> np.ndarray:
    if isinstance(outlines, dict):
        runs = outlines["counts"]
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size).T
    canvas = Image.new("1", size)
    for each in outlines:
        if len(each) >= 6:
            ImageDraw.Draw(canvas).polygon(each, fill=1)
    return np.asarray(canvas)


def main(archive: Path, folder: Path) -> None:
    """Write the masks, read them as `voc12seg`, train and score on a small ResNet with random weights."""
    torch.set_num_threads(1)
    write(archive, folder)
    dataset = Dataset(*(open_split("voc12seg", split, folder) for split in ("train", "val")))
    architecture = complete(Architecture(family="resnet", arguments={"depth": 18, "width": 0.5}))
    backbone = build(architecture, seed=0)
    card = Card(architecture=architecture, preprocess=Preprocess())
    report = LoadReport(format="random-init", matched=1, parameters=1)
    candidate = Candidate("random", backbone, card, digest(backbone.state_dict()), report)
    task = TASKS.load("segment_linear")
    bench = Bench(Runtime(torch.device("cpu")), folder / "cache", folder / "scratch")
    found = task.run(candidate, dataset, task.Config(**SETTINGS), 0, bench)
    print(f"{len(dataset.train)} images to train on, {len(dataset.test)} to judge, of {len(CLASSES) + 1} classes")
    for score in found.scores:
        print(f"{score.metric:16} {score.value:8.4f} {score.unit} n={score.n} {score.bootstrap or ''}")
    for name, path in found.artifacts.items():
        print(f"{name:16} {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
