"""The sheet of segmentations: every class where it belongs, pictures as they were drawn, what is missing told."""

import html as entities
import json
from pathlib import Path

import pytest
from recorded import a_record
from reported import pictures, put, reported

from transferbench.records import Record, Score
from transferbench.report.charts import Chart, Pictures

ROWS = [
    {"class": "background", "iou": 90.0, "accuracy": 95.0, "labeled": 900, "predicted": 910},
    {"class": "one, 1", "iou": 0.0, "accuracy": 0.0, "labeled": 75, "predicted": 0},
    {"class": "two", "iou": 40.0, "accuracy": 50.0, "labeled": 25, "predicted": 30},
    {"class": "three", "iou": 0.0, "accuracy": None, "labeled": 0, "predicted": 60},
    {"class": "four", "iou": None, "accuracy": None, "labeled": 0, "predicted": 0},
]


def segmented(name: str = "A", task: str = "segment_linear", seed: int = 0) -> Record:
    values = {"miou": 43.25 + seed, "mean_accuracy": 48.125, "pixel_accuracy": 88.5}
    record = a_record(name, task=task, metric="miou", label="linear segmentation", dataset="scenes")
    kept = tuple(Score(metric=metric, value=value, n=8) for metric, value in values.items())
    return record.model_copy(update={"scores": kept, "seed": seed})


def table(rows: object = ROWS) -> bytes:
    return json.dumps(rows).encode()


@pytest.mark.parametrize("task", ["segment_linear", "segment_knn"])
def test_each_class_stands_at_its_share_of_the_pixels_and_its_iou(task: str, tmp_path: Path):
    put(tmp_path, segmented(task=task), classes=table(), pictures=pictures())
    made = reported(tmp_path)
    chart, shown = (made.figures[f"a-{kind}-scenes-linear-segmentation-0"] for kind in ("classes", "segmentations"))
    assert isinstance(chart, Chart)
    assert isinstance(shown, Pictures)
    (series,) = chart.series
    assert sorted(zip(series.labels, series.xs, series.ys, strict=True)) == [
        ("background", 90.0, 90.0),
        ("one", 7.5, 0.0),
        ("two", 2.5, 40.0),
    ]
    assert chart.caption.endswith("Mean IoU 43.25, mean accuracy 48.12, pixel accuracy 88.50 %. Not drawn: 2 that no "
                                  "pixel is of.")  # fmt: skip
    assert made.html.count("data:image/webp;base64,") == 1
    assert "each beside its true and its predicted classes" in made.html


def test_of_many_classes_the_best_and_the_worst_are_named(tmp_path: Path):
    rows = [{"class": f"c{i}", "iou": i / 2, "accuracy": 1.0, "labeled": i + 1, "predicted": 1} for i in range(150)]
    put(tmp_path, segmented(), classes=table(rows[::-1]), pictures=pictures())
    chart = reported(tmp_path).figures["a-classes-scenes-linear-segmentation-0"]
    assert isinstance(chart, Chart)
    assert [len(each.xs) for each in chart.series] == [6, 138, 6]
    assert [each.labels for each in chart.series] == [
        tuple(f"c{i}" for i in range(6)), (), tuple(f"c{i}" for i in range(144, 150))
    ]  # fmt: skip


def test_seeds_have_figures_of_their_own(tmp_path: Path):
    for seed in (0, 3):
        put(tmp_path, segmented(seed=seed), classes=table(), pictures=pictures())
    made = reported(tmp_path)
    assert {f"a-classes-scenes-linear-segmentation-{seed}" for seed in (0, 3)} <= made.figures.keys()
    assert "scenes: linear segmentation, seed 3" in made.html


def test_what_was_not_segmented_is_told_with_a_command(tmp_path: Path):
    put(tmp_path, a_record("A"))
    put(tmp_path, segmented("B"), classes=table(), pictures=pictures())
    told = entities.unescape(reported(tmp_path).html)
    assert "evaluate segment_linear A=CHECKPOINT --data digit-scenes-maps" in told
    assert "evaluate segment_linear B=CHECKPOINT --data digit-scenes-maps" not in told
    assert "evaluate linear B=CHECKPOINT --data LABELED" in told


@pytest.mark.parametrize(
    "content", [b"{", b"[1]", b"{}", b"[]", table([{**ROWS[0], "iou": "much"}]), table([ROWS[0] | {"labeled": None}])]
)
def test_a_table_that_is_none_is_told_and_the_pictures_are_shown(content: bytes, tmp_path: Path):
    put(tmp_path, segmented(), classes=content, pictures=pictures())
    made = reported(tmp_path)
    assert "a-segmentations-scenes-linear-segmentation-0" in made.figures
    assert "a-classes-scenes-linear-segmentation-0" not in made.figures
    assert "scenes linear segmentation: its table" in made.html


def test_without_images_the_classes_remain(tmp_path: Path):
    put(tmp_path, segmented(), classes=table(), pictures=pictures())
    made = reported(tmp_path, with_images=False)
    assert "data:image/webp;base64," not in made.html
    assert "a-classes-scenes-linear-segmentation-0" in made.figures


def test_each_learning_rate_has_a_curve_that_ends_where_its_loss_did(tmp_path: Path):
    lines = [{"iteration": 5, "loss at 0.1": 2.0, "loss at 0.01": 3.0}, {"iteration": 9, "loss at 0.01": 1.5}]
    lines[1]["loss at 0.1"] = None  # pyright: ignore[reportArgumentType]
    curve = "".join(json.dumps(line) + "\n" for line in lines).encode()
    put(tmp_path, segmented(), classes=table(), pictures=pictures(), curve=curve)
    made = reported(tmp_path)
    chart = made.figures["a-rates-loss-scenes"]
    assert isinstance(chart, Chart)
    assert [(each.name, each.xs, each.ys) for each in chart.series] == [
        ("linear segmentation, at 0.1", (5.0,), (2.0,)),
        ("linear segmentation, at 0.01", (5.0, 9.0), (3.0, 1.5)),
    ]
    assert "a-detector-loss-scenes" not in made.figures
