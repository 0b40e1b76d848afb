"""The W2 uniformity term beside a method's loss."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from decorssl.loop import Training
from decorssl.recipe import read
from decorssl.uniformity import w2
from transferbench import state
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

Images = Callable[..., LabeledImages]
ONE = Runtime(torch.device("cpu"))
TAUGHT = ["method=byol", "settings={predictor_hidden: 16}"]


@pytest.mark.parametrize("method", [["method=vicreg"], TAUGHT])
def test_it_is_added_with_the_epochs_weight_and_logged(
    method: list[str], recipe_file: Path, tiny_images: Images
) -> None:
    """Of the student's embeddings, all views together; the method's own loss of the same embeddings is the rest."""
    changed = [*method, "epochs=2", "uniformity={weight: 4.0, final_weight: 1.0, eps: 0.001}"]
    training = Training(read(recipe_file, changed), tiny_images(16), ONE, way="batched")
    own, loss = [], training.method.loss
    training.method.loss = lambda outputs, context: own.append(loss(outputs, context)) or own[-1]  # type: ignore[method-assign]
    try:
        for step in training.steps():
            weight = [2.5, 1.0][step.epoch]
            assert step.terms["w2"].item() == pytest.approx(w2(step.embeddings, 0.001).item(), rel=1e-6)
            assert step.terms["loss"].item() == pytest.approx(
                own[-1]["loss"].item() + weight * step.terms["w2"].item(), rel=1e-6
            )
            assert step.terms.keys() == {*own[-1], "w2"}
    finally:
        training.method.loss = loss
    assert len(own) == 4


def test_it_makes_embeddings_more_uniform(recipe_file: Path, tiny_images: Images) -> None:
    first, second = (
        Training(read(recipe_file, [*TAUGHT, "epochs=6", *more]), tiny_images(16), ONE, way="batched")
        for more in ([], ["uniformity.weight=2"])
    )
    ends = [[w2(step.embeddings).item() for step in training.steps()][-1] for training in (first, second)]
    assert ends[1] < ends[0] - 0.05


def test_a_run_gone_on_with_ends_as_the_unbroken_one(recipe_file: Path, tiny_images: Images, tmp_path: Path) -> None:
    recipe = read(recipe_file, [*TAUGHT, "uniformity={weight: 2.0, final_weight: 0.0}"])
    whole, first, second = (Training(recipe, tiny_images(16), ONE, way="batched") for _ in range(3))
    losses = [step.terms["loss"].item() for step in whole.steps()]
    for step in first.steps():
        if step.index == 3:
            state.save(tmp_path / "state.safetensors", first.state())
            break
    second.restore(state.load(tmp_path / "state.safetensors"))
    assert [step.terms["loss"].item() for step in second.steps()] == losses[3:]
    ends = [training.learner.state_dict() for training in (whole, second)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_weight_has_to_be_named(recipe_file: Path) -> None:
    with pytest.raises(UserError, match=r"uniformity\.weight"):
        read(recipe_file, ["uniformity.eps=0.1"])
