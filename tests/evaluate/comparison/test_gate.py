"""`evaluate gate`: what leaves its band fails, what is missing fails, and what is meant passes."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from transferbench import records, settings
from transferbench.backbones import Architecture
from transferbench.checkpoints import Card, Origin
from transferbench.data.transforms import Preprocess
from transferbench.records import Record, Score

shared = runpy.run_path(str(Path(__file__).parents[1] / "records/test_records.py"))
a_record, ARCHITECTURE = shared["a_record"], shared["ARCHITECTURE"]
Run = Callable[..., tuple[int, str, str]]


def scored(value: float, seed: int = 0, name: str = "ours", **changes: Any) -> Record:
    origin = Origin(method="intl", recipe="intl-digits", seed=seed)
    card = Card(architecture=ARCHITECTURE, preprocess=a_record().card.preprocess, origin=origin)
    digest = settings.sha256({"seed": seed, "value": value})
    scores = (Score(metric="top1", value=value, n=1000),)
    return a_record(**{"candidate": name, "digest": digest, "card": card, "scores": scores} | changes)


def kept(folder: str, *found: Record) -> str:
    for record in found:
        records.write(Path(folder, records.RECORDS), record)
    return folder


@pytest.mark.parametrize(
    ("new", "arguments", "code"),
    [
        (64.0, [], 0),
        (63.9, [], 1),
        (66.1, [], 0),
        (66.1, ["--both-sides"], 1),
        (66.0, ["--both-sides"], 0),
        (63.9, ["--tolerance", "1.2"], 0),
        (63.9, ["--tolerance", "knn=1.2", "--tolerance", "0.1"], 0),
        (63.9, ["--tolerance", "linear=1.2"], 1),
        (64.5, ["--tolerance", "0"], 1),
    ],
)
def test_a_number_may_be_worse_by_the_tolerance(evaluate: Run, new: float, arguments: list[str], code: int):
    kept("base", scored(65.0))
    kept("new", scored(new))
    assert evaluate("gate", "new", "--against", "base", *arguments)[0] == code


def test_the_output_says_which_number_by_how_much_and_what_to_do(evaluate: Run):
    kept("base", scored(65.0), scored(50.0, task="linear", label="linear", protocol_sha256="x" * 64))
    kept("results", scored(62.5), scored(53.0, task="linear", label="linear", protocol_sha256="x" * 64))
    code, out, err = evaluate("gate", "--against", "base", "--junit", "gate.xml")
    assert (code, err) == (1, "")
    better, left, *end = (" ".join(line.split()) for line in out.splitlines())
    assert left == "LEFT ours digits k-NN top1 65.00 -> 62.50 %: -2.50, 1.00 allowed (tolerance)"
    assert better == "better ours digits linear top1 50.00 -> 53.00 %: +3.00, 1.00 allowed (tolerance)"
    assert end[0] == "2 number(s) of the baseline: 1 outside the tolerance."
    assert "evaluate compare" in end[1]
    suite = ElementTree.parse("gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["k-NN top1"]


def test_means_over_seeds_are_held_and_sigma_is_theirs(evaluate: Run):
    kept("base", scored(60.0), scored(63.0, 1), scored(66.0, 2))
    kept("new", scored(57.0), scored(60.0, 1), scored(64.0, 2))
    assert evaluate("gate", "new", "--against", "base")[0] == 1
    assert "63.00 (3) -> 60.33 (3) %: -2.67" in evaluate("gate", "new", "--against", "base")[1]
    code, out, _ = evaluate("gate", "new", "--against", "base", "--sigma", "0.9")
    assert code == 0, "a standard deviation is 3"
    assert "2.70 allowed (0.9 sigma over 3 seeds)" in out
    assert evaluate("gate", "new", "--against", "base", "--sigma", "0.88")[0] == 1


def test_one_seed_has_no_sigma_and_takes_the_tolerance(evaluate: Run):
    kept("base", scored(65.0))
    kept("new", scored(63.9))
    code, out, _ = evaluate("gate", "new", "--against", "base", "--sigma", "5")
    assert code == 1
    assert "(tolerance; one seed)" in out


def test_where_lower_is_better_higher_fails(evaluate: Run):
    def diagnosed(condition: float) -> Record:
        scores = (
            Score(metric="rankme", value=50.0, unit="", n=9),
            Score(metric="log10_condition", value=condition, unit="", higher_is_better=False, n=9),
        )
        return scored(0, task="spectrum", label="RankMe", primary="rankme", scores=scores)

    kept("base", diagnosed(5.0))
    kept("new", diagnosed(7.0))
    kept("low", diagnosed(3.0))
    assert evaluate("gate", "new", "--against", "base")[0] == 0, "the main score alone"
    assert evaluate("gate", "new", "--against", "base", "--every-score")[0] == 1
    assert evaluate("gate", "low", "--against", "base", "--every-score")[0] == 0
    tolerance = ("--tolerance", "spectrum.log10_condition=2")
    assert evaluate("gate", "new", "--against", "base", "--every-score", *tolerance)[0] == 0


def test_what_is_missing_fails_unless_allowed_and_says_why(evaluate: Run):
    kept("base", scored(65.0), scored(1.0, task="linear", label="linear", config={"lr": 1.0}), scored(2.0, limit=5))
    kept("new", scored(1.0, task="linear", label="linear", config={"lr": 0.5}, protocol_sha256="y" * 64))
    kept("new", scored(0, status="failed", error="Traceback\nIt broke", scores=()))
    code, out, _ = evaluate("gate", "new", "--against", "base")
    assert code == 1
    assert "the protocol differs (baseline -> new): lr 1.0 -> 0.5" in out
    assert "the new result failed: It broke" in out
    assert "limit 5 -> None" in out
    assert out.count("MISSING") == 3
    assert evaluate("gate", "new", "--against", "base", "--allow-missing", "--junit", "x.xml")[0] == 0
    assert ElementTree.parse("x.xml").getroot().get("skipped") == "3"
    kept("empty", a_record(candidate="another"))
    assert "Make it: evaluate knn ours=FILE --data digits" in evaluate("gate", "empty", "--against", "base")[1]


def test_a_renamed_candidate_is_known_by_its_recipe(evaluate: Run):
    kept("base", scored(65.0, name="ours"))
    kept("new", scored(65.0, name="renamed"))
    assert evaluate("gate", "new", "--against", "base")[0] == 0
    unknown = Card(architecture=ARCHITECTURE, preprocess=a_record().card.preprocess)
    kept("base2", scored(65.0, name="ours", card=unknown))
    kept("new2", scored(65.0, name="renamed", card=unknown, digest="1" * 64))
    assert evaluate("gate", "new2", "--against", "base2")[0] == 1


def test_a_baseline_inside_the_results_is_none_of_the_new(evaluate: Run):
    kept("results/baseline", scored(65.0), scored(65.0, task="linear", protocol_sha256="x" * 64))
    kept("results", scored(60.0))
    code, out, _ = evaluate("gate", "--against", "results/baseline")
    assert code == 1
    assert "65.00 -> 60.00 %: -5.00" in out
    assert out.count("MISSING") == 1


def test_what_cannot_be_held_is_told_with_2(evaluate: Run):
    kept("base", scored(65.0))
    kept("failed", scored(65.0, status="failed"))
    wrong = {
        ("base", "--against", "base"): "with itself",
        ("base", "--against", "nowhere"): "nowhere does not exist",
        ("base", "--against", "failed"): "no finished result",
        ("failed", "--against", "base", "--tolerance", "kNN"): "found 'kNN'",
        ("failed", "--against", "base", "--tolerance", "-1"): "found '-1'",
        ("failed", "--against", "base", "--tolerance", "nan"): "found 'nan'",
    }
    for arguments, reason in wrong.items():
        code, _, err = evaluate("gate", *arguments)
        assert code == 2, arguments
        assert reason in err


def test_a_damaged_record_of_the_baseline_is_named(evaluate: Run):
    kept("base", scored(65.0), scored(66.0, 1))
    kept("new", scored(65.0))
    bad = next(path for path, record in records.read_all(Path("base")) if record.scores[0].value == 66)
    bad.write_text(bad.read_text().replace("66.0", "1.0"))
    code, out, err = evaluate("gate", "new", "--against", "base")
    assert code == 1
    assert "1 damaged record(s), which fail the gate" in out
    assert bad.name in err
    assert "was changed after it was written" in err


def a_network(depth: int = 18, crop: int = 224, **origin: Any) -> Card:
    architecture = Architecture(family="resnet", arguments={"depth": depth})
    return Card(architecture=architecture, preprocess=Preprocess(crop=crop), origin=Origin(**origin))


def called(value: float, weights: str, card: Card, name: str = "checkpoint", **changes: Any) -> Record:
    return scored(value, name=name, card=card, digest=settings.sha256({"weights": weights}), **changes)


def verdicts(evaluate: Run, *arguments: str) -> dict[str, str]:
    """The first word of the line about each number, by candidate."""
    out = evaluate("gate", "new", "--against", "base", *arguments)[1]
    found = [line.split() for line in out.splitlines()]
    return {words[1]: words[0] for words in found if words and words[0] in ("ok", "better", "LEFT", "MISSING")}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (a_network(18), a_network(34)),
        (a_network(crop=224), a_network(crop=96)),
        (a_network(method="m", recipe="r", epochs=1), a_network(method="m", recipe="r", epochs=2)),
        (a_network(), a_network()),
    ],
    ids=["architecture", "preprocessing", "recipe", "weights of unknown origin"],
)
def test_networks_of_one_name_are_held_each_to_its_own(evaluate: Run, one: Card, other: Card):
    for folder, values in (("base", (60.0, 80.0)), ("new", (80.0, 60.0))):
        kept(folder, called(values[0], "one", one), called(values[1], "other", other))
    found = verdicts(evaluate)
    assert sorted(found.values()) == ["LEFT", "better"], "their means are the same"
    assert all(name.startswith("checkpoint@") for name in found)


def test_new_weights_are_known_by_what_only_they_share(evaluate: Run):
    kept(
        "base", called(60.0, "a", a_network(18)), called(70.0, "b", a_network(34)), called(50.0, "kept", a_network(18))
    )
    kept(
        "new", called(60.0, "a2", a_network(18)), called(65.0, "b2", a_network(34)), called(50.0, "kept", a_network(18))
    )
    assert sorted(verdicts(evaluate).values()) == ["LEFT", "ok", "ok"]


def test_what_cannot_be_told_apart_is_missing_and_says_which_it_could_be(evaluate: Run):
    kept("base", called(60.0, "a", a_network()))
    kept("new", called(60.0, "a2", a_network()), called(61.0, "a3", a_network()))
    code, out, _ = evaluate("gate", "new", "--against", "base")
    assert code == 1
    assert out.count("checkpoint@") == 2
    assert "it cannot be told which of these it is" in out
    kept("base2", called(60.0, "a", a_network(18)))
    kept("new2", called(60.0, "a", a_network(34), name="checkpoint"))
    assert "MISSING" in evaluate("gate", "new2", "--against", "base2")[1], "another architecture is another network"


def test_a_computation_repeated_under_several_seeds_is_one_run_and_has_no_sigma(evaluate: Run):
    for seed in range(3):
        kept("base", called(65.0, "same", a_network(method="random-init"), seed=seed))
        kept("new", called(64.9, "same", a_network(method="random-init"), seed=seed))
    code, out, _ = evaluate("gate", "new", "--against", "base", "--sigma", "2")
    assert code == 0, "no spread over seeds that change nothing is no band of width 0"
    assert "65.00 -> 64.90" in out
    assert "tolerance; one seed" in out


def test_a_control_is_held_to_the_random_networks_that_both_have(evaluate: Run):
    control = evaluated_control(0, 60.0)
    kept("base", control)
    kept("new", control, evaluated_control(1, 40.0), evaluated_control(2, 50.0))
    assert evaluate("gate", "new", "--against", "base")[0] == 0
    kept("other", evaluated_control(1, 40.0))
    assert evaluate("gate", "other", "--against", "base")[0] == 1, "none is the same"


def evaluated_control(drawn_by: int, value: float) -> Record:
    report = a_record().load_report.model_copy(update={"format": "random-init"})
    card = a_network(method="random-init", seed=drawn_by)
    return called(value, f"drawn by {drawn_by}", card, name="random-init", load_report=report)
