"""Lighthouse gives full marks for accessibility, best practices and SEO; its performance is noted.

It visits one page of each kind, the smallest, for it takes long: pages of a kind share their templates, and axe-core
sees all of them.
"""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser

from tests.gates.book import SMALLEST, kind
from tests.gates.lighthouse import lighthouse

pytestmark = pytest.mark.gates


@pytest.mark.parametrize("page", SMALLEST)
def test_lighthouse(
    browser: Browser, debugging_port: int, address: str, page: str, record_property: Callable[[str, str], None]
):
    scores, findings = lighthouse(address + page, debugging_port)
    record_property("measured", f"{page:<40} performance {scores.get('performance', 0):>3}, for each {kind(page)}")
    assert findings == []
