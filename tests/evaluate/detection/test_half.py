"""`SOLVER.AMP`: products in half precision while training, and steps left out together where gradients overflow."""

from pathlib import Path

import pytest
import torch
from test_training import detector, ground, recipe, scenes

from transferbench.detection.model.detector import Detector
from transferbench.detection.training import loop
from transferbench.runtime import Runtime


def test_half_precision_trains(tmp_path: Path):
    setting = recipe("SOLVER.AMP.ENABLED", "True", "SOLVER.MAX_ITER", "1", "TEST.PRECISE_BN.ENABLED", "False")
    plain = recipe("SOLVER.MAX_ITER", "1", "TEST.PRECISE_BN.ENABLED", "False")
    losses = []
    for each in (setting, plain):
        losses.append(loop.train(detector(each), scenes(), each, 0, ground(tmp_path))[0])
    assert losses[0]["loss_cls"] == pytest.approx(losses[1]["loss_cls"], rel=0.05)
    assert losses[0] != losses[1]


def test_half_precision_ends_with_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Statistics are settled and tests are made in full precision, as by Detectron2."""
    setting, halves, losses = recipe("SOLVER.AMP.ENABLED", "True"), [], Detector.losses

    def noting(self: Detector, *given: object) -> dict[str, torch.Tensor]:
        halves.append(torch.is_autocast_enabled("cpu"))
        return losses(self, *given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Detector, "losses", noting)
    loop.train(detector(setting), scenes(), setting, 0, ground(tmp_path))
    assert halves == [True] * 4 + [False] * 3


class Overflowing(Runtime):
    """One of two processes; the other one's gradients have overflowed."""

    def total(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.inf

    def any(self, flag: bool) -> bool:
        return flag

    def barrier(self) -> None:
        pass


def test_an_overflow_in_one_process_leaves_the_step_out_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scaler = torch.GradScaler("cpu", init_scale=8.0)
    monkeypatch.setattr(torch, "GradScaler", lambda *anything, **more: scaler)
    words = ("SOLVER.MAX_ITER", "1", "TEST.PRECISE_BN.ENABLED", "False", "MODEL.RESNETS.NORM", "FrozenBN")
    setting = recipe(*words, "SOLVER.AMP.ENABLED", "True")
    found = detector(setting)
    before = [parameter.clone() for parameter in found.parameters()]
    two = Overflowing(torch.device("cpu"), rank=0, world_size=2)
    loop.train(found, scenes(), setting, 0, loop.Ground(two, tmp_path, "test"))
    assert all(torch.equal(parameter, old) for parameter, old in zip(found.parameters(), before, strict=True))
    assert scaler.get_scale() == 4.0
