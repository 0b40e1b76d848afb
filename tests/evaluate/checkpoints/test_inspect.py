"""An inspection says what a load would do, and what else the file holds."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import first_conv_stats
from transferbench.checkpoints import load as loading
from transferbench.checkpoints.inspect import inspect

SMALL = Architecture(family="resnet", arguments={"depth": 10, "width": 0.125})


@pytest.fixture
def moco(tmp_path: Path) -> Path:
    state = {"module.queue": torch.ones(2, 3)}
    for seed, label in enumerate("qk"):
        weights = backbones.build(SMALL, seed).state_dict()
        state |= {f"module.encoder_{label}.{name}": tensor for name, tensor in weights.items()}
    tree = {"epoch": 7, "arch": "resnet10", "state_dict": state, "optimizer": {"state": {}}, "where": Path("here")}
    torch.save(tree, tmp_path / "moco.pth.tar")
    return tmp_path / "moco.pth.tar"


@pytest.mark.parametrize("encoder", [None, "ema"])
def test_an_inspection_agrees_with_the_load(moco: Path, encoder: str | None) -> None:
    found, loaded = inspect(moco, encoder), loading.load(moco, encoder=encoder)
    assert found.digest == loaded.digest
    assert found.report == loaded.report
    assert found.architecture == loaded.card.architecture
    assert found.preprocess == loaded.card.preprocess
    assert found.parameters == sum(p.numel() for p in loaded.backbone.parameters())
    assert found.width == 64


def test_an_inspection_tells_the_networks_and_what_else_there_is(moco: Path) -> None:
    found = inspect(moco)
    assert found.container == "torch zip"
    assert found.format == "moco"
    assert found.encoders == {"online": "state_dict: module.encoder_q.", "ema": "state_dict: module.encoder_k."}
    assert found.architecture_name == "resnet10-w0.125"
    assert found.others["epoch"] == "7"
    assert found.others["optimizer"] == "1 entries"
    assert any("Path" in name for name in found.inert)


def test_an_inspection_does_not_hash_the_file(moco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "sha256", None)
    monkeypatch.setattr("hashlib.file_digest", None)
    inspect(moco)


def trained() -> Tensor:
    """The filters of a small classifier after a hundred steps on scikit-learn's digits."""
    torch.manual_seed(0)
    images, labels = (torch.as_tensor(each) for each in load_digits(return_X_y=True))
    images = (images.float().view(-1, 1, 8, 8) / 16).expand(-1, 3, 8, 8)
    network = nn.Sequential(nn.Conv2d(3, 16, 5), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return network[0].weight.detach()


def test_the_first_convolution_tells_trained_filters_from_random_ones() -> None:
    architecture = Architecture(family="resnet", arguments={"depth": 10, "width": 0.25})

    def found(kernel: Tensor) -> first_conv_stats.FirstConvStats:
        result = first_conv_stats.first({"conv1.weight": kernel}, architecture)
        assert result is not None
        return result

    learned = found(trained())
    fresh = [found(backbones.build(architecture, seed).state_dict()["conv1.weight"]) for seed in range(20)]
    assert learned.correlation > 5 * learned.random_deviation
    assert all(abs(each.correlation) < 4 * each.random_deviation for each in fresh)
    deviation = torch.tensor([each.correlation for each in fresh]).square().mean().sqrt()
    assert 0.6 < deviation / fresh[0].random_deviation < 1.4
    ranks = torch.tensor([each.rank for each in fresh])
    assert abs(ranks.mean() - fresh[0].random_rank) < 0.5
    assert fresh[0].full_rank == 16


def test_ranks_and_correlations_are_those_of_their_definitions() -> None:
    kernel = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    shares = torch.linalg.svdvals(kernel.flatten(1).double()) ** 2
    assert first_conv_stats.effective_rank(kernel) == pytest.approx(
        float(shares.sum() ** 2 / (shares**2).sum()), rel=1e-5
    )
    assert first_conv_stats.effective_rank(torch.ones(5, 2, 3, 4)) == pytest.approx(1)
    assert first_conv_stats.correlation(torch.ones(5, 2, 3, 4)) == pytest.approx(1)
    stripes = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3)
    assert first_conv_stats.correlation(stripes) == pytest.approx(1), "each filter beside itself, never beside another"
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2)[None, None]
    assert first_conv_stats.correlation(board) == pytest.approx(-1)
    assert (
        first_conv_stats.correlation(torch.zeros(5, 2, 3, 4))
        == first_conv_stats.effective_rank(torch.zeros(5, 2, 3, 4))
        == 0
    )


@pytest.mark.parametrize(
    ("family", "arguments", "shape"),
    [
        ("vit", {"dim": 64, "depth": 1, "heads": 1, "patch_size": 8, "image_size": 32}, (64, 3, 8, 8)),
        ("resnet", {"depth": 26, "width": 0.125, "stem": "deep"}, (4, 3, 3, 3)),
        ("vit", {"dim": 64, "depth": 1, "heads": 1, "patch_size": 1, "image_size": 4}, None),
    ],
)
def test_the_first_convolution_is_found_in_every_family(family: str, arguments: dict, shape: tuple | None) -> None:
    network = backbones.build(Architecture(family=family, arguments=arguments))
    found = first_conv_stats.first(dict(network.state_dict()), network.architecture)
    assert (found and found.shape) == shape
