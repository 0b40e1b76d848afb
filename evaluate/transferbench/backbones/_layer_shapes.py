"""Names and shapes of the tensors of single layers, as torch writes them."""

Found = dict[str, tuple[int, ...]]


def affine(name: str, channels: int) -> Found:
    """Of a norm."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def linear(name: str, channels: int, out: int, has_bias: bool = True) -> Found:
    """Of a linear layer."""
    return {f"{name}.weight": (out, channels)} | ({f"{name}.bias": (out,)} if has_bias else {})


def conv(name: str, channels: int, out: int, side: int) -> Found:
    """Of a square convolution with a bias."""
    return {f"{name}.weight": (out, channels, side, side), f"{name}.bias": (out,)}
