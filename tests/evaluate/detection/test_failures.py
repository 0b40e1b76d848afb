"""What goes wrong while detectors are trained and judged ends in a record with words that a person can act on."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from annotated import annotation, coco
from test_task import QUICK, candidate, record

from transferbench import records
from transferbench.backbones import Architecture, build, complete
from transferbench.detection import by_torchvision
from transferbench.detection.model.detector import Detector
from transferbench.features.extraction import Report
from transferbench.records import Record
from transferbench.run import DatasetCache, Output, run
from transferbench.runtime import start
from transferbench.suite import Job
from transferbench.tasks import Bench, detect

pytest.importorskip("pycocotools")


def failure(data: Path, out: Path, **settings) -> str:
    found = record(f"{data}/", candidate(), out, **settings)
    assert found.status == "failed"
    assert found.error is not None
    return found.error


def test_a_corrupt_image_is_named_whether_it_is_trained_or_tested_on(tmp_path: Path):
    for split in ("train", "val"):
        root = coco(tmp_path / split, [annotation(1, 10, 7)])
        path = root / f"{split}2017" / "000000000010.png"
        path.write_bytes(path.read_bytes()[:60])
        said = failure(root, tmp_path / "out")
        assert said.startswith(f"Cannot decode image '{split}2017/000000000010.png' of {split}/{split}: "), said
        assert said.endswith("Repair or remove the file.")


def test_a_missing_annotation_file_is_named_with_what_is_there(tmp_path: Path):
    root = coco(tmp_path / "mine")
    (root / "annotations" / "instances_train2017.json").unlink()
    found = record(f"{root}/", candidate(), tmp_path / "out")
    assert found.status == "failed"
    assert found.error is not None
    assert "has no annotation file for train; found: annotations/instances_val2017.json" in found.error


def test_a_detector_that_does_not_hold_the_checkpoint_is_never_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A detector built on other layers than the candidate's: what a wrong conversion amounts to."""
    other = Architecture(family="resnet", arguments={"depth": 18, "width": 0.125})
    given = complete(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125}))
    monkeypatch.setattr(by_torchvision, "build", lambda recipe, *rest: Detector(recipe, build(complete(other), seed=0)))
    said = failure(coco(tmp_path / "mine"), tmp_path / "out")
    assert said.startswith("The checkpoint does not fill the detector's ResNet. Missing: layer1.1.bn1.bias")

    def averaging(recipe, *rest) -> Detector:
        detector = Detector(recipe, build(given, seed=0))
        detector.trunk.maxpool = torch.nn.AvgPool2d(3, 2, 1)
        return detector

    monkeypatch.setattr(by_torchvision, "build", averaging)
    assert "maps differ from the backbone's stages" in failure(coco(tmp_path / "mine"), tmp_path / "out")


FULL = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError(FULL)])
def test_too_little_memory_is_told_with_the_settings_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def full(*anything: object) -> None:
        raise error

    monkeypatch.setattr(Detector, "detect", full)
    said = failure(coco(tmp_path / "mine"), tmp_path / "out")
    assert "memory with one test image of 64 pixels" in said
    assert "INPUT.MIN_SIZE_TEST" in said
    monkeypatch.setattr(Detector, "losses", full)
    said = failure(coco(tmp_path / "mine"), tmp_path / "other")
    assert "memory with 4 images per iteration" in said
    assert "detect.batch_size" in said
    assert "INPUT.MIN_SIZE_TRAIN" in said


def test_another_error_stays_the_bug_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*anything: object) -> None:
        raise RuntimeError("shapes")

    monkeypatch.setattr(Detector, "losses", broken)
    assert "Traceback" in failure(coco(tmp_path / "mine"), tmp_path / "out")


@pytest.mark.slow
def test_an_interrupted_job_finds_what_an_uninterrupted_one_does(tmp_path: Path):
    words = f"{QUICK} SOLVER.MAX_ITER 4 SOLVER.WARMUP_ITERS 2 MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.0"
    config = detect.Config.model_validate({"recipe": "micro-r18-c4", "overrides": words})
    job, seen = Job("detect", "detect", "digit-scenes", config, 0, 4), []

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    def kept(out: Path, report: Report) -> list[bytes]:
        bench = Bench(start("cpu"), out / "cache", out / "unfinished", report=report)
        (found,) = run([job], candidate(), bench, DatasetCache(out / "data"), Output(out))
        assert found.status == "ok", found.error
        return [(out / found.artifacts[name].path).read_bytes() for name in ("curve", "detections")]

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "stopped", interrupt)
    again = kept(tmp_path / "stopped", lambda done, total: seen.append(done))
    assert seen[0] > 2
    assert again == kept(tmp_path / "whole", lambda done, total: None)
    assert len(json.loads(again[1])) > 8


def test_what_goes_wrong_while_testing_costs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    words = f"{QUICK} SOLVER.MAX_ITER 1 SOLVER.STEPS () SOLVER.WARMUP_ITERS 0"
    config = detect.Config.model_validate({"recipe": "micro-r18-c4", "overrides": words, "backend": "torchvision"})
    job = Job("detect", "detect", "digit-scenes", config, 0, 4)

    def judged() -> Record:
        bench = Bench(start("cpu"), tmp_path / "cache", tmp_path / "unfinished")
        (found,) = run([job], candidate(), bench, DatasetCache(tmp_path / "data"), Output(tmp_path / "out"))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(detect, "score_results", lambda *anything: 1 / 0)
        assert "ZeroDivisionError" in (judged().error or "")
    write = records.write
    with monkeypatch.context() as patch:
        patch.setattr(Detector, "losses", lambda *anything: pytest.fail("trained again"))
        patch.setattr(records, "write", lambda *anything: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            judged()
        patch.setattr(records, "write", write)
        assert judged().status == "ok"
    assert list((tmp_path / "unfinished").iterdir()) == []
