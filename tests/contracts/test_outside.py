"""Code from elsewhere runs because a person names it, and never because a file does."""

import json
import sys
from pathlib import Path

import pytest
import torch

from decorssl.methods import METHODS
from transferbench import plugins, records, suite
from transferbench.backbones import FAMILIES, Architecture
from transferbench.checkpoints import Card
from transferbench.checkpoints.formats import FORMATS
from transferbench.data import SOURCES, download, open_split
from transferbench.data.located import located
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.plugins import Registry
from transferbench.tasks import TASKS

MARKED = """from pathlib import Path
Path(__file__).with_suffix(".mark").touch()
from transferbench.settings import Settings
from transferbench.tasks import Outcome, Score
VERSION, FROZEN, PRIMARY = "1", True, "size"
class Config(Settings):
    k: int = 1
def label(config): return "size"
def run(candidate, dataset, config, seed, bench): return Outcome((Score(metric="size", value=config.k, n=1),))
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `harmless_mark.module` leaves its mark when it is imported; its folder is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugins, "_NAMED", {})
    (tmp_path / "harmless_mark").mkdir()
    (tmp_path / "harmless_mark" / "module.py").write_text(MARKED)
    for name in [name for name in sys.modules if name.startswith("harmless_mark")]:
        del sys.modules[name]
    return tmp_path / "harmless_mark" / "module.mark"


@pytest.fixture
def registry() -> Registry:
    return Registry("transferbench.tasks", "task")


@pytest.mark.parametrize("name", ["harmless_mark.module", "harmless_mark/module.py", "./harmless_mark/module.py"])
def test_a_person_names_a_module_or_a_file(registry: Registry, mark: Path, name: str):
    with pytest.raises(UserError, match=r"name it on the command line too: --code \S+"):
        registry.registered(name)
    assert not mark.exists()
    assert registry.load(name).VERSION == "1"
    assert mark.exists()
    assert registry.registered(name) is registry.load(name)


@pytest.mark.parametrize(
    "name",
    ["harmless_mark.pth", "module.safetensors", "a.tar", "table.csv", "recipe.yaml", "a.json", "harmless.folder"],
)
def test_what_is_a_path_or_ends_like_data_is_no_module(registry: Registry, mark: Path, name: str):
    Path("harmless.folder").mkdir()
    (mark.parent / "pth.py").write_text("raise SystemExit('imported')")
    with pytest.raises(UserError, match=f"Unknown task '{name}'"):
        registry.load(name)


def test_two_files_of_one_name_are_two_modules(registry: Registry, mark: Path):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "same.py").write_text(f"WHERE = {folder!r}\n")
    assert [registry.load(f"{folder}/same.py").WHERE for folder in ("a", "b")] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nowhere_at_all\n", r"ModuleNotFoundError: No module named 'nowhere_at_all' \(.*broken\.py, line 1\)"),
        ("\n\n1 / 0\n", r"ZeroDivisionError: division by zero \(.*broken\.py, line 3\)"),
        ("\ndef f(:\n", r"SyntaxError: .*broken\.py, line 2\)"),
    ],
)
@pytest.mark.parametrize("name", ["harmless_mark.broken", "harmless_mark/broken.py"])
def test_what_does_not_import_says_why_and_where(registry: Registry, mark: Path, name: str, text: str, why: str):
    (mark.parent / "broken.py").write_text(text)
    with pytest.raises(UserError, match=rf"Cannot import the task '{name}': {why}") as caught:
        registry.load(name)
    assert "Traceback" not in str(caught.value)


def test_a_file_that_is_not_there_says_so(registry: Registry, mark: Path):
    with pytest.raises(UserError, match=r"Cannot import the task 'no/such\.py': FileNotFoundError"):
        registry.load("no/such.py")


def test_a_suite_finds_a_file_beside_itself(mark: Path, monkeypatch: pytest.MonkeyPatch):
    (mark.parent / "mine.yaml").write_text("jobs: [{task: module.py, settings: {k: 7}}]\n")
    (job,) = suite.plan({"digits": suite.load("harmless_mark/mine.yaml")}, ["module.k=8"])
    assert (job.id, job.config.model_dump()) == ("module", {"k": 8})
    assert plugins.recorded(job.task) == "module.py"


def test_a_card_names_a_family_in_vain(mark: Path):
    foreign = Architecture(family="harmless_mark.module", arguments={})
    assert foreign.name == "harmless_mark.module"
    from transferbench import backbones

    for use in (backbones.complete, backbones.build, backbones.assumptions, backbones.expected_shapes):
        with pytest.raises(UserError, match="name it on the command line too"):
            use(foreign)
    assert not mark.exists()
    plugins.allow("harmless_mark.module")
    assert mark.exists()
    for use in (FAMILIES.load, FAMILIES.registered):
        with pytest.raises(UserError, match=r"is not a backbone family: .*module\.py does not define Arguments, build"):
            use("harmless_mark.module")


def test_what_a_person_allows_every_file_may_name(registry: Registry, mark: Path):
    plugins.allow("harmless_mark/module.py")
    assert registry.registered("harmless_mark/module.py").VERSION == "1"
    assert registry.registered("module.py") is registry.registered("elsewhere/module.py")  # as records name it
    assert not registry.has("harmless_mark.module")
    assert not registry.has("harmless_mark/other.py")
    for name in ("knn", "a.pth", "no_module", "harmless_mark"):
        with pytest.raises(UserError, match=f"'{name}' is no code from elsewhere"):
            plugins.allow(name)


@pytest.mark.parametrize("line", ["ls tasks --code harmless_mark.module", "--code harmless_mark.module ls tasks"])
def test_code_is_named_before_or_behind_a_command(mark: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys):
    from transferbench import cli

    monkeypatch.setattr(sys, "argv", ["evaluate", *line.split()])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert mark.exists()
    assert TASKS.registered("harmless_mark.module").VERSION == "1"


@pytest.mark.parametrize("registry", [TASKS, FAMILIES, SOURCES, FORMATS, METHODS], ids=lambda registry: registry.kind)
def test_a_module_of_another_kind_is_refused(registry: Registry, mark: Path):
    (mark.parent / "module.py").write_text("X = 1\n")
    for _ in range(2):
        with pytest.raises(
            UserError, match=rf"'harmless_mark\.module' is not a {registry.kind}: .* does not define \w+"
        ):
            registry.load("harmless_mark.module")


@pytest.mark.parametrize("registry", [TASKS, FAMILIES, SOURCES, FORMATS, METHODS], ids=lambda registry: registry.kind)
def test_every_entry_defines_what_its_kind_must(registry: Registry):
    for name, module in registry.all():
        assert [each for each in registry.defines if not hasattr(module, each)] == [], name


def checkpoint(path: Path) -> Path:
    from safetensors.torch import save_file

    card = Card(architecture=Architecture(family="harmless_mark.module", arguments={}), preprocess=Preprocess())
    weights = {f"layer{i}.weight": torch.zeros(2, 2) for i in range(20)}
    save_file(weights, path, {"card": card.model_dump_json()})
    return path


def result(out: Path) -> None:
    """A kept record whose family, task and data set are all the harmless module."""
    import recorded

    card = Card(architecture=Architecture(family="harmless_mark.module", arguments={}), preprocess=Preprocess())
    here = Path.cwd()
    for dataset in (
        *("harmless_mark.module", "harmless_mark/module.py", "harmless_mark/module.py/", "harmless_mark/module.py/."),
        *(f"{here}/harmless_mark/module.py/", "../harmless_mark/module.py/"),
    ):
        found = recorded.a_record(card=card, task="harmless_mark.module", dataset=dataset)
        path = out / "records" / f"{abs(hash(dataset))}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found.model_dump(mode="json")))


def test_no_command_imports_what_a_file_names(mark: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    from transferbench import cli

    file = checkpoint(Path("foreign.safetensors"))
    result(Path("results"))
    assert len(list(records.read_all(Path("results/records")))) == 6
    for line in (
        f"inspect {file}",
        f"knn {file} --no-control",
        "table results --out table",
        "report results --out report.html --data-root .",
        "pack packed.zip results",
        "table packed.zip --out again",
        "gate results --against results",
    ):
        monkeypatch.setattr(sys, "argv", ["evaluate", *line.split()])
        with pytest.raises(SystemExit):
            cli.main()
        assert not mark.exists(), line
    assert not [name for name in sys.modules if name.startswith("harmless_mark")]
    assert "Traceback" not in capsys.readouterr().err


def test_data_sets_too_are_named_by_a_person(mark: Path):
    (mark.parent / "source.py").write_text(
        "from transferbench.data.sources import digits\n"
        "def open_split(where, split): return digits.open_split(where, split)\n"
    )
    for name in ("harmless_mark.source", "harmless_mark/source.py"):
        assert open_split(name, "test", Path()).info.name == "digits"


def test_a_data_set_need_not_say_how_to_get_it(mark: Path, tmp_path: Path):
    mark.with_name("bare.py").write_text("def open_split(where, split): ...\n")
    mark.with_name("helpful.py").write_text("HELP = 'Ask for it.'\ndef open_split(where, split): ...\n")
    mark.with_name("fetched.py").write_text(
        "def open_split(where, split): ...\ndef download(where): where.write_text('fetched')\n"
    )
    for name, text in (("bare", "command[.]$"), ("helpful", "command[.] Ask for it[.]$")):
        with pytest.raises(UserError, match=f"cannot be downloaded by this {text}"):
            download(f"harmless_mark.{name}", tmp_path)
    assert download("harmless_mark.fetched", tmp_path).read_text() == "fetched"


def test_a_record_opens_what_lies_in_the_root_and_nothing_else(mark: Path, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    assert located("digits", tmp_path) == "digits"
    assert located("photos", tmp_path) == str(tmp_path / "photos")
    assert located("my.photos", tmp_path) == str(tmp_path / "my.photos")
    for name in (
        "",
        ".",
        "..",
        "../photos",
        "/etc",
        "a/b",
        "photos/",
        "a\x00b",
        "harmless_mark/module.py/",
        "x/../digits",
    ):
        with pytest.raises(UserError, match=r"Expected a name and no path|name it on the command line"):
            located(name, tmp_path)
    assert not mark.exists()


def test_a_file_of_the_same_name_as_the_named_one_is_not_imported(mark: Path, tmp_path: Path):
    (tmp_path / "module.py").write_text("def open_split(where, split): raise AssertionError\n")
    plugins.allow("module.py")
    assert located("harmless_mark/module.py", tmp_path) == "module.py"
    assert not mark.exists()


def test_a_suite_that_extends_itself_is_told(mark: Path):
    Path("a.yaml").write_text("extends: b.yaml\n")
    Path("b.yaml").write_text("extends: ./a.yaml\n")
    with pytest.raises(UserError, match="extends itself, directly or through others"):
        suite.load("a.yaml")
