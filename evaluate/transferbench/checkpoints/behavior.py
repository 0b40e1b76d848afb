"""What a live module computes, told from its outputs on fixed images. Which and why: docs/protocols.md#live-modules."""

import copy
import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from transferbench.backbones import Backbone
from transferbench.errors import UserError
from transferbench.runtime import seeded

DIGITS = 6
"""How many digits of a number count where it was computed in float64."""
FEW_DIGITS = 4
"""How many count where it could not be."""
EXACT = 5e-5
"""How far, relative to the largest feature, the module's own precision is from float64 where that is float32."""
REPEATED = {True: 1e-6, False: 1e-4}
"""How far apart two passes may be, relative to the largest feature, on a CPU and elsewhere."""
SEPARATE = 1e-2
"""How far apart an image's features may be alone and among others: half precision rounds otherwise."""
WEIGHTS = np.random.default_rng(1).uniform(-1, 1, 1021)


@dataclass(frozen=True)
class Behavior:
    """What a module did with the fixed images.

    Attributes:
        width: how many features it gives.
        mark: sha256 of the rounded outputs of the module and of its parts.
        is_repeatable: whether two passes gave the same and drew no random number.
        is_portable: whether the outputs were had in float64, so that processors agree on the mark.
        is_separate: whether an image has the same features alone and among others.
    """

    width: int
    mark: str
    is_repeatable: bool
    is_portable: bool
    is_separate: bool = True

    @property
    def notes(self) -> list[str]:
        """What a reader of its results has to know."""
        told = {
            "two passes over the same images differ, or draw random numbers: no feature is kept for another call, and "
            "no result of this one is taken up again": self.is_repeatable,
            "it does not compute in float64 throughout, or not the same in float32: another kind of processor may "
            "count it as another model": self.is_portable,
            "the features of an image depend on the others beside it, and so do all numbers: batch norm without "
            "running statistics, or a module that mixes images": self.is_separate,
        }
        return [text for text, is_well in told.items() if not is_well]


@dataclass(frozen=True)
class _Pass:
    """The features, and for each output on the way its shape and a weighted sum."""

    features: Float[Tensor, "b d"]
    numbers: list[tuple[str, float]]
    is_double: bool
    is_random: bool

    def text(self, digits: int) -> str:
        """All of it, rounded."""
        return "".join(f"{shape} {number + 0.0:.{digits - 1}e}\n" for shape, number in self.numbers)

    def differs(self, other: "_Pass") -> float:
        """The largest difference between the features of two passes, relative to the largest feature."""
        if self.features.shape != other.features.shape:
            return float("inf")
        first, second = (each.features.nan_to_num(1e30, 1e31, -1e31) for each in (self, other))
        return float((first - second).abs().max() / second.abs().max().clamp(min=1e-300))

    def only(self, count: int) -> "_Pass":
        """With the features of the first `count` images alone."""
        return replace(self, features=self.features[:count])


def observed(network: Backbone, crop: int) -> Behavior:
    """Put the fixed images through copies of a network, in its own precision twice and in float64.

    Raises:
        UserError: when it cannot be run on images, or gives no features.
    """
    with _evaluating(network):
        return _observed(network, fixed_images(crop))


def _observed(network: Backbone, images: Tensor) -> Behavior:
    try:
        alone = _passed(network if any(map(is_lazy, network.parameters())) else _twin(network), images[:1])
        twin = _twin(network)
        first, again = _passed(twin, images), _passed(twin, images, seed=1)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The module cannot be run on images {list(images.shape)}: {type(error).__name__}: {error}. Expected one "
            "from images [batch, 3, h, w] to features; which size it takes is stated by preprocess=Preprocess(...)."
        ) from error
    double, own = _in_double(network, images), _on_cpu(network, images, first)
    is_exact = double is not None and own is not None and own.differs(double) < EXACT
    texts = [] if double is None else [double.text(DIGITS)]
    texts += [] if is_exact else [(own or first).text(FEW_DIGITS)]
    is_repeatable = not first.is_random and again.differs(first) <= REPEATED[_place(network)[0].type == "cpu"]
    return Behavior(
        width=first.features.shape[1],
        mark=hashlib.sha256("own precision\n".join(texts).encode()).hexdigest(),
        is_repeatable=is_repeatable,
        is_separate=not is_repeatable or alone.differs(first.only(1)) <= SEPARATE,
        is_portable=is_exact and double is not None and double.is_double,
    )


def computes_alike(first: Backbone, second: Backbone, crop: int) -> bool:
    """Whether two networks, with their parts, make the same of the fixed images up to rounding."""
    images = fixed_images(crop)
    with _evaluating(first), _evaluating(second):
        one, other = (_passed(_twin(network), images).numbers for network in (first, second))
    return [shape for shape, _ in one] == [shape for shape, _ in other] and np.allclose(
        [number for _, number in one], [number for _, number in other], 1e-4, 1e-6, equal_nan=True
    )


def fixed_images(crop: int) -> Float[Tensor, "3 3 h w"]:
    """Three normalized images that are the same everywhere: noise, patches, and bright ones of little contrast."""
    draw = np.random.default_rng(0)
    noise, faint = draw.uniform(-2.5, 2.5, (2, 3, crop, crop))
    places = np.arange(crop) * 4 // crop
    patches = draw.uniform(-2.5, 2.5, (3, 4, 4))[:, places][:, :, places]
    return torch.from_numpy(np.stack([noise, patches, 1.5 + 0.1 * faint]))


def _passed(network: Backbone, images: Tensor, dtype: torch.dtype | None = None, seed: int = 0) -> _Pass:
    """One pass without gradients, on images in the precision of the parameters where none is stated."""
    device, own = _place(network)
    numbers: list[tuple[str, float]] = []
    precisions: set[torch.dtype] = set()

    def note(found: Any) -> None:
        for each in _tensors(found):
            numbers.append((str(list(each.shape)), _projected(each)))
            precisions.update([each.dtype] if each.is_floating_point() else [])

    hooks = [part.register_forward_hook(lambda part, given, found: note(found)) for part in _parts(network)]
    try:
        with torch.no_grad(), _seeded(seed):
            images = images.to(device, dtype or own)
            before = _random_states()
            features = network(images.clone())
            is_random = _random_states() != before
            note([network.stages(images.clone()), features])
    finally:
        for hook in hooks:
            hook.remove()
    return _Pass(features.detach().cpu().double(), numbers, precisions <= {torch.float64}, is_random)


def _parts(network: nn.Module) -> list[nn.Module]:
    return [part for part in network.modules() if not isinstance(part, torch.jit.ScriptModule)]


def _place(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """The device and the precision of the first parameter."""
    first = next(network.parameters(), torch.zeros(()))
    return first.device, first.dtype if first.is_floating_point() else torch.float32


def _tensors(found: Any) -> Iterator[Tensor]:
    """The tensors in what a part returned, as real numbers."""
    if isinstance(found, Tensor):
        if found.layout == torch.strided:
            plain = found.detach().dequantize() if found.is_quantized else found.detach()
            yield torch.view_as_real(plain) if plain.is_complex() else plain
    elif isinstance(found, dict):
        yield from (tensor for each in found.values() for tensor in _tensors(each))
    elif isinstance(found, list | tuple):
        yield from (tensor for each in found for tensor in _tensors(each))


def _projected(values: Tensor) -> float:
    """The sum of all values, each times a fixed weight that depends on its place."""
    left = values.detach().cpu().double().numpy().ravel()
    while len(left) > 1:
        left = np.pad(left, (0, -len(left) % len(WEIGHTS))).reshape(-1, len(WEIGHTS)) @ WEIGHTS
    return float(left.sum())


def _twin(network: Backbone) -> Backbone:
    """A copy, so that a network which changes itself stays as it is; itself where it cannot be copied."""
    try:
        twin = copy.deepcopy(network)
    except Exception:
        return network
    for name, part in list(twin.named_children()):
        setattr(twin, name, getattr(part, "_orig_mod", part))
    return twin


def _in_double(network: Backbone, images: Tensor) -> _Pass | None:
    """The pass in float64 on the CPU; None where the network does not run there."""
    twin = _twin(network)
    if twin is network:
        return None
    try:
        return _passed(twin.to("cpu").double(), images, torch.float64)
    except Exception:
        return None


def _on_cpu(network: Backbone, images: Tensor, first: _Pass) -> _Pass | None:
    """The pass in the network's own precision on the CPU, where other processors can repeat it."""
    if _place(network)[0].type == "cpu":
        return first
    try:
        return _passed(_twin(network).to("cpu"), images)
    except Exception:
        return None


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode, of the network itself: what was put into a copy of it may call the original."""
    flags = {part: part.training for part in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for part, flag in flags.items():
            part.training = flag


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Global random numbers of torch from `seed`; all global ones are put back afterwards."""
    with seeded(seed):
        kept = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])


def _random_states() -> list[object]:
    """Of torch's, Python's and numpy's global generators."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    states = [state.numpy().tobytes() for state in (torch.get_rng_state(), *gpus)]
    return [*states, random.getstate(), str(np.random.get_state(legacy=False))]
