"""An inspection says what a load would do, and what else the file holds."""

from pathlib import Path

import pytest
import torch

from transferbench import backbones
from transferbench.backbones import Architecture
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
