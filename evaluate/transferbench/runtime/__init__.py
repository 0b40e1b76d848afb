"""Where the program runs: processes, device, folders. The only reader of environment variables."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from transferbench.errors import UserError
from transferbench.runtime.autograd import applied
from transferbench.runtime.collectives import Gather, Total, require_equal_rows
from transferbench.runtime.launch import launch
from transferbench.runtime.meeting import meeting
from transferbench.runtime.provenance import REPORTED, environment, version

__all__ = [
    "REPORTED",
    "Runtime",
    "cache_root",
    "data_root",
    "detection_folder",
    "drawn_seed",
    "environment",
    "fast_precision",
    "generator_of",
    "is_restart",
    "joined",
    "knn_engine",
    "process_facts",
    "seeded",
    "share_cores",
    "start",
    "stop",
    "token_room",
    "version",
    "worker_count",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Runtime:
    """This process among its peers. One process is `world_size` 1, not a special case."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def gather(self, x: Float[Tensor, "n *rest"]) -> Float[Tensor, "m *rest"]:
        """All ranks' rows in rank order. Differentiable. Every rank must hold equally many, which the CPU checks.

        With gradients averaged over ranks afterwards, a loss on gathered rows has exactly the one-process gradient
        (docs/methods.md#intl): the sum over ranks here cancels against that mean.
        """
        if self.world_size == 1:
            return x
        if not x.is_cuda:
            require_equal_rows(x)
        return applied(Gather, x)

    def total(self, x: Tensor) -> Tensor:
        """The sum of `x` over ranks. Differentiable."""
        return x if self.world_size == 1 else applied(Total, x)

    def gather_objects(self, value: T) -> list[T]:
        """Every rank's `value`, in rank order, on every rank."""
        if self.world_size == 1:
            return [value]
        parts: list[Any] = [None] * self.world_size
        dist.all_gather_object(parts, value)
        return parts

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on any rank."""
        return self.any_later(flag)()

    def any_later(self, flag: bool) -> Callable[[], bool]:
        """`any` begun now; the answer, when it is called, waits for this process's device."""
        if self.world_size == 1:
            return lambda: flag
        count = self.total(torch.tensor(float(flag), device=self.device))
        return lambda: bool(count > 0)

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            dist.barrier()


def start(device: str = "auto") -> Runtime:
    """The runtime of this process; joins the process group when `torchrun` or `srun` started several.

    Args:
        device: `auto` (the GPU if there is one), `cpu`, `cuda` or `cuda:N`.
    """
    place = launch()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.partition(":")[0] == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda was asked for, but torch sees no GPU here. Use --device cpu or auto.")
    chosen = _device(device)
    if device == "cuda":
        chosen = torch.device("cuda", place.local_rank % torch.cuda.device_count())
    if place.world_size > 1 and not dist.is_initialized():
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        dist.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo",
            **meeting(place),
            rank=place.rank,
            world_size=place.world_size,
            device_id=chosen if chosen.type == "cuda" else None,
        )
    return Runtime(chosen, place.rank, place.world_size)


def joined(device: torch.device) -> Runtime:
    """The runtime of a process whose group, if it is in one, other code has started."""
    if not (dist.is_available() and dist.is_initialized()):
        return Runtime(device)
    return Runtime(device, dist.get_rank(), dist.get_world_size())


def generator_of(device: torch.device) -> torch.Generator:
    """The generator that `torch.manual_seed` seeds and dropout draws from, on a CPU or a GPU."""
    if device.type != "cuda":
        return torch.default_generator
    torch.cuda.init()
    return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]


def _device(name: str) -> torch.device:
    """`cpu`, `cuda` or `cuda:N`, which is there."""
    kind, _, number = name.partition(":")
    if name not in ("cpu", "cuda") and not (kind == "cuda" and number.isdecimal()):
        meant = " Did you mean 'cuda'?" if kind.lower() in ("gpu", "nvidia") else ""
        raise UserError(f"Unknown device '{name}'.{meant} Expected auto, cpu, cuda or cuda:N.")
    if number and int(number) >= torch.cuda.device_count():
        raise UserError(f"There is no GPU {name} here: torch sees {torch.cuda.device_count()}, numbered from cuda:0.")
    return torch.device(name)


def is_restart() -> bool:
    """Whether torchrun or SLURM started this command before and starts it anew."""
    return any(int(os.environ.get(name, "0")) > 0 for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def process_facts() -> dict[str, str | int | None]:
    """Which process this is: host, number, SLURM's job if it is of one, and when it was asked."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def drawn_seed(*numbers: int) -> int:
    """A seed of 63 bits drawn from several numbers."""
    words = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generators, seeded inside the block and put back as they were afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def fast_precision(device: torch.device) -> Literal["float32", "bfloat16"]:
    """`bfloat16` where the device has instructions for it, else `float32`."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def cache_root() -> Path:
    """Where features and downloads may be kept: `TRANSFERBENCH_CACHE`, else `~/.cache/transferbench`."""
    return Path(os.environ.get("TRANSFERBENCH_CACHE", "~/.cache/transferbench")).expanduser()


def data_root() -> Path:
    """Where data sets lie: `TRANSFERBENCH_DATA`, else `./data`."""
    return Path(os.environ.get("TRANSFERBENCH_DATA", "data")).expanduser()


def knn_engine() -> str:
    """What searches for neighbors, `TRANSFERBENCH_KNN`, else `auto`; the answer is the same from all."""
    return os.environ.get("TRANSFERBENCH_KNN", "auto")


def token_room() -> float:
    """Bytes of tokens that a job may keep: `TRANSFERBENCH_TOKENS_GIB`, else 50 GiB; beyond them they are made anew.

    Raises:
        UserError: when the variable is no number from 0 on.
    """
    stated = os.environ.get("TRANSFERBENCH_TOKENS_GIB", "50")
    try:
        room = float(stated) * 2**30
    except ValueError:
        room = -1.0
    if not room >= 0:
        raise UserError(f"TRANSFERBENCH_TOKENS_GIB is '{stated}'. Expected a number of GiB from 0 on, such as 50.")
    return room


def detection_folder(where: Path) -> Path:
    """`where` when something is there, else the folder of its name in `DETECTRON2_DATASETS`, if that is set."""
    other = os.environ.get("DETECTRON2_DATASETS")
    return Path(other).expanduser() / where.name if other and not where.exists() else where


def worker_count() -> int:
    """How many loader processes suit this machine, for each training process."""
    return max(1, min(8, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))


def share_cores(workers: int) -> None:
    """Give torch the cores that loader processes leave free, unless `OMP_NUM_THREADS` says how many.

    Threads that wait for a core hold up all the others of their process.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max(1, cores - workers))
