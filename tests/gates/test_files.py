"""The files of the book: every link leads somewhere, each chapter can be launched, and the HTML is valid."""

import os

import pytest

from tests.gates import files
from tests.gates.book import CHAPTERS, HTML, PAGES, ROOT
from tools import repository

pytestmark = pytest.mark.gates


def test_html_is_valid():
    assert files.valid_html(HTML, PAGES) == []


@pytest.mark.xdist_group("parsed")  # in one process, so that each page is parsed once
def test_links():
    assert files.links(HTML, PAGES) == []


@pytest.mark.xdist_group("parsed")
def test_launch_links():
    running = os.environ.get("GITHUB_REPOSITORY", repository.full_name(ROOT))
    assert [finding for page in CHAPTERS for finding in files.launch_links(HTML, page, running)] == []
