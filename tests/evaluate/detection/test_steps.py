"""Several steps of training, live beside Detectron2's own trainer, and precise statistics beside fvcore's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detection_by_detectron2 import configured, settled, stepped
from detection_cases import CASES, CLASSES, SEED, ours, samples

from transferbench.backbones import build as build_backbone
from transferbench.data import open_split
from transferbench.detection.by_detectron2 import heads
from transferbench.detection.model.detector import build
from transferbench.detection.model.names import to_detectron2
from transferbench.detection.targets.samples import Sample
from transferbench.detection.training import loop, precise_bn
from transferbench.runtime import Runtime

HERE = Runtime(torch.device("cpu"))
STEPS = 3
SOLVER = (
    *("SOLVER.MAX_ITER", "3", "SOLVER.WARMUP_ITERS", "1", "SOLVER.STEPS", "(2,)", "SOLVER.BASE_LR", "0.002"),
    *("SOLVER.IMS_PER_BATCH", "2", "TEST.PRECISE_BN.ENABLED", "False", "SOLVER.WARMUP_FACTOR", "0.5"),
)


@pytest.mark.parametrize("name", list(CASES))
def test_live_after_three_steps_every_weight_is_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("detectron2")
    case = replace(CASES[name], words=(*CASES[name].words, *SOLVER))
    wanted = stepped(case, STEPS)

    def loaded(*anything: object) -> Iterator[list]:
        return iter([samples(case)] * STEPS)

    def generator(self: object, iteration: int) -> torch.Generator:
        return torch.Generator().manual_seed(SEED + iteration)

    monkeypatch.setattr(loop.loader, "loaded", loaded)
    monkeypatch.setattr(loop._Training, "_generators", generator)
    detector = ours(case)
    before = {key: each.clone() for key, each in detector.state_dict().items()}
    ground = loop.Ground(HERE, tmp_path, "steps")
    loop.train(detector, open_split("digit-scenes", "train", tmp_path), case.recipe(), 0, ground)
    names = to_detectron2(before)
    for own, found in detector.state_dict().items():
        if not own.endswith("num_batches_tracked"):
            torch.testing.assert_close(found, wanted[names[own]], rtol=1e-6, atol=1e-7, msg=own)
    learned = [own for own, parameter in detector.named_parameters() if parameter.requires_grad]
    assert learned
    assert all(not torch.equal(detector.state_dict()[own], before[own]) for own in learned)


@pytest.mark.parametrize("name", [name for name in CASES if name != "r18_boxes"])
def test_live_precise_statistics_are_fvcores(name: str):
    pytest.importorskip("detectron2")
    wanted, detector = settled(CASES[name]), ours(CASES[name]).train()
    before = {key: each.clone() for key, each in detector.state_dict().items()}
    seeds = iter(range(SEED, SEED + 2))

    def forward(batch: list[Sample]) -> None:
        detector.losses(batch, torch.Generator().manual_seed(next(seeds)))

    precise_bn.settle(detector, [[each] for each in samples(CASES[name])], forward, HERE)
    names, changed = to_detectron2(before), 0
    for own, found in detector.state_dict().items():
        if not own.endswith("num_batches_tracked"):
            torch.testing.assert_close(found, wanted[names[own]], rtol=1e-5, atol=1e-6, msg=own)
            changed += not torch.equal(found, before[own])
    assert changed == 2 * sum(isinstance(each, torch.nn.BatchNorm2d) for each in detector.modules())


@pytest.mark.parametrize("name", ["r18", "r18_fpn"])
def test_live_new_layers_are_drawn_as_detectron2_draws_them(name: str):
    build_model = pytest.importorskip("detectron2.modeling").build_model
    case = CASES[name]
    heads.register()
    wanted = build_model(configured(case)).state_dict()
    detector = build(case.recipe(), build_backbone(case.architecture), CLASSES)
    names, compared = to_detectron2(detector.state_dict()), 0
    for own, found in detector.state_dict().items():
        if own.startswith(("trunk.", "heads.layer4.")) or own.endswith("num_batches_tracked"):
            continue
        theirs = wanted[names[own]]
        if theirs.min() == theirs.max():
            assert torch.equal(found, theirs), own
        else:
            compared += 1
            chance = found.numel() ** -0.5
            torch.testing.assert_close(found.std(), theirs.std(), rtol=5 * chance, atol=0, msg=own)
            # 3 for a normal distribution, 1.8 for a uniform one
            fourth, other = (((each - each.mean()) / each.std()).pow(4).mean() for each in (found, theirs))
            torch.testing.assert_close(fourth, other, rtol=10 * chance, atol=0, msg=own)
    assert compared >= 6
