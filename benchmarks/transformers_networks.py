"""Whether transformers' networks load as what they are: `python benchmarks/transformers_networks.py [MODEL_TYPE ...]`.

Each model type whose network takes images is built by it with random weights, in a tiny configuration, and saved as
its users save it; the file is loaded by path alone and its features are compared with those of the library's own
network. A type is right when every way of saving it is; refused when one is and none is wrong; wrong when one loads as
something else; without a vector when it gives none of an image (detectors, video, packed patches) and is refused. Each
runs in a process of its own, for `SECONDS` of a processor at most.
"""

import inspect
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferbench.backbones import FAMILIES
from transferbench.checkpoints.load import load
from transferbench.errors import UserError

CLOSE = 1e-5
"""Of the largest feature."""
SECONDS = 120
PATIENCE = 3
"""Seconds by the clock to one of a processor, where others use it too."""
WORST = ("wrong", "refused", "right", "not built here", "no vector")
"""What becomes of a type, by the worst of its ways."""


def compared(path: Path, expected: Tensor | str, images: Tensor, stated: list[str]) -> str:
    """`right`, `refused: WHY` or `wrong: HOW FAR`; for a network without features, `no vector` where it is refused."""
    try:
        candidate = load(path, overrides=stated)
        with torch.no_grad():
            found = candidate.backbone(images)
    except UserError as error:
        why = " ".join(str(error).split())[:400]
        return f"no vector: {expected}; {why}" if isinstance(expected, str) else f"refused: {why}"
    if isinstance(expected, str):
        return f"wrong: {list(found.shape)}, though the library's gives no vector: {expected}"
    if found.shape != expected.shape:
        return f"wrong: {list(found.shape)}, expected {list(expected.shape)}"
    off = float((found - expected).abs().max() / expected.abs().max())
    family = candidate.card.architecture.family
    how = f"right ({' '.join([family, *stated])})"
    return how if off <= CLOSE else f"wrong: {off:.2g} off, as {candidate.card.architecture.name}"


def lively(network: nn.Module) -> nn.Module:
    """Every tensor drawn anew, so that none is at a value that hides another's absence."""
    draw = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            spread = 0.1 * torch.randn(tensor.shape, generator=draw)
            tensor.copy_(spread.abs() + 0.5 if "var" in name else tensor + spread)
    return network.eval()


LAYERS = r"(?:num_|n_)?(?:\w+_)?(?:hidden_layers|layers|depth)|(?:num_)?\w*blocks"
WIDTHS = (
    r"hidden_size|hidden_dim|d_model|width|projection_dim|embed_dim|vision_hidden_size|output_dim|out_hidden_size"
    r"|decoder_hidden_size|\w+_embed_dim|encoder_hidden_dim"
)
HEADS = r"(?:num_|n_)?(?:\w+_)?(?:attention_heads|heads)|num_key_value_heads"
INNER = r"\w*intermediate_size|\w*ffn_dim|mlp_dim|dim_feedforward"
SHALLOW = ((LAYERS, 2),)
NARROW = ((WIDTHS, 64), (HEADS, 4), (INNER, 96), (r"head_dim", 16), (r"vocab_size", 512))
"""Numbers of a configuration, by name, and how large they may be."""
DEPTHS = r"depths|layer_depths|num_blocks|layers|stage_depths"
CHANNELS = r"hidden_sizes|embed_dims?|neck_hidden_sizes"
FACTORS = r"width_coefficient|depth_coefficient"


def shrunk(config: dict[str, Any], level: int) -> dict[str, Any]:
    """What changes in a configuration of fewer and narrower layers; the higher the level, the less.

    Levels: 0, layers, widths and images; 1, layers and widths; 2, layers and images; 3, layers; 4, nothing.
    """
    return {name: less for name, value in config.items() if (less := _less(config, name, value, level)) != value}


def _less(config: dict[str, Any], name: str, value: Any, level: int) -> Any:
    if isinstance(value, dict) and name.endswith("config"):
        kind = {key: value[key] for key in ("model_type",) if key in value}
        return {**shrunk(value, level), **kind}
    if level == 4 or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return 0.25 if re.fullmatch(FACTORS, name) else value
    if isinstance(value, list | tuple) and value and all(type(each) is int for each in value):
        if re.fullmatch(DEPTHS, name):
            return [min(each, 2) for each in value]
        return [max(each // 4, 8) for each in value] if level < 2 and re.fullmatch(CHANNELS, name) else value
    if not isinstance(value, int):
        return value
    if name == "image_size" and level in {0, 2} and value >= 128:
        patch = config.get("patch_size")
        return patch * 4 if type(patch) is int and patch >= 8 else 64
    most = (most for names, most in (*SHALLOW, *(NARROW if level < 2 else ())) if re.fullmatch(names, name))
    return min(value, next(most, value))


def of_transformers(names: list[str]) -> Iterator[tuple[str, str, str]]:
    """Model type, way to save it, and what came of it."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warm = _of_kind(transformers, "vit")
    list(zip(range(2), warm, strict=False))  # what every process needs is imported once, before they part
    for kind in names or kinds(transformers):
        yield from ((kind, way, result) for way, result in _apart(transformers, kind))


def kinds(library: Any) -> list[str]:
    """Model types in whose code the main input of a network is an image."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import model_type_to_module_name

    folder = Path(library.__file__).parent / "models"
    found: list[str] = []
    for kind, model in modeling_auto.MODEL_MAPPING_NAMES.items():
        code = (folder / model_type_to_module_name(kind)).glob("modeling_*.py")
        heads = {f"class {each}(" for each in ([model] if isinstance(model, str) else model)}
        classes = [each for file in code for each in re.split(r"^(?=class )", file.read_text(), flags=re.MULTILINE)]
        own = " ".join(each for each in classes if each.startswith(tuple(heads)))
        base = " ".join(each for each in classes if re.match(r"class \w+PreTrainedModel\(", each))
        image = 'main_input_name = "pixel_values"'
        if image in own or (image in base and 'main_input_name = "' not in own):
            found.append(kind)
    pairs = modeling_auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES
    return [kind for kind in dict.fromkeys([*found, *pairs]) if kind in library.CONFIG_MAPPING]


def _apart(library: Any, kind: str) -> Iterator[tuple[str, str]]:
    """The results of a type, in a process of its own that is ended after `SECONDS`."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        with os.fdopen(writing, "w") as lines:
            try:
                for each in _of_kind(library, kind):
                    print(json.dumps(each), file=lines, flush=True)
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                told = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
                print(json.dumps(["load", f"wrong: a traceback, {told[:300]}"]), file=lines, flush=True)
        os._exit(0)
    os.close(writing)
    end, built = time.monotonic() + SECONDS * PATIENCE, False
    with os.fdopen(reading, "rb", buffering=0) as lines:
        held = b""
        while select.select([lines], [], [], max(end - time.monotonic(), 0))[0]:
            if not (chunk := lines.read(1 << 16)):
                break
            *whole, held = (held + chunk).split(b"\n")
            for line in whole:
                way, result = json.loads(line)
                built = True
                if result:
                    yield way, result
        else:
            os.kill(child, signal.SIGKILL)
    if os.waitpid(child, 0)[1]:
        yield "time", f"{'refused' if built else 'not built here'}: more than {SECONDS} s"


def _of_kind(library: Any, kind: str) -> Iterator[tuple[str, str]]:
    made = library.CONFIG_MAPPING[kind]
    model: Any = library.MODEL_MAPPING[made]
    model = model[0] if isinstance(model, tuple) else model
    if getattr(model, "main_input_name", "") != "pixel_values" and "vision_config" not in made.sub_configs:
        yield "build", "no vector: it takes no images"
        return
    try:
        built = _built(library, kind)
    except Exception as error:
        yield "build", f"not built here: {told(error)}"
        return
    yield "build", ""
    config, whole, images = built.config, built.whole, built.images
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "saved"
        whole.save_pretrained(place)
        yield "save_pretrained", compared(place, built.expected, images, built.stated)
        if isinstance(built.expected, str):
            return
        place = Path(folder) / "plain"
        place.mkdir()
        torch.save(whole.state_dict(), place / "pytorch_model.bin")
        (place / "config.json").write_text(json.dumps(config.to_diff_dict()))
        yield "state_dict", compared(place, built.expected, images, built.stated)
        is_whole = not hasattr(config, "vision_config")
        if type(config) not in library.AutoModelForImageClassification._model_mapping or not is_whole:
            return
        try:
            headed: Any = lively(library.AutoModelForImageClassification.from_config(config))
            expected, stated = _features(getattr(headed, headed.base_model_prefix), kind, images)
        except Exception as error:
            print(kind, "with a classifier:", told(error), file=sys.stderr)
            return
        place = Path(folder) / "headed"
        headed.save_pretrained(place)
        yield "with a classifier", compared(place, expected, images, stated)


@dataclass(frozen=True)
class Built:
    """A network with its features of some images, or why it gives none, and what a person has to state for them."""

    config: Any
    whole: Any
    images: Tensor
    expected: Tensor | str
    stated: list[str]


def _built(library: Any, kind: str) -> Built:
    """The smallest configuration of which the library builds a network that gives features, else that it builds."""
    found: Built | None = None
    failure: Exception = ValueError(kind)
    for level in range(5):
        try:
            config, whole, tower = _whole(library, kind, level)
        except Exception as error:
            failure = failure if level and "parameters" in str(error) else error
            continue
        side = _side(tower.config)
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        try:
            return Built(config, whole, images, *_features(tower, kind, images))
        except Exception as error:
            found = found or Built(config, whole, images, told(error), [])
    if found is None:
        raise failure
    return found


def told(error: Exception) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _whole(library: Any, kind: str, level: int) -> tuple[Any, Any, Any]:
    """Configuration, the saved network and, of it, the one for images."""
    made = library.CONFIG_MAPPING[kind]
    config = made(**shrunk(made().to_dict(), level))
    with torch.device("meta"):
        count = sum(each.numel() for each in library.AutoModel.from_config(config).parameters())
    if count > 100_000_000:
        raise ValueError(f"{count:,} parameters")
    whole = lively(library.AutoModel.from_config(config, dtype=torch.float32))
    part = getattr(config, "vision_config", None)
    if part is None:
        return config, whole, whole
    named = [getattr(whole, name, None) for name in ("vision_model", "vision_tower", "visual")]
    parts = [each for each in whole.modules() if type(getattr(each, "config", None)) is type(part)]
    tower = next((each for each in (*named, *parts) if hasattr(each, "config")), None)
    if tower is None:
        raise ValueError("nothing in it has the configuration of the part for images")
    return config, whole, tower


def _side(config: Any) -> int:
    side = getattr(config, "image_size", None) or 224
    return side[0] if isinstance(side, list | tuple) else side


def _features(network: Any, kind: str, images: Tensor) -> tuple[Tensor, list[str]]:
    """What is evaluated of it, written down once more, and what a person has to state for it."""
    poolings = FAMILIES.load("transformers").POOLINGS
    pooling = next((name for name, kinds in poolings.items() if network.config.model_type in kinds), "pooler")
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
        found = network.eval()(pixel_values=images, **more)
    if isinstance(patches := getattr(found, "features", None), Tensor) and patches.ndim == 3:  # RADIO's
        return patches.mean(1), ["pooling=mean"]
    last = getattr(found, "last_hidden_state", None)
    if pooling == "token":
        return last[:, 0], []
    if pooling == "mean":
        return (last.mean((2, 3)) if last.ndim == 4 else last.mean(1)), []
    pooled = getattr(found, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1), []
    if not isinstance(last, Tensor) or len(last) != len(images):
        raise ValueError(f"it gives no vector of an image but {', '.join(found.keys())}")
    first = sum("cls" in name or "class_" in name for name, _ in network.named_parameters())
    return (last.mean((2, 3)) if last.ndim == 4 else last[:, min(first, 1) :].mean(1)), ["pooling=mean"]


def main(names: list[str]) -> None:
    """Print a line for each file, and the counts of files and of types."""
    files: Counter[str] = Counter()
    types: dict[str, set[str]] = {}
    for kind, way, result in of_transformers(names):
        print(f"{kind} {way}: {result}", flush=True)
        what = result.partition(":")[0].partition(" (")[0]
        files[what] += 1
        types.setdefault(kind, set()).add(what)
    print("files", dict(files))
    print("types", dict(Counter(next(worst for worst in WORST if worst in every) for every in types.values())))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    main(sys.argv[1:])
