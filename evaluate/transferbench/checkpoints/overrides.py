"""What a person says of a file that its tensors do not: `--as heads=12`, `--as stem=small_maxpool`, `--as crop=96`."""

from collections.abc import Iterable, Sequence
from typing import Any

from transferbench.backbones import FAMILIES, Architecture
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError, nearest
from transferbench.settings import parse_override, read

FORMAT = "format="
ARCH = "arch="
OWN = ("resnet", "vit", "swin")
"""Families of this package, whose arguments names and shapes tell."""
LIBRARIES = ("timm", "torchvision", "transformers", "open_clip", "python")
"""The families whose networks are a library's, or a person's own."""


def stated_format(overrides: Sequence[str]) -> tuple[str | None, list[str]]:
    """The layout that `format=NAME` says the file has, the last one if it is said twice, and the other overrides."""
    names = [override.removeprefix(FORMAT) for override in overrides if override.startswith(FORMAT)]
    return (names or [None])[-1], [override for override in overrides if not override.startswith(FORMAT)]


def stated_architecture(overrides: Sequence[str]) -> tuple[Architecture | None, list[str]]:
    """What `arch=LIBRARY:NAME` says the network is, with what is said of its arguments; and the other overrides.

    `arch=resnet` and the like say that it is of a family of ours: then nothing is stated but that.

    Raises:
        UserError: for a library that is not known, or a network that it does not have.
    """
    names = [override.removeprefix(ARCH) for override in overrides if override.startswith(ARCH)]
    rest = [override for override in overrides if not override.startswith(ARCH)]
    if not names or names[-1] in OWN:
        return None, rest
    library, colon, name = names[-1].partition(":")
    if library not in LIBRARIES or not colon or not name:
        raise UserError(
            f"--as arch={names[-1]}: expected LIBRARY:NAME, for example timm:convnext_tiny, or one of "
            f"{', '.join(OWN)}. Libraries: {', '.join(LIBRARIES)}."
        )
    family = FAMILIES.load(library)
    if library == "python":
        family.allow(name)
    said: dict[str, Any] = {"name": name}
    own = [each for each in rest if parse_override(each)[0][0] in family.Arguments.model_fields]
    for each in own:
        path, value = parse_override(each)
        place = said
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    arguments = read(family.Arguments, said).model_dump(mode="json")
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
