"""What `inspect` takes for a large file of no known network: `python benchmarks/unknown_file.py [known]`.

The file is timm's convnext_base with random values, 354 MB; without `known` every depthwise convolution has another
name, so that it is refused. Printed are CPU seconds and how much the peak of memory grew, imports left out.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import timm
import torch

from transferbench.checkpoints.inspect import inspect
from transferbench.errors import UserError


def main(is_known: bool) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pth"
        write(path, is_known)
        begun, before = time.process_time(), _peak()
        try:
            outcome = inspect(path).architecture_name
        except UserError as error:
            outcome = f"refused: {str(error)[-200:]}"
        size = path.stat().st_size
        grown = _peak() - before
        seconds = time.process_time() - begun
        print(f"{seconds:.2f} CPU s, {grown / 1e6:.0f} MB more ({grown / size:.2f} of the file's size)")
        print(outcome)


def write(path: Path, is_known: bool) -> None:
    """The file, by a process of its own: its memory is not counted."""
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(target=_write, args=(path, is_known))
    process.start()
    process.join()


def _write(path: Path, is_known: bool) -> None:
    state = timm.create_model("convnext_base", num_classes=0).state_dict()
    torch.save({name if is_known else name.replace("conv_dw", "dwc"): tensor for name, tensor in state.items()}, path)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main("known" in sys.argv)
