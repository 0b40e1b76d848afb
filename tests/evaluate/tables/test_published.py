"""Published numbers: a file of sound form; held against results made in the same way, and against no others."""

from collections import Counter
from typing import Any

import pytest
from recorded import a_record

from transferbench.backbones import FAMILIES, Architecture, complete
from transferbench.checkpoints import Card, Origin
from transferbench.data import SOURCES
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.listing import published
from transferbench.records import Record
from transferbench.records.published import Published, beside, numbers, size_of
from transferbench.tables import Choice, grid, leaderboard, markdown
from transferbench.tables.board import Leaderboard, Row
from transferbench.tasks import TASKS

WHITENING = {"k": 5, "metric": "euclidean", "vote": "majority"}
LATER = {"segment_linear", "segment_knn", "attentive"}
"""Tasks that numbers are kept for before there is such a task."""
LABEL_MAPS = {"ade20k", "cityscapes", "voc12seg", "voc12aug"}
THEIR_OWN = {"imagenet21k", "imagenet22k", "lvd142m", "lvd1689m", "laion600m", "videomix2m"}
"""Data sets that networks were trained on elsewhere and that nothing is trained or judged on here."""


def a_run(value: float = 90.5, method: str = "intl", **changes: Any) -> Record:
    """INTL's backbone for CIFAR-10 under the whitening papers' 5-NN, published as 90.03."""
    network = {"family": "resnet", "arguments": {"depth": 18, "stem": "cifar", "width": changes.pop("width", 1.0)}}
    seed = changes.pop("seed", 0)
    origin = Origin(
        method=method,
        data=changes.pop("trained_on", "cifar10"),
        epochs=changes.pop("epochs", 1000),
        recipe=changes.pop("recipe", None),
        seed=seed,
    )
    card = Card(architecture=complete(Architecture(**network)), preprocess=Preprocess(), origin=origin)
    values = {"config": WHITENING, "dataset": "cifar10", "label": "5-NN", "card": card}
    return a_record(method.upper(), value, seed, **(values | changes))


def row_of(board: Leaderboard, kind: str) -> Row:
    return next(row for row in board.rows if row.kind == kind)


def test_every_number_names_what_there_is():
    assert len(numbers()) > 800
    for number in numbers():
        assert number.source
        assert 0 < number.value <= 100
        assert number.task in TASKS.names() or number.task in LATER, number
        assert number.dataset in {*SOURCES.names(), *LABEL_MAPS}, number
        assert number.pretrain_data in {*SOURCES.names(), *THEIR_OWN, ""}, number
        assert number.metric in {"top1", "top5", "map11", "miou"} or number.metric.partition(" ")[0] in {"box", "mask"}
        if number.task in TASKS.names():
            config = TASKS.load(number.task).Config
            assert {name for name, _ in number.settings} <= {*config.model_fields, "preset"}, number
            assert dict(number.settings).get("preset") in {*config.PRESETS, None}, number


def test_no_experiment_is_stated_twice_by_one_source():
    def key(number: Published) -> tuple[object, ...]:
        return tuple(value for name, value in vars(number).items() if name not in ("value", "std", "momentum"))

    assert [each for each, count in Counter(map(key, numbers())).items() if count > 1] == []


def test_the_unverified_stand_apart_and_beside_nothing():
    kinds = [number.status == "unverified" for number in numbers()]
    assert kinds == sorted(kinds)
    assert sum(kinds) == 24
    low = next(number for number in numbers() if number.status == "unverified")
    record = a_run(method=low.method, task=low.task, config={}, dataset=low.dataset, epochs=low.epochs)
    assert beside(record, low.metric) is None


def test_label_maps_are_scored_by_miou_and_nothing_else_is():
    assert all((number.metric == "miou") == (number.dataset in LABEL_MAPS) for number in numbers())
    assert {number.task for number in numbers() if number.metric == "miou"} == {"segment_linear", "segment_knn"}


def test_what_several_found_of_one_network_stands_side_by_side():
    of_l = [n for n in numbers() if (n.method, n.arch, n.dataset) == ("dinov2", "vit-l14", "ade20k")]
    assert [(n.value, dict(n.settings).get("preset"), n.status) for n in of_l] == [
        (41.8, None, "secondary"),
        (47.7, "dinov2", "secondary"),
        (53.1, "dinov2-ms", "verified"),
    ]
    assert "masks" in of_l[0].note


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("segment-linear (dinov2)", [49.0]),
        ("segment-linear (dinov2, precision=bfloat16)", [49.0]),
        ("segment-linear (dinov2-ms)", [53.0]),
        ("segment-linear (dinov2-like)", []),
        ("segment-linear", []),
    ],
)
def test_a_preset_that_a_label_names_is_the_protocol_published_by_that_name(label: str, shown: list[float]):
    setting = {"task": "segment_linear", "dataset": "ade20k", "metric": "miou", "config": {}}
    board = leaderboard([a_run(method="dinov2", trained_on="lvd142m", label=label, **setting)], Choice(context=True))
    largest = [row for row in board.rows if row.kind == "published" and row.architecture == "vit-g14"]
    assert [cell.mean for row in largest for cell in row.cells.values()] == shown


def test_networks_are_compared_by_size():
    names = ["resnet18-cifar", "resnet50-w2", "resnet18-w0.5-cifar", "vit-s16", "vit-s16-reg4"]
    assert [size_of(name) for name in names] == ["resnet18", "resnet50-w2", "resnet18-w0.5", "vit-s16", "vit-s16"]
    assert {"resnet", "vit"} <= set(FAMILIES.names())


@pytest.mark.parametrize(
    ("value", "tolerance", "band"),
    [
        (90.53, 0.5, "within"),
        (89.53, 0.5, "within"),
        (90.54, 0.5, "above"),
        (89.5, 0.5, "below"),
        (80.0, 11.0, "within"),
    ],
)
def test_a_result_made_in_the_same_way_lies_in_a_band(value: float, tolerance: float, band: str):
    board = leaderboard([a_run(value)], Choice(tolerance=tolerance))
    (cell,) = row_of(board, "candidate").cells.values()
    assert cell.reference is not None
    assert (cell.reference.number.value, cell.reference.band) == (90.03, band)
    assert cell.reference.difference == pytest.approx(value - 90.03)
    assert f", {band})" in markdown(grid(board))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 200},
        {"width": 0.5},
        {"trained_on": "cifar100"},
        {"dataset": "cifar10-jpeg"},
        {"config": {**WHITENING, "k": 20}},
        {"task": "linear_small"},
        {"method": "mae"},
        {"limit": 1000},
        {"split": "val"},
    ],
    ids=str,
)
def test_a_result_made_otherwise_stands_alone(change: dict[str, Any]):
    board = leaderboard([a_run(**change)], Choice(limited=True))
    found = [cell.reference for row in board.candidates for cell in row.cells.values()]
    assert found
    assert all(reference is None or reference.number.task != "knn" for reference in found)


def test_the_variant_is_the_one_that_the_names_speak_of():
    four, two = (a_run(method="cwrgp", recipe=f"cwrgp-{views}-cifar10") for views in (4, 2))
    found = [beside(record, "top1") for record in (four, two, a_run(method="cwrgp"))]
    assert [number and (number.variant, number.value) for number in found] == [
        ("4 views", 90.74),
        ("2 views", 89.54),
        None,
    ]


def test_context_is_shown_and_marked_where_the_images_are_others():
    ours = a_run(70.0, dataset="cifar10-jpeg", trained_on="cifar10-jpeg", epochs=10)
    board = leaderboard([ours], Choice(context=True))
    row = row_of(board, "published")
    assert (row.name, row.epochs, [cell.mean for cell in row.cells.values()]) == ("intl (published)", 1000, [90.03])
    text = markdown(grid(board))
    assert "90.03†" in text
    assert "another version of these images" in text
    assert "another version" not in markdown(grid(leaderboard([a_run(epochs=10)], Choice(context=True))))


def test_published_rows_win_nothing():
    board = leaderboard([a_run(60.0), a_run(50.0, method="simclr")], Choice(context=True))
    (column,) = board.columns
    assert [board.place(row, column) for row in board.rows if row.kind == "published"] == [None] * 2
    assert [board.place(row, column) for row in board.rows if row.kind == "candidate"] == [1, 2]


def test_the_list_can_be_asked_by_method_data_and_task():
    lines = published("intl", "cifar10", "knn")
    assert len(lines) == 2
    assert "90.03 top1" in lines[1]
    assert "winci-ai/INTL" in lines[1]
    with pytest.raises(UserError, match="Did you mean 'intl'"):
        published("intll")
    with pytest.raises(UserError, match="No published number is known"):
        published("intl", "voc07")
