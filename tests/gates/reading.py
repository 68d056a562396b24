"""What a page must be for those who read it: gates on a page that is open in a browser, at the width it then has.

Each gate takes the open page and returns what it found. `ON_A_PHONE` are for a screen of 375 px, `IN_THE_DARK` for the
dark theme, `AS_IT_OPENS` for a page as a reader gets it, before anything is unfolded; `ANYWHERE` for any page.
"""

import json
import re
from pathlib import Path

from bs4 import BeautifulSoup
from playwright.sync_api import Page

SMALLEST = 9  # px of letters
MOST_SCREENS = {"desktop": 10, "phone": 18}
RAW = re.compile(r"\\[a-zA-Z]{2,}|\$|(?<![^\W\d_])[^\W\d_][_^]\{?\w|\bd_model|√d_")  # TeX, or d_k as it is typed
TEX = re.compile(r"\\(?:sqrt|frac|text|mathrm|mathbf|mathbb|cdot|left|right|top|sum|quad|operatorname)\b")
LEADS_IN = ("book/claims.html", "book/paper_map.html")  # pages whose links must lead to the place itself
CHAPTER = re.compile(r"\d\d_\w+\.html$")


def cut_off(tab: Page) -> list[str]:
    """What goes on beyond its box shows it: by scrolling, and by fading out where it goes on."""
    return tab.evaluate(
        """() => [...document.querySelectorAll('article *')].filter(box => {
          if (box.scrollWidth <= box.clientWidth + 2 || box.clientWidth < 40 || !box.checkVisibility()) return false;
          const { overflowX, maskImage, position } = getComputedStyle(box);
          if (overflowX === 'visible' || position === 'absolute') return false;
          return !['auto', 'scroll'].includes(overflowX) || !box.classList.contains('goes-on') || maskImage === 'none';
        }).slice(0, 5).map(box => `cut off without a cue: ${box.outerHTML.slice(0, 100)}`)"""
    )


def small_letters(tab: Page) -> list[str]:
    """No letter is too small to be read."""
    return tab.evaluate(
        """smallest => [...document.querySelectorAll('article *')].flatMap(element => {
          const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
          const hidden = element.closest('.katex, sub, sup, [aria-hidden=true]:not(svg *)');
          if (!own || hidden || !element.checkVisibility()) return [];
          let size = parseFloat(getComputedStyle(element).fontSize);
          const place = element.getScreenCTM?.();
          if (place) size *= Math.hypot(place.a, place.b);
          const text = element.textContent.trim().slice(0, 40);
          return size < smallest - .05 ? [`letters of ${size.toFixed(1)} px: ${text}`] : [];
        }).slice(0, 5)""",
        SMALLEST,
    )


def white(tab: Page) -> list[str]:
    """In the dark nothing is a white card."""
    return tab.evaluate(
        """() => {
          const light = colour => { const [r, g, b, a = 1] = (colour.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
            return colour.startsWith('rgb') && a > .5 && (.2126 * r + .7152 * g + .0722 * b) / 255 > .8 };
          return [...document.querySelectorAll('article *')].filter(element => {
            const { width, height } = element.getBoundingClientRect();
            if (width * height < 1600 || !element.checkVisibility() || element.closest('.katex')) return false;
            const style = getComputedStyle(element);
            if (element instanceof SVGElement)
              return ['rect', 'path', 'polygon', 'circle'].includes(element.localName)
                && light(style.fill) && style.fillOpacity > .5;
            return light(style.backgroundColor) && !style.filter.includes('invert');
          }).slice(0, 5).map(element => `white in the dark: ${element.outerHTML.slice(0, 100)}`);
        }"""
    )


def overlapping_labels(tab: Page) -> list[str]:
    """In drawings no label lies on another one; words at a slant cannot be told, and are left out."""
    return tab.evaluate(
        """() => [...document.querySelectorAll('article svg')].flatMap(drawing => {
          const words = [...drawing.querySelectorAll('text')].filter(text => {
            const place = text.getScreenCTM();
            return text.textContent.trim() && text.checkVisibility({ opacityProperty: true })
              && Math.min(Math.abs(place.a), Math.abs(place.b)) < .02 && getComputedStyle(text).opacity > 0;
          }).map(text => [text, text.getBoundingClientRect()]);
          return words.flatMap(([one, a], i) => words.slice(i + 1).flatMap(([other, b]) => {
            const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            const smaller = Math.min(a.width * a.height, b.width * b.height);
            return across > 2 && down > 2 && across * down > .2 * smaller
              ? [`labels overlap: ${one.textContent.trim()} / ${other.textContent.trim()}`] : [];
          }));
        }).slice(0, 5)"""
    )


def raw_notation(tab: Page) -> list[str]:
    """Headings, claims and predictions hold no TeX, and no letter with an underscore for its index."""
    said = tab.evaluate(
        """() => [...document.querySelectorAll(
          'h1, h2, h3, h4, title, .claim > summary, .claim-evidence, .prediction, .bd-sidebar a, .page-toc a'
        )].map(element => {
          const copy = element.cloneNode(true);
          copy.querySelectorAll('code, .katex, script, svg, .headerlink').forEach(part => part.remove());
          return copy.textContent.trim();
        })"""
    )
    return [f"raw notation: {text[:80]}" for text in dict.fromkeys(said) if RAW.search(text)]


def first_screen(tab: Page) -> list[str]:
    """A chapter with a laboratory shows something on its first screen: a picture, or what a cell has put out."""
    shows = tab.evaluate(
        """() => !document.getElementById('laboratory') || [...document.querySelectorAll(
          'article :is(.picture, .chart, figure, table, .live, .cell_output)')].some(
          element => element.checkVisibility() && element.getBoundingClientRect().top + scrollY < innerHeight - 60)"""
    )
    return [] if shows else ["the first screen shows nothing"]


def length(tab: Page) -> list[str]:
    """A chapter with a laboratory, as it opens, is not longer than its budget of screens."""
    screens, width, rewritten = tab.evaluate(
        """() => [document.documentElement.scrollHeight / innerHeight, innerWidth,
                  Boolean(document.getElementById('laboratory'))]"""
    )
    most = MOST_SCREENS["phone" if width < 600 else "desktop"]
    return [f"{screens:.1f} screens, at most {most} expected"] if rewritten and screens > most else []


ON_A_PHONE = (cut_off, small_letters)
IN_THE_DARK = (white,)
AS_IT_OPENS = (first_screen, length)
ANYWHERE = (overlapping_labels, raw_notation)


# Gates on the files


def links_to_tops(folder: Path, page: str) -> list[str]:
    """The links of the claims and of the paper map lead into the chapters, not to their tops."""
    if page not in LEADS_IN:
        return []
    soup = BeautifulSoup((folder / page).read_text(encoding="utf-8"), "html.parser")
    links = [str(link["href"]) for link in soup.select("article :is(td, li) a.internal[href]")]
    return [f"{page}: {link} leads to the top of a chapter" for link in links if CHAPTER.search(link)]


def search_entries(folder: Path) -> list[str]:
    """What the search shows holds no TeX, and leads to sections."""
    text = (folder / "_static" / "sections.js").read_text(encoding="utf-8")
    entries = json.loads(text.removeprefix("window.BOOK_SECTIONS = ").rstrip().removesuffix(";"))
    findings = [f"no section: {entry['at']}" for entry in entries if "#" not in entry["at"]]
    findings += [f"raw notation in the title of {entry['at']}" for entry in entries if RAW.search(entry["title"])]
    findings += [f"TeX in the text of {entry['at']}" for entry in entries if TEX.search(entry["text"])]
    return findings + [f"unstable anchor: {entry['at']}" for entry in entries if re.search(r"#id\d+$", entry["at"])]


NAMES = ("KV cache", "weight tying", "teacher forcing", "exposure bias", "complexity", "BERT", "why sqrt d_k")
"""what people type into the search, in words that the book may not use; `gates.search` tries each"""


def open_everything(tab: Page) -> None:
    """Move the switch to Everything."""
    tab.evaluate("document.querySelector('.reading-switch [data-choice=everything]')?.click()")
