"""What each command may import before its work begins: the room that needs a library imports it, and no other."""

import json
import subprocess
import sys

import pytest

RUN = """
import contextlib, importlib, io, json, os, sys
def run(line):
    package, *sys.argv[1:] = line.split()
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            importlib.import_module(package + ".cli").main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
    return (code, shown.getvalue(), there())
def there():
    known = {name.partition(".")[0]: module for name, module in sys.modules.items() if "." not in name}
    files = {name for name, module in known.items() if getattr(module, "__file__", None)}
    return sorted(name for name in files - set(sys.stdlib_module_names) if not name.startswith("_"))
light, of_both, folder = map(json.loads, sys.argv[1:])
os.chdir(folder)
told = {line: run(line) for line in light}
import torch
of_torch = there()
told |= {line: run(line) for line in of_both}
print(json.dumps([told, of_torch, "torch._dynamo" in sys.modules]))
"""
COMMAND_LINE = {
    *("transferbench", "decorssl", "typer", "shellingham", "annotated_doc", "typing_extensions"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "yaml"),
}
IMAGES = {"numpy", "PIL", "jaxtyping"}
"""What the room of data sets is written with."""
LIGHT = {
    "transferbench ls": (0, set()),
    "transferbench ls suites": (0, set()),
    "transferbench ls data": (0, set()),
    "transferbench published": (0, set()),
    "decorssl ls": (0, set()),
    "transferbench ls dta": (2, set()),
    "transferbench knnn": (2, set()),
    "transferbench show knnn": (2, set()),
    "decorssl itnl": (2, set()),
    "decorssl intl --recipe intl-digts": (2, set()),
    "decorssl intl --data digts": (2, IMAGES),
    "transferbench all a.pth --suite quik": (2, IMAGES),
    "transferbench all a.pth --data digts": (2, IMAGES),
}
"""Commands that need no torch: their exit code, and what they may import beside `COMMAND_LINE`."""
OF_TORCH = {
    "transferbench knn a.pth --set knn.kk=5": (2, set()),
    "decorssl intl --set epoch=5": (2, set()),
    "transferbench inspect resnet.safetensors": (0, set()),
    "transferbench inspect vit.safetensors": (0, set()),
    "transferbench inspect swin.safetensors": (0, set()),
    "transferbench show knn": (0, {"rich"}),
    "transferbench show quick": (0, {"rich"}),
    "decorssl show intl": (0, {"rich"}),
}
"""The same of commands that need torch, which may import `IMAGES` and what torch imports too; those that draw last."""
SMALL = {
    "resnet": {"depth": 10, "width": 0.125, "stem": "cifar"},
    "vit": {"image_size": 8, "patch_size": 4, "dim": 12, "depth": 1, "heads": 3},
    "swin": {"image_size": 8, "patch_size": 2, "dim": 12, "depths": (1,), "heads": (1,), "window": 2},
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, tuple[int, str, list[str]]], list[str], bool]:
    """Of each command run in turn in one new process: exit code, output, and the libraries that are imported by then.

    And what torch imports itself; and whether its compiler was imported in the end.
    """
    from transferbench.backbones import Architecture, build
    from transferbench.checkpoints import Card
    from transferbench.checkpoints.save import save
    from transferbench.data.transforms import Preprocess

    folder = tmp_path_factory.mktemp("startup")
    for family, arguments in SMALL.items():
        backbone = build(Architecture(family=family, arguments=arguments))
        card = Card(architecture=backbone.architecture, preprocess=Preprocess(size=None, crop=8))
        save(folder / f"{family}.safetensors", backbone.state_dict(), card)
    words = [json.dumps(each) for each in (list(LIGHT), list(OF_TORCH), str(folder))]
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", LIGHT)
def test_a_command_that_computes_nothing_imports_no_torch(line: str, told: tuple[dict, list[str], bool]) -> None:
    code, shown, imported = told[0][line]
    expected, more = LIGHT[line]
    assert code == expected, shown
    assert set(imported) - COMMAND_LINE - more == set()


@pytest.mark.parametrize("line", OF_TORCH)
def test_a_command_that_builds_nothing_imports_torch_alone(line: str, told: tuple[dict, list[str], bool]) -> None:
    """No torchvision, timm, pandas, scikit-learn or SciPy: torchvision alone takes as long as torch."""
    code, shown, imported = told[0][line]
    expected, more = OF_TORCH[line]
    assert code == expected, shown
    assert "torch" in imported
    assert set(imported) - COMMAND_LINE - IMAGES - set(told[1]) - {"safetensors"} - more == set()


def test_torchs_compiler_stays_out(told: tuple[dict, list[str], bool]) -> None:
    assert not told[2], "it takes longer to import than torch"
