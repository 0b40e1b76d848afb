"""Images and masks of one's own: which belong together, what is said where they do not, and what a fingerprint sees."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pngs import png

from transferbench.data import looked_at, open_split
from transferbench.data.dataset import open_dataset
from transferbench.data.label_maps import UNCOUNTED, LabelRule
from transferbench.data.labeled_images import LabeledImages
from transferbench.data.subsets import limited
from transferbench.errors import UserError
from transferbench.run import DatasetCache

NAMES = ["background", "cat", "dog"]
TRUTH = {"train": {"a": 0, "b": 1, "in/c": 2}, "val": {"d": 1, "e": 2}}
"""The number that the left half of each mask holds; the right half is 255."""


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def mask(number: int, height: int = 6, width: int = 8) -> bytes:
    values = np.full((height, width), 255)
    values[:, : width // 2] = number
    return png(values, 8, 0)


def picture(path: Path, size: tuple[int, int] = (8, 6), orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(
        np.random.default_rng(list(path.name.encode())).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)


def mine(root: Path, names: object = NAMES) -> Path:
    for split, maps in TRUTH.items():
        for name, number in maps.items():
            picture(root / "images" / split / f"{name}.jpg")
            write(root / "masks" / split / f"{name}.png", mask(number))
    (root / "classes.json").write_text(json.dumps(names))
    return root


def opened(root: Path, split: str = "train") -> LabeledImages:
    return open_split(f"{root}/", split, Path("no-root"))


def test_pairs_are_read_with_their_classes(tmp_path: Path):
    images = opened(mine(tmp_path / "mine"))
    assert (images.info.name, images.info.classes, images.info.splits) == ("mine", tuple(NAMES), ("train", "val"))
    assert (images.info.metric, images.info.carries, images.info.chance) == ("miou", "label maps", None)
    assert images.names == ["images/train/a.jpg", "images/train/b.jpg", "images/train/in/c.jpg"]
    assert images.labels.tolist() == [-1, -1, -1]
    for i, number in enumerate(TRUTH["train"].values()):
        found = images.maps.labels(i, 3, LabelRule())
        assert (found[:, :4] == number).all()
        assert (found[:, 4:] == UNCOUNTED).all()
        assert images.image(i).size == found.shape[::-1]


@pytest.mark.parametrize("inside", ["", "around/"])
def test_a_zip_holds_the_same(inside: str, tmp_path: Path):
    folder = opened(mine(tmp_path / f"a/{inside}mine" if inside else tmp_path / "a"))
    root = tmp_path / "a" / inside.strip("/") if inside else tmp_path / "a"
    packed = open_split(shutil.make_archive(str(tmp_path / "mine"), "zip", root), "train", Path("no-root"))
    assert packed.info.classes == folder.info.classes
    assert packed.maps.labels(2, 3, LabelRule()).tolist() == folder.maps.labels(2, 3, LabelRule()).tolist()


def test_other_words_for_splits_are_known(tmp_path: Path):
    root = mine(tmp_path / "mine")
    for kind in ("images", "masks"):
        (root / kind / "train").rename(root / kind / "Training")
        (root / kind / "val").rename(root / kind / ("validation" if kind == "images" else "valid"))
    assert [len(opened(root, split)) for split in ("train", "val")] == [3, 2]


def test_the_fingerprint_sees_images_masks_and_colors(tmp_path: Path):
    marks = {opened(mine(tmp_path / "a")).fingerprint}
    root = mine(tmp_path / "b")
    before = (root / "masks/train/a.png").stat().st_size
    write(root / "masks/train/a.png", mask(1))
    assert (root / "masks/train/a.png").stat().st_size == before  # a mask's size tells little
    marks.add(opened(root).fingerprint)
    root = mine(tmp_path / "c")
    picture(root / "images/train/a.jpg", (80, 60))
    marks.add(opened(root).fingerprint)
    for blue in (1, 2):
        marks.add(opened(mine(tmp_path / f"d{blue}", [{"name": "a", "color": [0, 0, blue]}])).fingerprint)
    assert len(marks) == 5
    assert opened(mine(tmp_path / "e")).fingerprint in marks


def test_both_splits_make_a_data_set_that_can_be_cut(tmp_path: Path):
    root = mine(tmp_path / "mine")
    dataset = DatasetCache(tmp_path).take(f"{root}/", limit=2)
    assert (len(dataset.train), len(dataset.test), dataset.test.split, dataset.split) == (2, 2, "val", None)
    part = opened(root).subset(np.array([2, 0]), "test")
    assert [part.maps.names[i] for i in range(2)] == ["masks/train/in/c.png", "masks/train/a.png"]
    assert [int(part.maps.labels(i, 3, LabelRule())[0, 0]) for i in range(2)] == [2, 0]
    assert len(limited(opened(root), 1, 0).maps.names) == 1


def test_images_without_masks_are_no_split_to_judge_on(tmp_path: Path):
    root = mine(tmp_path / "mine")
    picture(root / "images/test/x.jpg")
    dataset = open_dataset(lambda split: opened(root, split))
    assert (dataset.test.split, dataset.notes) == (
        "val",
        ("mine: the images in images/test have no masks: val is judged.",),
    )


def test_training_images_are_not_judged(tmp_path: Path):
    root = mine(tmp_path / "mine")

    def same(split: str) -> LabeledImages:
        return opened(root)

    with pytest.raises(UserError, match="3 of the 3 train images of mine are training images too"):
        open_dataset(same)


def test_unpaired_files_are_named_both_ways(tmp_path: Path):
    root = mine(tmp_path / "a")
    picture(root / "images/train/x.jpg")
    write(root / "masks/train/y.png", mask(0))
    with pytest.raises(
        UserError,
        match=r"images without a mask: 1 \(images/train/x.jpg\), masks without an image: 1 \(masks/train/y.png\)",
    ):
        opened(root)
    (root / "images/train/x.jpg").unlink()
    with pytest.raises(UserError, match=r"has masks without an image: 1 \(masks/train/y.png\)"):
        opened(root)
    root = mine(tmp_path / "b")
    picture(root / "images/train/a.png")
    with pytest.raises(UserError, match=r"images/train/a.jpg and images/train/a.png, of one name but for the ending"):
        opened(root)


def test_sizes_must_agree_as_they_are_stored(tmp_path: Path):
    root = mine(tmp_path / "mine")
    write(root / "masks/train/a.png", mask(0, 6, 9))
    with pytest.raises(UserError, match=r"'masks/train/a.png' of mine/train is 9 x 6 .*'images/train/a.jpg' is 8 x 6"):
        opened(root).maps.labels(0, 3, LabelRule())
    picture(root / "images/train/a.jpg", (6, 9), orientation=6)
    with pytest.raises(UserError, match=r"is 6 x 9\. Expected equal sizes\. EXIF says that the image is turned"):
        looked_at(opened(root))
    write(root / "masks/train/a.png", mask(0, 9, 6))
    assert looked_at(opened(root)).maps.read(0).shape == (9, 6)  # an orientation is applied to neither


def test_a_file_with_the_wrong_content_is_named(tmp_path: Path):
    root = mine(tmp_path / "mine")
    write(root / "masks/train/a.png", mask(3))
    with pytest.raises(UserError, match=r"'masks/train/a.png' holds 3. Expected the numbers 0 to 2"):
        opened(root).maps.labels(0, 3, LabelRule())
    write(root / "masks/train/a.png", b"no image")
    with pytest.raises(UserError, match=r"Cannot read the label map 'masks/train/a.png' of mine/train: in none of"):
        looked_at(opened(root))
    write(root / "masks/train/a.png", mask(0)[:-30])
    with pytest.raises(UserError, match=r"Cannot read the label map 'masks/train/a.png'"):
        looked_at(opened(root))
    write(root / "masks/train/a.png", mask(0))
    Image.new("L", (8, 6)).save(root / "masks/train/b.jpg")
    (root / "masks/train/b.png").unlink()
    with pytest.raises(UserError, match=r"'masks/train/b.jpg' of mine/train: it is a JPEG, whose compression changes"):
        looked_at(opened(root))
    write(root / "images/train/a.jpg", b"no image")
    with pytest.raises(UserError, match=r"Cannot decode image 'images/train/a.jpg' of mine/train"):
        opened(root).maps.read(0)


def test_what_is_lacking_is_said(tmp_path: Path):
    root = mine(tmp_path / "mine")
    with pytest.raises(UserError, match=r"no images and masks of 'test'; images are there of train, val"):
        opened(root, "test")
    (root / "classes.json").unlink()
    with pytest.raises(UserError, match=r"no classes.json, which says .*Expected a list of names"):
        opened(root)
    shutil.rmtree(root / "masks/train")
    with pytest.raises(UserError, match=r"no images and masks of 'train'.* masks of val"):
        opened(root)


def test_the_fingerprint_sees_names_and_what_a_size_does_not_tell(tmp_path: Path):
    marks = {opened(mine(tmp_path / "a")).fingerprint, opened(mine(tmp_path / "b", NAMES[::-1])).fingerprint}
    colored = [{"name": name, "color": [0, 0, i]} for i, name in enumerate(NAMES)]
    renamed = [each | {"name": name} for each, name in zip(colored, NAMES[::-1], strict=True)]
    marks |= {opened(mine(tmp_path / str(i), each)).fingerprint for i, each in enumerate((colored, renamed))}
    root = mine(tmp_path / "c")
    (root / "images/train/a.jpg").unlink()
    for shade in (0, 1):
        Image.new("RGB", (8, 6), (shade, 0, 0)).save(root / "images/train/a.bmp")
        marks.add(opened(root).fingerprint)
    assert len(marks) == 6


def test_copies_of_training_images_are_told(tmp_path: Path):
    root = mine(tmp_path / "mine")
    assert open_dataset(lambda split: opened(root, split)).notes == ()
    size = (root / "images/train/b.jpg").stat().st_size
    with (root / "images/val/d.jpg").open("r+b") as file:  # its mask is that of b, and its size says nothing
        file.truncate(size)
    assert (root / "images/val/d.jpg").stat().st_size == size
    assert open_dataset(lambda split: opened(root, split)).notes == ()
    shutil.copy(root / "images/train/a.jpg", root / "images/val/x.jpg")
    shutil.copy(root / "masks/train/a.png", root / "masks/val/x.png")
    told = "mine/val: 1 of 3 images look like copies of training images."
    assert open_dataset(lambda split: opened(root, split)).notes == (told,)


def test_palettes_in_another_order_are_told(tmp_path: Path):
    root = mine(tmp_path / "mine")
    for split, colors in (("train", [0, 0, 0, 200, 0, 0]), ("val", [200, 0, 0, 0, 0, 0])):
        for path in (root / "masks" / split).glob("*.png"):
            image = Image.new("P", (8, 6))
            image.putpalette(colors)
            image.putpixel((0, 0), 1)
            image.save(path)
    told = "mine: the palettes of masks/train/a.png and masks/val/d.png number [0, 0, 0] differently; numbers count."
    assert opened(root, "val").notes == (told,)
    assert opened(root, "train").notes == ()
