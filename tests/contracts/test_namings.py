"""Every naming scheme spells every network it knows and reads it back; a new file in naming/ is found by itself."""

import pytest
import torch

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints.naming import SCHEMES, Naming, Weights
from transferbench.checkpoints.networks import Network
from transferbench.checkpoints.states import StateDict

NARROW, FLAT = {"width": 0.125}, {"dim": 64, "heads": 1, "image_size": 32}
"""Names do not depend on sizes."""
ARCHITECTURES = {
    "ResNet": [("resnet", {"depth": 18, **NARROW}), ("resnet", {"depth": 50, **NARROW})],
    "deep stem": [("resnet", {"depth": 50, "stem": "deep", "avg_down": True, **NARROW})],
    "ViT": [("vit", {"depth": 12, **FLAT})],
    "DINOv2": [("vit", {"depth": 2, "layer_scale": True, **FLAT})],
    "SwiGLU": [("vit", {"depth": 2, "layer_scale": True, "mlp": "swiglu", **FLAT})],
    "Swin": [("swin", {"depths": (2, 2, 2, 2), "dim": 32, "heads": (1, 2, 4, 8)})],
    "CAPI": [("capi", {"dim": 16, "heads": 2, "depth": 2, "hidden": 32, "registers": 4})],
    "Sequential": [("resnet", {"depth": 18, **NARROW}), ("resnet", {"depth": 50, "stem": "cifar", **NARROW})],
}
SPELLED = [
    pytest.param(naming, Architecture(family=family, arguments=arguments), id=f"{naming.name} {arguments}")
    for _, module in SCHEMES.all()
    for naming in module.NAMINGS
    if not naming.library
    for family, arguments in ARCHITECTURES[max((k for k in ARCHITECTURES if k in naming.name), key=naming.name.index)]
]


def spelled(naming: Naming, architecture: Architecture) -> tuple[Weights, Weights]:
    """A network's tensors in canonical names, and as the source writes them."""
    generator = torch.Generator().manual_seed(0)
    canonical = {
        name: torch.rand(shape or (1,), generator=generator).reshape(shape)
        for name, shape in backbones.expected_shapes(architecture).items()
    }
    written: Weights = {}
    for name, tensor in canonical.items():
        names = [spelling.replace("*", "0") for spelling in naming.spell(name)]
        written |= dict(zip(names, tensor.chunk(len(names)) if len(names) > 1 else [tensor], strict=True))
    return canonical, written


@pytest.mark.parametrize(("naming", "architecture"), SPELLED)
def test_what_a_scheme_spells_it_reads_back(naming: Naming, architecture: Architecture) -> None:
    canonical, written = spelled(naming, architecture)
    read = naming.rename(written)
    assert read.keys() == canonical.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in canonical.items())
    assert len(written) == len(canonical) or "transformers" in naming.name


@pytest.mark.parametrize(("naming", "architecture"), SPELLED)
def test_a_scheme_finds_the_prefix_and_drops_no_tensor_of_its_network(
    naming: Naming, architecture: Architecture
) -> None:
    _, written = spelled(naming, architecture)
    state = StateDict((), "", written, {name: name for name in written})
    network = Network("", state, "", naming, 0)
    assert network.weights().keys() == written.keys()
    assert "a.b." in naming.prefixes([f"a.b.{name}" for name in written])
    without_one = [f"a.b.{name}" for name in list(written)[1:]]
    assert "a.b." in naming.prefixes(without_one)


@pytest.mark.parametrize("naming", [n for _, module in SCHEMES.all() for n in module.NAMINGS], ids=lambda n: n.name)
def test_renaming_loses_no_tensor_it_does_not_know(naming: Naming) -> None:
    weights = {f"nobody.knows.{i}": torch.zeros(i) for i in range(3)}
    assert naming.rename(weights) == weights
    assert [naming.spell(name) for name in weights] == [[name] for name in weights]


def test_a_number_that_a_row_cannot_give_belongs_to_another_name() -> None:
    """Half a number, or one below 0: such a tensor keeps its name."""
    naming = Naming("odd and even", (), (("net.{2k-1}.", "bn{k}."), ("stages.{s+1}.", "layer{s}.")))
    weights = {f"{stem}.{i}.weight": torch.zeros(i) for stem in ("net", "stages") for i in range(4)}
    expected = ["net.0", "bn1", "net.2", "bn2", "stages.0", "layer0", "layer1", "layer2"]
    assert list(naming.rename(weights)) == [f"{name}.weight" for name in expected]
