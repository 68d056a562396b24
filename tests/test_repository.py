"""The repository keeps its own rules: the book's sources, the package's floors, the pins."""

import ast
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from tools import build_book

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "transformer"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
LONGEST_CELL = 25

# The model floor, and what it may import beside the standard library and torch.
MODEL_FLOOR = {"attention", "checkpoints", "config", "embeddings", "layers", "model", "symbols"}
MAY_IMPORT_TUTOR = {"__main__.py", "bench.py"}

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
            assert node.level == 0, f"{identity(path)}:{node.lineno}: write imports of the package in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


# The book's sources


def test_contents_and_files_agree():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    sources = [ROOT / "index.md", *(ROOT / "book").glob("*.md"), *NOTEBOOKS]
    assert sorted(listed) == sorted(identity(source.with_suffix("")) for source in sources)


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


# The package


@pytest.mark.parametrize("name", sorted(MODEL_FLOOR))
def test_model_floor_rests_on_nothing_above_it(name: str):
    found = [imported.split(".") for imported in imports(PACKAGE / f"{name}.py")]
    assert {parts[1] for parts in found if parts[0] == "transformer"} <= MODEL_FLOOR
    assert {parts[0] for parts in found} <= sys.stdlib_module_names | {"safetensors", "torch", "transformer"}


def test_only_the_command_line_uses_the_teaching_instruments():
    below = [module for module in MODULES if module.parent == PACKAGE and module.name not in MAY_IMPORT_TUTOR]
    users = [identity(m) for m in below if any(found.startswith("transformer.tutor") for found in imports(m))]
    assert users == []


def test_device_is_never_written_into_the_code():
    code = {identity(path): path.read_text(encoding="utf-8") for path in [*MODULES, *NOTEBOOKS]}
    assert [name for name, text in code.items() if ".cuda(" in text] == [], "use choose_device()"


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


def test_version_can_be_read_without_importing_the_package():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    versions = [node.value for node in assignments if ast.unparse(node.targets[0]) == "__version__"]
    assert len(versions) == 1 and re.fullmatch(r"\d+\.\d+\.\d+", ast.literal_eval(versions[0]))


# The build


def test_fork_leads_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in build_book.SOURCES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    monkeypatch.setenv("GITHUB_REPOSITORY", "Reader/fork")
    staged = build_book.stage(tmp_path, {})
    config = yaml.safe_load((staged / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"]["url"] == "https://github.com/Reader/fork"
    assert config["html"]["baseurl"] == "https://reader.github.io/fork/"
    for notebook in (staged / "book").glob("*.ipynb"):
        assert "github.com/Reader/fork" in notebook.read_text(encoding="utf-8")
    assert (tmp_path / "_config.yml").read_bytes() == (ROOT / "_config.yml").read_bytes()
