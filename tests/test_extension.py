"""The book's Sphinx extension, piece by piece; the whole is tried by the gates."""

import inspect
import json
import re
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("sphinx", reason="the book's own requirements are not installed")
from bs4 import BeautifulSoup
from docutils import nodes
from docutils.utils import new_document

from tools.pages import finish, inside, lighter, lines, notebooks, preview, references, search, switches
from transformer.attention import attention_weights
from transformer.tutor import predictions

SPECIFICATION = {
    "description": "Two points, one above the other.",
    "width": "container",
    "data": {"values": [{"x": 1, "y": 1}, {"x": 1, "y": 2, "name": "</script>"}]},
    "mark": "point",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
    "autosize": {"type": "fit-x", "contains": "padding"},
    "config": {"axis": {"labelFontSize": 12, "titleFontSize": 14}},
}


@pytest.fixture
def app(tmp_path) -> Any:
    env = SimpleNamespace(doc2path=lambda name: f"{name}.ipynb")
    return SimpleNamespace(doctreedir=tmp_path, env=env)


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    said: list[str] = []
    for module in (notebooks, references):
        monkeypatch.setattr(module.logger, "warning", lambda text, *parts, **where: said.append(text % parts))
    return said


def read(app: Any, *outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """The outputs of a notebook as the extension hands them on."""
    cell = {"cell_type": "code", "metadata": {}, "outputs": list(outputs)}
    source = [json.dumps({"cells": [cell]})]
    notebooks.read_notebook(app, "book/chapter", source)
    return json.loads(source[0])["cells"][0]["outputs"]


def test_a_chart_becomes_a_picture_and_what_is_needed_to_draw_it(app):
    (output,) = read(app, {"data": {notebooks.CHART: SPECIFICATION, "text/html": "<script src=https://cdn></script>"}})
    assert list(output["data"]) == ["text/html"]
    chart = BeautifulSoup(output["data"]["text/html"], "html.parser").select_one(".chart")
    assert chart.img["alt"] == SPECIFICATION["description"]
    picture = notebooks.chart_files(app) / chart.img["src"]
    assert "<svg" in picture.read_text()
    kept, _, specification = picture.with_suffix(".js").read_text().removesuffix(";").partition("]=")
    assert picture.stem in kept and chart["data-chart"] == picture.stem
    assert json.loads(specification) == SPECIFICATION
    assert "https://cdn" not in str(chart)
    assert chart.img["style"] == "min-width: 480px", "640 pixels with letters of 12 shrink to letters of 9, not below"


def test_a_chart_without_a_description_stops_the_build(app):
    bare = {key: value for key, value in SPECIFICATION.items() if key != "description"}
    with pytest.raises(ValueError, match="no description"):
        read(app, {"data": {notebooks.CHART: bare}})


@pytest.mark.parametrize(
    ("holds", "loaded"),
    [
        ("<p>Nothing to do.</p>", False),
        ('<section id="to-keep"><h2>To keep</h2></section>', True),
        ('<div class="verdict"></div>', True),
        ('<span class="so-far"></span>', True),
    ],
)
def test_what_a_reader_did_is_noted_and_told_where_there_is_something_to_do(holds: str, loaded: bool):
    page = BeautifulSoup(f'<html><script src="_static/progress.js?v=1"></script>{holds}</html>', "html.parser")
    finish.mend(page)
    assert bool(page.select('script[src*="progress"]')) == loaded


def test_the_first_verification_of_a_claim_can_be_linked_to(app):
    line = {"text/plain": "✓ MT-1 holds", "text/html": '<details class="claim">MT-1</details>'}
    outputs = read(app, *({"data": line, "metadata": {notebooks.CLAIM: {"claim": "MT-1"}}} for _ in range(2)))
    named = ["claim-MT-1" in output["data"]["text/html"] for output in outputs]
    assert named == [True, False], "an id may stand on a page only once"
    assert notebooks.claims(app.env) == {"MT-1": ("book/chapter", "✓ MT-1 holds")}


@pytest.mark.parametrize(
    ("alt", "good"),
    [("Loss falls from eight nats to one.", True), ("", False), ("  ", False), ("_images/ab12.svg", False)],
)
def test_an_image_that_says_nothing_is_a_warning(alt, good, app, warnings):
    document = new_document("chapter")
    document += nodes.image(uri="_images/ab12.svg", alt=alt)
    references.check_images(app, document)
    assert (warnings == []) is good


def test_a_page_is_mended():
    page = BeautifulSoup(
        '<html data-content_root="../"><head><title>T</title><script src="fontawesome.js"></script>'
        '<script src="searchindex.js"></script></head><body><div id="pst-primary-sidebar"></div>'
        '<article><section><p>What it is about.</p></section><img class="chart-picture" src="a.svg"></article></body>',
        "html.parser",
    )
    finish.mend(page)
    assert page.script is None
    assert page.find(id="pst-primary-sidebar")["role"] == "region"
    assert page.img["src"] == "../_static/charts/a.svg"


def test_headings_break_at_no_hyphen_and_after_dots():
    page = BeautifulSoup(
        "<article><h1>3. Scaled dot-product attention<a>#</a></h1><h2>transformer.text.pairs</h2></article>",
        "html.parser",
    )
    finish.mend(page)
    assert page.h1.span.string == "dot-product" and page.h1.get_text() == "3. Scaled dot-product attention#"
    assert len(page.h2.select("wbr")) == 2 and page.h2.get_text() == "transformer.text.pairs"


def test_cells_of_tables_with_claims_say_what_their_columns_are():
    page = BeautifulSoup(
        "<article><table><thead><tr><th>claim</th><th>what it says</th></tr></thead><tbody><tr>"
        '<td><a class="claim-link">MT-1</a></td><td>So.</td></tr></tbody></table></article>',
        "html.parser",
    )
    finish.mend(page)
    assert [cell["data-head"] for cell in page.select("td")] == ["claim", "what it says"]


PAGE = """<html><head><title>T</title></head><article><section><h1>3. Attention<a class="headerlink">#</a></h1>
<p>What it is about.</p></section></article></html>"""


@pytest.mark.parametrize("site", ["", "https://owner.github.io/book/"])
def test_a_page_says_what_a_preview_shows(site):
    page = BeautifulSoup(PAGE, "html.parser")
    preview.announce(page, "book/03_attention.html", site)
    said = {meta.get("property") or meta["name"]: meta["content"] for meta in page.select("meta")}
    assert said["description"] == said["og:description"] == "What it is about." and said["og:title"] == "3. Attention"
    where = {"og:url": f"{site}book/03_attention.html", "og:image": f"{site}{preview.PICTURE}"}
    assert {key: said.get(key) for key in where} == (where if site else dict.fromkeys(where)), "no address is better"


@pytest.mark.parametrize("drawing", ["", '<div class="picture"><svg viewbox="0 0 400 300"><path/></svg></div>'])
def test_the_picture_of_a_preview_has_the_size_that_is_asked_for(tmp_path, drawing):
    (tmp_path / "_static").mkdir()
    (tmp_path / "index.html").write_text(drawing, encoding="utf-8")
    preview.draw(tmp_path)
    header = (tmp_path / preview.PICTURE).read_bytes()[:24]
    assert header.startswith(b"\x89PNG") and struct.unpack(">II", header[16:]) == preview.SIZE


# Lighter pages

SHEET = """@charset "UTF-8";:root{--a:1}.btn,.card:hover{color:red}.card{color:blue}a:not(.card,.x) b{margin:0}
@media (min-width:1px){.card>p{color:red}@supports (a:b){.btn{x:y}}}@media print{.card{x:y}}
.btn:before{content:"}{"}@font-face{src:url(a)}.bs-tooltip-auto .card-x,#here .btn{c:d}"""


def test_of_a_style_sheet_only_what_can_apply_is_kept():
    kept = lighter.used_rules(SHEET, {"btn", "here"})
    assert kept == (
        '@charset "UTF-8";:root{--a:1}.btn{color:red}a:not(.card,.x) b{margin:0}'
        "@media (min-width:1px){@supports (a:b){.btn{x:y}}}"
        '.btn:before{content:"}{"}@font-face{src:url(a)}#here .btn{c:d}'
    )
    assert lighter.used_rules(SHEET, {"btn", "here", "card", "card-x"}).count(".card") == 6


def test_theme_measures_no_boxes_and_a_theme_that_names_others_is_refused(tmp_path: Path):
    script = tmp_path / "theme.js"
    script.write_text(f"find([{lighter.MEASURED}].join())", encoding="utf-8")
    lighter.measure_nothing(script)
    assert script.read_text(encoding="utf-8") == 'find([":not(*)"].join())'
    with pytest.raises(ValueError, match=r"theme\.js has 0 times"):
        lighter.measure_nothing(script)


# Figures and numbers


def test_places_of_a_drawing_have_two_decimals():
    drawing = '<path d="M 1.234567 2.5L3"/><use x="0.129"/><text y="7" font-size="1.2345">1.2345</text>'
    assert notebooks.rounded(drawing) == drawing.replace("1.234567", "1.23").replace("0.129", "0.12")


DRAWING = """<?xml version="1.0"?><svg width="288pt" viewBox="0 0 288 99"><style>*{}</style><g id="patch_1">
<path style="fill: #ffffff"/></g><clipPath id="p1"/><g id="axes_1" clip-path="url(#p1)">
<text style="font: bold 9px 'DejaVu Sans', sans-serif; fill: #262626">a</text></g></svg>"""


def test_a_figure_takes_the_ink_and_letters_of_the_page(app, warnings):
    (output,) = read(app, {"data": {"image/svg+xml": DRAWING}})
    drawn = BeautifulSoup(output["data"]["text/html"], "html.parser").svg
    assert "#ffffff" not in str(drawn) and "#262626" not in str(drawn) and "DejaVu" not in str(drawn)
    assert "font-weight: bold; font-size: 9px" in drawn.find("text")["style"]
    assert "min-width: 288px" in drawn["style"], "at 288 px letters of 9 units are 9 px high"
    (clip,) = [element["id"] for element in drawn.select("[id]")]
    assert clip != "p1" and f"url(#{clip})" in str(drawn), "figures on one page must not share names"
    assert warnings == ["the figure of cell None needs a description (alt text)"]


@pytest.mark.parametrize(
    ("document", "title"),
    [("book/03_attention", "# 3. Attention"), ("book/chart", "# Attention"), ("03_b", "# 3. Attention")],
)
def test_a_chapter_has_the_number_of_its_file(document, title):
    cells = [{"cell_type": "markdown", "source": ["# Attention\n", "\n", "# not this"]}]
    notebooks.number_title(document, cells)
    assert "".join(cells[0]["source"]) == f"{title}\n\n# not this"


# Predictions

QUESTION = {"name": "rows", "kind": "choice", "question": "How many?", "options": ["all", "a <few>"]}
ANSWER = {"name": "rows", "answer": 1, "why": "So it is."}


def trace(record):
    return {"data": {"text/html": ""}, "metadata": {predictions.TRACE: record}}


def test_a_question_and_its_answer_become_one_form(app, warnings):
    (form,) = read(app, trace(QUESTION), trace(ANSWER))
    soup = BeautifulSoup(form["data"]["text/html"], "html.parser")
    assert json.loads(soup.script.string) == {**QUESTION, "answer": 1}
    assert "a <few>. So it is." in soup.details.get_text(), "it can be read without a script"
    assert warnings == []


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([QUESTION], "the prediction rows has no measured answer"),
        ([ANSWER], "the prediction rows has no question"),
        ([QUESTION, QUESTION, ANSWER], "the prediction rows stands there twice"),
        ([QUESTION, ANSWER, ANSWER], "the prediction rows stands there twice"),
    ],
)
def test_what_lacks_the_other_is_a_warning(app, warnings, records, said):
    read(app, *map(trace, records))
    assert warnings == [said]


# Lesson and laboratory

CELL = '<div class="cell {}"><div class="cell_input">{}</div>{}</div>'
OUTPUT = '<div class="cell_output">{}</div>'
CHAPTER = f"""<html><body><div class="header-article-items__start"></div><article><section><h1>T</h1>
{CELL.format("", "def seen(x):", "")}{CELL.format("tag_apparatus", "one", "")}
{CELL.format("tag_apparatus", "two", OUTPUT.format("9"))}
<section id="laboratory"><h2>Laboratory</h2><section id="a"><h3>A</h3><p>x</p></section></section>
</section></article></body></html>"""


def test_code_apparatus_and_laboratory_are_behind_one_line_each():
    page = BeautifulSoup(CHAPTER, "html.parser")
    finish.arrange(page)
    (apparatus,) = page.select("details.apparatus")
    assert [code.get_text() for code in apparatus.select(".cell_input")] == ["one", "two"]
    assert apparatus.summary.get_text() == "How this was measured"
    assert apparatus.find_previous_sibling()["class"] == ["cell_output"]
    (code,) = page.select("details.code")
    assert code.has_attr("open") and code.summary.get_text() == "The code: seen"
    assert code.select_one(".cell_input").get_text() == "def seen(x):"
    layer = page.select_one("#laboratory > details.layer")
    assert layer.has_attr("open"), "without a script everything is shown"
    assert layer.summary.get_text() == "How we know: 1 experiment" and layer.select_one("#a h3")
    assert len(page.select(".reading-switch button")) == 3


def test_lines_break_within_no_percentage_and_no_ratio():
    text = "Of 88 % and e² : 1, 16 × 16 with d = 512, and so: 3 of them; <code>d = 512</code>"
    page = BeautifulSoup(f"<article><p>{text}</p></article>", "html.parser")
    finish.hold_together(page.article)
    held = "Of 88\xa0% and e²\xa0:\xa01, 16\xa0×\xa016 with d\xa0=\xa0512, and so: 3 of them; <code>d = 512</code>"
    assert str(page.p) == f"<p>{held}</p>"


def test_printed_sentences_may_break_and_tables_may_not():
    printed = ["-2.03 vielleicht brauchen Frauen den Koffer .", "  0 | go", "width   1   4\nBLEU   27  37"]
    outputs = "".join(f'<div class="output stream"><pre>{text}</pre></div>' for text in printed)
    page = BeautifulSoup(f'<div class="cell_output">{outputs}</div>', "html.parser")
    finish.tell_text_from_tables(page)
    assert [pre.get("class") for pre in page.select("pre")] == [["sentences"], ["sentences"], None]


# Search

ROOT_OF_D = (
    "<math><semantics><mrow><msqrt><msub><mi>d</mi><mi>k</mi></msub></msqrt></mrow>"
    '<annotation encoding="application/x-tex">\\sqrt{d_k}</annotation></semantics></math>'
)


def test_search_finds_sections_with_text_that_can_be_read():
    page = BeautifulSoup(
        f'<article><section id="t"><h1>3. T<a class="headerlink">#</a></h1><p>First.</p><section id="why"><h2>Why</h2>'
        f'<details class="layer"><div><p>By {ROOT_OF_D}.</p><section id="in"><h3>In</h3><p>Deep.</p></section></div>'
        "</details></section></section></article>",
        "html.parser",
    )
    found = list(search.sections(page, Path("book/t.html")))
    assert [(entry["at"], entry["title"]) for entry in found] == [
        ("book/t.html#t", "3. T"), ("book/t.html#why", "Why"), ("book/t.html#in", "In")
    ]  # fmt: skip
    assert found[0]["text"] == "First." and found[2]["text"] == "Deep."
    assert found[1]["text"] == f"By √d{search.SUB}k{search.END}."


def test_words_stressed_in_part_stay_one_and_words_of_a_long_text_are_all_found(tmp_path):
    text = "<p>Permutation <em>equi</em>variant, with W<sub>Q</sub>.</p><p>Next</p>"
    rest = " ".join(["and so on"] * 300) + " until it saturates."
    page = BeautifulSoup(
        f'<article><section id="t"><h1>T</h1>{text}<p>{rest}</p></section>'
        '<section id="u"><h2>U</h2><p>Short.</p></section></article>',
        "html.parser",
    )
    found = list(search.sections(page, Path("t.html")))
    assert found[0]["text"].startswith(f"Permutation equivariant, with W{search.SUB}Q{search.END}. Next and so on")
    assert len(found[0]["text"]) == search.LONGEST and found[0]["more"] == "saturates until"
    assert found[1]["text"] == "Short." and "more" not in found[1]
    (tmp_path / "_static").mkdir()
    everywhere = [{"text": "until"} for _ in range(search.COMMON)]
    search.write_index(tmp_path, [*found, *everywhere])
    assert '"more": "saturates"' in (tmp_path / "_static" / "sections.js").read_text(encoding="utf-8")


def test_code_is_marked_in_the_texts_of_the_search_and_so_is_what_stands_behind_a_lesson():
    page = BeautifulSoup(
        '<article><section id="t"><h1>3. T</h1><p>Of <code><span>d_model</span>=512</code>, <a href="#u">so.</a></p>'
        '<dl><dt class="sig">f(d<code>_k</code>)</dt></dl><section id="n"><h2>transformer.<wbr/>loss</h2></section>'
        '<section id="laboratory"><h2>Laboratory</h2><section id="how"><h3>How</h3></section></section>'
        '<section id="exercises"><h2>Exercises</h2></section></section></article>',
        "html.parser",
    )
    found = list(search.sections(page, Path("book/t.html")))
    assert found[0]["text"] == f"Of {search.CODE}d_model=512{search.END}, so. {search.CODE}f(d_k){search.END}"
    assert found[1]["title"] == "transformer.loss"
    assert [entry.get("behind") for entry in found] == [None, None, "laboratory", "laboratory", "exercises"]


# Lines of the package, and the figures of the page about the model


def test_lines_are_those_of_the_source_without_what_guards():
    code = lines.code_of(lines.found("transformer.embeddings.TokenEmbedding.forward"))
    assert code == "def forward(self, ids):\n    return F.embedding(ids, self.weight) * self.scale  # (B, T, D)"
    assert lines.divided("transformer.layers.Residual.forward") == ("transformer.layers", "Residual.forward")
    every = lines.code_of(lines.found("transformer.attention.attention_weights")).splitlines()
    assert every[0] == "def attention_weights(query, key, mask):" and not any('"""' in line for line in every)
    source = inspect.getsource(attention_weights)
    assert all(line in source for line in every[1:]) and "_check_mask" not in "".join(every)


@pytest.mark.parametrize("name", ["transformer.layers.nothing", "nowhere.at.all"])
def test_lines_of_what_is_not_there_stop_the_build(name: str):
    with pytest.raises((AttributeError, ModuleNotFoundError), match=r"nothing|no module begins"):
        lines.found(name)


def test_every_box_of_the_figure_is_explained_on_its_page():
    page = (Path(__file__).parents[1] / "book" / "inside.md").read_text(encoding="utf-8")
    explained = {re.sub(r"[^a-z]+", "-", title.lower()) for title in re.findall(r"^### (.*)$", page, re.MULTILINE)}
    assert {section for *_, section in inside.BOXES.values()} == explained
    for part in re.split(r"^### ", page.partition("## Break it")[0], flags=re.MULTILINE)[1:]:
        assert "```{lines}" in part and "{claim}`" in part and ".ipynb#" in part, part.partition("\n")[0]


def test_figure_opens_where_the_pronoun_is_chosen():
    shown = BeautifulSoup(inside.inside()._repr_html_(), "html.parser")
    assert shown.select_one('[data-says="text"]').text == "Frauen brauchen den Koffer , weil er neu ist ."
    assert shown.select_one(".heat-rows .is-chosen").text == "weil"
    shares = {row.th.text: row.select("td")[3].text for row in shown.select(".by-numbers tbody tr:not(.asks, .gets)")}
    assert max(shares, key=lambda word: int(shares[word][:-1])) == "it"
    assert shown.select_one(".likeliest li span").text == shown.select_one('[data-says="following"]').text == "er"
    assert all(len(image["alt"].split()) > 1 for image in shown.select("img"))
    assert not shown.select("script, button, input")


def test_marks_are_on_the_words_that_differ():
    assert switches.marked("a b c", "a c d") == "a <mark>b</mark> c"
    assert switches.marked("<i> b", "b") == "<mark>&lt;i&gt;</mark> b"


def test_a_choice_has_exactly_one_true_option():
    form = BeautifulSoup(switches.choice("name", "Which?", {"one": False, "other": True}, "Why."), "html.parser")
    assert json.loads(form.script.string)["answer"] == 1
    with pytest.raises(ValueError, match="exactly one"):
        switches.choice("name", "Which?", {"one": True, "other": True}, "Why.")


@pytest.mark.slow
def test_questions_are_answered_by_what_was_measured():
    found = switches.measured()
    assert found.sound == "Frauen brauchen den Koffer , weil er neu ist ." and len(found.kept) == 8 + 12
    assert all(0 <= number <= switches.SENTENCES for number in found.kept.values())
    asked = BeautifulSoup(switches.questions().text, "html.parser")
    answers = [json.loads(form.script.string) for form in asked.select(".prediction")]
    changed = switches.SENTENCES - found.kept["causalMask"]
    assert f"{changed} of {switches.SENTENCES} change" in asked.text
    assert answers[2]["answer"] == sum(2 * n > switches.SENTENCES for name, n in found.kept.items() if "." in name)
