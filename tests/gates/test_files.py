"""The files of the book: links lead to their places, charts have pictures, chapters can be launched, no fault in code."""

import pytest

from tests.gates import files
from tests.gates.book import CHAPTERS, HTML, PAGES, ROOT
from tools import repository

pytestmark = pytest.mark.gates
on_parsed_pages = pytest.mark.xdist_group("parsed")  # in one process, so that each page is parsed once


def test_html_is_valid():
    assert files.valid_html(HTML, PAGES) == []


@on_parsed_pages
def test_links():
    assert files.links(HTML, PAGES) == []


@on_parsed_pages
def test_links_into_chapters():
    assert files.links_to_tops(HTML) == []


@on_parsed_pages
def test_charts_have_pictures():
    assert files.pictures(HTML, PAGES) == []


@on_parsed_pages
def test_launch_links():
    name = repository.public_name(ROOT)
    assert [finding for page in CHAPTERS for finding in files.launch_links(HTML, page, name)] == []


def test_search_entries():
    assert files.search_entries(HTML) == []


def test_scripts_are_sound():
    assert files.sound_scripts(ROOT / "book" / "assets") == []
