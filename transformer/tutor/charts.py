"""Interactive charts: Altair in the book's style, drawn the same way in notebooks and on the pages::

    from transformer.tutor import charts
    charts.show(alt.Chart(data).mark_line().encode(x="d_k", y="entropy"), "How the entropy of softmax falls …")

In JupyterLab, VS Code and Colab, Altair's own default renderer draws the chart; it fetches Vega from a public server.
Where there is no network, set `TRANSFORMER_CHARTS=offline` before starting JupyterLab: every chart then brings Vega
with it (about 1 MB a chart; this needs the package vl-convert-python). The pages of the book have their own copy of
Vega: they take the chart's specification from the output, and draw it when the reader comes near.
"""

import json
import os
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import altair as alt
from IPython.display import display

from transformer.tutor.figures import PALETTE

SPECIFICATION = "application/vnd.vegalite.v6+json"
"""media type under which an output keeps the chart's Vega-Lite specification; `tools/pages` reads it"""

INK = "currentColor"
"""the colour of the text around the chart, dark by day and light by night"""
FONT = "Book Text, Charter, Georgia, serif"
"""of all that is written in charts: the pages' own, or one like it"""
_LINES = {"domainColor": INK, "tickColor": INK, "gridColor": INK, "gridOpacity": 0.15}
_TEXT = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}

# One description speaks for the whole chart, so that its hundreds of marks are not read out one by one.
_STYLE: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "autosize": {"type": "fit-x", "contains": "padding"},
    "view": {"continuousHeight": 260, "stroke": None},
    "axis": {**_LINES, **_TEXT, "domainOpacity": 0.6, "tickOpacity": 0.6, "aria": False},
    "legend": {**_TEXT, "orient": "top", "symbolStrokeColor": INK, "aria": False},
    "header": _TEXT,
    "title": {"color": INK, "anchor": "start", "fontSize": 13},
    "mark": {"aria": False, "color": PALETTE[0]},
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": INK},
    "range": {"category": list(PALETTE), "heatmap": {"scheme": "blues"}, "ramp": {"scheme": "blues"}},
}


def show(chart: alt.TopLevelMixin, description: str) -> None:
    """Display a chart; `description` is what it shows, in a sentence or two, for those who cannot see it.

    A chart without a width becomes as wide as the page. Raises ValueError where the description says nothing, and
    TypeError for what is not an Altair chart.
    """
    if not isinstance(chart, alt.TopLevelMixin):
        raise TypeError(f"got a {type(chart).__name__}, expected an Altair chart")
    if len(description.split()) < 4:
        raise ValueError(f"the chart's description is {description!r}, expected a sentence on what the chart shows")
    with alt.theme.enable("book"):
        specification = chart.to_dict(context={"pre_transform": False})
    specification["description"] = description
    if "mark" in specification or "layer" in specification:
        specification.setdefault("width", "container")
    display({**_as_html(specification), SPECIFICATION: specification, "text/plain": description}, raw=True)


_SIDES = [
    *(("left", 8, 0), ("right", -8, 0), ("center", 0, -12), ("center", 0, 12)),
    *(("left", 6, -9), ("left", 6, 9), ("right", -6, -9), ("right", -6, 9)),
]
"""where a name may stand beside its point: how it is aligned, and pixels to the right and down"""


def beside(
    points: Sequence[Sequence[float]], names: Sequence[str], width: int = 220, height: int = 320
) -> list[dict[str, Any]]:
    """Where each name stands beside its point (x, y) so that it covers the fewest others, as `align`, `dx` and `dy`.

    The places are chosen one after the other for a chart of so many pixels, a phone's. Write them with
    `mark_text(align=alt.expr("datum.align"), …)`. Raises ValueError where there are not as many names as points.
    """
    if len(points) != len(names):
        raise ValueError(f"got {len(points)} points and {len(names)} names, expected one name for each point")
    across, up = (max(column) - min(column) or 1 for column in zip(*points, strict=True))
    at = [(x / across * width, -y / up * height) for x, y in points]
    taken, chosen = [(x - 5, y - 5, x + 5, y + 5) for x, y in at], []
    for place, name in zip(at, names, strict=True):
        boxes = [_box(*place, name, *side) for side in _SIDES]
        best = min(range(len(_SIDES)), key=lambda i, boxes=boxes: sum(_overlap(boxes[i], other) for other in taken))
        taken.append(boxes[best])
        chosen.append(dict(zip(("align", "dx", "dy"), _SIDES[best], strict=True)))
    return chosen


def _box(x: float, y: float, name: str, align: str, dx: int, dy: int) -> tuple[float, float, float, float]:
    """What a name beside a point covers: left, top, right and bottom."""
    wide = 6.5 * len(name)
    left = x + dx - {"left": 0, "center": 0.5, "right": 1}[align] * wide
    return left, y + dy - 6, left + wide, y + dy + 6


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)


@alt.theme.register("book", enable=False)
def _style() -> alt.theme.ThemeConfig:
    return alt.theme.ThemeConfig(config=_STYLE)


class _InScript(json.JSONEncoder):
    """JSON that may stand in the script of a page: no text in it, such as "</script>", can end the script."""

    def encode(self, o: Any) -> str:
        """The JSON of an object, with every "<", which only strings have, as an escape."""
        return super().encode(o).replace("<", "\\u003c")


def _as_html(specification: dict[str, Any]) -> dict[str, str]:
    """The chart for a notebook, as HTML: Altair's own way, or with Vega inside where there is no network."""
    mode = os.environ.get("TRANSFORMER_CHARTS", "online")
    if mode == "online":
        render = alt.renderers.get()
        bundle = render(specification)
        return render(specification, json_kwds={"cls": _InScript}) if "text/html" in bundle else bundle
    if mode != "offline":
        raise ValueError(f"TRANSFORMER_CHARTS is {mode!r}, expected 'online' or 'offline'")
    import vl_convert  # only here: the package itself does not need it

    place = f"chart-{uuid4().hex}"
    vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    call = f'vegaEmbed("#{place}", {json.dumps(specification, cls=_InScript)}, {{mode: "vega-lite"}});'
    return {"text/html": f'<div id="{place}" style="width: 100%"></div><script>(() => {{ {vega} }})();{call}</script>'}
