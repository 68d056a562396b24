"""What executed notebooks hold, made ready for the pages.

Charts        become a picture that `book.js` brings to life
Figures       become part of the page, in its own ink and letters
Claims        get a name that links can lead to
Predictions   a question and its measured answer become one form, see `predictions.js`
Chapters      get their number, which is that of their file
"""

import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import vl_convert
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from transformer.tutor import predictions
from transformer.tutor.figures import SMALLEST, inked
from transformer.tutor.show import readable

logger = logging.getLogger(__name__)

CHART = "application/vnd.vegalite.v6+json"  # transformer.tutor.charts.SPECIFICATION
CLAIM = "executable-transformer-claim"  # transformer.tutor.claims.TRACE
SVG = "image/svg+xml"
VEGA_LITE = "6.4"
WITHOUT_CODE = {"set-up", "predict"}
NUMBERED = re.compile(r"(?:.*/)?(\d+)_")


def read_notebook(app: Sphinx, document: str, source: list[str]) -> None:
    """Rewrite a notebook as the pages need it, and note where its claims are verified."""
    if not app.env.doc2path(document).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    number_title(document, notebook["cells"])
    join_predictions(document, notebook["cells"])
    for cell in notebook["cells"]:
        tags = cell.get("metadata", {}).get("tags", [])
        if WITHOUT_CODE & set(tags):
            cell["metadata"]["tags"] = [*tags, "remove-input"]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if CHART in data:
                output["data"] = {"text/html": chart_figure(app, document, data[CHART])}
            elif SVG in data:
                output["data"] = {"text/html": picture(document, cell, "".join(data[SVG]))}
            elif claim := output.get("metadata", {}).get(CLAIM):
                name_claim(app.env, document, claim["claim"], data)
    source[0] = json.dumps(notebook)


def number_title(document: str, cells: list[dict[str, Any]]) -> None:
    """Put a chapter's number into its title, and so into the contents, the index, the search and all links."""
    number = NUMBERED.match(document)
    if number and cells and cells[0]["cell_type"] == "markdown":
        text = "".join(cells[0]["source"])
        cells[0]["source"] = re.sub(r"^# ", f"# {int(number[1])}. ", text, count=1, flags=re.MULTILINE)


# Predictions


def join_predictions(document: str, cells: list[dict[str, Any]]) -> None:
    """Make one form of each question and its answer, where the question stands; warn of those that lack the other."""
    questions: dict[str, dict[str, Any]] = {}
    answers: dict[str, dict[str, Any]] = {}
    for cell in cells:
        for output in list(cell.get("outputs", [])):
            if not (record := output.get("metadata", {}).get(predictions.TRACE)):
                continue
            name = record["name"]
            if name in (questions if "question" in record else answers):
                logger.warning("the prediction %s stands there twice", name, location=document)
            elif "question" in record:
                questions[name] = {"record": record, "output": output}
            else:
                answers[name] = record
                cell["outputs"].remove(output)  # the form shows it
    for name in questions.keys() ^ answers.keys():
        lacking = "a measured answer" if name in questions else "a question"
        logger.warning("the prediction %s has no %s", name, lacking.removeprefix("a "), location=document)
    for name in questions.keys() & answers.keys():
        form = prediction_form(questions[name]["record"], answers[name])
        questions[name]["output"].update({"data": {"text/html": form}, "metadata": {}})


def prediction_form(question: dict[str, Any], answer: dict[str, Any]) -> str:
    """A prediction as it is read without a script, and what the script needs to ask it."""
    data = json.dumps({**question, "answer": answer["answer"]}, separators=(",", ":")).replace("</", r"<\/")
    asked = predictions.question_html(question).removeprefix('<div class="prediction">').removesuffix("</div>")
    told = predictions.answer_html(question, answer, "Just show me")
    return (
        f'<div class="prediction" id="predict-{html.escape(question["name"])}">{asked}{told}'
        f'<script type="application/json">{data}</script></div>'
    )


# Charts and figures


def picture(document: str, cell: dict[str, Any], drawing: str) -> str:
    """A figure as a part of the page."""
    alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "").strip()
    if not alt:
        logger.warning("the figure of cell %s needs a description (alt text)", cell.get("id"), location=document)
    return rounded(inked(drawing, alt))


def rounded(drawing: str) -> str:
    """A drawing whose places have two decimals, a hundredth of a point, in place of matplotlib's six."""
    return re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda place: re.sub(r"(\.\d\d)\d+", r"\1", place[0]), drawing)


def chart_figure(app: Sphinx, document: str, specification: dict[str, Any]) -> str:
    """A chart as HTML: a picture for print and for readers without JavaScript, and all that is needed to replace it."""
    if not (description := specification.get("description")):
        raise ValueError(f"{document}: a chart has no description; show charts with transformer.tutor.charts.show")
    fixed = {**specification, "width": 640} if specification.get("width") == "container" else specification
    picture = vl_convert.vegalite_to_svg(fixed, vl_version=VEGA_LITE)
    data = json.dumps(specification, separators=(",", ":"))
    name = hashlib.sha256(data.encode()).hexdigest()[:16]
    chart_files(app).mkdir(parents=True, exist_ok=True)
    (chart_files(app) / f"{name}.svg").write_text(picture, encoding="utf-8")
    # a script, since a page opened from disk may not read data from other files
    (chart_files(app) / f"{name}.js").write_text(f"(window.bookCharts ??= {{}})['{name}']={data};", encoding="utf-8")
    width = float(re.search(r'<svg [^>]*width="([\d.]+)"', picture)[1])
    letters = min(map(float, re.findall(r'font-size="([\d.]+)', picture)), default=SMALLEST)
    return (
        f'<div class="chart" data-chart="{name}"><img class="chart-picture" src="{name}.svg" '
        f'style="min-width: {SMALLEST / letters * width:.0f}px" '  # a phone without JavaScript scrolls it, as a figure
        f'alt="{html.escape(description)}"><div class="chart-live"></div></div>'
    )


def chart_files(app: Sphinx) -> Path:
    """Where the charts' pictures and specifications wait until pages, at whatever depth, are written."""
    return Path(app.doctreedir) / "charts"


# Claims


def name_claim(env: BuildEnvironment, document: str, claim: str, data: dict[str, Any]) -> None:
    """Give the first place that verifies a claim a name that links can lead to."""
    if claim not in claims(env):
        claims(env)[claim] = document, readable("".join(data["text/plain"]))
        data["text/html"] = "".join(data["text/html"]).replace("<details ", f'<details id="claim-{claim}" ', 1)


def claims(env: BuildEnvironment) -> dict[str, tuple[str, str]]:
    """For each claim's id the document that verifies it, and what came of it, in a line."""
    if not hasattr(env, "book_claims"):
        env.book_claims = {}
    return env.book_claims


def forget_claims(app: Sphinx, env: BuildEnvironment, document: str) -> None:
    """Forget what a document verified before it changed or went away."""
    for claim in [claim for claim, (place, _) in claims(env).items() if place == document]:
        del claims(env)[claim]
