"""Which of a library's architectures have tensors of given names and shapes: an index of all of them.

Names and shapes do not determine a network: `resnetaa50` has those of `resnet50` and computes other features. So each
line of the index holds three marks of one architecture built without its classifier: of its names and shapes, of its
names and shapes but for what the size of the images decides, and of all else that its modules say of themselves.
Architectures that share the first mark are told apart by a file only where they share the third too.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from transferbench.backbones import COUNTER, Shapes

FOLDER = Path(__file__).with_name("shapes")
SIZED = re.compile(
    r"(?:.*\.)?(?:\w*pos_embed\w*|pos_embedding|positional_embedding|relative_position_\w+|rel_pos\w*|attention_biases)"
)
"""Names of tensors whose shapes follow the size of the images."""
PASSING = frozenset({"p", "drop_prob", "training", "inplace", "dump_patches", "call_super_init", "num_classes"})
"""Attributes of modules that change nothing in evaluation."""
_SIZE = 8


@dataclass(frozen=True)
class Entry:
    """One architecture: its library, its name there, and the marks of names, of all shapes but sized ones, of parts."""

    library: str
    name: str
    exact: str
    loose: str
    structure: str


def marked(shapes: Shapes, is_loose: bool = False) -> str:
    """One mark for a set of names and shapes, whatever their order; step counters do not count."""
    return format(sum(_each(name, shape, is_loose) for name, shape in shapes.items()) % (1 << 64), "016x")


@lru_cache(1 << 17)
def _each(name: str, shape: tuple[int, ...], is_loose: bool) -> int:
    if name.endswith(COUNTER):
        return 0
    sizes = "any" if is_loose and SIZED.fullmatch(name) else ",".join(map(str, shape))
    return int.from_bytes(hashlib.blake2b(f"{name} {sizes}".encode(), digest_size=_SIZE).digest())


def structure(network: nn.Module) -> str:
    """A mark of what the parts of a network are and say of themselves: two that share it compute alike.

    Networks that compute alike may still have different ones; they are then treated as different.
    """
    total = hashlib.sha256()
    for name, module in network.named_modules():
        plain = sorted((key, repr(value)) for key, value in vars(module).items() if _is_plain(key, value))
        beside = sorted((key, list(buffer.shape)) for key, buffer in module._buffers.items() if buffer is not None)
        total.update(f"{name} {type(module).__qualname__} {plain} {beside}\n".encode())
    return total.hexdigest()[: 2 * _SIZE]


def _is_plain(key: str, value: Any) -> bool:
    if key.startswith("_") or key in PASSING or "drop" in key:
        return False
    if isinstance(value, list | tuple):
        return all(isinstance(each, str | int | float | bool | None) for each in value)
    if callable(value):
        return False
    return isinstance(value, str | int | float | bool | None)


def entry(library: str, name: str, network: nn.Module) -> Entry:
    """The line of one architecture, of a network on the meta device."""
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    return Entry(library, name, marked(shapes), marked(shapes, True), structure(network))


def written(entries: Iterable[Entry], version: str) -> str:
    """The text of an index: a line of the version, then one an architecture."""
    lines = (f"{each.name} {each.exact} {each.loose} {each.structure}" for each in entries)
    return "\n".join([version, *lines, ""])


def read(library: str, text: str) -> tuple[str, list[Entry]]:
    """Version and entries of an index's text."""
    version, *lines = text.splitlines()
    return version, [Entry(library, *line.split(" ")) for line in lines]


@cache
def index() -> "Index":
    """The shipped index of all libraries."""
    entries = [each for path in sorted(FOLDER.glob("*.txt")) for each in read(path.stem, path.read_text())[1]]
    return Index.of(entries)


@dataclass(frozen=True)
class Index:
    """Entries by their marks."""

    exact: Mapping[str, tuple[Entry, ...]]
    loose: Mapping[str, tuple[Entry, ...]]

    @staticmethod
    def of(entries: Iterable[Entry]) -> "Index":
        """From entries in any order."""
        exact: dict[str, list[Entry]] = defaultdict(list)
        loose: dict[str, list[Entry]] = defaultdict(list)
        for each in entries:
            exact[each.exact].append(each)
            loose[each.loose].append(each)
        return Index(*({key: tuple(value) for key, value in part.items()} for part in (exact, loose)))

    def fits(self, shapes: Shapes) -> tuple[Entry, ...]:
        """Every architecture that has exactly these names and shapes."""
        return self.exact.get(marked(shapes), ())

    def resized(self, shapes: Shapes) -> tuple[Entry, ...]:
        """Every architecture that has these names and shapes for images of another size."""
        return self.loose.get(marked(shapes, True), ())


def distinct(entries: Iterable[Entry]) -> Iterator[tuple[Entry, ...]]:
    """The entries in groups that compute alike."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for each in entries:
        groups[each.structure].append(each)
    yield from map(tuple, groups.values())
