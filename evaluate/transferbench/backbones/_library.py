"""A library's own network as a backbone: under its own tensor names, its computation untouched."""

import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from transferbench.backbones import Backbone
from transferbench.errors import UserError

SHARED = ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set")
INITIAL = frozenset(
    {
        *("normal_", "uniform_", "erfinv_", "trunc_normal_", "constant_", "fill_", "zero_"),
        *("kaiming_uniform_", "kaiming_normal_", "mul_", "add_", "sub_", "div_", "clamp_"),
    }
)
"""What initial values are made with."""
DEEPEST = 8
"""Mappings and lists inside each other, in the arguments of a network."""
MOST_ARGUMENTS = 2_000
POOLED = "Name another output with --as pooling=mean or --as pooling=token, or hand"
ELSEWHERE = frozenset({"device", "dtype", "device_map"})
"""Arguments that would take a network off the meta device, where it costs no memory to look at it."""
LAYERS = re.compile(r"layers|depth|blocks|stages|repeats")
MOST_LAYERS, LARGEST, MOST_POSITIONS = 512, 1 << 20, 1 << 27
"""Of what a description states, which may be anything: layers, any number, values of a table of positions."""
SIDES, PATCHES, WIDTHS = ("image_size", "img_size"), ("patch_size",), ("hidden_size", "embed_dim", "dim", "width")
LONGEST = 60.0
"""Seconds of the CPU in which every network that is known is built on the meta device, many times over."""


class EndlessError(ValueError):
    """A network that is built on the meta device for longer than any that is known."""


class LibraryBackbone(Backbone):
    """Wraps `network` so that its tensors keep the names that they have in it.

    The parts of the network are this module's own, shared and not copied: a name, a value or a device changes for both.
    Subclasses say how features and maps come out of the network.
    """

    network: nn.Module
    num_prefix_tokens: int = 0
    side: int = 224
    """Of the images that the network is made for, pixels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name in SHARED:
            self.__dict__[name] = network.__dict__[name]
        self.__dict__["network"] = network

    def train(self, mode: bool = True) -> "LibraryBackbone":
        """Training or evaluation mode, of the network itself too: its `forward` may look at its own flag."""
        super().train(mode)
        self.network.training = mode
        return self

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """None are known; subclasses may know some."""
        return {}

    def forward(self, images: Tensor) -> Tensor:
        """Features, `b d`, as the library's network gives them."""
        return require_vectors(self.network(images), len(images), type(self.network).__name__)


def require_vectors(output: Any, count: int, name: str, ways: str = POOLED) -> Tensor:
    """The output as one vector an image; a map `b c h w` is averaged over space.

    Args:
        output: what a network gives.
        count: of images.
        name: of the network.
        ways: how the sentence begins that ends with "it over from Python".

    Raises:
        UserError: when it is neither.
    """
    if isinstance(output, Tensor) and output.ndim == 4:
        output = output.mean((2, 3))
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != count:
        there = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(
            f"{name} gives {there} for {count} image(s). Expected one vector an image: [{count}, width]. {ways} "
            "it over from Python as a module that gives one: transferbench.evaluate(module, ...)."
        )
    return output


def width(backbone: Backbone, side: int, stated: int | None = None) -> int:
    """How many features it gives for square images, told on the meta device; where it does not run there, as stated.

    Raises:
        UserError: when it takes no such images, or neither runs nor says so.
    """
    on_meta = all(tensor.is_meta for tensor in (*backbone.parameters(), *backbone.buffers()))
    if on_meta:
        was_training = backbone.training
        try:
            with torch.no_grad(), in_time():
                return backbone.eval()(torch.empty(1, 3, side, side, device="meta")).shape[1]
        except (UserError, EndlessError):
            raise
        except Exception as error:  # what a network does that the meta device cannot is for nobody to list
            if "meta" not in str(error).lower():
                name, why = type(getattr(backbone, "network", backbone)).__name__, " ".join(str(error).split())[:200]
                raise UserError(f"{name} does not take images as [1, 3, {side}, {side}]: {why}") from None
        finally:
            backbone.train(was_training)
    if stated is None:
        raise UserError(f"{type(backbone).__name__} does not say how many features it gives.")
    return stated


def described(name: str, given: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """A short label of an architecture: its name, what it is given, and the pooling where that is not the library's."""
    pooling = arguments.get("pooling", "library")
    beside = [f"{key}={value}" for key, value in sorted(given.items())]
    return " ".join([name, *beside, *([f"pooling={pooling}"] if pooling != "library" else [])])


def require_plain(arguments: Mapping[str, Any], forbidden: frozenset[str] = frozenset()) -> None:
    """Refuse, with a ValueError, arguments that are not plain values: they may come from a file.

    Texts, numbers, truth values and nothing, and lists and mappings of them; no name in `forbidden`.
    """
    count, waiting = 0, [(0, name, value) for name, value in arguments.items()]
    while waiting:
        depth, name, value = waiting.pop()
        count += 1
        if name in forbidden:
            raise ValueError(
                f"'{name}' is not an argument of a network here: weights are read from the file alone, and where a "
                "network is held is not a file's to say"
            )
        if count > MOST_ARGUMENTS or depth > DEEPEST:
            raise ValueError(f"more than {MOST_ARGUMENTS} values, or nested more than {DEEPEST} deep")
        if isinstance(value, Mapping):
            waiting += [(depth + 1, str(key), each) for key, each in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(depth + 1, name, each) for each in value]
        elif not isinstance(value, str | int | float | bool | None):
            raise ValueError(f"'{name}' is {type(value).__name__}, not a text, a number, true, false or nothing")


def require_bearable(arguments: Mapping[str, Any], beside: frozenset[str] = frozenset(), where: str = "") -> None:
    """Refuse, with a ValueError, sizes that no network has: building it would take all of time or memory.

    In parts of the arguments too; names in `beside` fix no size.
    """
    for name, value in arguments.items():
        most = MOST_LAYERS if LAYERS.search(name) else LARGEST
        for each in [] if name in beside else flat(value):
            if isinstance(each, Mapping):
                require_bearable(each, beside, f"{where}{name}.")
            elif isinstance(each, int | float) and not abs(each) <= most:
                raise ValueError(f"'{where}{name}' is {each:,}, more than {most:,}: no such network is built")
    sides, patches, widths = (_whole(arguments, names) for names in (SIDES, PATCHES, WIDTHS))
    if sides and patches and min(patches) > 0:
        count = (max(sides) // min(patches)) ** 2 * max(widths, default=1)
        if count > MOST_POSITIONS:
            raise ValueError(f"images of {max(sides)} pixels in patches of {min(patches)} need {count:,} positions")


def flat(value: Any) -> list[Any]:
    """What lists in each other hold; a value that is none, alone."""
    return [inner for each in value for inner in flat(each)] if isinstance(value, list | tuple) else [value]


def _whole(arguments: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    return [each for name in names for each in flat(arguments.get(name)) if isinstance(each, int)]


@contextmanager
def in_time() -> Iterator[None]:
    """A block that builds or runs a network on the meta device and ends after `LONGEST` seconds of the CPU.

    Sizes that are each in range may still lead a library through loops of hours. Only the main thread can be told; on
    another device, where values are drawn, and in another thread there is no limit.

    Raises:
        EndlessError: when it took longer.
    """
    is_free = signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_free and is_main and torch.get_default_device().type == "meta"):
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise EndlessError(f"after {LONGEST:g} s it is not built: no network that is known takes so long")

    signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)


class Undrawn(TorchFunctionMode):
    """Building a network on the meta device skips its initial values, of which there are none: most of the time.

    Only in this thread, and only of meta tensors: a network that is built with values has them all.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__name__", "") in INITIAL:
            target = args[0] if args else named.get("tensor")
            if isinstance(target, Tensor) and target.is_meta:
                return target
        return func(*args, **named)
