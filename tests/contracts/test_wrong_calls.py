"""A person's mistake ends in a sentence and exit code 2, never in a traceback: by a grammar, and each known one."""

import gzip
import importlib
import json
import os
import resource
import tarfile
from collections.abc import Callable
from pathlib import Path
from subprocess import TimeoutExpired
from types import ModuleType

import forked
import pytest
import torch
import wrong_files
from recorded import a_record  # pyright: ignore[reportMissingImports]
from wrong_calls import QUICK, Maker, WrongCall

from transferbench.errors import UserError, of_a_path

IMPORTED = (
    *("transferbench.api", "transferbench.report", "transferbench.sharing", "transferbench.checkpoints.convert"),
    *("transferbench.comparison.pairs", "transferbench.data.shrinking", "decorssl.session", "decorssl.study"),
    *("transferbench.comparison.gate.texts", "transferbench.sheets", "decorssl.sheets", "transferbench.backbones.swin"),
    *("transferbench.backbones.vit", "transferbench.backbones.resnet", "sklearn.datasets"),
)
Run = Callable[..., tuple[int, str, str]]
MEMORY, SECONDS = 8 << 30, 60
"""What a wrong call may take: bytes, and seconds of the CPU."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    records = [a_record(name, value).model_dump(mode="json") for name, value in (("INTL", 40.0), ("BYOL", 50.0))]
    return wrong_files.whole(tmp_path_factory.mktemp("wrong") / "whole", records)


@pytest.fixture
def commands(run_main: Callable[[str, ModuleType], Run]) -> dict[str, Run]:
    import decorssl.cli
    import transferbench.cli

    return {"evaluate": run_main("evaluate", transferbench.cli), "pretrain": run_main("pretrain", decorssl.cli)}


@pytest.fixture
def here(whole: dict[str, Path], commands: dict[str, Run]) -> Path:
    """The folder that a test works in, with the whole files."""
    for name, path in whole.items():
        wrong_files.copied(path, Path(name))
    return Path.cwd()


def problem(call: WrongCall, code: int, out: str, err: str) -> str:
    """What is wrong with how a call ended; empty where it ended as documented."""
    documented = {0, 1, 2} if "gate" in call.words[:1] else {0, 2}
    if code not in documented or "Traceback" in out + err:
        return f"{call}: {code}\n{err[-2000:]}"
    return f"{call}: not a word" if code and not (out + err).strip() else ""


@pytest.mark.parametrize("seed", range(60))
def test_a_wrong_call_ends_in_a_sentence(seed: int, whole: dict[str, Path], commands: dict[str, Run]):
    call = Maker(whole, seed).call(QUICK)
    assert problem(call, *commands[call.command](*call.words)) == ""


@pytest.mark.slow
def test_300_wrong_calls_end_in_a_sentence_within_limits(whole: dict[str, Path], tmp_path: Path):
    import decorssl.cli
    import transferbench.cli

    for name in IMPORTED:  # once, and not in each fork
        importlib.import_module(name)
    mains = {"evaluate": transferbench.cli.main, "pretrain": decorssl.cli.main}

    def limited(call: WrongCall) -> Callable[[], None]:
        def work() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            forked.sys.argv = [call.command, *call.words]
            mains[call.command]()

        return work

    problems = []
    for seed in range(1000, 1300):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            call = Maker(whole, seed, alone=True).call()
        run = forked.Fork(limited(call), cwd=folder, variables={"HF_HUB_OFFLINE": "1"})
        try:
            done = run.finish()
        except TimeoutExpired as error:
            problems.append(f"{call}: no end in {error.timeout:g} s\n{error.stderr}")
        else:
            problems.append(problem(call, done.returncode, done.stdout, done.stderr))
    wrong = [each for each in problems if each]
    print(f"{len(problems)} calls, {len(wrong)} of them ended in another way")
    assert wrong == []


def test_whole_files_are_accepted(here: Path, commands: dict[str, Run]):
    """Else every damage of them would be refused for another reason."""
    for command, words in (
        ("evaluate", "table store.zip --out out"),
        ("evaluate", "show suite.yaml"),
        ("evaluate", "shrink ./imgs.zip small --workers 0"),
        ("evaluate", "shrink ./tars small-tars --workers 0"),
        *([("evaluate", "shrink ./rows small-rows --workers 0")] if wrong_files.HAS_PARQUET else []),
        ("pretrain", "times run"),
        ("pretrain", "show recipe.yaml"),
    ):
        assert commands[command](*words.split())[0] == 0, words


@pytest.mark.skipif(not wrong_files.HAS_PARQUET, reason="needs pyarrow")
@pytest.mark.parametrize("columns", [("image", "label"), ("image",)])
@pytest.mark.parametrize(("what", "number"), [("rows", 5), ("rows", 2**31), ("rows", 2**62), ("bytes", 2**40)])
def test_what_a_parquet_file_states_is_held_against_what_it_holds(
    columns: tuple[str, ...], what: str, number: int, here: Path
):
    from transferbench.data.sources import parquet

    images = [{"bytes": path.read_bytes(), "path": None} for path in sorted(here.glob("imgs/val/*/*.png"))]
    given = {"image": images, "label": [0, 0, 1, 1]}
    content = wrong_files.table({name: given[name] for name in columns})
    Path("rows/val-0.parquet").write_bytes(wrong_files.stating(content, what, number))
    with pytest.raises(UserError, match=f"val-0.parquet states {number:,}"):
        parquet.open_split(Path("rows"), "val")


def _dangling() -> None:
    for name in ("dangling.pth", "dangling.yaml", "dangling"):
        Path(name).symlink_to("nowhere")


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("evaluate", "inspect dangling.pth", "dangling.pth is a link to nowhere, where nothing is"),
        ("evaluate", "show dangling.yaml", "dangling.yaml is a link to nowhere"),
        ("evaluate", "table dangling", "dangling is a link to nowhere"),
        ("evaluate", "knn a.pth --data ./dangling", "dangling is a link to nowhere"),
        ("pretrain", "times dangling", "dangling is a link to nowhere"),
        ("evaluate", "a.pth", "evaluate all a.pth"),
        ("evaluate", "b.ckpt", "evaluate all b.ckpt"),
        ("evaluate", "ROW=a.pth", "evaluate all ROW=a.pth"),
        ("evaluate", "timm:resnet50.a1_in1k", "evaluate all timm:resnet50.a1_in1k"),
        ("evaluate", "tabel", "Did you mean 'table'?"),
        ("pretrain", "recipe.yaml", "pretrain METHOD --recipe recipe.yaml"),
        ("evaluate", "knn a.pth --data ./imgs --device gpu", "Unknown device 'gpu'. Did you mean 'cuda'?"),
        ("evaluate", "knn a.pth --data ./imgs --device cpu:x", "Unknown device 'cpu:x'"),
        ("pretrain", "intl --recipe recipe.yaml --device meta", "Unknown device 'meta'"),
        ("evaluate", "knn a.pth --data imgs", "--data ./imgs"),
        ("pretrain", "intl --data imgs", "--data ./imgs"),
        ("evaluate", "inspect https://example.org/a.pth", "https://example.org/a.pth is an address"),
        ("evaluate", "knn a.pth --data https://example.org/d.zip", "https://example.org/d.zip is an address"),
        ("evaluate", "knn a.pth --data ./imgs --suite https://example.org/s.yaml", "is an address"),
        ("evaluate", "table https://example.org/r.zip", "is an address"),
        ("pretrain", "intl --recipe https://example.org/r.yaml", "is an address"),
        ("pretrain", "times https://example.org/run", "is an address"),
        ("evaluate", "inspect hf:./imgs", "./imgs is a path of this machine. Leave out 'hf:'"),
        ("evaluate", "knn a.pth --data hf:./imgs", "./imgs is a path of this machine. Leave out 'hf:'"),
        ("evaluate", "inspect loop.pth", "cannot be read (Too many levels of symbolic links)"),
        ("evaluate", "table loop.pth", "loop.pth is a link that leads back to itself"),
    ],
)
def test_a_known_mistake_says_what_to_do(command: str, words: str, said: str, here: Path, commands: dict[str, Run]):
    _dangling()
    Path("loop.pth").symlink_to("loop.pth")
    code, _, err = commands[command](*words.split())
    assert (code, said in err) == (2, True), err


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device"])
@pytest.mark.parametrize(
    ("command", "words", "written"),
    [
        ("evaluate", "pack OUT.zip store", "OUT.zip"),
        ("evaluate", "compare INTL BYOL --in store --out OUT.csv", "OUT.csv"),
        ("evaluate", "gate store.zip --against store --junit OUT.xml", "OUT.xml"),
        ("evaluate", "report store --no-images --out OUT.html", "OUT.html"),
        ("evaluate", "table store --out out", "out/leaderboard.md"),
        ("pretrain", "intl --recipe recipe.yaml --out out", "out/backbone.safetensors"),
        ("pretrain", "intl --recipe recipe.yaml --out out", "out/steps.jsonl"),
    ],
)
def test_a_file_is_not_written_where_something_else_lies(
    kind: str, command: str, words: str, written: str, here: Path, commands: dict[str, Run]
):
    path = Path(written)
    path.parent.mkdir(exist_ok=True)
    make = {"a pipe": os.mkfifo, "a folder": Path.mkdir, "a device": lambda path: path.symlink_to("/dev/null")}
    make[kind](path)
    code, _, err = commands[command](*words.split())
    assert (code, written in err, "Traceback" in err) == (2, True, False), err
    assert not path.is_file()


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, os.fsdecode(b"odd\xff")])
@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "inspect", "NAME.pth"),
        ("evaluate", "table", "NAME"),
        ("evaluate", "knn", "a.pth", "--data", "./NAME"),
        ("evaluate", "show", "NAME.yaml"),
        ("evaluate", "shrink", "./no", "NAME"),
        ("pretrain", "intl", "--recipe", "NAME"),
        ("pretrain", "NAME"),
    ],
)
def test_names_that_no_file_can_have(name: str, words: tuple[str, ...], commands: dict[str, Run]):
    command, *rest = words
    code, _, err = commands[command](*(word.replace("NAME", name) for word in rest))
    assert code == 2
    assert err.strip()
    assert "Traceback" not in err


def test_an_undecodable_name_of_a_file_that_is_there(here: Path, commands: dict[str, Run]):
    name = os.fsdecode(b"odd\xff")
    Path("store").rename(name)
    code, out, err = commands["evaluate"]("table", name)
    assert (code, err) == (0, "")
    assert r"wrote odd\udcff/leaderboard.md" in out


def test_a_log_that_is_no_json_is_named_with_its_line(here: Path, commands: dict[str, Run]):
    steps = Path("run/steps.jsonl")
    good = steps.read_text()
    for text, line in (
        ("hello\n", 1),
        (good + '{"step": 9', 0),
        ('{"st', 0),
        (good + "[1]\n" + good, 5),
        ('{"step": "a"}\n', 1),
    ):
        steps.write_text(text)
        code, out, err = commands["pretrain"]("times", "run")
        assert (code, f"steps.jsonl, line {line}" in err, "images/s" in out) == (2 if line else 0, bool(line), not line)


def test_a_gzipped_shard_says_how_to_unpack_it(here: Path, commands: dict[str, Run]):
    shard = Path("tars/train-0.tar")
    shard.write_bytes(gzip.compress(shard.read_bytes()))
    code, _, err = commands["evaluate"]("knn", "a.pth", "--data", "./tars")
    assert (code, "gunzip train-0.tar.gz" in err) == (2, True)
    with tarfile.open("a.pth.tar", "w:gz"):
        pass
    code, _, err = commands["evaluate"]("inspect", "a.pth.tar")
    assert (code, "compressed with gzip" in err) == (2, True)


@pytest.mark.parametrize("stated", ["std=[0,0,0]", "std=[1,1,-1]", "crop=100000000", "size=0", "width=1e30"])
def test_what_is_stated_of_a_network_is_in_range(stated: str):
    from transferbench.backbones import Architecture
    from transferbench.checkpoints.overrides import applied
    from transferbench.data.transforms import Preprocess

    architecture = Architecture(family="resnet", arguments={"depth": 10})
    with pytest.raises(UserError, match=stated.partition("=")[0]):
        applied(architecture, Preprocess(), [stated])


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("resnet", {"width": 1e30}),
        ("resnet", {"width": 1e-9}),
        ("resnet", {"width": 0}),
        ("resnet", {"width": -1}),
        ("resnet", {"width": 1 / 64, "stem": "deep"}),
        ("resnet", {"depth": 26, "width": 0.125, "width_per_group": 1}),
        ("resnet", {"groups": 0}),
        ("resnet", {"bn_eps": 0}),
        ("vit", {"mlp_ratio": 1e-9}),
        ("vit", {"dim": 4, "heads": 1, "conv_stem": True}),
        ("vit", {"patch_size": 12, "conv_stem": True}),
        ("vit", {"image_size": 8}),
        ("vit", {"norm_eps": -1}),
        ("vit", {"registers": -1}),
        ("swin", {"mlp_ratio": 1e-9}),
        ("swin", {"image_size": 2}),
        ("swin", {"depths": [-1, 2]}),
        ("vit", {"depth": 10**9}),
        ("vit", {"dim": 10**12}),
        ("vit", {"dim": 7, "heads": 3}),
        ("swin", {"depths": [10**9]}),
        ("swin", {"depths": []}),
        ("swin", {"heads": [3]}),
        ("swin", {"window": 10**6}),
    ],
)
def test_an_absurd_network_is_refused_before_it_is_built(family: str, arguments: dict[str, object]):
    from transferbench.backbones import Architecture, build

    with pytest.raises(UserError):
        build(Architecture(family=family, arguments=dict(arguments)), device="meta")


def test_a_network_that_memory_does_not_hold_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch):
    from transferbench.backbones import Architecture, build, memory

    monkeypatch.setattr(memory, "installed", lambda: 4 * 4_902_000)
    small = Architecture(family="resnet", arguments={"depth": 10})
    with pytest.raises(UserError, match=r"resnet10 has 4,9\d\d,\d\d\d values"):
        build(small)
    build(small, device="meta")


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (
            "pretrain",
            "intl --recipe recipe.yaml --set batch_size=4 --set backbone.arguments.width=1e-9 --out out",
            "no elements",
        ),
        (
            "pretrain",
            "intl --recipe recipe.yaml --set batch_size=4 --set backbone.arguments.width=64 --out out",
            "smaller network",
        ),
        ("evaluate", "inspect card.safetensors", "no network of a known architecture"),
        ("evaluate", "knn card.safetensors --data ./imgs", "no network of a known architecture"),
    ],
)
def test_a_network_without_elements_or_room_is_refused(
    command: str, words: str, said: str, here: Path, commands: dict[str, Run], monkeypatch: pytest.MonkeyPatch
):
    from safetensors.torch import save_file

    from transferbench.backbones import memory, resnet

    monkeypatch.setattr(memory, "installed", lambda: 8 << 30)
    architecture = {"family": "resnet", "arguments": {"depth": 10, "width": 1e-9}}
    built = resnet.build(resnet.Arguments.model_validate(architecture["arguments"]))
    card = {"schema_version": 1, "architecture": architecture, "preprocess": {"size": None, "crop": 16}}
    header = {"transferbench.card": json.dumps(card), "transferbench.digest": "0" * 64, "format": "pt"}
    save_file(built.state_dict(), "card.safetensors", header)
    code, _, err = commands[command](*words.split())
    assert (code, said in err) == (2, True), err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("vit", {"image_size": 32, "dim": 16, "depth": 1, "heads": 2}),
        ("swin", {"image_size": 32, "dim": 8, "depths": [1], "heads": [1], "window": 2}),
    ],
)
def test_images_that_are_not_whole_patches_are_refused(family: str, arguments: dict[str, object]):
    from transferbench.backbones import Architecture, build

    network = build(Architecture(family=family, arguments=dict(arguments))).eval()
    for see in (network, network.stages):
        with pytest.raises(UserError, match="31x31 pixels are not whole patches"):
            see(torch.zeros(1, 3, 31, 31))
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, network.width)


def test_tensors_without_dimensions_are_misshapen_and_no_more():
    from transferbench.backbones import candidates

    names = ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight", "layer2.0.conv1.weight")
    more = ("blocks.0.norm1.weight", "pos_embed", "patch_embed.proj.weight", "layers.0.blocks.0.norm1.weight")
    shapes = dict.fromkeys((*names, *more), torch.tensor(1.0).shape)
    candidates({name: tuple(shape) for name, shape in shapes.items()})


def test_an_error_of_the_system_that_is_no_path_s_stays_a_bug():
    assert of_a_path(OSError(5, "of a device")) is None
    assert of_a_path(RuntimeError("of the program")) is None
    assert "cannot be used: No such file" in str(of_a_path(FileNotFoundError(2, "No such file", "a")))
