"""Images and label maps of your own, in a folder or zip: ROOT/images/SPLIT/NAME.jpg, ROOT/masks/SPLIT/NAME.png.

Splits are called as in a folder of classes: `train`, and `val` or `test`. Names may have folders in front of them, the
same for both. Masks are PNGs, of a palette or gray, whose numbers are the classes, or in color; what they stand for is
said in ROOT/classes.json, never guessed (data/class_lists.py). 255 is no class unless a task is told otherwise.
"""

from dataclasses import replace
from pathlib import Path

from transferbench.data import LOCAL, DatasetInfo, LabeledImages, decoding
from transferbench.data.bundles import Bundle, mask_root
from transferbench.data.class_lists import EXPECTED, FILE, class_list
from transferbench.data.image_pairs import Coding, labeled, paired, stem_below
from transferbench.data.trees import SPLITS, WORDS, one_each
from transferbench.errors import UserError, unknown

HELP = "your own: give the path of a folder or zip that holds images/train, masks/train, and so val or test"

LAYOUT = f"Expected images/train/NAME.jpg, masks/train/NAME.png, the same for val or test, and {FILE}."


def open_split(where: Path, split: str) -> LabeledImages:
    """One split of the pairs at `where`; the data set is called by the folder's or zip's name.

    Raises:
        UserError: when there is no such split, images and masks do not pair up, or `classes.json` is not there.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    bundle = Bundle(where, LAYOUT)
    top = mask_root(bundle)
    if top is None:
        raise UserError(f"{where} has no folders images/ and masks/SPLIT. {LAYOUT}")
    images, masks = (_folders(bundle, f"{top}{kind}") for kind in ("images", "masks"))
    there = [each for each in SPLITS if each in images and each in masks]
    if split not in there:
        raise UserError(
            f"{where} has no images and masks of '{split}'; images are there of {', '.join(images) or 'no split'}, "
            f"masks of {', '.join(masks) or 'no split'}. {LAYOUT}"
        )
    if not bundle.has(f"{top}{FILE}"):
        raise UserError(f"{where} has no {FILE}, which says what the numbers in its masks stand for. {EXPECTED}")
    classes, colors = class_list(bundle.content(f"{top}{FILE}"), f"{where}/{top}{FILE}")
    keys = {folder: stem_below(folder) for folder in (images[split], masks[split])}
    pairs = paired(
        bundle.below(images[split]),
        bundle.below(masks[split]),
        f"{where}, {split}",
        lambda path: next(key(path) for folder, key in keys.items() if path.startswith(f"{folder}/")),
    )
    info = DatasetInfo(bundle.name, classes, tuple(there), None, LOCAL, "miou", "label maps")
    found = labeled(info, split, bundle, pairs, Coding(colors))
    if split != "train" and "train" in there:
        found = replace(found, notes=_reordered(bundle, bundle.below(masks["train"])[0], pairs[0].mask, len(classes)))
    if split == "val" and "test" not in there and "test" in images:
        return replace(
            found,
            notes=(
                *found.notes,
                f"{info.name}: the images in images/test have no masks: val is judged.",
            ),
        )
    return found


def _reordered(bundle: Bundle, first: str, second: str, classes: int) -> tuple[str, ...]:
    """What is said where two masks give one color of their palettes to different classes."""
    palettes = []
    for name in (first, second):
        try:
            palettes.append(decoding.opened(bundle.content(name)).getpalette() or [])
        except decoding.UNREADABLE:  # told with its name when the mask is read
            return ()
    colors = [[tuple(each[i : i + 3]) for i in range(0, min(len(each), 3 * classes), 3)] for each in palettes]
    moved = [color for color in colors[0] if color in colors[1] and colors[0].index(color) != colors[1].index(color)]
    return (
        (f"{bundle.name}: the palettes of {first} and {second} number {list(moved[0])} differently; numbers count.",)
        if moved
        else ()
    )


def _folders(bundle: Bundle, above: str) -> dict[str, str]:
    """The folder of each split that holds an image."""
    named = [(WORDS[name.lower()], f"{above}/{name}") for name in bundle.folders(above) if name.lower() in WORDS]
    return one_each((split, folder) for split, folder in named if bundle.below(folder))
