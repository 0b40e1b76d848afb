"""The 16 annotated training images of coco-mini whose smallest object is largest, as both splits of a data set.

    python results/detection/sixteen.py $DATA/coco-mini.zip coco16

An object's size is the root of its area over the image's shorter side; images with crowds are left out.
"""

import json
import sys
import zipfile
from pathlib import Path

COUNT = 16


def smallest(image: dict, objects: list[dict]) -> float:
    """The size of the image's smallest object; 0 where there is none or a crowd."""
    if any(each["iscrowd"] for each in objects):
        return 0
    side = min(image["height"], image["width"])
    return min((each["area"] ** 0.5 / side for each in objects), default=0)


def main(source: Path, target: Path) -> None:
    """Write images and annotations, twice."""
    with zipfile.ZipFile(source) as archive:
        tables = json.loads(archive.read("annotations/instances_train2017.json"))
        objects: dict[int, list[dict]] = {image["id"]: [] for image in tables["images"]}
        for each in tables["annotations"]:
            objects[each["image_id"]].append(each)
        images = sorted(tables["images"], key=lambda image: smallest(image, objects[image["id"]]), reverse=True)[:COUNT]
        found = {**tables, "images": images, "annotations": [each for image in images for each in objects[image["id"]]]}
        for split in ("train2017", "val2017"):
            (target / split).mkdir(parents=True)
            (target / "annotations").mkdir(exist_ok=True)
            (target / "annotations" / f"instances_{split}.json").write_text(json.dumps(found))
            for image in images:
                (target / split / image["file_name"]).write_bytes(archive.read(f"train2017/{image['file_name']}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
