"""Run sources as a notebook does."""

from typing import Any

from IPython.core.compilerop import CachingCompiler


def run_cell(source: str, **names: Any) -> dict[str, Any]:
    """Run a cell, with these names at hand, so that what it defines can be read again; returns all names."""
    compiler, names = CachingCompiler(), {"__name__": "__main__"} | names
    exec(compile(source, compiler.cache(source), "exec"), names)
    return names
