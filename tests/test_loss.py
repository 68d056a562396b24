"""transformer.loss: the fused loss is the ordinary one, in value and gradient, however it is cut up."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from transformer import loss
from transformer.loss import smoothed_cross_entropy

N, D, V = 13, 6, 11


@pytest.fixture(params=[1, 5 * V, 2**20], ids=["row by row", "five rows", "all rows"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the logits into pieces of different sizes; 13 rows are not a multiple of five."""
    monkeypatch.setitem(loss.LOGITS_AT_ONCE, "cpu", request.param)


def problem(seed: int, dtype: torch.dtype = torch.float64, n: int = N) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors (n, D), an output matrix (V, D) and targets (n,), in which some token comes twice."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, D, generator=generator, dtype=dtype).requires_grad_()
    matrix = torch.randn(V, D, generator=generator, dtype=dtype).requires_grad_()
    return hidden, matrix, torch.randint(V, (n,), generator=generator)


def ordinary(hidden: Tensor, matrix: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    return F.cross_entropy(hidden @ matrix.T, targets, label_smoothing=epsilon, reduction="sum")


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_equals_cross_entropy_in_value_and_gradient(seed: int, epsilon: float):
    hidden, matrix, targets = problem(seed)
    got, expected = (f(hidden, matrix, targets, epsilon) for f in (smoothed_cross_entropy, ordinary))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-11)
    for factor in (1.0, 0.3):  # the loss is scaled before it is differentiated
        gradients = [torch.autograd.grad(factor * f, (hidden, matrix), retain_graph=True) for f in (got, expected)]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)


@pytest.mark.usefixtures("pieces")
def test_gradients_are_those_of_finite_differences():
    hidden, matrix, targets = problem(0)
    assert torch.autograd.gradcheck(lambda h, m: smoothed_cross_entropy(h, m, targets, 0.1), (hidden, matrix))


def test_without_gradients_it_is_only_a_number():
    hidden, matrix, targets = problem(0)
    with torch.no_grad():
        got = smoothed_cross_entropy(hidden, matrix, targets, 0.1)
    assert not got.requires_grad
    torch.testing.assert_close(got, ordinary(hidden, matrix, targets, 0.1).detach(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("trained", [0, 1], ids=["hidden", "matrix"])
def test_only_what_is_trained_gets_a_gradient(trained: int):
    hidden, matrix, targets = problem(0)
    both = [tensor if i == trained else tensor.detach() for i, tensor in enumerate((hidden, matrix))]
    smoothed_cross_entropy(*both, targets, 0.1).backward()
    (expected,) = torch.autograd.grad(ordinary(*both, targets, 0.1), both[trained])
    torch.testing.assert_close(both[trained].grad, expected, rtol=0, atol=1e-11)
    assert both[1 - trained].grad is None


class Products(TorchDispatchMode):
    """Counts the products of matrices that are computed while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.count += function is torch.ops.aten.mm.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("hidden_is_trained", "matrix_is_trained", "expected"), [(0, 0, 1), (1, 0, 2), (0, 1, 2), (1, 1, 3)]
)
def test_gradients_that_nobody_asked_for_are_not_computed(
    hidden_is_trained: bool, matrix_is_trained: bool, expected: int
):
    hidden, matrix, targets = problem(0)
    hidden.requires_grad_(bool(hidden_is_trained))
    matrix.requires_grad_(bool(matrix_is_trained))
    for grad, products in ((True, expected), (False, 1)):
        with torch.set_grad_enabled(grad), Products() as counter:
            smoothed_cross_entropy(hidden, matrix, targets, 0.1)
        assert counter.count == products


@pytest.mark.parametrize(("n", "width"), [(2, 5), (5, 5), (4, 6)], ids=["too few", "too many", "too wide"])
def test_each_row_needs_its_target(n: int, width: int):
    hidden, matrix, targets = torch.randn(4, 5), torch.randn(7, width), torch.zeros(n, dtype=torch.long)
    with pytest.raises(ValueError, match=rf"got hidden \(4, 5\), matrix \(7, {width}\) and targets \({n},\), expected"):
        smoothed_cross_entropy(hidden, matrix, targets)


@pytest.mark.parametrize("smoothing", [1.5, -0.1, math.nan])
def test_smoothing_is_a_share(smoothing: float):
    with pytest.raises(ValueError, match=f"label_smoothing is {smoothing}, expected a share from 0 to 1"):
        smoothed_cross_entropy(torch.zeros(2, 4), torch.zeros(5, 4), torch.tensor([1, 2]), smoothing)


@pytest.mark.parametrize("wrong", [-100, -1, V])
def test_targets_outside_the_vocabulary_are_refused(wrong: int):
    hidden, matrix, targets = problem(0)
    targets[3] = wrong
    low, high = targets.min(), targets.max()
    with pytest.raises(IndexError, match=f"targets run from {low} to {high}, expected 0 to {V - 1}; leave padding out"):
        smoothed_cross_entropy(hidden, matrix, targets)


def test_nothing_to_predict_costs_nothing():
    hidden, matrix, targets = problem(0, n=0)
    got = smoothed_cross_entropy(hidden, matrix, targets, 0.1)
    got.backward()
    assert got == 0 and (matrix.grad == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_bfloat16_products_stay_near_the_exact_loss(seed: int):
    hidden, matrix, targets = problem(seed, torch.float32, n=200)
    with torch.autocast("cpu", torch.bfloat16):
        got = smoothed_cross_entropy(hidden, matrix, targets, 0.1)
    expected = ordinary(hidden, matrix, targets, 0.1)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=2e-3, atol=0)
    for ours, exact in zip(*(torch.autograd.grad(f, (hidden, matrix)) for f in (got, expected)), strict=True):
        assert ours.dtype == torch.float32
        assert (ours - exact).norm() < 0.01 * exact.norm()
