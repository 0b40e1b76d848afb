"""Images without labels: whatever holds some is opened to pretrain on, and never to judge on."""

import io
import os
import pickle
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import transferbench
from transferbench import data as data_sets
from transferbench.data import LabeledImages, loading
from transferbench.data.transforms import Preprocess, evaluation
from transferbench.data.unlabeled import open_split
from transferbench.errors import UserError

PLAIN = evaluation(Preprocess(mean=(0, 0, 0), std=(1, 1, 1), size=None, crop=8))


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def put(root: Path, *names: str) -> Path:
    """Images of gray level 10, 20, ... in that order."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(10 * i + 10))
    return root


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(name, png(10 * i + 10))
    return path


def shard(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def table(path: Path, levels: list[int], **columns: Any) -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png(level), "path": None} for level in levels]
    parquet.write_table(arrow.table({"image": images, **columns}), path, row_group_size=2)
    return path


def opened(data: Path | str | list[str]) -> LabeledImages:
    return open_split(data if isinstance(data, list) else str(data), "train", Path("no-root"))


def levels(images: LabeledImages, workers: int = 0) -> list[int]:
    batches = loading.batches(images, PLAIN, loading.in_order(len(images), 2), workers=workers)
    return [round(255 * float(view[0, 0, 0])) for batch in batches for view in batch.views[0]]


def require_bare(images: LabeledImages) -> None:
    assert (images.info.classes, images.info.splits, images.split) == ((), ("train",), "train")
    assert set(images.labels.tolist()) == {-1}
    assert len(set(images.names)) == len(images) == len(images.labels)
    assert pickle.loads(pickle.dumps(images)).image(0).size == (8, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_of_any_nesting_is_taken_whole_sorted_by_path(tmp_path: Path, workers: int):
    images = opened(put(tmp_path / "mine", "b/deep/er/1.png", "a.PNG", "b/0.png", "Ünï/x y.png"))
    require_bare(images)
    assert images.names == ["a.PNG", "b/0.png", "b/deep/er/1.png", "Ünï/x y.png"]
    assert levels(images, workers) == [20, 30, 10, 40]
    assert (images.info.name, images.notes) == ("mine", ())
    with pytest.raises(UserError, match=r"Expected ROOT/train/CLASS/IMAGE"):
        data_sets.open_split(str(tmp_path / "mine"), "train", tmp_path)


def test_the_same_images_elsewhere_are_the_same_data_and_in_a_zip_are_told_by_their_checksums(tmp_path: Path):
    one, other = (opened(put(tmp_path / name / "mine", "b/1.png", "a.png")) for name in "xy")
    assert one.fingerprint == other.fingerprint
    packed = opened(zipped(tmp_path / "mine.zip", "b/1.png", "a.png", "b/notes.txt", "__MACOSX/b/._1.png", ".x/2.png"))
    require_bare(packed)
    assert (packed.names, levels(packed)) == (["a.png", "b/1.png"], [20, 10])
    assert packed.notes == (
        "mine: passed over 1 files that are no images (first: b/notes.txt), "
        "2 hidden files or folders (first: .x/2.png).",
    )
    (tmp_path / "x/mine/a.png").write_bytes(png(20) + b"longer")
    assert opened(tmp_path / "x/mine").fingerprint != other.fingerprint


def test_what_is_passed_over_is_counted_and_no_folder_is_looked_into_twice(tmp_path: Path):
    root = put(tmp_path / "mine", "b/1.png", ".thumbs/9.png", "b/.2.png")
    (root / "notes.txt").write_text("x")
    os.mkfifo(root / "pipe.png")
    outside = put(tmp_path / "elsewhere", "in/3.png")
    links = {"b/up": "..", "above": tmp_path, "gone.png": "nothing", "self": "self", "again": "b"}
    for name, target in {**links, "other": outside, "twice": outside / "in", "one.png": root / "b/1.png"}.items():
        (root / name).symlink_to(target)
    images = opened(root)
    assert images.names == ["b/1.png", "one.png", "other/in/3.png"]
    assert images.notes == (
        "mine: passed over 2 files that are no images (first: notes.txt), "
        "2 hidden files or folders (first: .thumbs), "
        "6 links to what is there already, or to nothing (first: above).",
    )


@pytest.mark.parametrize("around", ["", "all/"])
@pytest.mark.parametrize("make", [put, lambda path, *names: zipped(path.with_suffix(".zip"), *names)])
def test_of_folders_named_for_splits_only_those_to_train_on_are_taken(make, around: str, tmp_path: Path):
    images = opened(make(tmp_path / "m", *(f"{around}{name}" for name in ("Training/2.png", "test/1.png"))))
    require_bare(images)
    assert images.names == [f"{around}Training/2.png"]
    assert images.notes == (f"m: passed over 1 images outside of train/ (first: {around}test/1.png).",)
    mixed = make(tmp_path / "mixed", "train/1.png", "train/some/2.png")
    assert opened(mixed).names == ["train/1.png", "train/some/2.png"], "what lies beside a folder is no class of it"
    judged = make(tmp_path / "judged", "train/1.png", "train/some/2.png", "val/some/3.png")
    assert (opened(judged).names, opened(judged).info.classes) == (["train/some/2.png"], ("some",))


@pytest.mark.parametrize("make", [put, lambda path, *names: zipped(path.with_suffix(".zip"), *names)])
def test_images_to_judge_on_are_never_trained_on(make, tmp_path: Path):
    with pytest.raises(UserError, match=r"holds test/, val/ and no train/ with images"):
        opened(make(tmp_path / "mine", "test/1.png", "val/a/2.png", "3.png"))


def test_train_without_a_split_to_judge_on_has_its_classes(tmp_path: Path):
    images = opened(put(tmp_path / "mine", "train/cat/1.png", "train/dog/2.png"))
    assert (images.info.classes, images.info.splits, images.labels.tolist()) == (("cat", "dog"), ("train",), [0, 1])
    assert images.fingerprint == data_sets.open_split(str(tmp_path / "mine"), "train", tmp_path).fingerprint


def test_a_list_of_paths_begins_in_its_own_folder_and_keeps_its_order(tmp_path: Path):
    put(tmp_path / "deep", "a.png", "b.png")
    put(tmp_path / "far", "c.jpeg")
    listing = tmp_path / "deep" / "mine.txt"
    listing.write_text(f"b.png\n\na.png\r\n{tmp_path}/far/c.jpeg\n../far/c.jpeg\nb.png\n")
    images = opened(listing)
    require_bare(images)
    assert images.names == ["b.png", "a.png", f"{tmp_path}/far/c.jpeg", "../far/c.jpeg"]
    assert (levels(images), images.info.name) == ([20, 10, 10, 10], "mine")
    assert images.notes == ("mine: 1 of the 5 lines repeat another and are left out.",)
    for text, told in (
        ("a.png 0\nb.png\nq.png\n", r"2 of its 3 paths lead to no file \(first: a\.png 0\)"),
        ("\n", "names no image"),
        (f"{'x' * 300}\n", "1 of its 1 paths"),
    ):
        listing.write_text(text)
        with pytest.raises(UserError, match=told):
            opened(listing)
    listing.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as a list of paths"):
        opened(listing)


@pytest.mark.parametrize("names", [("x-1.tar", "x-0.tar"), ("train-1.tar", "train-0.tar"), ("b/x.tar", "a/x.tar")])
def test_shards_without_classes_are_taken_in_the_order_of_their_names(names: tuple[str, str], tmp_path: Path):
    where = tmp_path / "packed"
    shard(where / names[0], {"1.png": png(30)})
    shard(where / names[1], {"2.png": png(20), "1.png": png(10), "1.json": b"{}"})
    images = opened(where)
    require_bare(images)
    assert (levels(images), images.info.name) == ([10, 20, 30], "packed")
    assert images.names == [f"{names[1]}/1.png", f"{names[1]}/2.png", f"{names[0]}/1.png"]
    assert levels(opened(where / names[0])) == [30]
    with pytest.raises(UserError):
        data_sets.open_split(str(where), "train", tmp_path)


def test_shards_with_classes_keep_them_where_their_names_say_the_split(tmp_path: Path):
    labeled = {"1.png": png(10), "1.cls": b"0", "2.png": png(20), "2.cls": b"1"}
    shard(tmp_path / "named/train-0.tar", labeled)
    assert opened(tmp_path / "named").info.classes == ("0", "1")
    shard(tmp_path / "other/part-0.tar", labeled)
    require_bare(opened(tmp_path / "other"))
    shard(tmp_path / "judged/test-0.tar", {"1.png": png(10)})
    with pytest.raises(UserError, match="no shards of 'train'"):
        opened(tmp_path / "judged")


@pytest.mark.parametrize("name", ["train-0.parquet", "part.parquet", "a/b/part.parquet"])
def test_rows_need_no_column_of_labels(name: str, tmp_path: Path):
    where = tmp_path / "rows"
    path = table(where / name, [10, 20, 30], text=["a", "b", "c"])
    images = opened(where)
    require_bare(images)
    assert (levels(images, 2), images.info.name) == ([10, 20, 30], "rows")
    assert levels(opened(path)) == [10, 20, 30]
    before = images.fingerprint
    table(where / name, [10, 20], text=["a", "b"])
    assert opened(where).fingerprint != before


def test_rows_with_labels_keep_them_and_rows_that_are_none_are_refused(tmp_path: Path):
    table(tmp_path / "rows/train.parquet", [10, 20], label=[0, 1])
    assert opened(tmp_path / "rows").info.classes == ("0", "1")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"parquet files of bad cannot be read.*column of images"):
        opened(tmp_path / "bad.parquet")


class Rows(list[dict[str, Any]]):
    """A split as `datasets` gives it, as far as it is used."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__(rows)
        self.split, self.column_names, self.features = "train", list(rows[0]), dict.fromkeys(rows[0])
        self.info = SimpleNamespace(splits={"train": SimpleNamespace(num_bytes=7)}, version="1.0.0")

    def __getitem__(self, key: Any) -> Any:
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)

    def cast_column(self, *_: object) -> "Rows":
        return self


@pytest.mark.parametrize("labels", [{}, {"label": 0}])
def test_a_data_set_of_the_hub_needs_no_column_of_labels(labels: dict[str, int], monkeypatch: pytest.MonkeyPatch):
    found = Rows([{"image": {"bytes": png(10 * i), "path": None}, **labels} for i in range(3)])
    package = SimpleNamespace(load_dataset=lambda name: {"train": found}, Image=lambda decode: None)
    monkeypatch.setitem(sys.modules, "datasets", package)
    images = opened("hf:some/thing")
    assert (levels(images), images.info.name, images.info.revision) == ([0, 10, 20], "thing", "1.0.0")
    assert images.info.classes == (("0",) if labels else ())


def test_several_data_sets_are_one_without_labels(tmp_path: Path):
    put(tmp_path / "a/mine", "train/cat/1.png", "train/dog/2.png", "train/dog/3.png")
    zipped(tmp_path / "mine.zip", "x.png")
    put(tmp_path / "c", "y/z.png")
    every = [f"{tmp_path}/a/mine", f"{tmp_path}/mine.zip", f"{tmp_path}/c"]
    images = opened(every)
    require_bare(images)
    assert (levels(images, 2), images.info.name) == ([10, 20, 30, 10, 10], "mine+mine (2)+c")
    assert images.names[2:] == ["mine/train/dog/3.png", "mine (2)/x.png", "c/y/z.png"]
    assert images.marks is not None
    assert images.marks.tolist() == [mark for each in every for mark in opened(each).marks]
    assert opened(every[::-1]).fingerprint != images.fingerprint
    with pytest.raises(UserError, match="is named twice"):
        opened([every[0], every[0]])
    with pytest.raises(UserError, match="No data are named"):
        opened([])
    part = images.subset(np.array([3, 0]), "two")
    assert part.marks is not None
    assert part.marks.tolist() == images.marks[[3, 0]].tolist()


def test_what_holds_no_images_is_refused_with_what_is_there(tmp_path: Path):
    put(tmp_path / "mixed", "1.png")
    shard(tmp_path / "mixed/0.tar", {"1.png": png(1)})
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.md").write_text("x")
    (tmp_path / "text/b.csv").write_text("x")
    for data, told in (
        (tmp_path / "none", r"nothing at .*\.txt file with the path"),
        (tmp_path / "text", r"no image in .*It holds a\.md, which is none"),
        (tmp_path / "text/b.csv", "is no zip, and no file of another kind"),
        (tmp_path / "mixed", r"1 images and 1 \.tar files\. Expected files of one kind"),
    ):
        with pytest.raises(UserError, match=told):
            opened(data)


def test_images_of_python_are_known_by_their_pixels_whatever_items_they_lie_in():
    pixels = torch.arange(3 * 3 * 8 * 8).reshape(3, 3, 8, 8).remainder(251).to(torch.uint8)
    ways = (
        pixels,
        pixels.permute(0, 2, 3, 1).numpy(),
        torch.utils.data.TensorDataset(pixels),
        torch.utils.data.TensorDataset(pixels, torch.tensor([4, 5, 6])),
        [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pixels],
        [{"image": each, "text": ""} for each in pixels],
    )
    found = [transferbench.images_of(way, name="mine").open_split("train") for way in ways]
    for images in found:
        require_bare(images)
        assert (images.fingerprint, images.info.image_size) == (found[0].fingerprint, 8)
        assert np.array_equal(images.image(1), pixels[1].permute(1, 2, 0))
    for wrong, told in (
        ((pixels, [0, 1, 2]), "is a tuple"),
        (pixels[0], "n c h w of a tensor"),
        (pixels[:0], "no images"),
        (["a", "b"], "Image 0 of mine/train is a str"),
        (torch.utils.data.DataLoader(ways[2]), "loader.dataset"),
    ):
        with pytest.raises(UserError, match=told):
            transferbench.images_of(wrong, name="mine")
    with pytest.raises(UserError, match="has no val images"):
        transferbench.images_of(pixels, name="mine").open_split("val")
