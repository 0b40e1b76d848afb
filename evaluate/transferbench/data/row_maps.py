"""Rows with a column of images and one of label maps, and which columns those are."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.class_lists import EXPECTED, FILE, ClassList, class_list
from transferbench.data.image_pairs import Coding, MapReader, Pair, of_reader
from transferbench.errors import UserError

IMAGE = ("image", "img", "pixel_values", "jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif")
LABEL = ("label", "labels", "fine_label", "cls")
MASK = ("annotation", "mask", "segmentation_mask", "semantic_segmentation", "label_map", *LABEL)
"""What the columns may be called; one of `LABEL` is of label maps where it holds images."""
HUB_FILE = "id2label.json"
"""Where data sets on the hub name the numbers in their label maps: `{"0": "road", "1": "sidewalk"}`."""


class MappedRows(NamedTuple):
    """How many rows there are, how their images and label maps are read, and what both columns are called."""

    rows: int
    images: Callable[[int], Image.Image]
    masks: Callable[[int], Image.Image]
    columns: tuple[str, str]


def column(names: list[str], known: tuple[str, ...]) -> str:
    """The first of the known names that is there."""
    held = next((name for name in known if name in names), None)
    if held is None:
        raise ValueError(f"no column {' or '.join(known)} among {', '.join(names)}")
    return held


def mask_column(holds_images: Mapping[str, bool]) -> str | None:
    """The column of label maps, by whether each column holds images; None where there are labels, or no such column."""
    if any(name in LABEL and not is_image for name, is_image in holds_images.items()):
        return None
    return next((name for name in MASK if holds_images.get(name)), None)


def labeled(info: DatasetInfo, split: str, found: MappedRows, marks: bytes, classes: ClassList) -> LabeledImages:
    """A split of these rows; the fingerprint is a sha256 over `marks` and over what `classes` says."""
    names = [f"{split}/{i:07d}" for i in range(found.rows)]
    pairs = tuple(Pair(name, f"{name}, column {found.columns[1]}") for name in names)
    maps = MapReader(found.images, found.masks, pairs, f"{info.name}/{split}", Coding(classes.colors))
    return of_reader(info, split, maps, marks)


def classes_beside(where: Path) -> ClassList:
    """The classes that the `classes.json` in a folder lists.

    Raises:
        UserError: when it is not there, or no such list.
    """
    if not (where / FILE).is_file():
        raise UserError(f"{where} holds label maps and no {FILE}, which says what their numbers stand for. {EXPECTED}")
    return class_list((where / FILE).read_bytes(), str(where / FILE))


def classes_on_hub(name: str) -> ClassList:
    """The classes that a data set's `id2label.json` on the hub names, cached or fetched.

    Raises:
        UserError: when it is not to be had, or its numbers have gaps.
    """
    from huggingface_hub import hf_hub_download

    try:
        named = json.loads(Path(hf_hub_download(name, HUB_FILE, repo_type="dataset")).read_bytes())
        numbers = {int(number): str(label) for number, label in named.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"'hf:{name}' holds label maps, and no {HUB_FILE} that names their classes: {error}. Put its parquet files "
            f"into a folder with a {FILE} and name that: --data /path/to/FOLDER/. {EXPECTED}"
        ) from None
    if sorted(numbers) != list(range(len(numbers))):
        raise UserError(f"The {HUB_FILE} of 'hf:{name}' numbers classes {sorted(numbers)[:5]} ... Expected 0, 1, 2 ...")
    return class_list(json.dumps([numbers[i] for i in range(len(numbers))]).encode(), f"{HUB_FILE} of hf:{name}")
