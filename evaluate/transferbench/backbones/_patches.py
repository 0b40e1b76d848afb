"""What images have to be for a network that takes them apart into patches."""

from torch import Tensor

from transferbench.errors import UserError


def require_whole(images: Tensor, side: int) -> None:
    """Refuse images that are not whole patches.

    Raises:
        UserError: saying the nearest sizes that are.
    """
    height, width = images.shape[-2:]
    if height % side or width % side:
        below = min(height, width) // side * side
        raise UserError(
            f"Images of {height}x{width} pixels are not whole patches of {side}x{side}. Expected multiples of {side}, "
            f"such as {below or side} or {below + side if below else 2 * side}: --as crop=N for a checkpoint, the crop "
            "of the views and of preprocess for a recipe."
        )
