"""One small set in every layout gives the same images and labels; what would be read wrongly is refused by name."""

import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import coloured
import numpy as np
import pytest
from coloured import judged, pictures, right, top1
from PIL import Image

from transferbench.data import LabeledImages, bundles, decoding, open_split, parquet_rows, zips
from transferbench.data.trees import files_by_split
from transferbench.errors import UserError
from transferbench.features import repeats

IMAGES = {"train": right(3), "val": right(2)}


def written(where: Path, write: Callable[..., None] = coloured.folder) -> Path:
    for split, images in IMAGES.items():
        write(where, split, images)
    return where


def opened(where: Path, split: str = "train") -> LabeledImages:
    return open_split(str(where) if where.is_file() else f"{where}/", split, where)


def content(where: Path) -> list[tuple[int, bytes]]:
    """The label and the pixels of every image of both splits, sorted."""
    splits = (opened(where, split) for split in IMAGES)
    return sorted((int(images.labels[i]), images.pixels(i).tobytes()) for images in splits for i in range(len(images)))


def tar(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def shards(where: Path, named: Callable[[int], str], **more: bytes) -> Path:
    """Shards whose keys come from `named`, as (picture, class) and what each key has `more`."""
    for split, images in IMAGES.items():
        members: dict[str, bytes] = {}
        for i, (data, (_, label)) in enumerate(zip(pictures(split, images), images, strict=True)):
            members |= {f"{named(i)}.png": data, f"{named(i)}.cls": str(label).encode()}
            members |= {f"{named(i)}.{extension.replace('_', '.')}": each for extension, each in more.items()}
        tar(where / f"{split}-000.tar", members)
    return where


def by_path(where: Path, kind: str) -> Path:
    """Parquet files whose images lie beside them."""
    for split, images in IMAGES.items():
        files = [f"{split}{i}.{kind}" for i in range(len(images))]
        (where / "files").mkdir(parents=True, exist_ok=True)
        for name, (colour, _), i in zip(files, images, range(100), strict=False):
            coloured.picture(colour, {"train": 0, "val": 1000}[split] + i).save(where / "files" / name)
        root = where / "files" if kind == "png" else Path("files")
        coloured.parquet(where, split, images, image=[{"bytes": None, "path": str(root / name)} for name in files])
    return where


def as_tiff(where: Path) -> Path:
    for split, images in IMAGES.items():
        start = {"train": 0, "val": 1000}[split]
        inside = [coloured.encoded(coloured.picture(c, start + i), "TIFF") for i, (c, _) in enumerate(images)]
        coloured.parquet(where, split, images, image=[{"bytes": each, "path": "x.tif"} for each in inside])
    return where


def renamed(root: Path, **names: str) -> Path:
    for old, new in names.items():
        (root / old).rename(root / new)
    return root


def spoiled(root: Path, *places: str) -> Path:
    """A folder with copies of an image where none belongs."""
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(next(root.rglob("*.png")).read_bytes())
    return root


LEFT = ("train/.ipynb_checkpoints/x.png", "val/.git/x.png", "train/c1/.ipynb_checkpoints/x-checkpoint.png")
"""What notebooks and other programs leave."""
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "zip": lambda path: coloured.zipped(written(path)),
    "zip around": lambda path: coloured.zipped(written(path), "pets-1.0/"),
    "zip from here": lambda path: coloured.zipped(written(path), "./"),
    "zip spoiled": lambda path: coloured.zipped(spoiled(written(path), *LEFT)),
    "zip valid": lambda path: coloured.zipped(renamed(written(path), val="valid")),
    "folder spoiled": lambda path: spoiled(written(path), *LEFT),
    "folder valid": lambda path: renamed(written(path), val="valid"),
    "folder words": lambda path: renamed(written(path), val="Validation", train="training"),
    "shards": lambda path: written(path, coloured.shard),
    "shards in capitals": lambda path: capitals(shards(path, lambda i: f"K{i}")),
    "shards with masks": lambda path: shards(path, lambda i: f"k{i}", seg_png=pictures("train", right(1))[0]),
    "shards of a Mac": lambda path: mac(shards(path, lambda i: f"d.v2/k{i}")),
    "parquet": lambda path: written(path, coloured.parquet),
    "parquet by absolute path": lambda path: by_path(path, "png"),
    "parquet by path": lambda path: by_path(path, "bmp"),
    "parquet of TIFF": as_tiff,
    "parquet beside a cache": lambda path: cached(written(path, coloured.parquet)),
}


def rewritten(path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Path:
    for shard in path.glob("*.tar"):
        with tarfile.open(shard) as archive:
            members = {info.name: archive.extractfile(info).read() for info in archive}  # pyright: ignore
        tar(shard, change(members))
    return path


def capitals(path: Path) -> Path:
    return rewritten(
        path, lambda found: {k.replace(".png", ".PNG").replace(".cls", ".CLS"): v for k, v in found.items()}
    )


def mac(path: Path) -> Path:
    """As the tar of a Mac has them, with a sidecar of each file."""
    sidecar = b"\0\5\x16\7Mac OS X"
    tar(path / "._train-000.tar", {})
    return rewritten(
        path,
        lambda found: (
            {f"d.v2/._{Path(name).name}": sidecar for name in found} | {"._d.v2": b"", ".git/x.png": b""} | found
        ),
    )


def cached(path: Path) -> Path:
    """Hidden copies beside."""
    (path / ".cache").mkdir()
    for name in (".cache/train.parquet", "._val.parquet"):
        (path / name).write_bytes(b"nothing")
    return path


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_images_and_labels(name: str, tmp_path: Path):
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    plain = content(written(tmp_path / "plain"))
    assert len(plain) == 15
    assert content(LAYOUTS[name](tmp_path / "other")) == plain


def test_what_is_passed_over_in_shards_is_said(tmp_path: Path):
    found = opened(shards(tmp_path, lambda i: f"k{i}", seg_png=b"mask"))
    assert found.notes == ("9 members such as k0.seg.png are not judged: an image is KEY.jpg, .png, ...",)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"a.png": b"", "a.jpg": b"", "a.cls": b"0"}, r"a\.png and a\.jpg stand under one key"),
        ({"a.png": b"", "a.PNG": b"", "a.cls": b"0"}, r"a\.png and a\.PNG stand under one key"),
        ({"a.png": b"", "a.cls": b"0", "a.CLS": b"1"}, r"a\.cls and a\.CLS stand under one key"),
        (
            {"img_0.000.jpg": b"", "img_0.000.cls": b"0"},
            r"'img_0' has no image .*: img_0\.000\.jpg, img_0\.000\.cls \(",
        ),
        ({"a.seg.png": b"", "a.cls": b"0"}, r"'a' has no image; its members: a\.seg\.png, a\.cls \(a key ends at"),
        ({"a.png": b"", "a.cls": b"1_0"}, r"a\.cls holds b'1_0'"),
        ({"a.png": b"", "a.cls": b"1" * 40}, r"a\.cls holds"),
    ],
)
def test_shards_that_could_be_read_in_two_ways_are_refused_by_member(
    members: dict[str, bytes], told: str, tmp_path: Path
):
    tar(tmp_path / "train.tar", members)
    with pytest.raises(UserError, match=told):
        opened(tmp_path)


def test_a_key_twice_in_a_shard_is_refused_and_a_compressed_shard_named(tmp_path: Path):
    tar(tmp_path / "train.tar", {"a.png": b"1", "a.cls": b"0"})
    with tarfile.open(tmp_path / "train.tar", "a") as archive:
        archive.addfile(tarfile.TarInfo("./a.png"))
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(UserError, match=r"a\.png and a\.png stand under one key"):
        opened(tmp_path)
    with tarfile.open(tmp_path / "train.tar", "w:gz"):
        pass
    with pytest.raises(UserError, match=r"train\.tar cannot be read as a shard"):
        opened(tmp_path)


@pytest.mark.parametrize("write", [coloured.parquet, coloured.shard])
@pytest.mark.parametrize("places", [("plain", "fine"), (".", "fine"), ("train", "train_small")])
def test_two_data_sets_in_folders_beside_each_other_are_refused_by_name(write: Any, places: Any, tmp_path: Path):
    if write is coloured.parquet:
        pytest.importorskip("pyarrow")
    for place in places:
        written(tmp_path / place, write)
    with pytest.raises(UserError, match=r" and .* hold .* of different data sets"):
        opened(tmp_path)


def test_a_set_packed_twice_and_splits_of_two_sets_are_refused(tmp_path: Path):
    pytest.importorskip("pyarrow")
    for place in ("a", "b"):
        written(tmp_path / place, coloured.parquet)
    (tmp_path / "a/val.parquet").unlink()
    (tmp_path / "b/train.parquet").unlink()
    with pytest.raises(UserError, match=r"a and .*b hold .parquet files of different data sets"):
        opened(tmp_path)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "train-00000-of-00001"):
        (tmp_path / "b" / f"{name}.parquet").touch()
    with pytest.raises(UserError, match=r"train-\*-of-00001 and train-\*-of-00002"):
        opened(tmp_path / "b")


def test_two_folders_for_a_split_are_refused(tmp_path: Path):
    root = spoiled(written(tmp_path / "set"), "valid/c0/x.png")
    for where in (root, coloured.zipped(root)):
        with pytest.raises(UserError, match="'val' and 'valid' both stand for val"):
            opened(where)


def test_zips_of_two_sets_and_members_that_stand_there_twice_are_refused(tmp_path: Path):
    for place in ("both/a", "both/b"):
        written(tmp_path / place)
    with pytest.raises(UserError, match="'a/train' and 'b/train' both stand for train"):
        opened(coloured.zipped(tmp_path / "both"))
    for place in ("both/a/val", "both/b/train"):
        shutil.rmtree(tmp_path / place)
    with pytest.raises(UserError, match="a and b hold splits of different data sets"):
        opened(coloured.zipped(tmp_path / "both"))
    where = coloured.zipped(written(tmp_path / "set"))
    with zipfile.ZipFile(where, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("train/c0/0000.png", pictures("train", right(3))[8])
    with pytest.raises(UserError, match=r"holds train/c0/0000\.png twice"):
        opened(where)


@pytest.mark.parametrize(
    ("link", "target", "told"),
    [
        ("train/c0/again", "..", "again is a link back to .*train, in which it lies"),
        ("train/c3", ".", "c3 is a link back to .*train, in which it lies"),
        ("train/c0/all", "../..", "all is a link back to .*set, in which it lies"),
        ("train/c0/gone.png", "nowhere.png", r"gone\.png is a link to nowhere\.png, which leads to nothing"),
        ("train/c3", "nowhere", "c3 is a link to nowhere, which leads to nothing"),
        ("train/c0/self.png", "self.png", r"self\.png is a link to self\.png, which leads to nothing"),
        ("test", "nowhere", "test is a link to nowhere, which leads to nothing"),
    ],
)
def test_links_that_lead_back_or_nowhere_are_named(link: str, target: str, told: str, tmp_path: Path):
    root = written(tmp_path / "set")
    (root / link).symlink_to(target)
    with pytest.raises(UserError, match=told):
        opened(root)


def test_links_through_each_other_are_seen_and_plain_links_followed(tmp_path: Path):
    root = written(tmp_path / "set")
    (root / "train/c0").rename(tmp_path / "pool")
    (root / "train/c0").symlink_to(tmp_path / "pool")
    assert content(root) == content(written(tmp_path / "plain"))
    (tmp_path / "pool/more").symlink_to(root / "train/c1")
    (root / "train/c1/more").symlink_to(tmp_path / "pool")
    with pytest.raises(UserError, match="is a link back to"):
        opened(root)


def test_what_has_an_images_name_and_is_no_file_is_named_and_not_read(tmp_path: Path):
    root = written(tmp_path / "set")
    os.mkfifo(root / "train/c0/pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png has the name of an image, and is no file"):
        opened(root)


def cells(where: Path, *images: Any) -> Path:
    pytest.importorskip("pyarrow")
    coloured.parquet(where, "train", [(0, i) for i in range(len(images))], image=list(images))
    coloured.parquet(where, "val", [(0, 0), (0, 1)])
    return where


def test_an_image_that_a_parquet_file_lacks_is_named_with_its_row(tmp_path: Path):
    good = {"bytes": pictures("train", right(1))[0], "path": None}
    for bad, told in (
        ({"bytes": None, "path": None}, "row 1 of .*there is no image, neither bytes nor a path"),
        ({"bytes": None, "path": "/nowhere/x.png"}, "row 1 of .*no file at the path .*: /nowhere/x.png"),
        ({"bytes": None, "path": "/dev/null"}, "row 1 of .*no file at the path"),
        (None, "row 1 of .*there is no image"),
    ):
        with pytest.raises(UserError, match=told):
            opened(cells(tmp_path, good, bad))
    with pytest.raises(UserError, match=r"the column image of .* holds string, and images are expected"):
        opened(cells(tmp_path, "a.png", "b.png"))
    with pytest.raises(UserError, match=r"the column image of .* holds list"):
        opened(cells(tmp_path, [1], [2]))


def test_files_that_parquet_names_are_part_of_its_fingerprint_and_no_old_image_is_kept(tmp_path: Path):
    pytest.importorskip("pyarrow")
    root = by_path(tmp_path / "set", "png")
    before = opened(root).fingerprint
    (root / "files/train0.png").write_bytes((root / "files/train8.png").read_bytes() + b"more")
    assert opened(root).fingerprint != before
    plain = written(tmp_path / "plain", coloured.parquet)
    assert np.asarray(opened(plain).image(0)).argmax(-1).max() == 0
    coloured.parquet(plain, "train", [(2, 0), (2, 1)])
    os.utime(plain / "train.parquet", ns=(1, 1))
    assert np.asarray(opened(plain).image(0)).argmax(-1).min() == 2


def deeper(where: Path, factor: int = 257) -> Path:
    """A gray set of 16 bits a channel: the brightness says the class."""
    for split, images in IMAGES.items():
        for i, (colour, _) in enumerate(images):
            (where / split / coloured.CLASSES[colour]).mkdir(parents=True, exist_ok=True)
            level = np.full((8, 8), (60 + 80 * colour + i) * factor, np.uint16 if factor > 1 else np.uint8)
            Image.fromarray(level).save(where / split / coloured.CLASSES[colour] / f"{i}.png")
    return where


def test_16_bits_are_judged_as_8_bits_by_the_stated_range_and_as_another_data_set(tmp_path: Path):
    eight, sixteen = deeper(tmp_path / "eight/set", 1), deeper(tmp_path / "sixteen/set")
    with pytest.raises(UserError, match=r"'train/c0/0\.png' of set/train: .*Say --image-range LOW HIGH"):
        judged(sixteen)
    plain, told = judged(eight), judged(sixteen, image_range=(0, 65535))
    assert (top1(plain), top1(told)) == (100, 100)
    assert (plain.dataset_revision, told.dataset_revision) == ("local", "local, image range 0 to 65535")
    prints = [opened(sixteen).ranged(stated).fingerprint for stated in (None, (0, 65535), (0, 65536))]
    assert len(set(prints)) == 3
    assert told.data_fingerprint["train"] == prints[1]


def test_a_command_takes_the_range(evaluate: Callable[..., tuple[int, str, str]], tmp_path: Path):
    where = deeper(tmp_path / "set")
    assert "--image-range LOW HIGH" in evaluate("shrink", f"{where}/", tmp_path / "no", "--size", "8")[2]
    assert evaluate("shrink", f"{where}/", tmp_path / "yes", "--size", "8", "--image-range", "0", "65535")[0] == 0
    assert Image.open(tmp_path / "yes/train/c0/0.jpg").getpixel((0, 0)) == (60, 60, 60)
    code, _, told = evaluate("shrink", f"{where}/", tmp_path / "no", "--image-range", "9", "1")
    assert (code, "9 to 1 is no image range" in told) == (2, True)


def test_white_images_are_warned_of_and_noted_in_the_record(tmp_path: Path):
    white = coloured.encoded(Image.new("RGB", (8, 8), (255, 255, 255)))
    for i, path in enumerate(sorted(written(tmp_path / "set").rglob("val/*/*.png"))):
        path.write_bytes(white if i < 4 else path.read_bytes())
    with pytest.warns(repeats.RepeatedFeaturesWarning, match="gives 4 of the 6 images of set/val the same features"):
        found = judged(tmp_path / "set")
    assert ["4 of the 6 images of set/val" in note for note in found.notes] == [True]


@pytest.mark.parametrize("name", ["folder words", "zip", "shards", "parquet", "parquet by path"])
def test_an_image_that_states_too_many_pixels_is_named_in_every_layout(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    where = LAYOUTS[name](tmp_path / "set")
    for module, limit, told in ((Image, "MAX_IMAGE_PIXELS", "states more than"), (decoding, "LARGEST", "8 x 8 pixels")):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 20)
            with pytest.raises(UserError, match=rf"Cannot decode image 'train/.*' of .*/train: .*{told}"):
                opened(where).pixels(0)


def test_what_archives_state_is_held_against_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pyarrow")
    where, packed = coloured.zipped(written(tmp_path / "set")), written(tmp_path / "packed", coloured.parquet)
    monkeypatch.setattr(zips, "LARGEST", 100)
    with pytest.raises(UserError, match=r"'train/c0/0000\.png' of .* the zip states \d+ bytes, and more than 100"):
        opened(where)
    monkeypatch.setattr(bundles, "LARGEST", 100)
    with pytest.raises(UserError, match="the zip states"):
        bundles.Bundle(where).content("train/c0/0000.png")
    monkeypatch.setattr(parquet_rows, "LARGEST", 100)
    with pytest.raises(UserError, match=r"a row group of .* states"):
        opened(packed)


def test_a_zip_member_that_unpacks_to_another_size_is_named(tmp_path: Path):
    where = coloured.zipped(written(tmp_path / "set"))
    content = where.read_bytes()
    with zipfile.ZipFile(where) as archive:
        size = archive.getinfo("train/c0/0000.png").file_size
    place = content.index(b"PK\1\2") + 24
    assert int.from_bytes(content[place : place + 4], "little") == size
    for stated in (size - 1, size + 1):
        where.write_bytes(content[:place] + stated.to_bytes(4, "little") + content[place + 4 :])
        with pytest.raises(UserError, match=rf"0000\.png.*does not unpack to the {stated:,} bytes"):
            opened(where)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("train-00001-of-00003", "train-00000-of-00003"), r"number 0, 1 of the 3 files train-\*-of-00003"),
        (("train-0-of-2-ab", "train-0-of-2-cd"), "number 0, 0 of the 2 files"),
        (("train-00000-of-00001", "train"), r"train-\*-of-00001 and train: files of different data sets"),
        (("train", "train_val"), r"train_val.tar is named for several splits \(train, val\)"),
    ],
)
def test_files_that_are_not_all_or_not_only_those_of_a_split_are_refused(
    names: tuple[str, ...], said: str, tmp_path: Path
):
    for name in (*names, "test-00001-of-00001"):
        (tmp_path / f"{name}.tar").touch()
    with pytest.raises(UserError, match=said):
        files_by_split(tmp_path, ".tar")
    for name in names[1:]:
        (tmp_path / f"{name}.tar").unlink()
    (tmp_path / f"{names[0]}.tar").rename(tmp_path / "train-1-of-1.tar")
    assert list(files_by_split(tmp_path, ".tar")) == ["train", "test"]
