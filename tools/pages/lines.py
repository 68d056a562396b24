"""Lines of the package on pages that are no notebooks, taken from its source while the pages are built.

```{lines}
transformer.attention.attention_weights
transformer.layers.Residual.forward
```
"""

import ast
import importlib
import inspect
import textwrap
from typing import Any

from docutils import nodes
from docutils.nodes import Node
from sphinx.util.docutils import SphinxDirective

from .references import source_address


class Lines(SphinxDirective):
    """Functions by their full names, without what explains and guards; a name that is not there stops the build."""

    has_content = True

    def run(self) -> list[Node]:
        """For all of them one block of code, and where the repository shows them."""
        names = [name.strip() for name in self.content if name.strip()]
        code = "\n\n".join(code_of(found(name)) for name in names)
        block = nodes.literal_block(code, code, language="python")
        return [block, self.sources(names)]

    def sources(self, names: list[str]) -> nodes.paragraph:
        """A line that links the names to their lines in the repository."""
        line = nodes.paragraph("", "", classes=["lines-source"])
        for name in names:
            module, inside = divided(name)
            words = name.removeprefix("transformer.")
            address = source_address(self.env.config.html_theme_options, module, inside)
            line += [nodes.reference("", words, refuri=address, internal=False), nodes.Text(" ")]
        return line


def divided(name: str) -> tuple[str, str]:
    """The module of a full name, and the name inside it.

    Raises ModuleNotFoundError where no module begins the name.
    """
    parts = name.split(".")
    for n in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:n])
        if is_module(module):
            return module, ".".join(parts[n:])
    raise ModuleNotFoundError(f"no module begins the name {name!r}, expected one as transformer.layers.layer_norm")


def is_module(name: str) -> bool:
    """Whether a module of that name can be imported."""
    try:
        return importlib.import_module(name) is not None
    except ModuleNotFoundError:
        return False


def found(name: str) -> Any:
    """What has that full name.

    Raises AttributeError where its module has no such name.
    """
    module, inside = divided(name)
    thing: Any = importlib.import_module(module)
    for part in inside.split("."):
        thing = getattr(thing, part)
    return thing


def code_of(function: Any) -> str:
    """The source of a function without its docstring, and without statements that check what it is given."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    (defined,) = ast.parse("\n".join(lines)).body
    body = [statement for statement in defined.body if not (is_docstring(statement) or is_guard(statement))]
    takes = ", ".join(argument.arg for argument in defined.args.args)  # without types, which a line has no room for
    kept = [f"def {defined.name}({takes}):"]
    for statement in body:
        kept += lines[statement.lineno - 1 : statement.end_lineno]
    return "\n".join(kept)


def is_docstring(statement: ast.stmt) -> bool:
    """Whether a statement is a text and nothing else."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def is_guard(statement: ast.stmt) -> bool:
    """Whether all that a statement does is to check: it raises an error, or calls a function whose name begins so."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        return isinstance(called, ast.Name) and called.id.startswith("_check")
    return isinstance(statement, ast.If | ast.For) and any(isinstance(part, ast.Raise) for part in ast.walk(statement))
