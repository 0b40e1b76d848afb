"""What works here, and what would mend the rest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferbench import doctor


def versions(monkeypatch: pytest.MonkeyPatch, **installed: str) -> None:
    monkeypatch.setattr("transferbench.runtime.version", lambda name: installed.get(name.replace("-", "_")))


@pytest.mark.parametrize(
    ("installed", "status", "mend"),
    [
        ({}, "missing", "pip install faiss-cpu"),
        ({"faiss_cpu": "1.15"}, "ok", ""),
        ({"faiss_gpu": "1.15"}, "ok", ""),
        ({"faiss_cpu": "1.15", "faiss_gpu": "1.15"}, "conflict", "pip uninstall -y faiss-cpu faiss-gpu"),
    ],
    ids=["none", "cpu", "gpu", "both"],
)
def test_faiss_may_be_there_once(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], status: str, mend: str):
    versions(monkeypatch, **installed)
    check = doctor.faiss()
    assert (check.status, check.is_broken) == (status, False)
    assert check.mend.startswith(mend)


def test_a_torchvision_for_another_torch_is_a_conflict_with_the_pair_to_install(monkeypatch: pytest.MonkeyPatch):
    versions(monkeypatch, torch="2.13.0+cpu", torchvision="0.29.2")
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["numpy", "torch==2.15.0"])
    check = doctor.torch_pair()
    assert (check.status, check.is_broken) == ("conflict", True)
    assert check.mend == "pip install torch==2.15.0 torchvision==0.29.2"


def test_the_pair_that_runs_these_tests_is_sound():
    assert doctor.torch_pair().status == "ok"
    assert doctor.python().status == "ok"


def test_a_missing_package_breaks_only_what_needs_it(monkeypatch: pytest.MonkeyPatch):
    versions(monkeypatch)
    assert not doctor.package("detectron2", "detection", "pip install it").is_broken
    assert doctor.package("timm", "transformers", "pip install timm", is_required=True).is_broken


def test_data_sets_are_found_by_name_and_as_folders(tmp_path: Path):
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            path = tmp_path / "birds" / split / label / "a.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    (tmp_path / "empty").mkdir()
    found = {check.name: check for check in doctor.data(tmp_path)}
    assert found["digits"].status == "ok"
    assert found["birds"].detail == "data set, 2 training images in 2 classes"
    assert found["cifar10"].status == found["empty"].status == "missing"
    assert "download" in found["cifar10"].mend
    assert not any(check.is_broken for check in found.values())


def test_a_cache_that_cannot_be_written_to_is_broken(tmp_path: Path):
    assert doctor.writable(tmp_path / "new").status == "ok"
    (tmp_path / "file").write_text("")
    assert doctor.writable(tmp_path / "file" / "cache").is_broken


def test_the_whole_examination_finds_this_machine_sound(tmp_path: Path):
    checks = doctor.examine(tmp_path, tmp_path / "cache")
    assert [check for check in checks if check.is_broken] == []
    assert {"python", "torch", "device", "bfloat16", "faiss", "detectron2", "digits", "cache"} <= {
        c.name for c in checks
    }
    assert all(check.mend for check in checks if check.status != "ok" and check.name != "empty")
