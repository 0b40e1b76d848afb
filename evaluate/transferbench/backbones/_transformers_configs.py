"""Configurations of transformers: which model types take images, and what of a configuration fixes the computation."""

import importlib
import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

from transferbench.backbones import _library
from transferbench.backbones._library import require_plain
from transferbench.errors import UserError, nearest

EXTRA = "pip install 'transferbench[transformers]'"
BESIDE = frozenset(
    {
        *("model_type", "transformers_version", "architectures", "auto_map", "_name_or_path", "name_or_path"),
        *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "tokenizer_class", "use_cache"),
        *("torch_dtype", "dtype", "attn_implementation", "_attn_implementation", "_attn_implementation_autoset"),
        *("return_dict", "output_attentions", "output_hidden_states", "chunk_size_feed_forward", "_commit_hash"),
        *("experts_implementation", "_experts_implementation", "is_encoder_decoder", "bos_token_id", "eos_token_id"),
        *(
            "pad_token_id",
            "sep_token_id",
            "decoder_start_token_id",
            "tie_word_embeddings",
            "semantic_loss_ignore_index",
        ),
    }
)
"""Of a configuration: what changes no feature, or names code and places elsewhere."""
FORBIDDEN = frozenset({"quantization_config", "use_pretrained_backbone", "use_timm_backbone", "backbone"})
"""What would fetch another network, or needs other weights than plain ones."""
FOREIGN = re.compile(r"timm.*|gemma3n_vision")
"""Model types that wrap a network of timm."""
PART = re.compile(r"_(?:vision|image)(?:_|$)")
"""Model types of the part for images of a larger model, some of which `AutoModel` builds only within it."""
PART_CLASS = re.compile(r"\w+(?:Vision|Image)(?:Model|Backbone)")


def is_installed() -> bool:
    """Whether transformers can be imported."""
    return importlib.util.find_spec("transformers") is not None


def version() -> str:
    """transformers' version."""
    return str(package().__version__)


@cache
def names() -> frozenset[str]:
    """Every model type whose network takes images, one at a time, whoever trained it."""
    known = library().CONFIG_MAPPING
    every = {*library().MODEL_MAPPING_NAMES, *(kind for kind in known if PART.search(kind))}
    return frozenset(kind for kind in every if kind in known and not FOREIGN.fullmatch(kind))


def package() -> ModuleType:
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise UserError(f"A network of transformers needs transformers, which is not installed: {EXTRA}") from None


@cache
def library() -> Any:
    """The parts of transformers that are used here, under one name."""
    modeling = importlib.import_module("transformers.models.auto.modeling_auto")
    return SimpleNamespace(
        AutoModel=package().AutoModel,
        CONFIG_MAPPING=package().CONFIG_MAPPING,
        MODEL_MAPPING=package().MODEL_MAPPING,
        MODEL_MAPPING_NAMES=modeling.MODEL_MAPPING_NAMES,
    )


def network_class(config: type) -> Any:
    """The class of networks of a configuration's class; None where the library has none."""
    if config in (mapping := library().MODEL_MAPPING):
        found = mapping[config]
        return found[0] if isinstance(found, tuple) else found
    try:
        module = importlib.import_module(config.__module__.replace(".configuration_", ".modeling_"))
    except ImportError:
        return None
    named = (value for name, value in vars(module).items() if PART_CLASS.fullmatch(name) and isinstance(value, type))
    return next((each for each in named if getattr(each, "config_class", None) is config), None)


def takes_images(name: str) -> bool:
    return getattr(network_class(library().CONFIG_MAPPING[name]), "main_input_name", "") == "pixel_values"


def whole(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the library's defaults, but for what changes no feature.

    Raises:
        ValueError: for a name that it does not have, or one that would fetch something.
    """
    given = {key: value for key, value in config.items() if key not in BESIDE}
    known = defaults(name)
    if unknown := sorted(given.keys() - known):
        raise ValueError(f"a configuration of {name} has no '{unknown[0]}'.{nearest(unknown[0], sorted(known))}")
    whole = plain(configuration(name, given).to_dict())
    return {key: value for key, value in whole.items() if key in known}


@cache
def defaults(name: str) -> frozenset[str]:
    return frozenset(plain(built(name, {}).to_dict()))


def configuration(name: str, config: Mapping[str, Any]) -> Any:
    require_plain(config)
    require_bearable(config)
    return built(name, plain(config))


def built(name: str, config: Mapping[str, Any]) -> Any:
    try:
        return library().CONFIG_MAPPING[name](**config)
    except Exception as error:  # strict types, validators and subscripts of hundreds of classes
        raise ValueError(f"no configuration of {name}: {one_line(error)}") from None


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what changes no feature, in parts of it too; a part keeps its model type."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name in BESIDE:
            continue
        if isinstance(value, Mapping):
            kind = {"model_type": value["model_type"]} if "model_type" in value else {}
            found[name] = {**plain(value), **kind}
        else:
            found[name] = list(value) if isinstance(value, tuple | set) else value
    return found


def require_bearable(config: Mapping[str, Any]) -> None:
    """Refuse, with a ValueError, a configuration that names other places, or sizes that no network has."""
    _require_own(config)
    _library.require_bearable(config, BESIDE)


def _require_own(config: Mapping[str, Any], where: str = "") -> None:
    for name, value in config.items():
        if name in FORBIDDEN and value:
            raise ValueError(f"'{where}{name}' asks for weights that are not in the file")
        if name == "model_type" and FOREIGN.fullmatch(str(value)):
            raise ValueError(f"'{value}' wraps a network of timm; name that: --as arch=timm:NAME")
        for part in _library.flat(value):
            if isinstance(part, Mapping):
                _require_own(part, f"{where}{name}.")


def one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
