"""The tasks on small data, in one process or several."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from transferbench.backbones import Architecture, build, complete
from transferbench.checkpoints import Candidate, Card, LoadReport, digest
from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.transforms import Preprocess
from transferbench.features import extraction
from transferbench.runtime import Runtime
from transferbench.tasks import TASKS, Bench, Dataset

SETTINGS = {
    "knn": {"ks": (3, 20), "k": 3},
    "knn-few": {"preset": "wmse5", "per_class": 5},
    "knn-again": {"preset": "dino"},
    "linear": {"epochs": 2, "batch_size": 8, "lr_head": 6.4},
    "linear-lars": {"preset": "simsiam", "epochs": 2, "batch_size": 8, "lr_head": 640},
    "linear_fast": {"epochs": 3, "batch_size": 8, "lr_head": 6.4, "crops": 2},
    "linear_small": {"epochs": 3, "batch_size": 16},
    "linear_sweep": {"epochs": 2, "batch_size": 8, "lrs": (0.3, 30), "weight_decays": (0, 1e-2, 1), "crops": 2},
    "attentive": {"epochs": 2, "batch_size": 8, "lrs": (1e-4, 0.01, 0.1), "weight_decays": (0,), "crops": 1},
    "logistic": {"choose_C": (1e-6, 1.0)},
    "semi_logistic": {"percent": 50},
    "semi": {"epochs": 2, "batch_size": 8, "lr_head": 6.4, "lr_backbone": 0.3, "percent": 50},
    "fewshot": {"shots": 3, "others": (1,), "layer": "layer3"},
    "spectrum": {},
}


def images(n: int, split: str) -> LabeledImages:
    labels = np.arange(n, dtype=np.int64) % 4
    rng = np.random.default_rng([n, split == "train"])
    pixels = (labels[:, None, None, None] * 50 + rng.integers(0, 80, (n, 16, 16, 3))).astype(np.uint8)
    info = DatasetInfo("shades", ("a", "b", "c", "d"), ("train", "test"), 16, "1")
    names = [str(i) for i in range(n)]
    return LabeledImages(info, split, labels, lambda i: Image.fromarray(pixels[i]), names, f"shades {split} {n}")


def tiny() -> Candidate:
    architecture = complete(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125, "stem": "cifar"}))
    backbone = build(architecture, seed=0)
    card = Card(architecture=architecture, preprocess=Preprocess(size=None, crop=16))
    report = LoadReport(format="live", matched=1, parameters=1)
    return Candidate("tiny", backbone, card, digest(backbone.state_dict()), report)


def measure(here: Runtime, folder: Path) -> dict[str, dict[str, list[float]]]:
    """For each task its logits-like artifact and scores, with sets that neither batches nor processes divide."""
    candidate, extraction.BATCH = tiny(), 7
    dataset = Dataset(images(45, "train"), images(19, "test"))
    found = {}
    for name, chosen in SETTINGS.items():
        task = TASKS.load(name.partition("-")[0])
        bench = Bench(here, folder / "cache", folder / name)
        outcome = task.run(candidate, dataset, task.Config(**chosen), 0, bench)
        found[name] = {score.metric: score.value for score in outcome.scores}
        here.barrier()
        if "curve" in outcome.artifacts:
            lines = outcome.artifacts["curve"].read_text().splitlines()
            found[name]["losses"] = [json.loads(line)["loss"] for line in lines]
    return found
