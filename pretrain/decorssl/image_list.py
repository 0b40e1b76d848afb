"""Which images a run trains on, as its folder keeps them: it goes on with the same ones only.

A state holds their number and fingerprint, which decide. `images.tsv.gz` is there to say what changed: a line for each
image, its mark (`LabeledImages.marks`, in hexadecimal; nothing where there is none) and its name.
"""

import gzip
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from decorssl.states import Say
from transferbench import state
from transferbench.data import LabeledImages
from transferbench.errors import UserError

FILE = "images.tsv.gz"
SHOWN = 3
"""How many names of a kind a message holds."""
CURE = (
    "Put the same images back (--bad-images N bears with damaged ones), or choose another --out to train on those "
    "that are there now."
)


def write(folder: Path, images: LabeledImages) -> None:
    """Keep the names and marks of a run's images in its folder."""
    lines = "".join(f"{mark}\t{name}\n" for name, mark in _marked(images).items())
    content = lines.encode("utf-8", "surrogateescape")
    state.write(folder / FILE, gzip.compress(content, 6, mtime=0))


def require_same(folder: Path, images: LabeledImages, before: Mapping[str, Any] | None, say: Say) -> None:
    """Refuse other images than those that a state was reached with.

    Args:
        before: the number and fingerprint that the state holds; None of a state that earlier versions saved, for which
            `say` is told that nothing is known.

    Raises:
        UserError: with what changed, by name where the folder's list is whole.
    """
    if before is None:
        say(
            f"{folder} does not say which images it was trained on so far, as an earlier version saved it: it goes on "
            f"with the {len(images)} of {images.info.name}, and is only the same run if they were these."
        )
        return
    if before["fingerprint"] == images.fingerprint:
        return
    what = "\n".join(f"  {line}" for line in _differences(_kept(folder), _marked(images)))
    raise UserError(
        f"{folder} was trained on {before['images']} images, and {images.info.name} is not the same now "
        f"({len(images)} images), so it cannot be resumed:\n{what}\n{CURE}"
    )


def noted(folder: Path, images: LabeledImages) -> str:
    """A sentence on how a run's images differ from these by name or mark; empty where they do not, as far as known."""
    before, now = _kept(folder), _marked(images)
    if before is None or before == now:
        return ""
    return f"\nThe images changed too, on which settings may depend: {'; '.join(_differences(before, now))}. {CURE}"


def _marked(images: LabeledImages) -> dict[str, str]:
    """The mark of each image by its name, in their order; a name that repeats another gets a number."""
    marks = [""] * len(images) if images.marks is None else [f"{int(mark):016x}" for mark in images.marks]
    marked: dict[str, str] = {}
    for i, (name, mark) in enumerate(zip(images.names, marks, strict=True)):
        plain = name.replace("\n", "\\n")
        marked[f"{plain} (image {i})" if plain in marked else plain] = mark
    return marked


def _kept(folder: Path) -> dict[str, str] | None:
    """What `write` wrote; None where it is gone or damaged."""
    try:
        text = gzip.decompress((folder / FILE).read_bytes()).decode("utf-8", "surrogateescape")
        pairs = [line.split("\t", 1) for line in text.removesuffix("\n").split("\n")]
        return {name: mark for mark, name in pairs}
    except (OSError, EOFError, ValueError, zlib.error):
        return None


def _differences(before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    if before is None:
        return [f"which ones changed is not known: there is no whole {FILE} in the folder"]
    kinds = {
        "removed": [name for name in before if name not in now],
        "added": [name for name in now if name not in before],
        "changed": [name for name, mark in now.items() if before.get(name, mark) != mark],
    }
    told = [f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names]
    if told:
        return told
    is_moved = list(before) != list(now)
    return ["the same names in another order" if is_moved else "the same names, with other contents or labels"]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return f"{', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)}"
