"""Figures in one style: colour-blind safe, drawn as vectors. For charts that move, see `charts`.

On the pages of the book `INK` becomes the colour of the text around a figure, and its ground transparent.
"""

import hashlib
import html
import io
import re
from collections.abc import Sequence

import matplotlib.pyplot as plt
import seaborn as sns
from IPython.core.formatters import format_display_data
from IPython.display import HTML, display
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from torch import Tensor

WIDTH = 5.6
"""width of a figure in inches: near that of the text column, and small enough for a phone to keep letters legible"""

INK = "#262626"
"""of lines and letters; the pages replace it by the reader's own"""

PALETTE = ("#0173b2", "#d17f00", "#029e73", "#cc78bc", "#ad3c12")
"""blue, orange, green, pink, rust: apart for every kind of colour vision, and at least 3:1 against white and #121212"""

QUERY, KEY, VALUE, SOURCE, TARGET = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3], PALETTE[4]
"""what stands for queries, keys, values, the source and the target, in every figure of the book"""

SHADES = ListedColormap([(*to_rgb(PALETTE[0]), share / 255) for share in range(256)], "shades")
"""of heat maps: from nothing to the full colour, and so right on a white ground and on a black one"""

TWO_SHADES = ListedColormap(
    [(*to_rgb(PALETTE[1] if step < 128 else PALETTE[0]), abs(step / 127.5 - 1)) for step in range(256)], "two shades"
)
"""of heat maps with two signs: the full orange for the lowest number, over nothing, to the full blue for the highest"""

SMALLEST = 9
"""pixels that letters of a figure are high at least, on the narrowest screen"""


def use_style() -> None:
    """Set matplotlib's defaults for the rest of the notebook; in a notebook, figures become SVG."""
    colormaps.register(SHADES, force=True)
    sns.set_theme(context="notebook", style="ticks", palette=PALETTE)
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.4),
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "axes.facecolor": "none",
            "image.cmap": "shades",
            **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), INK),
            **dict.fromkeys(("xtick.color", "ytick.color"), INK),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "svg.hashsalt": "book",  # the same figure is the same file in every build
            "svg.fonttype": "none",  # letters as text: drawn as outlines they are most of a figure's weight
        }
    )
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # outside a notebook
        return
    set_matplotlib_formats("svg")


def draw_attention(axes: Axes, weights: Tensor, queries: Sequence[str], keys: Sequence[str]) -> None:
    """Draw attention weights (T, S): one row for each query, one column for each key, dark where it looks.

    Raises ValueError where the labels do not fit the weights.
    """
    if tuple(weights.shape) != (len(queries), len(keys)):
        raise ValueError(
            f"the weights have shape {tuple(weights.shape)}, expected ({len(queries)}, {len(keys)}): "
            "one row for each query and one column for each key"
        )
    axes.imshow(weights.cpu(), cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(keys)), keys, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(queries)), queries)
    axes.tick_params(length=0)
    sns.despine(ax=axes, left=True, bottom=True)


def as_html(figure: Figure, alt: str) -> HTML:
    """The figure as HTML with alternative text, to be shown on another page of the book than its own."""
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg", metadata={"Date": None})
    return HTML(inked(drawing.getvalue(), alt))


def inked(drawing: str, alt: str) -> str:
    """matplotlib's SVG as part of a page: in its ink and letters, without a ground, and described by `alt`.

    Letters have the colours of `PALETTE` mixed with the ink: what does for lines is too light for them, or by night too
    dark.

    On a narrow screen it shrinks until its smallest letters are `SMALLEST` pixels high, and scrolls from there on.
    """
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"#(?:262626|000000)\b", "currentColor", drawing)
    letters = rf'(<text style="[^"]*fill: )({"|".join(PALETTE)})'
    drawing = re.sub(letters, r"\1color-mix(in srgb, \2 65%, currentColor)", drawing)
    drawing = re.sub(r'(<g id="patch_1">\s*<path[^>]*?)fill: #ffffff', r"\1fill: none", drawing, count=1)
    drawing = re.sub(r"font: ((?:[a-z]+ )*)([\d.]+px) [^;\"]*", _without_family, drawing)
    drawing = re.sub(r"font-family: [^;\"]*(; ?)?", "", drawing)
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", drawing))
    mark = f"f{hashlib.sha256(drawing.encode()).hexdigest()[:6]}"  # a letter first; figures of a page share no names
    drawing = re.sub(r' id="([^"]+)"', lambda id: f' id="{mark}-{id[1]}"' if id[1] in used else "", drawing)
    drawing = re.sub(r"(url\(|href=\")#", rf"\1#{mark}-", drawing)
    _, _, width, _ = map(float, re.search(r'viewBox="([^"]+)"', drawing)[1].split())
    heights = [float(size) for size in re.findall(r"font-size: ([\d.]+)", drawing)]
    narrowest = SMALLEST / min(heights, default=SMALLEST) * width
    size = f"width: {width * 4 / 3:.0f}px; min-width: {narrowest if heights else 0:.0f}px"  # points to pixels
    named = f'<svg role="img" aria-label="{html.escape(alt)}" style="{size}" viewBox='
    drawing = re.sub(r"<svg [^>]*?viewBox=", lambda _: named, drawing, count=1)
    drawing = re.sub(r'(<svg [^>]*viewBox="[^"]+")[^>]*>', r"\1>", drawing, count=1)
    drawing = re.sub(r">\s+<", "><", drawing).strip()
    return f'<div class="picture">{drawing}</div>'


def _without_family(font: re.Match[str]) -> str:
    words = {"bold": "font-weight: bold; ", "italic": "font-style: italic; "}
    return "".join(words.get(word, "") for word in font[1].split()) + f"font-size: {font[2]}"


def glue(name: str, shown: HTML) -> None:
    """Lend what a cell shows to other pages of the book, under a name, as {glue:}`name` takes it; here nothing appears.

    The output is the one that `glue` of MyST-NB would leave, which readers who only run a chapter need not install.
    """
    bundle, metadata = format_display_data(shown)
    hidden = "application/papermill.record/"  # no front end shows this media type
    record = {"scrapbook": {"name": name, "mime_prefix": hidden}}
    display({hidden + kind: data for kind, data in bundle.items()}, raw=True, metadata={**metadata, **record})
