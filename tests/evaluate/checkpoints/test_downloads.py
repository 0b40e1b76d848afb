"""A library's name gives its network's features on its own images, or an error that says what to do.

Nothing is downloaded: the libraries' downloaders are replaced by ones that write a file in the library's own layout,
except where no network is what is tested.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from huggingface_hub import errors
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import transferbench
from transferbench import backbones, records
from transferbench.backbones import Architecture
from transferbench.checkpoints import Candidate, Origin, digest
from transferbench.checkpoints.convert import convert
from transferbench.checkpoints.downloads import locate
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load, sha256
from transferbench.data import transforms
from transferbench.errors import UserError
from transferbench.records import Record
from transferbench.suite import Suite, SuiteEntry

CLOSE = 1e-5
"""Of the largest feature."""
Files = dict[str, bytes | Callable[[Path], None]]


def lively(network: nn.Module, seed: int = 1) -> nn.Module:
    """Weights and statistics unlike a fresh network's, whose layers at zero would hide one that is not used."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "norm.weight")) or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.05, generator=draw)
    return network.eval()


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What torch's downloader was asked for; it writes the state dict under `network`."""
    asked: dict[str, Any] = {}

    def download(url: str, path: str, hash_prefix: str | None, progress: bool = True) -> None:
        asked.update(url=url, path=path, hash_prefix=hash_prefix, count=asked.get("count", 0) + 1)
        torch.save(asked["network"].state_dict(), path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    return asked


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Files:
    """The files of the only repository there is, which its client lays where it would: in a folder of the commit."""
    files: Files = {}

    def one(repository: str, name: str, revision: str | None = None) -> str:
        path = tmp_path / repository.replace("/", "--") / "snapshots" / f"{revision or 'main'}0f" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = files[name]
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda repository, revision=None: list(files))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", one)
    return files


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[nn.Module]:
    """A small network of torchvision's names with a classifier; torchvision's own are as small here."""

    def made(name: str, given: dict[str, Any]) -> nn.Module:
        network = backbones.build(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125}))
        network.fc = nn.Linear(64, 1000)
        return network.to(torch.get_default_device())

    monkeypatch.setattr(backbones.FAMILIES.load("torchvision"), "_made", made)
    backbones._tensors_of.cache_clear()
    yield lively(made("resnet18", {}))
    backbones._tensors_of.cache_clear()


def saved(network: nn.Module) -> Callable[[Path], None]:
    return lambda path: safetensors.torch.save_file(network.state_dict(), path)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))


def features(candidate: Candidate) -> Tensor:
    """Of the picture, by the card alone."""
    (image,) = transforms.evaluation(candidate.card.preprocess)(picture(), np.random.default_rng(0))
    with torch.no_grad():
        return candidate.backbone(image[None])


def off(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


CHOICES = [
    ("resnet18", "", "IMAGENET1K_V1", 256),
    ("resnet50", "", "IMAGENET1K_V2", 232),
    ("resnet50", "/IMAGENET1K_V1", "IMAGENET1K_V1", 256),
]


@pytest.mark.parametrize(
    ("model", "chosen", "name", "size"),
    [CHOICES[0], *(pytest.param(*choice, marks=pytest.mark.slow) for choice in CHOICES[1:])],
)
def test_torchvisions_name_gives_its_features_on_its_own_images(
    model: str, chosen: str, name: str, size: int, urls: dict[str, Any]
) -> None:
    theirs: Any = lively(torchvision.models.get_model(model, weights=None))
    urls["network"] = theirs
    candidate = load(f"torchvision:{model}{chosen}")
    weights = torchvision.models.get_model_weights(model)[name]
    theirs.fc = nn.Identity()
    with torch.no_grad():
        assert off(features(candidate), theirs(weights.transforms()(picture())[None])) <= CLOSE
    assert candidate.card.preprocess.size == size
    assert candidate.name == f"{model}.{name}"
    assert candidate.card.origin.source == urls["url"] == weights.url
    assert weights.url.endswith(f"-{urls['hash_prefix']}.pth")
    assert any(f"torchvision's {weights}" in line for line in candidate.report.assumed)
    assert any(f"features compared with torchvision's own {model}" in line for line in candidate.report.assumed)


@pytest.mark.parametrize(("model", "chosen", "name", "size"), CHOICES)
def test_torchvisions_default_weights_or_those_named_are_taken_with_their_images(
    model: str, chosen: str, name: str, size: int, urls: dict[str, Any], narrow: nn.Module
) -> None:
    urls["network"] = narrow
    candidate = load(f"torchvision:{model}{chosen}")
    weights = torchvision.models.get_model_weights(model)[name]
    assert (candidate.card.preprocess.size, candidate.card.preprocess.crop) == (size, 224)
    assert candidate.name == f"{model}.{name}"
    assert candidate.card.origin.source == urls["url"] == weights.url
    assert any(f"torchvision's {weights}" in line for line in candidate.report.assumed)


def test_what_is_there_already_is_not_downloaded_again(urls: dict[str, Any]) -> None:
    urls["network"] = torchvision.models.resnet18()
    first, again = locate("torchvision:resnet18"), locate("torchvision:resnet18")
    assert first.path == again.path
    assert urls["count"] == 1


@pytest.mark.parametrize(
    "name",
    [
        "resnet18.a1_in1k",
        "test_vit.r160_in1k",
        pytest.param("vit_tiny_patch16_224.augreg_in21k", marks=pytest.mark.slow),
    ],
)
def test_timms_name_gives_its_features_on_its_own_images(name: str, hub: Files) -> None:
    hub |= {"model.safetensors": saved(lively(timm.create_model(name))), "pytorch_model.bin": b"never taken"}
    candidate = load(f"timm:{name}")
    theirs: Any = lively(timm.create_model(name))
    theirs.reset_classifier(0)
    own = timm.data.create_transform(**timm.data.resolve_data_config({}, model=theirs))  # pyright: ignore
    with torch.no_grad():
        assert off(features(candidate), theirs(own(picture())[None])) <= CLOSE
    assert candidate.name == name
    assert candidate.card.preprocess.interpolation == theirs.pretrained_cfg["interpolation"]
    assert candidate.card.origin.source == f"timm/{name}@main0f/model.safetensors"


def test_timm_without_a_tag_is_its_default_and_without_safetensors_the_pickle_is_only_read(
    hub: Files, tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    state = timm.create_model("test_vit").state_dict()
    hub["pytorch_model.bin"] = lambda path: torch.save({"model": state, "optimizer": Bomb()}, path)
    candidate = load("timm:test_vit")
    assert candidate.name == "test_vit.r160_in1k"
    assert candidate.digest == digest({n: t for n, t in state.items() if not n.startswith("head")})
    assert not (tmp_path / "executed").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnetblur50.bt_in1k", "resnetaa50.a1h_in1k"])
def test_a_network_with_the_same_names_that_computes_other_features_is_the_librarys_own(name: str, hub: Files) -> None:
    hub["model.safetensors"] = saved(lively(timm.create_model(name)))
    candidate = load(f"timm:{name}")
    theirs: Any = lively(timm.create_model(name))
    theirs.reset_classifier(0)
    own = timm.data.create_transform(**timm.data.resolve_data_config({}, model=theirs))  # pyright: ignore
    with torch.no_grad():
        assert off(features(candidate), theirs(own(picture())[None])) <= CLOSE
    assert candidate.card.architecture.family == "timm"


@pytest.mark.parametrize(("pooled", "norm_last"), [("token", False), ("avg", False), ("avg", True)])
def test_what_timm_built_says_the_epsilon_of_the_norm_that_it_has(pooled: str, norm_last: bool) -> None:
    more = {"img_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 4, "num_classes": 0}
    layer = partial(nn.LayerNorm, eps=0.25)
    built = VisionTransformer(**more, global_pool=pooled, fc_norm=norm_last, norm_layer=layer)
    said = ("heads=4", "norm_eps=0.25", f"pooling={'token' if pooled == 'token' else 'mean'}")
    assert backbones.FAMILIES.load("timm").untold(built) == said


def test_what_the_person_says_has_the_last_word(hub: Files) -> None:
    hub["model.safetensors"] = saved(timm.create_model("test_vit"))
    candidate = load("timm:test_vit", overrides=["crop=96", "heads=1"])
    assert candidate.card.preprocess.crop == 96
    assert candidate.card.architecture.arguments["heads"] == 1
    assert "crop is 96, not 160" in candidate.report.overridden
    assert not any("library's own network" in line for line in candidate.report.assumed)


def transformers_vit() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A network in transformers' names and its config."""
    dim, block = 64, "encoder.layer.0"
    shapes = {
        "embeddings.cls_token": (1, 1, dim),
        "embeddings.position_embeddings": (1, 17, dim),
        "embeddings.patch_embeddings.projection.weight": (dim, 3, 8, 8),
        "embeddings.patch_embeddings.projection.bias": (dim,),
    }
    sizes = {f"attention.attention.{part}": (dim, dim) for part in ("query", "key", "value")}
    sizes |= {"attention.output.dense": (dim, dim), "intermediate.dense": (128, dim), "output.dense": (dim, 128)}
    layers = {f"{block}.{part}": size for part, size in sizes.items()}
    layers |= {f"{block}.layernorm_{place}": (dim,) for place in ("before", "after")} | {"layernorm": (dim,)}
    for layer, size in layers.items():
        shapes |= {f"{layer}.weight": size, f"{layer}.bias": size[:1]}
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(size, generator=draw) for name, size in shapes.items()}, {
        "model_type": "vit",
        "num_attention_heads": 4,
        "layer_norm_eps": 1e-5,
    }


def test_a_repository_of_the_hub_is_read_with_what_lies_beside_its_weights(hub: Files) -> None:
    state, config = transformers_vit()
    statistics = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}
    hub |= {
        "README.md": b"",
        "pytorch_model.bin": b"never taken",
        "model.safetensors": lambda path: safetensors.torch.save_file(state, path),
        "config.json": json.dumps(config).encode(),
        "preprocessor_config.json": json.dumps(statistics).encode(),
    }
    candidate = load("hf:some/vit-tiny@abc")
    assert candidate.report.format == "huggingface"
    assert candidate.name == "vit-tiny"
    assert candidate.card.origin.source == "some/vit-tiny@abc0f/model.safetensors"
    assert candidate.card.architecture.arguments["heads"] == 4
    assert candidate.card.architecture.arguments["norm_eps"] == 1e-5
    assert candidate.card.preprocess.mean == (0.1, 0.2, 0.3)


def test_shards_are_all_fetched(hub: Files) -> None:
    state, _ = transformers_vit()
    names = sorted(state)
    parts = {"model-1-of-2.safetensors": names[::2], "model-2-of-2.safetensors": names[1::2]}
    for file, part in parts.items():
        hub[file] = lambda path, part=part: safetensors.torch.save_file({name: state[name] for name in part}, path)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    hub["model.safetensors.index.json"] = json.dumps(index).encode()
    candidate = load("hf:some/sharded")
    hub.clear()
    hub["model.safetensors"] = lambda path: safetensors.torch.save_file(state, path)
    assert candidate.digest == load("hf:some/whole").digest
    assert candidate.report.matched == len(state)


def test_a_repository_of_timms_brings_its_own_preprocessing(hub: Files) -> None:
    images = {"input_size": [3, 160, 160], "crop_pct": 0.95, "interpolation": "bicubic", "mean": [0.5] * 3}
    config = {"architecture": "test_vit", "pretrained_cfg": {**images, "std": [0.25] * 3}}
    hub |= {"model.safetensors": saved(timm.create_model("test_vit")), "config.json": json.dumps(config).encode()}
    found = load("hf:timm/test_vit").card.preprocess
    assert (found.size, found.crop, found.interpolation) == (168, 160, "bicubic")
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_a_repository_without_weights_says_what_it_has(hub: Files) -> None:
    hub |= {"weights.msgpack": b"", "README.md": b""}
    with pytest.raises(UserError, match=r"has none of model\.safetensors, .* it has README\.md, weights\.msgpack"):
        load("hf:some/flax")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("torchvision:resnet5", "Did you mean 'resnet50'"),
        ("torchvision:resnet50/IMAGENET1K_V3", "Did you mean 'IMAGENET1K_V2'"),
        ("timm:vit_small_patch16_224.dinoo", r"Nearest: vit_small_patch16_224\.dino"),
        ("timm:resnet50.nope", "timm has no weights"),
        ("hf:a/b/c", "expected hf:ORG/NAME"),
        ("tim:resnet50", "No checkpoint file at tim:resnet50"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(name: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        load(name)


def answered(kind: type[Exception], message: str = "Not this one") -> Exception:
    """An error of the hub's client, without the response it would carry."""
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (errors.GatedRepoError, "is gated. Ask for access at .*/some/model"),
        (errors.RepositoryNotFoundError, "There is no repository some/model"),
        (errors.RevisionNotFoundError, "has no revision 'v9'"),
        (errors.RemoteEntryNotFoundError, "does not have the file"),
        (errors.HfHubHTTPError, "was refused: Not this one"),
    ],
)
def test_what_the_hub_answers_is_told_in_words(kind: Any, told: str, hub: Files, monkeypatch: Any) -> None:
    def refusing(*arguments: Any, **more: Any) -> None:
        raise answered(kind)

    monkeypatch.setattr(huggingface_hub, "list_repo_files", refusing)
    with pytest.raises(UserError, match=told):
        load("hf:some/model@v9")


def test_without_a_network_what_to_do_is_told_and_what_is_here_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("torchvision:resnet18", "timm:test_vit", "hf:facebook/dinov2-small"):
        with pytest.raises(
            UserError, match=r"(?s)could not be downloaded .*download it by hand .* from http.*path here"
        ):
            load(name)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_file_of_that_name_comes_first(
    urls: dict[str, Any], narrow: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls["network"] = narrow
    monkeypatch.chdir(tmp_path)
    shutil.copy(load("torchvision:resnet18").path or "", "torchvision:resnet50")
    candidate = load("torchvision:resnet50")
    assert candidate.card.architecture.name == "resnet10-w0.125"
    assert candidate.card.origin.source is None


def test_inspect_and_convert_take_names_too(urls: dict[str, Any], narrow: nn.Module, tmp_path: Path) -> None:
    urls["network"] = narrow
    loaded, found = load("torchvision:resnet18"), inspect("torchvision:resnet18")
    assert (found.digest, found.report, found.origin) == (loaded.digest, loaded.report, loaded.card.origin)
    done = convert("torchvision:resnet18", tmp_path / "out.safetensors", "transferbench")
    card = load(done.path).card
    assert done.digest == loaded.digest
    assert card.origin.source == loaded.card.origin.source
    assert card.origin.source_sha256 == loaded.file_sha256 == sha256(Path(urls["path"]))
    assert card.preprocess == loaded.card.preprocess


NEAREST = ("knn.ks=[1]", "knn.k=1")
SHORT = ("linear.epochs=1", "semi-1.epochs=1", "semi-10.epochs=1")
ONE_STEP = "detect.overrides=SOLVER.MAX_ITER 1 TEST.PRECISE_BN.NUM_ITER 1"
QUICK = ("quick", (*NEAREST, *SHORT, ONE_STEP))
KNN = (Suite(name="nearest", jobs=(SuiteEntry(task="knn"),)), NEAREST)


@pytest.mark.parametrize(("row", "suite"), [pytest.param("", QUICK, marks=pytest.mark.slow), ("mine=", KNN)])
def test_every_record_says_file_digest_format_encoder_and_origin(
    row: str, suite: tuple[str | Suite, tuple[str, ...]], urls: dict[str, Any], narrow: nn.Module, tmp_path: Path
) -> None:
    urls["network"] = narrow
    check_records(row, suite, urls, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("row", ["", "mine="])
def test_every_record_of_torchvisions_own_network_says_so_too(row: str, urls: dict[str, Any], tmp_path: Path) -> None:
    urls["network"] = lively(torchvision.models.resnet18())
    check_records(row, QUICK, urls, tmp_path)


def check_records(row: str, suite: tuple[str | Suite, tuple[str, ...]], urls: dict[str, Any], tmp_path: Path) -> None:
    loaded = load("torchvision:resnet18")
    pictures(tmp_path / "imgs")
    found = transferbench.evaluate(
        f"{row}torchvision:resnet18",
        suite[0],
        str(tmp_path / "imgs"),
        out=tmp_path / "res",
        overrides=suite[1],
        device="cpu",
    )
    kept = dict(records.read_all(tmp_path / "res" / "records"))
    ours = [record for record in kept.values() if isinstance(record, Record) and record.file_sha256]
    assert {record.task for record in ours} == {record.task for record in found}
    for record in ours:
        assert record.candidate == (row.rstrip("=") or "resnet18.IMAGENET1K_V1")
        assert record.file_sha256 == hashlib.sha256(Path(urls["path"]).read_bytes()).hexdigest()
        assert record.digest == digest({n: t for n, t in urls["network"].state_dict().items() if n[:2] != "fc"})
        assert (record.load_report.format, record.load_report.encoder) == ("torchvision", "backbone (top level)")
        assert record.card.origin.source == loaded.card.origin.source == urls["url"]
        assert record.is_intact()
    controls = [record for record in kept.values() if isinstance(record, Record) and not record.file_sha256]
    assert {record.candidate for record in controls} == {"random-init"}


def pictures(folder: Path) -> None:
    """Two classes of four images in each of two splits."""
    for split in ("train", "val"):
        for label, level in (("dark", 40), ("light", 200)):
            place = folder / split / label
            place.mkdir(parents=True)
            for i in range(4):
                Image.fromarray(np.full((16, 16, 3), level + i, np.uint8)).save(place / f"{i}.png")


def test_records_of_local_files_and_older_ones_have_no_source() -> None:
    assert "source" not in Origin().model_dump()
    assert Origin(source="x").model_dump()["source"] == "x"
