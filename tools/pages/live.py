"""Figures to take in hand on pages that are no notebooks, drawn while the pages are built.

```{live} translator
```
"""

from collections.abc import Callable
from functools import partial

from docutils import nodes
from docutils.nodes import Node
from sphinx.util.docutils import SphinxDirective

from transformer.tutor.live import Live

from . import inside, switches, translator

STILL = (
    '<noscript><p class="live-note">Trying it takes JavaScript; without it, this figure is a picture.</p></noscript>'
)
"""below what the text around it asks to try"""

FIGURES: dict[str, Callable[[], Live | switches.Shown]] = {
    "translator": translator.translator,
    "search": translator.search,
    "inside": inside.inside,
    "inside-a-chapter": partial(inside.inside, "inside.html"),
    "switches": switches.switches,
    "switches-asked": switches.questions,
    "switches-measured": switches.table,
}
"""what draws a figure as it opens, by its name"""


class LiveFigure(SphinxDirective):
    """A figure by its name; an unknown name is an error of the page."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """The figure, as HTML."""
        (name,) = self.arguments
        if name not in FIGURES:
            raise self.error(f"there is no live figure {name!r}, expected one of: {', '.join(FIGURES)}")
        figure = FIGURES[name]()
        told = STILL if isinstance(figure, Live) else ""
        return [nodes.raw("", figure._repr_html_() + told, format="html")]
