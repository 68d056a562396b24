"""Around the chapters: the list on the front page, the courses, and the whole model on one page of chapter 0."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import front_page, one_page
from tools.anatomy import anatomy
from tools.chapters import ROOT, sources
from tools.exercises import chapter_of
from transformer.tutor import predictions
from transformer.tutor.exercises.learner import exercises

CHAPTERS = {source.stem: nbformat.read(source, as_version=4) for source in sources()}
COURSES = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")

# The front page


@pytest.fixture
def listed(tmp_path: Path) -> list[str]:
    """The lines for two chapters, one with a figure and a question, one without; a third is not executed."""
    pytest.importorskip("sphinx", reason="the book's own requirements are not installed")
    rows = "".join(f"| {n} | [Title {n}](book/0{n}_name.ipynb) | Why $x_{n}$? |\n" for n in (1, 2, 3))
    (tmp_path / "book").mkdir()
    text = f"# Book\n\n| No. | chapter | the question that it answers |\n|---|---|---|\n{rows}\nAfter it.\n"
    (tmp_path / "index.md").write_text(text, encoding="utf-8")
    drawing = '<svg width="9" height="9" viewBox="0 0 9 9"><path style="fill: #262626" d="M 0.123456 1"/></svg>'
    asked = {predictions.TRACE: {"name": "rows", "question": "How many?"}}
    figure = new_code_cell(
        outputs=[new_output("display_data", {"image/svg+xml": drawing}), new_output("display_data", metadata=asked)],
        metadata={"mystnb": {"image": {"alt": "A line [that] falls"}}},
    )
    full = new_notebook(cells=[new_markdown_cell("word " * 600), figure, new_code_cell("@check\ndef softmax(x, dim):")])
    executed = {tmp_path / "book/01_name.ipynb": full, tmp_path / "book/02_name.ipynb": new_notebook()}
    front_page.write(tmp_path, executed)
    lines = (tmp_path / "index.md").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["# Book", "", "{.chapters}"] and lines[-2:] == ["", "After it."]
    return lines[3:-2]


def test_chapter_is_listed_with_its_picture_its_minutes_and_a_place_for_what_was_done(listed: list[str]):
    assert listed[0] == (
        r"- ![A line \[that\] falls](book/thumbnails/01_name.svg){.thumbnail .dark-light} "
        "[1. Title 1](book/01_name.ipynb) [Why $x_1$?]{.question} [5 minutes]{.minutes}"
        '<span class="so-far" data-chapter="01_name" data-exercises="3.1" data-predictions="rows"></span>'
    )


@pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=CHAPTERS)
def test_minutes_that_a_chapter_states_are_those_of_its_words(chapter: NotebookNode):
    (box,) = [cell.source for cell in chapter.cells if "You will be able to" in cell.source]
    (stated,) = re.findall(r"(\d+)\s+minutes", box)
    assert front_page.minutes(chapter) == int(stated)
    assert abs(int(stated) - anatomy(chapter).words / front_page.WORDS_A_MINUTE) < 2.5


def test_chapter_without_a_figure_is_listed_too_and_one_that_was_not_executed_is_not(listed: list[str]):
    assert len(listed) == 2 and listed[1].startswith("- [2. Title 2](book/02_name.ipynb) [Why $x_2$?]{.question} [1 ")


def test_thumbnail_is_a_file_that_stands_alone(listed: list[str], tmp_path: Path):
    drawing = (tmp_path / "book/thumbnails/01_name.svg").read_text(encoding="utf-8")
    assert drawing.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and 'viewBox="0 0 9 9"' in drawing
    assert "0.12 1" in drawing and "currentColor" in drawing and f'color="{front_page.INK}"' in drawing


def test_table_of_the_front_page_is_what_is_replaced():
    text = (ROOT / "index.md").read_text(encoding="utf-8")
    (table,) = front_page.TABLE.findall(text)
    assert [row[3] for row in re.findall(front_page.ROW, table)] == list(CHAPTERS)
    assert "| No." not in front_page.TABLE.sub("", text)


# The courses


def anchor(heading: str) -> str:
    """What links call a heading, as MyST makes it."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def cells_of(chapter: str, section: str) -> str:
    """The code below a heading, up to the next one of any level."""
    here, found = "", []
    for cell in CHAPTERS[chapter].cells:
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^#{1,3} (.+)$", cell.source, re.MULTILINE):
                here = anchor(heading)
        elif here == section:
            found.append(cell.source)
    return "\n".join(found)


def things_to_do(kind: str) -> list[str]:
    """What the courses say under *Predict*, say, once for each session."""
    return re.findall(rf"^- \*\*{kind}\*\*: (.+(?:\n  .+)*)", COURSES, re.MULTILINE)


def links(text: str) -> list[tuple[str, str]]:
    """The chapters and sections that a text links to."""
    return re.findall(r"\]\((\d\d_\w+)\.ipynb#([\w-]+)\)", text)


def test_every_session_has_something_to_read_predict_run_and_discuss():
    sessions = COURSES.count("\n### ")
    assert sessions == 4 + 8
    assert all(len(things_to_do(kind)) == sessions for kind in ("Read", "Predict", "Run", "Discuss"))
    assert len(things_to_do("Solve")) == sessions - 2  # the first hour and the last have none


def test_links_of_the_courses_lead_to_sections():
    assert len(links(COURSES)) > 40
    for chapter, section in links(COURSES):
        headings = re.findall(r"^#{1,3} (.+)$", "\n".join(c.source for c in CHAPTERS[chapter].cells), re.MULTILINE)
        assert section in map(anchor, headings), (chapter, section)


def test_where_a_course_predicts_there_is_a_question():
    places = [place for text in things_to_do("Predict") for place in links(text)]
    assert len(places) > 12
    for chapter, section in places:
        assert re.search(r"\bpredict\.(choice|slider|curve)\(", cells_of(chapter, section)), (chapter, section)


def test_exercises_of_the_courses_are_those_of_the_chapters_they_link_to():
    known = {one.number for one in exercises().values()}
    for text in things_to_do("Solve"):
        numbers, chapters = re.findall(r"\b\d+\.\d\b", text), links(text)
        assert numbers and set(numbers) <= known, text
        assert {section for _, section in chapters} == {"exercises"}
        assert {n.split(".")[0] for n in numbers} == {str(chapter_of(Path(name))) for name, _ in chapters}, text


def test_figures_for_the_class_are_live():
    rows = [line for line in COURSES.splitlines() if line.startswith("| ")]
    places = [place for row in rows for place in links(row)]
    assert len(places) == 6
    for chapter, section in places:
        assert re.search(r"\blive(_model)?\.\w+_by_hand\(", cells_of(chapter, section)), (chapter, section)


# The whole model on one page


def test_page_of_code_stands_alone():
    code = "\n".join(one_page.shown(CHAPTERS[one_page.CHAPTER]))
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 120
    imported = {node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)}
    assert imported == {"torch", "transformer.text.corpora"}
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F823", "-"]
    unknown = subprocess.run(command, input=code, capture_output=True, text=True)
    assert unknown.returncode == 0, unknown.stdout


@pytest.mark.slow
def test_page_of_code_runs_as_a_file_and_learns(tmp_path: Path):
    one_page.write(tmp_path, CHAPTERS[one_page.CHAPTER])
    file = tmp_path / one_page.NAME
    code = file.read_text(encoding="utf-8")
    assert code.count("UPDATES, WARMUP = 1_000, 80") == 1
    file.write_text(code.replace("UPDATES, WARMUP = 1_000, 80", "UPDATES, WARMUP = 200, 80"), encoding="utf-8")
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, file.name], cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"^(\d+) updates, loss ([\d.]+)\n(.*)$", done.stdout, re.MULTILINE)
    losses = [float(loss) for _, loss, _ in told]
    assert [int(n) for n, _, _ in told] == [50, 100, 200]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.6 * losses[0], told


def test_page_of_code_is_offered_as_a_file():
    prose = [cell.source for cell in CHAPTERS[one_page.CHAPTER].cells if cell.cell_type == "markdown"]
    assert sum(f"](assets/{one_page.NAME})" in text for text in prose) == 1
