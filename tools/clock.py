"""Where the time goes: a plugin for pytest that notes what each item took, and the report of a whole run.

Where $TIMES names a file, pytest adds a line to it for every item, beside those of `.ci/run` for the beginning and for
every phase. With `--where-the-time-went`, pytest closes with the report of all of them. Time is reported, never judged.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

SLOWEST = 20
_START = pytest.StashKey[tuple[float, float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that asks for the report."""
    parser.addoption("--where-the-time-went", action="store_true", help="close with a report of the file $TIMES")


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended, such as the kernels of notebooks."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def processor(item: pytest.Item) -> float:
    """Processor time so far, as it counts for an item: a gate's browser is a child that ends during some other gate."""
    return time.process_time() if item.get_closest_marker("gates") else processor_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Note when an item begins, before its fixtures are made."""
    item.stash[_START] = time.perf_counter(), processor(item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Any:
    """Let the item's last report carry what the item took; workers send it to the process that reports."""
    report = yield
    if call.when == "teardown":
        wall, began = item.stash[_START]
        took = {"wall": time.perf_counter() - wall, "processor": processor(item) - began}
        report.user_properties.append(("took", took))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add the item to the file; only the process that reports does so."""
    took = dict(report.user_properties).get("took")
    path = os.environ.get("TIMES")
    if path and took and report.when == "teardown" and "PYTEST_XDIST_WORKER" not in os.environ:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"item": report.nodeid, **took}) + "\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the report, before pytest's own closing line."""
    if config.getoption("--where-the-time-went"):
        terminalreporter.section("where the time went")
        terminalreporter.write_line(report(Path(os.environ["TIMES"]), time.time()))


def report(path: Path, now: float) -> str:
    """The phases in order, the one that lasts until `now` included, and the slowest items of all of them."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    total = now - next(line["began"] for line in lines if "began" in line)
    phases = {line["phase"]: line["wall"] for line in lines if "phase" in line}
    phases["gates"] = total - sum(phases.values())
    items = sorted((line for line in lines if "item" in line), key=lambda line: -line["processor"])
    return "\n".join(
        [
            f"{'wall s':>9}  phase",
            *(f"{wall:>9.0f}  {name}" for name, wall in {**phases, "all of it": total}.items()),
            f"\n{'CPU s':>9}{'wall s':>9}  slowest items",
            *(f"{line['processor']:>9.1f}{line['wall']:>9.1f}  {line['item']}" for line in items[:SLOWEST]),
        ]
    )
