"""Classifiers that pool tokens by attention: their weights, and their logits for many settings at once.

With one learned query, what attends to a token x is the same vector for all images: the score of head h is
q_h' W_h x = (W_h' q_h)' x, and what it attends to is V_h (sum of the tokens by their weights). So no token is
projected; heads and settings cost two products with the tokens, whatever the width of a head. The efficient probe
learns W_h' q_h itself. A bias of the keys, or of a norm for them alone, adds the same to all scores of an image and is
left out.
"""

from collections.abc import Mapping
from typing import Literal

import pydantic
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from transferbench.errors import UserError
from transferbench.settings import Settings

Parameters = dict[str, Tensor]
"""Tensors by name, each with a first axis of settings."""
BATCH_NORM, LAYER_NORM = 1e-6, 1e-5
"""Added to variances."""
MOVED = 0.1
"""The share of a batch in the running statistics."""
FIRST = {"torch": (0.02, None, None), "capi": (0.02, 0.02, 0.02), "vjepa": (0.02, 0.02, None), "cae": (0, 0.02, 0.01)}
"""Deviations of the first query, projections and classifier; None: as torch begins a linear layer."""
HIDDEN = 4
"""Hidden channels of the MLP for each of its inputs."""


class AttentionPooling(Settings):
    """How tokens become one vector an image, and logits. Which is whose: docs/protocols.md#attentive."""

    pool: Literal["cross-attention", "efficient"] = Field(
        "cross-attention",
        description="one query in heads that project keys and values; efficient: many queries and no keys, each for "
        "its share of the values",
    )
    head_width: int = Field(
        64, ge=1, description="channels of an attention head, more where they do not divide the tokens' width"
    )
    queries: int = Field(32, ge=1, description="pool=efficient: how many; their number must divide the tokens' width")
    token_norm: Literal["none", "batch", "layer", "two layer norms"] = Field(
        "none", description="of tokens: batch norm without weights, a layer norm, or one for keys and one for values"
    )
    query: Literal["learned", "projected", "normed"] = Field(
        "learned", description="projected: through a linear layer; normed: through a layer norm before that"
    )
    bias: bool = Field(True, description="queries and values are projected with a bias")
    projection: bool = Field(False, description="a linear layer behind the attention")
    mlp: bool = Field(False, description="query + attention, and an MLP with a shortcut behind a layer norm (V-JEPA)")
    output_norm: Literal["none", "batch"] = Field(
        "none", description="of the pooled vector: batch norm without weights"
    )
    classifier_bias: bool = Field(True, description="the classifier has a bias")
    first_weights: Literal["torch", "capi", "vjepa", "cae"] = Field("capi", description="drawn as whose")

    @pydantic.model_validator(mode="after")
    def _pools(self) -> "AttentionPooling":
        has_layer_norm = self.token_norm in ("layer", "two layer norms")
        if self.pool == "efficient" and (self.mlp or self.query != "learned" or has_layer_norm):
            raise ValueError(
                "pool=efficient has queries that are learned as they are, and no MLP or layer norm: leave out query, "
                "mlp and token_norm, or set pool=cross-attention"
            )
        return self

    def heads(self, width: int) -> int:
        """In how many parts the values of tokens of this width fall.

        Raises:
            UserError: where the queries do not divide it.
        """
        if self.pool == "efficient":
            if width % self.queries:
                fitting = max(n for n in range(1, self.queries) if width % n == 0)
                raise UserError(
                    f"queries={self.queries} should divide the width of the tokens, {width}: each pools its own share "
                    f"of the channels. Set queries={fitting}, say."
                )
            return self.queries
        most = max(1, width // self.head_width)
        return max(heads for heads in range(1, most + 1) if width % heads == 0)


def first(pooling: AttentionPooling, width: int, classes: int, seed: int) -> Parameters:
    """The weights that all settings begin with, with a first axis of 1."""
    query, projections, classifier = FIRST[pooling.first_weights]
    draw = _Drawing(torch.Generator().manual_seed(seed))
    is_efficient = pooling.pool == "efficient"
    shape = (pooling.heads(width), width) if is_efficient else (width,)
    draw.made["query"] = torch.randn(shape, generator=draw.generator) * query
    for name, is_there in (
        ("query_norm", pooling.query == "normed"),
        ("value_norm", pooling.token_norm in ("layer", "two layer norms")),
        ("key_norm", pooling.token_norm == "two layer norms"),
        ("mlp_norm", pooling.mlp),
    ):
        if is_there:
            draw.norm(name, width, name != "key_norm")
    for name, is_there, bias in (
        ("queries", pooling.query != "learned", pooling.bias),
        ("keys", not is_efficient, False),
        ("values", True, pooling.bias),
        ("projection", pooling.projection, True),
    ):
        if is_there:
            draw.linear(name, (width, width), projections, bias)
    if pooling.mlp:
        draw.linear("mlp.0", (width, HIDDEN * width), projections, True)
        draw.linear("mlp.1", (HIDDEN * width, width), projections, True)
        draw.made["mlp.1.weight"] /= 2**0.5
    draw.linear("classifier", (width, classes), classifier, pooling.classifier_bias)
    return {name: tensor[None] for name, tensor in draw.made.items()}


class _Drawing:
    """First weights, drawn one after another."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.made = generator, dict[str, Tensor]()

    def linear(self, name: str, sizes: tuple[int, int], deviation: float | None, bias: bool) -> None:
        """From N(0, deviation^2) with biases of 0, or all as torch does: uniform up to inputs^-1/2."""
        inputs, outputs = sizes
        for part, shape in (("weight", (outputs, inputs)), *([("bias", (outputs,))] if bias else [])):
            if deviation is None:
                drawn = (2 * torch.rand(shape, generator=self.generator) - 1) * inputs**-0.5
            else:
                drawn = torch.randn(shape, generator=self.generator) * (deviation if part == "weight" else 0)
            self.made[f"{name}.{part}"] = drawn

    def norm(self, name: str, width: int, bias: bool) -> None:
        """Which changes nothing at first."""
        self.made[f"{name}.weight"] = torch.ones(width)
        if bias:
            self.made[f"{name}.bias"] = torch.zeros(width)


class BatchStatistics:
    """Mean and variance of channels, of a batch while training and else as they ran; one row a setting or one for all.

    As torch's BatchNorm without weights: the running variance is the unbiased one.
    """

    def __init__(self, rows: int, width: int, device: torch.device) -> None:
        self.mean = torch.zeros(rows, width, device=device)
        self.variance = torch.ones(rows, width, device=device)

    def normed(self, x: Float[Tensor, "*places s d"], training: bool) -> Float[Tensor, "*places s d"]:
        """Normalized over all axes but the last two."""
        places = tuple(range(x.ndim - 2))
        mean, variance = self.mean.to(x), self.variance.to(x)
        if training:
            variance, mean = torch.var_mean(x, places, correction=0)
            count = x[..., 0, 0].numel()
            with torch.no_grad():
                self.mean.lerp_(mean.to(self.mean), MOVED)
                self.variance.lerp_((variance * count / max(1, count - 1)).to(self.mean), MOVED)
        return (x - mean) * (variance + BATCH_NORM).rsqrt()


def normed_tokens(
    pooling: AttentionPooling, tokens: Float[Tensor, "b n d"], statistics: BatchStatistics, training: bool
) -> Float[Tensor, "b n d"]:
    """Tokens as every setting sees them: what of their norm has no weights."""
    match pooling.token_norm:
        case "none":
            return tokens
        case "batch":
            return statistics.normed(tokens[:, :, None], training)[:, :, 0]
        case _:
            return F.layer_norm(tokens, tokens.shape[-1:], eps=LAYER_NORM)


def logits(
    pooling: AttentionPooling,
    p: Mapping[str, Tensor],
    tokens: Float[Tensor, "b n d"],
    statistics: BatchStatistics,
    training: bool,
) -> Float[Tensor, "b s c"]:
    """Logits of every setting, for `normed_tokens`."""
    width = tokens.shape[2]
    heads = pooling.heads(width)
    attending = _attending(pooling, p, heads)
    settings = len(attending)
    weights = (tokens @ attending.flatten(0, 1).T).softmax(1)
    means = torch.bmm(weights.transpose(1, 2), tokens).unflatten(1, (settings, heads))
    if "value_norm.weight" in p:
        means = means * p["value_norm.weight"][:, None] + p["value_norm.bias"][:, None]
    values = p["values.weight"].unflatten(1, (heads, -1))
    x = torch.einsum("bshd,shed->bshe", means, values).flatten(2)
    if "values.bias" in p:
        x = x + p["values.bias"]
    if pooling.projection:
        x = _linear(p, "projection", x)
    if pooling.mlp:
        x = p["query"] + x
        x = x + _linear(p, "mlp.1", F.gelu(_linear(p, "mlp.0", _layer_norm(p, "mlp_norm", x))))
    if pooling.output_norm == "batch":
        x = statistics.normed(x, training)
    return _linear(p, "classifier", x)


def _attending(pooling: AttentionPooling, p: Mapping[str, Tensor], heads: int) -> Float[Tensor, "s h d"]:
    """For each head the vector whose product with a token is the token's score."""
    query = p["query"]
    if pooling.pool == "efficient":
        return query * query.shape[2] ** -0.5
    if pooling.query == "normed":
        query = _layer_norm(p, "query_norm", query)
    if pooling.query != "learned":
        query = _linear(p, "queries", query[None])[0]
    parts, keys = query.unflatten(1, (heads, -1)), p["keys.weight"].unflatten(1, (heads, -1))
    attending = torch.einsum("she,shed->shd", parts, keys) * parts.shape[2] ** -0.5
    norm = {"layer": "value_norm", "two layer norms": "key_norm"}.get(pooling.token_norm)
    return attending * p[f"{norm}.weight"][:, None] if norm else attending


def _linear(p: Mapping[str, Tensor], name: str, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s e"]:
    out = torch.einsum("bsd,sed->bse", x, p[f"{name}.weight"])
    return out + p[f"{name}.bias"] if f"{name}.bias" in p else out


def _layer_norm(p: Mapping[str, Tensor], name: str, x: Float[Tensor, "*b s d"]) -> Float[Tensor, "*b s d"]:
    plain = F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM)
    return plain * p[f"{name}.weight"] + p[f"{name}.bias"]


def is_vector(name: str) -> bool:
    """Whether a tensor is a bias or of a norm: such are neither decayed nor scaled by LARS."""
    return name.endswith(".bias") or "norm." in name
