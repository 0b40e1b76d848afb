"""What the tests cost: CPU seconds of this run and of its slowest tests, with a budget that it may not exceed.

Counted is what the system charges to the processes that ran tests and to those that they started and waited for. CPU
seconds grow with other work on the machine, but far less than the clock does.
"""

import resource
from collections import defaultdict
from typing import Any

import pytest

PROPERTY = "cpu_seconds"
SLOWEST = 10


def spent() -> float:
    """CPU seconds of this process and of those it started that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)


class Account:
    """Adds up what tests cost, in the process that reports them."""

    def __init__(self, budget: float | None) -> None:
        self.budget = budget
        self.tests: dict[str, float] = defaultdict(float)
        self.workers = 0.0
        self.last = spent()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Any:
        self.last = spent()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Any:
        report = yield
        now = spent()
        report.user_properties.append((PROPERTY, now - self.last))
        self.last = now
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A phase is reported with the properties of those before it.
        self.tests[report.nodeid] += next(
            (value for name, value in reversed(report.user_properties) if name == PROPERTY), 0
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.workers += getattr(node, "workeroutput", {}).get(PROPERTY, 0)

    @property
    def total(self) -> float:
        """CPU seconds of the workers, where there were any, else of this process; imports and collection included."""
        return self.workers or spent()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[PROPERTY] = spent()
        elif self.budget is not None and self.total > self.budget and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.budget is None:
            return
        for name, seconds in sorted(self.tests.items(), key=lambda each: -each[1])[:SLOWEST]:
            terminalreporter.write_line(f"{seconds:6.1f} CPU s  {name}")
        terminalreporter.write_line(f"{self.total:6.0f} CPU s  in all; at most {self.budget:.0f} are allowed")
        if self.total > self.budget:
            terminalreporter.write_line(
                "The fast tests cost more than they may. Make the slowest cheaper, or mark "
                "those that need processes or whole networks `slow` (CONTRIBUTING.md).",
                red=True,
            )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cpu-budget",
        type=float,
        metavar="SECONDS",
        help="print what the tests cost, and fail above so many CPU seconds",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Account(config.getoption("--cpu-budget")), "account")
