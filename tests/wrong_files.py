"""Small whole files of every kind that the commands read, and seeded damages of them.

Bytes inside tables in Parquet are changed only where the call is a process of its own (`alone`): what reads them is not
ours, and may crash in another version.
"""

import hashlib
import io
import json
import pickle
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RECIPE = {
    "summary": "a test",
    "method": "intl",
    "data": "./imgs",
    "backbone": {"family": "resnet", "arguments": {"depth": 10, "width": 0.125, "stem": "cifar"}},
    "projector": {"layers": 3, "hidden": 32, "output": 32},
    "views": [{"operations": [{"op": "crop", "size": 16}, {"op": "flip"}]}] * 2,
    "preprocess": {"size": None, "crop": 16},
    "optim": {"lr": 1.0, "weight_decay": 1.0e-4, "decay_vectors": True, "warmup_epochs": 1},
    "growth": [{"until_epoch": 1, "scale": 0.5}],
    "targets": [{"task": "knn5", "value": 9.5, "source": "nowhere"}],
    "precision": "float32",
    "epochs": 3,
    "batch_size": 4096,
}
"""More images a batch than there are: whatever is whole ends before anything is trained."""
SUITE = {
    "summary": "a test",
    "jobs": [
        {"task": "knn", "settings": {"k": 1, "ks": [1]}},
        {"task": "linear", "id": "probe", "settings": {"epochs": 1}},
    ],
}
STEPS = [
    {"step": i, "epoch": i // 2, "loss": 1.5 / i, "lr": 0.1, "seconds": 0.5, "waited": 0.1, "knn": 20.0 + i}
    for i in range(1, 5)
]
SPECTRA = [
    {"step": i, "epoch": i // 2, "embeddings": {"effective_rank": 2.0, "spectrum": [1.0, 0.5]}, "alarm": None}
    for i in (2, 4)
]
HAS_PARQUET = find_spec("pyarrow") is not None
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1e308, 0.5, "", "x", "\0", "\ud800", "../..", "2", "x" * 300, "=1+1"),
    *([], {}, [[]], [None], {"": None}, [0, 0, 0], {"a": {"a": {}}}, ["x"] * 3, "os.system", "lab/no.py"),
)
"""What a value of a mapping is replaced with."""


def whole(folder: Path, records: list[Any]) -> dict[str, Path]:
    """Files and folders by their kind, all whole: `NAME` of a checkpoint, recipe, suite, store, run or data set."""
    folder.mkdir()
    for name, write in _checkpoints().items():
        (folder / name).write_bytes(write())
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))
    (folder / "suite.yaml").write_text(json.dumps(SUITE))
    _write_run(folder / "run")
    _write_store(folder, records)
    _write_data(folder)
    return {path.name: path for path in sorted(folder.iterdir())}


def _checkpoints() -> dict[str, Callable[[], bytes]]:
    """A few tensors that are no network, in every container; a card for the one that has a header."""
    import torch
    from safetensors.torch import save

    tensors = {f"layer{i}.weight": torch.zeros(2, 2) for i in range(3)} | {"bias": torch.tensor(1.0)}
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}

    def saved(tree: Any, is_zip: bool = True) -> bytes:
        buffer = io.BytesIO()
        torch.save(tree, buffer, _use_new_zipfile_serialization=is_zip)
        return buffer.getvalue()

    def packed() -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, weight=arrays["layer0.weight"], bias=arrays["bias"])
        return buffer.getvalue()

    card = {"schema_version": 1, "architecture": RECIPE["backbone"], "preprocess": {"size": None, "crop": 16}}
    header = {"transferbench.card": json.dumps(card), "transferbench.digest": "0" * 64, "format": "pt"}
    return {
        "a.pth": partial(saved, {"epoch": 3, "state_dict": tensors}),
        "old.pth": partial(saved, {"model": tensors}, False),
        "a.pkl": lambda: pickle.dumps({"model": arrays}, protocol=4),
        "a.safetensors": lambda: save(tensors, header),
        "a.npz": packed,
    }


def _write_run(folder: Path) -> None:
    folder.mkdir()
    from decorssl.recipe import checked

    recipe = checked({"name": "tiny", **RECIPE})
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    (folder / "environment.json").write_text("{}")
    for name, lines in (("steps.jsonl", STEPS), ("spectra.jsonl", SPECTRA)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def _write_store(folder: Path, records: list[Any]) -> None:
    (folder / "store" / "records").mkdir(parents=True)
    for i, values in enumerate(records):
        (folder / "store" / "records" / f"{i}.json").write_text(json.dumps(values))
    (folder / "one.json").write_text(json.dumps(records[0]))
    (folder / "store.zip").write_bytes(archived({f"records/{i}.json": each for i, each in enumerate(records)}))


def _write_data(folder: Path) -> None:
    images = {
        f"{split}/{label}/{i}.png": _png(level + i)
        for split in ("train", "val")
        for label, level in (("dark", 40), ("light", 200))
        for i in range(2)
    }
    for name, content in images.items():
        path = folder / "imgs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with zipfile.ZipFile(folder / "imgs.zip", "w") as archive:
        for name, content in images.items():
            archive.writestr(name, content)
    (folder / "tars").mkdir()
    for split in ("train", "val"):
        with tarfile.open(folder / "tars" / f"{split}-0.tar", "w") as tar:
            for name, content in images.items():
                for end, data in ((".png", content), (".cls", b"1")) if name.startswith(split) else ():
                    member = tarfile.TarInfo(name.removesuffix(".png") + end)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    _write_boxes(folder / "boxes", images)
    if HAS_PARQUET:
        _write_rows(folder / "rows", images)


def _write_rows(folder: Path, images: dict[str, bytes]) -> None:
    """The images again, two a row group."""
    folder.mkdir()
    for split in ("train", "val"):
        own = [{"bytes": content, "path": None} for name, content in images.items() if name.startswith(split)]
        (folder / f"{split}-0.parquet").write_bytes(table({"image": own, "label": [0, 0, 1, 1]}))


def table(columns: dict[str, list[Any]]) -> bytes:
    """A file in Parquet."""
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer, row_group_size=2)
    return buffer.getvalue()


def _write_boxes(folder: Path, images: dict[str, bytes]) -> None:
    """COCO's layout."""
    (folder / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (folder / split).mkdir()
        (folder / split / "0.png").write_bytes(images["train/dark/0.png"])
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
        box["segmentation"] = [[1, 1, 5, 1, 5, 5]]
        tree = {
            "images": [{"id": 1, "file_name": "0.png", "height": 16, "width": 16}],
            "categories": [{"id": 1, "name": "dot"}],
            "annotations": [box],
        }
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(tree))


def _png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def archived(files: dict[str, Any]) -> bytes:
    """JSON files as `evaluate pack` would put them into a zip."""
    contents = {name: json.dumps(each).encode() for name, each in files.items()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = json.dumps({"format": "transferbench-archive-1", "files": hashes}).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in [("manifest.json", manifest), *contents.items()]:
            archive.writestr(name, content)
    return buffer.getvalue()


def damage(path: Path, draw: random.Random, alone: bool = False) -> str:
    """Damage a file, or one in a folder, in place; what was done, in words."""
    if path.is_dir():
        inner = sorted(each for each in path.rglob("*") if each.is_file())
        chosen = draw.choice(inner)
        if draw.random() < 0.15:
            return _turned(chosen, draw)
        return f"{chosen.relative_to(path)}: {damage(chosen, draw, alone)}"
    content = path.read_bytes()
    if path.suffix in (".json", ".yaml", ".jsonl") and draw.random() < 0.7:
        return _structure(path, content, draw)
    kinds = BYTES
    if path.suffix == ".parquet":
        kinds = TABLES | (BYTES if alone else {name: BYTES[name] for name in SAFE})
    kind = draw.choice(list(kinds))
    path.write_bytes(kinds[kind](content, draw))
    return kind


def _turned(path: Path, draw: random.Random) -> str:
    """A file made something else."""
    path.unlink()
    match draw.choice(["gone", "a folder", "a dangling link", "a link to itself"]):
        case "a folder" as what:
            path.mkdir()
        case "a dangling link" as what:
            path.symlink_to("nowhere")
        case "a link to itself" as what:
            path.symlink_to(path.name)
        case what:
            pass
    return f"{path.name} is {what}"


def _structure(path: Path, content: bytes, draw: random.Random) -> str:
    """One value of a tree replaced, removed or wrapped; a record is sealed anew, so that it is read further."""
    parts = content.splitlines() if path.suffix == ".jsonl" else [content]
    at = draw.randrange(len(parts))
    top: list[Any] = [json.loads(parts[at])]
    places = list(_places(top))
    node, key = draw.choice(places)
    old = node[key]
    match draw.choice(["value", "value", "value", "removed", "wrapped", "renamed"]):
        case "removed" as what if isinstance(node, dict):
            del node[key]
        case "wrapped" as what:
            node[key] = draw.choice([[old], {"a": old}, [old, old]])
        case "renamed" as what if isinstance(node, dict):
            node[draw.choice(["", "x", str(key) + "s"])] = node.pop(key)
        case _:
            node[key] = draw.choice(VALUES)
            what = repr(node[key])[:40]
    if isinstance(top[0], dict) and "record_sha256" in top[0]:
        seal(top[0])
    parts[at] = json.dumps(top[0]).encode()
    path.write_bytes(b"\n".join(parts))
    return f"{key}: {what}"


def _places(node: Any) -> Any:
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def seal(values: dict[str, Any]) -> None:
    """Give a record's values the checksum that they have."""
    rest = {name: value for name, value in values.items() if name != "record_sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    values["record_sha256"] = hashlib.sha256(text.encode()).hexdigest()


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 4, 40])):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _within(content: bytes, draw: random.Random, put: Callable[[bytes], bytes]) -> bytes:
    start = draw.randrange(len(content))
    end = start + draw.choice([1, 8, 100])
    return content[:start] + put(content[start:end]) + content[end:]


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bytes changed": _flip,
    "cut short": lambda content, draw: content[: draw.randrange(len(content))],
    "part gone": lambda content, draw: _within(content, draw, lambda part: b""),
    "part twice": lambda content, draw: _within(content, draw, lambda part: part * 2),
    "zeros": lambda content, draw: _within(content, draw, lambda part: bytes(len(part))),
    "empty": lambda content, draw: b"",
    "noise": lambda content, draw: draw.randbytes(200),
    "other encoding": lambda content, draw: content.decode("latin1").encode("utf-16"),
    "a web page": lambda content, draw: b"<!DOCTYPE html><html>log in</html>",
}


SAFE = ("cut short", "empty", "noise", "a web page")


def _columns(content: bytes, draw: random.Random) -> bytes:
    """Columns that are missing, or hold something else."""
    image = {"bytes": b"none", "path": None}
    return table(
        draw.choice(
            [
                {"image": [image] * 4},
                {"label": [0, 0, 1, 1]},
                {"image": [1, 2, 3, 4], "label": [0, 0, 1, 1]},
                {"image": [image] * 4, "label": ["a", "b", None, "c"]},
                {"image": [image] * 4, "label": [2**62, -5, 0, 1]},
                {"image": [None] * 4, "label": [0, 0, 1, 1]},
                {"image": [{"bytes": None, "path": "../none.png"}] * 4, "label": [0, 0, 1, 1]},
                {"image": [[image]] * 4, "label": [[0]] * 4},
                {"image": [], "label": []},
                {"": [0]},
            ]
        )
    )


def stating(content: bytes, what: str, number: int) -> bytes:
    """A file in Parquet whose footer states another number, of rows (`rows`) or unpacked bytes (`bytes`)."""
    import pyarrow.parquet

    about = pyarrow.parquet.read_metadata(io.BytesIO(content))
    column = about.row_group(0).column(0)
    at = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[at:-8]
    before = about.num_rows if what == "rows" else column.total_uncompressed_size
    after = _varint(column.total_compressed_size) if what == "bytes" else b""
    old, new = (I64 + _varint(value) + (I64 + after if after else b"") for value in (before, number))
    assert old in footer
    footer = footer.replace(old, new)
    return content[:at] + footer + len(footer).to_bytes(4, "little") + content[-4:]


I64 = b"\x16"
"""Thrift's mark of a field that is one further than the one before and holds an integer of 64 bits."""


def _varint(number: int) -> bytes:
    """Thrift's compact spelling of an integer of 64 bits."""
    left, parts = 2 * number, bytearray()
    while left > 127:
        parts.append(left & 127 | 128)
        left >>= 7
    return bytes([*parts, left])


TABLES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "other columns": _columns,
    "rows stated": lambda content, draw: stating(content, "rows", draw.choice([5, 2**31, 2**40, 2**62])),
    "bytes stated": lambda content, draw: stating(content, "bytes", draw.choice([2**31, 2**40, 2**62])),
}
"""Damages of tables that any version of what reads them answers with an error."""


def copied(source: Path, target: Path) -> Path:
    """A file or folder once more."""
    return Path(shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target))
