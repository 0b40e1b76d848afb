"""`evaluate compare`: who is meant, what is paired with what, what the numbers are, and why the rest has none."""

import csv
import hashlib
import io
import json
import math
import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from transferbench import intervals, records, settings, state
from transferbench.backbones import Architecture, complete
from transferbench.checkpoints import Card, Origin
from transferbench.checkpoints.save import save
from transferbench.data.transforms import Preprocess
from transferbench.records import Artifact, Record, Score

shared = runpy.run_path(str(Path(__file__).parents[1] / "records/test_records.py"))
a_record, ARCHITECTURE = shared["a_record"], shared["ARCHITECTURE"]
LABELS = np.arange(100, dtype=np.int64) % 4
Run = Callable[..., tuple[int, str, str]]


def judged(out: Path, name: str, wrong: list[int], **changes: Any) -> Record:
    """A written record of a classifier that is wrong on some of the 100 images, with its predictions."""
    predictions = LABELS.copy()
    predictions[wrong] = (predictions[wrong] + 1) % 4
    buffer = io.BytesIO()
    np.savez(buffer, labels=LABELS, predictions=predictions)
    seed = changes.pop("origin_seed", None)
    card = Card(
        architecture=ARCHITECTURE,
        preprocess=a_record().card.preprocess,
        origin=Origin(method="m", recipe=name, seed=seed),
    )
    digest = settings.sha256({"name": name, "seed": seed})
    record = a_record(
        candidate=name,
        digest=digest,
        card=card,
        **{"scores": (Score(metric="top1", value=100.0 - len(wrong), n=100),), **changes},
    )
    path = f"artifacts/{record.identity[:12]}/predictions.npz"
    state.write(out / path, buffer.getvalue())
    kept = {"predictions": Artifact(path=path, sha256=hashlib.sha256(buffer.getvalue()).hexdigest())}
    record = record.model_copy(update={"artifacts": kept})
    records.write(out / records.RECORDS, record)
    return record


def lines(out: str) -> list[list[str]]:
    """The rows of the printed table, cell by cell."""
    rows = [line.split("  ") for line in out.splitlines() if line.startswith(("digits", "other"))]
    return [[cell.strip() for cell in row if cell.strip()] for row in rows]


def test_one_run_each_is_compared_image_by_image(evaluate: Run, tmp_path: Path):
    judged(tmp_path / "results", "one", list(range(20)))
    judged(tmp_path / "results", "two", [*range(8), 50])
    code, out, err = evaluate("compare", "one", "two", "--out", "found.json")
    assert (code, err) == (0, "")
    (row,) = lines(out)
    assert row[:6] == ["digits", "k-NN", "top1 %", "80.00", "91.00", "+11.00"]
    assert row[-3:] == ["1", "12", "McNemar, exact"]
    (line,) = json.loads(Path("found.json").read_text())["lines"]
    hits = [~np.isin(np.arange(100), w) for w in (list(range(20)), [*range(8), 50])]
    expected = intervals.compare(*hits)
    assert line["p_value"] == line["p_holm"] == expected.p_value == pytest.approx(2 * (1 + 13) / 2**13)
    assert line["interval"] == pytest.approx([100 * bound for bound in expected.interval])


def test_seeds_are_paired_and_tested_as_seeds(evaluate: Run, tmp_path: Path):
    errors = {"one": (20, 24, 31), "two": (15, 22, 25)}
    for name, counts in errors.items():
        for seed, count in enumerate(counts):
            judged(tmp_path / "results", name, list(range(count)), origin_seed=seed)
    code, out, _ = evaluate("compare", "one", "two", "--out", "found.csv")
    assert code == 0
    (line,) = csv.DictReader(Path("found.csv").read_text().splitlines())
    differences = [5, 2, 6]
    mean, std = np.mean(differences), np.std(differences, ddof=1)
    t = mean / (std / math.sqrt(3))
    assert float(line["difference"]) == pytest.approx(mean)
    assert float(line["p_value"]) == pytest.approx(2 * stats.t.sf(t, 2))
    half = stats.t.ppf(0.975, 2) * std / math.sqrt(3)
    assert json.loads(line["interval"].replace("(", "[").replace(")", "]")) == pytest.approx([mean - half, mean + half])
    assert (line["only_a"], line["only_b"], line["n"]) == ("0", "13", "300")
    assert "t, paired, 3 seeds" in out
    assert "75.00 (3)" in out


def test_other_seeds_are_not_paired_and_equal_runs_count_once(evaluate: Run, tmp_path: Path):
    for seed, count in enumerate((20, 24, 31)):
        judged(tmp_path / "results", "one", list(range(count)), origin_seed=seed)
    for seed, count in enumerate((15, 22)):
        judged(tmp_path / "results", "two", list(range(count)), origin_seed=seed)
    assert "Welch's t, 3 and 2 seeds" in evaluate("compare", "one", "two")[1]
    for seed in range(3):
        judged(tmp_path / "other", "same", [1, 2], seed=seed)
        judged(tmp_path / "other", "same2", [3], seed=seed)
    _, out, _ = evaluate("compare", "same", "same2", "--in", "other")
    assert "McNemar, exact" in out, "three seeds of a task without chance are one run"


def test_what_cannot_be_compared_is_listed_with_the_reason(evaluate: Run, tmp_path: Path):
    out = tmp_path / "results"
    judged(out, "one", [1])
    judged(out, "two", [2])
    judged(out, "one", [1], task="linear", label="linear", config={"epochs": 100, "lr": 1.0}, protocol_sha256="x" * 64)
    judged(out, "two", [1], task="linear", label="linear", config={"epochs": 90, "lr": 1.0}, protocol_sha256="y" * 64)
    judged(out, "two", [1], task="semi", label="1 %", config={"percent": 1})
    judged(out, "one", [1], dataset="other", data_fingerprint={"test": "1"})
    judged(out, "two", [1], dataset="other", data_fingerprint={"test": "2"})
    records.write(out / "records", a_record(candidate="two", status="failed", error="Traceback\nIt broke", seed=3))
    code, printed, _ = evaluate("compare", "one", "two")
    assert code == 0
    said = printed.partition("Not compared:")[2]
    assert "digits linear: A -> B differs in epochs 100 -> 90\n" in said
    assert "digits 1 %: A has no result. Make it: evaluate semi one --data digits" in said
    assert "other k-NN: A -> B differs in the images of test" in said
    assert said.count("digits linear") == 1
    assert "B failed: It broke" in said
    assert len(lines(printed.partition("Not compared:")[0])) == 1


def test_a_record_a_folder_a_digest_and_a_checkpoint_name_the_same(evaluate: Run, tmp_path: Path, tiny_candidate: Any):
    one, two = judged(tmp_path / "results", "one", [1, 2, 3]), judged(tmp_path / "elsewhere", "two", [5])
    judged(
        tmp_path / "elsewhere",
        "random-init",
        [7],
        load_report=one.load_report.model_copy(update={"format": "random-init"}),
    )
    judged(tmp_path / "results", "two", [5])
    file = next(Path("results/records").glob("one*.json"))
    weights = tmp_path / "a.safetensors"
    save(weights, tiny_candidate.backbone.state_dict(), tiny_candidate.card)
    for a, b in (("one", "two"), (file, "elsewhere"), (one.digest[:8], two.digest[:8])):
        code, out, err = evaluate("compare", a, b)
        assert (code, err) == (0, "")
        assert lines(out)[0][3:6] == ["97.00", "99.00", "+2.00"]
    code, _, err = evaluate("compare", weights, "two")
    assert code == 2
    assert f"evaluate all {weights} --out results" in err
    records.write(tmp_path / "results" / "records", one.model_copy(update={"digest": tiny_candidate.digest}))
    assert evaluate("compare", weights, "two")[0] == 0
    wrong = {
        ("onee", "two"): "Did you mean 'one'",
        ("results", "two"): "several candidates: one, two",
        ("one", "nowhere.json"): "nowhere.json does not exist",
    }
    for arguments, reason in wrong.items():
        code, _, err = evaluate("compare", *arguments)
        assert code == 2
        assert reason in err


def test_the_images_that_changed_under_the_most_tasks_come_first(evaluate: Run, tmp_path: Path):
    out = tmp_path / "results"
    judged(out, "one", [3, 9, 11])
    judged(out, "two", [9, 40])
    judged(out, "one", [3], task="linear", label="linear", protocol_sha256="x" * 64)
    judged(out, "two", [40, 41], task="linear", label="linear", protocol_sha256="x" * 64)
    code, printed, _ = evaluate("compare", "one", "two", "--samples", "3")
    assert code == 0
    told = printed.partition("first:\n")[2].splitlines()
    assert told == [
        "  +2 of 2  digits 3  is 3  k-NN: 0 -> 3; linear: 0 -> 3",
        "  -2 of 2  digits 40  is 0  k-NN: 0 -> 1; linear: 0 -> 1",
        "  +1 of 2  digits 11  is 3  k-NN: 0 -> 3",
    ]


def test_images_of_a_data_set_that_is_here_go_by_name(evaluate: Run, tmp_path: Path, monkeypatch, tiny_images: Any):
    images = tiny_images(100, 4, split="test")
    asked = []
    monkeypatch.setattr(
        "transferbench.comparison.samples.open_split", lambda data, split, root: asked.append(split) or images
    )
    for name, wrong in (("one", [3]), ("two", [])):
        judged(tmp_path / "results", name, wrong, data_fingerprint={"train": "a", "test": images.fingerprint})
    assert "tiny-3" not in evaluate("compare", "one", "two", "--samples", "1")[1]
    assert (
        f"digits {images.names[3]} (#3)  is class3  k-NN: class0 -> class3"
        in evaluate("compare", "one", "two", "--samples", "1")[1]
    )


def test_holms_correction_is_the_sequential_test():
    p_values = [0.01, 0.04, 0.03, 0.005, 0.03]
    corrected = intervals.holm(p_values)
    for alpha in np.linspace(0.001, 0.3, 300):
        rejected = set()
        for rank, i in enumerate(sorted(range(5), key=lambda i: p_values[i])):
            if p_values[i] > alpha / (5 - rank):
                break
            rejected.add(i)
        assert {i for i in range(5) if corrected[i] <= alpha} == rejected
    assert intervals.holm([]) == []


def test_seeds_without_spread_are_not_tested():
    assert intervals.over_seeds([1.0, 1.0], [2.0, 2.0], paired=True) is None
    assert intervals.over_seeds([1.0], [2.0, 3.0], paired=False) is None
    found = intervals.over_seeds([1.0, 2.0, 4.0], [3.0, 4.0], paired=False)
    assert found is not None
    assert found[1] == pytest.approx(stats.ttest_ind([3.0, 4.0], [1.0, 2.0, 4.0], equal_var=False).pvalue)


def a_network(depth: int, crop: int = 224, **origin: Any) -> Card:
    architecture = complete(Architecture(family="resnet", arguments={"depth": depth}))
    return Card(architecture=architecture, preprocess=Preprocess(crop=crop), origin=Origin(**origin))


def controlled(out: Path, depth: int, wrong: int, seed: int = 0, crop: int = 224) -> Record:
    """A random network of an architecture; the digest knows nothing of the preprocessing."""
    return placed(out, "random-init", wrong, a_network(depth, crop, method="random-init", seed=seed), f"{depth} {seed}")


def placed(out: Path, name: str, wrong: int, card: Card, weights: str, **changes: Any) -> Record:
    record = judged(out, name, list(range(wrong)), **changes)
    next((out / "records").glob(f"*{record.identity[:16]}.json")).unlink()
    report = record.load_report.model_copy(update={"format": name if name == "random-init" else "test"})
    changed = {"card": card, "digest": settings.sha256({"weights": weights}), "load_report": report}
    record = record.model_copy(update=changed)
    records.write(out / "records", record)
    return record


def test_a_controls_name_stands_for_the_other_sides_own(evaluate: Run, tmp_path: Path):
    out = tmp_path / "results"
    for depth, wrong in ((18, 40), (34, 60)):
        placed(out, f"r{depth}", 10, a_network(depth), f"r{depth}")
        for seed in (0, 1):
            controlled(out, depth, wrong + seed, seed)
    for a, b, values in (
        ("r18", "random-init", ["90.00", "59.50 (2)"]),
        ("r34", "random-init", ["90.00", "39.50 (2)"]),
        ("random-init", "r34", ["39.50 (2)", "90.00"]),
        ("r18", "random-init@resnet34", ["90.00", "39.50 (2)"]),
    ):
        code, printed, err = evaluate("compare", a, b)
        assert (code, err) == (0, "")
        assert lines(printed)[0][3:5] == values
        assert ("not r18's own control: architecture resnet34, not resnet18" in printed) == ("@" in b)


def test_networks_that_share_a_name_are_asked_for_and_can_be_said(evaluate: Run, tmp_path: Path):
    out = tmp_path / "results"
    placed(out, "ours", 1, a_network(18), "ours")
    first, second = (placed(out, "checkpoint", 5 * i, a_network(18), f"c{i}") for i in (1, 2))
    controlled(out, 34, 40)
    controlled(out, 34, 50, crop=96)
    code, _, err = evaluate("compare", "ours", "checkpoint")
    assert code == 2
    assert "'checkpoint' stands for 2 networks. Name one of them" in err
    for record, value in ((first, "95.00"), (second, "90.00")):
        word = f"checkpoint@{record.digest[:6]}"
        assert word in err
        assert lines(evaluate("compare", "ours", word)[1])[0][4] == value
    code, _, err = evaluate("compare", "ours", "random-init")
    assert code == 2, "neither is the control of ours"
    words = re.findall(r"random-init@\w+", err)
    assert "crop 224" in err
    assert "crop 96" in err
    assert sorted(lines(evaluate("compare", "ours", word)[1])[0][4] for word in words) == ["50.00", "60.00"]
    digest = controlled(out, 34, 50, crop=96).digest
    assert "stands for 2 networks" in evaluate("compare", "ours", digest[:12])[2]
    assert evaluate("compare", "ours", "checkpoint@000000")[0] == 2
    assert "with --in elsewhere" in evaluate("compare", "ours", renamed(out, tmp_path / "elsewhere"))[2]


def renamed(out: Path, other: Path) -> str:
    """A folder with the two networks called `checkpoint` alone."""
    (other / "records").mkdir(parents=True)
    for path in (out / "records").glob("checkpoint*"):
        shutil.copy(path, other / "records")
    return other.name


def test_two_recipes_under_one_name_are_not_pooled_and_seeds_of_one_are(evaluate: Run, tmp_path: Path):
    out = tmp_path / "results"
    placed(out, "ours", 1, a_network(18), "ours")
    for epochs in (100, 200):
        for seed in (0, 1):
            card = a_network(18, method="m", recipe="r", epochs=epochs, seed=seed)
            placed(out, "run", epochs // 10 + seed, card, f"{epochs} {seed}")
    code, _, err = evaluate("compare", "ours", "run")
    assert code == 2
    assert "epochs 100" in err
    assert "epochs 200" in err
    values = [lines(evaluate("compare", "ours", word)[1])[0][4] for word in re.findall(r"run@\w+", err)]
    assert sorted(values) == ["79.50 (2)", "89.50 (2)"]


def test_what_a_task_says_of_its_seed_decides_how_often_a_run_counts(evaluate: Run, tmp_path: Path):
    for seeded, printed in ((True, "98.00 (3)"), (False, "98.00"), (None, "98.00")):
        out = tmp_path / str(seeded)
        score = Score(metric="top1", value=98.0, n=100, seeded=seeded)
        for seed in range(3):
            judged(out, "same", [1, 2], seed=seed, scores=(score,))
        judged(out, "other", [1])
        assert lines(evaluate("compare", "same", "other", "--in", out)[1])[0][3] == printed


def test_a_controls_number_is_that_of_the_table(evaluate: Run, tmp_path: Path):
    out = tmp_path / "results"
    placed(out, "r18", 10, a_network(18), "r18")
    for seed, wrong in enumerate((40, 50)):
        placed(out, "random-init", wrong, a_network(18, method="random-init", seed=0), "18 0", seed=seed)
    controlled(out, 18, 75, seed=1)
    _, printed, _ = evaluate("compare", "r18", "random-init")
    assert lines(printed)[0][4] == "40.00 (2)"
    assert "40.00 ± 21.21" in evaluate("table", out)[1]
