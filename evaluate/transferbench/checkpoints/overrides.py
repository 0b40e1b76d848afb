"""What a person says of a file that its tensors do not: `--as heads=12`, `--as stem=small_maxpool`, `--as crop=96`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from transferbench.backbones import FAMILIES, Architecture
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError, nearest
from transferbench.settings import parse_override, read

FORMAT = "format="
ARCH = "arch="
OWN = ("resnet", "vit", "swin", "capi")
"""Families of this package, whose arguments names and shapes tell."""
LIBRARIES = ("timm", "torchvision", "transformers", "open_clip", "python")
"""The families whose networks are a library's, or a person's own."""


@dataclass(frozen=True)
class Said:
    """What a person says of a file: its layout, whose network it is, and arguments that its tensors do not tell."""

    layout: str | None = None
    family: str | None = None
    """One of ours."""
    architecture: Architecture | None = None
    """A library's."""
    arguments: tuple[str, ...] = ()

    def settles(self, architecture: Architecture) -> bool:
        """Whether it leaves no doubt which of several networks of some names and shapes it is."""
        names = (each.partition("=")[0] for each in self.arguments)
        stated = self.layout or self.family or self.architecture
        return stated is not None or any(name in architecture.arguments for name in names)


def said(overrides: Sequence[str]) -> Said:
    """What `format=NAME`, `arch=resnet`, `arch=LIBRARY:NAME` and `NAME=VALUE` say; of what is said twice, the last.

    Raises:
        UserError: for a library that is not known, or a network that it does not have.
    """
    layouts = [each.removeprefix(FORMAT) for each in overrides if each.startswith(FORMAT)]
    names = [each.removeprefix(ARCH) for each in overrides if each.startswith(ARCH)]
    rest = [each for each in overrides if not each.startswith((FORMAT, ARCH))]
    layout, name = (layouts or [None])[-1], (names or [None])[-1]
    if name is None or name in OWN:
        return Said(layout, name, None, tuple(rest))
    architecture, others = _of_library(name, rest)
    return Said(layout, None, architecture, tuple(others))


def _of_library(stated: str, rest: Sequence[str]) -> tuple[Architecture, list[str]]:
    """The architecture `LIBRARY:NAME`, with what is said of its arguments, and what else is said."""
    library, colon, name = stated.partition(":")
    if library not in LIBRARIES or not colon or not name:
        raise UserError(
            f"--as arch={stated}: expected LIBRARY:NAME, for example timm:convnext_tiny, or one of "
            f"{', '.join(OWN)}. Libraries: {', '.join(LIBRARIES)}."
        )
    family = FAMILIES.load(library)
    if library == "python":
        family.allow(name)
    told: dict[str, Any] = {"name": name}
    own = [each for each in rest if parse_override(each)[0][0] in family.Arguments.model_fields]
    for each in own:
        path, value = parse_override(each)
        place = told
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    arguments = read(family.Arguments, told).model_dump(mode="json")
    return Architecture(family=library, arguments=arguments), [each for each in rest if each not in own]


def applied(
    architecture: Architecture, preprocess: Preprocess, overrides: Iterable[str]
) -> tuple[Architecture, Preprocess, list[str]]:
    """Architecture and preprocessing with `NAME=VALUE` applied, and what was changed, in words.

    Raises:
        UserError: for a name that is an argument of neither, with the nearest name, or a value that does not fit.
    """
    network: dict[str, Any] = dict(architecture.arguments)
    images: dict[str, Any] = dict(preprocess)
    for override in overrides:
        if "=" not in override:
            raise UserError(f"--as takes NAME=VALUE, for example heads=12; found '{override}'.")
        path, value = parse_override(override)
        name = ".".join(path)
        place = network if name in network else images if name in images else None
        if place is None:
            names = sorted([*network, *images])
            raise UserError(
                f"--as {override}: no such argument of a {architecture.family} or its "
                f"preprocessing.{'' if path[0] == 'arguments' else nearest(name, names)} Known: {', '.join(names)}."
                + (
                    " What a library's network is given needs its name: --as arch=timm:NAME."
                    if path[0] == "arguments"
                    else ""
                )
            )
        place[name] = value
    arguments = read(FAMILIES.registered(architecture.family).Arguments, network).model_dump(mode="json")
    preprocess_said = read(Preprocess, images)
    before, after = {**architecture.arguments, **dict(preprocess)}, {**arguments, **dict(preprocess_said)}
    said = [f"{name} is {after[name]}, not {value}" for name, value in before.items() if after[name] != value]
    return Architecture(family=architecture.family, arguments=arguments), preprocess_said, said
