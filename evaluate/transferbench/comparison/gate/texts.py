"""A gate's verdicts for people and, as JUnit's XML, for what runs the gate."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from transferbench import state
from transferbench.comparison.gate import Verdict
from transferbench.errors import printable

WORDS = {"ok": "ok", "better": "better", "left": "LEFT", "missing": "MISSING"}


def text(verdicts: Sequence[Verdict], damaged: Sequence[str] = ()) -> str:
    """A line each, the failing ones last, then what came of it; `damaged` says why records were left out."""
    lines = [_line(verdict) for verdict in sorted(verdicts, key=lambda verdict: verdict.fails)]
    left = [verdict for verdict in verdicts if verdict.fails and verdict.state != "missing"]
    missing = [verdict for verdict in verdicts if verdict.state == "missing"]
    failed = [f"{len(left)} outside the tolerance"] if left else []
    failed += [f"{len(missing)} missing" + ("" if missing[0].fails else " (allowed)")] if missing else []
    end = [f"{len(verdicts)} number(s) of the baseline: {', '.join(failed) or 'all within the tolerance or better'}."]
    if left:
        end.append(
            "See which images changed with `evaluate compare BASELINE NEW --samples 20`. If the change is meant, "
            "keep the new results as the baseline."
        )
    if damaged:
        end.append(f"{len(damaged)} damaged record(s), which fail the gate. Remove or replace: {'; '.join(damaged)}.")
    return "\n".join([*lines, *end])


def write_junit(path: Path, verdicts: Sequence[Verdict], damaged: Sequence[str] = ()) -> None:
    """Write JUnit's XML: a case a number and one a damaged record; what is missing and allowed is a skipped one."""
    failing = [verdict for verdict in verdicts if verdict.fails]
    skipped = [verdict for verdict in verdicts if verdict.state == "missing" and not verdict.fails]
    counts = {
        "tests": len(verdicts) + len(damaged),
        "failures": len(failing) + len(damaged),
        "skipped": len(skipped),
    }
    attributes = {"name": "evaluate gate", **{key: str(n) for key, n in counts.items()}}
    suite = ElementTree.Element("testsuite", attributes)
    for verdict in verdicts:
        case = _case(suite, f"{verdict.candidate}.{verdict.dataset}", f"{verdict.label} {verdict.metric}")
        if verdict.fails:
            ElementTree.SubElement(case, "failure", message=printable(_line(verdict)), type=verdict.state)
        elif verdict in skipped:
            ElementTree.SubElement(case, "skipped", message=printable(verdict.reason))
    for reason in damaged:
        case = _case(suite, "records", printable(reason))
        ElementTree.SubElement(case, "failure", message=printable(reason), type="damaged")
    state.write(path, ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n")


def _case(suite: ElementTree.Element, group: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", {"classname": printable(group), "name": printable(name)})


def _line(verdict: Verdict) -> str:
    unit = f" {verdict.unit}" if verdict.unit else ""
    old = f"{verdict.old:.2f}{_runs(verdict.runs_old)}"
    head = (
        f"{WORDS[verdict.state]:8} {verdict.candidate:20} {verdict.dataset:12} {verdict.label:14} {verdict.metric:10}"
    )
    if verdict.new is None or verdict.change is None:
        return f"{head} {old} -> ?{unit}: {verdict.reason}"
    return (
        f"{head} {old} -> {verdict.new:.2f}{_runs(verdict.runs_new)}{unit}: {verdict.change:+.2f}, "
        f"{verdict.width:.2f} allowed ({verdict.rule})"
    )


def _runs(count: int) -> str:
    return f" ({count})" if count > 1 else ""
