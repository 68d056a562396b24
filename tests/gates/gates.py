"""What an open page must be. A gate is given a visit and yields what it finds: nothing when all is well.

Here are the gates for what every page of any site should be; those for what this book asks of its pages are in
`reading.py`. Where they stand is said in `tours.py`.
"""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Response

from tests.gates.visits import Visit

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
CONTRAST_ONCE = {"id": "color-contrast", "selector": ":not([data-alike])"}  # axe's dearest rule
OF_COLOURS = ("color-contrast", "link-in-text-block")  # axe's rules whose outcome the theme can change
HEAVIEST = 250_000  # bytes of a page, compressed, before its charts
CHARTS = re.compile(r"/vega[^/]*\.js|/charts/[^/]*\.js")  # fetched when the reader comes near
FILE_NAME = re.compile(r"\S*(/\S*|\.\w{3,4})")
LOCAL = ("data:", "blob:", "about:")


def theme(visit: Visit) -> Iterator[str]:
    """The page follows the system's choice of colours."""
    if visit.ask("inkIsLight") != (visit.theme == "dark"):
        yield f"the colours are not those of the {visit.theme} theme"


def descriptions(visit: Visit) -> Iterator[str]:
    """Every image is described, in words and not by the name of a file."""
    for source, text in visit.ask("images"):
        if len(text.split()) < 2 or FILE_NAME.fullmatch(text.strip()):
            yield f"{source}: {text!r}"


def accessibility(visit: Visit) -> list[str]:
    """axe-core finds nothing."""
    return axe(visit)


def contrast(visit: Visit) -> list[str]:
    """axe-core finds nothing in what depends on colours."""
    return axe(visit, {"runOnly": OF_COLOURS})


def accessibility_on_a_phone(visit: Visit) -> list[str]:
    """axe-core finds nothing in what depends on the width; colours, which take half of its time, do not."""
    return axe(visit, {"rules": {rule: {"enabled": False} for rule in OF_COLOURS}})


def overflow(visit: Visit) -> Iterator[str]:
    """Nothing is wider than the screen, or begins to the left of where scrolling reaches."""
    width, screen = visit.tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    if width > screen:
        yield f"the page is {width} px wide on a screen of {screen} px"
        yield from visit.ask("tooWide")
    for element in visit.ask("cutOff"):
        yield f"cut off at the left: {element}"


def drawn(visit: Visit) -> list[str]:
    """Every chart is drawn."""
    return visit.ask("undrawn")


def chart_descriptions(visit: Visit) -> Iterator[str]:
    """Every chart says what it shows."""
    for number, text in enumerate(visit.ask("chartDescriptions")):
        if len(text.split()) < 4:
            yield f"chart {number} is not described: {text!r}"


def keyboard(visit: Visit) -> Iterator[str]:
    """Each slider of a chart, moved by keyboard, changes the chart."""
    for number, chart in enumerate(visit.tab.query_selector_all(".chart")):
        for slider in chart.query_selector_all("input[type=range]"):
            name = f"slider {slider.get_attribute('name') or ''} of chart {number}"
            before, at = chart.evaluate_handle("gates.drawing"), slider.input_value()
            for _step in range(3):
                slider.press("ArrowLeft" if at == slider.get_attribute("max") else "ArrowRight")
            if slider.input_value() == at:
                yield f"{name} does not move"
            elif not visit.comes_true("gates.drawing(argument[0]) !== argument[1]", [chart, before]):
                yield f"{name} changes nothing"


def choices_kept(visit: Visit) -> Iterator[str]:
    """A change of theme leaves the sliders where they stood."""
    if (now := visit.ask("sliders")) != visit.sliders:
        yield f"the sliders stood at {visit.sliders}, and at {now} after a change of theme"


def seen(visit: Visit) -> list[str]:
    """In the place of every chart there is something to see."""
    return visit.ask("unseen")


def alive(visit: Visit) -> Iterator[str]:
    """Without scripts there is no button: none would do anything."""
    for button in visit.ask("buttons"):
        yield f"a dead button: {button}"


def paper(visit: Visit) -> Iterator[str]:
    """On paper the ink is dark, whatever the theme."""
    if visit.ask("inkIsLight"):
        yield "the ink of the dark theme is printed"


def console(visit: Visit) -> list[str]:
    """No error is written to the browser's console."""
    return visit.errors


def other_hosts(visit: Visit) -> list[str]:
    """Nothing is asked of another host, and no connection prepared."""
    return [url for url in [*visit.requests, *visit.ask("hints")] if not url.startswith((visit.own, *LOCAL))]


def weight(visit: Visit) -> Iterator[str]:
    """The page is light before its charts are drawn."""
    weighed = {answer.url: size(answer) for answer in visit.responses if answer.ok}
    before_charts = {url: size for url, size in weighed.items() if not CHARTS.search(url)}
    total = sum(before_charts.values())
    visit.measured.append(f"{total / 1000:>6.0f} kB compressed, before charts")
    if not 0 < total <= HEAVIEST:
        yield f"{total:,} bytes, at most {HEAVIEST:,} expected"
        yield from (f"{size:>9,} {url}" for url, size in sorted(before_charts.items(), key=lambda part: -part[1])[:10])


# The tools of the gates


def axe(visit: Visit, options: dict[str, Any] | None = None) -> list[str]:
    """What axe-core reports of the page as it stands, by all its rules or by those that its options choose."""
    if not visit.tab.evaluate("'axe' in window"):
        visit.tab.evaluate(axe_source())
        visit.ask("markAlike")
        visit.tab.evaluate(f"axe.configure({json.dumps({'rules': [CONTRAST_ONCE]})})")
    options = {"resultTypes": ["violations"], **(options or {})}
    violations = visit.evaluate(f"() => axe.run({json.dumps(options)}).then(result => result.violations)")
    return [
        f"{violation['id']}: {violation['help']}: {' '.join(map(str, node['target']))}"
        for violation in violations
        for node in violation["nodes"]
    ]


@functools.cache
def axe_source() -> str:
    """The program axe-core."""
    return AXE.read_text(encoding="utf-8")


def size(response: Response) -> int:
    """The bytes of a response, as it was sent."""
    return int(response.header_value("Content-Length") or len(response.body()))
