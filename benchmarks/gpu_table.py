"""The table of results/gpu/README.md, from what `benchmarks/gpu.py` wrote: no number in it comes from elsewhere."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HEAD = """# One GPU

`benchmarks/gpu.py`, whose header says how to run it, writes `gpu.json` and from it this page. A value is of the median
of `n` runs (of accuracies, `n` is images); the device has finished before a clock is started and before it is stopped,
and runs to warm up are not counted. Where there is no value, the last column says why.
"""
SMOKE = "**A smoke run: small sizes on a CPU, to see that the script runs. It measures nothing.**\n"
COLUMNS = ("part", "what", "value", "unit", "n", "what was timed")


def markdown(document: Mapping[str, Any] | None, parts: Sequence[str]) -> str:
    """The page of a document, finished or not; of None, what is to be measured."""
    done: Mapping[str, Any] = document["parts"] if document else {}
    lines = [HEAD, *([SMOKE] if document and document["smoke"] else []), *_machines(done)]
    rows = [row for name in parts for row in _rows(name, done.get(name))]
    ruled = [COLUMNS, tuple("---:" if name in ("value", "n") else "---" for name in COLUMNS), *rows]
    return "\n".join(lines) + "\n" + "\n".join(f"| {' | '.join(row)} |" for row in ruled) + "\n"


def _machines(done: Mapping[str, Any]) -> Iterable[str]:
    """Each machine with the parts that ran on it."""
    ran: dict[str, list[str]] = {}
    for name, part in done.items():
        if part["machine"]:
            ran.setdefault(json.dumps(_machine(part["machine"])), []).append(name)
    if not ran:
        yield "Machine and versions: not run yet.\n"
    for text, names in ran.items():
        yield f"{', '.join(names)}:\n{json.loads(text)}\n"


def _machine(facts: Mapping[str, Any]) -> str:
    """One line of what a number depends on."""
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    commit = f"{facts['commit'] or 'no commit known'}{' with changes' if facts['dirty'] else ''}"
    gpu = facts["device"]
    if facts["cuda"]:
        gpu = f"{gpu}, driver {facts['driver']}, CUDA {facts['cuda']}, cuDNN {facts['cudnn']}"
    host = f"{facts['machine']['cpu']}, {facts['machine']['cores']} cores, {facts['machine']['threads']} threads"
    return f"{gpu}; {host}, {facts['machine']['system']}; Python {facts['python']}, {packages}; {commit}."


def _rows(name: str, part: Mapping[str, Any] | None) -> Iterable[tuple[str, ...]]:
    if part is None:
        yield name, "not run yet", "", "", "", ""
        return
    last = {row["series"]: row for row in part["rows"] if row["series"]}
    for row in part["rows"]:
        if not row["series"] or last[row["series"]] is row:
            value = "" if row["value"] is None else _number(row["value"])
            yield name, row["what"], value, row["unit"], str(row["n"]), _cell(row["timed"])
    if part["state"] != "finished":
        yield name, part["state"], "", "", "", _cell(part["why"])


def _number(value: float) -> str:
    """Four digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
