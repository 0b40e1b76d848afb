"""Folders and zips of images: layout, order, fingerprint, what is refused, and reading in loader processes."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferbench.data import loading, open_split
from transferbench.data.sources import folder
from transferbench.data.transforms import Preprocess, evaluation
from transferbench.errors import UserError

PLAIN = evaluation(Preprocess(mean=(0, 0, 0), std=(1, 1, 1), size=None, crop=8))


def fill(root: Path, splits: tuple[str, ...] = ("train", "test"), classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Four gray 8x8 images a class; image i of class c has the level 10 + 40 c + i."""
    for split in splits:
        for c, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (8, 8), (10 + 40 * c + i,) * 3).save(root / split / name / f"{i}.png")
    return root


def pack(root: Path, zipped: Path, inside: str = "", method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(zipped, "w", method) as archive:
        for path in sorted(root.rglob("*.*"), reverse=True):
            archive.write(path, inside + path.relative_to(root).as_posix())
    return zipped


def levels(data: Path, split: str, workers: int = 0) -> list[int]:
    images = folder.open_split(data, split)
    batches = loading.batches(images, PLAIN, loading.in_order(len(images), 3), workers=workers)
    return [round(255 * float(view[0, 0, 0])) for batch in batches for view in batch.views[0]]


EXPECTED = [10, 11, 12, 13, 50, 51, 52, 53]


def test_a_folder_is_read_in_sorted_order_with_alphabetical_classes(tmp_path: Path) -> None:
    images = open_split(str(fill(tmp_path / "pets")), "train", tmp_path)
    assert (images.info.name, images.info.classes, images.info.splits) == ("pets", ("cat", "dog"), ("train", "test"))
    assert images.info.image_size == 8
    assert images.names[:2] == ["train/cat/0.png", "train/cat/1.png"]
    assert images.labels.tolist() == [0] * 4 + [1] * 4
    assert levels(tmp_path / "pets", "train") == EXPECTED


@pytest.mark.parametrize("inside", ["", "pets-1.0/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_reads_like_the_folder_in_any_process(tmp_path: Path, inside: str, method: int) -> None:
    zipped = pack(fill(tmp_path / "pets"), tmp_path / "small.zip", inside, method)
    images = open_split(str(zipped), "test", tmp_path)
    assert images.info.name == "small"
    assert images.names == folder.open_split(tmp_path / "pets", "test").names
    assert levels(zipped, "test", workers=2) == levels(zipped, "test") == EXPECTED


def test_no_open_file_survives_a_read_for_a_forked_process_to_share(tmp_path: Path) -> None:
    zipped = pack(fill(tmp_path / "pets"), tmp_path / "pets.zip")
    images = folder.open_split(zipped, "train")
    images.image(0)
    zipped.unlink()
    with pytest.raises(UserError, match=r"'train/cat/1\.png' of pets/train"):
        images.image(1)


def test_the_fingerprint_follows_content_and_not_the_clock(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets")
    before = folder.open_split(root, "train").fingerprint
    os.utime(root / "train/cat/0.png", (10**9, 10**9))
    assert folder.open_split(root, "train").fingerprint == before
    (root / "train/cat/0.png").rename(root / "train/cat/00.png")
    assert folder.open_split(root, "train").fingerprint != before
    zipped = folder.open_split(pack(root, tmp_path / "a.zip"), "train").fingerprint
    Image.new("RGB", (8, 8), (99, 99, 99)).save(root / "train/cat/1.png")
    assert folder.open_split(pack(root, tmp_path / "b.zip"), "train").fingerprint != zipped


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "tif"])
def test_the_fingerprint_follows_pixels_where_the_size_does_not(tmp_path: Path, suffix: str) -> None:
    marks, sizes, root = set(), set(), fill(tmp_path / "pets")
    for value in (1, 2):
        Image.new("RGB", (8, 8), (value, 99, 99)).save(file := root / f"train/cat/more.{suffix}")
        marks.add(folder.open_split(root, "train").fingerprint)
        sizes.add(file.stat().st_size)
    assert (len(marks), len(sizes)) == (2, 1)


def test_the_image_size_is_unknown_when_images_differ(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets")
    Image.new("RGB", (9, 9)).save(root / "train/cat/1.png")
    assert folder.open_split(root, "train").info.image_size is None


def test_val_is_the_test_split_where_there_is_no_other(tmp_path: Path) -> None:
    images = folder.open_split(fill(tmp_path / "pets", ("train", "val")), "val")
    assert images.info.test_split == "val"


def test_files_that_are_no_images_are_passed_over(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets")
    for name in ("train/cat/.DS_Store", "train/cat/._0.png", "train/cat/notes.txt", "train/readme.png"):
        (root / name).write_text("no image")
    assert len(folder.open_split(root, "train")) == 8
    assert len(folder.open_split(pack(root, tmp_path / "a.zip"), "train")) == 8


def test_what_is_not_this_layout_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.zip").write_text("not a zip")
    (tmp_path / "bare/train/cat").mkdir(parents=True)
    flat = tmp_path / "flat"
    (flat / "cats").mkdir(parents=True)
    for name, message in {
        "absent": "no folder or zip at",
        "empty": "an empty folder",
        "no.zip": "cannot be read as a zip",
        "bare": "no images in train/CLASS/; found train",
        "flat": "found cats",
    }.items():
        with pytest.raises(UserError, match=message):
            folder.open_split(tmp_path / name, "train")
    with pytest.raises(UserError, match=r"no images in test/CLASS/; found train/ with 2 classes"):
        folder.open_split(fill(tmp_path / "half", ("train",)), "test")
    with pytest.raises(UserError, match="found no split in the zip"):
        folder.open_split(pack(flat, tmp_path / "flat.zip"), "train")
    with pytest.raises(UserError, match="Did you mean 'train'"):
        folder.open_split(tmp_path / "half", "trian")


def test_splits_of_different_classes_are_refused_by_name(tmp_path: Path) -> None:
    root = fill(fill(tmp_path / "pets", ("train",), ("cat", "dog")), ("val",), ("cat", "eel"))
    with pytest.raises(UserError, match="train lacks eel; val lacks dog"):
        folder.open_split(root, "train")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_corrupt_image_is_named(tmp_path: Path, workers: int, kind: str) -> None:
    root = fill(tmp_path / "pets")
    broken = root / "test/dog/2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    data = root if kind == "folder" else pack(root, tmp_path / "pets.zip")
    with pytest.raises(UserError, match=r"'test/dog/2\.png' of pets/test"):
        levels(data, "test", workers)


def test_bytes_changed_inside_a_zip_are_noticed(tmp_path: Path) -> None:
    zipped = pack(fill(tmp_path / "pets"), tmp_path / "pets.zip")
    with zipfile.ZipFile(zipped) as archive:
        place = archive.getinfo("test/dog/2.png").header_offset + 30 + len("test/dog/2.png") + 20
    content = bytearray(zipped.read_bytes())
    content[place] ^= 1
    zipped.write_bytes(content)
    with pytest.raises(UserError, match=r"'test/dog/2\.png'.*checksum"):
        levels(zipped, "test")


def test_images_come_as_rgb(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets")
    Image.new("L", (8, 8), 7).save(root / "train/cat/0.png")
    assert np.asarray(folder.open_split(root, "train").image(0)).tolist() == [[[7, 7, 7]] * 8] * 8
