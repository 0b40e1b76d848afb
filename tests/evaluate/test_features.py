import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from transferbench import features
from transferbench.checkpoints import digest
from transferbench.data.transforms import evaluation
from transferbench.errors import UserError
from transferbench.features import extract
from transferbench.runtime import Runtime

HERE = Runtime(torch.device("cpu"))


def count_batches(monkeypatch) -> list[int]:
    """The sizes of the batches that go through a backbone from now on, as they happen."""
    sizes, original = [], features.forward

    def forward(backbone, images, precision):
        sizes.append(len(images))
        return original(backbone, images, precision)

    monkeypatch.setattr(features, "forward", forward)
    return sizes


def test_features_are_those_of_the_images_one_by_one_in_order(tiny_candidate, tiny_images, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 5)
    images = tiny_images(13)
    found = extract(tiny_candidate, images, tmp_path, HERE, 0)
    transform = evaluation(tiny_candidate.card.preprocess)
    with torch.no_grad():
        for i in range(13):
            view = transform(images.image(i), np.random.default_rng(0))[0]
            alone = tiny_candidate.backbone(view[None])[0].numpy()
            np.testing.assert_allclose(found.features[i], alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.labels, images.labels)


def test_a_second_call_reads_the_cache(tiny_candidate, tiny_images, tmp_path, monkeypatch):
    first = extract(tiny_candidate, tiny_images(9), tmp_path, HERE, 0)
    sizes = count_batches(monkeypatch)
    second = extract(tiny_candidate, tiny_images(9), tmp_path, HERE, 0)
    assert sizes == []
    assert isinstance(second.features, np.memmap)
    np.testing.assert_array_equal(first.features, second.features)


def test_everything_features_depend_on_is_in_the_key(tiny_candidate, tiny_images, tmp_path, monkeypatch):
    images = tiny_images(6)
    extract(tiny_candidate, images, tmp_path, HERE, 0)
    card = tiny_candidate.card
    cropped = card.model_copy(update={"preprocess": card.preprocess.model_copy(update={"crop": 12})})
    others = [
        (dataclasses.replace(tiny_candidate, digest="other"), images, "float32"),
        (dataclasses.replace(tiny_candidate, card=cropped), images, "float32"),
        (tiny_candidate, dataclasses.replace(images, fingerprint="other"), "float32"),
        (tiny_candidate, images, "bfloat16"),
    ]
    for candidate, seen, precision in others:
        sizes = count_batches(monkeypatch)
        extract(candidate, seen, tmp_path, HERE, 0, precision)
        assert sizes == [6]
    assert len(list((tmp_path / "features").glob("*.npy"))) == 5


@pytest.mark.parametrize("damage", ["truncated", "foreign", "flipped", "no note", "note is no JSON"])
def test_a_damaged_cache_file_is_computed_again(damage, tiny_candidate, tiny_images, tmp_path):
    images = tiny_images(6)
    good = np.array(extract(tiny_candidate, images, tmp_path, HERE, 0).features)
    [path] = (tmp_path / "features").glob("*.npy")
    note = path.with_suffix(".json")
    content = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(content[:-40])
        case "foreign":
            stranger = json.loads(note.read_text())
            stranger["identity"]["digest"] = "other"
            note.write_text(json.dumps(stranger))
            path.write_bytes(content[:-4] + b"\0\0\0\0")
        case "flipped":
            path.write_bytes(content[:-4] + b"\0\0\0\0")
        case "no note":
            note.unlink()
            path.write_bytes(content[:-4] + b"\0\0\0\0")
        case "note is no JSON":
            note.write_text("{")
    again = extract(tiny_candidate, images, tmp_path, HERE, 0).features
    np.testing.assert_array_equal(again, good)
    assert path.read_bytes() == content
    assert sorted(p.suffix for p in (tmp_path / "features").iterdir()) == [".json", ".npy"]


def test_weights_and_every_training_flag_are_left_alone(tiny_candidate, tiny_images, tmp_path):
    backbone = tiny_candidate.backbone
    backbone.train()
    backbone.bn1.eval()
    flags = [module.training for module in backbone.modules()]
    trained = extract(tiny_candidate, tiny_images(6), tmp_path / "a", HERE, 0).features
    assert [module.training for module in backbone.modules()] == flags
    assert digest(backbone.state_dict()) == tiny_candidate.digest
    backbone.eval()
    np.testing.assert_array_equal(extract(tiny_candidate, tiny_images(6), tmp_path / "b", HERE, 0).features, trained)


def test_features_that_are_not_finite_are_refused_and_not_kept(tiny_candidate, tiny_images, tmp_path):
    with torch.no_grad():
        tiny_candidate.backbone.conv1.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite for 6 image"):
        extract(tiny_candidate, tiny_images(6), tmp_path, HERE, 0)
    assert list((tmp_path / "features").iterdir()) == []


def test_processes_share_the_images_each_once():
    for n in (1, 5, 8):
        shares = [features.mine(n, Runtime(torch.device("cpu"), rank, 3)) for rank in range(3)]
        assert np.concatenate(shares).tolist() == list(range(n))


def test_progress_is_reported_up_to_the_last_image(tiny_candidate, tiny_images, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 4)
    told = []
    extract(tiny_candidate, tiny_images(10), tmp_path, HERE, 0, report=lambda done, total: told.append((done, total)))
    assert told == [(4, 10), (8, 10), (10, 10)]
