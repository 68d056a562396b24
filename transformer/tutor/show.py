"""The way to the reader's eyes: a notebook, or a terminal."""

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
