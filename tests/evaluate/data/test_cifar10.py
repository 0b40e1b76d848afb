"""CIFAR-10 and CIFAR-100 through torchvision, on stand-ins of a few images in their file format."""

import hashlib
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from transferbench.data import download, open_split
from transferbench.data.sources import cifar10, cifar100
from transferbench.errors import UserError

CLASSES = [f"class {i}" for i in range(10)]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six files of two images each, image k all of level k; their md5 sums stand in for the real ones."""
    folder = tmp_path / "cifar10" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    sums: list[tuple[str, str]] = []
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        levels = np.array([2 * i, 2 * i + 1], dtype=np.uint8)
        content = pickle.dumps({"data": np.repeat(levels[:, None], 3072, 1), "labels": (levels % 10).tolist()})
        (folder / name).write_bytes(content)
        sums.append((name, hashlib.md5(content).hexdigest()))
    meta = pickle.dumps({"label_names": CLASSES})
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": hashlib.md5(meta).hexdigest()})
    return tmp_path


def test_images_labels_and_classes_are_torchvisions(stand_in: Path) -> None:
    train, test = open_split("cifar10", "train", stand_in), open_split("cifar10", "test", stand_in)
    assert train.labels.tolist() == list(range(10))
    assert test.labels.tolist() == [0, 1]
    assert train.info == test.info
    assert train.info.classes == tuple(CLASSES)
    assert train.image(7).size == (32, 32)
    assert train.image(7).getpixel((3, 3)) == (7, 7, 7)
    assert train.fingerprint != test.fingerprint


@pytest.fixture
def hundred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files of three images, of levels 0 to 2 and 10 to 12, in fine classes 97 to 99."""
    folder = tmp_path / "cifar100" / CIFAR100.base_folder
    folder.mkdir(parents=True)
    for name, first in (("train", 0), ("test", 10)):
        levels = np.arange(first, first + 3, dtype=np.uint8)
        fine = {"fine_labels": [97, 98, 99], "coarse_labels": [0, 0, 0]}
        content = pickle.dumps({"data": np.repeat(levels[:, None], 3072, 1), **fine})
        (folder / name).write_bytes(content)
        monkeypatch.setattr(CIFAR100, f"{name}_list", [(name, hashlib.md5(content).hexdigest())])
    meta = pickle.dumps({"fine_label_names": [f"fine {i}" for i in range(100)], "coarse_label_names": ["coarse"] * 20})
    (folder / "meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": hashlib.md5(meta).hexdigest()})
    return tmp_path


def test_cifar100_has_its_hundred_fine_classes(hundred: Path) -> None:
    train, test = open_split("cifar100", "train", hundred), open_split("cifar100", "test", hundred)
    assert train.labels.tolist() == test.labels.tolist() == [97, 98, 99]
    assert train.info == test.info
    assert (train.info.name, train.info.classes[99], len(train.info.classes)) == ("cifar100", "fine 99", 100)
    assert [image.getpixel((0, 0))[0] for image in map(test.image, range(3))] == [10, 11, 12]
    (hundred / "cifar100" / CIFAR100.base_folder / "train").write_bytes(b"half")
    with pytest.raises(UserError, match=f"(?s)CIFAR-100 is not at .*evaluate download cifar100 --data-root {hundred}"):
        open_split("cifar100", "train", hundred)


def test_cifar100_is_fetched_by_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(cifar100, "CIFAR100", lambda root, download: asked.append((root, download)))
    assert download("cifar100", tmp_path) == tmp_path / "cifar100"
    assert asked == [(str(tmp_path / "cifar100"), True)]


def test_absent_or_damaged_files_give_the_command_that_gets_them(stand_in: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"evaluate download cifar10 --data-root {tmp_path}/elsewhere"):
        open_split("cifar10", "train", tmp_path / "elsewhere")
    (stand_in / "cifar10" / CIFAR10.base_folder / "data_batch_2").write_bytes(b"half")
    with pytest.raises(UserError, match="evaluate download cifar10"):
        open_split("cifar10", "train", stand_in)


def test_downloading_asks_torchvision_and_tells_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(cifar10, "CIFAR10", lambda root, download: asked.append((root, download)))
    assert download("cifar10", tmp_path) == tmp_path / "cifar10"
    assert asked == [(str(tmp_path / "cifar10"), True)]

    def offline(root: str, download: bool) -> None:
        raise URLError("no route")

    monkeypatch.setattr(cifar10, "CIFAR10", offline)
    with pytest.raises(UserError, match="no route"):
        download("cifar10", tmp_path)


def test_an_embedded_set_is_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to download"):
        download("digits", tmp_path)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Known: test, train"):
        open_split("cifar10", "val", tmp_path)


def test_a_data_set_without_a_source_is_named_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Unknown data set 'my-birds'.*--data /path/to/my-birds"):
        open_split("my-birds", "train", tmp_path)
