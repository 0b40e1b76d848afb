"""Whether transformers' networks load as what they are: `python benchmarks/transformers_networks.py [MODEL_TYPE ...]`.

Each is built by it with random weights and saved as its users save it; the file is loaded by path alone and
its features are compared with those of the library's own network. Counted are files that load right, are refused, or
load as something else (wrong).
"""

import inspect
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferbench.backbones import FAMILIES
from transferbench.checkpoints.load import load
from transferbench.errors import UserError

CLOSE = 1e-5
"""Of the largest feature."""


def compared(path: Path, expected: Tensor, images: Tensor) -> str:
    """`right`, `refused: WHY` or `wrong: HOW FAR`."""
    try:
        candidate = load(path)
    except UserError as error:
        return "refused: " + " ".join(str(error).split())[:400]
    with torch.no_grad():
        found = candidate.backbone(images)
    if found.shape != expected.shape:
        return f"wrong: {list(found.shape)}, expected {list(expected.shape)}"
    off = float((found - expected).abs().max() / expected.abs().max())
    family = candidate.card.architecture.family
    return f"right ({family})" if off <= CLOSE else f"wrong: {off:.2g} off, as {candidate.card.architecture.name}"


def lively(network: nn.Module) -> nn.Module:
    """Every tensor drawn anew, so that none is at a value that hides another's absence."""
    draw = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            spread = 0.1 * torch.randn(tensor.shape, generator=draw)
            tensor.copy_(spread.abs() + 0.5 if "var" in name else tensor + spread)
    return network.eval()


def shrunk(config: dict[str, Any], level: int) -> dict[str, Any]:
    """A configuration of fewer and narrower layers; the higher the level, the less is changed."""
    layers = {"num_hidden_layers": 2}
    narrow = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96}
    sizes = {**layers, **narrow} if level == 0 else layers
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name in sizes and isinstance(value, int):
            found[name] = sizes[name]
        elif name == "depths" and isinstance(value, list | tuple) and level < 2:
            found[name] = [min(each, 2) for each in value]
        elif name.endswith("vision_config") and isinstance(value, dict):
            found[name] = shrunk(value, level)
    return found


def of_transformers(names: list[str]) -> Iterator[tuple[str, str]]:
    """A line for each model type and way to save it."""
    import transformers
    from transformers.models.auto import modeling_auto

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tables = (
        modeling_auto.MODEL_FOR_IMAGE_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    )
    vision = [kind for kind in modeling_auto.MODEL_MAPPING_NAMES if "vision" in kind or kind in EXTRA]
    for kind in names or dict.fromkeys([*(kind for table in tables for kind in table), *vision]):
        yield from _of_kind(transformers, kind)


EXTRA = ("cvt", "pvt_v2", "donut-swin", "maskformer-swin", "textnet", "pixtral", "radio", "swin2sr", "hgnet_v2")


def _of_kind(library: Any, kind: str) -> Iterator[tuple[str, str]]:
    if kind not in library.CONFIG_MAPPING:
        yield kind, "no model type of AutoModel"
        return
    try:
        config, whole, tower = _whole(library, kind)
        side = _side(tower.config)
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        expected = _features(tower, kind, images)
    except Exception as error:
        yield kind, f"its own network does not run on images: {type(error).__name__}: {error}".replace("\n", " ")[:200]
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "saved"
        whole.save_pretrained(place)
        yield f"{kind} save_pretrained", compared(place, expected, images)
        place = Path(folder) / "plain"
        place.mkdir()
        torch.save(whole.state_dict(), place / "pytorch_model.bin")
        (place / "config.json").write_text(json.dumps(config.to_diff_dict()))
        yield f"{kind} state_dict", compared(place, expected, images)
        if type(config) not in library.AutoModelForImageClassification._model_mapping or tower is not whole:
            return
        try:
            headed = lively(library.AutoModelForImageClassification.from_config(config))
            expected = _features(getattr(headed, headed.base_model_prefix), kind, images)
        except Exception as error:
            print(kind, "with a classifier:", type(error).__name__, str(error)[:100], file=sys.stderr)
            return
        place = Path(folder) / "headed"
        headed.save_pretrained(place)
        yield f"{kind} with a classifier", compared(place, expected, images)


def _whole(library: Any, kind: str) -> tuple[Any, nn.Module, Any]:
    """Configuration, the saved network and, of it, the one for images."""
    made = library.CONFIG_MAPPING[kind]
    failure: Exception = ValueError(kind)
    for level in range(3):
        try:
            small = shrunk(made().to_dict(), level)
            config = made(**small)
            whole = lively(library.AutoModel.from_config(config, dtype=torch.float32))
            tower = getattr(whole, "vision_model", None) if hasattr(config, "vision_config") else whole
            if tower is None:
                raise ValueError("no vision_model in it")
            side = _side(tower.config)
            _features(tower, kind, torch.randn(1, 3, side, side))
            return config, whole, tower
        except Exception as error:
            failure = error
    raise failure


def _side(config: Any) -> int:
    side = getattr(config, "image_size", None) or 224
    return side[0] if isinstance(side, list | tuple) else side


def _features(network: Any, kind: str, images: Tensor) -> Tensor:
    """What is evaluated of it, written down once more."""
    pooling = next((name for name, kinds in FAMILIES.load("transformers").POOLINGS.items() if kind in kinds), "pooler")
    takes = inspect.signature(network.forward).parameters
    more: dict[str, Any] = {}
    if kind == "vit_mae":
        network.config.mask_ratio = 0.0
    if "spatial_shapes" in takes:
        size = network.config.patch_size
        rows = images.shape[-1] // size
        cut = torch.nn.functional.unfold(images, size, stride=size).transpose(1, 2)
        cut = cut.unflatten(2, (3, size * size)).transpose(2, 3).flatten(2)
        more = {"spatial_shapes": torch.tensor([[rows, rows]] * len(images))}
        more["pixel_attention_mask"] = torch.ones(cut.shape[:2], dtype=torch.int64)
        images = cut
        more = {name: value for name, value in more.items() if name in takes}
    with torch.no_grad():
        found = network(pixel_values=images, **more)
    last = found.last_hidden_state
    if pooling == "token":
        return last[:, 0]
    if pooling == "mean":
        return last.mean((2, 3)) if last.ndim == 4 else last.mean(1)
    return found.pooler_output.flatten(1)


def main(names: list[str]) -> None:
    """Print a line for each network, and the counts."""
    counts: Counter[str] = Counter()
    for name, result in of_transformers(names):
        print(f"{name}: {result}", flush=True)
        counts[result.partition(":")[0].partition(" (")[0]] += 1
    print(dict(counts))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    main(sys.argv[1:])
