"""Figures and charts: what they refuse, what they hand to notebooks and pages, and colours that all can tell apart."""

import itertools
import json
from pathlib import Path
from typing import Any

import altair as alt
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from transformer.tutor import charts, figures

DESCRIPTION = "A straight line that rises from zero to one."
# Vision without long, middle or short-wave cones: Machado, Oliveira and Fernandes (2009), severity 1, in linear RGB.
VISION = {
    "ordinary": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a notebook would be given to display."""
    bundles: list[dict[str, Any]] = []
    for module in (charts, figures):
        monkeypatch.setattr(module, "display", lambda bundle, **options: bundles.append({**bundle, **options}))
    return bundles


@pytest.fixture
def line() -> alt.Chart:
    return alt.Chart(alt.Data(values=[{"x": 0, "y": 0}, {"x": 1, "y": 1}])).mark_line().encode(x="x:Q", y="y:Q")


def linear(colour: str) -> np.ndarray:
    """A colour like #0173b2 in linear RGB."""
    value = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB in CIE L*a*b*, where distances are about as large as they look."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ rgb / to_xyz.sum(1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    """The contrast of two colours by the Web Content Accessibility Guidelines, 1 to 21."""
    dark, light = sorted(linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def covered(point: tuple[float, float], name: str, align: str, dx: int, dy: int) -> set[tuple[int, int]]:
    """The pixels that a name beside a point covers in a chart of 220 by 320, where letters are 6.5 wide and 12 high."""
    left = round(220 * point[0] + dx - {"left": 0, "center": 0.5, "right": 1}[align] * 6.5 * len(name))
    middle = round(-320 * point[1] + dy)
    return set(itertools.product(range(left, left + round(6.5 * len(name))), range(middle - 6, middle + 6)))


def test_names_beside_near_points_do_not_cover_each_other():
    points, names = [(0, 0), (0.02, 0), (0.02, 0.02), (1, 1)], ["window", "picture", "egg", "door"]
    sides = charts.beside(points, names)
    boxes = [covered(point, name, **side) for point, name, side in zip(points, names, sides, strict=True)]
    assert not any(one & other for one, other in itertools.combinations(boxes, 2))
    # Were all at the right, the default, they would cover each other.
    right = [covered(point, name, "left", 8, 0) for point, name in zip(points, names, strict=True)]
    assert any(one & other for one, other in itertools.combinations(right, 2))


def test_each_point_has_one_name():
    with pytest.raises(ValueError, match="got 2 points and 1 names, expected one name for each point"):
        charts.beside([(0, 0), (1, 1)], ["one"])


def test_two_shades_go_from_one_colour_over_nothing_to_the_other():
    low, middle, high = figures.TWO_SHADES([0.0, 0.5, 1.0])
    assert tuple(low) == (*to_rgb(figures.PALETTE[1]), 1) and tuple(high) == (*to_rgb(figures.PALETTE[0]), 1)
    assert middle[3] < 0.01


def test_a_chart_is_given_to_notebooks_as_html_and_to_the_pages_as_a_specification(shown, line):
    charts.show(line, DESCRIPTION)
    (bundle,) = shown
    specification = bundle[charts.SPECIFICATION]
    assert specification["description"] == DESCRIPTION
    assert specification["width"] == "container"
    assert specification["config"]["range"]["category"] == list(figures.PALETTE)
    assert "vegaEmbed" in bundle["text/html"]
    assert alt.theme.active == "default", "the chart's style is left on for other charts"


def test_without_a_network_a_chart_brings_vega_with_it(shown, line, monkeypatch):
    pytest.importorskip("vl_convert")
    monkeypatch.setenv("TRANSFORMER_CHARTS", "offline")
    charts.show(line, DESCRIPTION)
    (bundle,) = shown
    assert "<script src" not in bundle["text/html"]
    assert "cdn.jsdelivr.net" not in bundle["text/html"]
    assert len(bundle["text/html"]) > 500_000


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--<script>", "</SCRIPT >"])
def test_no_text_of_a_chart_ends_the_script_that_it_stands_in(shown, monkeypatch, mode, text):
    """As names, data, description: in the saved page a stranger's sentence would run."""
    if mode == "offline":
        pytest.importorskip("vl_convert")
    monkeypatch.setenv("TRANSFORMER_CHARTS", mode)
    chart = alt.Chart(alt.Data(values=[{text: 1}, {"name": text}]), title=text).mark_line()
    charts.show(chart, f"{DESCRIPTION} {text}")
    (bundle,) = shown
    assert text not in bundle["text/html"]
    assert json.dumps(text)[1:-1].replace("<", r"\u003c") in bundle["text/html"], "the text itself is all there"
    assert bundle[charts.SPECIFICATION]["title"] == text


def test_a_chart_that_cannot_be_read_out_is_refused(shown, line):
    with pytest.raises(ValueError, match="expected a sentence"):
        charts.show(line, "fig-1.png")
    with pytest.raises(TypeError, match="expected an Altair chart"):
        charts.show(plt, DESCRIPTION)
    assert shown == []


def test_a_misspelled_mode_is_refused(shown, line, monkeypatch):
    monkeypatch.setenv("TRANSFORMER_CHARTS", "ofline")
    with pytest.raises(ValueError, match="expected 'online' or 'offline'"):
        charts.show(line, DESCRIPTION)


def test_a_glued_figure_is_hidden_where_it_is_made_and_carries_its_description(shown):
    figure, _ = plt.subplots()
    figures.glue("a-name", figures.as_html(figure, 'a "quoted" line'))
    plt.close(figure)
    (bundle,) = shown
    kinds = [kind for kind in bundle if "/" in kind]
    assert kinds and all(kind.startswith("application/papermill.record/") for kind in kinds)
    assert 'aria-label="a &quot;quoted&quot; line"' in bundle["application/papermill.record/text/html"]
    assert bundle["metadata"]["scrapbook"]["name"] == "a-name"


def test_letters_have_the_colour_of_their_line_mixed_with_the_ink():
    with plt.rc_context({"svg.fonttype": "none"}):
        figure, axes = plt.subplots()
        axes.plot([0, 1], color=figures.KEY)
        axes.text(0, 0, "a line", color=figures.KEY)
        drawing = figures.as_html(figure, "A line").data
        plt.close(figure)
    assert f"fill: color-mix(in srgb, {figures.KEY} 65%, currentColor)" in drawing
    assert f"stroke: {figures.KEY}" in drawing


def test_queries_keys_values_source_and_target_have_the_same_colours_on_the_pages():
    sheet = (Path(__file__).parents[1] / "book" / "assets" / "book.css").read_text(encoding="utf-8")
    for name in ("query", "key", "value", "source", "target"):
        assert f"--book-{name}: {getattr(figures, name.upper())};" in sheet


@pytest.mark.parametrize("ground", ["#ffffff", "#121212"])
@pytest.mark.parametrize("colour", figures.PALETTE)
def test_every_colour_stands_out_by_day_and_by_night(colour, ground):
    assert contrast(colour, ground) >= 3


@pytest.mark.parametrize("vision", VISION)
def test_colours_can_be_told_apart(vision):
    seen = [lab(np.clip(np.asarray(VISION[vision]) @ linear(colour), 0, 1)) for colour in figures.PALETTE]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 12  # 2 is just noticeable
