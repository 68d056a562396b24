"""The repository keeps its own rules: the book's sources, the package's floors, the pins."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat import NotebookNode

import transformer
from tools import build_book, chapter_cells
from tools.exercises import chapter_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "transformer"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
LONGEST_CELL = 25
WIDEST_LINE = 88

PLAN = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")))
FLOORS = [line.split("  ")[0].split(", ") for line in re.findall(r"^    (\S.*)$", PLAN, re.MULTILINE)][::-1]  # upwards
MODEL = next(floor for floor in FLOORS if "model" in floor)

# Exercises document themselves in notebooks, and their answers are not for the pages.
DOCUMENTED = [module for module in MODULES if not module.name.startswith("chapter_")]
SPEAKING_FOR_ITSELF = {"__main__", "grammar"}  # settings of commands that hold settings of their own; lists of words

# What may be imported without being a dependency, and what is declared without being imported; and why.
OPTIONAL = {
    "matplotlib-inline": "figures.py goes without it; IPython brings it into every notebook",
    "vl-convert-python": "only charts that must do without a network need it",
}
NOT_IMPORTED = {
    "jupyter-book": "a command",
    "jupyterlab": "a command",
    "jupyterlab-myst": "shows boxes, terms and links of the chapters in JupyterLab",
    "ruff": "a command",
    "codespell": "a command",
    "nbstripout": "a command",
    "ipykernel": "what runs a notebook",
    "sphinxcontrib-bibtex": "an extension that _config.yml names",
    "nbmake": "a plugin of pytest",
    "pytest-cov": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
}


def identity(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports: `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Sphinx imports tools/pages under another name than its full one, so its modules name each other in short.
            within = path.parent == ROOT / "tools" / "pages"
            assert node.level == 0 or within, f"{identity(path)}:{node.lineno}: write imports in full"
            yield from [] if node.level else (f"{node.module}.{alias.name}" for alias in node.names)


def holds_code(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").is_file()


NAMES = {identity(m).removesuffix(".py").removesuffix("/__init__").replace("/", "."): m for m in MODULES}


def imported_modules(module: str) -> set[str]:
    """The modules of the package that one of them imports; a name in a module counts as the module."""
    found = [name for name in imports(NAMES[module]) if name.partition(".")[0] == "transformer"]
    return {name if name in NAMES else name.rpartition(".")[0] for name in found}


def floor_of(module: str) -> int:
    """On which floor of the plan a module is, from 0."""
    entry = module.split(".")[1] if "." in module else "__init__"
    return next(i for i, floor in enumerate(FLOORS) if {entry, f"{entry}/"} & {*floor})


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


# The book's sources


def test_contents_and_files_agree():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    sources = [ROOT / "index.md", *(ROOT / "book").glob("*.md"), *NOTEBOOKS]
    assert sorted(listed) == sorted(identity(source.with_suffix("")) for source in sources)


def test_contents_have_the_chapters_in_the_order_of_their_numbers():
    listed = re.findall(r"^ *- file: (book/\d\d_\w+)$", (ROOT / "_toc.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [identity(notebook.with_suffix("")) for notebook in NOTEBOOKS]
    assert [chapter_of(notebook) for notebook in NOTEBOOKS] == list(range(len(NOTEBOOKS)))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=identity)
def test_chapter_is_entered_wherever_chapters_are_listed(notebook: Path):
    title = json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"][0].removeprefix("# ").strip()
    number = chapter_of(notebook)
    entries = {
        "_toc.yml": rf"- file: book/{notebook.stem}$",
        "index.md": rf"^\| {number} \| \[{re.escape(title)}\]\(book/{notebook.name}\) \| \S.* \|$",
        "book/paper_map.md": rf"\[chapter {number}\]\({notebook.name}(#\S+)?\)",
        "transformer/tutor/claims.toml": rf"^[A-Z]+ = {number}$",
    }
    texts = {place: (ROOT / place).read_text(encoding="utf-8") for place in entries}
    absent = [place for place, line in entries.items() if not re.search(line, texts[place], re.MULTILINE)]
    missing = [f"{place} (a line like {entries[place]})" for place in absent]
    module = PACKAGE / "tutor" / "exercises" / f"chapter_{number}.py"
    if 0 < number < 14:  # chapter 0 leaves the exercises to the others, chapter 14 makes a model of their answers
        missing += [] if module.is_file() else [f"{identity(module)} (its exercises)"]
    assert not missing, f"{notebook.name} is missing in " + ", ".join(missing)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=identity)
def test_notebook_holds_no_outputs(notebook: Path):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert all(cell.get("id") for cell in content["cells"]), "a cell without id: use nbformat 4.5"
    for cell in code_cells(notebook):
        assert cell["outputs"] == [] and cell["execution_count"] is None, "run nbstripout --keep-id"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=identity)
def test_notebook_cells_are_short(notebook: Path):
    for cell in code_cells(notebook):
        lines = [line for line in "".join(cell["source"]).splitlines() if line.strip()]
        assert len(lines) <= LONGEST_CELL, f"{len(lines)} lines begin with {lines[0]!r}"
        if not {"set-up", "remove-cell"} & {*cell["metadata"].get("tags", [])}:
            assert [line for line in lines if len(line) > WIDEST_LINE] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=identity)
def test_cells_are_folded_as_their_tags_say(notebook: Path):
    assert chapter_cells.renew(nbformat.read(notebook, as_version=4)) == [], "run python -m tools.chapter_cells"


def test_cell_that_is_not_folded_as_its_tag_says_is_found():
    cells = [nbformat.v4.new_code_cell(metadata={"tags": tags}) for tags in (["apparatus"], ["core"], [], ["set-up"])]
    cells[2].metadata["jupyter"] = {"source_hidden": True}  # left over from a tag
    notebook = nbformat.v4.new_notebook(cells=cells)
    assert chapter_cells.renew(notebook) == [cells[i].id for i in (0, 2, 3)]
    assert [cell.metadata.get("cellView") for cell in cells] == ["form", None, None, "form"]
    assert chapter_cells.renew(notebook) == []


ENTRY = re.compile(r"@\w+\{[\w:-]+,\n(?:  \w+ += \{.*\},\n)*  \w+ += \{.*\}\n\}\n*")


def test_bibliography_is_whole_and_has_all_that_is_cited():
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    entries = re.split(r"^(?=@)", text, flags=re.MULTILINE)[1:]
    assert [entry for entry in entries if not ENTRY.fullmatch(entry)] == [], "a comma or a brace is missing"
    keys = [re.match(r"@\w+\{([^,]+),", entry)[1] for entry in entries]
    assert len(keys) == len(set(keys)), "a key stands there twice"
    sources = [ROOT / "index.md", *(ROOT / "book").glob("*.md"), *NOTEBOOKS]
    cited = re.findall(r"\{cite:\w+\}`([^`]+)`", "".join(path.read_text(encoding="utf-8") for path in sources))
    assert {key.strip() for keys in cited for key in keys.split(",")} <= set(keys)


def typed_in(source: str) -> list[int]:
    """The lines in which a prediction is answered by a constant instead of something measured."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    answers = [call for call in calls if ast.unparse(call.func) == "predict.answer"]
    return [
        call.lineno
        for call in answers
        if len(call.args) < 3 or not any(isinstance(node, ast.Name) for node in ast.walk(call.args[1]))
    ]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=identity)
def test_no_prediction_is_answered_by_a_constant(notebook: Path):
    assert [line for cell in code_cells(notebook) for line in typed_in("".join(cell["source"]))] == []


@pytest.mark.parametrize("constant", ["2", "[True, False]", "-1.5", "([0, 1], [3, 4])"])
def test_answer_that_is_typed_in_is_found(constant: str):
    assert typed_in(f"predict.answer('x', {constant}, f'{{y}}')") == [1]
    assert typed_in("predict.answer('x', [y > 1, y <= 1], 'why')\npredict.answer('x', f(y), 'why')") == []


def answered_elsewhere(notebook: NotebookNode) -> list[str]:
    """The predictions whose answer does not stand in the cells directly behind the question, which are blurred."""
    open_, found = [], []
    for cell in notebook.cells:
        if cell.cell_type != "code" or "predict" in cell.metadata.get("tags", []):
            found += open_  # a paragraph, or another question, ends what is blurred
            open_ = re.findall(r"\bpredict\.(?:choice|slider|curve)\(\s*\"([^\"]+)\"", cell.source)
        else:
            answered = re.findall(r"\bpredict\.answer\(\s*\"([^\"]+)\"", cell.source)
            open_ = [name for name in open_ if name not in answered]
    return found + open_


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=identity)
def test_experiment_follows_its_question_without_a_word_between(notebook: Path):
    assert answered_elsewhere(nbformat.read(notebook, as_version=4)) == []


def test_answer_behind_a_paragraph_is_found():
    question = nbformat.v4.new_code_cell('predict.choice(\n    "rows", "How many?", ["a", "b"])')
    question.metadata.tags = ["predict"]
    answer = nbformat.v4.new_code_cell('predict.answer("rows", right, "why")')
    work, words = nbformat.v4.new_code_cell("right = 1"), nbformat.v4.new_markdown_cell("So we measure:")
    for cells, missing in (
        ([question, work, answer, words], []),
        ([question, words, work, answer], ["rows"]),
        ([question, work], ["rows"]),
    ):
        assert answered_elsewhere(nbformat.v4.new_notebook(cells=cells)) == missing


# The package


def test_every_module_has_one_place_in_the_plan():
    names = [f"{path.name}/" if path.is_dir() else path.stem for path in PACKAGE.iterdir() if holds_code(path)]
    assert sorted(names) == sorted(name for floor in FLOORS for name in floor)


def test_plan_for_contributors_is_the_package_s_own():
    block = "\n".join(line[4:] for line in PLAN.splitlines() if line.startswith("    "))
    assert f"```text\n{block}\n```" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", NAMES)
def test_module_imports_from_no_floor_above_it(module: str):
    assert [other for other in sorted(imported_modules(module)) if floor_of(other) > floor_of(module)] == []


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter({module: imported_modules(module) for module in NAMES}).prepare()  # or CycleError names them


def test_model_needs_nothing_but_torch_and_safetensors():
    needed, new = set(), {f"transformer.{name}" for name in MODEL}
    while new:
        needed |= new
        new = set().union(*map(imported_modules, new)) - needed
    outside = {name.partition(".")[0] for module in needed for name in imports(NAMES[module])} - {"transformer"}
    assert outside - sys.stdlib_module_names == {"safetensors", "torch"}


def test_public_names_are_those_of_their_modules():
    for name in transformer.__all__:
        value = getattr(transformer, name)
        assert value.__name__ == name and value.__module__.startswith("transformer.")
        assert name in dir(transformer)
    with pytest.raises(AttributeError, match="no attribute 'transformers'"):
        transformer.transformers  # noqa: B018


def test_importing_the_package_loads_no_library():
    program = "import sys; before = set(sys.modules); import transformer; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    roots = {name.partition(".")[0] for name in loaded.stdout.split()}
    assert roots - sys.stdlib_module_names == {"transformer"}


def test_device_is_never_written_into_the_code():
    code = {identity(path): path.read_text(encoding="utf-8") for path in [*MODULES, *NOTEBOOKS]}
    assert [name for name, text in code.items() if ".cuda(" in text] == [], "use choose_device()"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=identity)
def test_chapter_says_where_it_trains(path: Path):
    """Left to itself, `train` moves a model to the GPU, and the next cell's tensors are on the CPU."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    nodes = list(ast.walk(ast.parse("\n".join(cells))))
    kept = {name: ast.unparse(node.value) for node in nodes if isinstance(node, ast.Assign) for name in assigned(node)}
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "train"]
    given = [" ".join(f"{k.arg} {kept.get(ast.unparse(k.value))}" for k in call.keywords) for call in calls]
    assert [ast.unparse(call) for call, names in zip(calls, given, strict=True) if "device" not in names] == []


def assigned(node: ast.stmt) -> list[str]:
    """The names that a statement assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


@pytest.mark.parametrize("module", MODULES, ids=identity)
def test_public_names_are_documented(module: Path):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    members = [node for scope in [tree, *classes] for node in scope.body]
    functions = [node for node in members if isinstance(node, ast.FunctionDef)]
    missing = [node.name for node in [*classes, *functions] if not ast.get_docstring(node)]
    if module in DOCUMENTED and module.stem not in SPEAKING_FOR_ITSELF:
        for scope in [tree, *classes]:
            for node, following in zip(scope.body, [*scope.body[1:], None], strict=True):
                explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                missing += [] if explained else assigned(node)
    assert [name for name in missing if not name.startswith("_")] == []
    assert ast.get_docstring(tree), "the module itself"


def test_every_module_has_its_place_on_the_api_pages():
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "book").glob("api_*.md")]
    listed = [name for page in pages for name in re.findall(r"^\.\. automodule:: (\S+)$", page, re.MULTILINE)]
    names = [identity(m).removesuffix(".py").replace("/", ".") for m in DOCUMENTED if not m.name.startswith("__")]
    assert sorted(listed) == sorted(names)


# The installation


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> dict[str, set[str]]:
    """The names of the distributions that pyproject.toml asks for: of the package, and of each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"package": project["dependencies"], **project["optional-dependencies"]}
    return {group: {normalised(re.match(r"[\w.-]+", line)[0]) for line in lines} for group, lines in groups.items()}


def test_pins_cover_what_the_project_asks_for():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normalised(match[1]) for line in lines if (match := re.match(r"([\w.-]+)==[\w.]+$", line))}
    assert set.union(*declared().values()) <= pinned


def distribution(module: str, installed: dict[str, list[str]]) -> str:
    """What to install for a module: of several that share a namespace, the one with the module's own name."""
    top, both = module.partition(".")[0], normalised(".".join(module.split(".")[:2]))
    found = {normalised(name) for name in installed.get(top, [top])}
    return both if both in found else min(found)


def third_party(folder: str) -> set[str]:
    """The distributions that the modules in a folder import."""
    own, installed = {"transformer", "tools", "tests"}, packages_distributions()
    files = (path for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts)
    found = {module for path in files for module in imports(path)}
    foreign = {module for module in found if module.partition(".")[0] not in sys.stdlib_module_names | own}
    return {distribution(module, installed) for module in foreign}


def test_what_is_imported_is_declared():
    asked = declared()
    assert third_party("transformer") - set(OPTIONAL) <= asked["package"]
    assert third_party("tools") <= asked["package"] | asked["book"]
    assert third_party("tests") <= asked["package"] | asked["book"] | asked["test"]


def test_what_is_declared_is_imported_or_has_a_reason():
    imported = set.union(*(third_party(folder) for folder in ("transformer", "tools", "tests")))
    asked = set.union(*declared().values())
    assert asked - imported == set(NOT_IMPORTED)
    assert set(OPTIONAL) <= third_party("transformer") - declared()["package"]


@pytest.mark.parametrize("newest", ["", "1"])
def test_commands_of_the_makefile_are_sound(newest: str):
    """A shell can read what make would do, from a clone in which nothing is made yet."""
    asked = ["book", "pdf", "test", "quick", "gates", "lint", "lab", "serve", "clean", f"NEWEST={newest}"]
    commands = subprocess.run(
        ["make", "--dry-run", "--always-make", *asked], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    subprocess.run(["sh", "-n"], input=commands, text=True, check=True)
    assert len(re.findall(r"-m pip install .+ -e \S", commands)) == 1


def test_version_can_be_read_without_importing_the_package():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    versions = [node.value for node in assignments if ast.unparse(node.targets[0]) == "__version__"]
    assert len(versions) == 1 and re.fullmatch(r"\d+\.\d+\.\d+", ast.literal_eval(versions[0]))


# The build


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the book is built from, in no workflow."""
    for name in build_book.SOURCES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    monkeypatch.setattr(build_book.live_weights, "write", lambda folder: None)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    return tmp_path


def staged_config(root: Path) -> dict[str, Any]:
    return yaml.safe_load((build_book.stage(root, {}) / "_config.yml").read_text(encoding="utf-8"))


def came_from(root: Path, address: str) -> None:
    """Let git say that a folder is a clone of an address."""
    for command in (["init", "--quiet"], ["remote", "add", "origin", address]):
        subprocess.run(["git", *command], cwd=root, check=True)


def test_fork_leads_to_itself_in_a_workflow(sources: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "Reader/fork")
    config = staged_config(sources)
    assert config["repository"]["url"] == "https://github.com/Reader/fork"
    assert config["html"]["baseurl"] == "https://reader.github.io/fork/"
    for notebook in (sources / "_build" / "book-source" / "book").glob("*.ipynb"):
        assert "github.com/Reader/fork" in notebook.read_text(encoding="utf-8")
    assert (sources / "_config.yml").read_bytes() == (ROOT / "_config.yml").read_bytes()


@pytest.mark.parametrize(
    "begin", ["https://github.com/", "https://token@github.com/", "ssh://git@github.com/", "git@github.com:"]
)
@pytest.mark.parametrize("end", ["", ".git", "/"])
def test_clone_leads_to_where_it_came_from(sources: Path, begin: str, end: str):
    came_from(sources, f"{begin}Reader/the.fork{end}")
    config = staged_config(sources)
    assert config["repository"]["url"] == "https://github.com/Reader/the.fork"
    assert config["launch_buttons"] and config["html"]["use_repository_button"]


@pytest.mark.parametrize("address", ["", "/srv/git/book.git", "https://git.example.org/reader/book.git"])
def test_where_nobody_has_published_it_nothing_leads_there(sources: Path, address: str):
    if address:
        came_from(sources, address)
    config = staged_config(sources)
    assert "launch_buttons" not in config and "baseurl" not in config["html"]
    assert config["repository"] == {"url": ""}, "left out, it would be Jupyter Book's own"
    assert not any(config["html"][f"use_{name}_button"] for name in ("repository", "issues", "edit_page"))
