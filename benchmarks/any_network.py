"""How many of a library's networks are judged: `python benchmarks/any_network.py timm-shapes|timm-values [COUNT]`.

`timm-shapes`: every architecture of timm on the meta device, its classifier removed, in the index of names and shapes.
`timm-values`: small ones saved with random values and read back; the features are compared with timm's own.
"""

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import timm
import torch

from transferbench.backbones._library import Undrawn
from transferbench.checkpoints import shape_index
from transferbench.checkpoints.load import load
from transferbench.errors import UserError

CLOSE = 1e-5
"""Of the largest feature."""
SMALL = 9_000_000
"""Parameters of the networks that are compared with their values."""


def shapes() -> Counter[str]:
    """Alone, among several that compute otherwise, or not found: by the index alone."""
    index = shape_index.index()
    outcomes: Counter[str] = Counter()
    for each in (entry for entries in index.exact.values() for entry in entries):
        if each.library == "timm":
            groups = list(shape_index.distinct(index.exact[each.exact]))
            outcomes["alone" if len(groups) == 1 else "ambiguous, the right one listed"] += 1
    outcomes["not found"] = len(timm.list_models()) - sum(outcomes.values())
    return outcomes


def small(count: int) -> list[str]:
    """Names of small architectures, spread over all that there are."""
    with Undrawn():
        names = [name for name in timm.list_models() if _parameters(name) <= SMALL]
    step = len(names) / min(count, len(names))
    return [names[int(at * step)] for at in range(min(count, len(names)))]


def _parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(each.numel() for each in timm.create_model(name, num_classes=0).parameters())


def values(names: list[str]) -> Counter[str]:
    """Saved with random values and a classifier, read back, and compared."""
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            outcome, detail = _read_back(name, Path(folder) / "network.pth")
            outcomes[outcome] += 1
            print(f"{name:44} {outcome:34} {detail}", flush=True)
    return outcomes


def _read_back(name: str, path: Path) -> tuple[str, str]:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=10)
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point() and key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point() and tensor.ndim <= 1:
            tensor.add_(torch.randn(tensor.shape) * 0.1)
    torch.save(network.state_dict(), path)
    try:
        candidate = load(path)
    except UserError as error:
        listed = f"timm:{name}" in str(error) or any(f"timm:{each}" in str(error) for each in _alike(name))
        return ("refused, the right one listed" if listed else "refused"), str(error)[:160]
    network.reset_classifier(0)
    images = torch.randn(1, 3, *network.default_cfg["input_size"][-2:])
    with torch.no_grad():
        expected, computed = network.eval()(images), candidate.backbone(images)
    off = float((expected - computed).abs().max() / expected.abs().max()) if expected.shape == computed.shape else 9.0
    if off <= CLOSE:
        return "right", candidate.card.architecture.name
    said = any("--as arch=" in line for line in candidate.report.assumed)
    return ("another one, said" if said else "WRONG IN SILENCE"), f"{candidate.card.architecture.name} {off:.1e} off"


def _alike(name: str) -> list[str]:
    """The architectures that share its mark of all that its modules say."""
    index = shape_index.index()
    every = [entry for entries in index.exact.values() for entry in entries]
    mine = next(each for each in every if each.name == name and each.library == "timm")
    return [each.name for each in index.exact[mine.exact] if each.structure == mine.structure]


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    what, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60
    outcomes = shapes() if what == "timm-shapes" else values(small(count))
    total = sum(outcomes.values())
    for outcome, number in outcomes.most_common():
        print(f"{number:5} of {total} ({100 * number / total:5.1f} %) {outcome}")
