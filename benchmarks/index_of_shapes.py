"""Writes the index of names and shapes of a library's architectures: `python benchmarks/index_of_shapes.py timm`.

Every architecture is built on the meta device, without its classifier, and marked (`checkpoints/shape_index.py`).
"""

import sys

import torch

from transferbench import backbones
from transferbench.backbones._library import uninitialized
from transferbench.checkpoints import shape_index


def main(library: str, names: list[str]) -> None:
    family = backbones.FAMILIES.load(library)
    entries, left_out = [], []
    every = names or family.names()
    for at, name in enumerate(every):
        try:
            with torch.device("meta"):
                built = family.network(family.Arguments(name=name))
        except Exception as error:
            left_out.append(f"{name}: {type(error).__name__}: {error}".splitlines()[0][:200])
            continue
        entries.append(shape_index.entry(library, name, built))
        if at % 50 == 49:
            print(f"{at + 1} of {len(every)}", file=sys.stderr, flush=True)
    (shape_index.FOLDER / f"{library}.txt").write_text(shape_index.written(entries, family.version()))
    print(
        f"{len(entries)} architectures of {library} {family.version()}; left out: {len(left_out)}", *left_out, sep="\n"
    )


if __name__ == "__main__":
    backbones.FAMILIES.load(sys.argv[1]).names()
    with uninitialized():
        main(sys.argv[1], sys.argv[2:])
