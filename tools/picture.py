"""Keep the picture of the README: the attention of a translation, as the executed chapter 10 draws it.

    python -m tools.picture

`make test` or `make book` must have executed the chapter before.
"""

import nbformat

from tools.chapters import ROOT, kept

CHAPTER = kept(ROOT, ROOT / "book" / "10_translation.ipynb")
PICTURE = ROOT / "book" / "assets" / "translation.svg"
NAME = 'glue("translation-attention"'


def main() -> None:
    """Write the picture."""
    cells = nbformat.read(CHAPTER, as_version=4).cells
    outputs = next(cell.outputs for cell in cells if cell.cell_type == "code" and NAME in cell.source)
    drawing = next(output.data["image/svg+xml"] for output in outputs if "image/svg+xml" in output.get("data", {}))
    # Its letters are dark: by night it needs a ground of its own.
    PICTURE.write_text(drawing.replace("<svg ", '<svg style="background: white" ', 1), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
