"""What of the cache goes, by age and by size."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from transferbench import doctor
from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.features import pruning
from transferbench.features.extraction import extract
from transferbench.runtime import Runtime

NOW = 1e9
HERE = Runtime(torch.device("cpu"))


def laid(cache: Path, name: str, size: int, days: float) -> None:
    path = cache / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW, NOW - days * pruning.DAY))


@pytest.fixture
def full_cache(tmp_path: Path) -> Path:
    laid(tmp_path, "features/old.npy", 100, 40)
    laid(tmp_path, "features/old.json", 10, 30)
    laid(tmp_path, "features/.cut.npy1a2b.part", 50, 20)
    laid(tmp_path, "features/.cut.npy1a2b.part.done", 5, 20)
    laid(tmp_path, "neighbours/near.npz", 200, 10)
    laid(tmp_path, "call-x/features/a.npy", 1000, 5)
    laid(tmp_path, "features/new.npy", 400, 0.01)
    laid(tmp_path, "checkpoints/weights.pth", 7, 900)
    return tmp_path


def test_what_is_computed_at_once_is_one_entry_and_the_least_recently_used_is_first(full_cache: Path) -> None:
    found = pruning.entries(full_cache)
    assert [entry.size for entry in found] == [110, 55, 200, 1000, 400]
    assert [path.name for path in found[0].paths] == ["old.json", "old.npy"], "the note goes first"
    assert pruning.total(found) == 1765


@pytest.mark.parametrize(
    ("older", "most", "left"),
    [
        (25.0, None, [55, 200, 1000, 400]),
        (0.0, None, [400]),
        (None, 1500.0, [1000, 400]),
        (None, 0.0, [400]),
        (15.0, 1400.0, [1000, 400]),
        (None, None, [110, 55, 200, 1000, 400]),
    ],
)
def test_pruning_is_by_age_and_by_size_and_leaves_what_is_in_use(
    older: float | None, most: float | None, left: list[int], full_cache: Path
) -> None:
    gone = pruning.prune(full_cache, older, most, NOW)
    assert [entry.size for entry in pruning.entries(full_cache)] == left
    assert len(gone) == 5 - len(left)
    assert (full_cache / "checkpoints" / "weights.pth").exists(), "downloads are not features"


def test_features_that_are_used_again_are_not_the_oldest(
    tiny_candidate: Candidate, tiny_images: Callable[..., LabeledImages], tmp_path: Path
) -> None:
    extract(tiny_candidate, tiny_images(6), tmp_path, HERE, 0)
    for path in (tmp_path / "features").iterdir():
        os.utime(path, (NOW, NOW))
    extract(tiny_candidate, tiny_images(6), tmp_path, HERE, 0)
    assert pruning.entries(tmp_path)[0].used > NOW
    assert pruning.prune(tmp_path, 0.0, 0.0) == []


def test_the_command_and_the_doctor_say_sizes(
    evaluate: Callable[..., tuple[int, str, str]], full_cache: Path, tmp_path: Path
) -> None:
    assert evaluate("cache", "--cache", full_cache) == (0, f"{full_cache}: 5 extracted or searched, 0.0 MiB\n", "")
    for words in (("--prune",), ("--older", 3)):
        code, _, err = evaluate("cache", "--cache", full_cache, *words)
        assert code == 2
        assert "--prune with --older DAYS" in err
    assert evaluate("cache", "--cache", full_cache, "--prune", "--size", "inf")[1].startswith("freed 0.0 MiB: 0 ")
    code, out, _ = evaluate("cache", "--cache", full_cache, "--prune", "--older", 1)
    assert code == 0
    assert out == f"freed 0.0 MiB: 5 extracted or searched\n{full_cache}: 0 extracted or searched, 0.0 MiB\n"
    laid(tmp_path, "out/records/a.json", 3, 0)
    laid(tmp_path, "out/unfinished/b/c", 2**20, 0)
    assert doctor.store(tmp_path / "out").detail.endswith(
        "out: 1 records, 0.0 MiB of artifacts, 1.0 MiB of unfinished work"
    )
    assert doctor.writable(full_cache).detail == f"{full_cache}: 0 extracted or searched, 0.0 MiB"
