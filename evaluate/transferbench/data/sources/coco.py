"""Objects annotated in COCO's format: COCO 2017 itself, and by its path any folder or zip like it.

Annotations are `annotations/instances_SPLIT*.json`, or any JSON of that format with a split in its name or its
folder's; images lie in the folder that the split is named by, in `images/` or beside the annotations. Classes are
numbered in the order of their category ids, whatever those are.
"""

import hashlib
import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from transferbench import runtime
from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.annotations import Annotated, Annotation
from transferbench.data.bundles import COCO, Bundle
from transferbench.data.packing import Packed
from transferbench.data.trees import SPLITS, split_of
from transferbench.errors import UserError, unknown

HELP = "COCO 2017, 19 GiB: download it by hand; DATA/coco or DETECTRON2_DATASETS/coco holds annotations/ and images"

LAYOUT = "Expected annotations/instances_train2017.json and instances_val2017.json, and the folders train2017, val2017."


def open_split(where: Path, split: str) -> LabeledImages:
    """One split with its objects. What is no box (no width, no height) is left out, as Detectron2 does.

    Raises:
        UserError: when annotations or images are missing, or do not fit together.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    bundle = Bundle(runtime.detection_folder(where), LAYOUT)
    files = _by_split(bundle.matching(COCO))
    if split not in files:
        found = ", ".join(files.values()) or "none"
        raise UserError(f"{bundle.root} has no annotation file for {split}; found: {found}. {LAYOUT}")
    tables, mark = _tables(bundle, files[split])
    images = tables["images"]
    names = _paths(bundle, files[split], [str(image["file_name"]) for image in images])
    annotated = _annotated(tables, files[split])
    categories = sorted(tables["categories"], key=lambda each: each["id"])
    classes = tuple(str(category["name"]) for category in categories)
    info = DatasetInfo(bundle.name, classes, tuple(files), None, "local", "box_ap", "boxes")
    marks = "".join(f"{name}\0{bundle.mark(name)}\n" for name in names)
    return LabeledImages(
        info=info,
        split=split,
        labels=annotated.first_labels(),
        read=bundle.reader(names),
        names=names,
        fingerprint=hashlib.sha256(mark + marks.encode()).hexdigest(),
        annotated=annotated,
    )


def _by_split(files: Iterable[str]) -> dict[str, str]:
    """The annotation file of each split; `instances_*` where there are several kinds."""
    found: dict[str, str] = {}
    listed = sorted(files, key=lambda file: not PurePosixPath(file).name.startswith("instances"))
    if listed and PurePosixPath(listed[0]).name.startswith("instances"):
        listed = [file for file in listed if PurePosixPath(file).name.startswith("instances")]
    for file in listed:
        path = PurePosixPath(file)
        if (split := split_of(path.stem) or split_of(path.parent.name)) is not None:
            found.setdefault(split, file)
    return {split: found[split] for split in SPLITS if split in found}


def _tables(bundle: Bundle, name: str) -> tuple[dict[str, list[dict[str, Any]]], bytes]:
    """The lists in an annotation file, and its sha256. Only what is needed further is held, for files of 500 MB."""
    content, file = bundle.content(name), f"{bundle.root}/{name}"
    mark = hashlib.sha256(content).digest()
    try:
        text = content.decode(json.detect_encoding(content))
        del content
        tables = json.loads(text, object_hook=_compact)
    except ValueError as error:
        raise UserError(f"{file} cannot be read as JSON: {error}.") from None
    kinds = ("images", "annotations", "categories")
    if not isinstance(tables, dict) or not all(isinstance(tables.get(kind), list) for kind in kinds):
        raise UserError(f"{file} is not in COCO's format: expected the lists {', '.join(kinds)}.")
    if not tables["images"] or not tables["categories"]:
        raise UserError(f"{file} lists no images or no categories.")
    return tables, mark


def _compact(each: dict[str, Any]) -> dict[str, Any]:
    """An entry with its outlines as arrays, a tenth of the lists' size: made while the file is read."""
    mask = each.get("segmentation")
    if isinstance(mask, list):
        each["segmentation"] = [array("d", outline) for outline in mask]
    return each


def _paths(bundle: Bundle, annotations: str, files: list[str]) -> list[str]:
    """Where the images lie in the bundle: below the first likely folder that holds the first of them."""
    folder, stem = PurePosixPath(annotations).parent, PurePosixPath(annotations).stem
    base, split = (folder.parent if folder.name == "annotations" else folder), split_of(stem) or ""
    inside = (stem.removeprefix("instances_"), split, "")
    places = [base / part / name for name in inside for part in ("", "images")] + [folder]
    place = next((each for each in places if bundle.has((each / files[0]).as_posix())), places[0])
    paths = [(place / file).as_posix() for file in files]
    absent = [path for path in paths if not bundle.has(path)]
    if absent:
        raise UserError(
            f"{len(absent)} of the {len(files)} images of {annotations} are not in {bundle.root} (first: {absent[0]}). "
            f"{LAYOUT}"
        )
    return paths


def _annotated(tables: Mapping[str, list[dict[str, Any]]], file: str) -> Annotated:
    categories = tuple(sorted(int(each["id"]) for each in tables["categories"]))
    number = {category: label for label, category in enumerate(categories)}
    images = {each["id"]: (int(each["height"]), int(each["width"])) for each in tables["images"]}
    objects: dict[Any, list[Annotation]] = defaultdict(list)
    entries = tables["annotations"]
    while entries:  # each is forgotten when it is packed
        each = entries.pop()
        if each["category_id"] not in number or each["image_id"] not in images:
            raise UserError(
                f"{file}: annotation {each.get('id')} is of category {each['category_id']} in image {each['image_id']}"
                f", and its lists have no such {'image' if each['category_id'] in number else 'category'}. "
                f"Category ids there: {', '.join(map(str, categories[:10]))}{' ...' * (len(categories) > 10)}."
            )
        objects[each["image_id"]].append(_annotation(each, number, images[each["image_id"]]))
    in_order = Packed(objects.pop(i, [])[::-1] for i in images)
    return Annotated(in_order, list(images), list(images.values()), categories)


def _annotation(each: Mapping[str, Any], number: Mapping[int, int], size: tuple[int, int]) -> Annotation:
    x, y, width, height = (float(value) for value in each["bbox"])
    mask = each.get("segmentation")
    if isinstance(mask, list):  # fewer than three corners enclose nothing
        mask = [outline for outline in mask if len(outline) >= 6 and len(outline) % 2 == 0] or None
    elif isinstance(mask, dict):
        mask = {"size": list(size), "counts": mask["counts"]}
    area, crowd = each.get("area"), bool(each.get("iscrowd", 0))
    label = number[each["category_id"]]
    return Annotation((x, y, width, height), label, mask, None if area is None else float(area), crowd)
