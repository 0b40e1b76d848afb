"""Two records are compared on the same images, from the predictions they keep, or refused with the reason."""

import hashlib
import io
import runpy
from pathlib import Path

import numpy as np
import pytest

import transferbench
from transferbench import intervals
from transferbench.errors import UserError
from transferbench.records import Artifact, Record

a_record = runpy.run_path(str(Path(__file__).parents[1] / "records/test_records.py"))["a_record"]
LABELS = np.arange(60, dtype=np.int64) % 3


def kept(out: Path, name: str, **arrays: np.ndarray) -> dict[str, Artifact]:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    out.mkdir(exist_ok=True)
    (out / f"{name}.npz").write_bytes(buffer.getvalue())
    return {"predictions": Artifact(path=f"{name}.npz", sha256=hashlib.sha256(buffer.getvalue()).hexdigest())}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Record, Record, Path]:
    """The first is wrong on 12 images, the second on 5 of those and 1 other."""
    wrong = np.zeros((2, 60), bool)
    wrong[0, :12], wrong[1, :5], wrong[1, 30] = True, True, True
    first, second = (
        a_record(candidate=name, artifacts=kept(tmp_path, name, labels=LABELS, predictions=(LABELS + w) % 3))
        for name, w in zip(("one", "two"), wrong, strict=True)
    )
    return first, second, tmp_path


def test_the_same_images_are_counted(pair: tuple[Record, Record, Path]):
    first, second, out = pair
    found = transferbench.compare(first, second, out)
    assert (found.only_first, found.only_second, found.n) == (1, 7, 60)
    assert found.difference == pytest.approx(6 / 60)
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.p_value == pytest.approx(2 * (1 + 8) / 2**8)


def test_where_the_data_set_is_reported_per_class_so_is_the_difference(pair: tuple[Record, Record, Path]):
    first, second, out = pair
    labels = np.concatenate([np.zeros(50, np.int64), np.ones(10, np.int64)])
    hits = [np.arange(60) >= 12, np.arange(60) < 55]
    by_class = [
        record.model_copy(
            update={
                "primary": "mean_per_class",
                "artifacts": kept(out, record.candidate, labels=labels, predictions=np.where(h, labels, 2)),
            }
        )
        for record, h in zip((first, second), hits, strict=True)
    ]
    found = transferbench.compare(*by_class, out)
    assert found == intervals.compare(*hits, labels)
    assert found.difference == pytest.approx((50 / 50 + 5 / 10) / 2 - (38 / 50 + 10 / 10) / 2)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"protocol_sha256": "q"}, "differ in protocol_sha256"),
        ({"data_fingerprint": {"train": "a", "test": "c"}}, "differ in data_fingerprint"),
        ({"limit": 5}, "differ in limit"),
        ({"artifacts": {}}, "its predictions are not in"),
    ],
)
def test_what_cannot_be_compared_is_refused(pair: tuple[Record, Record, Path], changed: dict, reason: str):
    first, second, out = pair
    with pytest.raises(UserError, match=reason):
        transferbench.compare(first, second.model_copy(update=changed), out)


def test_predictions_that_were_changed_or_are_of_another_kind_are_refused(pair: tuple[Record, Record, Path]):
    first, second, out = pair
    other = second.model_copy(update={"artifacts": kept(out, "x", labels=LABELS, predictions=LABELS)})
    (out / "x.npz").write_bytes(b"changed")
    with pytest.raises(UserError, match="has changed since the record"):
        transferbench.compare(first, other, out)
    other = second.model_copy(update={"artifacts": kept(out, "y", scores=LABELS)})
    with pytest.raises(UserError, match="does not hold one class per image: scores"):
        transferbench.compare(first, other, out)
    other = second.model_copy(update={"artifacts": kept(out / "z", "z", labels=LABELS[::-1], predictions=LABELS)})
    with pytest.raises(UserError, match="different labels"):
        transferbench.compare(first, other, out, out / "z")
