"""What works on this machine, and the command that fixes each problem."""

import importlib.metadata
import platform
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from transferbench import records, runtime
from transferbench.data import SOURCES, STORED, open_split
from transferbench.detection import by_detectron2
from transferbench.errors import UserError
from transferbench.features import pruning

PYTHON = (3, 11)


@dataclass(frozen=True)
class Check:
    """One thing looked at. `mend` is a command where there is one, else what to do."""

    name: str
    status: Literal["ok", "missing", "conflict"]
    detail: str
    mend: str = ""
    is_required: bool = False

    @property
    def is_broken(self) -> bool:
        """Whether nothing can run until this is mended."""
        return self.is_required and self.status != "ok"


def examine(data_root: Path, cache: Path, out: Path = Path("results")) -> list[Check]:
    """Every check, in the order to mend them."""
    return [
        python(),
        torch_pair(),
        *devices(),
        package("timm", "vision transformers and their checkpoints", "pip install timm", is_required=True),
        faiss(),
        package("pycocotools", "COCO's own AP", "pip install pycocotools"),
        package("detectron2", "detection with Detectron2 itself", by_detectron2.INSTALL),
        *data(data_root),
        writable(cache),
        store(out),
    ]


def python() -> Check:
    """The interpreter."""
    wanted = ".".join(map(str, PYTHON))
    status = "ok" if sys.version_info >= PYTHON else "missing"
    return Check("python", status, f"{platform.python_version()} (needs {wanted})", f"uv python install {wanted}", True)


def torch_pair() -> Check:
    """Whether torch and torchvision were built for each other: the pin torchvision states, and whether it imports."""
    versions = {name: runtime.version(name) for name in ("torch", "torchvision")}
    versions_text = ", ".join(f"{name} {version or 'absent'}" for name, version in versions.items())
    if versions["torchvision"] is None:
        return Check("torch", "missing", versions_text, "pip install torchvision", True)
    pins = (
        re.search(r"^torch\s*\(?==\s*([0-9][0-9.]*[0-9])", line)
        for line in importlib.metadata.requires("torchvision") or []
    )
    pin = next((match[1] for match in pins if match), None)
    mend = (
        f"pip install torch=={pin} torchvision=={versions['torchvision']}"
        if pin
        else "pip install -U torch torchvision"
    )
    if pin and (versions["torch"] or "").partition("+")[0] != pin:
        return Check("torch", "conflict", f"{versions_text}, which needs torch {pin}", mend, True)
    try:
        import torchvision.ops  # noqa: F401  (loads the compiled part, which fails on a mismatch)
    except (ImportError, RuntimeError, OSError) as error:
        return Check("torch", "conflict", f"{versions_text} do not load together: {error}", mend, True)
    return Check("torch", "ok", versions_text, is_required=True)


def devices() -> list[Check]:
    """Where networks run, and whether bfloat16 is fast there."""
    cores = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    device = torch.device("cuda" if gpus else "cpu")
    is_fast = runtime.fast_precision(device) == "bfloat16"
    return [
        Check("device", "ok", f"{', '.join(gpus) or 'no GPU'}; {cores}"),
        Check("bfloat16", "ok", f"{'fast' if is_fast else 'slow: precision=auto takes float32'} on {device.type}"),
    ]


def faiss() -> Check:
    """Which FAISS is installed; both at once overwrite each other's files."""
    installed = [f"{name} {version}" for name in ("faiss-cpu", "faiss-gpu") if (version := runtime.version(name))]
    if len(installed) == 2:
        mend = "pip uninstall -y faiss-cpu faiss-gpu && pip install faiss-cpu"
        return Check("faiss", "conflict", f"both {' and '.join(installed)}", mend)
    if not installed:
        return Check("faiss", "missing", "k-NN searches with torch", "pip install faiss-cpu")
    return Check("faiss", "ok", installed[0])


def package(name: str, purpose: str, mend: str, is_required: bool = False) -> Check:
    """Whether a distribution is installed."""
    version = runtime.version(name)
    return Check(name, "ok" if version else "missing", version or f"absent; for {purpose}", mend, is_required)


def data(root: Path) -> list[Check]:
    """The data sets that open, by name, or from a folder or zip under `root`."""
    named = [name for name in SOURCES.names() if name not in STORED]
    own = [
        path for path in sorted(root.glob("*")) if path.stem not in named and (path.is_dir() or path.suffix == ".zip")
    ]
    checks = [_opened(name, name, root) for name in named]
    checks += [_opened(path.name, str(path.resolve()), root) for path in own]
    return checks


def _opened(name: str, spec: str, root: Path) -> Check:
    try:
        images = open_split(spec, "train", root)
    except UserError as error:
        problem, _, mend = str(error).partition("\n")
        return Check(name, "missing", problem, mend.strip())
    return Check(name, "ok", f"data set, {len(images):,} training images in {len(images.info.classes)} classes")


def writable(cache: Path) -> Check:
    """Whether features can be kept."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        return Check(
            "cache", "missing", f"cannot write to {cache}: {error.strerror}", "export TRANSFERBENCH_CACHE=DIR", True
        )
    entries = pruning.entries(cache)
    size = f"{len(entries)} extracted or searched, {pruning.total(entries) / 2**20:,.1f} MiB"
    return Check("cache", "ok", f"{cache}: {size}", is_required=True)


def store(out: Path) -> Check:
    """How much a folder of results holds, finished and not."""
    count = sum(1 for _ in (out / records.RECORDS).rglob("*.json"))
    artifacts, unfinished = (pruning.size_of(out / name) / 2**20 for name in (records.ARTIFACTS, records.UNFINISHED))
    sizes = f", {artifacts:,.1f} MiB of artifacts, {unfinished:,.1f} MiB of unfinished work"
    return Check("records", "ok", f"{out}: {count} records{sizes}")
