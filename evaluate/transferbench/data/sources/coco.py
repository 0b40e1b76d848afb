"""Objects annotated in COCO's format: COCO 2017 itself, and by its path any folder or zip like it.

Annotations are `annotations/instances_SPLIT*.json`, or any JSON of that format with a split in its name or its
folder's; of several for a split the one whose images are there. Images lie in the folder that the split is named by,
in `images/` or beside the annotations. Classes are numbered in the order of their category ids, whatever those are.
Every entry is checked before anything runs (`data/coco_format`).
"""

import hashlib
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath

from transferbench import runtime
from transferbench.data import DatasetInfo, LabeledImages, coco_format
from transferbench.data.annotations import Annotated
from transferbench.data.bundles import COCO, Bundle
from transferbench.data.coco_format import CocoFile
from transferbench.data.extents import require_pixels
from transferbench.data.trees import SPLITS, split_of
from transferbench.errors import UserError, unknown

HELP = "COCO 2017, 19 GiB: download it by hand; DATA/coco or DETECTRON2_DATASETS/coco holds annotations/ and images"

LAYOUT = "Expected annotations/instances_train2017.json and instances_val2017.json, and the folders train2017, val2017."
OFFICIAL = re.compile(r"instances_([a-z]+)(\d{4})")
"""How COCO names its files; Detectron2 calls `instances_val2017` `coco_2017_val`."""


def open_split(where: Path, split: str) -> LabeledImages:
    """One split with its objects. What is no box (no width, no height) is not trained on, as in Detectron2.

    Raises:
        UserError: when annotations or images are missing, do not fit together, or an entry cannot be used.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    bundle = Bundle(runtime.detection_folder(where), LAYOUT)
    files = _by_split(bundle.matching(COCO))
    if split not in files:
        others = ", ".join(each for several in files.values() for each in several) or "none"
        raise UserError(f"{bundle.root} has no annotation file for {split}; found: {others}. {LAYOUT}")
    file, names = _chosen(bundle, files[split], split)
    objects, sizes = file.objects(), [each.size for each in file.images]
    part = _part(PurePosixPath(file.name).stem)
    annotated = Annotated(
        objects, [each.id for each in file.images], sizes, file.categories.ids, parts=[part] * len(sizes)
    )
    require_pixels(annotated, file.name)
    info = DatasetInfo(bundle.name, file.categories.classes, tuple(files), None, "local", "box_ap", "boxes")
    marks = "".join(f"{name}\0{bundle.mark(name)}\n" for name in names)
    return LabeledImages(
        info=info,
        split=split,
        labels=annotated.first_labels(),
        read=bundle.reader(names),
        names=names,
        fingerprint=hashlib.sha256(file.sha256 + marks.encode()).hexdigest(),
        annotated=annotated,
        notes=tuple(file.notes),
    )


def _by_split(files: Iterable[str]) -> dict[str, list[str]]:
    """The annotation files of each split; `instances_*` where there are several kinds."""
    by_split: dict[str, list[str]] = defaultdict(list)
    listed = [PurePosixPath(file) for file in files]
    objects = [path for path in listed if path.name.startswith("instances")]
    for path in objects or listed:
        if (split := split_of(path.stem) or split_of(path.parent.name)) is not None:
            by_split[split].append(path.as_posix())
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _part(stem: str) -> str:
    """What Detectron2 calls the split of a file, if it is named as COCO's are."""
    named = OFFICIAL.fullmatch(stem)
    return f"coco_{named[2]}_{named[1]}" if named else ""


def _chosen(bundle: Bundle, files: list[str], split: str) -> tuple[CocoFile, list[str]]:
    """The annotation file whose images are there, with their paths.

    Raises:
        UserError: when it cannot be used, or of several files none or more than one could.
    """
    if len(files) == 1:
        return _read(bundle, files[0])
    fitting: list[tuple[CocoFile, list[str]]] = []
    reasons: list[str] = []
    for name in files:
        try:
            fitting.append(_read(bundle, name))
        except UserError as error:
            reasons.append(str(error))
        if len(fitting) > 1:
            raise UserError(
                f"{bundle.root} has several annotation files for {split} whose images are there: "
                f"{' and '.join(file.name for file, _ in fitting)}. Which is meant? Move the others away."
            )
    if not fitting:
        raise UserError(f"No annotation file for {split} can be used:\n" + "\n".join(reasons))
    return fitting[0]


def _read(bundle: Bundle, name: str) -> tuple[CocoFile, list[str]]:
    file = coco_format.read(partial(bundle.content, name), f"{bundle.root}/{name}")
    return file, _paths(bundle, name, [each.file for each in file.images])


def _paths(bundle: Bundle, annotations: str, files: list[str]) -> list[str]:
    """Where the images lie in the bundle: below the first likely folder that holds the first of them."""
    folder, stem = PurePosixPath(annotations).parent, PurePosixPath(annotations).stem
    base, split = (folder.parent if folder.name == "annotations" else folder), split_of(stem) or ""
    inside = (stem.removeprefix("instances_"), split, "")
    places = [base / part / name for name in inside for part in ("", "images")] + [folder]
    place = next((each for each in places if bundle.has((each / files[0]).as_posix())), places[0])
    paths = [posixpath.normpath((place / file).as_posix()) for file in files]
    absent = [path for path in paths if not bundle.has(path)]
    if absent:
        raise UserError(
            f"{len(absent)} of the {len(files)} images of {annotations} are not in {bundle.root} (first: {absent[0]}). "
            f"{LAYOUT}"
        )
    return paths
