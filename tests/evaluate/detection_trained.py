"""A small trained detector, and what Detectron2 finds with its weights; run as a program it makes the golden numbers.

python tests/evaluate/detection_trained.py train tests/evaluate/golden_detection   (with torchvision, about two minutes)
python tests/evaluate/detection_trained.py judge tests/evaluate/golden_detection   (with Detectron2)
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transferbench.backbones import COUNTER, Architecture, complete
from transferbench.backbones import build as build_backbone
from transferbench.data import LabeledImages, open_split
from transferbench.detection import adaptation
from transferbench.detection.model.detector import Detector, build
from transferbench.detection.model.names import to_detectron2
from transferbench.detection.recipe import DetectionRecipe, compatibility
from transferbench.detection.scoring.results import Results
from transferbench.detection.training import loop
from transferbench.runtime import Runtime

NARROW = complete(Architecture(family="resnet", arguments={"depth": 50, "width": 0.0625}))
"""The narrowest ResNet-50; Detectron2 has ResNet-18 in one width only."""
WORDS = (
    *("SOLVER.MAX_ITER", "1500", "SOLVER.STEPS", "(1000,1350)", "SOLVER.WARMUP_ITERS", "20"),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", "32", "MODEL.RPN.POST_NMS_TOPK_TEST", "32"),
)
TESTED = 16
HERE = Runtime(torch.device("cpu"))
NAMES = {"AP": "ap", "AP50": "ap50", "AP75": "ap75", "APs": "ap_small"}
"""Detectron2's names of figures, and ours."""


def recipe() -> DetectionRecipe:
    return adaptation.resolved("micro-r18-c4", [*compatibility.overrides(NARROW), *WORDS], None)


def scenes(split: str = "test", n: int = TESTED) -> LabeledImages:
    return open_split("digit-scenes", split, Path("no-root")).subset(np.arange(n), "the first")


def untrained() -> Detector:
    return build(recipe(), build_backbone(NARROW, seed=3), 3, seed=1)


def ours(folder: Path) -> Detector:
    """Our detector with the kept weights."""
    detector = untrained()
    detector.load_state_dict(kept(folder), strict=False)
    return detector.eval()


def kept(folder: Path) -> dict[str, Tensor]:
    """The weights by our names, without counters; those of layers are kept in 8 bits, and that is what they are."""
    with np.load(folder / "trained.npz") as file:
        scales, parts = iter(file["scales"]), {True: file["layers"], False: file["vectors"]}
    at, found = {True: 0, False: 0}, {}
    for name, old in _floats(untrained().state_dict()).items():
        is_layer = old.ndim > 1
        values = parts[is_layer][at[is_layer] : at[is_layer] + old.numel()].astype(np.float32).reshape(old.shape)
        at[is_layer] += old.numel()
        found[name] = torch.from_numpy(values * next(scales) if is_layer else values)
    return found


def shortened(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """What `kept` reads: all layers' weights one after the other in steps of their scales, and all vectors."""
    values = [each.numpy() for each in _floats(state).values()]
    scales = [np.float32(np.abs(each).max() / 127) for each in values if each.ndim > 1]
    layers = [each for each in values if each.ndim > 1]
    steps = [np.round(each / scale).astype(np.int8).ravel() for each, scale in zip(layers, scales, strict=True)]
    vectors = [each.astype(np.float16) for each in values if each.ndim < 2]
    return {"scales": np.array(scales), "layers": np.concatenate(steps), "vectors": np.concatenate(vectors)}


def _floats(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: each for name, each in state.items() if not name.endswith(COUNTER)}


def theirs(detector: Detector, images: LabeledImages) -> tuple[Results, dict[str, dict[str, float]]]:
    """What Detectron2 finds with our detector's weights, and the precision that its own evaluator gives that."""
    from detectron2.data import build_detection_test_loader
    from detectron2.evaluation import COCOEvaluator, DatasetEvaluators, inference_on_dataset
    from detectron2.modeling import build_model

    from transferbench.detection.by_detectron2 import catalog, configuration, heads
    from transferbench.detection.by_detectron2.predictions import PredictionCollector

    heads.register()
    config = configuration.configured(recipe())
    config.MODEL.DEVICE = "cpu"
    config.DATALOADER.NUM_WORKERS = 0
    config.DATASETS.TEST = (catalog.register(images, True),)
    model = build_model(config)
    names = to_detectron2(detector.state_dict())
    model.load_state_dict({names[own]: each for own, each in detector.state_dict().items()})
    assert images.annotated is not None
    findings = PredictionCollector(images.annotated)
    with tempfile.TemporaryDirectory() as folder:
        judge = COCOEvaluator(config.DATASETS.TEST[0], ("bbox", "segm"), False, folder, use_fast_impl=False)
        loader = build_detection_test_loader(config, config.DATASETS.TEST[0])
        found = inference_on_dataset(model, loader, DatasetEvaluators([findings, judge]))
    kinds = {"box": found["bbox"], "mask": found["segm"]}
    figures = {kind: {NAMES[name]: float(part[name]) for name in NAMES} for kind, part in kinds.items()}
    return findings.everywhere(HERE), figures


def train(folder: Path) -> None:
    detector, images = untrained(), open_split("digit-scenes", "train", Path("no-root"))

    def tell(done: int) -> None:
        if done % 100 == 0:
            print(done, flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        loop.train(detector, images, recipe(), 0, loop.Ground(HERE, Path(scratch), "golden", 0, tell))
    np.savez_compressed(folder / "trained.npz", **shortened(detector.state_dict()))


def judge(folder: Path) -> None:
    found, figures = theirs(ours(folder), scenes())
    text = json.dumps({"figures": figures, "detections": found}, separators=(",", ":"))
    (folder / "trained.json").write_text(text + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"train": train, "judge": judge}[sys.argv[1]](Path(sys.argv[2]))
