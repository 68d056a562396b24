"""Predictions: what is asked, what may answer, and what a notebook keeps of both."""

from typing import Any

import numpy as np
import pytest
import torch

from transformer.tutor import predict, predictions
from transformer.tutor.predictions import TRACE, PredictionError
from transformer.tutor.show import typeset


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The records that a notebook would keep."""
    kept: list[Any] = []
    monkeypatch.setattr(predictions, "show", lambda one: kept.append(one._repr_mimebundle_()[1][TRACE]))
    monkeypatch.setattr(predictions, "asked", {})
    return kept


@pytest.mark.parametrize("right", [1, np.int64(1), torch.tensor(1), [False, True, False], torch.tensor([0, 1, 0]) > 0])
def test_right_option_is_computed(shown: list[Any], right: Any):
    predict.choice("rows", "How many?", ["all", "half", "few"])
    predict.answer("rows", right, "So it is.")
    assert shown[1] == {"name": "rows", "answer": 1, "why": "So it is."}


@pytest.mark.parametrize("wrong", [3, -1, True, 0.5, "half", [True, True, False], [False] * 3, [True, False], None])
def test_what_is_no_option_is_refused(shown: list[Any], wrong: Any):
    predict.choice("rows", "How many?", ["all", "half", "few"])
    with pytest.raises(PredictionError, match=r"rows was answered by .*expected the index of one of its 3 options"):
        predict.answer("rows", wrong, "So it is.")
    assert len(shown) == 1


@pytest.mark.parametrize("options", [["one"], list("abcde"), ["a", "a"], "ab"])
def test_two_to_four_different_options(shown: list[Any], options: Any):
    with pytest.raises(PredictionError, match="expected two to four different options"):
        predict.choice("rows", "How many?", options)


@pytest.mark.parametrize("value", [12.34567, np.float32(12.34567), torch.tensor(12.34567)])
def test_slider(shown: list[Any], value: Any):
    predict.slider("keys", "How many keys?", 1, 64, "keys", log=True)
    predict.answer("keys", value, "So it is.")
    assert shown[1]["answer"] == pytest.approx(12.3457)


@pytest.mark.parametrize("value", [65, 0, float("nan"), [3], "3", True, torch.tensor(True)])
def test_number_off_the_slider_is_refused(shown: list[Any], value: Any):
    predict.slider("keys", "How many keys?", 1, 64)
    with pytest.raises(PredictionError, match="expected a number from 1 to 64"):
        predict.answer("keys", value, "So it is.")


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True)])
def test_slider_without_a_range_is_refused(shown: list[Any], low: float, high: float, log: bool):
    with pytest.raises(PredictionError, match="low < high"):
        predict.slider("keys", "How many keys?", low, high, log=log)


@pytest.mark.parametrize(
    ("given", "step"), [({}, 0.63), ({"step": 1}, 1), ({"log": True}, None), ({"log": True, "step": 1}, 1)]
)
def test_slider_with_a_logarithm_has_steps_only_where_they_are_given(
    shown: list[Any], given: dict[str, Any], step: float | None
):
    predict.slider("keys", "How many keys?", 1, 64, "keys", **given)
    assert shown[0]["step"] == step


def test_curve_is_sorted_and_drawn(shown: list[Any]):
    predict.curve("fall", "How does it fall?", x=("distance", 0, 2), y=("product", 0, 1))
    predict.answer("fall", (torch.tensor([2, 0, 1]), np.array([0.0, 1.0, 0.5])), "So it is.")
    assert shown[1]["answer"] == [[0, 1], [1, 0.5], [2, 0]]
    assert predictions.answer_html(shown[0], shown[1]).count("<polyline") == 2


@pytest.mark.parametrize("points", [([1, 2], [1]), ([1], [1]), ([0, 1], [0, float("nan")]), [1, 2, 3], 3])
def test_what_is_no_curve_is_refused(shown: list[Any], points: Any):
    predict.curve("fall", "How does it fall?", x=("distance", 0, 2), y=("product", 0, 1))
    with pytest.raises(PredictionError, match="fall was answered by"):
        predict.answer("fall", points, "So it is.")


def test_answer_needs_a_question_and_a_reason(shown: list[Any]):
    predict.slider("keys", "How many keys?", 1, 64)
    with pytest.raises(PredictionError, match="no prediction 'key' was asked; did you mean 'keys'"):
        predict.answer("key", 3, "So it is.")
    with pytest.raises(PredictionError, match="expected one sentence"):
        predict.answer("keys", 3, " ")


def test_nothing_that_is_said_runs(shown: list[Any]):
    predict.choice("rows", "<script>?", ["<b>", "d_k"])
    predict.answer("rows", 0, "<i>.")
    both = predictions.question_html(shown[0]) + predictions.answer_html(shown[0], shown[1])
    assert "<script" not in both and "<b>" not in both and "<i>" not in both and "d<sub>k</sub>" in both


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("√d_k and d_model", "√d<sub>k</sub> and d<sub>model</sub>"),
        ("M_{a+b} = M_a M_b", "M<sub>a+b</sub> = M<sub>a</sub> M<sub>b</sub>"),
        ("d^-½, 10_000 and show_source", "d<sup>-½</sup>, 10_000 and show_source"),
        ("2e-15, 1e-12, 1e3, 0e+00", "2·10<sup>−15</sup>, 10<sup>−12</sup>, 1,000, 0"),
        ("-0.5 to -2e-02, 4-6, `-1e9`", "−0.5 to −0.02, 4-6, <code>-1e9</code>"),
        ("`d_k` *it* a<b", "<code>d_k</code> <em>it</em> a&lt;b"),
    ],
)
def test_letters_with_an_index_are_typeset(text: str, expected: str):
    assert typeset(text) == expected
