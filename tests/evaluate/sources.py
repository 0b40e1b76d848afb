"""Files in their sources' own names, made from a library's network: what tests of sources share."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from transferbench.checkpoints.load import load
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.recognition import recognize
from transferbench.errors import UserError

State = dict[str, Tensor]
CLOSE = 1e-5


def drawn(made: nn.Module) -> nn.Module:
    """The network with values that make every tensor count."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, tensor in (*made.named_parameters(), *made.named_buffers()):
            if not tensor.is_floating_point() or key not in made.state_dict():
                continue
            draw = torch.randn(tensor.shape, generator=generator)
            if key.endswith("running_var"):
                tensor.copy_(draw.abs() + 0.5)
            elif tensor.ndim == 1:
                tensor.copy_(1 + 0.2 * draw if "norm" in key and key.endswith("weight") else 0.3 * draw)
            else:
                tensor.copy_(draw / max(1, tensor[0].numel()) ** 0.5)
    return made.eval()


def network(name: str, **arguments: Any) -> nn.Module:
    """timm's own, with drawn values."""
    return drawn(timm.create_model(name, pretrained=False, num_classes=0, **arguments))


def spelled(state: State, *swaps: tuple[str, str]) -> State:
    """The tensors under other names: each pattern replaced in turn."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, new in swaps:
            name = re.sub(pattern, new, name)
        renamed[name] = tensor
    return renamed


@dataclass(frozen=True)
class Source:
    """A file's content with the network it is of, and what the loader says of it."""

    made: Callable[[], tuple[nn.Module, Any]]
    format: str
    name: str
    side: int = 224


def pair(made: Any, names: Callable[[Any], Any]) -> tuple[nn.Module, Any]:
    return made, names(made)


def own(name: str, **arguments: Any) -> Callable[[], tuple[nn.Module, Any]]:
    return lambda: pair(network(name, **arguments), lambda made: dict(made.state_dict()))


def check_features(source: Source, folder: Path) -> None:
    """The file loads as what it is, with the features of the network it is of."""
    theirs, tree = source.made()
    torch.save(tree, folder / "a.pth")
    candidate = load(folder / "a.pth")
    assert candidate.report.format == source.format
    assert candidate.card.architecture.arguments["name"] == source.name
    images = torch.randn(2, 3, source.side, source.side, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, found = theirs(images), candidate.backbone(images)
    assert expected.std() > 1e-2
    assert (found - expected).abs().max() <= CLOSE * expected.abs().max()


def holder(tree: Any) -> State:
    while not any(isinstance(value, Tensor) for value in tree.values()):
        tree = next(iter(tree.values()))
    return tree


def read(tree: Any) -> Any:
    return recognize(Contents(Path("a.pth"), "torch zip", tree))


def pad(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor[:1]]) if tensor.ndim else tensor[None]


def put(state: State, old: str, new: str) -> None:
    state[new] = state.pop(old)


CHANGES: dict[str, Callable[[State, str], Any]] = {
    "dropped": lambda state, name: state.pop(name),
    "added": lambda state, name: state.update({name + "_mystery": torch.ones(3)}),
    "renamed": lambda state, name: put(state, name, name + "s"),
    "reshaped": lambda state, name: state.update({name: state[name].reshape(1, *state[name].shape)}),
    "padded": lambda state, name: state.update({name: pad(state[name])}),
    "doubled": lambda state, name: state.update({name: torch.cat([torch.atleast_1d(state[name])] * 2, -1)}),
}


def victims(state: State, tree: Any) -> list[str]:
    """Some of the network's own tensors, and one of each kind that this source has and others have not."""
    match = read(tree)
    dropped = {name for names in match.report.dropped.values() for name in names}
    unread = ("bias_mask", "num_batches_tracked")  # by no forward pass
    names = [name for name in state if name not in dropped and not name.endswith(unread)]
    special = [name for name in names if re.search("token|periods|embed|gamma|table|q_bias|norm.weight|ln_post", name)]
    kinds = {re.sub(r"\d+", "", name): name for name in special}
    return [*dict.fromkeys([*names[:: max(1, len(names) // 6)], *kinds.values()])]


def wrongly_loaded(tree: Any, names: Sequence[str] = ()) -> list[str]:
    """The changes of one tensor after which the file still loads; of those called `names`, or of some of all."""
    original = dict(holder(tree))
    loaded: list[str] = []
    for victim in names or victims(original, tree):
        for change, make in CHANGES.items():
            state = holder(tree)
            state.clear()
            state.update(original)
            make(state, victim)
            try:
                read(tree)
            except UserError:
                continue
            loaded.append(f"{victim} {change}")
    return loaded
