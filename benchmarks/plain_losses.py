"""Losses as the code that came with them computes them, or lightly's, in plain PyTorch; `losses.py` times them.

Each function returns the loss of a list of views, with our settings of the method and with the teacher's embeddings and
the backbone's features given, where there are any. What differs from what was published is said. Random directions are
ours, drawn at every call as theirs are.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from decorssl.methods import corinfomax, lejepa, matrix_ssl, mec, mmcr, resa, simdino, visreg

Loss = Callable[[list[Tensor]], Tensor]


def fixed(views: list[Tensor]) -> list[Tensor]:
    """What stands for the teacher's embeddings, and for features: the views' own, without gradient."""
    return [z.detach() for z in views]


def frossl(views: list[Tensor]) -> Tensor:
    """OFSkean/FroSSL, solo/losses/frossl.py, n x n where n <= d."""
    units = [F.normalize(z, dim=0) for z in views]
    middle, total = torch.stack(units).mean(0), 0.0
    for u in units:
        side = u.T @ u if len(u) > u.shape[1] else u @ u.T
        norm = torch.linalg.norm(side / side.trace().item())
        total = total + 2 * norm.log() + len(views) * u.shape[1] * F.mse_loss(u, middle)
    return total


def mec_loss(config: mec.Config) -> Loss:
    """xinliu20/MEC, main_pretrain.py, n x n: three products and a sum of matrices, whose trace is taken. No warm-up."""

    def length(p: Tensor, z: Tensor, inverse: float) -> Tensor:
        c = F.normalize(p) @ F.normalize(z).T / inverse
        power, series = c, torch.zeros_like(c)
        for k in range(1, 5):
            power = power @ c if k > 1 else power
            series = series + power / k if k % 2 else series - power / k
        return series.trace()

    def loss(views: list[Tensor]) -> Tensor:
        n, d = views[0].shape
        (a, b), (c, e), inverse = views, fixed(views), n * config.distortion / d
        return -(length(a, e, inverse) + length(b, c, inverse)) / (2 * n) * inverse

    return loss


def matrix_ssl_loss(config: matrix_ssl.Config) -> Loss:
    """yifanzhang-pro/Matrix-SSL, main_pretrain.py, d x d: a logarithm and a product for each of four entropies."""

    def logarithm(q: Tensor) -> Tensor:
        e = q - torch.eye(len(q)).to(q)
        power, series = e, torch.zeros_like(e)
        for k in range(1, 5):
            series = series + power / k if k % 2 else series - power / k
            power = power @ e
        return series

    def entropy(p: Tensor, z: Tensor, cross: bool) -> Tensor:
        p, z = F.normalize(p), F.normalize(z)
        n, d = z.shape
        centering = (torch.eye(n) - torch.ones(n, 1) @ torch.ones(1, n) / n).to(z)
        identity = torch.eye(d).to(z)
        if cross:
            first, second = identity, p.T @ centering @ z / n + config.mu * identity
        else:
            first, second = (x.T @ centering @ x / n + config.mu * identity for x in (z, p))
        return torch.trace(-first @ logarithm(second))

    def loss(views: list[Tensor]) -> Tensor:
        (a, b), (c, d) = views, fixed(views)
        aligned = entropy(b, c, True) + entropy(a, d, True)
        uniform = entropy(b, c, False) + entropy(a, d, False)
        return (config.alignment_weight * aligned + config.uniformity_weight * uniform) / 2

    return loss


def emp_ssl(views: list[Tensor]) -> Tensor:
    """lightly 1.6.0's EMPSSLLoss, d x d, as tsb0601/EMP-SSL's; its rate has the authors' sign, which lightly turns."""
    z = torch.stack([F.normalize(z) for z in views])
    _, n, d = z.shape
    side = torch.eye(d).to(z) + d / (n * 0.2) * torch.einsum("vbd,vbe->vde", z, z)
    return -200 * F.cosine_similarity(z, z.mean(0, keepdim=True), dim=-1).mean() - torch.logdet(side).mean() / 2


def simdino_loss(config: simdino.Config) -> Loss:
    """RobinWu218/SimDINO, simdino/main_dino.py, d x d: the Cholesky factor of each global view's."""

    def loss(views: list[Tensor]) -> Tensor:
        student = torch.stack([F.normalize(z) for z in views])
        teacher = torch.stack([F.normalize(z) for z in fixed(views)[:2]])
        similar = F.cosine_similarity(teacher.unsqueeze(1), student.unsqueeze(0), dim=-1)
        similar.view(-1, similar.shape[-1])[:: len(student) + 1].fill_(0)
        compression = similar.mean(2).sum() / (len(teacher) * len(student) - len(teacher))
        expanded = (student[: len(teacher)] + teacher) / 2
        _, n, d = expanded.shape
        products, identity, rate = torch.stack([x.T @ x for x in expanded]), torch.eye(d).to(expanded), 0.0
        for each in products:
            root = torch.linalg.cholesky_ex(identity + d / (n * config.eps) * each)[0]
            rate = rate + root.diagonal().log().sum()
        return -config.compression_weight * compression - (d + n) / (d * n) * rate / len(expanded)

    return loss


def corinfomax_loss(config: corinfomax.Config, kept: Callable[[int], torch.nn.ModuleDict]) -> Loss:
    """serdarozsoy/corinfomax-ssl, cifars-tiny/loss.py, d x d in float64. `kept` has the estimates of d channels."""

    def loss(views: list[Tensor]) -> Tensor:
        units, estimates, total = [F.normalize(z) for z in views], kept(views[0].shape[1])["estimates"], 0.0
        n, d = units[0].shape
        ridge = config.eps * torch.eye(d, dtype=torch.float64, device=units[0].device)
        for z, mean, covariance in zip(units, estimates.means, estimates.covariances, strict=True):
            rows = z - (config.mean_memory * mean + (1 - config.mean_memory) * z.mean(0))
            seen = rows.T @ rows / n
            following = config.covariance_memory * covariance + (1 - config.covariance_memory) * seen
            total = total + torch.logdet(following + ridge)
        return config.invariance_weight * F.mse_loss(*units) - config.covariance_weight * total / d

    return loss


def directions(z: Tensor, count: int) -> Tensor:
    """Unit columns, of the draws that ours takes in chunks."""
    drawn = torch.randn(count, z.shape[-1], generator=torch.Generator(z.device).manual_seed(0), device=z.device)
    return F.normalize(drawn.to(z.dtype).T, dim=0)


def lejepa_loss(config: lejepa.Config) -> Loss:
    """rbalestr-lab/lejepa, MINIMAL.md, as lightly 1.6.0's LeJEPALoss; neither n x n nor d x d, all waves at once."""

    def loss(views: list[Tensor]) -> Tensor:
        z = torch.stack(views)
        t = torch.linspace(0, config.max_frequency, config.knots).to(z)
        target = (-t.square() / 2).exp()
        weights = 2 * t[1] * target
        weights[[0, -1]] /= 2
        waves = (z @ directions(z, config.directions)).unsqueeze(-1) * t
        apart = (waves.cos().mean(-3) - target).square() + waves.sin().mean(-3).square()
        statistic = (apart @ weights).mean() * z.shape[1]
        return config.weight * statistic + (1 - config.weight) * (z.mean(0) - z).square().mean()

    return loss


def visreg_loss(config: visreg.Config) -> Loss:
    """HaiyuWu/visreg, visreg/losses/visreg.py and train.py; neither n x n nor d x d, all projections at once."""

    def loss(views: list[Tensor]) -> Tensor:
        z = torch.stack(views)
        n = z.shape[1]
        mean = z.mean(1, keepdim=True)
        deviation = (z - mean).norm(dim=1) / math.sqrt(n) + config.eps
        ordered = ((z - mean) / deviation.detach().unsqueeze(1) @ directions(z, config.directions)).sort(1).values
        places = torch.arange(1, n + 1).to(z) / (n + 1)
        target = (torch.erfinv(2 * places - 1) * math.sqrt(2)).view(1, n, 1)
        regular = (deviation - 1).square().mean() + (ordered - target).square().mean() + mean.square().mean()
        return config.weight * regular + (1 - config.weight) * (z - z.mean(0)).square().mean()

    return loss


def mmcr_loss(views: list[Tensor]) -> Tensor:
    """ThomasYerxa/mmcr, mmcr/imagenet/loss_mmcr.py, n x d: singular values of the centroids alone."""
    return -torch.linalg.svdvals(torch.stack([F.normalize(z) for z in views], -1).mean(-1)).sum()


def whole_mmcr_loss(config: mmcr.Config) -> Loss:
    """lightly 1.6.0's MMCRLoss of unit rows, n x d: whole decompositions, which make d x d matrices, one an image."""

    def loss(views: list[Tensor]) -> Tensor:
        z = torch.stack([F.normalize(z) for z in views], 1)
        _, own, _ = torch.linalg.svd(z)
        _, of_centroids, _ = torch.linalg.svd(z.mean(1))
        return config.local_weight * own.sum() / len(z) - of_centroids.sum()

    return loss


def resa_loss(config: resa.Config) -> Loss:
    """winci-ai/resa, method/{base,resa}.py, n x n; without a predictor, as winci-ai/resa_cifar."""

    @torch.no_grad()
    def sinkhorn(scores: Tensor) -> Tensor:
        q = (scores / config.sinkhorn_eps).exp().T
        q /= q.sum()
        for _ in range(config.sinkhorn_iterations):
            q /= q.sum(1, keepdim=True)
            q /= q.shape[0]
            q /= q.sum(0, keepdim=True)
            q /= q.shape[1]
        q *= q.shape[1]
        return q.T

    def loss(views: list[Tensor]) -> Tensor:
        student, teacher = ([F.normalize(z) for z in each] for each in (views, fixed(views)[:2]))
        features = F.normalize(views[0].detach()), F.normalize(views[0].detach())
        targets, terms = sinkhorn(features[0] @ features[1].T), []
        for i, z in enumerate(student):
            for j, t in enumerate(teacher):
                if i != j:
                    terms.append(-(targets * F.log_softmax(z @ t.T / config.temperature, 1)).sum(-1).mean())
        return sum(terms) / len(terms)

    return loss


def w2(views: list[Tensor]) -> Tensor:
    """statsle/WassersteinSSL, code/BYOL/module.py, d x d: `eigh` for `torch.eig`, which torch has no more."""
    z = F.normalize(torch.cat(views))
    n, d = z.shape
    mean = z.mean(0)
    covariance = (z - mean).T @ (z - mean) / n
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors @ values.abs().sqrt().diag() @ vectors.T
    return (mean.square().sum() + 1 + torch.trace(covariance - 2 / math.sqrt(d) * root)).sqrt()
