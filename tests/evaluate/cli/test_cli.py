"""The command line: what it prints, where it writes, and its exit codes."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from recorded import a_record

from transferbench import backbones, records
from transferbench.backbones import Architecture, build
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load
from transferbench.checkpoints.save import save
from transferbench.cli import printing, telling
from transferbench.errors import UserError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def checkpoint(tiny_candidate: Candidate, tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save(path, build(tiny_candidate.card.architecture, 7).state_dict(), tiny_candidate.card)
    return path


@pytest.fixture
def imgs(tmp_path: Path) -> Path:
    """A folder of 2 x 8 images in two classes."""
    for split in ("train", "val"):
        for label, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "imgs" / split / label
            folder.mkdir(parents=True)
            for i in range(4):
                Image.fromarray(np.full((16, 16, 3), level + i, np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "imgs"


SMALL = ("--set", "knn.ks=[1]", "--set", "knn.k=1", "--workers", "0", "--device", "cpu")


def test_help_teaches_quickly_and_without_torch():
    code = "import sys\nfrom transferbench.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    for text in ("evaluate all", "table", "inspect", "doctor", "knn", "semi", "spectrum"):
        assert text in done.stdout
    assert seconds < 10, "a second on an idle machine; torch alone takes longer than this under load"


@pytest.mark.parametrize(
    "command", ["all", "knn", "features", "table", "inspect", "convert", "ls", "download", "doctor"]
)
def test_every_command_has_help(command: str, evaluate: Run):
    code, out, err = evaluate(command, "--help")
    assert (code, err) == (0, "")
    assert f"evaluate {command} " in out


def test_a_task_is_judged_recorded_and_tabulated(evaluate: Run, checkpoint: Path, imgs: Path):
    code, out, err = evaluate("knn", f"ours={checkpoint}", "--data", imgs, "--out", "res", *SMALL)
    assert (code, err) == (0, "")
    assert "read as transferbench" in out
    assert "| ours | resnet10" in out
    assert "| random-init | resnet10" in out
    assert "| chance |  | 50.00 |" in out
    assert len(list(Path("res/records").glob("*.json"))) == 2
    code, out, _ = evaluate("table", "res", "--out", "tables")
    assert code == 0
    assert sorted(path.name for path in Path("tables").iterdir()) == [
        "leaderboard-table.tex",
        "leaderboard.csv",
        "leaderboard.html",
        "leaderboard.json",
        "leaderboard.md",
        "leaderboard.tex",
        "records.csv",
    ]


def test_a_table_shows_what_is_asked_for(evaluate: Run, tmp_path: Path):
    for name, value in (("intl", 40.0), ("simclr", 60.0)):
        records.write(tmp_path / "records", a_record(name, value))
    asked = ("--where", "method!=byol", "--columns", "knn,knn.extra", "--sort", "name", "--ranks")
    code, out, _ = evaluate("table", str(tmp_path), *asked, "--caption", "Small")
    assert code == 0
    assert re.search(r"intl \| resnet18 \| <u>40.00</u> \| .*\n\| simclr", out)
    assert "mean rank" in out
    assert "Small" in (tmp_path / "leaderboard-table.tex").read_text()
    assert evaluate("table", str(tmp_path))[2] == ""
    code, _, err = evaluate("table", str(tmp_path), "--columns", "kn")
    assert code == 2
    assert "Unknown column 'kn'" in err


def test_published_numbers_are_listed_with_their_source(evaluate: Run):
    code, out, _ = evaluate("published", "--method", "intl", "--data", "cifar10")
    assert code == 0
    assert "90.03 top1" in out
    assert evaluate("published", "--method", "intll")[0] == 2


def test_the_second_call_runs_nothing_again(
    evaluate: Run, checkpoint: Path, imgs: Path, monkeypatch: pytest.MonkeyPatch
):
    arguments = ("knn", checkpoint, "--data", imgs, "--no-control", *SMALL)
    assert "kept from before" not in evaluate(*arguments)[1]
    time.sleep(1.1)
    assert "kept from before" in evaluate(*arguments)[1]
    assert "kept from before" not in evaluate(*arguments, "--again")[1]


def test_a_failing_task_ends_with_1_and_a_list(
    evaluate: Run, checkpoint: Path, imgs: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("transferbench.tasks.knn.run", broken)
    code, out, err = evaluate(
        "all",
        checkpoint,
        "--data",
        imgs,
        "--no-control",
        "--limit",
        "4",
        "--set",
        "semi.epochs=1",
        "--set",
        "linear.epochs=1",
        *SMALL,
    )
    assert code == 1
    assert "FAILED a" in err
    assert "ZeroDivisionError: boom" in err
    assert "RankMe" in out


def test_a_corrupt_image_is_named_and_ends_with_2(evaluate: Run, checkpoint: Path, imgs: Path):
    (imgs / "train" / "light" / "3.png").write_bytes(b"no image")
    code, _, err = evaluate("knn", checkpoint, "--data", imgs, "--no-control", *SMALL)
    assert code == 2
    assert "train/light/3.png" in err
    assert "Traceback" not in err


def test_what_a_person_can_mend_is_told_bare_with_2_and_nothing_is_written(evaluate: Run, checkpoint: Path):
    Path("empty").mkdir()
    cut = checkpoint.with_name("cut.safetensors")
    cut.write_bytes(checkpoint.read_bytes()[:1000])
    wrong = {
        ("knnn", checkpoint): "Did you mean 'knn'",
        ("all", checkpoint, "--suite", "quikc"): "Did you mean 'quick'",
        ("all", checkpoint, "--set", "knn.kay=1", "--set", "semi.epochs=-1"): "epochs: found -1",
        ("knn", checkpoint, "--data", "./empty"): "empty",
        ("knn", cut): "cut.safetensors",
        ("table", "nowhere"): "nowhere",
        ("inspect", cut): "cut.safetensors",
        ("ls", "taks"): "Did you mean 'tasks'",
    }
    for arguments, reason in wrong.items():
        code, _, err = evaluate(*arguments)
        assert code == 2, arguments
        assert reason in err
        assert "Traceback" not in err
    assert not Path("results").exists()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_ends_with_its_number_and_says_how_to_go_on(
    number: signal.Signals, expected: int, evaluate: Run, checkpoint: Path, imgs: Path, monkeypatch: pytest.MonkeyPatch
):
    def stopped(*arguments: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("transferbench.tasks.knn.run", stopped)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    try:
        code, out, err = evaluate("all", checkpoint, "--data", imgs, "--no-control", *SMALL)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "imgs RankMe" in out.partition("Finished before the stop:")[2]
    assert code == expected
    assert "run the same command again to continue" in err
    assert len(list(Path("results/records").glob("*.json"))) == 1, "spectrum came before"


def test_table_names_damaged_records_and_counts_them(evaluate: Run, checkpoint: Path, imgs: Path):
    evaluate("knn", checkpoint, "--data", imgs, *SMALL)
    bad = next(Path("results/records").glob("random*.json"))
    bad.write_text(bad.read_text().replace('"seed": 0', '"seed": 1', 1))
    code, out, err = evaluate("table")
    assert code == 0
    assert bad.name in err
    assert "1 edited or unreadable" in out


def test_inspect_says_what_a_file_is(evaluate: Run, checkpoint: Path):
    code, out, _ = evaluate("inspect", checkpoint)
    assert code == 0
    for text in ("transferbench", "resnet10-w0.125-cifar", "64 features", "crop 16", "digest"):
        assert text in out
    assert re.search(
        r"first conv +neighboring weights correlate -?0\.\d\d \(random init 0\.00 ± 0\.06\), effective ", out
    )


def test_convert_writes_what_reads_back_and_says_what_the_file_cannot(evaluate: Run, checkpoint: Path):
    code, out, err = evaluate("convert", checkpoint, "b.safetensors", "--to", "transferbench")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        r"wrote b\.safetensors: resnet10-w0\.125-cifar for transferbench, 72 tensors, digest [0-9a-f]{64}\n"
        r"built by transferbench\.checkpoints\.load\.load\(path\)\.backbone\n",
        out,
    )
    assert inspect("b.safetensors").digest == inspect(checkpoint).digest
    plain = backbones.build(Architecture(family="resnet", arguments={"depth": 50, "width": 0.125}))
    torch.save(plain.state_dict(), "plain.pth")
    code, out, _ = evaluate("convert", "plain.pth", "c.pth", "--to", "detectron2", "--as", "crop=96")
    assert code == 0
    assert "note: the file does not say crop: --as crop=96" in out
    for arguments, told in {
        ("plain.pth", "c.pth", "--to", "detectron2"): "c.pth already exists",
        (checkpoint, "d.pth", "--to", "torchvision"): "torchvision has no network that computes",
        (checkpoint, "d.pth", "--to", "torchvisio"): "Did you mean 'torchvision'",
        ("timm:nothing_like_it", "d.pth", "--to", "timm"): "timm has no weights 'nothing_like_it'",
    }.items():
        code, _, err = evaluate("convert", *arguments)
        assert (code, told in err, "Traceback" in err) == (2, True, False), err
    assert evaluate("convert", "plain.pth", "c.pth", "--to", "detectron2", "--force")[0] == 0
    assert not Path("d.pth").exists()
    before = Path("plain.pth").read_bytes()
    code, _, err = evaluate("convert", "plain.pth", "./plain.pth", "--to", "detectron2", "--force")
    assert (code, "is the file that is read" in err, Path("plain.pth").read_bytes() == before) == (2, True, True)


def test_ls_lists_every_kind(evaluate: Run):
    out = evaluate("ls")[1]
    for text in ("tasks", "knn", "formats", "moco", "data", "digits", "suites", "quick", "backbones", "resnet"):
        assert text in out
    assert "moco" not in evaluate("ls", "tasks")[1]


def test_doctor_ends_with_0_unless_something_required_is_broken(evaluate: Run, tmp_path: Path):
    code, out, _ = evaluate("doctor", "--data-root", tmp_path, "--cache", tmp_path / "cache")
    assert code == 0
    assert "torch" in out
    (tmp_path / "file").write_text("")
    code, out, _ = evaluate("doctor", "--data-root", tmp_path, "--cache", tmp_path / "file" / "c")
    assert code == 1
    assert "TRANSFERBENCH_CACHE" in out


def test_a_folder_of_smoke_runs_alone_says_what_it_leaves_out(evaluate: Run, checkpoint: Path, imgs: Path):
    evaluate("knn", checkpoint, "--data", imgs, "--out", "res", "--limit", "4", "--no-control", *SMALL)
    code, out, _ = evaluate("table", "res")
    assert code == 0
    assert out.splitlines() == [
        "Nothing to rank.",
        "Left out: 1 limited.",
        "Results of smoke runs (--limit) are shown with --limited.",
        "Nothing was written.",
    ]
    assert sorted(path.name for path in Path("res").iterdir() if path.is_file()) == []
    assert "--limited" in evaluate("report", "res")[2]
    evaluate("table", "res", "--limited")
    assert Path("res/leaderboard.csv").stat().st_size


@pytest.mark.parametrize("error", [ZeroDivisionError("boom"), UserError("Mend me.")], ids=["bug", "mendable"])
def test_what_cannot_be_forecast_fails_alone_and_a_plan_of_it_ends_as_it_does(
    evaluate: Run, checkpoint: Path, imgs: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def broken(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("transferbench.tasks.spectrum.cost", broken, raising=False)
    path = Path("two.yaml")
    path.write_text("jobs: [{task: spectrum}, {task: knn, settings: {ks: [1], k: 1}}]")
    command = ("all", checkpoint, "--data", imgs, "--suite", path, "--no-control", "--workers", "0", "--device", "cpu")
    code, out, err = evaluate(*command, "--plan")
    assert (code, "1 job(s), about" in out, str(error) in err) == (1 if "boom" in str(error) else 2, True, True)
    code, out, err = evaluate(*command, "--out", "res")
    assert code == (1 if "boom" in str(error) else 2)
    found = [each for _, each in records.read_all(Path("res")) if isinstance(each, records.Record)]
    assert {(each.task, each.status) for each in found} == {("spectrum", "failed"), ("knn", "ok")}


def test_a_plan_is_told_and_nothing_is_run(evaluate: Run, checkpoint: Path, imgs: Path):
    code, out, err = evaluate("all", f"ours={checkpoint}", "--data", imgs, "--plan", *SMALL)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.startswith(("ours", "random-init"))]
    assert {line[2] for line in lines} == {"spectrum", "knn", "logistic", "semi-1", "semi-10", "linear"}
    assert "12 job(s), about" in out
    assert not Path("results").exists()
    few = ("--only", "knn, semi", "--skip", "semi-10", "--no-control")
    code, out, err = evaluate("all", f"ours={checkpoint}", "--data", imgs, "--plan", *few, *SMALL)
    assert (code, err, [line.split()[2] for line in out.splitlines()[:-1]]) == (0, "", ["knn", "semi-1"])


def test_a_long_run_is_announced_with_its_plan(evaluate: Run, checkpoint: Path, imgs: Path, monkeypatch):
    arguments = ("knn", f"ours={checkpoint}", "--data", imgs, "--no-control", *SMALL)
    monkeypatch.setattr(printing, "LONG", 0.0)
    assert "1 job(s), about" in evaluate(*arguments)[1]
    assert "0 job(s), about 0 s" in evaluate(*arguments)[1]
    monkeypatch.setattr(printing, "LONG", 1e9)
    assert "job(s), about" not in evaluate(*arguments, "--again")[1]


def test_a_split_that_is_not_there_ends_with_2_and_names_those_that_are(evaluate: Run, checkpoint: Path, imgs: Path):
    code, _, err = evaluate("knn", checkpoint, "--data", imgs, "--split", "test", *SMALL)
    assert (code, err.strip()) == (2, "imgs cannot be judged on a split 'test'. Expected one of: val.")


def test_a_suite_that_names_its_data_sets_needs_no_data(evaluate: Run, checkpoint: Path):
    code, _, err = evaluate("all", checkpoint, "--suite", "transfer", "--data-root", "nowhere", *SMALL[4:])
    assert code == 2
    assert "evaluate download voc07" in err
    assert "SUN397 is not at" in err


def test_features_do_not_replace_the_file_that_they_are_of(evaluate: Run, checkpoint: Path, imgs: Path):
    np.savez("a.npz", **{name: each.numpy() for name, each in load(checkpoint).backbone.state_dict().items()})
    before = Path("a.npz").read_bytes()
    code, _, err = evaluate("features", "a.npz", "--data", f"{imgs}/", "-o", "./a.npz", "--force", "--device", "cpu")
    assert (code, "is the file that is read" in err, Path("a.npz").read_bytes() == before) == (2, True, True)


@pytest.mark.parametrize("option", ["--only", "--skip", "--task", "--slurm"])
def test_an_option_that_names_nothing_does_not_mean_all(option: str, evaluate: Run, checkpoint: Path, imgs: Path):
    code, _, err = evaluate("all", checkpoint, "--data", f"{imgs}/", option, "", "--plan")
    assert (code, "Traceback" in err, "''" in err) == (2, False, True), err


def test_features_are_written_as_arrays_and_replaced_by_force_alone(evaluate: Run, checkpoint: Path, imgs: Path):
    call = ("features", checkpoint, "--data", f"{imgs}/", "--out", "f.npz", "--workers", "0", "--device", "cpu")
    code, out, err = evaluate(*call)
    assert (code, err) == (0, "")
    assert "train_features 8 x 64, train_labels, train_ids" in out
    kept = np.load("f.npz")
    assert kept["val_features"].shape == (8, 64)
    assert kept["classes"][kept["val_labels"]].tolist() == ["dark"] * 4 + ["light"] * 4
    assert kept["val_ids"][0] == "val/dark/0.png"
    assert json.loads(str(kept["about"]))["digest"] == evaluate("inspect", checkpoint)[1].split("digest")[1].split()[0]
    code, _, err = evaluate(*call)
    assert (code, "f.npz exists" in err, "--force" in err) == (2, True, True)
    code, out, _ = evaluate(*call, "--force", "--split", "val", "--limit", "4", "--set", "layer=layer2")
    assert (code, np.load("f.npz")["val_features"].shape) == (0, (4, 16))
    for wrong in (("--set", "layr=stem"), ("--split", "tset"), ("--split", "test"), ("--out", "f.npy")):
        code, _, err = evaluate(*call, "--force", *wrong)
        assert (code, err.count("Traceback")) == (2, 0), wrong


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is told where there is no terminal; time runs by 30 s when somebody waits that long, and stands else."""
    lines: list[str] = []
    now = [0.0]

    class Waiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0.0
            return super().wait(0.005)

    stdout = SimpleNamespace(isatty=lambda: False, fileno=lambda: -1)
    monkeypatch.setattr(telling, "sys", SimpleNamespace(stdout=stdout))
    monkeypatch.setattr(telling, "os", SimpleNamespace(write=lambda _, line: lines.append(line.decode())))
    monkeypatch.setattr(telling, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(telling, "threading", SimpleNamespace(Event=Waiting, Thread=threading.Thread))
    return lines


@pytest.mark.parametrize(
    ("slow", "told"),
    [
        ("transferbench.api.suites.plan", "opening imgs/"),
        ("transferbench.api.examine", "reading ours=a.safetensors"),
        ("transferbench.api.assigned", "planning the jobs"),
        ("transferbench.api.forecast", "forecasting ours"),
        ("transferbench.extracted.load", "reading a.safetensors and imgs/"),
        ("transferbench.extracted.extraction.extract", "0 of 16 images"),
    ],
)
def test_off_a_terminal_it_is_said_every_30_s_what_goes_on_before_the_first_job(
    slow: str, told: str, said: list[str], evaluate: Run, checkpoint: Path, imgs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, name = slow.rpartition(".")
    at_once = getattr(resolve_name(module), name)

    def slowly(*arguments: Any, **named: Any) -> Any:
        ends = time.monotonic() + 10
        while time.monotonic() < ends and sum(told in line for line in said) < 2:
            time.sleep(0.005)
        return at_once(*arguments, **named)

    monkeypatch.setattr(slow, slowly)
    if "extract" in slow:
        call = ("features", checkpoint.name, "--out", "f.npz", "--workers", "0", "--device", "cpu")
    else:
        call = ("knn", f"ours={checkpoint.name}", "--plan", "--no-control", *SMALL)
    code, _, err = evaluate(*call, "--data", "imgs/")
    assert (code, err) == (0, "")
    seconds = [float(re.fullmatch(rf"{re.escape(told)}, after (\d+) s\n", line)[1]) for line in said if told in line]
    assert len(seconds) > 1
    assert seconds[1] - seconds[0] == telling.QUIET <= 30


def test_off_a_terminal_a_long_run_says_where_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    with telling.told(lambda: "a digits knn: job 1 of 2, 30 % of it", every=0.01):
        time.sleep(0.1)
    lines = capfd.readouterr().out.splitlines()
    assert lines
    assert lines[0].startswith("a digits knn: job 1 of 2, 30 % of it, after ")
    time.sleep(0.05)
    assert not capfd.readouterr().out, "it ends with the block"
