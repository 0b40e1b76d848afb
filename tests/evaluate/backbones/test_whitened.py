"""A backbone with a whitening map behind it: what it computes, and that no file of one loads without it in silence."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.backbones.whitened import BELOW, MATRIX, MEAN, Whitened, WhitenedTokens, behind
from transferbench.checkpoints import Card
from transferbench.checkpoints.convert import convert
from transferbench.checkpoints.load import load
from transferbench.checkpoints.save import save
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.features.prepared import Prepared, is_known
from transferbench.features.spec import FeatureSpec, forward

NETWORKS = {
    "resnet": {"depth": 10, "width": 0.125, "stem": "cifar"},
    "vit": {"image_size": 16, "patch_size": 8, "dim": 24, "depth": 2, "heads": 2},
}


def images() -> Tensor:
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def whitened(family: str) -> Whitened:
    """One whose norms and map are not those that a network begins with."""
    network = backbones.build(Architecture(family=family, arguments=NETWORKS[family]), 3).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        network(images())
    d = network.width
    return behind(network, torch.randn(d, generator=generator), torch.randn(d, d, generator=generator)).eval()


def written(network: Whitened, path: Path) -> Path:
    save(path, network.state_dict(), Card(architecture=network.architecture, preprocess=Preprocess(size=16, crop=16)))
    return path


@pytest.mark.parametrize("family", NETWORKS)
def test_features_are_one_affine_map_of_the_networks(family: str, tmp_path: Path):
    network, x = whitened(family), images()
    with torch.no_grad():
        plain = network.network(x)
        expected = torch.stack([network.output_matrix @ (row - network.output_mean) for row in plain])
        loaded = load(written(network, tmp_path / "backbone.safetensors"))
        for each in (network, loaded.backbone):
            torch.testing.assert_close(each(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(Prepared(network, FeatureSpec())(x), expected, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            assert network(x).dtype == torch.float32
        without = load(tmp_path / "backbone.safetensors", overrides=["whitening=false"])
        assert torch.equal(without.backbone(x), plain)
    assert loaded.card.architecture.name == f"{network.network.architecture.name}-whitened"
    assert without.card.architecture.name == f"{network.network.architecture.name}-unwhitened"
    assert without.digest == loaded.digest
    assert loaded.report.parameters == sum(p.numel() for p in network.network.parameters())
    assert loaded.report.dropped == {}


@pytest.mark.parametrize("family", NETWORKS)
def test_what_lies_in_front_of_the_output_is_the_networks(family: str):
    network, x = whitened(family), images()
    assert isinstance(network, WhitenedTokens) == (family == "vit")
    for settings in ({"layer": "last"}, {"layer": "last:2", "pooling": "max"}):
        spec = FeatureSpec(**settings)
        with torch.no_grad():
            assert torch.equal(forward(network, x, spec), forward(network.network, x, spec))
    if family == "vit":
        spec = FeatureSpec(layer="last", pooling="token")
        with torch.no_grad():
            assert torch.equal(forward(network, x, spec), forward(network.network, x, spec))


def test_code_of_a_persons_own_is_not_copied_for_lying_in_front_of_a_map():
    network = whitened("resnet")
    assert is_known(network)
    network.network.architecture = Architecture(family="python", arguments={"name": "nets.py:build"})
    assert not is_known(network)


def test_its_tensors_follow_from_its_arguments():
    network = whitened("vit")
    assert backbones.expected_shapes(network.architecture) == backbones.shapes(network.state_dict())
    assert backbones.width(network.architecture) == 24
    assert backbones.side(network.architecture) == 16
    built = backbones.build(network.architecture, 5)
    plain = backbones.build(network.network.architecture, 5)
    assert all(torch.equal(value, built.state_dict()[BELOW + name]) for name, value in plain.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(built.eval()(images()), plain.eval()(images()))


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("written_as", ["{}", "module.{}", "backbone.{}", "without network."])
def test_without_its_card_a_file_is_refused_and_not_read_without_the_map(family: str, written_as: str, tmp_path: Path):
    state = whitened(family).state_dict()
    if written_as == "without network.":
        state = {name.removeprefix(BELOW): tensor for name, tensor in state.items()}
    else:
        state = {written_as.format(name): tensor for name, tensor in state.items()}
    torch.save({"state_dict": state}, tmp_path / "stripped.pth")
    with pytest.raises(UserError, match=rf"(?s)is refused.*{MEAN}.*{MATRIX}"):
        load(tmp_path / "stripped.pth")


def test_no_name_of_it_is_one_that_other_code_looks_for():
    """A plain ResNet that is not strict about names takes nothing of it."""
    network = whitened("resnet")
    plain = backbones.build(network.network.architecture)
    missing, unexpected = plain.load_state_dict(network.state_dict(), strict=False)
    assert set(missing) == {name for name in plain.state_dict() if not name.endswith(backbones.COUNTER)}
    assert len(unexpected) == len(network.state_dict())


def test_another_library_has_no_such_network(tmp_path: Path):
    path = written(whitened("resnet"), tmp_path / "backbone.safetensors")
    with pytest.raises(UserError, match=r"torchvision has no network that computes resnet10-w0\.125-cifar-whitened"):
        convert(path, tmp_path / "out.pth", "torchvision")
    again = convert(path, tmp_path / "again.safetensors", "transferbench")
    assert load(again.path).digest == load(path).digest


def test_a_map_behind_a_map_is_refused():
    inner = whitened("resnet").architecture
    with pytest.raises(UserError, match="one map behind it and not two"):
        backbones.complete(Architecture(family="whitened", arguments={"network": inner.model_dump(mode="json")}))


def test_a_damaged_map_is_noticed(tmp_path: Path):
    network = whitened("resnet")
    path = written(network, tmp_path / "backbone.safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged"):
        load(path)
