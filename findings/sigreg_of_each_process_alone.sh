#!/bin/sh
# SIGReg (LeJEPA, arXiv 2511.08544) compares the characteristic function of the global batch with a normal one's: the
# authors' code (rbalestr-lab/lejepa eddffdd, lejepa/univariate/epps_pulley.py) averages cosines and sines over processes.
# stable-pretraining's LeJEPA calls torch.distributed.nn.all_reduce for that, which returns the average and leaves its
# argument as it was, and does not use what it returns. The statistic then is that of a process's own images, times
# the number of processes, without an error or a warning: what is normal as a whole is punished where its parts are not.
#
# Versions: stable-pretraining 0.1.8, torch 2.15.0.
# Seen: of 64 embeddings of 8 channels, half with mean 1 and half with mean -1, one process finds 9.05, and of each half
# alone 14.42 and 10.40. Two processes with a half each find 28.85 and 20.81, twice that, where both should find 9.05.
# Ends with 0 when that is seen, 1 when it has changed.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.15.0 torchvision==0.29.2 stable-pretraining==0.1.8

cat > "$work/sigreg.py" <<'PY'
import sys
import tempfile
from multiprocessing import get_context

import torch
import torch.distributed as distributed


def embeddings():
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    return torch.cat([z[:32] + 1, z[32:] - 1])


def statistic(rank, count, part, path, found):
    """What one of `count` processes finds of its part of the embeddings."""
    from stable_pretraining.methods.lejepa import SlicedEppsPulley

    torch.set_num_threads(1)
    if count > 1:
        distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=count)
    found.put((rank, SlicedEppsPulley(num_slices=64)(part).item()))
    if count > 1:
        distributed.destroy_process_group()


def run(parts):
    context, folder = get_context("spawn"), tempfile.mkdtemp()
    found = context.Queue()
    processes = [
        context.Process(target=statistic, args=(rank, len(parts), part, f"{folder}/meet", found))
        for rank, part in enumerate(parts)
    ]
    for each in processes:
        each.start()
    values = dict(found.get(timeout=300) for _ in processes)
    for each in processes:
        each.join()
    return [values[rank] for rank in range(len(parts))]


if __name__ == "__main__":
    z = embeddings()
    (whole,) = run([z])
    alone = [run([half])[0] for half in z.chunk(2)]
    together = run(list(z.chunk(2)))
    print(f"one process, all embeddings: {whole:.2f}")
    print(f"one process, each half: {alone[0]:.2f}, {alone[1]:.2f}")
    print(f"two processes, a half each: {together[0]:.2f}, {together[1]:.2f}")
    local = all(abs(b - 2 * a) < 1e-3 * b for a, b in zip(alone, together))
    apart = all(b > 1.5 * whole for b in together)
    print("Each process's statistic is that of its own part." if local and apart else "This has changed.")
    sys.exit(0 if local and apart else 1)
PY
"$work/venv/bin/python" -W ignore "$work/sigreg.py" 2> "$work/log" || { code=$?; cat "$work/log" >&2; exit "$code"; }
