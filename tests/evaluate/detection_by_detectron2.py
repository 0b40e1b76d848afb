"""What Detectron2 itself computes in each case of `detection_cases`; run as a program it writes the golden numbers.

python tests/evaluate/detection_by_detectron2.py tests/evaluate/golden_detection
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detection_cases import CASES, GRADIENTS, SEED, STATISTICS, Case, in_float64, samples, tensor

from transferbench.detection.by_detectron2 import heads
from transferbench.detection.targets.samples import Sample
from transferbench.resources import resource


def numbers(case: Case) -> dict[str, np.ndarray]:
    """Losses, gradients and statistics in training, proposals and detections in testing, by name."""
    from detectron2.utils.events import EventStorage

    model = _model(case)
    inputs = [_input(each) for each in samples(case)]
    found = _tested(model.eval(), inputs)
    torch.manual_seed(SEED)
    with EventStorage(0):
        losses = model.train()(inputs)
    sum(losses.values()).backward()
    found |= {name: loss.detach() for name, loss in losses.items()}
    named = dict(model.named_parameters())
    found |= {
        f"gradient {name}": named[name].grad for name in GRADIENTS if name in named and named[name].grad is not None
    }
    found |= {f"after {name}": tensor for name, tensor in model.state_dict().items() if name in STATISTICS}
    return {name: each.detach().numpy() for name, each in found.items()}


@torch.no_grad()
def _tested(model: Any, inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    images = model.preprocess_image(inputs)
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features)
    maps = [features[name] for name in model.proposal_generator.in_features]
    anchors = model.proposal_generator.anchor_generator(maps)
    found = {"anchors": torch.cat([each.tensor for each in anchors])}
    found |= {f"map {number}": each for number, each in enumerate(maps)}
    for number, (each, result) in enumerate(zip(proposals, model(inputs), strict=True)):
        instances = result["instances"]
        found[f"proposals {number}"] = each.proposal_boxes.tensor
        found[f"boxes {number}"] = instances.pred_boxes.tensor
        found[f"scores {number}"] = instances.scores
        found[f"labels {number}"] = instances.pred_classes
        if instances.has("pred_masks"):
            found[f"masks {number}"] = instances.pred_masks
    return found


def stepped(case: Case, steps: int) -> dict[str, torch.Tensor]:
    """The weights and statistics after Detectron2's own trainer has taken so many steps on the same two images."""
    from detectron2.engine import HookBase, SimpleTrainer, hooks
    from detectron2.solver import build_lr_scheduler, build_optimizer

    class Seed(HookBase):
        def before_step(self) -> None:
            torch.manual_seed(SEED + self.trainer.iter)

    config, model = configured(case), _model(case)
    optimizer = build_optimizer(config, model)
    trainer = SimpleTrainer(model, [[_input(each) for each in samples(case)]] * steps, optimizer)
    trainer.register_hooks([hooks.LRScheduler(scheduler=build_lr_scheduler(config, optimizer)), Seed()])
    trainer.train(0, steps)
    return model.state_dict()


def settled(case: Case) -> dict[str, torch.Tensor]:
    """Weights and statistics after fvcore's precise statistics of two batches, each of one of the images."""
    from detectron2.utils.events import EventStorage
    from fvcore.nn.precise_bn import update_bn_stats

    def batches() -> Iterator[list[dict[str, Any]]]:
        for i, sample in enumerate(samples(case)):
            torch.manual_seed(SEED + i)
            yield [_input(sample)]

    model = _model(case).train()
    with EventStorage(0):
        update_bn_stats(model, batches(), len(samples(case)))
    return model.state_dict()


def configured(case: Case) -> Any:
    """What Detectron2 makes of the file and the changes, but for the heads it lacks, which are the backend's."""
    from detectron2.config import get_cfg

    config = get_cfg()
    config.merge_from_file(str(resource("detectron_configs") / f"{case.base}.yaml"))
    config.merge_from_list([*case.words_given, "MODEL.DEVICE", "cpu"])
    config.MODEL.ROI_HEADS.NAME = heads.name_for(config.MODEL.ROI_HEADS.NAME)
    return config


def _model(case: Case) -> Any:
    from detectron2.modeling import build_model

    heads.register()
    model = build_model(configured(case))
    model.load_state_dict({name: tensor(name, tuple(old.shape)) for name, old in model.state_dict().items()})
    return model


def _input(sample: Sample) -> dict[str, Any]:
    from detectron2.structures import Boxes, Instances, PolygonMasks

    assert sample.objects is not None
    height, width = sample.pixels.shape[1:]
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(sample.objects.boxes)
    instances.gt_classes = sample.objects.labels
    instances.gt_masks = PolygonMasks(sample.objects.polygons)
    return {"image": sample.pixels, "height": sample.size[0], "width": sample.size[1], "instances": instances}


def shortened(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is worth keeping in a file: 64 numbers and the size of gradients and maps, of masks the bits."""
    kept: dict[str, np.ndarray] = {}
    for name, array in found.items():
        if name.startswith(("gradient", "map")):
            kept[name] = array.reshape(-1)[np.linspace(0, array.size - 1, 64).astype(int)]
            kept[f"size of {name}"] = np.linalg.norm(array.astype(np.float64))
        elif name.startswith("masks"):
            kept[name], kept[f"shape of {name}"] = np.packbits(array), np.array(array.shape)
        else:
            kept[name] = array.astype(np.float32) if name == "anchors" else array
    return kept


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name, case in CASES.items():
        with in_float64():
            found = numbers(case)
        np.savez_compressed(folder / f"{name}.npz", **shortened(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
