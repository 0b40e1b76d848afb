#!/bin/sh
# ATEN_CPU_CAPABILITY chooses the vectors that torch.compile writes machine code for, and is no part of the key under
# which that code is cached. Code for AVX-512 is taken up again where AVX2 is asked for, and computes something else:
# no error, no warning. One would expect a miss of the cache, as with a cache of its own (third line).
#
# Versions: torch 2.15.0. Needs a CPU with AVX-512, a C++ compiler and an empty temporary folder.
# Seen: about 1e-07 (AVX-512), 0.50 (AVX2, the same cache), about 1e-07 (AVX2, a cache of its own).
# Ends with 0 when that is seen, 1 when it has changed, 77 on a CPU without AVX-512.
set -eu
grep -q avx512f /proc/cpuinfo || { echo "needs a CPU with AVX-512"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.15.0 numpy

cat > "$work/differ.py" <<'PY'
import torch
from torch import nn

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(8, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 8))
images = torch.rand(8, 8)
with torch.no_grad():
    print((network(images) - torch.compile(network)(images)).abs().max().item())
PY

difference() {
    TORCHINDUCTOR_CACHE_DIR="$work/$2" ATEN_CPU_CAPABILITY="$1" "$work/venv/bin/python" -W ignore "$work/differ.py" 2>/dev/null
}
first=$(difference avx512 shared)
second=$(difference avx2 shared)
third=$(difference avx2 own)
echo "AVX-512: $first"
echo "AVX2, the same cache: $second"
echo "AVX2, a cache of its own: $third"
"$work/venv/bin/python" - "$first" "$second" "$third" <<'PY'
import sys

first, second, third = map(float, sys.argv[1:])
sys.exit(0 if first < 1e-5 and third < 1e-5 and not second < 1e-2 else 1)
PY
