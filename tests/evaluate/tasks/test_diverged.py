"""Features of networks that diverged or collapsed: every task gives numbers or says what is wrong with them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from labeled_shapes import candidate, shapes
from torch import Tensor, nn

from transferbench.checkpoints import Candidate
from transferbench.checkpoints.load import wrap
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.probing.logistic_regression import Problem
from transferbench.runtime import Runtime
from transferbench.tasks import TASKS, Bench, Dataset

KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "nan": lambda x: x * math.nan,
    "inf": lambda x: x / 0,
    "one feature nan": lambda x: torch.where(x == x.amax(1, keepdim=True), math.nan, x),
    "zero": lambda x: x * 0,
    "constant": lambda x: x * 0 + 1e3,
    "one direction": lambda x: x[:, :1].expand(-1, x.shape[1]) + 0,
    "1e19": lambda x: x * 1e19,
    "1e25": lambda x: x * 1e25,
    "1e36": lambda x: x * 1e36,
    "1e-42": lambda x: x * 1e-42,
}
NONE = ("nan", "inf", "one feature nan")
"""Features that no task can make a number of."""
EPOCHS = ("linear", "linear_fast", "linear_small", "linear_sweep", "semi")
FEW: dict[str, dict[str, Any]] = {
    **{name: {"epochs": 1} for name in EPOCHS},
    "linear_sweep": {"epochs": 1, "lrs": (0.1, 10), "weight_decays": (0,)},
    "semi": {"epochs": 1, "percent": 50},
    "semi_logistic": {"percent": 50, "max_iterations": 3},
    "logistic": {"choose_C": (1, 100), "max_iterations": 3},
    "fewshot": {"shots": 2, "others": (), "draws": 1},
    "knn": {"k": 3, "ks": (3,), "metric": "euclidean", "vote": "majority"},
    "spectrum": {},
}
DENSE: dict[str, dict[str, Any]] = {
    "segment_linear": {"iterations": 2, "batch_size": 4, "layer": "layer1"},
    "segment_knn": {"layer": "layer1"},
}


class Odd(nn.Module):
    """A convolution whose pooled outputs are made to what a diverged or collapsed network gives."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.kind = nn.Conv2d(3, 8, 3, 4), kind

    def forward(self, images: Tensor) -> Tensor:
        return KINDS[self.kind](self.convolution(images).mean((2, 3)))


@pytest.fixture(scope="module", params=KINDS)
def diverged(request: pytest.FixtureRequest) -> Candidate:
    return wrap(Odd(request.param), request.param, Preprocess(size=None, crop=16))


@pytest.mark.filterwarnings("ignore::transferbench.features.repeats.RepeatedFeaturesWarning")
@pytest.mark.parametrize("name", FEW)
def test_a_task_gives_numbers_or_a_sentence(
    name: str, diverged: Candidate, tiny_images: Any, cache: Path, tmp_path: Path
):
    task, dataset = TASKS.load(name), Dataset(tiny_images(32), tiny_images(16, split="test"))
    bench = Bench(Runtime(torch.device("cpu")), cache, tmp_path)
    said, scores = "", ()
    try:
        scores = task.run(diverged, dataset, task.Config(**FEW[name]), 0, bench).scores
    except UserError as error:
        said = str(error)
    assert bool(said) != bool(scores)
    assert all(math.isfinite(score.value) for score in scores)
    assert not said or "inite" in said or "The training loss became" in said
    assert bool(said) or diverged.name not in NONE
    assert not said or diverged.name in (*NONE, "1e19", "1e25", "1e36")


@pytest.mark.parametrize("scale", [math.nan, 0.0, 1e30])
@pytest.mark.parametrize("name", DENSE)
def test_a_segmentation_gives_numbers_or_a_sentence(name: str, scale: float, tmp_path: Path):
    task, lost = TASKS.load(name), candidate()
    for weights in lost.backbone.parameters():
        weights.data.mul_(scale)
    bench, data = Bench(Runtime(torch.device("cpu")), tmp_path, tmp_path), Dataset(shapes(6, 0), shapes(2, 1, "test"))
    if scale == 0:
        scores = task.run(lost, data, task.Config(**DENSE[name]), 0, bench).scores
        assert all(math.isfinite(score.value) for score in scores)
    else:
        with pytest.raises(UserError, match=r"not finite|The training loss became"):
            task.run(lost, data, task.Config(**DENSE[name]), 0, bench)


def test_every_task_on_features_is_tried():
    others = {"detect", "linear_svm", "attentive"}
    """Of boxes, of several labels an image and of tokens: they take what extraction gives, which is finite."""
    assert {*FEW, *DENSE} == set(TASKS.names()) - others


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e10, 1e15])
def test_logistic_regression_of_features_that_are_all_the_same(scale: float):
    rows = torch.rand(1, 48, generator=torch.Generator().manual_seed(0)).expand(96, 48).contiguous() * scale
    fit = Problem.of(rows, torch.arange(96) % 3).fit(1.0, 1e-4, 3)
    assert fit.parameters.isfinite().all()
    assert fit.loss <= math.log(3) + 1e-6
