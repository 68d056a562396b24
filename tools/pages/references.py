"""Links and hints: what the pages hold once all references are known."""

import importlib
import inspect
import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from .notebooks import NUMBERED, claims

logger = logging.getLogger(__name__)
PATH = re.compile(r"\S*(/\S*|\.\w{3,4})")


class ClaimRole(SphinxRole):
    """{claim}`MT-1`, a link to the verified claim, and {section}`MT-1`, one to the section that verifies it."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        target = {"refdomain": "", "reftype": self.name, "reftarget": self.text, "refdoc": self.env.docname}
        link = addnodes.pending_xref("", nodes.inline(text=self.text), **target)
        self.set_source_info(link)
        return [link], []


def find_claim(
    app: Sphinx, env: BuildEnvironment, link: addnodes.pending_xref, content: nodes.Element
) -> nodes.reference | None:
    """The link that one of the two roles stands for; None, and so a warning, where nothing verifies the claim."""
    if link["reftype"] not in ("claim", "section") or link["reftarget"] not in claims(env):
        return None
    document, outcome = claims(env)[link["reftarget"]]
    page = app.builder.get_relative_uri(link["refdoc"], document)
    if link["reftype"] == "section":
        section = section_of(env, document, link["reftarget"])
        title = section.next_node(nodes.title)
        number = int(NUMBERED.match(document)[1])
        words = [nodes.Text(f"chapter {number}, "), *(part.deepcopy() for part in title.children)]
        return nodes.reference("", "", *words, internal=True, refuri=f"{page}#{section['ids'][0]}")
    address = f"{page}#claim-{link['reftarget']}"
    return nodes.reference("", "", content, internal=True, refuri=address, reftitle=outcome, classes=["claim-link"])


def section_of(env: BuildEnvironment, document: str, claim: str) -> nodes.section:
    """The innermost section of a document that shows a claim."""
    for shown in env.get_doctree(document).findall(nodes.raw):
        if f'id="claim-{claim}"' in shown.astext():
            part = shown.parent
            while not isinstance(part, nodes.section):
                part = part.parent
            return part
    raise KeyError(f"{document} does not show the claim {claim}")


def source_address(theme: dict[str, str], module: str, fullname: str) -> str | None:
    """Where the repository shows the source of a documented name; None, and so no link, for what has no lines.

    And for all where no public repository is known.
    """
    if not theme.get("repository_url"):
        return None
    found: Any = importlib.import_module(module)
    for part in fullname.split("."):
        found = getattr(found, part, None)
    try:
        lines, first = inspect.getsourcelines(inspect.unwrap(found))
    except TypeError:  # a constant, a field
        return None
    file = f"blob/{theme['repository_branch']}/{module.replace('.', '/')}.py"
    return f"{theme['repository_url']}/{file}#L{first}-L{first + len(lines) - 1}"


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
