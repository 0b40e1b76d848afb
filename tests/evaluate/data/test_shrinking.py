"""A smaller copy holds every image under its class, no larger than asked, made once, and is a data set of its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferbench.cli import main
from transferbench.data import LabeledImages, open_split
from transferbench.data.shrinking import MARK, Shape, shrink
from transferbench.errors import UserError

SIDES = [(60, 40), (40, 80), (16, 16), (200, 33)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of smooth images in several sizes, in both splits."""
    for split in ("train", "val"):
        for name in ("a cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i, (width, height) in enumerate(SIDES):
                ramp = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3)) * (0.5 + 0.1 * i)
                Image.fromarray(ramp.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "photos"


def opened(path: Path) -> list[LabeledImages]:
    return [open_split(f"{path}/", split, path) for split in ("train", "val")]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_copy_has_the_same_images_smaller_in_the_same_classes(photos: Path, tmp_path: Path, workers: int):
    out = tmp_path / "small"
    assert list(shrink(opened(photos), out, Shape(24), workers)) == list(range(1, 17))
    for before, after in zip(opened(photos), opened(out), strict=True):
        assert after.info.classes == ("a_cat", "dog")
        assert after.labels.tolist() == before.labels.tolist()
        assert [Path(name).stem for name in after.names] == [Path(name).stem for name in before.names]
        for i, (width, height) in enumerate(SIDES * 2):
            small = after.image(i)
            scale = min(1, 24 / min(width, height))
            assert small.size == (round(width * scale), round(height * scale))
            whole = before.image(i).resize(small.size, Image.Resampling.BICUBIC)
            assert np.abs(np.asarray(whole, float) - np.asarray(small, float)).mean() < 2
        assert after.fingerprint != before.fingerprint


def test_a_copy_that_was_stopped_is_gone_on_with(photos: Path, tmp_path: Path):
    out = tmp_path / "small"
    copying = shrink(opened(photos), out, Shape(24))
    assert [next(copying) for _ in range(5)] == [1, 2, 3, 4, 5]
    copying.close()
    made = {path: path.stat().st_mtime_ns for path in out.glob("train/*/*.jpg")}
    assert len(made) == 5
    assert [*shrink(opened(photos), out, Shape(24))][-1] == 16
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert len([*out.glob("*/*/*.jpg")]) == 16


def test_another_copy_or_another_folder_is_not_mixed_with(photos: Path, tmp_path: Path):
    list(shrink(opened(photos), tmp_path / "small", Shape(24)))
    with pytest.raises(UserError, match="size 24 there, 32 asked for"):
        list(shrink(opened(photos), tmp_path / "small", Shape(32)))
    (photos / "train" / "dog" / "9.png").write_bytes((photos / "train" / "dog" / "1.png").read_bytes())
    with pytest.raises(UserError, match="holds another copy"):
        list(shrink(opened(photos), tmp_path / "small", Shape(24)))
    with pytest.raises(UserError, match=f"not empty and holds no {MARK}"):
        list(shrink(opened(photos), photos, Shape(24)))


def test_files_of_one_name_in_a_class_get_numbers(photos: Path, tmp_path: Path):
    train, val = opened(photos)
    twice = replace(train, names=["train/x/1.png"] * len(train))
    list(shrink([twice, val], tmp_path / "small", Shape(24)))
    names = sorted(path.name for path in (tmp_path / "small" / "train" / "dog").iterdir())
    assert names == [f"{i:08d}.jpg" for i in range(4, 8)]


def test_sets_without_one_class_each_and_broken_images_are_named(photos: Path, tmp_path: Path):
    train, val = opened(photos)
    with pytest.raises(UserError, match="not have one class per image"):
        list(shrink([replace(train, labels=train.labels - 1), val], tmp_path / "none", Shape(24)))
    broken = photos / "val" / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=r"Cannot decode image 'val/dog/3\.png'"):
        list(shrink([train, val], tmp_path / "small", Shape(24)))


def test_the_command_says_where_the_copy_is(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "small"
    monkeypatch.setattr("sys.argv", ["evaluate", "shrink", f"{photos}/", str(out), "--size", "24", "-j", "0"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert f"--data {out}/" in capsys.readouterr().out
    assert len([*out.glob("*/*/*.jpg")]) == 16
