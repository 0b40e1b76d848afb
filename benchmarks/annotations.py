"""Memory and time of reading annotations of COCO train2017's size, and what a loader process has of its own afterwards.

    python benchmarks/annotations.py             # about half a minute of one core, 0.5 GB of disk and 2.2 GB of memory
    python benchmarks/annotations.py 1000        # that many images

118,287 empty files for images with 7.27 objects on average, as in COCO, of 24 corners on average; 1 % are crowds.
Memory is what Linux counts. Last, a process is forked, as loader processes are, and looks at every object once.
"""

import json
import os
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from transferbench.data import open_split
from transferbench.detection import adaptation
from transferbench.detection.training import loader

OBJECTS, BATCHES = 7.27, 90_000


def written(root: Path, images: int) -> None:
    """The annotation file, and images that nobody reads."""
    rng = np.random.default_rng(0)
    corners = np.clip(rng.lognormal(2.95, 0.7, 20_000), 3, 120).astype(int)
    outlines = [json.dumps([rng.uniform(0, 640, 2 * n).round(2).tolist()]) for n in corners]
    runs = rng.integers(1, 900, 300).tolist()
    crowd = json.dumps({"counts": [*runs, 480 * 640 - sum(runs)], "size": [480, 640]})
    for folder in ("annotations", "train2017"):
        (root / folder).mkdir()
    files = [f"{i:012d}.jpg" for i in range(1, images + 1)]
    listed = (json.dumps({"id": i, "file_name": n, "height": 480, "width": 640}) for i, n in enumerate(files, 1))
    with (root / "annotations" / "instances_train2017.json").open("w") as file:
        file.write(f'{{"images": [{",".join(listed)}], "annotations": [')
        for number in range(round(OBJECTS * images)):
            is_crowd, shape = int(rng.random() < 0.01), outlines[int(rng.integers(20_000))]
            x, y, width, height = rng.uniform(1, 300, 4).round(2).tolist()
            rest = {"area": width * height, "iscrowd": is_crowd, "image_id": int(rng.integers(1, images + 1))}
            rest |= {"bbox": [x, y, width, height], "category_id": int(rng.integers(1, 81)), "id": number}
            mask = crowd if is_crowd else shape
            file.write(f'{"," * bool(number)}{{"segmentation": {mask}, {json.dumps(rest)[1:]}')
        file.write(f'], "categories": {json.dumps([{"id": i, "name": str(i)} for i in range(1, 81)])}}}')
    for name in files:
        (root / "train2017" / name).touch()


def said(file: str, key: str) -> float:
    """MiB that a file of /proc/self gives for a key."""
    lines = Path("/proc/self", file).read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def main(images: int) -> None:
    """Write, read, plan, fork."""
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), images)
        before, begun = said("status", "VmRSS"), time.process_time()
        found = open_split(f"{folder}/", "train", Path())
        seconds, peak, held = time.process_time() - begun, said("status", "VmHWM"), said("status", "VmRSS")
        print(f"read in {seconds:.1f} CPU-s, at most {peak - before:,.0f} MiB, {held - before:,.0f} MiB afterwards")
        begun, recipe = time.process_time(), adaptation.resolved("coco_R_50_C4_1x", (), None)
        plan = loader._table(islice(loader.batches(found, recipe, 0), BATCHES), BATCHES)
        print(
            f"{len(plan):,} batches planned in {time.process_time() - begun:.1f} CPU-s: {plan.nbytes / 2**20:.0f} MiB"
        )
        sys.stdout.flush()
        if os.fork() == 0:
            before = said("smaps_rollup", "Private_Dirty")
            assert found.annotated is not None
            count = sum(len(each) for each in found.annotated.objects)
            own = said("smaps_rollup", "Private_Dirty") - before
            print(
                f"a forked process that has seen {count:,} objects and the plan: {own:.0f} MiB of its own", flush=True
            )
            os._exit(int(plan.sum() < 0))
        os.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 118_287)
