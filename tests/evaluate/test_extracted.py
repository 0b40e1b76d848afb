"""Features as arrays: those that tasks read, with what they depend on, in memory and in a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import transferbench
from transferbench import extracted
from transferbench.backbones import build
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.save import save
from transferbench.data import LabeledImages
from transferbench.data.live import LabeledSplits
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.features.extraction import extract as tasks_extract
from transferbench.features.spec import FeatureSpec
from transferbench.runtime import Runtime


@pytest.fixture
def data(tiny_images: Callable[..., LabeledImages]) -> LabeledSplits:
    return LabeledSplits("tiny", {split: tiny_images(12, split=split) for split in ("train", "test")})


@pytest.fixture
def checkpoint(tiny_candidate: Candidate, tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save(path, build(tiny_candidate.card.architecture, 7).state_dict(), tiny_candidate.card)
    return path


def test_a_file_what_was_loaded_of_it_and_the_tasks_have_the_same_features(
    checkpoint: Path, data: LabeledSplits, tmp_path: Path
):
    loaded = transferbench.load(checkpoint)
    asked = FeatureSpec(layer="layer2", pooling="max")
    found = transferbench.extract(checkpoint, data, features={"layer": "layer2", "pooling": "max"})
    again = transferbench.extract(loaded, data, "test", features=asked)
    assert (list(found.splits), list(again.splits)) == (["train", "test"], ["test"])
    images = data.open_split("test")
    expected = tasks_extract(loaded, images, tmp_path / "cache", Runtime(torch.device("cpu")), 0, asked)
    np.testing.assert_array_equal(found["test"].features, expected.features)
    np.testing.assert_array_equal(again["test"].features, expected.features)
    assert found["test"].labels.tolist() == images.labels.tolist()
    assert found["test"].ids == tuple(images.names)
    assert found.classes == images.info.classes
    assert (found.about["digest"], found.about["features"]["layer"]) == (loaded.digest, "layer2")
    assert found.about["data_fingerprint"]["test"] == images.fingerprint
    with pytest.raises(UserError, match="Unknown split 'val'"):
        found["val"]


def test_a_module_sees_images_of_their_own_size(data: LabeledSplits):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = transferbench.extract(module, data, limit=8)
    assert (found["train"].features.shape, found.about["limit"]) == ((8, 4), 8)
    assert found.about["preprocess"]["crop"] == 16
    other = transferbench.extract(module, data, preprocess=Preprocess(size=None, crop=8))
    assert other.about["preprocess"]["crop"] == 8


class Noise(nn.Module):
    """Other features from pass to pass, of which nothing is kept."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(images), 3)


@pytest.mark.filterwarnings("ignore")
def test_features_of_a_random_module_outlive_the_folder_they_were_written_to(data: LabeledSplits):
    found = transferbench.extract(Noise(), data, "test")
    assert not isinstance(found["test"].features, np.memmap)
    assert np.isfinite(found["test"].features).all()


def test_progress_counts_the_images_of_all_splits(tiny_candidate: Candidate, data: LabeledSplits, tmp_path: Path):
    told: list[tuple[int, int]] = []
    work = extracted.prepare(extracted.ExtractionRequest(tiny_candidate, data), tmp_path)
    work.run(Runtime(torch.device("cpu")), tmp_path / "cache", report=lambda *numbers: told.append(numbers))
    work.run(Runtime(torch.device("cpu")), tmp_path / "cache", report=lambda *numbers: told.append(numbers))
    assert list(dict.fromkeys(told)) == [(12, 24), (24, 24)]


def test_a_file_holds_it_all_and_is_not_replaced_unasked(
    tiny_candidate: Candidate, data: LabeledSplits, tmp_path: Path
):
    found, path = transferbench.extract(tiny_candidate, data), tmp_path / "f.npz"
    found.write(path)
    kept = np.load(path, allow_pickle=False)
    parts = [f"{split}_{what}" for split in ("train", "test") for what in ("features", "labels", "ids")]
    assert kept.files == ["classes", *parts, "about"]
    np.testing.assert_array_equal(kept["train_features"], found["train"].features)
    assert kept["test_ids"].tolist() == list(found["test"].ids)
    assert json.loads(str(kept["about"])) == found.about
    for wrong, reason in ((path, "exists.*--force"), (tmp_path, "does not end in .npz"), (tmp_path / "f", "end in")):
        with pytest.raises(UserError, match=reason):
            found.write(wrong)
    found.write(path, force=True)
    assert [each.name for each in tmp_path.iterdir()] == ["f.npz"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"split": "val"}, "tiny has no val images, only train, test"),
        ({"limit": 0}, "limit is 0"),
        ({"features": {"layr": "stem"}}, "Did you mean 'layer'"),
        ({"data": "nowhere"}, "data set 'nowhere'"),
        ({"model": "nowhere.pth"}, "nowhere.pth"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(
    wrong: dict[str, Any], reason: str, tiny_candidate: Candidate, data: LabeledSplits
):
    with pytest.raises(UserError, match=reason):
        transferbench.extract(**({"model": tiny_candidate, "data": data} | wrong))
