#!/bin/sh
# EMP-SSL (arXiv 2304.03977) maximizes the total coding rate R(Z) of each patch's embeddings: without it all embeddings
# may be one point. The authors' code (tsb0601/EMP-SSL 8fc3758, TotalCodingRate in loss.py) minimizes -R. lightly's
# EMPSSLLoss, which names that code as its source, adds +R, so that minimizing it pulls together the embeddings of
# different images, as its other term pulls together those of one.
#
# Versions: lightly 1.6.0, torch 2.15.0.
# Seen: of 32 images with 4 patches each, unit embeddings of 16 channels, the loss is R - 200 times the mean cosine of
# patches with their mean, and its gradient is that of +R. A small network trained on it for 300 steps ends with all
# embeddings on one line (absolute cosines of different images from 0.34 to 1.00, R from 10.5 to 2.2, the least that unit
# embeddings can have); the same network, trained on the loss with the authors' sign, with 0.13 and 14.3.
# Ends with 0 when that is seen, 1 when it has changed.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q torch==2.15.0 lightly==1.6.0

"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from lightly.loss import EMPSSLLoss
from torch.nn.functional import cosine_similarity, normalize

PATCHES, IMAGES, CHANNELS, EPS, WEIGHT, STEPS = 4, 32, 16, 0.2, 200.0, 300


def coding_rate(z):
    """The mean over patches of 1/2 log det(I + d / (n eps) Z^T Z)."""
    products = CHANNELS / (IMAGES * EPS) * z.mT @ z
    return torch.logdet(torch.eye(CHANNELS, dtype=z.dtype) + products).mean() / 2


def similarity(z):
    """The mean cosine of patches with their mean."""
    return cosine_similarity(z, z.mean(0, keepdim=True), dim=-1).mean()


def other_images(z):
    """The mean of the absolute cosines of different images; 1 where all lie on one line."""
    cosines = (z @ z.mT).abs()
    return ((cosines.sum() - cosines.diagonal(dim1=-2, dim2=-1).sum()) / (PATCHES * IMAGES * (IMAGES - 1))).item()


def lightly(z):
    return EMPSSLLoss(tcr_eps=EPS, inv_coef=WEIGHT)(list(z))


def authors(z):
    return -coding_rate(z) - WEIGHT * similarity(z)


torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
image = torch.randn(1, IMAGES, CHANNELS)
views = image + 0.5 * torch.randn(PATCHES, IMAGES, CHANNELS)

z = normalize(views, dim=-1).requires_grad_()
of_loss, of_rate, of_similarity = (torch.autograd.grad(f(z), z)[0] for f in (lightly, coding_rate, similarity))
adds = torch.allclose(lightly(z), coding_rate(z) - WEIGHT * similarity(z))
adds = adds and torch.allclose(of_loss + WEIGHT * of_similarity, of_rate)
print(f"the loss is +R - {WEIGHT:.0f} cos, and so is its gradient: {adds}")

ends = {}
for name, loss in (("lightly", lightly), ("authors' sign", authors)):
    torch.manual_seed(1)
    layers = torch.nn.Linear(CHANNELS, 64), torch.nn.BatchNorm1d(64), torch.nn.ReLU(), torch.nn.Linear(64, CHANNELS)
    network = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    seen = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        z = normalize(network(views.flatten(0, 1)).view_as(views), dim=-1)
        loss(z).backward()
        optimizer.step()
        seen.append(z.detach())
    ends[name] = other_images(seen[-1])
    print(f"{name}: cosines of different images {other_images(seen[0]):.2f} -> {ends[name]:.2f}", end=", ")
    print(f"R {coding_rate(seen[0]).item():.1f} -> {coding_rate(seen[-1]).item():.1f}")
sys.exit(0 if adds and ends["lightly"] > 0.95 and ends["authors' sign"] < 0.3 else 1)
PY
