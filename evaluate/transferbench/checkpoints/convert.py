"""A checkpoint in another library's names: exact, and proved by reading it again."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferbench import backbones, state
from transferbench.backbones import COUNTER, Shapes
from transferbench.checkpoints import Card, reading
from transferbench.checkpoints.downloads import opened
from transferbench.checkpoints.load import sha256
from transferbench.checkpoints.naming import Weights, schemes
from transferbench.checkpoints.recognition import Match, recognize
from transferbench.checkpoints.targets import TARGETS, Kind, Target, canonical
from transferbench.errors import UserError

SHOWN = 8


@dataclass(frozen=True)
class Conversion:
    """What was written, the digest it was read back with, and what a person needs to use it."""

    path: Path
    target: str
    architecture: str
    tensors: int
    digest: str
    built: str
    card: Card
    """Of the network that was converted."""
    notes: tuple[str, ...]
    """What the file cannot say of the network, with the option that says it."""
    lines: tuple[str, ...] = ()
    """The Python that builds and loads a network which the target's own code builds only in part; kept in `beside`."""

    @property
    def beside(self) -> Path:
        """Where `lines` are kept."""
        return beside(self.path)


def beside(out: Path) -> Path:
    """The page that lies beside a converted file whose network takes more than the target's own code."""
    return out.with_name(f"{out.name}.md")


def convert(
    file: str | Path, out: Path, target: str, choice: tuple[str | None, Sequence[str]] = (None, ()), force: bool = False
) -> Conversion:
    """Write the network of a checkpoint for another library, weights only, in one step: whole or not at all.

    Args:
        file: a checkpoint of any known container and layout, or a library's name for one (`timm:NAME`).
        out: a file that ends as the target's do, or a folder for targets that take one.
        target: a name of `TARGETS`.
        choice: as for `load`: which network of the file, and `NAME=VALUE` that the file does not tell.
        force: replace what is at `out`.

    Raises:
        UserError: when the file does not load, the target cannot compute the network (naming the property), `out` is
            taken, or what was written does not read back with the same digest.
    """
    library: Target = TARGETS.load(target).TARGET
    _check_place(out, target, library, force)
    located, _, match = opened(file, *choice)
    state.require_other(out / library.inside, located.path)
    architecture = match.card.architecture
    kind, misfits = library.kind(architecture), library.misfits(architecture)
    if misfits or kind is None:
        raise UserError(f"{target} has no network that computes {architecture.name}: {'; '.join(misfits)}.")
    arguments = canonical(architecture)
    weights = spelled(match.weights, kind, kind.shapes(arguments), target)
    card = _signed(match.card, located.path) if library.keeps_card else match.card
    lines = tuple(kind.lines(arguments, out.name))
    if lines:
        _check_page(out, force)
    again = _written(library, out, weights, card, match)
    if lines:
        code = "\n".join(lines)
        text = f"# {out.name}\n\n{architecture.name} for {target}, digest {again.digest}\n\n```python\n{code}\n```\n"
        state.write(beside(out), text)
    notes = tuple(_unsaid(match.card, again.card))
    done = (out, target, architecture.name, len(weights), again.digest, kind.built(arguments))
    return Conversion(*done, match.card, notes, lines)


def spelled(weights: Weights, kind: Kind, expected: Shapes, target: str) -> Weights:
    """The tensors in float32 under the target's names, which are exactly its own network's.

    Raises:
        UserError: when some are not, naming them.
    """
    naming = next((each for each in schemes() if each.name == kind.naming), None)
    has_counters = any(name.endswith(COUNTER) for name in expected)
    renamed: Weights = {}
    for name, tensor in weights.items():
        if name.endswith(COUNTER) and not has_counters:
            continue
        whole = tensor.float() if tensor.is_floating_point() else tensor
        names = naming.spell(name) if naming else [name]
        parts = whole.chunk(len(names)) if len(names) > 1 else [whole]
        renamed |= {each: part.contiguous() for each, part in zip(names, parts, strict=True)}
    shapes = backbones.shapes(renamed)
    differing = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
    if differing or sum(t.numel() for t in renamed.values()) != sum(_kept(weights, has_counters)):
        raise UserError(
            f"The names do not fit {target}'s own network: {', '.join(differing[:SHOWN])}. Nothing written."
        )
    return renamed


def _signed(card: Card, path: Path) -> Card:
    """The card with the hash of the file it is of."""
    return card.model_copy(update={"origin": card.origin.model_copy(update={"source_sha256": sha256(path)})})


def _kept(weights: Weights, has_counters: bool) -> Iterator[int]:
    return (tensor.numel() for name, tensor in weights.items() if has_counters or not name.endswith(COUNTER))


def _check_place(out: Path, target: str, library: Target, force: bool) -> None:
    if library.endings and out.suffix not in library.endings:
        raise UserError(f"{target} reads {' or '.join(library.endings)}; found {out}. Name a file with that ending.")
    if out.exists() and not force:
        raise UserError(f"{out} already exists. Choose another name, or replace it with --force.")
    if out.exists() and out.is_dir() == bool(library.endings):
        raise UserError(f"{out} is a {'folder' if out.is_dir() else 'file'}; {target} wants the other.")
    if library.endings:
        state.require_replaceable(out)


def _check_page(out: Path, force: bool) -> None:
    if beside(out).exists() and not force:
        raise UserError(f"{beside(out)} already exists. Choose another name, or replace it with --force.")
    state.require_replaceable(beside(out))


def _written(target: Target, out: Path, weights: Weights, card: Card, match: Match) -> Match:
    """Write beside `out`, read it again, and only then put it there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        draft = Path(folder) / out.name
        target.write(draft, weights, card)
        again = recognize(reading.read(draft / target.inside))
        if again.digest != match.digest:
            raise UserError(f"{out} was not written: read again, its digest was {again.digest}, not {match.digest}.")
        out.mkdir(exist_ok=True) if draft.is_dir() else None
        for file in draft.iterdir() if draft.is_dir() else [draft]:
            file.replace(out / file.name if draft.is_dir() else out)
    return again


def _unsaid(card: Card, again: Card) -> Iterator[str]:
    """What the file cannot say, as the option that says it."""
    wanted = {**canonical(card.architecture), **card.preprocess.model_dump(mode="json")}
    values = {**canonical(again.architecture), **again.preprocess.model_dump(mode="json")}
    for name, value in wanted.items():
        if values[name] != value:
            yield f"the file does not say {name}: --as {name}={json.dumps(value).strip(chr(34))}"
