"""The model card of a converted checkpoint: which records it tells of, and that the Hub's own reader understands it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from recorded import NETWORK, a_record

from transferbench import backbones, records
from transferbench.backbones import Architecture
from transferbench.checkpoints import Card, Origin
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.save import save
from transferbench.data.transforms import Preprocess
from transferbench.records import Record, Score, model_card
from transferbench.records.model_card import Subject

DIGEST = "d" * 64
CARD = Card(architecture=NETWORK, preprocess=Preprocess(), origin=Origin(method="intl", epochs=200))
OTHER = CARD.model_copy(update={"preprocess": Preprocess(crop=96)})
SUBJECT = Subject("mine", CARD, DIGEST)


def mine(value: float = 50.0, task_seed: int = 0, **changes: Any) -> Record:
    return a_record("mine", value, digest=DIGEST, **changes).model_copy(update={"seed": task_seed}).sealed()


def front(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


SEVERAL = (
    mine(40.0, 0),
    mine(43.0, 1),
    mine(49.0, 2),
    mine(
        61.5, label="linear", protocol_sha256="q" * 64, task="linear", scores=(Score(metric="top1", value=61.5, n=9),)
    ),
    mine(33.0, label="segments | k-NN", protocol_sha256="r" * 64, task="segment_knn", dataset="voc", metric="miou"),
)


def test_the_index_has_the_mean_over_seeds_of_each_protocol_and_the_text_all_it_depends_on() -> None:
    text = model_card.page(SUBJECT, SEVERAL)
    (index,) = front(text)["model-index"]
    assert index["name"] == "mine"
    assert index["results"] == [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": "digits", "type": "digits", "split": "test"},
            "metrics": [
                {"type": "accuracy", "value": 44.0, "name": "k-NN, top1 (%), protocol pppppppp"},
                {"type": "accuracy", "value": 61.5, "name": "linear, top1 (%), protocol qqqqqqqq"},
            ],
        },
        {
            "task": {"type": "image-segmentation"},
            "dataset": {"name": "voc", "type": "voc", "split": "test"},
            "metrics": [{"type": "mean_iou", "value": 33.0, "name": "segments | k-NN, miou (%), protocol rrrrrrrr"}],
        },
    ]
    row = f"| k-NN | digits | test | top1 | 44.00 ± 4.58 % | 100 | last | 0, 1, 2 | `{'p' * 64}` |"
    assert row in text.splitlines()
    assert r"| segments \| k-NN | voc |" in text
    assert DIGEST in text
    assert "- method: intl\n- epochs: 200" in text


def test_the_hubs_own_reader_finds_the_same_results() -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(model_card.page(SUBJECT, SEVERAL), ignore_metadata_errors=False)
    found = [
        (each.task_type, each.dataset_type, each.metric_type, each.metric_value) for each in card.data.eval_results
    ]
    assert found == [
        ("image-classification", "digits", "accuracy", 44.0),
        ("image-classification", "digits", "accuracy", 61.5),
        ("image-segmentation", "voc", "mean_iou", 33.0),
    ]
    assert card.data.model_name == "mine"
    assert card.data.library_name == "transformers"


@pytest.mark.parametrize(
    "left_out",
    [
        mine(limit=100),
        mine(status="failed"),
        mine(card=OTHER),
        a_record("mine", digest="e" * 64),
    ],
)
def test_a_record_of_something_else_is_left_out(left_out: Record) -> None:
    assert model_card.results(SUBJECT, [left_out]) == []
    assert "model-index" not in front(model_card.page(SUBJECT, [left_out]))
    (kept,) = model_card.results(SUBJECT, [left_out, mine(51.0)])
    assert kept.mean == 51.0


def test_of_one_seed_the_record_written_last_counts() -> None:
    late = mine(70.0, written="2026-02-01T00:00:00+00:00")
    (found,) = model_card.results(SUBJECT, [late, mine(50.0)])
    assert (found.mean, len(found.records)) == (70.0, 1)


def test_the_command_writes_the_card_beside_the_weights(
    evaluate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    architecture = backbones.complete(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125}))
    card = Card(architecture=architecture, preprocess=Preprocess())
    save(tmp_path / "a.safetensors", backbones.build(architecture).state_dict(), card)
    digest = inspect(tmp_path / "a.safetensors").digest
    results = tmp_path / "results"
    records.write(results, a_record("a", 55.0, digest=digest, card=card))
    records.write(results, a_record("b", 66.0, card=card))
    convert = ("convert", tmp_path / "a.safetensors", tmp_path / "out", "--to", "huggingface", "--records")
    code, out, err = evaluate(*convert, results)
    assert (code, err) == (0, "")
    page = tmp_path / "out" / "README.md"
    assert f"wrote {page}: 1 results of {results}" in out
    (index,) = front(page.read_text())["model-index"]
    assert (index["name"], index["results"][0]["metrics"][0]["value"]) == ("out", 55.0)
    (tmp_path / "none").mkdir()
    code, out, err = evaluate(*convert, tmp_path / "none", "--force")
    assert (code, "the card has no model-index" in out) == (0, True)
    assert "model-index" not in front(page.read_text())
    code, _, err = evaluate("convert", tmp_path / "a.safetensors", "b.pth", "--to", "timm", "--records", results)
    assert (code, "--records is for --to huggingface" in err) == (2, True)
    code, _, err = evaluate(*convert, tmp_path / "nowhere", "--force")
    assert (code, "nowhere does not exist" in err) == (2, True)
