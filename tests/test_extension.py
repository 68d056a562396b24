"""The book's Sphinx extension, piece by piece; the whole is tried by the gates."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("sphinx", reason="the book's own requirements are not installed")
from bs4 import BeautifulSoup
from docutils import nodes
from docutils.utils import new_document

from tools import pages

SPECIFICATION = {
    "description": "Two points, one above the other.",
    "width": "container",
    "data": {"values": [{"x": 1, "y": 1}, {"x": 1, "y": 2, "name": "</script>"}]},
    "mark": "point",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
}


@pytest.fixture
def app(tmp_path) -> Any:
    env = SimpleNamespace(doc2path=lambda name: f"{name}.ipynb")
    return SimpleNamespace(doctreedir=tmp_path, env=env)


def read(app: Any, *outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """The outputs of a notebook as the extension hands them on."""
    source = [json.dumps({"cells": [{"cell_type": "code", "outputs": list(outputs)}]})]
    pages.read_notebook(app, "book/chapter", source)
    return json.loads(source[0])["cells"][0]["outputs"]


def test_a_chart_becomes_a_picture_and_what_is_needed_to_draw_it(app):
    (output,) = read(app, {"data": {pages.CHART: SPECIFICATION, "text/html": "<script src=https://cdn></script>"}})
    assert list(output["data"]) == ["text/html"]
    chart = BeautifulSoup(output["data"]["text/html"], "html.parser").select_one(".chart")
    assert chart.img["alt"] == SPECIFICATION["description"]
    assert "<svg" in (pages.pictures(app) / chart.img["src"]).read_text()
    assert json.loads(chart.script.string) == SPECIFICATION
    assert "https://cdn" not in str(chart)


def test_a_chart_without_a_description_stops_the_build(app):
    bare = {key: value for key, value in SPECIFICATION.items() if key != "description"}
    with pytest.raises(ValueError, match="no description"):
        read(app, {"data": {pages.CHART: bare}})


def test_the_first_verification_of_a_claim_can_be_linked_to(app):
    line = {"text/plain": "✓ MT-1 holds", "text/html": '<p class="claim">MT-1</p>'}
    outputs = read(app, *({"data": line, "metadata": {pages.CLAIM: {"claim": "MT-1"}}} for _ in range(2)))
    named = ["claim-MT-1" in output["data"]["text/html"] for output in outputs]
    assert named == [True, False], "an id may stand on a page only once"
    assert pages.claims(app.env) == {"MT-1": ("book/chapter", "✓ MT-1 holds")}


@pytest.mark.parametrize(
    ("alt", "good"),
    [("Loss falls from eight nats to one.", True), ("", False), ("  ", False), ("_images/ab12.svg", False)],
)
def test_an_image_that_says_nothing_is_a_warning(alt, good, app, monkeypatch):
    warnings: list[Any] = []
    monkeypatch.setattr(pages.logger, "warning", lambda *parts, **where: warnings.append(parts))
    document = new_document("chapter")
    document += nodes.image(uri="_images/ab12.svg", alt=alt)
    pages.check_images(app, document)
    assert (warnings == []) is good


def test_a_page_is_mended():
    page = BeautifulSoup(
        '<html data-content_root="../"><head><title>T</title><script src="fontawesome.js"></script>'
        '<script src="searchindex.js"></script></head><body><div id="pst-primary-sidebar"></div>'
        '<article><section><p>What it is about.</p></section><img class="chart-picture" src="a.svg"></article></body>',
        "html.parser",
    )
    pages.mend(page)
    assert page.script is None
    assert page.select_one('meta[name="description"]')["content"] == "What it is about."
    assert page.find(id="pst-primary-sidebar")["role"] == "region"
    assert page.img["src"] == "../_static/charts/a.svg"
