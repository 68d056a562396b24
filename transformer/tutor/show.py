"""The way to the reader's eyes: a notebook, or a terminal."""

import html
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

_CODE = re.compile(r"(`[^`]+`)")
_EMPHASIS = re.compile(r"\*([^*]+)\*")
_RAISED = {"_": "sub", "^": "sup"}
_INDEX = re.compile(r"(?<![^\W\d_])([^\W\d_])([_^])(?:\{([^}]*)\}|([-−]?[\w½⅓¼]+))")


def typeset(text: str) -> str:
    """Text of claims and predictions as HTML: `code`, *emphasis*, and a letter's index or exponent, as d_k, W_{a+b}.

    All other signs stand for themselves, so that nothing in the text runs.
    """
    parts = [html.escape(part) for part in _CODE.split(text)]
    parts[1::2] = [f"<code>{code[1:-1]}</code>" for code in parts[1::2]]
    parts[::2] = [_INDEX.sub(_raise, _EMPHASIS.sub(r"<em>\1</em>", part)) for part in parts[::2]]
    return "".join(parts)


def _raise(index: re.Match[str]) -> str:
    letter, sign, in_braces, bare = index.groups()
    return f"{letter}<{_RAISED[sign]}>{bare or in_braces}</{_RAISED[sign]}>"


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
