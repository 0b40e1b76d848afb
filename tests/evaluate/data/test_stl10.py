"""STL-10 on a stand-in of a few images in its file format, read as torchvision reads it."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import STL10

from transferbench.data import download, open_split
from transferbench.data.sources import stl10
from transferbench.data.subsets import labeled, limited, stratified
from transferbench.errors import UserError

COUNTS = {"train": 4, "unlabeled": 5, "test": 3}


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Noise in three files, labels 1 to 10 in two; their md5 sums stand in for the real ones."""
    folder = tmp_path / "stl10" / STL10.base_folder
    folder.mkdir(parents=True)
    draws, sums = np.random.default_rng(0), {}
    for part, count in COUNTS.items():
        (folder / f"{part}_X.bin").write_bytes(draws.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tobytes())
        if part != "unlabeled":
            (folder / f"{part}_y.bin").write_bytes(np.arange(1, count + 1, dtype=np.uint8).tobytes())
    for path in folder.iterdir():
        sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    (folder / STL10.class_names_file).write_text("\n".join(f"class{i}" for i in range(10)))
    monkeypatch.setattr(STL10, "train_list", [[n, sums[n]] for n in ("train_X.bin", "train_y.bin", "unlabeled_X.bin")])
    monkeypatch.setattr(STL10, "test_list", [[name, sums[name]] for name in ("test_X.bin", "test_y.bin")])
    return tmp_path


@pytest.mark.parametrize("split", ["train", "unlabeled", "train+unlabeled", "test"])
def test_images_labels_and_classes_are_torchvisions(stand_in: Path, split: str) -> None:
    ours, theirs = open_split("stl10", split, stand_in), STL10(str(stand_in / "stl10"), split)
    assert ours.labels.tolist() == [int(label) for label in theirs.labels]
    assert ours.info.classes == tuple(theirs.classes)
    assert ours.info.test_split == "test"
    for index in range(len(theirs)):
        assert ours.image(index).tobytes() == theirs[index][0].tobytes()
    assert pickle.loads(pickle.dumps(ours)).image(1).tobytes() == ours.image(1).tobytes()


def test_every_split_has_its_own_fingerprint_and_names(stand_in: Path) -> None:
    splits = [open_split("stl10", split, stand_in) for split in stl10.PARTS]
    assert len({images.fingerprint for images in splits}) == len({images.names[0] for images in splits}) == 4


def test_parts_of_a_set_with_unlabeled_images(stand_in: Path) -> None:
    images = open_split("stl10", "train+unlabeled", stand_in)
    assert len(limited(images, 6, 0)) == 6
    drawn = [int(limited(images, 1, seed).names[0].split("/")[1]) for seed in range(90)]
    assert len(set(drawn)) == 9, "every image can be drawn, labeled or not"
    assert labeled(images).labels.tolist() == [0, 1, 2, 3]
    assert labeled(images).image(2).tobytes() == images.image(2).tobytes()
    assert (
        labeled(open_split("stl10", "test", stand_in)).fingerprint == open_split("stl10", "test", stand_in).fingerprint
    )
    with pytest.raises(UserError, match="5 of the 9 images have no label"):
        stratified(images.labels, 0.5, 0)


def test_absent_or_damaged_files_give_the_command_that_gets_them(stand_in: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"evaluate download stl10 --data-root {tmp_path}/elsewhere"):
        open_split("stl10", "train", tmp_path / "elsewhere")
    (stand_in / "stl10" / STL10.base_folder / "unlabeled_X.bin").write_bytes(b"half")
    assert len(open_split("stl10", "train", stand_in)) == 4
    with pytest.raises(UserError, match="incomplete"):
        open_split("stl10", "train+unlabeled", stand_in)


def test_downloading_asks_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(stl10, "STL10", lambda root, download: asked.append((root, download)))
    assert download("stl10", tmp_path) == tmp_path / "stl10"
    assert asked == [(str(tmp_path / "stl10"), True)]
