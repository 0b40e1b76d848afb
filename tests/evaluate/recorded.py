"""Records as tasks leave them, for tests of what reads records."""

from typing import Any

from transferbench.backbones import Architecture, complete
from transferbench.checkpoints import Card, LoadReport, Origin
from transferbench.data.transforms import Preprocess
from transferbench.records import Record, Score

NETWORK = complete(Architecture(family="resnet", arguments={"depth": 18}))


def a_record(name: str = "INTL", value: float = 50.0, seed: int | None = 0, **changes: Any) -> Record:
    """A sealed record; `seed` is the checkpoint's, None for weights of unknown origin."""
    origin = Origin() if seed is None else Origin(method=name.lower(), seed=seed)
    primary = changes.pop("metric", "top1")
    score = Score(metric=primary, value=value, n=100, higher_is_better=changes.pop("higher_is_better", True))
    values = {
        "status": "ok",
        "task": "knn",
        "label": "k-NN",
        "version": "1",
        "primary": primary,
        "dataset": "digits",
        "dataset_revision": "1",
        "data_fingerprint": {"train": "a"},
        "chance": 10.0,
        "candidate": name,
        "digest": f"{name}{seed}".encode().hex().ljust(64, "0"),
        "file_sha256": None,
        "card": Card(architecture=NETWORK, preprocess=Preprocess(), origin=origin),
        "load_report": LoadReport(format="random-init" if name == "random-init" else "test", matched=1, parameters=1),
        "config": {"k": 5, "note": "a,b"},
        "protocol_sha256": "p" * 64,
        "seed": 0,
        "limit": None,
        "scores": (score, Score(metric="extra", value=1.5, n=3, interval=(1.0, 2.0))),
        "seconds": 1.0,
        "peak_memory_mb": 1.0,
        "written": "2026-01-01T00:00:00+00:00",
        "environment": {"commit": "c0ffee"},
    }
    return Record(**(values | changes)).sealed()
