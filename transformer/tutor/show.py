"""The way to the reader's eyes: a notebook, or a terminal."""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def show(outcome: Any) -> None:
    """Display something that can show itself in a notebook, print it elsewhere."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        in_notebook = False
    else:
        in_notebook = get_ipython() is not None
    if in_notebook:
        display(outcome)
    else:
        print(outcome)


def show_source(subject: Callable[..., Any]) -> None:
    """Display the source of a function, class or method of the package, as it is in the installed file."""
    from IPython.display import Markdown, display

    display(Markdown(f"```python\n{textwrap.dedent(inspect.getsource(subject))}```"))
