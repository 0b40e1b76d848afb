"""Shards, parquet files and `datasets`: splits by name, order, labels, classes, and what is refused."""

import io
import json
import pickle
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from transferbench.data import LabeledImages, loading, open_split, parquet_rows
from transferbench.data.sources import huggingface, parquet, webdataset
from transferbench.data.transforms import Preprocess, evaluation
from transferbench.errors import UserError

PLAIN = evaluation(Preprocess(mean=(0, 0, 0), std=(1, 1, 1), size=None, crop=8))


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def levels(images: LabeledImages, workers: int = 0) -> list[int]:
    batches = loading.batches(images, PLAIN, loading.in_order(len(images), 2), workers=workers)
    return [round(255 * float(view[0, 0, 0])) for batch in batches for view in batch.views[0]]


def shard(path: Path, samples: dict[str, tuple[int, str]], suffix: str = "png") -> None:
    """KEY: (gray level, text of the class), written in the opposite order of their keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key, (level, label) in sorted(samples.items(), reverse=True):
            for name, content in ((f"{key}.{suffix}", png(level)), (f"{key}.cls", label.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def shards(where: Path) -> Path:
    shard(where / "x-train-000001.tar", {"0003": (30, "1\n"), "0004": (40, "2")})
    shard(where / "x-train-000000.tar", {"0001": (10, "0"), "0002": (20, "1")})
    shard(where / "x-val-000000.tar", {"dir.v2/0005": (50, "2")})
    return where


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_are_read_in_the_order_of_their_names_in_any_process(tmp_path: Path, workers: int):
    where = shards(tmp_path / "packed")
    train, val = (open_split(str(where), split, tmp_path) for split in ("train", "val"))
    assert (levels(train, workers), train.labels.tolist()) == ([10, 20, 30, 40], [0, 1, 1, 2])
    assert (levels(val, workers), val.labels.tolist(), val.names) == ([50], [2], ["val/dir.v2/0005.png"])
    assert (train.info.name, train.info.classes, train.info.test_split) == ("packed", ("0", "1", "2"), "val")
    assert train.info == val.info


def test_shards_may_lie_in_folders_and_name_their_classes(tmp_path: Path):
    shard(tmp_path / "packed/train/0.tar", {"a": (1, "1")})
    shard(tmp_path / "packed/test/0.tar", {"b": (2, "0")}, "WEBP")
    (tmp_path / "packed/classnames.txt").write_text("sea horse\neel\n")
    found = open_split(str(tmp_path / "packed"), "test", tmp_path)
    assert found.info.classes == ("sea horse", "eel")
    (tmp_path / "packed/classnames.txt").write_text("eel\n")
    with pytest.raises(UserError, match="names 1 classes, but the shards have 2"):
        open_split(str(tmp_path / "packed"), "test", tmp_path)


def test_names_of_classes_may_begin_with_a_mark_and_end_in_empty_lines(tmp_path: Path):
    where = shards(tmp_path / "packed")
    (where / "classnames.txt").write_bytes("\ufeffant\r\nbee\r\ncat\r\n\r\n".encode())
    assert open_split(str(where), "val", tmp_path).info.classes == ("ant", "bee", "cat")
    (where / "classnames.txt").write_bytes(b"ant\nb\xe9\ncat\n")
    with pytest.raises(UserError, match=r"classnames\.txt cannot be read as text"):
        open_split(str(where), "val", tmp_path)


def test_a_shards_fingerprint_follows_its_content(tmp_path: Path):
    where = shards(tmp_path / "packed")
    before = webdataset.open_split(where, "train").fingerprint
    shard(where / "x-train-000001.tar", {"0003": (30, "1"), "0004": (40, "0")})
    assert webdataset.open_split(where, "train").fingerprint != before


@pytest.mark.parametrize("label", ["", "dog", "-2"])
def test_shards_that_hold_something_else_are_refused_by_name(tmp_path: Path, label: str):
    where = shards(tmp_path / "packed")
    shard(where / "x-train-000002.tar", {"0009": (9, label)})
    with pytest.raises(UserError, match=r"x-train-000002\.tar cannot be read as a shard"):
        webdataset.open_split(where, "train")
    (where / "x-train-000002.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match=r"x-train-000002\.tar cannot be read as a shard"):
        webdataset.open_split(where, "train")
    with pytest.raises(UserError, match="no shards of 'test'"):
        webdataset.open_split(tmp_path / "nowhere", "test")


def test_an_image_without_a_class_is_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        info = tarfile.TarInfo("lonely.jpg")
        info.size = 0
        archive.addfile(info)
    with pytest.raises(UserError, match=r"the key 'lonely' has no class number; its members: lonely\.jpg"):
        webdataset.open_split(tmp_path, "train")


def table(path: Path, grays: list[int], labels: list[int], **options: Any) -> None:
    """A parquet file as `datasets` writes it."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    path.parent.mkdir(parents=True, exist_ok=True)
    names, flat = options.get("names"), options.get("flat", False)
    images = [png(level) for level in grays] if flat else [{"bytes": png(level), "path": None} for level in grays]
    columns = arrow.table({options.get("image", "image"): images, "label": labels})
    if names:
        noted = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        columns = columns.replace_schema_metadata({"huggingface": json.dumps(noted)})
    files.write_table(columns, path, row_group_size=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_parquet_files_are_read_over_row_groups_and_files_in_any_process(tmp_path: Path, workers: int, monkeypatch):
    where = tmp_path / "hub/data"
    table(where / "train-00001-of-00002.parquet", [40, 50], [1, 2])
    table(where / "train-00000-of-00002.parquet", [10, 20, 30], [0, 1, 1])
    table(where / "validation-00000-of-00001.parquet", [60], [0])
    monkeypatch.setattr(parquet_rows, "KEPT", 1)
    train, val = (open_split(str(tmp_path / "hub"), split, tmp_path) for split in ("train", "val"))
    assert (levels(train, workers), train.labels.tolist()) == ([10, 20, 30, 40, 50], [0, 1, 1, 1, 2])
    assert [train.image(i).getpixel((0, 0)) for i in (4, 0, 2)] == [(50,) * 3, (10,) * 3, (30,) * 3]
    assert (levels(val, workers), val.info) == ([60], train.info)
    assert (train.info.name, train.info.classes, train.info.splits) == ("hub", ("0", "1", "2"), ("train", "val"))
    assert len(parquet_rows._held) == 1
    assert pickle.loads(pickle.dumps(train)).image(3).getpixel((0, 0)) == (40,) * 3


def test_parquet_columns_may_be_called_otherwise_and_name_their_classes(tmp_path: Path):
    table(tmp_path / "cifar-train.parquet", [1, 2], [1, 0], image="img", flat=True, names=["cat", "dog"])
    table(tmp_path / "cifar-test.parquet", [3], [1], image="img", flat=True, names=["cat", "dog"])
    train = parquet.open_split(tmp_path, "train")
    assert (train.info.classes, levels(train)) == (("cat", "dog"), [1, 2])
    before = train.fingerprint
    table(tmp_path / "cifar-train.parquet", [1, 2], [1, 1], image="img", flat=True)
    assert parquet.open_split(tmp_path, "train").fingerprint != before


def test_parquet_files_that_hold_something_else_are_refused(tmp_path: Path):
    table(tmp_path / "train.parquet", [1], [0], image="photograph")
    with pytest.raises(UserError, match=r"no column image or img .* among photograph, label"):
        parquet.open_split(tmp_path, "train")
    (tmp_path / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read"):
        parquet.open_split(tmp_path, "train")
    with pytest.raises(UserError, match="no file of 'test'; found train"):
        parquet.open_split(tmp_path, "test")


@pytest.mark.parametrize("file", ["birds-train.parquet", "train-000.tar"])
def test_of_one_file_the_error_names_its_folder(file: str, tmp_path: Path):
    with pytest.raises(UserError, match=f"is one file.*--data {tmp_path}/"):
        open_split(str(tmp_path / file), "train", tmp_path)


@pytest.mark.parametrize(
    ("package", "cure"), [("pyarrow", r"transferbench\[parquet\]"), ("datasets", "pip install datasets")]
)
def test_without_the_package_the_error_names_it(package: str, cure: str, tmp_path: Path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package] + [package]:
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "train.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=cure):
        open_split("hf:some/thing" if package == "datasets" else str(tmp_path), "train", tmp_path)


def test_a_data_set_of_datasets(tmp_path: Path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    for split, grays in {"train": [10, 20], "test": [30]}.items():
        rows = {"img": [{"bytes": png(level), "path": None} for level in grays], "label": [1, 0][: len(grays)]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"hub/data/{split}-0.parquet")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    train, test = (huggingface.open_split(tmp_path / "hub", split) for split in ("train", "test"))
    assert (levels(train), train.labels.tolist(), levels(test)) == ([10, 20], [1, 0], [30])
    assert (train.info.classes, train.info.splits) == (("cat", "dog"), ("train", "test"))
    with pytest.raises(UserError, match="no split 'val' among train, test"):
        huggingface.open_split(tmp_path / "hub", "val")
    with pytest.raises(UserError, match="Expected the name of a data set"):
        huggingface.open_split(tmp_path / "nothing", "train")


class Rows(list[dict[str, Any]]):
    """A split as `datasets` gives it, as far as it is used."""

    def __init__(self, split: str, rows: list[dict[str, Any]]) -> None:
        super().__init__(rows)
        self.split, self.column_names = split, ["image", "label"]
        self.features: dict[str, Any] = {"label": None}
        self.info = SimpleNamespace(splits={split: SimpleNamespace(num_bytes=7)}, version="1.0.0")

    def __getitem__(self, key: Any) -> Any:
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)

    def cast_column(self, *_: object) -> "Rows":
        return self


def hub(monkeypatch: pytest.MonkeyPatch, *splits: str) -> None:
    rows = [{"image": {"bytes": png(10 * i), "path": None}, "label": i} for i in range(3)]
    found = {split: Rows(split, rows) for split in splits}
    package = SimpleNamespace(load_dataset=lambda name: found, Image=lambda decode: None)
    monkeypatch.setitem(sys.modules, "datasets", package)


def test_a_hub_split_may_be_called_validation(tmp_path: Path, monkeypatch):
    hub(monkeypatch, "train", "validation")
    train, val = (open_split("hf:some/thing", split, tmp_path) for split in ("train", "val"))
    assert (levels(val), val.labels.tolist(), val.info.test_split) == ([0, 10, 20], [0, 1, 2], "val")
    assert train.info.splits == ("train", "val")
    hub(monkeypatch, "train", "valid", "validation")
    with pytest.raises(UserError, match="'valid' and 'validation' both stand for val"):
        open_split("hf:some/thing", "train", tmp_path)


def test_a_hub_image_that_is_not_there_is_named(tmp_path: Path, monkeypatch):
    hub(monkeypatch, "train", "test")
    test = open_split("hf:some/thing", "test", tmp_path)
    test.read.rows[1] = {"image": {"bytes": None, "path": str(tmp_path / "gone.png")}, "label": 0}
    test.read.rows[2] = {"image": None, "label": 0}
    for index, told in ((1, r"no file at the path that stands for them: .*gone\.png"), (2, "there is no image")):
        with pytest.raises(UserError, match=told):
            test.image(index)
