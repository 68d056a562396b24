"""Lighthouse gives full marks for accessibility, best practices and SEO; its performance is noted.

It visits one page of each kind, the smallest, for it takes long: pages of a kind share their templates, and axe-core
sees all of them.
"""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser

from tests.gates.book import SMALLEST, kind
from tests.gates.lighthouse import PERFECT, lighthouse
from tests.gates.test_faults import SOUND, planted
from tests.gates.visits import served

pytestmark = [pytest.mark.gates, pytest.mark.xdist_group("Lighthouse")]  # started once, by one process

FAULTS = (  # one for each category
    (' aria-label="its length"', ""),
    ("const slider", "nowhere();\nconst slider"),
    ('<meta name="description" content="A page that passes every gate.">', ""),
)


@pytest.fixture(scope="module")
def reports(
    browser: Browser, debugging_port: int, address: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, int], list[str]]]:
    """What it says of each page of the sample, and of one with faults."""
    folder = tmp_path_factory.mktemp("faults")
    page = SOUND
    for old, new in FAULTS:
        page = planted(old, new, page)
    (folder / "faults.html").write_text(page, encoding="utf-8")
    with served(folder) as elsewhere:
        addresses = [*(address + page for page in SMALLEST), elsewhere + "faults.html"]
        return dict(zip([*SMALLEST, "faults.html"], lighthouse(addresses, debugging_port), strict=True))


@pytest.mark.parametrize("page", SMALLEST)
def test_lighthouse(reports: dict, page: str, record_property: Callable[[str, str], None]):
    scores, findings = reports[page]
    record_property("measured", f"{page:<40} performance {scores.get('performance', 0):>3}, for each {kind(page)}")
    assert findings == []


def test_lighthouse_finds_a_fault_in_each_category(reports: dict):
    findings = reports["faults.html"][1]
    assert {finding.split()[0] for finding in findings} == set(PERFECT)
