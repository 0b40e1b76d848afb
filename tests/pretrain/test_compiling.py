"""A network that is compiled trains as it would have; one that cannot be says so and trains all the same."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from decorssl import compiling
from decorssl.loop import Training
from decorssl.recipe import Recipe
from transferbench.backbones import Architecture
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

Images = Callable[..., LabeledImages]
ONE = Runtime(torch.device("cpu"))
VIT = Architecture(family="vit", arguments={"image_size": 16, "patch_size": 8, "dim": 8, "depth": 1, "heads": 1})
"""Traced in a fraction of a ResNet's time; the projector has the batch normalization."""


def trained(recipe: Recipe, images: LabeledImages, mode: compiling.Mode, said: list[str]) -> Training:
    training = Training(recipe, images, ONE, prepare=compiling.prepare(mode, said.append))
    for _ in training.steps():
        pass
    return training


def assert_same(one: Training, other: Training) -> None:
    first, second = one.learner.state_dict(), other.learner.state_dict()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch_size", [None, 4])
def test_a_compiled_run_is_the_run_up_to_rounding(
    micro_batch_size: int | None, recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and differentiated by torch.compile, and run without making machine code, which takes minutes."""
    ran = list[int]()

    def traced(network: Any, mode: str) -> Any:
        def backend(graph: Any, inputs: Any) -> Any:
            ran.append(1)
            return torch._dynamo.backends.debugging.aot_eager(graph, inputs)

        return compiled(network, backend=backend)

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", traced)
    said, changed = list[str](), recipe.model_copy(update={"micro_batch_size": micro_batch_size, "backbone": VIT})
    found = trained(changed, tiny_images(20), "default", said)
    assert ran
    assert len(said) == 1
    assert said[0].startswith("Compiling the network (default)")
    assert_same(found, trained(changed, tiny_images(20), "off", []))


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_where_it_cannot_be_compiled_the_run_is_told_and_is_bit_for_bit_the_other(
    where: str, recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            raise RuntimeError("no compiler\nand more")

    def broken(network: Any, mode: str) -> Any:
        return fail if where == "forward" else lambda views: [Failing.apply(z) for z in network(views)]

    def fail(views: Any) -> Any:
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    said = list[str]()
    found = trained(recipe, tiny_images(20), "default", said)
    assert said[1:] == ["torch.compile failed here, so the network runs uncompiled: no compiler"]
    expected = trained(recipe, tiny_images(20), "off", [])
    for name, tensor in expected.learner.state_dict().items():
        assert torch.equal(found.learner.state_dict()[name], tensor), name


@pytest.mark.parametrize("wrong", [0.5, float("nan")])
def test_machine_code_that_computes_something_else_is_not_used(
    wrong: float, recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda network, mode: lambda views: [z + wrong for z in network(views)])
    said = list[str]()
    found = trained(recipe, tiny_images(20), "default", said)
    assert "so the network runs uncompiled: machine code gives other outputs" in said[1]
    expected = trained(recipe, tiny_images(20), "off", [])
    for name, tensor in expected.learner.state_dict().items():
        assert torch.equal(found.learner.state_dict()[name], tensor), name


def test_too_little_memory_is_not_taken_for_a_missing_compiler(
    recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(views: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda network, mode: full)
    with pytest.raises(torch.OutOfMemoryError):
        trained(recipe, tiny_images(20), "default", [])


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown way to compile 'graphs'"):
        compiling.mode("graphs")


@pytest.mark.slow
def test_machine_code_trains_as_torch_does(
    recipe: Recipe, tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first losses; INTL's iterations enlarge what another order of sums makes of the weights after that."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # torch's own is shared by all kinds of processors
    said, changed = list[str](), recipe.model_copy(update={"backbone": VIT})
    prepared = (compiling.prepare("default", said.append), compiling.prepare("off", [].append))
    compiled, plain = (
        [step.terms["loss"].item() for step in islice(Training(changed, tiny_images(20), ONE, prepare=each).steps(), 2)]
        for each in prepared
    )
    assert len(said) == 1
    assert compiled[0] == pytest.approx(plain[0], rel=1e-5)
    assert compiled[1] == pytest.approx(plain[1], rel=1e-2)
    assert plain[1] != pytest.approx(plain[0], rel=1e-2)
