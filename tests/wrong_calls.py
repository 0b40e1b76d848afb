"""Wrong calls of both commands from a grammar: by a seed, words of a command line and the files that they name."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import wrong_files

WORDS = (
    *("", " ", "-", ".", "~", "~nobody/x", "*", "[", "{", "[0,0,0]", "{a: b}", "null", "true", "%s", "{0}"),
    *("-1", "0", "nan", "inf", "1e999", ".inf", "9" * 5000, "0x", "2020-13-45", "!!binary x", "!!timestamp x", "&a"),
    *(
        "x" * 300,
        "x" * 5000,
        "\udcff",
        "a\nb",
        "a=b",
        "=",
        "a=",
        "a,b",
        ",",
        "knn.k=x",
        "knn",
        "digits",
        "gpu",
        "cuda:x",
    ),
    *(
        "cuda:99",
        "meta",
        "https://example.org/a.pth",
        "hf:",
        "hf:./imgs",
        "timm:",
        "torchvision:",
        "os.system",
        "é",
        "@",
    ),
)
"""Values of options and names."""
RIGHT = "digits"
"""Of these the data set that is there without a file: where a path is meant, the call would not be wrong."""
SETTINGS = (
    *("k", "=1", "a..b=1", "knn.k=[", "knn.k=2020-13-45", "knn.ks={}", "optim=1", "optim.lr.x=1", "epochs=1e9"),
    *(
        "views=[]",
        "batch_size=-1",
        "seed=9" + "9" * 30,
        "backbone.arguments.depth=x",
        "method=x",
        "knn=1",
        "limit=null",
    ),
    *("preprocess.std=[0,0,0]", "std=[0,0,0]", "mean=x", "crop=0", "heads=12", "format=", "format=x", "width=1e30"),
)
FILES = {
    "CHECKPOINT": ("a.pth", "old.pth", "a.pkl", "a.safetensors", "a.npz"),
    "STORE": ("store", "store.zip", "one.json"),
    "DATA": ("imgs", "imgs.zip", "tars", "boxes", *(["rows"] if wrong_files.HAS_PARQUET else [])),
    "SUITE": ("suite.yaml",),
    "RECIPE": ("recipe.yaml",),
    "RUN": ("run",),
}
"""Whole files by what a call takes them for."""
QUICK = (
    *(
        "evaluate inspect CHECKPOINT",
        "evaluate inspect CHECKPOINT --as SETTING",
        "evaluate inspect PATH --encoder WORD",
    ),
    *(
        "evaluate convert CHECKPOINT OUT.pth --to WORD",
        "evaluate knn missing.pth --data ./imgs --workers 0 --device WORD",
    ),
    *(
        "evaluate all missing.pth --data DATA",
        "evaluate knn missing.pth --data PATH",
        "evaluate knn PATH --suite SUITE",
    ),
    *(
        "evaluate all PATH --suite SUITE --data DATA --set SETTING",
        "evaluate knn missing.pth --data DATA --NUMBER WORD",
    ),
    *(
        "evaluate pack OUT.zip STORE",
        "evaluate pack PATH STORE",
    ),
    *("evaluate gate STORE --against STORE", "evaluate gate STORE --against PATH --tolerance WORD --sigma WORD"),
    *("evaluate ls WORD",),
    *("evaluate published --method WORD --data WORD", "evaluate --code PATH ls", "evaluate --code WORD show knn"),
    *("evaluate features missing.pth --data DATA --out OUT.npz", "evaluate features PATH --data imgs --out PATH"),
    *("evaluate shrink DATA OUT --workers 0", "evaluate shrink imgs.zip PATH --workers 0", "evaluate download WORD"),
    *("evaluate all PATH --slurm WORD", "pretrain ls WORD"),
    *("pretrain times RUN", "pretrain times PATH", "pretrain log RUN --log WORD", "pretrain WORD"),
    *("pretrain intl --recipe RECIPE --out OUT --workers 0", "pretrain intl --recipe PATH --out OUT"),
    *("pretrain intl --recipe recipe.yaml --data DATA --out OUT --workers 0", "pretrain intl --slurm WORD --out OUT"),
    *("pretrain intl --recipe recipe.yaml --set SETTING --out OUT --workers 0", "pretrain intl --out PATH --data PATH"),
    *("pretrain intl --recipe recipe.yaml --OPTION WORD --out OUT", "pretrain collapse --OPTION WORD --data missing"),
    *(
        "pretrain intl --recipe run/recipe.json --out RUN --resume --workers 0",
        "pretrain collapse --data PATH --out PATH",
    ),
)
"""Calls that end before a network is built."""
TEMPLATES = (
    *QUICK,
    *(
        "evaluate table STORE --out OUT",
        "evaluate table STORE --out PATH --columns WORD --sort WORD --where WORD",
        "evaluate compare STORE STORE --in STORE",
        "evaluate compare WORD INTL --in store --out PATH",
        "evaluate show SUITE",
        "evaluate show WORD",
        "pretrain show RECIPE",
        "pretrain show WORD",
    ),
    *("evaluate WORD PATH", "evaluate knn PATH --split WORD", "evaluate all a.pth --out PATH --cache PATH --task WORD"),
    *("evaluate report STORE --no-images --out OUT.html", "evaluate all PATH --suite SUITE", "evaluate doctor PATH"),
)
NUMBERS = ("seeds", "limit", "workers", "image-range 1", "split", "data-root", "encoder", "as", "set", "suite")
OPTIONS = (
    *("device", "workers", "views", "compile", "data-root", "knn-every", "watch-every", "save-seconds", "keep-states"),
    *("bad-images", "log", "watch", "seed", "image-range 0", "set", "data"),
)


@dataclass(frozen=True)
class WrongCall:
    """`command` is `evaluate` or `pretrain`; `done` says what was done to files."""

    command: str
    words: tuple[str, ...]
    done: tuple[str, ...]

    def __str__(self) -> str:
        shown = " ".join(repr(word)[:60] for word in self.words)
        return f"{self.command} {shown}  [{'; '.join(self.done)}]"


class Maker:
    """Makes calls in the current folder, into which the whole files are copied; `alone`: each has its own process."""

    def __init__(self, whole: dict[str, Path], seed: int, alone: bool = False) -> None:
        self.whole, self.draw, self.alone = whole, random.Random(seed), alone
        self.done: list[str] = []
        self.made = 0

    def call(self, templates: Sequence[str] = TEMPLATES) -> WrongCall:
        """The call of this seed; its files lie in the current folder then."""
        command, *slots = self.draw.choice(templates).split(" ")
        for name, path in self.whole.items():
            if not Path(name).exists():
                wrong_files.copied(path, Path(name))
        words = [word for slot in slots for word in self._filled(slot)]
        return WrongCall(command, tuple(words), tuple(self.done))

    def _filled(self, slot: str) -> list[str]:
        draw = self.draw
        match slot:
            case "WORD" | "SETTING":
                return [draw.choice(SETTINGS if slot == "SETTING" and draw.random() < 0.7 else WORDS)]
            case "PATH":
                return [self._path()]
            case "--NUMBER" | "--OPTION":
                return f"--{draw.choice(NUMBERS if slot == '--NUMBER' else OPTIONS)}".split(" ")
            case _ if slot in FILES:
                return [self._damaged(draw.choice(FILES[slot]))]
            case _:
                return [slot.replace("OUT", "out")]

    def _damaged(self, name: str) -> str:
        """A file of the kind, damaged; now and then another odd path in its place."""
        if self.draw.random() < 0.1:
            return self._path()
        self.made += 1
        path = wrong_files.copied(Path(name), Path(f"{self.made}-{name}"))
        self.done.append(f"{path}: {wrong_files.damage(path, self.draw, self.alone)}")
        return f"./{path}"

    def _path(self) -> str:
        """A path that is not what was meant: of another kind, no file, or nothing that a file can be called."""
        others = {
            "missing": lambda: None,
            "empty": lambda: Path("empty").touch(),
            "text": lambda: Path("text").write_text("a text"),
            "latin": lambda: Path("latin").write_bytes(b"\xe4\xf6\xfc: 1\n"),
            "null.yaml": lambda: Path("null.yaml").write_text("null"),
            "nul.yaml": lambda: Path("nul.yaml").write_text('{summary: "a", data: ["a\\0b"], jobs: [{task: "k\\0"}]}'),
            "list.json": lambda: Path("list.json").write_text("[" * 5000),
            "deep.yaml": lambda: Path("deep.yaml").write_text("[" * 2000),
            "dangling": lambda: Path("dangling").symlink_to("nowhere"),
            "loop.pth": lambda: Path("loop.pth").symlink_to("loop.pth"),
            "folder.zip": lambda: Path("folder.zip").mkdir(),
            os.fsdecode(b"odd\xff"): lambda: Path(os.fsdecode(b"odd\xff")).write_text("{}"),
        }
        named = ("text/inside", "run/steps.jsonl/x", "x" * 300, "x/" * 3000, "/proc/self/mem", "imgs/train")
        words = [word for word in WORDS if word != RIGHT]
        name = self.draw.choice([*others, *named, *self.whole, *words])
        if name in others and not os.path.lexists(name):
            others[name]()
        return name
