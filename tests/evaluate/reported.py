"""A folder of records with artifacts, as tasks leave them, for tests of the report."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from recorded import a_record

from transferbench import records, tables
from transferbench.records import Artifact, Record, Score, collection
from transferbench.report import Report, Sources, build

CURVE = (
    '{"epoch": 1, "loss": 2.0, "train_top1": 30.0, "test_top1": 41.25}\n{"epoch": 2, "loss": 1.0, "test_top1": 52.5}\n'
)
DETECTOR_CURVE = (
    '{"iteration": 1, "lr": 0.1, "loss_cls": 1.5, "loss_mask": 0.25}\n'
    '{"iteration": 20, "lr": 0.1, "loss_cls": 0.5, "loss_mask": 0.5}\n'
)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def put(out: Path, record: Record, **artifacts: bytes) -> Record:
    """Write a record with artifacts as `run` does."""
    kept = {}
    for name, content in artifacts.items():
        path = Path(
            "artifacts", f"{record.candidate}.{record.task}.{record.seed}".replace("<", "").replace("/", ""), name
        )
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(content)
        kept[name] = Artifact(path=path.as_posix(), sha256=hashlib.sha256(content).hexdigest())
    record = record.model_copy(update={"artifacts": kept})
    records.write(out / "records", record)
    return record.sealed()


def fill(out: Path, names: tuple[str, ...] = ("A", "B", "C", "D")) -> Path:
    """Records of four checkpoints and a control on three tasks, with what the tasks keep."""
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 3
    for i, name in enumerate((*names, "random-init")):
        right = draw.random(60) < 0.4 + 0.1 * i
        kept = npz(labels=labels, predictions=np.where(right, labels, (labels + 1) % 3))
        put(out, a_record(name, 40 + 10.125 * i), predictions=kept)
        head = a_record(name, 52.5, task="linear", label="linear", protocol_sha256="1" * 64)
        put(out, head, curve=CURVE.encode(), predictions=kept)
        ranks = Score(metric="effective_rank", value=2.0 * i + 1, unit="", n=100)
        spectrum = a_record(
            name, 3.0 * i + 2, task="spectrum", label="RankMe", metric="rankme", protocol_sha256="2" * 64,
            config={"precision": "float32", "layer": "pooled"}, environment={"machine": {"cpu": "Abacus"}},
        )  # fmt: skip
        spectrum = spectrum.model_copy(update={"scores": (spectrum.scores[0].model_copy(update={"unit": ""}), ranks)})
        put(out, spectrum, spectrum=npz(eigenvalues=0.5 ** np.arange(12.0), std=np.ones(12)))
    return out


def reported(
    out: Path, choice: tables.Choice | None = None, with_images: bool = True, also: Sequence[Path] = ()
) -> Report:
    """The report of the records below a folder, with the data and the features that lie there too."""
    with collection.opened([out, *also]) as there:
        return build(there, choice or tables.Choice(), Sources(out, out / "cache", with_images))


def pictures(side: int = 64) -> bytes:
    """A sheet as a detector's task draws it, of noise, so that it does not shrink."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, 2 * side, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()
