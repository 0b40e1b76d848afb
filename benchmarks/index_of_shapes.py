"""Writes the index of names and shapes of a library's architectures: `python benchmarks/index_of_shapes.py timm`.

Every architecture is built on the meta device, without its classifier, and marked (`checkpoints/shape_index.py`). Where
another library's index has the same network, as compared on random weights, it has its mark.
"""

import sys
from dataclasses import replace

import torch

from transferbench import backbones
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
    entries = [same_as_known(library, each) for each in entries]
    (shape_index.FOLDER / f"{library}.txt").write_text(shape_index.written(entries, family.version()))
    print(
        f"{len(entries)} architectures of {library} {family.version()}; left out: {len(left_out)}", *left_out, sep="\n"
    )


def same_as_known(library: str, entry: shape_index.Entry) -> shape_index.Entry:
    """With the mark of parts that another library's network of the same name has, if both compute alike."""
    others = [
        each for path in shape_index.FOLDER.glob("*.txt") for each in shape_index.read(path.stem, path.read_text())[1]
    ]
    same = (each for each in others if each.library != library and (each.name, each.exact) == (entry.name, entry.exact))
    return next((replace(entry, structure=each.structure) for each in same if compute_alike(entry, each)), entry)


def compute_alike(first: shape_index.Entry, second: shape_index.Entry) -> bool:
    """Whether both give the same features of a small image with the same random weights."""
    networks = []
    for each in (first, second):
        family = backbones.FAMILIES.load(each.library)
        networks.append(family.network(family.Arguments(name=each.name)).eval())
    draw = torch.Generator().manual_seed(0)
    state = {
        name: torch.rand(tensor.shape, generator=draw) + 0.5
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight"))
        else 0.05 * torch.randn(tensor.shape, generator=draw)
        for name, tensor in networks[0].state_dict().items()
        if tensor.is_floating_point()
    }
    images = torch.randn(1, 3, 64, 64, generator=draw)
    with torch.no_grad():
        for network in networks:
            network.load_state_dict(state, strict=False)
        found, expected = (network(images).flatten(1) for network in networks)
    return found.shape == expected.shape and float((found - expected).abs().max() / expected.abs().max()) <= 1e-5


if __name__ == "__main__":
    backbones.FAMILIES.load(sys.argv[1]).names()
    main(sys.argv[1], sys.argv[2:])
