import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
import torch

from transferbench.backbones import build
from transferbench.checkpoints import digest
from transferbench.data.transforms import evaluation
from transferbench.errors import UserError
from transferbench.features import extraction as features
from transferbench.features import resumable_array
from transferbench.features.extraction import extract
from transferbench.features.prepared import Prepared
from transferbench.features.spec import FeatureSpec
from transferbench.runtime import Runtime

HERE = Runtime(torch.device("cpu"))


def noting(note):
    """What computes features, calling `note` with the size of each batch, one image for the width included."""
    plain = features.forward

    def forward(backbone, images, asked):
        note(len(images))
        return plain(backbone, images, asked)

    class Noted(Prepared):
        def __call__(self, images):
            note(len(images))
            return super().__call__(images)

    return {"forward": forward, "Prepared": Noted}


def count_batches(monkeypatch) -> list[int]:
    """The sizes of the batches that go through a backbone from now on, as they happen, beside the one for the width."""
    sizes = []
    for name, value in noting(sizes.append).items():
        monkeypatch.setattr(features, name, value)
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
        (tiny_candidate, images, "bfloat16_folded"),
        (tiny_candidate, images, FeatureSpec(layer="layer3")),
        (tiny_candidate, images, FeatureSpec(layer="layer3", pooling="max")),
        (tiny_candidate, images, FeatureSpec(layer="last")),
        (tiny_candidate, images, FeatureSpec(layer="last:2")),
        (tiny_candidate, images, FeatureSpec(pooling="max")),
    ]
    for candidate, seen, asked in others:
        sizes = count_batches(monkeypatch)
        extract(candidate, seen, tmp_path, HERE, 0, asked)
        assert sizes == [1, 6]
    assert len(list((tmp_path / "features").glob("*.npy"))) == 11


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
    with pytest.raises(
        UserError, match=r"not finite for 6 image.s. among the first 6 looked at of tiny/train, .*'train-0'"
    ):
        extract(tiny_candidate, tiny_images(6), tmp_path, HERE, 0)
    assert list((tmp_path / "features").iterdir()) == []


@pytest.mark.parametrize("asked", ["float32", FeatureSpec(layer="layer3")], ids=["output", "layer"])
def test_kept_features_of_another_width_are_refused(asked, tiny_candidate, tiny_images, tmp_path):
    extract(tiny_candidate, tiny_images(6), tmp_path, HERE, 0, asked)
    arguments = {**tiny_candidate.card.architecture.arguments, "width": 0.25}
    wide = build(tiny_candidate.card.architecture.model_copy(update={"arguments": arguments})).eval()
    impostor = dataclasses.replace(tiny_candidate, backbone=wide)
    with pytest.raises(UserError, match=r"npy holds (64|32) features an image for tiny, which gives (128|64)"):
        extract(impostor, tiny_images(6), tmp_path, HERE, 0, asked)


def test_features_that_hold_for_one_call_are_kept_apart_and_go_with_it(tiny_candidate, tiny_images, tmp_path):
    extract(tiny_candidate, tiny_images(6), tmp_path, HERE, 0)
    before = sorted(tmp_path.rglob("*"))
    moody = dataclasses.replace(tiny_candidate, is_repeatable=False)
    with features.cache_of(moody, tmp_path, HERE) as folder:
        assert folder != tmp_path
        extract(moody, tiny_images(6), folder, HERE, 0)
        assert list(folder.rglob("*.npy"))
    assert sorted(tmp_path.rglob("*")) == before
    with features.cache_of(tiny_candidate, tmp_path, HERE) as folder:
        assert folder == tmp_path


def test_processes_share_the_batches_each_once(monkeypatch):
    monkeypatch.setattr(features, "BATCH", 4)
    for n, batches in {1: 1, 4: 1, 5: 2, 40: 10}.items():
        shares = [features.mine(n, Runtime(torch.device("cpu"), rank, 3)) for rank in range(3)]
        assert np.concatenate(shares).tolist() == list(range(batches))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_progress_is_reported_up_to_the_last_image(tiny_candidate, tiny_images, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 4)
    told = []
    extract(tiny_candidate, tiny_images(10), tmp_path, HERE, 0, report=lambda done, total: told.append((done, total)))
    assert told == [(4, 10), (8, 10), (10, 10)]


def interrupted(tiny_candidate, images, cache: Path, after: int, error: BaseException, monkeypatch) -> None:
    """Extract until the batch number `after`, then fail."""
    calls = []

    def note(size: int) -> None:
        calls.append(size)
        if len(calls) > after + 1:
            raise error

    with monkeypatch.context() as patch:
        for name, value in noting(note).items():
            patch.setattr(features, name, value)
        with pytest.raises(type(error)):
            extract(tiny_candidate, images, cache, HERE, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_an_interrupted_extraction_goes_on_where_it_stopped(error, tiny_candidate, tiny_images, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 4)
    images = tiny_images(18)
    whole = np.array(extract(tiny_candidate, images, tmp_path / "whole", HERE, 0).features)
    interrupted(tiny_candidate, images, tmp_path / "cut", 3, error, monkeypatch)
    assert list((tmp_path / "cut/features").glob("*.npy")) == []
    sizes, told = count_batches(monkeypatch), []
    found = extract(tiny_candidate, images, tmp_path / "cut", HERE, 0, report=lambda *place: told.append(place))
    assert sizes == [1, 4, 2]
    assert told == [(16, 18), (18, 18)]
    np.testing.assert_array_equal(found.features, whole)
    assert sorted(path.suffix for path in (tmp_path / "cut/features").iterdir()) == [".json", ".npy"]


def extraction(candidate, images, cache: Path, kill_after: int | None = None) -> list[int]:
    """In a process of its own, which the batch of that number kills: the sizes of the batches it computed."""
    sizes = []

    def note(size: int) -> None:
        if kill_after == len(sizes) - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        sizes.append(size)

    def work() -> None:
        features.BATCH, resumable_array.PATIENCE = 4, 0.0
        vars(features).update(noting(note))
        extract(candidate, images, cache, HERE, 0)
        print(*sizes)

    done = forked.Fork(work).finish()
    assert done.returncode == (-signal.SIGKILL if kill_after is not None else 0), done.stderr
    return [int(size) for size in done.stdout.split()]


def test_an_extraction_that_was_killed_goes_on_where_it_stopped(tiny_candidate, tiny_images, tmp_path):
    images = tiny_images(18)
    assert extraction(tiny_candidate, images, tmp_path / "cut", kill_after=3) == []
    assert extraction(tiny_candidate, images, tmp_path / "cut") == [1, 4, 2]
    assert extraction(tiny_candidate, images, tmp_path / "whole") == [1, 4, 4, 4, 4, 2]
    [one], [other] = ((tmp_path / name / "features").glob("*.npy") for name in ("cut", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_an_extraction_that_a_person_must_mend_leaves_nothing(tiny_candidate, tiny_images, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 4)
    interrupted(tiny_candidate, tiny_images(18), tmp_path, 2, UserError("corrupt"), monkeypatch)
    assert list((tmp_path / "features").iterdir()) == []


@pytest.mark.parametrize("damage", ["rows", "marks", "other shape"])
def test_damaged_unfinished_work_is_begun_anew(damage, tiny_candidate, tiny_images, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 4)
    images = tiny_images(18)
    interrupted(tiny_candidate, images, tmp_path, 3, KeyboardInterrupt(), monkeypatch)
    rows, marks = sorted((tmp_path / "features").iterdir())
    match damage:
        case "rows":
            rows.write_bytes(rows.read_bytes()[:50])
        case "marks":
            marks.write_bytes(b"\1")
        case "other shape":
            np.save(tmp_path / "x.npy", np.zeros((18, 3), np.float32))
            (tmp_path / "x.npy").rename(rows)
    sizes = count_batches(monkeypatch)
    extract(tiny_candidate, images, tmp_path, HERE, 0)
    assert sizes == [1, 4, 4, 4, 4, 2]


def test_while_another_program_works_on_the_same_features_this_one_works_alone(
    tiny_candidate, tiny_images, tmp_path, monkeypatch
):
    monkeypatch.setattr(features, "BATCH", 4)
    images = tiny_images(18)
    interrupted(tiny_candidate, images, tmp_path, 3, KeyboardInterrupt(), monkeypatch)
    held = (
        "import fcntl, sys, zlib\n"
        "file = open(sys.argv[1], 'a')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX, 1, zlib.crc32(sys.argv[2].encode()))\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    rows, marks = sorted((tmp_path / "features").iterdir())
    command = [
        sys.executable,
        "-c",
        held,
        str(tmp_path / ".features.lock"),
        rows.name.removeprefix(".").removesuffix(".part"),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        sizes = count_batches(monkeypatch)
        extract(tiny_candidate, images, tmp_path, HERE, 0)
        assert sizes == [1, 4, 4, 4, 4, 2]
        assert rows.exists()
        assert marks.exists()
        other.communicate(timeout=60)
