"""The repository keeps its own rules: the book's sources, the package's floors, the pins."""

import ast
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import yaml

from tools import build_book, chapter_cells

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


def requirement_names(lines: list[str], pattern: str) -> set[str]:
    names = {match[1].lower() for line in lines if (match := re.match(pattern, line))}
    assert names
    return names


def test_pins_cover_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = requirement_names([*project["dependencies"], *extras["book"], *extras["test"]], r"([\w-]+)")
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert asked <= requirement_names(lines, r"([\w-]+)==[\w.]+$")


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
