"""A classifier that pools the frozen backbone's tokens by attention; many rates at once, held-out images choose."""

import json
from typing import ClassVar

import pydantic

from transferbench.backbones import Backbone, TokenBackbone
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.live import Live
from transferbench.metrics import top_k_hits
from transferbench.optim import UPDATE
from transferbench.probing.attentive_fit import AttentiveProbe, fit
from transferbench.probing.cost import BOTH
from transferbench.records import Score
from transferbench.tasks import Bench, Dataset, JobCost, Outcome, accuracy

VERSION = "1"
FROZEN = True
PRIMARY = "top1"

USUAL_HEADS = 12
"""How many heads are counted with, since a network's width is not known beforehand."""

SHOWN = ("layer", "several", "norm", "tokens", "token_norm", "query", "mlp", "projection", "output_norm")
"""Settings that a label names where they are no preset's."""


class Config(AttentiveProbe):
    """CAPI's head and grid of settings. Presets and their sources: docs/protocols.md#attentive."""

    PRESETS: ClassVar = {
        "capi": {"head_width": 64, "token_norm": "none", "query": "learned", "first_weights": "capi"}
        | {"tokens": "patches", "optimizer": "adamw", "beta2": 0.95, "warmup": 0.1}
        | {"lrs": (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2), "weight_decays": (5e-4, 1e-3, 5e-2)},
        "aim": {"head_width": 128, "token_norm": "batch", "query": "learned", "bias": False, "classifier_bias": False}
        | {"first_weights": "torch", "layer": "last:6", "several": "mean", "norm": False, "tokens": "patches"},
        "vjepa": {"head_width": 64, "token_norm": "layer", "query": "projected", "mlp": True, "first_weights": "vjepa"}
        | {"tokens": "all", "epochs": 20, "batch_size": 1024, "optimizer": "adamw", "beta2": 0.999, "warmup": 0}
        | {"clip": 1, "lrs": (0.00025,), "weight_decays": (0.001,)},
        "cae": {"head_width": 64, "token_norm": "two layer norms", "query": "normed", "projection": True}
        | {"output_norm": "batch", "first_weights": "cae", "tokens": "all", "epochs": 90, "batch_size": 8192}
        | {"optimizer": "sgd", "momentum": 0.9, "warmup": 1 / 9, "lrs": (0.0125,), "weight_decays": (0,)},
        "ep": {"pool": "efficient", "queries": 32, "bias": False, "output_norm": "batch", "first_weights": "torch"}
        | {"norm": False, "tokens": "patches", "epochs": 90, "batch_size": 4096, "optimizer": "lars", "momentum": 0.9}
        | {"trust": 0.001, "warmup": 1 / 9, "lrs": (0.1,), "weight_decays": (0,)},
    }
    SOURCES: ClassVar = {
        "capi": "facebookresearch/capi eval_classification.py",
        "aim": "apple/ml-aim aim-v1/aim/v1/torch/layers.py, models.py: the head and its tokens alone",
        "vjepa": "facebookresearch/jepa src/models/attentive_pooler.py, configs/evals/vitl16_in1k.yaml",
        "cae": "lxtGH/CAE models/modeling_finetune.py, scripts/cae_base_800e.sh",
        "ep": "billpsomas/efficient-probing poolings/ep.py, probe_heads.py, models_vit.py, README",
    }

    @pydantic.model_validator(mode="after")
    def _increases(self) -> "Config":
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale={self.crop_scale} must be two increasing numbers above 0 and at most 1")
        if min(self.lrs) <= 0 or min(self.weight_decays) < 0:
            raise ValueError(f"expected rates above 0 and decays from 0 on, found {self.lrs} and {self.weight_decays}")
        return self


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    name = config.preset()
    kind = f"attentive ({name})" if name else "efficient probe" if config.pool == "efficient" else "attentive"
    usual = {field: Config.model_fields[field].get_default() for field in SHOWN}
    stated = {field: getattr(config, field) for field in SHOWN}
    told = ", ".join(f"{field}={str(value).lower()}" for field, value in stated.items() if value != usual[field])
    return f"{kind} ({told})" if told and not name else kind


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Always: crops, held-out images, first weights and order are drawn."""
    return True


def unfit(candidate: Candidate, dataset: Dataset, config: Config) -> str | None:
    """Why its tokens cannot be had: of networks that are only known to give a vector, a layer has to be named."""
    backbone = candidate.backbone
    inner = backbone.module if isinstance(backbone, Live) else backbone
    has_stages = isinstance(inner, Backbone) and type(inner).stages is not Backbone.stages
    if not config.last or isinstance(backbone, TokenBackbone) or has_stages:
        return None
    return (
        f"layer={config.layer}: which layers of {candidate.name} are its last is not known, as it gives neither tokens "
        "nor stages. Expected the name of a module whose output is tokens or maps: attentive.layer=NAME."
    )


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """A few crops of every training image; each head's queries are multiplied with all tokens twice.

    Counted for tokens that are kept.
    """
    views = min(config.crops, config.epochs) * n_train
    heads = len(config.grid) * (config.queries if config.pool == "efficient" else USUAL_HEADS)
    products = 2 * heads * UPDATE * config.epochs * n_train
    splits = BOTH if len(config.grid) > 1 or not config.crops else ("test",)
    return JobCost(splits, views, products=products, reading=config)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy of the chosen setting, trained anew on all training images; of a single setting, of that.

    `chosen_lr` and `chosen_weight_decay` say what was chosen, the artifact `grid` every setting's accuracy on the
    held-out images, which are seen without augmentation.
    """
    found, test = fit(candidate, dataset, config, seed, bench), dataset.test
    by = "val" if found.table else "last"
    scores = [accuracy("top1", top_k_hits(found.logits, test.labels, 1), by)]
    if found.logits.shape[1] > 5:
        scores.append(accuracy("top5", top_k_hits(found.logits, test.labels, 5), by))
    if found.table:
        for name, value in zip(("chosen_lr", "chosen_weight_decay"), found.chosen, strict=True):
            scores.append(Score(metric=name, value=value, unit="", selected_by="val", n=found.held_out, split="train"))
    table = [{"lr": lr, "weight_decay": decay, "held_out_top1": top1} for (lr, decay), top1 in found.table.items()]
    lines = [json.dumps(line) for line in table]
    shown = {"labels": test.labels, "predictions": found.logits.argmax(1)}
    artifacts = {"grid": bench.keep("grid.jsonl", "".join(f"{line}\n" for line in lines))} if lines else {}
    return Outcome(tuple(scores), artifacts | {"predictions": bench.keep("predictions.npz", shown)})
