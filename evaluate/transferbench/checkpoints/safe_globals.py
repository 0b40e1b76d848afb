"""What the names in a pickle become when nothing may be executed: plain values and inert stand-ins."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}


class Inert:
    """Stands for an object of a class or function that is not allowed: swallows all it is given, does nothing."""

    origin = ""
    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":  # noqa: D102
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.arguments = args

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":  # noqa: D102
        return Inert()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Swallow an item of a list-like object."""

    def add(self, item: Any) -> None:
        """Swallow an item of a set-like object."""


LARGEST_KEY = 1000
"""Parts of a key: Python hashes a tuple part by part, and a few bytes can name one of billions."""


def require_keys(keys: Iterable[Any]) -> None:
    """Refuse keys that take long to hash: tuples of tuples of ...

    Raises:
        ValueError: for such a key.
    """
    for key in keys:
        waiting, count = [key] if isinstance(key, tuple | frozenset) else [], 0
        while waiting:
            parts = waiting.pop()
            count += len(parts)
            if count > LARGEST_KEY:
                raise ValueError(f"a key of more than {LARGEST_KEY} parts")
            waiting += [part for part in parts if isinstance(part, tuple | frozenset)]


class Mapping(dict[Any, Any]):
    """An OrderedDict, Counter, defaultdict or plain dict; attributes such as `_metadata` and factories are left out."""

    def __init__(self, *args: Any) -> None:
        if args and isinstance(args[0], list | tuple):
            require_keys(pair[0] for pair in args[0])
        super().__init__(args[0] if args and isinstance(args[0], dict | list | tuple) else ())

    def __setstate__(self, state: Any) -> None:
        pass


class Fields(dict[Any, Any]):
    """An `argparse.Namespace` as a dict of its attributes."""

    def __init__(self, *args: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.update(state if isinstance(state, dict) else {})


class NumpyType:
    """A numpy dtype by its code and byte order."""

    def __init__(self, code: str, *flags: Any) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def plain(self) -> np.dtype:
        """The dtype, when it is one of numbers.

        Raises:
            ValueError: for dtypes of objects, records and the like.
        """
        said = (self.order, self.code)
        dtype = np.dtype("".join(said) if all(isinstance(each, str) for each in said) else "V")
        if dtype.kind not in "biufc":
            raise ValueError(f"an array of {str(dtype)[:40]}")
        return dtype


class NumpyArray:
    """A numpy array on its way out of a pickle: bytes, shape and dtype, made a tensor by `tensor`."""

    def __init__(self, *args: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @property
    def data(self) -> Any:
        """The bytes."""
        return self.state[4]

    def tensor(self) -> "Tensor | NumpyArray":
        """The array as a tensor of its own memory; the array itself where it does not hold numbers."""
        _, shape, kind, fortran, data = self.state
        try:
            dtype = kind.plain()
        except ValueError:
            return self
        raw = data.encode("latin1") if isinstance(data, str) else data
        array = np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")
        return torch.from_numpy(array.astype(dtype.newbyteorder("="), order="C"))


class Allowed:
    """A function a pickle may call. Without attributes that a pickle could set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:  # noqa: D102
        return self._function(*args)

    @property
    def rebuilds(self) -> bool:
        """Whether it makes a tensor of a storage, in place: nothing is copied."""
        return self._function in (_tensor, _first)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


LARGEST_EXPANDED = 1 << 28
"""Values of a tensor that repeats its storage: a few bytes could otherwise stand for terabytes."""
MOST_AXES = 32


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
    if len(size) > MOST_AXES or not all(isinstance(each, int) and 0 <= each < 1 << 63 for each in size):
        raise ValueError(f"a tensor of {len(size)} axes, or of a size that is none")
    if math.prod(size) > max(storage.numel(), LARGEST_EXPANDED):
        raise ValueError(f"a tensor of {math.prod(size)} values in a storage of {storage.numel()}")
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _size(sizes: Any = ()) -> Any:
    return tuple(sizes) if isinstance(sizes, list | tuple) else Inert()


def _first(value: Any, *rest: Any) -> Any:
    return value


def _from_type(function: Any, kind: Any, args: Any, *rest: Any) -> Any:
    return function(*args) if isinstance(function, Allowed) and function.rebuilds else Inert()


def _scalar(kind: NumpyType, data: Any = b"") -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, kind.plain())[0].item()


def _buffer(data: Any, kind: NumpyType, shape: Any, order: str) -> NumpyArray:
    array = NumpyArray()
    array.__setstate__((1, shape, kind, order == "F", data if isinstance(data, bytes) else memoryview(data).tobytes()))
    return array


def _encode(text: str, coding: str = "latin1") -> bytes:
    return text.encode("latin1" if coding in {"latin1", "latin-1"} else "utf-8")


FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch", "Size"): _size,
    ("_codecs", "encode"): _encode,
}
NUMPY_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("multiarray", "scalar"): _scalar,
    ("multiarray", "_reconstruct"): NumpyArray,
    ("numeric", "_frombuffer"): _buffer,
}
CLASSES: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): Mapping,
    ("collections", "Counter"): Mapping,
    ("collections", "defaultdict"): Mapping,
    ("builtins", "dict"): Mapping,
    ("__builtin__", "dict"): Mapping,
    ("argparse", "Namespace"): Fields,
    ("numpy", "dtype"): NumpyType,
}


ATTACKS = re.compile(
    r"""(?:os|posix|nt)\.(?:system|startfile|fork\w*|(?:popen|exec|spawn|posix_spawn)\w*|(?:re)?(?:move|name|place)\w*
            |unlink|rmdir|mkdir|open|write|kill|putenv)
    |(?:builtins|__builtin__)\.(?:exec|execfile|eval|compile|open|__import__|breakpoint)
    |(?:_?io|codecs)\.open|commands\.get(?:status)?output
    |(?:subprocess|shutil|runpy|webbrowser|pty|ctypes)\.\w+
    |(?:importlib|_frozen_importlib|imp)\.(?:import_module|__import__|_gcd_import|load_\w+)
    |(?:_?pickle|marshal|torch|torch\.serialization)\.loads?""",
    re.VERBOSE,
)
"""What runs commands or code, or changes files. A list for warning people: what is not on it is not executed either."""


def is_attack(module: str, name: str) -> bool:
    """Whether no honest checkpoint names this."""
    return ATTACKS.fullmatch(f"{module}.{name}") is not None


def meaning(module: str, name: str) -> Any:
    """What the global `module.name` of a pickle stands for: an allowed thing, or a fresh inert class of that name."""
    if (module, name) in FUNCTIONS:
        return Allowed(FUNCTIONS[module, name])
    if (module, name) in CLASSES:
        return CLASSES[module, name]
    room = module.removeprefix("numpy._core.").removeprefix("numpy.core.")
    if room != module and (room, name) in NUMPY_FUNCTIONS:
        return Allowed(NUMPY_FUNCTIONS[room, name])
    if module in {"torch", "torch.cuda", "torch.storage"} and name in STORAGES:
        return STORAGES[name]
    if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
        return vars(torch)[name]
    return type("Inert", (Inert,), {"origin": f"{module}.{name}"})
