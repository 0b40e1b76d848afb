"""What a loss asks of the embeddings that it is given."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from decorssl.methods import Method, needs_features
from transferbench.errors import UserError


def checked(name: str, dim: int | None, student: Sequence[Any], teacher: Sequence[Any]) -> tuple[int, int]:
    """The (images, channels) that all have.

    Raises:
        UserError: naming the first that does not fit, with what was expected.
    """
    first: tuple[int, ...] = ()
    for i, z in enumerate((*student, *teacher)):
        if not isinstance(z, Tensor):
            raise UserError(
                f"{name}: {_which(i, student, teacher)} is a {type(z).__name__}. Expected a tensor of embeddings, "
                "images x channels."
            )
        if z.ndim != 2 or not z.is_floating_point():
            raise UserError(
                f"{name}: {_which(i, student, teacher)} is {z.dtype} of shape {tuple(z.shape)}. Expected "
                "floating-point embeddings of shape (images, channels): pool and project before the loss."
            )
        if not z.numel():
            raise UserError(
                f"{name}: {_which(i, student, teacher)} has shape {tuple(z.shape)}. Expected images and channels, "
                "one of each at least."
            )
        first = first or z.shape
        if z.shape != first:
            raise UserError(
                f"{name}: {_which(i, student, teacher)} has shape {tuple(z.shape)}, the first embeddings "
                f"{tuple(first)}. Expected the same images and channels in every view."
            )
    if first and dim not in (None, first[1]):
        raise UserError(f"{name}: found embeddings of {first[1]} channels. Expected dim={dim}, as it was built for.")
    return (first[0], first[1]) if first else (0, 0)


def require_routes(name: str, method: Method, config: Any, student: int, teacher: int) -> None:
    """Refuse, by a UserError, numbers of embeddings for which there is no number of views."""
    if _routes(method, config, student, teacher):
        return
    fitting = [pair for pair in ((s, t) for s in range(5) for t in range(5)) if _routes(method, config, *pair)]
    taught = any(t for _, t in fitting)
    counts = ", ".join(f"{s} and {t}" if taught else str(s) for s, t in fitting)
    found = f"{student} view(s) by the student and {teacher} by the teacher" if taught else f"{student} view(s)"
    more = " or more" if len(fitting) > 1 else ""
    raise UserError(f"{name}: found embeddings of {found}. Expected {counts}{more}.")


def require_sizes(name: str, method: Any, config: Any, images: int, channels: int) -> None:
    """Refuse, by a UserError, what the method refuses, with settings called as arguments are."""
    try:
        method.check(config, images, channels)
    except UserError as error:
        words = str(error).replace("--set settings.", "").replace("settings.", "")
        raise UserError(f"{name}: {words}") from None


def require_features(
    name: str, method: Method, features: Mapping[str, Sequence[Any]], views: Mapping[str, int], images: int
) -> None:
    """Refuse, by a UserError, features that are not one tensor `images w` a view, or that the loss has no use for.

    `features` and the number of `views` go by the arguments' names.
    """
    if not needs_features(method):
        given = next((key for key, part in features.items() if len(part)), None)
        if given:
            raise UserError(f"{name}: found {given}. Expected embeddings alone; this loss does not look at features.")
        return
    for key, part in features.items():
        if len(part) != views[key]:
            raise UserError(
                f"{name}: found {len(part)} {key} for {views[key]} view(s). Expected what the backbone made of each, "
                f"before the projector: {key}=(h1, h2, ...)."
            )
        for h in part:
            if not isinstance(h, Tensor) or not h.is_floating_point() or h.ndim != 2 or len(h) != images:
                found = f"{h.dtype} of shape {tuple(h.shape)}" if isinstance(h, Tensor) else type(h).__name__
                raise UserError(
                    f"{name}: found {found} in {key}. Expected floating-point features of shape ({images}, width), the "
                    "same images as in the embeddings: pool before the loss."
                )


def require_precision(name: str, own: nn.Module, embeddings: Sequence[Tensor]) -> None:
    """Refuse, by a UserError, embeddings, as `exact` gives them, that are not of the type of a loss's own weights."""
    weights = next((parameter.dtype for parameter in own.parameters()), None)
    other = next((z.dtype for z in embeddings if weights and z.dtype != weights), None)
    if other:
        raise UserError(
            f"{name}: found embeddings of {other} and weights of {weights}. Expected one type: z.float(), or "
            "criterion.double() for float64."
        )


def exact(views: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """In float32 or better."""
    return tuple(z.to(torch.promote_types(z.dtype, torch.float32)) for z in views)


def _which(index: int, student: Sequence[Any], teacher: Sequence[Any]) -> str:
    """What a message calls the embeddings at a place among all."""
    if not teacher:
        return f"view {index + 1}"
    return f"student {index + 1}" if index < len(student) else f"teacher {index - len(student) + 1}"


def _routes(method: Method, config: Any, student: int, teacher: int) -> bool:
    """Whether some number of views gives these."""
    for views in range(max(student, teacher), student + teacher + 1):
        try:
            routes = method.routes(config, views)
        except UserError:
            continue
        if (len(routes.student), len(routes.teacher)) == (student, teacher):
            return True
    return False
