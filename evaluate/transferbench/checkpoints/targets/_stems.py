"""ResNet stems that a library has no argument for: what takes its own's place, and the Python that puts it there."""

from collections.abc import Mapping, Sequence

from torch import nn

from transferbench.checkpoints.targets import Arguments

SINGLE = {"imagenet": (7, 2), "cifar": (3, 1), "small_maxpool": (3, 1)}
"""Kernel and stride of the stems with one convolution."""
FREE = frozenset({"stem", "conv1_padding", "conv1_bias"})


def replaced(arguments: Arguments) -> dict[str, nn.Module]:
    """By attribute, the modules that differ from those of the 7x7 stem, which libraries build; none for a deep stem."""
    if arguments["stem"] not in SINGLE:
        return {}
    kernel, stride = SINGLE[arguments["stem"]]
    padding = kernel // 2 if arguments["conv1_padding"] is None else arguments["conv1_padding"]
    modules: dict[str, nn.Module] = {}
    if (kernel, padding, arguments["conv1_bias"]) != (7, 3, False):
        modules["conv1"] = nn.Conv2d(3, 64, kernel, stride, padding, bias=arguments["conv1_bias"])
    if arguments["stem"] == "cifar":
        modules["maxpool"] = nn.Identity()
    return modules


def put(network: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Give the network these in place of its own."""
    for name, module in modules.items():
        setattr(network, name, module)


def lines(library: str, built: str, modules: Mapping[str, nn.Module], file: str) -> Sequence[str]:
    """An import, and three lines: the library's network, its new modules, its weights from `file`."""
    is_safe = file.endswith(".safetensors")
    tensors = f"safetensors.torch.load_file({file!r})" if is_safe else f"torch.load({file!r}, weights_only=True)"
    names = ", ".join(f"network.{name}" for name in modules)
    made = ", ".join(f"torch.nn.{module!r}" for module in modules.values())
    return (
        f"import torch, {library}" + ", safetensors.torch" * is_safe,
        f"network = {built}",
        f"{names} = {made}",
        f"network.load_state_dict({tensors})",
    )
