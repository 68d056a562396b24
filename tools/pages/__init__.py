"""The book's Sphinx extension: what the pages need beyond the configuration of Jupyter Book and its theme.

`notebooks`    what executed cells show: charts, figures, claims, predictions; and the numbers of chapters
`references`   links to claims, hints on links, and images that need a description
`live`         figures to take in hand on pages that are no notebooks: `inside` and `switches`, computed by `in_python`
`lines`        lines of the package, as they are in its source
`translator`   what the front page opens with: a sentence that the model has translated
`finish`       finished pages: lesson and laboratory, the switch, pages that everyone can use
`lighter`      of style sheets and fonts only what the pages use
`preview`      what is shown where somebody links to a page
`search`       the search, which finds sections
"""

import logging as py_logging
import socket
import subprocess
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinxcontrib import katex

from . import finish, lines, live, notebooks, references

py_logging.getLogger("fontTools").setLevel(py_logging.WARNING)  # it reports each step of its work

katex.STARTUP_TIMEOUT = 60


def start_katex(rundir: Path, timeout: float) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the process that draws formulas, which takes its time on a busy machine.

    Of the two ways to reach it that the library has, the one meant for Windows waits until it listens; the other may
    fail, and leave the process behind.
    """
    process, connection = katex.KaTeXServer.start_network_socket(rundir, timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each formula waits 40 ms for a receipt
    return process, connection


katex.KaTeXServer.start_server_process = start_katex


def tell_published(app: Sphinx, config: Config) -> None:
    """Let pages say `{only} published` of what leads to a public repository: there may be none."""
    if config.html_theme_options.get("repository_url"):
        app.tags.add("published")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_directive("live", live.LiveFigure)
    app.add_directive("lines", lines.Lines)
    app.add_role("claim", references.ClaimRole())
    app.add_role("section", references.ClaimRole())
    app.config.linkcode_resolve = lambda _, info: references.source_address(app.config.html_theme_options, **info)
    app.connect("config-inited", tell_published)
    app.connect("env-purge-doc", notebooks.forget_claims)
    app.connect("source-read", notebooks.read_notebook)
    app.connect("missing-reference", references.find_claim)
    app.connect("doctree-read", references.check_images)
    app.connect("doctree-resolved", references.explain_terms)
    app.connect("build-finished", finish.finish, priority=900)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
