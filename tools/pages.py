"""The book's Sphinx extension: what the pages need beyond the configuration of Jupyter Book and its theme.

Charts   an output of `transformer.tutor.charts.show` becomes a picture that `book.js` brings to life
Checks   an image without a description, or described by its own path, is a warning (and a warning is an error)
Claims   {claim}`MT-1` leads to the place where the claim is verified; hovering over it shows what it says
Terms    hovering over a {term} shows its definition (sphinxcontrib-bibtex does the same for citations)
Lightness and accessibility   see `finish`
"""

import hashlib
import html
import importlib
import inspect
import json
import logging as py_logging
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import vl_convert
from bs4 import BeautifulSoup
from docutils import nodes
from fontTools import subset
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole
from sphinxcontrib import katex

logger = logging.getLogger(__name__)
py_logging.getLogger("fontTools").setLevel(py_logging.WARNING)  # it reports each step of its work

# The process that draws formulas starts slowly on a busy machine. Of the two ways to reach it that the library has, the
# one meant for Windows waits until it listens; the other may fail, and leave the process behind.
katex.KaTeXServer.start_server_process = katex.KaTeXServer.start_network_socket
katex.STARTUP_TIMEOUT = 60

CHART = "application/vnd.vegalite.v6+json"  # transformer.tutor.charts.SPECIFICATION
CLAIM = "executable-transformer-claim"  # transformer.tutor.claims.TRACE
VEGA_LITE = "6.4"
PATH = re.compile(r"\S*(/\S*|\.\w{3,4})")


# Charts and claims: what the executed notebooks hold


def read_notebook(app: Sphinx, document: str, source: list[str]) -> None:
    """Turn the charts of a notebook into figures, and note where its claims are verified."""
    if app.env.doc2path(document).endswith(".ipynb"):
        notebook = json.loads(source[0])
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if CHART in data:
                    output["data"] = {"text/html": chart_figure(app, document, data[CHART])}
                if claim := output.get("metadata", {}).get(CLAIM):
                    name_claim(app.env, document, claim["claim"], data)
        source[0] = json.dumps(notebook)


def chart_figure(app: Sphinx, document: str, specification: dict[str, Any]) -> str:
    """A chart as HTML: a picture for print and for readers without JavaScript, and all that is needed to replace it."""
    if not (description := specification.get("description")):
        raise ValueError(f"{document}: a chart has no description; show charts with transformer.tutor.charts.show")
    fixed = {**specification, "width": 640} if specification.get("width") == "container" else specification
    picture = vl_convert.vegalite_to_svg(fixed, vl_version=VEGA_LITE)
    name = f"{hashlib.sha256(picture.encode()).hexdigest()[:16]}.svg"
    pictures(app).mkdir(parents=True, exist_ok=True)
    (pictures(app) / name).write_text(picture, encoding="utf-8")
    data = json.dumps(specification, separators=(",", ":")).replace("</", r"<\/")
    return (
        f'<div class="chart"><img class="chart-picture" src="{name}" alt="{html.escape(description)}">'
        f'<div class="chart-live"></div><script type="application/json">{data}</script></div>'
    )


def pictures(app: Sphinx) -> Path:
    """Where the charts' pictures wait until pages, at whatever depth, are written."""
    return Path(app.doctreedir) / "charts"


def name_claim(env: BuildEnvironment, document: str, claim: str, data: dict[str, Any]) -> None:
    """Give the first place that verifies a claim a name that links can lead to."""
    if claim not in claims(env):
        claims(env)[claim] = document, "".join(data["text/plain"])
        data["text/html"] = re.sub("^<p ", f'<p id="claim-{claim}" ', "".join(data["text/html"]))


def claims(env: BuildEnvironment) -> dict[str, tuple[str, str]]:
    """For each claim's id the document that verifies it, and what came of it, in a line."""
    if not hasattr(env, "book_claims"):
        env.book_claims = {}
    return env.book_claims


def forget_claims(app: Sphinx, env: BuildEnvironment, document: str) -> None:
    """Forget what a document verified before it changed or went away."""
    for claim in [claim for claim, (place, _) in claims(env).items() if place == document]:
        del claims(env)[claim]


class ClaimRole(SphinxRole):
    """{claim}`MT-1`, a link to the verified claim."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        target = {"refdomain": "", "reftype": "claim", "reftarget": self.text, "refdoc": self.env.docname}
        link = addnodes.pending_xref("", nodes.inline(text=self.text), **target)
        self.set_source_info(link)
        return [link], []


def find_claim(
    app: Sphinx, env: BuildEnvironment, link: addnodes.pending_xref, content: nodes.Element
) -> nodes.reference | None:
    """The link that a claim role stands for; None, and so a warning, where nothing verifies the claim."""
    if link["reftype"] != "claim" or link["reftarget"] not in claims(env):
        return None
    document, outcome = claims(env)[link["reftarget"]]
    address = app.builder.get_relative_uri(link["refdoc"], document) + f"#claim-{link['reftarget']}"
    return nodes.reference("", "", content, internal=True, refuri=address, reftitle=outcome, classes=["claim-link"])


# The package's own pages


def source_address(theme: dict[str, str], module: str, fullname: str) -> str | None:
    """Where the repository shows the source of a documented name; None, and so no link, for what has no lines."""
    found: Any = importlib.import_module(module)
    for part in fullname.split("."):
        found = getattr(found, part, None)
    try:
        lines, first = inspect.getsourcelines(inspect.unwrap(found))
    except TypeError:  # a constant, a field
        return None
    file = f"blob/{theme['repository_branch']}/{module.replace('.', '/')}.py"
    return f"{theme['repository_url']}/{file}#L{first}-L{first + len(lines) - 1}"


# Checks and hints: what the pages hold once all references are known


def check_images(app: Sphinx, document: nodes.document) -> None:
    """Warn of images that say nothing to those who cannot see them."""
    for image in document.findall(nodes.image):
        alt = image.get("alt", "").strip()
        if not alt or PATH.fullmatch(alt):
            logger.warning("the image %s needs a description (alt text), got %r", image["uri"], alt, location=image)


def explain_terms(app: Sphinx, document: nodes.document, name: str) -> None:
    """Put the definition of a term into its links: browsers show it on hovering."""
    terms = app.env.get_domain("std").get_objects()
    places = {anchor: (docname, title) for title, _, kind, docname, anchor, _ in terms if kind == "term"}
    for link in document.findall(nodes.reference):
        anchor = link.get("refuri", "").rpartition("#")[2] or link.get("refid", "")
        if anchor in places:
            link["reftitle"] = definition(app.env, places[anchor][0], anchor)


def definition(env: BuildEnvironment, document: str, anchor: str) -> str:
    """The text that a glossary gives for a term."""
    for term in env.get_doctree(document).findall(nodes.term):
        if anchor in term["ids"]:
            return term.parent.next_node(nodes.definition).astext().replace("\n", " ")
    raise KeyError(f"{document} has no term with the anchor {anchor!r}")


# The finish: lighter pages that everyone can use


def finish(app: Sphinx, error: Exception | None) -> None:
    """Mend in the finished pages what neither configuration nor templates reach."""
    if error or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for page in out.rglob("*.html"):
        if "_static" not in page.relative_to(out).parts:
            soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
            mend(soup)
            page.write_text(str(soup), encoding="utf-8")
    if pictures(app).exists():
        shutil.copytree(pictures(app), out / "_static" / "charts", dirs_exist_ok=True)
        vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
        # Wrapped, so that the hundreds of names inside stay there.
        (out / "_static" / "vega.js").write_text(f"(() => {{{vega}}})();", encoding="utf-8")
    for unused in {*out.glob("_static/scripts/fontawesome*"), *out.glob("_static/**/*.map")}:
        unused.unlink()
    keep_used_letters(out)
    keep_used_icons(out)


def mend(page: BeautifulSoup) -> None:
    """Leave out what a page does not need, and add the names that search engines and assistive technology expect."""
    unused = ['script[src*="fontawesome.js"]', "#ethical-ad-placement"]
    if not page.find(id="search-results"):  # only the search page searches
        unused += [f'script[src*="{name}"]' for name in ("searchtools.js", "language_data.js", "searchindex.js")]
    for element in page.select(", ".join(unused)):
        element.decompose()
    for repeated in page.select('meta[name="viewport"]')[1:]:
        repeated.decompose()
    opening = page.select_one("article section > p")
    summary = " ".join((opening or page.title).get_text().split())
    page.head.append(page.new_tag("meta", attrs={"name": "description", "content": textwrap.shorten(summary, 160)}))

    for picture in page.select(".chart-picture"):
        picture["src"] = f"{page.html['data-content_root']}_static/charts/{picture['src']}"

    if sidebar := page.find(id="pst-primary-sidebar"):
        sidebar.attrs.update({"role": "region", "aria-label": "The book"})
    for button in page.select("button.search-button-field"):
        del button["aria-label"]  # its visible text, "Search", says it
    for icon in page.select("button.theme-switch-button i"):
        del icon["title"]  # the button has a name
    for fold in page.select("details.hide > summary"):  # MyST-NB's fold over the code of a cell
        del fold["aria-label"]  # its visible text says more
        for paragraph in fold.select("p"):
            paragraph.name = "span"  # a summary holds no paragraphs
    for element in page.select('div.citation-list[role], [role="doc-biblioentry"]'):
        del element["role"]  # deprecated by ARIA 1.3


def keep_used_icons(out: Path) -> None:
    """Reduce the icon fonts and their style sheet to the icons that the pages and the theme's scripts name."""
    files = [*out.rglob("*.html"), *out.glob("_static/scripts/*.js")]
    used = {name for file in files for name in re.findall(r"\bfa-[a-z-]+", file.read_text(encoding="utf-8"))}
    codes: set[int] = set()

    def keep(rule: re.Match[str]) -> str:
        if not used & set(re.findall(r"fa-[a-z0-9-]+", rule[1])):
            return ""
        codes.add(int(rule[2], 16))
        return rule[0]

    sheet = out / "_static" / "styles" / "pydata-sphinx-theme.css"
    icon = r'((?:\.fa-[a-z0-9-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}'
    sheet.write_text(re.sub(icon, keep, sheet.read_text(encoding="utf-8")), encoding="utf-8")
    for file in out.glob("_static/styles/*.css"):  # the theme draws some icons without naming them
        rules = file.read_text(encoding="utf-8")
        codes.update(int(code, 16) for code in re.findall(r'"\\([ef][0-9a-f]{3})"', rules))
        codes.update(ord(letter) for letter in re.findall("[\ue000-\uf8ff]", rules))
    for file in (out / "_static" / "vendor" / "fontawesome" / "webfonts").glob("*.woff2"):
        keep_letters(file, codes)


def keep_used_letters(out: Path) -> None:
    """Reduce the fonts of formulas, a fifth of a page's weight, to the letters that stand on the pages."""
    letters = {ord(letter) for page in out.rglob("*.html") for letter in set(page.read_text(encoding="utf-8"))}
    for file in (out / "_static" / "katex" / "fonts").glob("*.woff2"):
        keep_letters(file, letters)


def keep_letters(file: Path, codes: set[int]) -> None:
    """Take all other letters out of a font."""
    options = subset.Options(flavor="woff2", notdef_outline=True)
    font = subset.load_font(str(file), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=codes)
    subsetter.subset(font)
    subset.save_font(font, str(file), options)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_role("claim", ClaimRole())
    app.config.linkcode_resolve = lambda _, info: source_address(app.config.html_theme_options, **info)
    app.connect("env-purge-doc", forget_claims)
    app.connect("source-read", read_notebook)
    app.connect("missing-reference", find_claim)
    app.connect("doctree-read", check_images)
    app.connect("doctree-resolved", explain_terms)
    app.connect("build-finished", finish, priority=900)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
