"""10,000 records read and tabulated: the copies of one real record, with other names, seeds, protocols and values.

python benchmarks/many_records.py [RECORDS]     # process CPU time of one thread; the records go to a temporary folder
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from transferbench import garbage, records, settings, tables
from transferbench.records import Record, collection

ORIGINAL = Path(__file__).parents[1] / "results" / "digits" / "records"
SEEDS, TASKS = 5, 20
T = TypeVar("T")


def copies(original: Record, count: int) -> list[Record]:
    """`count` records: networks of five seeds under twenty protocols each."""
    made = []
    for i in range(count):
        network, task = divmod(i, TASKS)
        recipe, seed = divmod(network, SEEDS)
        origin = original.card.origin.model_copy(update={"recipe": f"recipe{recipe}", "seed": seed})
        score = original.scores[0].model_copy(update={"value": 50 + (37 * i % 997) / 25})
        changed = {
            "candidate": f"network{recipe}",
            "digest": settings.sha256({"network": network}),
            "card": original.card.model_copy(update={"origin": origin}),
            "protocol_sha256": settings.sha256({"task": task}),
            "label": f"task {task}",
            "scores": (score, *original.scores[1:]),
        }
        made.append(original.model_copy(update=changed).sealed())
    return made


def timed(what: str, call: Callable[[], T]) -> T:
    start = time.process_time()
    result = call()
    print(f"{what:12} {time.process_time() - start:6.2f} s", flush=True)
    return result


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    original = records.read(min(ORIGINAL.glob("*.linear.*.json")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for record in timed("copied", lambda: copies(original, count)):
            path = records.path_of(folder / records.RECORDS, record)
            path.parent.mkdir(exist_ok=True)
            path.write_text(record.model_dump_json(indent=2))
        with garbage.uncollected():  # as `evaluate table` does
            tabulate(folder, count)


def tabulate(folder: Path, count: int) -> None:
    start = time.process_time()
    found = [record for _, record in timed("read", lambda: list(records.read_all(folder)))]
    good = [record for record in found if isinstance(record, Record)]
    assert len(good) == count, next(each for each in found if not isinstance(each, Record))
    timed("merged", lambda: collection.merged([collection.StoredRecord(record, folder) for record in good], ()))
    board = timed("leaderboard", lambda: tables.leaderboard(good))
    timed("written", lambda: tables.write(folder, good, board))
    print(f"{'in all':12} {time.process_time() - start:6.2f} s: {len(board.rows)} rows, {len(board.columns)} columns")


if __name__ == "__main__":
    main()
