"""Lighthouse gives every page full marks for accessibility, best practices and SEO; its performance is noted.

In a file of its own, so that it runs beside the other gates: Lighthouse mostly waits.
"""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser

from tests.gates import gates
from tests.gates.book import PAGES

pytestmark = pytest.mark.gates


@pytest.mark.parametrize("page", PAGES)
def test_lighthouse(
    browser: Browser, debugging_port: int, address: str, page: str, record_property: Callable[[str, str], None]
):
    scores, findings = gates.lighthouse(address + page, debugging_port)
    record_property("measured", f"{page:<40} performance {scores.get('performance', 0):>3}")
    assert findings == []
