"""The authors' count: what belongs to a lesson, and what comes before its picture and its core."""

import nbformat

from tools.anatomy import anatomy

md, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell


def tagged(tag: str, source: str):
    return code(source, metadata={"tags": [tag]})


def test_lesson_is_counted_up_to_the_laboratory():
    cells = [
        md("# Title\n\none two three"),
        tagged("set-up", "import torch"),
        tagged("apparatus", "plt.plot()\nplt.show()"),
        md(":::{admonition} Box\nfour\n:::\nfive\n\n```python\nnot a word\n```"),
        tagged("core", "def f(x):\n\n    return x\n\n\nf(0)"),
        tagged("predict", 'predict.choice("a", "b?", ["c", "d"])'),
        tagged("predict", 'predict.curve("e", "f?", x=("x", 0, 1), y=("y", 0, 1))'),
        code("f(1)"),
        md("six\n\n## Laboratory\n\nseven eight"),
        code("g(1)\nplt.show()"),
    ]
    found = anatomy(nbformat.v4.new_notebook(cells=cells))
    assert (found.words, found.before_picture, found.before_core) == (7, 4, 6)
    assert (found.core_lines, found.code_lines, found.pictures, found.has_laboratory) == (2, 4, 1, True)
    assert (found.predictions, found.curves) == (2, 1)


def test_chapter_without_a_laboratory_is_counted_up_to_its_exercises():
    found = anatomy(nbformat.v4.new_notebook(cells=[md("one\n\n## Exercises\n\ntwo"), code("f()")]))
    assert (found.words, found.before_picture, found.before_core, found.has_laboratory) == (1, None, None, False)
