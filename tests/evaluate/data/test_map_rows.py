"""Rows with a column of images and one of label maps: in parquet files, and as `datasets` gives them."""

import io
import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pngs import png

from transferbench.data import LabeledImages, open_split
from transferbench.data.label_maps import LabelRule
from transferbench.data.sources import huggingface
from transferbench.errors import UserError

NAMES = ["sky", "sea", "sand"]


def photo(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (level,) * 3).save(file, "PNG")
    return file.getvalue()


def mask(number: int, width: int = 5) -> bytes:
    return png(np.full((4, width), number), 8, 0)


def table(
    path: Path, masks: list[bytes], image: str = "image", column: str = "annotation", label: int | None = None
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": photo(10 * i), "path": None} for i in range(len(masks))]
    rows = {image: cells, column: [{"bytes": content, "path": None} for content in masks]}
    rows |= {} if label is None else {"label": [label] * len(masks)}
    parquet.write_table(pyarrow.table(rows), path, row_group_size=2)


def files(root: Path, **how: Any) -> Path:
    table(root / "train-0.parquet", [mask(i) for i in (0, 1, 2)], **how)
    table(root / "test-0.parquet", [mask(2)], **how)
    (root / "classes.json").write_text(json.dumps(NAMES))
    return root


def numbers(images: LabeledImages) -> list[int]:
    found = [images.maps.labels(i, 3, LabelRule()) for i in range(len(images))]
    assert all(each.shape == (4, 5) for each in found)
    return [int(each[0, 0]) for each in found]


@pytest.mark.parametrize(("image", "column"), [("image", "annotation"), ("pixel_values", "label"), ("img", "mask")])
def test_parquet_files_may_have_a_column_of_masks(image: str, column: str, tmp_path: Path):
    root = files(tmp_path / "shore", image=image, column=column)
    train, test = (open_split(f"{root}/", split, tmp_path) for split in ("train", "test"))
    assert (numbers(train), numbers(test)) == ([0, 1, 2], [2])
    assert (train.info.name, train.info.classes, train.info.splits) == ("shore", tuple(NAMES), ("train", "test"))
    assert (train.info.metric, train.info.carries, train.labels.tolist()) == ("miou", "label maps", [-1, -1, -1])
    assert [train.image(i).getpixel((0, 0)) for i in range(3)] == [(0,) * 3, (10,) * 3, (20,) * 3]
    assert pickle.loads(pickle.dumps(train)).maps.read(1).tolist() == train.maps.read(1).tolist()


def test_labels_are_taken_before_masks(tmp_path: Path):
    train = open_split(f"{files(tmp_path / 'shore', label=0)}/", "train", tmp_path)
    assert (train.info.carries, train.labels.tolist()) == ("one label", [0, 0, 0])


def test_rows_with_masks_need_their_classes_and_equal_sizes(tmp_path: Path):
    root = files(tmp_path / "shore")
    before = open_split(f"{root}/", "train", tmp_path).fingerprint
    table(root / "train-0.parquet", [mask(0), mask(1), mask(2, width=6)])
    wrong = open_split(f"{root}/", "train", tmp_path)
    assert wrong.fingerprint != before
    with pytest.raises(UserError, match=r"'train/0000002, column annotation' of shore/train is 6 x 4 .* is 5 x 4"):
        wrong.maps.read(2)
    (root / "classes.json").unlink()
    with pytest.raises(UserError, match=r"holds label maps and no classes.json, which says what their numbers"):
        open_split(f"{root}/", "train", tmp_path)


class Rows(list[dict[str, Any]]):
    """A split as `datasets` gives it, as far as it is used."""

    def __init__(self, split: str, rows: list[dict[str, Any]], kinds: dict[str, Any]) -> None:
        super().__init__(rows)
        self.split, self.column_names, self.features = split, list(kinds), kinds
        self.info = SimpleNamespace(splits={split: SimpleNamespace(num_bytes=7)}, version="1.0.0")

    def cast_column(self, *_: object) -> "Rows":
        return self

    def select_columns(self, names: list[str]) -> list[dict[str, Any]]:
        return [{name: row[name] for name in names} for row in self]


class ImageFeature:
    """`datasets.Image`, as far as it is used."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


ImageFeature.__name__ = "Image"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"image": ImageFeature(), "annotation": ImageFeature(), "scene_category": None}
    rows = [{"image": {"bytes": photo(i)}, "annotation": {"bytes": mask(i)}} for i in range(3)]
    found = {split: Rows(split, rows, kinds) for split in ("train", "validation")}
    package = SimpleNamespace(load_dataset=lambda name: found, Image=ImageFeature)
    monkeypatch.setitem(sys.modules, "datasets", package)


def named(monkeypatch: pytest.MonkeyPatch, path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **how: {"dataset": str(path)}[how["repo_type"]])


def test_rows_of_the_hub_have_masks_whose_classes_its_own_file_names(hub: None, monkeypatch, tmp_path: Path):
    named(monkeypatch, tmp_path / "id2label.json", dict(enumerate(NAMES)))
    train, val = (open_split("hf:some/shore", split, tmp_path) for split in ("train", "val"))
    assert (numbers(train), train.info.classes, val.info.test_split) == ([0, 1, 2], tuple(NAMES), "val")
    assert train.info.carries == "label maps"
    train.read.rows[0]["annotation"] = {"bytes": mask(2)}  # pyright: ignore[reportFunctionMemberAccess]
    assert open_split("hf:some/shore", "train", tmp_path).fingerprint != train.fingerprint
    named(monkeypatch, tmp_path / "id2label.json", {1: "sky", 2: "sea"})
    with pytest.raises(UserError, match=r"numbers classes \[1, 2\] ... Expected 0, 1, 2"):
        open_split("hf:some/shore", "train", tmp_path)


def test_rows_of_the_hub_without_such_a_file_are_refused_with_the_way_out(hub: None, monkeypatch, tmp_path: Path):
    def absent(*_: object, **__: object) -> None:
        raise OSError("404")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", absent)
    with pytest.raises(UserError, match=r"'hf:some/shore' holds label maps, and no id2label.json .*404.*classes.json"):
        open_split("hf:some/shore", "train", tmp_path)


def test_rows_of_datasets_itself_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    for split in ("train", "validation"):
        rows = {"image": [{"bytes": photo(1)}] * 2, "annotation": [{"bytes": mask(1)}, {"bytes": mask(2)}]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"shore/data/{split}-0.parquet")
    (tmp_path / "shore/classes.json").write_text(json.dumps(NAMES))
    train = huggingface.open_split(tmp_path / "shore", "train")
    assert (numbers(train), train.info.classes) == ([1, 2], tuple(NAMES))
