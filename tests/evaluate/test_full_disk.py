"""A disk that is full or cannot be written to: a sentence, exit code 2, and what was finished is kept."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from PIL import Image

from transferbench import errors, records, state
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.save import save
from transferbench.cli import main
from transferbench.data import LabeledImages
from transferbench.features.extraction import extract
from transferbench.features.resumable_array import ResumableArray
from transferbench.runtime import Runtime

HERE = Runtime(torch.device("cpu"))
Run = Callable[..., tuple[int, str, str]]


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes inside the block; bytecode is not cached, for it would be cut off unseen."""
    before, sys.dont_write_bytecode = (resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode), True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[0][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        sys.dont_write_bytecode = before[1]


@pytest.fixture
def checkpoint(tiny_candidate: Candidate, tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save(path, tiny_candidate.backbone.state_dict(), tiny_candidate.card)
    return path


def test_without_room_for_its_features_an_extraction_does_not_begin(
    tiny_candidate: Candidate, tiny_images: Callable[..., LabeledImages], tmp_path: Path
) -> None:
    with at_most(4000), pytest.raises(OSError, match="too large") as caught:
        extract(tiny_candidate, tiny_images(24), tmp_path, HERE, 0)
    assert str(caught.value.filename).startswith(str(tmp_path / "features"))
    assert list((tmp_path / "features").iterdir()) == []
    assert np.isfinite(extract(tiny_candidate, tiny_images(24), tmp_path, HERE, 0).features).all()


def test_the_room_for_features_is_taken_before_they_are_computed(tmp_path: Path) -> None:
    work = ResumableArray(tmp_path / "x")
    work.prepare((300, 100), 2)
    assert (tmp_path / "x").stat().st_blocks * 512 >= 300 * 100 * 4
    assert np.load(tmp_path / "x").tolist() == np.zeros((300, 100)).tolist()


def test_a_disk_that_fills_while_rows_are_written_is_an_error_and_what_is_done_stays(
    tiny_candidate: Candidate,
    tiny_images: Callable[..., LabeledImages],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("transferbench.features.extraction.BATCH", 8)
    monkeypatch.setattr(os, "posix_fallocate", lambda file, start, size: os.truncate(file, size))
    images, write = tiny_images(24), os.pwrite
    whole = np.array(extract(tiny_candidate, images, tmp_path / "whole", HERE, 0).features)
    rows = []

    def full(file: int, content: bytes, place: int) -> int:
        if len(content) > 100 and rows[3:]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rows.append(place)
        return write(file, content[:1000], place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            extract(tiny_candidate, images, tmp_path / "cut", HERE, 0)
    told: list[tuple[int, int]] = []
    found = extract(
        tiny_candidate, images, tmp_path / "cut", HERE, 0, report=lambda done, total: told.append((done, total))
    )
    assert told == [(16, 24), (24, 24)]
    np.testing.assert_array_equal(found.features, whole)


def test_a_command_without_room_says_so_and_the_next_call_does_all_of_it(evaluate: Run, checkpoint: Path) -> None:
    for split in ("train", "val"):
        for i in range(4):
            Path("imgs", split, str(i % 2)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 60 * i, np.uint8)).save(f"imgs/{split}/{i % 2}/{i}.png")
    words = (
        "knn",
        checkpoint,
        "--data",
        "./imgs",
        "--no-control",
        "--workers",
        0,
        "--device",
        "cpu",
        "--set",
        "knn.k=1",
    )
    with at_most(500):
        code, _, err = evaluate(*words, "--cache", "kept")
    assert code == 2
    assert "File too large" in err
    assert "Free some space or choose another folder" in err
    assert "Traceback" not in err
    assert not list(Path("results/records").glob("*.json"))
    code, _, err = evaluate(*words, "--cache", "kept")
    assert code == 0, err


@pytest.mark.parametrize(("option", "place"), [("--out", "file"), ("--out", "link"), ("--cache", "file/below")])
def test_a_folder_that_cannot_be_one_is_refused_before_anything_runs(
    option: str, place: str, evaluate: Run, checkpoint: Path
) -> None:
    Path("file").touch()
    Path("link").symlink_to("nowhere")
    code, out, err = evaluate("knn", checkpoint, option, place, "--device", "cpu")
    assert (code, out) == (2, ""), err
    assert f"is not a folder. Choose another {option}." in err


def test_a_store_whose_records_cannot_be_written_is_refused_too(evaluate: Run, checkpoint: Path) -> None:
    Path("results").mkdir()
    Path("results", records.RECORDS).touch()
    code, _, err = evaluate("knn", checkpoint, "--device", "cpu")
    assert code == 2
    assert "results/records is not a folder" in err
    assert evaluate("table", "--out", "results/records/x")[0] == 2


def test_what_a_disk_answers_is_told_and_what_only_a_bug_can_be_is_a_traceback(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "new" / "file"))
    assert "No space left on device" in errors.error_text(full)
    assert "MiB are free there" in errors.error_text(full)
    assert not errors.is_bug(errors.error_text(full))
    read_only = OSError(errno.EROFS, os.strerror(errno.EROFS), "cache")
    assert errors.error_text(read_only).startswith("Cannot use cache: Read-only file system.")
    for bug in (FileNotFoundError(errno.ENOENT, "gone", "x"), OSError("no number")):
        with pytest.raises(OSError, match=r"gone|number") as caught:
            raise bug
        assert errors.is_bug(errors.error_text(caught.value))


def test_an_error_of_an_open_file_names_it(tmp_path: Path) -> None:
    with at_most(10), pytest.raises(OSError, match="too large") as caught:
        state.write(tmp_path / "record.json", b"x" * 100)
    assert caught.value.filename == str(tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", ["16k", "64k", "256k"])
def test_a_small_disk_ends_a_command_with_a_sentence(size: str, checkpoint: Path, tmp_path: Path) -> None:
    """16k has no room for the features, 64k and 256k run out later or not at all; none may kill the process."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        words = ("all", checkpoint, "--no-control", "--limit", 200, "--workers", 0, "--device", "cpu")
        for place in (
            ("--out", small / "o", "--cache", small / "c"),
            ("--out", tmp_path / "o", "--cache", small / "d"),
        ):
            done = forked.command(main, *words, *place, cwd=tmp_path).finish()
            assert done.returncode in (0, 2), done.stderr
            assert done.returncode == 0 or "No space left on device" in done.stderr
            assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)
    done = forked.command(main, *words, "--out", tmp_path / "o", "--cache", tmp_path / "c", cwd=tmp_path).finish()
    assert done.returncode == 0, done.stderr
