"""Which gates stand where: a tour is what a reader does and, each time, the gates that look at the page then.

However many they are, a page is opened once in each theme: served in light, from disk in dark. What the light tour has
seen and no theme changes, the dark one does not look at again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from playwright.sync_api import Browser, ViewportSize
from playwright.sync_api import TimeoutError as NoAnswer

from tests.gates import gates, reading, visits
from tests.gates.costs import timed
from tests.gates.visits import DESKTOP, PHONE, Theme, Visit

Gate = Callable[[Visit], Iterable[str]]


@dataclass(frozen=True)
class Tour:
    """One way to visit a page."""

    theme: Theme
    screen: ViewportSize  # when the page opens
    stops: tuple[tuple[Callable[[Visit], None], tuple[Gate, ...]], ...]
    javascript: bool = True


LIGHT = Tour(
    "light",
    DESKTOP,
    (
        (visits.arrive, (reading.first_screen, reading.length)),
        (
            visits.read_to_the_end,
            (
                *(gates.theme, gates.drawn, gates.descriptions, gates.chart_descriptions, gates.accessibility),
                *(reading.labels, reading.notation, reading.words),
            ),
        ),
        (
            visits.take_a_phone,
            (gates.overflow, reading.cues, reading.letters, gates.accessibility_on_a_phone, gates.keyboard),
        ),
        (visits.choose_dark, (gates.theme, gates.drawn, gates.choices_kept)),
        (visits.print_it, (gates.seen, gates.paper)),
        (visits.leave, (gates.console, gates.other_hosts, gates.weight)),
    ),
)
DARK = Tour(
    "dark",
    PHONE,
    (
        (visits.arrive, (reading.first_screen, reading.length)),
        (visits.sit_down_at_a_desk, ()),
        (visits.read_to_the_end, (gates.theme, gates.drawn, gates.contrast, reading.ground)),
        (visits.leave, (gates.console, gates.other_hosts)),
    ),
)
WITHOUT_JAVASCRIPT = Tour(
    "light", PHONE, ((visits.arrive, (gates.seen, gates.alive, reading.shadows)),), javascript=False
)
SEARCH = Tour("light", DESKTOP, ((visits.arrive, (reading.search,)), (visits.leave, (gates.console,))))
TOURS = (LIGHT, DARK, WITHOUT_JAVASCRIPT, SEARCH)


def visit(browser: Browser, own: str, page: str, tour: Tour, only: Gate | None = None) -> Visit:
    """Visit a page of the site that begins at `own`, and note what the gates find, or the first that one finds.

    A browser that stops drawing, or does not answer, says nothing of the page: then the page is opened once more.
    """
    try:
        return once(browser, own, page, tour, only)
    except (visits.Stalled, NoAnswer):
        return once(browser, own, page, tour, only)


def once(browser: Browser, own: str, page: str, tour: Tour, only: Gate | None) -> Visit:
    """Make one visit."""
    findings: dict[tuple[str, str], str] = {}  # and when first; a fault that both widths show is one fault
    with visits.reopened(browser, own, page, tour.theme, tour.screen, tour.javascript) as seen:
        for step, gates_here in tour.stops:
            with timed(name(step)):
                step(seen)
            for gate in gates_here:
                if only in (None, gate):
                    with timed(name(gate)):
                        for finding in gate(seen):
                            findings.setdefault((name(gate), finding), name(step))
            if only and findings:
                break
    seen.found = [f"{gate} ({step}): {finding}" for (gate, finding), step in findings.items()]
    return seen


def name(function: Callable) -> str:
    """A gate's name, or a step's, in words."""
    return function.__name__.replace("_", " ")
