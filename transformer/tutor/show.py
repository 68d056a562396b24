"""Displaying results: as HTML in a notebook, as text in a terminal."""

import html
import inspect
import re
import textwrap
from collections.abc import Callable
from decimal import Decimal
from typing import Any

_CODE = re.compile(r"(`[^`]+`)")
_EMPHASIS = re.compile(r"\*([^*]+)\*")
_RAISED = {"_": "sub", "^": "sup"}
_INDEX = re.compile(r"(?<![^\W\d_])([^\W\d_]|10(?=\^))([_^])(?:\{([^}]*)\}|([-−]?[\w½⅓¼]+))")
_EXPONENT = re.compile(r"(?<![\w.])(\d(?:\.\d+)?)e([+-]?\d+)\b")
_MINUS = re.compile(r"(?<![\w.)\]-])-(?=\.?\d)")


def typeset(text: str) -> str:
    """Text of claims and predictions as HTML: `code`, *emphasis*, and a letter's index or exponent, as d_k, W_{a+b}.

    All other signs stand for themselves, so that nothing in the text runs.
    """
    parts = [html.escape(part) for part in _CODE.split(text)]
    parts[1::2] = [f"<code>{code[1:-1]}</code>" for code in parts[1::2]]
    parts[::2] = [_INDEX.sub(_raise, _EMPHASIS.sub(r"<em>\1</em>", readable(part))) for part in parts[::2]]
    return "".join(parts)


def readable(text: str) -> str:
    """Text with numbers as they are written by hand: 2·10^{−15} for 2e-15, 0.02 for 2e-02, −3 for -3."""
    return _MINUS.sub("−", _EXPONENT.sub(_by_hand, text))


def _by_hand(number: re.Match[str]) -> str:
    digits, power = number[1], int(number[2])
    if not float(digits):
        return "0"
    if -5 < power < 7:
        return f"{Decimal(number[0]):,f}"
    times = "" if float(digits) == 1 else f"{digits}·"
    return f"{times}10^{{{str(power).replace('-', '−')}}}"


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
