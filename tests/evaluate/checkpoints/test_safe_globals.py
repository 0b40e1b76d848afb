"""Objects that real checkpoints carry beside tensors: made plain or inert, whatever package they come from."""

import argparse
import collections
import datetime
import functools
import logging
import pathlib
import pickle
import sys
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import digest, reading
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load
from transferbench.checkpoints.safe_globals import Inert

CLASSES = {
    "omegaconf.dictconfig": ("DictConfig", object),
    "omegaconf.listconfig": ("ListConfig", object),
    "omegaconf.nodes": ("AnyNode", object),
    "omegaconf.base": ("ContainerMetadata", object),
    "yacs.config": ("CfgNode", dict),
    "easydict": ("EasyDict", dict),
    "mmengine.logging.history_buffer": ("HistoryBuffer", object),
    "lightning.fabric.utilities.data": ("AttributeDict", dict),
    "pytorch_lightning.callbacks.model_checkpoint": ("ModelCheckpoint", object),
}
"""As the packages call them; none of them need be installed."""


@contextmanager
def packages() -> Iterator[dict[str, Any]]:
    """The classes by name, importable for as long as a file is written."""
    names = {".".join(path.split(".")[:n]) for path in CLASSES for n in range(1, path.count(".") + 2)}
    kept = {name: sys.modules.pop(name, None) for name in names}
    sys.modules.update({name: ModuleType(name) for name in names})
    made: dict[str, Any] = {}
    for module, (name, base) in CLASSES.items():
        made[name] = type(name, (base,), {"__module__": module})
        setattr(sys.modules[module], name, made[name])
    try:
        yield made
    finally:
        for name, module in kept.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def filled(made: Any, **state: Any) -> Any:
    made.__dict__.update(state)
    return made


def foreign(known: dict[str, Any]) -> dict[str, Any]:
    """What Lightning, OmegaConf, mmengine, yacs and timm leave in a file."""
    node = filled(known["AnyNode"](), _val=0.1, _metadata=filled(known["ContainerMetadata"](), ref_type=typing.Any))
    items = filled(known["ListConfig"](), _content=[node])
    config = filled(known["DictConfig"](), _content={"lr": node, "sizes": items}, _parent=None)
    node._parent = config
    buffer = filled(known["HistoryBuffer"](), _log_history=np.array([1.0, 2.0]), _count_history=np.array([1, 2]))
    buffer._statistics_methods = {"mean": getattr(buffer._log_history, "mean")}  # noqa: B009
    checkpoint = known["ModelCheckpoint"]
    return {
        "hyper_parameters": known["AttributeDict"](lr=0.1, config=config),
        "cfg": known["CfgNode"](MODEL=known["CfgNode"](DEPTH=50)),
        "edict": filled(known["EasyDict"](lr=1), lr=1),
        "message_hub": {"log_scalars": {"train/loss": buffer}, "runtime_info": collections.OrderedDict(epoch=3)},
        "callbacks": {checkpoint: {"best_model_path": "a.ckpt"}},
        "logger": logging.getLogger("train"),
    }


def scheduled(lr: float, step: int) -> float:
    return lr / step


PLAIN: dict[str, tuple[Any, Any]] = {
    "namespace": (argparse.Namespace(lr=np.float64(0.1), a=argparse.Namespace(b=[1])), {"lr": 0.1, "a": {"b": [1]}}),
    "numpy float": (np.float32(0.5), 0.5),
    "numpy int": (np.int64(3), 3),
    "numpy bool": (np.bool_(True), True),
    "ordered": (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "default": (collections.defaultdict(list, {1: [2]}), {1: [2]}),
    "size": (torch.Size([2, 3]), (2, 3)),
    "dtype": (torch.bfloat16, torch.bfloat16),
    "bytes": (b"\x00\xff", b"\x00\xff"),
}
STOOD_IN: dict[str, Any] = {
    "path": pathlib.PurePosixPath("runs/1"),
    "date": datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
    "interval": datetime.timedelta(seconds=3),
    "partial": functools.partial(scheduled, 0.1),
    "function": scheduled,
    "method": collections.OrderedDict(a=1).get,
    "complex": 1 + 2j,
    "deque": collections.deque([1, 2], maxlen=3),
    "chain": collections.ChainMap({"a": 1}),
    "device": torch.device("cpu"),
    "module": torch.nn.Linear(2, 2),
    "dates": np.array(["2024-05-01"], dtype="datetime64[D]"),
}


@pytest.fixture(params=["torch zip", "torch legacy", "pickle"])
def container(request: pytest.FixtureRequest) -> str:
    return request.param


def write(container: str, path: Path, tree: Any) -> Path:
    if container == "pickle":
        path.write_bytes(pickle.dumps(tree, protocol=4))
    else:
        torch.save(tree, path, _use_new_zipfile_serialization=container == "torch zip")
    return path


def network(container: str) -> dict[str, Any]:
    weights = backbones.build(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125}), 1).state_dict()
    return {name: tensor.numpy() if container == "pickle" else tensor for name, tensor in weights.items()}


def test_plain_values_stay_plain(container: str, tmp_path: Path) -> None:
    tree = {name: value for name, (value, _) in PLAIN.items()}
    found = reading.read(write(container, tmp_path / "file.pth", tree))
    assert {name: found.tree[name] for name in PLAIN} == {name: expected for name, (_, expected) in PLAIN.items()}
    assert set(found.inert) <= {"builtins.list", "__builtin__.list"}, "the factory of a defaultdict"


def test_other_objects_are_stood_in_for_and_named(container: str, tmp_path: Path) -> None:
    tree = {**STOOD_IN, "weights": network(container)}
    found = reading.read(write(container, tmp_path / "file.pth", tree))
    for name in STOOD_IN.keys() - {"dates", "function"}:
        assert isinstance(found.tree[name], Inert), name
    assert not isinstance(found.tree["dates"], Tensor | np.ndarray)
    assert load(write(container, tmp_path / "file.pth", tree)).report.matched == len(network(container))


def test_objects_of_packages_that_are_not_here_do_no_harm(container: str, tmp_path: Path) -> None:
    path = tmp_path / "file.ckpt"
    with packages() as known:
        tree = foreign(known)
        tree["cycle"] = tree
        write(container, path, {"epoch": 7, "state_dict": network(container), **tree})
    if container == "pickle":
        with pytest.raises(ModuleNotFoundError):
            pickle.loads(path.read_bytes())
    before = set(sys.modules)
    contents = reading.read(path)
    assert not {name.split(".")[0] for name in set(sys.modules) - before} & {name.split(".")[0] for name in CLASSES}
    assert {f"{module}.{name}" for module, (name, _) in CLASSES.items()} <= set(contents.inert)
    assert isinstance(contents.tree["message_hub"]["log_scalars"]["train/loss"], Inert)
    assert contents.tree["message_hub"]["runtime_info"] == {"epoch": 3}
    assert contents.tree["epoch"] == 7
    plain = {name: torch.as_tensor(tensor) for name, tensor in network(container).items()}
    assert load(path).digest == digest(plain)
    assert inspect(path).others["hyper_parameters"] == "lightning.fabric.utilities.data.AttributeDict"


def test_tensors_in_a_bare_pickle_are_read(tmp_path: Path) -> None:
    weights = network("torch zip")
    (tmp_path / "file.pkl").write_bytes(pickle.dumps({"model": weights}))
    assert load(tmp_path / "file.pkl").digest == digest(weights)
