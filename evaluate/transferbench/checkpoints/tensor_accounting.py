"""Every tensor of a state dict accounted for: part of the network, left out for a reason, or unexplained."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from transferbench.checkpoints import unused_tensors
from transferbench.checkpoints.naming import Weights
from transferbench.checkpoints.networks import Network, distinct


@dataclass(frozen=True)
class TensorAccount:
    """The network's own tensors in the source's names, the names left out by reason, and those nothing explains."""

    kept: Weights
    dropped: dict[str, list[str]]
    unexplained: list[str]


def account(network: Network, networks: list[Network]) -> TensorAccount:
    """Account for every tensor of the state dict in which a network lies; names as they stand in the file."""
    whole = [n for n in networks if n.state is network.state and n.misfits == 0 and n.prefix != network.prefix]
    own = network.members
    kept: Weights = {}
    dropped: dict[str, list[str]] = defaultdict(list)
    waiting: list[str] = []
    for name in network.state.tensors:
        why = explain(name, network, whole)
        if why is not None:
            dropped[why].append(network.state.written[name])
        elif network.holds(name) and (own is None or name.removeprefix(network.prefix) in own):
            kept[name.removeprefix(network.prefix)] = network.state.tensors[name]
        else:
            waiting.append(name)
    places = {name: _place(tensor) for name, tensor in network.state.tensors.items()}
    explained = {places[name] for name in places.keys() - set(waiting)} - {(0, ())}
    if others := [network.state.written[name] for name in waiting if places[name] in explained]:
        dropped["another name of a tensor"] += others
    unexplained = [network.state.written[name] for name in waiting if places[name] not in explained]
    return TensorAccount(kept, dict(dropped), unexplained)


def explain(name: str, network: Network, whole: Sequence[Network]) -> str | None:
    """The one reason why a tensor is left out, the first that there is; None for the network's own, and for none.

    Below the network's prefix it is what its source or a word of the name says. Elsewhere it is, in this order: another
    of the `whole` networks of the state dict, the head of a Sequential, what the source writes beside, a word.
    """
    if network.holds(name):
        return network.reason(name.removeprefix(network.prefix))
    owner = next((other for other in whole if other.holds(name)), None)
    if owner is not None:
        is_alias = len(distinct((network, owner))) == 1
        return owner.reason(name.removeprefix(owner.prefix)) or (
            f"network '{network.label}' under another name" if is_alias else f"network '{owner.label}'"
        )
    for head in filter(None, map(_head, [network, *whole])):
        if name.startswith(head):
            is_one_layer = name.removeprefix(head) in {"weight", "bias"}
            return unused_tensors.CLASSIFIER if is_one_layer else unused_tensors.PROJECTOR
    return unused_tensors.beside(network.naming, name)


def _head(network: Network) -> str:
    """Where the head lies when the network is the first of two in a Sequential."""
    is_first = network.prefix.endswith(".0.") or network.prefix == "0."
    return network.prefix.removesuffix("0.") + "1." if is_first else ""


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    return (tensor.data_ptr(), tuple(tensor.shape)) if tensor.numel() else (0, ())
