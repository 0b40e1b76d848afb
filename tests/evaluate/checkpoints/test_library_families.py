"""Networks of torchvision, transformers, open_clip and of a person's own code load as what they compute."""

import json
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from transferbench import backbones, plugins
from transferbench.backbones import Architecture, _library, _transformers_configs
from transferbench.checkpoints import Card, beside, image_processors, library_versions
from transferbench.checkpoints.convert import convert
from transferbench.checkpoints.load import load, random_control
from transferbench.data import transforms
from transferbench.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from transferbench.errors import UserError
from transferbench.settings import parse_override

CLOSE = 1e-5
"""Of the largest feature."""


def lively(network: nn.Module) -> nn.Module:
    draw = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            spread = 0.05 * torch.randn(tensor.shape, generator=draw)
            tensor.copy_(spread.abs() + 0.5 if "running_var" in name else tensor + spread)
    return network.eval()


def require_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= CLOSE * float(expected.abs().max())


# --- images


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "resample": 2},
            {"size": 224, "crop": 224, "resize": "square", "interpolation": "bilinear"},
        ),
        (
            {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
            {"size": 256, "crop": 224, "resize": "shorter_side"},
        ),
        (
            {"image_processor_type": "CLIPImageProcessor", "size": 224, "do_center_crop": True, "crop_size": 200},
            {"size": 224, "crop": 200, "resize": "shorter_side"},
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875},
            {"size": 256, "crop": 224, "resize": "shorter_side"},
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
            {"size": 384, "crop": 384, "resize": "square"},
        ),
        (
            {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}},
            {"size": 256, "crop": 224, "resize": "shorter_side", "crop_start": "below"},
        ),
        (
            {"feature_extractor_type": "PoolFormerFeatureExtractor", "size": 224, "crop_pct": 0.9},
            {"size": 248, "crop": 224, "resize": "shorter_side"},
        ),
        (
            {"image_processor_type": "MobileViTImageProcessorFast", "image_mean": [0.5] * 3, "size": 224},
            {"mean": [0.0] * 3, "std": [1.0] * 3, "resize": "shorter_side"},
        ),
        (
            {"image_processor_type": "Siglip2ImageProcessor", "max_num_patches": 256, "patch_size": 16},
            {"size": 256, "crop": 256, "resize": "square"},
        ),
        (
            {"do_resize": False, "do_center_crop": True, "crop_size": {"height": 96, "width": 96}},
            {"size": None, "crop": 96},
        ),
        (
            {"do_rescale": True, "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False},
            {"mean": [0.5] * 3, "std": [0.5] * 3},
        ),
        (
            {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3},
            {"mean": [0.5] * 3, "std": [0.2] * 3},
        ),
        ({"do_flip_channel_order": True, "do_normalize": False}, {"channel_order": "bgr", "mean": [0.0] * 3}),
    ],
)
def test_a_processors_settings_are_those_of_our_preprocessing(config: Any, expected: Any) -> None:
    given = dict(each.split("=", 1) for each in image_processors.read(config)[0])
    for name, value in expected.items():
        found = given[name] if isinstance(value, str) else json.loads(given[name])
        assert found == (pytest.approx(value) if isinstance(value, list) else value), name


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"resample": 1}, "filter 1"),
        ({"size": {"shortest_edge": 3136, "longest_edge": 1003520}}, "none of a square image"),
        ({"size": {"height": 48, "width": 320}}, "none of a square image"),
        ({"size": {"shortest_edge": 224}}, "keeps the whole of an image"),
        ({"size": {"height": 384, "width": 384}, "keep_aspect_ratio": True}, "keep_aspect_ratio=True"),
        ({"image_processor_type": "AbsentImageProcessor"}, "Absent does beside"),
    ],
)
def test_what_a_processor_does_otherwise_is_said(config: dict[str, Any], told: str) -> None:
    assert any(told in line for line in image_processors.read(config)[1])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"crop_mode": "border"}, "'border' keeps the whole"),
        ({"interpolation": "lanczos"}, "filter 'lanczos'"),
        ({"input_size": [3, 224, 160]}, "224 x 160"),
        ({"crop_mode": "squash"}, None),
    ],
)
def test_what_timm_does_with_images_otherwise_is_said(changed: dict[str, Any], told: str | None) -> None:
    lines = beside.left_of_timm({"input_size": [3, 224, 224], "interpolation": "bicubic", **changed})
    assert not lines if told is None else told in lines[0]


NOISE = [np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8) for sides in ((300, 260), (231, 401))]
"""Images whose crops have odd margins and even ones."""
MOST = 2.5
"""Levels of 255: the library's classes for tensors round otherwise than PIL."""


@pytest.mark.parametrize("kind", sorted(image_processors.KNOWN - {""}))
def test_images_become_what_the_librarys_own_processor_makes_of_them(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    by_pil = getattr(transformers, f"{kind}ImageProcessorPil", None)
    processor = (by_pil or getattr(transformers, f"{kind}ImageProcessor"))()
    processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    given = {path[0]: value for path, value in map(parse_override, image_processors.read(config)[0])}
    settings = Preprocess.model_validate({**dict(Preprocess()), **given})
    for pixels in NOISE:
        image = Image.fromarray(pixels)
        (found,) = transforms.evaluation(settings)(image, np.random.default_rng(0))
        expected = processor(image, return_tensors="pt")["pixel_values"][0]
        off = (found - expected).abs() * torch.tensor(settings.std)[:, None, None] * 255
        assert float(off.max()) <= (0.01 if by_pil else MOST)


def test_both_sides_are_resized_to_a_square_as_pil_does() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    settings = Preprocess(size=32, crop=32, resize="square", interpolation="bicubic")
    (found,) = transforms.evaluation(settings)(image, np.random.default_rng(0))
    squeezed = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    expected = (squeezed - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(found.numpy(), expected.transpose(2, 0, 1), atol=1e-5)


def test_a_field_at_its_default_is_left_out() -> None:
    assert "resize" not in Preprocess().model_dump()
    assert Preprocess(resize="square").model_dump()["resize"] == "square"
    card = Card(architecture=Architecture(family="resnet", arguments={"depth": 18}), preprocess=Preprocess())
    assert "library" not in card.model_dump()


# --- torchvision


def test_a_network_of_torchvision_is_told_by_names_and_shapes(tmp_path: Path) -> None:
    network: Any = lively(torchvision.models.squeezenet1_1())
    torch.save(network.state_dict(), tmp_path / "network.pth")
    candidate = load(tmp_path / "network.pth")
    assert candidate.card.architecture.family == "torchvision"
    assert candidate.card.architecture.name == "squeezenet1_1"
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        require_same(candidate.backbone(images), network.features(images).mean((2, 3)))


def test_only_the_last_layer_of_a_classifier_is_taken_off() -> None:
    with torch.device("meta"):
        family = backbones.FAMILIES.load("torchvision")
        widths = {
            name: family.build(family.Arguments(name=name)).width
            for name in ("mobilenet_v3_small", "regnet_y_400mf", "vit_b_32")
        }
    assert widths == {
        "mobilenet_v3_small": 1024,
        "regnet_y_400mf": 440,
        "vit_b_32": 768,
    }


def test_a_network_that_torchvision_does_not_have_is_told_with_the_nearest(tmp_path: Path) -> None:
    torch.save({f"a{i}": torch.zeros(1) for i in range(12)}, tmp_path / "network.pth")
    with pytest.raises(UserError, match=r"no classification network 'alexnett'.*alexnet"):
        load(tmp_path / "network.pth", overrides=["arch=torchvision:alexnett"])


# --- a person's own

CODE = """
import torch
class Own(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        sizes = [3, width, width, width, width, width]
        self.register_buffer("scale", torch.nn.init.constant_(torch.empty(width), 0.5), persistent=False)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(size, width) for size in sizes)
    def forward(self, images):
        features = images.mean((2, 3))
        for layer in self.layers:
            features = torch.tanh(layer(features))
        return features * self.scale
def make(width=8):
    return Own(width)
def number():
    return 3
class Pair(Own):
    def forward(self, images, more):
        return images
def pair():
    return Pair(6)
def leave():
    raise SystemExit(0)
ONE = Own(6)
def same():
    return ONE
def filled():
    network = Own(6)
    for each in network.parameters():
        torch.nn.init.constant_(each, 0.5)
    return network
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of code and one of weights in a folder; nothing of them stays allowed afterwards."""
    monkeypatch.setattr(plugins, "_NAMED", dict(plugins._NAMED))
    (tmp_path / "own_network.py").write_text(CODE)
    scope: dict[str, Any] = {}
    exec(CODE, scope)
    torch.save(lively(scope["make"](6)).state_dict(), tmp_path / "weights.pth")
    return tmp_path


def stated(folder: Path, function: str = "make") -> list[str]:
    return [f"arch=python:{folder / 'own_network.py'}:{function}", "arguments.width=6"]


def test_a_persons_own_network_is_judged_and_recorded_without_its_folder(own: Path) -> None:
    candidate = load(own / "weights.pth", overrides=stated(own))
    assert candidate.card.architecture.arguments["name"] == "own_network.py:make"
    assert candidate.backbone(torch.randn(2, 3, 32, 32)).shape == (2, 6)
    assert any("own_network.py:make" in line for line in candidate.report.assumed)


def test_values_that_no_file_holds_are_those_that_the_network_begins_with(own: Path) -> None:
    scope: dict[str, Any] = {}
    exec(CODE, scope)
    images, network = torch.randn(2, 3, 32, 32), scope["make"](6)
    network.load_state_dict(torch.load(own / "weights.pth"))
    assert "scale" not in network.state_dict()
    with torch.no_grad():
        require_same(load(own / "weights.pth", overrides=stated(own)).backbone(images), network(images))


def test_a_card_imports_no_code_until_a_person_names_it(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(own / "weights.pth", own / "card.safetensors", "transferbench", (None, stated(own)))
    expected = load(own / "card.safetensors").digest
    monkeypatch.setattr(plugins, "_NAMED", {})
    backbones._tensors_of.cache_clear()
    with pytest.raises(UserError, match=r"--code own_network\.py"):
        load(own / "card.safetensors")
    plugins.allow(str(own / "own_network.py"))
    assert load(own / "card.safetensors").digest == expected


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own_network.py", "expected path/file.py:FUNCTION"),
        ("own_network.py:absent", "has no function 'absent'"),
        ("own_network.py:number", "returns int, not a torch.nn.Module"),
        ("elsewhere.py:make", "Cannot import"),
        ("own_network.py:pair", "does not take images of .*missing 1 required positional argument: 'more'"),
        ("own_network.py:leave", "does not build a network of .*SystemExit: 0"),
        ("own_network.py:same", "tensors that it has returned before"),
    ],
)
def test_what_is_wrong_with_a_persons_code_is_told(own: Path, name: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        load(own / "weights.pth", overrides=[f"arch=python:{own}/{name}"])


def test_code_that_ends_the_program_is_told(own: Path) -> None:
    (own / "script.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(UserError, match=r"Cannot import .*script\.py': SystemExit: 0"):
        load(own / "weights.pth", overrides=[f"arch=python:{own}/script.py:make"])
    with pytest.raises(UserError, match="SystemExit: 0"):
        plugins.allow(str(own / "script.py"))


def test_a_network_that_no_seed_changes_gives_no_random_one(own: Path) -> None:
    candidate = load(own / "weights.pth", overrides=stated(own))
    preprocess = candidate.card.preprocess
    drawn = [random_control(candidate.card.architecture, preprocess, seed).digest for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    fixed = Architecture(family="python", arguments={"name": "own_network.py:filled"})
    with pytest.raises(UserError, match=r"the same weights from every seed.*--no-control"):
        random_control(fixed, preprocess, 0)


# --- versions of libraries


def test_a_card_of_another_version_is_held_to_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(lively(torchvision.models.squeezenet1_1()).state_dict(), tmp_path / "network.pth")
    convert(tmp_path / "network.pth", tmp_path / "card.safetensors", "transferbench")
    before = load(tmp_path / "card.safetensors").card.library
    assert before is not None
    assert (before.name, before.version) == ("torchvision", torchvision.__version__.partition("+")[0])
    monkeypatch.setattr(backbones.FAMILIES.load("torchvision"), "version", lambda: "99")
    same = load(tmp_path / "card.safetensors")
    assert same.card.library == before
    assert not same.report.assumed
    measured = library_versions.measured
    for off, told in ((1e-3, None), (0.1, "computes other features")):
        monkeypatch.setattr(
            library_versions,
            "measured",
            lambda *given, off=off: tuple(x + off * max(before.features) for x in measured(*given)),
        )
        if told:
            with pytest.raises(UserError, match=told):
                load(tmp_path / "card.safetensors")
        else:
            assert "computes other features" in load(tmp_path / "card.safetensors").report.assumed[-1]


# --- transformers


def saved(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def test_without_transformers_what_to_install_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = backbones.FAMILIES.load("transformers")
    monkeypatch.setattr(family, "is_installed", lambda: False)
    place = saved(tmp_path / "model", {"model_type": "hiera"}, {f"a.{i}": torch.zeros(2) for i in range(12)})
    with pytest.raises(UserError, match=r"of transformers \(hiera\).*pip install 'transferbench\[transformers\]'"):
        load(place)
    assert beside.described(place / "pytorch_model.bin").architecture is None


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": 1 << 40},
        {"num_hidden_layers": 100_000},
        {"image_size": 1 << 19, "patch_size": 1, "hidden_size": 512},
        {"quantization_config": {"bits": 4}},
        {"use_pretrained_backbone": True},
        {"backbone_config": {"model_type": "timm_backbone"}},
    ],
)
def test_a_configuration_that_is_absurd_or_names_other_places_is_refused_unbuilt(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"more than|not in the file|positions|wraps"):
        _transformers_configs.require_bearable(config)


TOWER = {"width": 64, "head_width": 16, "layers": 1, "patch_size": 8, "image_size": 32}


def a_tower(**vision: Any) -> dict[str, Any]:
    return {"name": "custom", "config": {"embed_dim": 8, "vision_cfg": {**TOWER, **vision}}}


@pytest.mark.parametrize(
    ("family", "arguments", "told"),
    [
        ("timm", {"name": "vit_tiny_patch16_224", "arguments": {"device": "cpu"}}, "'device' is not an argument"),
        ("timm", {"name": "resnet18", "arguments": {"layers": [2, 2, 2, 1000]}}, "'layers' is 1,000, more than 512"),
        ("timm", {"name": "vit_tiny_patch16_224", "arguments": {"img_size": 1 << 19, "patch_size": 2}}, "positions"),
        ("torchvision", {"name": "vit_b_16", "arguments": {"image_size": 1 << 40}}, "more than 1,048,576"),
        (
            "torchvision",
            {"name": "resnet18", "arguments": {"norm_layer": {"dtype": "a"}}},
            "'dtype' is not an argument",
        ),
        ("open_clip", a_tower(timm_model_name="hf-hub:nobody/nothing"), "no architecture 'hf-hub:nobody/nothing'"),
        ("open_clip", a_tower(timm_model_name="local-dir:model"), "no architecture 'local-dir:model'"),
        ("open_clip", a_tower(norm_kwargs={"device": "cpu"}), "'device' is not an argument"),
        ("open_clip", a_tower(pos_embed_type="sin_cos_2d", image_size=65536, patch_size=1), "positions"),
    ],
)
def test_arguments_that_are_absurd_or_lead_elsewhere_are_refused_unbuilt(
    family: str, arguments: dict[str, Any], told: str, tmp_path: Path
) -> None:
    if family == "open_clip":
        pytest.importorskip("open_clip")
    with pytest.raises(UserError, match=told):
        backbones.complete(Architecture(family=family, arguments=arguments))


def test_a_description_does_not_say_on_which_device_a_network_is_built(tmp_path: Path) -> None:
    images = {"input_size": [3, 224, 224], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    given = {"device": "cpu", "dtype": "float64", "img_size": 32}
    config = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": images, "model_args": given}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = beside.described(tmp_path / "model.safetensors").architecture
    assert found is not None
    assert found.arguments["arguments"] == {"img_size": 32}


def test_a_network_that_takes_hours_to_build_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "LONGEST", 0.2)
    endless = {"name": "tiny_vit_5m_224", "arguments": {"window_sizes": [64] * 4}}
    begun = time.process_time()
    with pytest.raises(UserError, match="no network that is known takes so long"):
        backbones.expected_shapes(Architecture(family="timm", arguments=endless))
    assert time.process_time() - begun < 5
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL


def test_what_changes_no_feature_is_left_out_of_a_configuration() -> None:
    config = {"hidden_size": 8, "auto_map": {"AutoModel": "x--y"}, "id2label": {"0": "cat"}, "sizes": (1, 2)}
    assert _transformers_configs.plain(config) == {"hidden_size": 8, "sizes": [1, 2]}


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32}
INTERNVL = {**SMALL, "image_size": [32, 32], "patch_size": [8, 8]}
KINDS = {
    "dinov3_vit": {**SMALL, "patch_size": 8, "num_register_tokens": 2},
    "dinov3_vit without registers": {**SMALL, "patch_size": 8, "num_register_tokens": 0},
    "vit": {**SMALL, "patch_size": 8},
    "siglip_vision_model": {**SMALL, "patch_size": 8},
    "convnextv2": {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1], "image_size": 64},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["save_pretrained", "state_dict"])
def test_a_network_of_transformers_loads_from_its_folder(kind: str, way: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(kind.split()[0], **KINDS[kind])
    network: Any = lively(transformers.AutoModel.from_config(config))
    if way == "save_pretrained":
        network.save_pretrained(tmp_path / "model")
    else:
        saved(tmp_path / "model", config.to_dict(), network.state_dict())
    candidate = load(tmp_path / "model")
    side = KINDS[kind]["image_size"]
    assert candidate.card.preprocess.crop == side
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        outputs = network(pixel_values=images)
        token = kind.split()[0] in {"vit", "dinov3_vit"}
        expected = outputs.last_hidden_state[:, 0] if token else outputs.pooler_output
        require_same(candidate.backbone(images), expected)


def test_the_tower_for_images_of_a_clip_leaves_its_text_with_a_reason(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    parts = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.CLIPConfig(vision_config={**parts, "image_size": 32, "patch_size": 8}, text_config=parts)
    network: Any = lively(transformers.CLIPModel(config))
    network.save_pretrained(tmp_path / "model")
    candidate = load(tmp_path / "model")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        require_same(candidate.backbone(images), network.vision_model(pixel_values=images).pooler_output)
    assert candidate.report.dropped["text tower"]
    lost = {name: tensor for name, tensor in network.state_dict().items() if "vision_model.post_layernorm" not in name}
    with pytest.raises(UserError, match="post_layernorm"):
        load(saved(tmp_path / "lost", config.to_dict(), lost))


def test_a_part_for_images_that_is_built_only_within_a_larger_model_is_loaded(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    parts = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    vision = {**parts, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPSegConfig(vision_config=vision, text_config=parts)
    network: Any = lively(transformers.AutoModel.from_config(config))
    network.save_pretrained(tmp_path / "model")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network.vision_model(pixel_values=images).pooler_output
        require_same(load(tmp_path / "model").backbone(images), expected)


def test_names_in_a_file_of_a_larger_model_are_those_of_its_own_table(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    parts = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    vision = {**parts, "image_size": 32, "patch_size": 8}
    config = transformers.AltCLIPConfig(vision_config=vision, text_config={**parts, "vocab_size": 16})
    network: Any = lively(transformers.AutoModel.from_config(config))
    network.save_pretrained(tmp_path / "model")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network.vision_model(pixel_values=images).pooler_output
        require_same(load(tmp_path / "model").backbone(images), expected)


def test_a_norm_of_the_classifier_is_left_out_with_its_reason(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}
    network: Any = lively(transformers.PoolFormerForImageClassification(transformers.PoolFormerConfig(**sizes)))
    network.save_pretrained(tmp_path / "model")
    candidate = load(tmp_path / "model")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network.poolformer(pixel_values=images).last_hidden_state.mean((2, 3))
        require_same(candidate.backbone(images), expected)
    assert candidate.report.dropped["norm of the classifier"] == ["norm.bias", "norm.weight"]


def test_an_output_that_a_person_states_is_taken_where_the_usual_one_is_not_there(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network: Any = lively(transformers.AutoModel.from_config(transformers.InternVLVisionConfig(**INTERNVL)))
    network.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="--as pooling=mean"):
        load(tmp_path / "model")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(pixel_values=images).last_hidden_state[:, 1:].mean(1)
        require_same(load(tmp_path / "model", overrides=["pooling=mean"]).backbone(images), expected)


def test_a_network_that_takes_no_square_images_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": [32, 128]}
    network = transformers.AutoModel.from_config(transformers.MgpstrConfig(**sizes))
    network.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="does not take images"):
        load(tmp_path / "model")


def test_a_described_network_that_is_not_built_is_not_replaced_by_a_guess(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network: Any = lively(transformers.AutoModel.from_config(transformers.AutoConfig.for_model("vit", **KINDS["vit"])))
    config = {**network.config.to_dict(), "hidden_act": "absent"}
    with pytest.raises(UserError, match=r"(?s)not built here.*--as arch=LIBRARY:NAME"):
        load(saved(tmp_path / "model", config, network.state_dict()))


def test_another_output_is_taken_where_a_person_says_so(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model("dinov3_vit", **KINDS["dinov3_vit"])
    network: Any = lively(transformers.AutoModel.from_config(config))
    network.save_pretrained(tmp_path / "model")
    candidate = load(tmp_path / "model", overrides=["pooling=mean"])
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        require_same(candidate.backbone(images), network(pixel_values=images).last_hidden_state[:, 3:].mean(1))


# --- open_clip


TEXT = {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 2, "layers": 1}
TOWER = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}
OF_TIMM = {"timm_model_name": "test_vit", "image_size": 160}
TOWERS = {
    "a ViT, its projection a parameter": TOWER,
    "an average, as CLIPA": {**TOWER, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
    "attention pool and tokens, as CoCa": {
        **{**TOWER, "attentional_pool": True, "attn_pooler_heads": 4},
        **{"attn_pooler_queries": 6, "output_tokens": True},
    },
    "a ResNet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
    "of timm, the projection behind it": {**OF_TIMM, "timm_pool": "", "timm_proj": "linear"},
    "of timm, its classifier the projection": {**OF_TIMM, "timm_pool": "token", "timm_proj": None},
}


def of_open_clip(folder: Path, tower: dict[str, Any], quick_gelu: bool = False) -> Any:
    """A network of open_clip, saved as it saves it."""
    open_clip = pytest.importorskip("open_clip")
    network: Any = lively(open_clip.CLIP(24, tower, TEXT, quick_gelu=quick_gelu))
    folder.mkdir(exist_ok=True)
    torch.save(network.state_dict(), folder / "open_clip_pytorch_model.bin")
    model = {"embed_dim": 24, "quick_gelu": quick_gelu, "vision_cfg": tower, "text_cfg": TEXT}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    return network


def projected(visual: Any, features: Tensor) -> Tensor:
    """Features of an image tower as its own projection makes the embedding of them."""
    if isinstance(getattr(visual, "proj", None), nn.Parameter):
        return features @ visual.proj
    if not hasattr(visual, "trunk"):
        return features
    return visual.head(features) if len(visual.head) else visual.trunk.head(features)


@pytest.mark.parametrize("kind", TOWERS)
def test_a_tower_of_open_clip_is_taken_before_its_projection(kind: str, tmp_path: Path) -> None:
    network = of_open_clip(tmp_path / "model", TOWERS[kind])
    side = TOWERS[kind]["image_size"]
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        found = network.encode_image(images)
        embedded = found[0] if isinstance(found, tuple) else found
        require_same(load(tmp_path / "model", overrides=["output=embedding"]).backbone(images), embedded)
        candidate = load(tmp_path / "model")
        require_same(projected(network.visual, candidate.backbone(images)), embedded)
    left = {"text tower", "temperature of the contrastive loss"}
    assert candidate.report.dropped.keys() - {"projector", "classifier"} == left
    assert candidate.card.preprocess.mean == pytest.approx(beside.CLIP_MEAN)


def test_a_towers_activation_is_that_of_its_description(tmp_path: Path) -> None:
    network = of_open_clip(tmp_path / "model", TOWER, quick_gelu=True)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        found = load(tmp_path / "model").backbone(images) @ network.visual.proj
        require_same(found, network.encode_image(images))
    bare = (tmp_path / "model/open_clip_pytorch_model.bin").rename(tmp_path / "network.pt")
    with pytest.raises(UserError, match="2 networks that compute differently"):
        load(bare)


def test_a_file_of_open_clip_beside_another_librarys_description_is_read_by_its_own(tmp_path: Path) -> None:
    network = of_open_clip(tmp_path / "model", TOWER)
    (tmp_path / "model/config.json").write_text(json.dumps({"model_type": "clip", "vision_config": {}}))
    candidate = load(tmp_path / "model/open_clip_pytorch_model.bin")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        require_same(candidate.backbone(images) @ network.visual.proj, network.encode_image(images))


WHOLE = """
import torch
class Chosen(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("chosen", torch.tensor([2, 0, 1]))
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(6))
    def forward(self, images):
        features = images.mean((2, 3))
        for layer in self.layers:
            features = torch.tanh(layer(features))
        return features[:, self.chosen]
"""


def test_whole_numbers_of_a_network_are_loaded_where_it_has_them_and_nowhere_else(own: Path) -> None:
    (own / "chosen.py").write_text(WHOLE)
    scope: dict[str, Any] = {}
    exec(WHOLE, scope)
    network, images = lively(scope["Chosen"]()), torch.randn(2, 3, 8, 8)
    network.chosen.copy_(torch.tensor([1, 1, 0]))
    torch.save(network.state_dict(), own / "chosen.pth")
    with torch.no_grad():
        found = load(own / "chosen.pth", overrides=[f"arch=python:{own / 'chosen.py'}:Chosen"]).backbone(images)
        require_same(found, network(images))
    torch.save({**network.state_dict(), "layers.0.bias": torch.tensor([1, 2, 3])}, own / "chosen.pth")
    with pytest.raises(UserError, match=r"layers\.0\.bias is torch\.int64, not floating point"):
        load(own / "chosen.pth", overrides=[f"arch=python:{own / 'chosen.py'}:Chosen"])


class Tokens(nn.Module):
    """What a network of transformers gives: a token before the patches, and those of four patches."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.config = SimpleNamespace(patch_size=8, image_size=16)
        self.register_parameter(name, nn.Parameter(torch.zeros(3, 2)))

    def forward(self, pixel_values: Tensor) -> Any:
        tokens = torch.arange(14.0).view(1, 7, 2).expand(len(pixel_values), -1, -1)
        return SimpleNamespace(last_hidden_state=tokens)


def test_tokens_before_the_patches_are_known_or_refused() -> None:
    family, images = backbones.FAMILIES.load("transformers"), torch.zeros(2, 3, 16, 16)
    known = family.TransformersBackbone(Tokens("cls_register_token"), "own", "mean")
    assert known(images).tolist() == [[9.0, 10.0]] * 2
    with pytest.raises(UserError, match="gives 7 tokens for 4 patches"):
        family.TransformersBackbone(Tokens("something_else"), "own", "mean")(images)
