"""Right answers to every exercise in many styles, which grading must accept: loops, einsum, library calls, NumPy, ….

Two more are derived from the book's answer, by `derived`. The tests ask for six in all.
"""

import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import reduce
from itertools import accumulate, count, pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from transformer.tutor.exercises.exercise import Exercise, Function
from transformer.tutor.exercises.learner import exercises

BOOK = SimpleNamespace(**{name: one.reference for name, one in exercises().items()})
"""the book's answers by their names, for answers that are made of others"""

# Derived from the book's answer


def each_tensor(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A value with every tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: each_tensor(change, part) for key, part in value.items()}
    return type(value)(each_tensor(change, part) for part in value) if isinstance(value, tuple | list) else value


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a value."""
    if isinstance(value, Tensor):
        yield value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    for part in parts:
        yield from tensors(part)


def in_double(function: Function) -> Function:
    """A function that computes in float64 and gives back its inputs' dtype, or float32 if they have none."""

    def answer(*arguments: Any) -> Any:
        dtype = next((t.dtype for t in tensors(arguments) if t.is_floating_point()), torch.float32)
        torch.set_default_dtype(torch.float64)  # of what it makes itself; grading sets it back
        doubled = each_tensor(lambda t: t.double() if t.is_floating_point() else t, arguments)
        return each_tensor(lambda t: t.to(dtype) if t.is_floating_point() else t, function(*doubled))

    return answer


class InPlace(TorchFunctionMode):
    """Does each step of arithmetic in place, on a copy of what goes into it, and counts these steps."""

    STEPS = frozenset(
        ("add", "sub", "mul", "div", "pow", "exp", "sqrt", "sin", "cos", "log", "relu", "masked_fill", "tril")
    )

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def __torch_function__(self, function: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = {"__pow__": "pow", "true_divide": "div"}.get(function.__name__, function.__name__)
        if name in self.STEPS and isinstance(args[0], Tensor):
            with suppress(RuntimeError):  # what is smaller, or of another kind, than its result cannot hold it
                changed = getattr(args[0].clone(), f"{name}_")(*args[1:], **kwargs)
                self.steps += 1
                return changed
        return function(*args, **kwargs)


def in_place(function: Function) -> Function:
    """A function whose steps of arithmetic are done in place on copies."""

    def answer(*arguments: Any) -> Any:
        with InPlace():
            return function(*arguments)

    return answer


def derived(exercise: Exercise) -> dict[str, Function]:
    """The book's answer in float64 inside, and in place on copies, where that makes a difference."""
    case, found = exercise.cases()[-1], {}
    with InPlace() as mode:
        result = exercise.reference(*case)
    if any(t.is_floating_point() for t in tensors([*case, result])):
        found["float64 inside"] = in_double(exercise.reference)
    if mode.steps and any(True for _ in tensors([*case, result])):  # and not only in a model that is asked
        found["in place on copies"] = in_place(exercise.reference)
    return found


# Chapter 1


def one_hot_in_place(ids, table):
    rows = torch.zeros(*ids.shape, len(table), dtype=table.dtype)
    return rows.scatter_(-1, ids[..., None], 1) @ table


def neighbours_by_sorting(table, id, k):
    similarity = [float(row @ table[id] / row.norm() / table[id].norm()) for row in table]
    others = sorted((i for i in range(len(table)) if i != id), key=lambda i: -similarity[i])
    return torch.tensor(others[:k])


def neighbours_one_by_one(table, id, k):
    cosines, found = F.normalize(table) @ F.normalize(table)[id], []
    for _ in range(k):
        cosines[[id, *found]] = -2.0
        found.append(int(cosines.argmax()))
    return torch.tensor(found)


def neighbours_in_numpy(table, id, k):
    rows = table.numpy()
    cosines = rows @ rows[id] / np.linalg.norm(rows, axis=1)
    return torch.from_numpy(np.delete(np.argsort(-cosines), np.argsort(-cosines).tolist().index(id))[:k].copy())


def alike_by_loop(table, kinds):
    hits = 0
    for i, row in enumerate(table):
        cosines = [float(row @ other / row.norm() / other.norm()) for other in table]
        cosines[i] = -2.0
        hits += int(kinds[i] == kinds[cosines.index(max(cosines))])
    return hits / len(table)


def alike_in_numpy(table, kinds):
    unit = table.numpy() / np.linalg.norm(table.numpy(), axis=1, keepdims=True)
    nearest = np.argsort(unit @ unit.T - 3 * np.eye(len(unit)), axis=1)[:, -1]
    return np.mean(kinds.numpy() == kinds.numpy()[nearest])


def cut_by_replacing(word, merges):
    pieces = list(word)
    for one, other in merges:
        i = 0
        while i + 1 < len(pieces):
            if pieces[i] == one and pieces[i + 1] == other:
                pieces[i : i + 2] = [one + other]
            i += 1
    return pieces


def cut_by_recursion(word, merges):
    def fused(pieces, pair):
        if len(pieces) < 2:
            return pieces
        if tuple(pieces[:2]) == pair:
            return ["".join(pair), *fused(pieces[2:], pair)]
        return [pieces[0], *fused(pieces[1:], pair)]

    return reduce(fused, merges, list(word))


def cut_by_rank(word, merges):
    """As tokenizers do it: again and again the pair that was learned first, of those that are there."""
    pieces, ranks = list(word), {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
    while there := [pair for pair in pairwise(pieces) if pair in ranks]:
        best = min(there, key=ranks.get)
        i = list(pairwise(pieces)).index(best)
        pieces[i : i + 2] = ["".join(best)]
    return pieces


def cut_as_text(word, merges):
    import re

    text = " ".join(word)
    for pair in merges:
        text = re.sub(rf"(?<!\S){re.escape(' '.join(pair))}(?!\S)", "".join(pair), text)
    return text.split()


def cut_from_a_queue(word, merges):
    pieces = deque(word)
    for one, other in merges:
        for _ in range(len(pieces)):  # each goes round once, or goes with the one before it
            first = pieces.popleft()
            pieces.append(first)
        rest, pieces = pieces, deque()
        while rest:
            first = rest.popleft()
            pieces.append(first + rest.popleft() if first == one and rest and rest[0] == other else first)
    return list(pieces)


def cut_by_the_library(word, merges):
    from tokenizers import models

    pieces = dict.fromkeys([*word, *itertools.chain(*merges), *map("".join, merges)])
    known = {piece: i for i, piece in enumerate(pieces)}
    return [token.value for token in models.BPE(vocab=known, merges=merges).tokenize(word)]


def lookup_gradient_by_autograd(ids, upstream, V):
    table = torch.zeros(V, upstream.size(-1), dtype=upstream.dtype, requires_grad=True)
    return torch.autograd.grad(F.embedding(ids, table), table, upstream)[0]


def lookup_gradient_in_numpy(ids, upstream, V):
    gradient = np.zeros((V, upstream.size(1)), dtype=upstream.numpy().dtype)
    np.add.at(gradient, ids.numpy(), upstream.numpy())
    return torch.from_numpy(gradient)


RIGHT: dict[str, dict[str, Function]] = {
    "one_hot_lookup": {
        "indexing": lambda ids, table: table[ids],
        "library": lambda ids, table: F.embedding(ids, table),
        "einsum": lambda ids, table: torch.einsum("...v,vd->...d", F.one_hot(ids, len(table)).to(table), table),
        "comparison": lambda ids, table: (ids[..., None] == torch.arange(len(table))).to(table.dtype) @ table,
        "in place": one_hot_in_place,
        "loop": lambda ids, table: torch.stack([table[i] for i in ids.flatten().tolist()]).view(*ids.shape, -1),
        "rows of the identity": lambda ids, table: torch.eye(len(table), dtype=table.dtype)[ids].matmul(table),
    },
    "embed": {
        "library": lambda ids, table: F.embedding(ids, table) * table.size(-1) ** 0.5,
        "table scaled first": lambda ids, table: F.embedding(ids, table.clone().mul_(table.shape[1] ** 0.5)),
        "division": lambda ids, table: table[ids] / table.size(1) ** -0.5,
        "loop": lambda ids, table: torch.stack(
            [math.sqrt(table.size(1)) * table[i] for i in ids.flatten().tolist()]
        ).view(*ids.shape, -1),
        "one-hot": lambda ids, table: F.one_hot(ids, len(table)).to(table) @ (table * math.sqrt(table.size(1))),
        "NumPy": lambda ids, table: torch.from_numpy(
            np.take(table.numpy(), ids.numpy(), axis=0) * table.shape[1] ** 0.5
        ),
    },
    "cosine_neighbours": {
        "library": lambda table, id, k: (
            F.cosine_similarity(table, table[id], dim=-1).index_fill(0, torch.tensor(id), -2.0).topk(k).indices
        ),
        "all pairs": lambda table, id, k: (
            (F.normalize(table) @ F.normalize(table).mT).fill_diagonal_(-2.0)[id].sort(descending=True).indices[:k]
        ),
        "loop": neighbours_by_sorting,
        "best again and again": neighbours_one_by_one,
        "NumPy": neighbours_in_numpy,
        "einsum": lambda table, id, k: (
            (torch.einsum("vd,d->v", table, table[id]) / table.square().sum(-1).sqrt() / table[id].norm())
            .where(torch.arange(len(table)) != id, -2.0)
            .argsort(descending=True)[:k]
        ),
    },
    "share_alike": {
        "loop": alike_by_loop,
        "NumPy": alike_in_numpy,
        "library": lambda table, kinds: (
            (kinds[F.cosine_similarity(table[:, None], table, dim=-1).fill_diagonal_(-2).max(-1).indices] == kinds)
            .float()
            .mean()
            .item()
        ),
        "neighbours of 1.3": lambda table, kinds: (
            sum(int(kinds[BOOK.cosine_neighbours(table, i, 1)] == kinds[i]) for i in range(len(table))) / len(table)
        ),
        "einsum": lambda table, kinds: (
            torch.einsum(
                "v,v->",
                *2
                * [
                    (
                        kinds
                        == kinds[
                            torch.einsum("vd,wd->vw", F.normalize(table), F.normalize(table)).topk(2).indices[:, 1]
                        ]
                    ).double()
                ],
            )
            / len(kinds)
        ),
    },
    "cut_word": {
        "in place": cut_by_replacing,
        "recursion": cut_by_recursion,
        "ranks": cut_by_rank,
        "regular expressions": cut_as_text,
        "queue": cut_from_a_queue,
        "library": cut_by_the_library,
    },
    "lookup_gradient": {
        "in place": lambda ids, upstream, V: torch.zeros(V, upstream.size(1)).to(upstream).index_add_(0, ids, upstream),
        "one-hot": lambda ids, upstream, V: F.one_hot(ids, V).to(upstream).mT @ upstream,
        "einsum": lambda ids, upstream, V: torch.einsum("tv,td->vd", torch.eye(V).to(upstream)[ids], upstream),
        "autograd": lookup_gradient_by_autograd,
        "row by row": lambda ids, upstream, V: torch.stack([upstream[ids == i].sum(0) for i in range(V)]),
        "NumPy": lookup_gradient_in_numpy,
    },
}

# Chapter 2


def sinusoids_in_slices(n, d):
    angle = torch.arange(n, dtype=torch.float64)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
    table = torch.empty(n, d)
    table[:, 0::2], table[:, 1::2] = angle.sin(), angle.cos()
    return table


def sinusoids_by_loop(n, d):
    table = torch.zeros(n, d)
    for p in range(n):
        for i in range(0, d, 2):
            table[p, i] = math.sin(p / 10000 ** (i / d))
            table[p, i + 1] = math.cos(p / 10000 ** (i / d))
    return table


def sinusoids_in_numpy(n, d):
    angle = np.arange(n)[:, None] * np.exp(-np.arange(0, d, 2) * np.log(10000.0) / d)
    return torch.from_numpy(np.stack([np.sin(angle), np.cos(angle)], -1).reshape(n, d)).float()


def sinusoids_as_turns(n, d):
    angle = torch.outer(torch.arange(n), torch.logspace(0, -(d - 2) * 4 / d, d // 2))
    turns = torch.polar(torch.ones_like(angle), angle)  # cos + i sin
    return torch.view_as_real(turns).flip(-1).flatten(1)


def shift_in_place(k, d):
    M = torch.zeros(d, d)
    for i in range(0, d, 2):
        a = k / 10000 ** (i / d)
        M[i : i + 2, i : i + 2] = torch.tensor([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
    return M


def shift_by_exponential(k, d):
    rates = 10000.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    turning = torch.zeros(d, d, dtype=torch.float64)
    turning[torch.arange(0, d, 2), torch.arange(1, d, 2)] = rates
    return torch.matrix_exp(k * (turning - turning.mT)).float()


def shift_by_kronecker(k, d):
    angle = k * 10000.0 ** (-torch.arange(0, d, 2) / d)
    same, other = torch.eye(2), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    return torch.kron(angle.cos().diag(), same) + torch.kron(angle.sin().diag(), other)


RIGHT |= {
    "my_sinusoids": {
        "slices, rounded once": sinusoids_in_slices,
        "loop": sinusoids_by_loop,
        "NumPy": sinusoids_in_numpy,
        "complex numbers": sinusoids_as_turns,
        "einsum": lambda n, d: torch.stack(
            [
                f(torch.einsum("p,i->pi", torch.arange(n).float(), 1e4 ** (-torch.arange(0, d, 2) / d)))
                for f in (torch.sin, torch.cos)
            ],
            2,
        ).reshape(n, d),
        "cosines as sines": lambda n, d: (
            torch.arange(n)[:, None] / 10000 ** (torch.arange(d) // 2 * 2 / d) + torch.arange(d) % 2 * math.pi / 2
        ).sin(),
    },
    "shift_matrix": {
        "blocks": lambda k, d: torch.block_diag(
            *[
                torch.tensor([[a.cos(), a.sin()], [-a.sin(), a.cos()]])
                for a in (k / 10000 ** torch.tensor(2 * i / d) for i in range(d // 2))
            ]
        ),
        "loop, in place": shift_in_place,
        "exponential of a matrix": shift_by_exponential,
        "Kronecker products": shift_by_kronecker,
        "diagonals": lambda k, d: sum(
            torch.diag_embed(part, offset)
            for a in [k / 10000 ** (torch.arange(0, d, 2) / d)]
            for part, offset in (
                (a.cos().repeat_interleave(2), 0),
                (torch.stack([a.sin(), 0 * a], -1).flatten()[:-1], 1),
                (-torch.stack([a.sin(), 0 * a], -1).flatten()[:-1], -1),
            )
        ),
    },
    "position_dot": {
        "two rows of the table": lambda k, d: float(
            BOOK.my_sinusoids(abs(k) + 1, d)[0] @ BOOK.my_sinusoids(abs(k) + 1, d)[abs(k)]
        ),
        "loop, as a tensor": lambda k, d: sum(torch.cos(torch.tensor(k / 10000 ** (2 * i / d))) for i in range(d // 2)),
        "loop": lambda k, d: sum(math.cos(k / 10000 ** (2 * i / d)) for i in range(d // 2)),
        "NumPy": lambda k, d: np.cos(k / 10000 ** (np.arange(0, d, 2) / d)).sum(),
        "trace of the shift": lambda k, d: BOOK.shift_matrix(k, d).trace() / 2,
        "real part": lambda k, d: torch.exp(1j * k * 10000.0 ** (-torch.arange(0, d, 2) / d)).sum().real,
    },
    "add_positions": {
        "axis named": lambda x, pe: x + pe[None, : x.shape[1], :],
        "in place on a copy": lambda x, pe: x.clone().add_(pe.narrow(0, 0, x.size(1))),
        "loop over words": lambda x, pe: torch.stack([x[:, t] + pe[t] for t in range(x.size(1))], 1),
        "loop over sentences": lambda x, pe: torch.stack([s + pe[: len(s)] for s in x]),
        "expanded": lambda x, pe: torch.add(x, pe[: x.size(1)].expand_as(x)),
        "lookup": lambda x, pe: x + F.embedding(torch.arange(x.size(1)), pe).unsqueeze(0),
        "NumPy": lambda x, pe: torch.from_numpy(x.numpy() + pe.numpy()[: x.shape[1]]),
    },
}

# Chapter 3


def softmax_by_loop(x, dim):
    rows = x.movedim(dim, -1)
    result = torch.empty_like(rows)
    for place in np.ndindex(*rows.shape[:-1]):
        powers = [math.exp(value - rows[place].max()) for value in rows[place].tolist()]
        for i, power in enumerate(powers):
            result[place][i] = power / sum(powers)
    return result.movedim(-1, dim)


def softmax_in_numpy(x, dim):
    e = np.exp(x.numpy() - x.numpy().max(dim, keepdims=True))
    return torch.from_numpy(e / e.sum(dim, keepdims=True))


def weights_by_loop(q, k):
    if q.dim() > 2:
        return torch.stack([weights_by_loop(*pair) for pair in zip(q, k, strict=True)])
    return torch.stack([torch.stack([row @ key / len(row) ** 0.5 for key in k]).softmax(0) for row in q])


def mix_by_loop(w, v):
    mixed = torch.zeros(*w.shape[:-1], v.size(-1), dtype=v.dtype)
    for s in range(v.size(-2)):
        mixed += w[..., s, None] * v[..., s, None, :]
    return mixed


def jacobian_by_loop(p):
    n = len(p)
    return torch.stack([torch.stack([p[i] * (float(i == j) - p[j]) for j in range(n)]) for i in range(n)])


def temperature_in_place(logits, T):
    e = logits.clone().div_(T)
    e.sub_(e.amax(-1, keepdim=True)).exp_()
    return e.div_(e.sum(-1, keepdim=True))


def gap_in_numpy(f, x, perm):
    first, second = f(x[perm]).numpy(), f(x).numpy()[perm.numpy()]
    return np.abs(first - second).max()


RIGHT |= {
    "softmax": {
        "library": lambda x, dim: F.softmax(x, dim),
        "logarithm of the sum": lambda x, dim: (x - x.logsumexp(dim, keepdim=True)).exp(),
        "in place on a copy": lambda x, dim: x.clone().sub_(x.amax(dim, keepdim=True)).softmax(dim),
        "logarithm first": lambda x, dim: x.log_softmax(dim).exp(),
        "loop": softmax_by_loop,
        "NumPy": softmax_in_numpy,
    },
    "my_attention_weights": {
        "einsum": lambda q, k: torch.einsum("...tk,...sk->...ts", q, k).div(q.size(-1) ** 0.5).softmax(-1),
        "library": lambda q, k: F.scaled_dot_product_attention(
            q, k, torch.eye(k.size(-2)).to(q).expand(*k.shape[:-1], -1)
        ),
        "scale shared out": lambda q, k: F.softmax(
            (q / q.size(-1) ** 0.25) @ (k / k.size(-1) ** 0.25).transpose(-2, -1), -1
        ),
        "loop": weights_by_loop,
        "products added up": lambda q, k: F.softmax(
            (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1) * q.shape[-1] ** -0.5, dim=-1
        ),
    },
    "mix_values": {
        "einsum": lambda w, v: torch.einsum("...ts,...sv->...tv", w, v),
        "products added up": lambda w, v: (w[..., None] * v[..., None, :, :]).sum(-2),
        "loop, in place": mix_by_loop,
        "transposed": lambda w, v: (v.mT @ w.mT).mT,
        "NumPy": lambda w, v: torch.from_numpy(np.matmul(w.numpy(), v.numpy())),
    },
    "softmax_jacobian": {
        "autograd": lambda p: torch.autograd.functional.jacobian(lambda x: x.softmax(0), p.log()),
        "factored": lambda p: p[:, None] * (torch.eye(len(p)).to(p) - p),
        "loop": jacobian_by_loop,
        "einsum": lambda p: torch.diag_embed(p) - torch.einsum("i,j->ij", p, p),
        "functional": lambda p: torch.func.jacfwd(lambda x: x.softmax(0))(p.log()),
    },
    "score_scale": {
        "root of the variance": lambda d, std_q, std_k: (d * std_q**2 * std_k**2) ** 0.5,
        "variances added up": lambda d, std_q, std_k: sum((std_q * std_k) ** 2 for _ in range(d)) ** 0.5,
        "length of a vector": lambda d, std_q, std_k: math.hypot(*[std_q * std_k] * d),
        "NumPy": lambda d, std_q, std_k: np.linalg.norm(np.full(d, std_q * std_k)),
        "tensor": lambda d, std_q, std_k: torch.full((d,), std_q * std_k, dtype=torch.float64).norm(),
        "logarithms": lambda d, std_q, std_k: math.exp(math.log(d) / 2 + math.log(std_q) + math.log(std_k)),
    },
    "with_temperature": {
        "library": lambda logits, T: F.softmax(logits / T, dim=-1),
        "powers of probabilities": lambda logits, T: F.normalize(logits.softmax(-1) ** (1 / T), p=1, dim=-1),
        "in place on a copy": temperature_in_place,
        "loop": lambda logits, T: (
            torch.stack([(row / T).softmax(0) for row in logits.flatten(0, -2)]).view_as(logits)
            if logits.dim() > 1
            else (logits / T).softmax(0)
        ),
        "logarithm first": lambda logits, T: torch.exp(logits / T - torch.logsumexp(logits / T, -1, keepdim=True)),
    },
    "equivariance_gap": {
        "a tensor of one number": lambda f, x, perm: (f(x)[perm] - f(x[perm])).abs().amax(),
        "norm": lambda f, x, perm: torch.linalg.vector_norm(f(x[perm]) - f(x)[perm], ord=math.inf).item(),
        "loop": lambda f, x, perm: max(
            (a - b).abs().max().item() for a, b in zip(f(x[perm]), (f(x)[i] for i in perm), strict=True)
        ),
        "NumPy": gap_in_numpy,
        "matrix": lambda f, x, perm: float(
            (f(torch.eye(len(x)).to(x)[perm] @ x) - torch.eye(len(x)).to(x)[perm] @ f(x)).abs().max()
        ),
    },
}

# Chapter 4


def padding_by_loop(ids, pad):
    return torch.tensor([[[[token != pad for token in row]]] for row in ids.tolist()])


def causal_in_place(n):
    mask = torch.zeros(1, 1, n, n, dtype=torch.bool)
    for t in range(n):
        mask[..., t, : t + 1] = True
    return mask


def masked_by_loop(scores, mask):
    mask, weights = mask.expand_as(scores), torch.zeros_like(scores)
    for place in np.ndindex(*scores.shape[:-1]):
        seen = mask[place]
        weights[place][seen] = scores[place][seen].softmax(0)
    return weights


def masked_by_hand(scores, mask):
    top = scores.masked_fill(~mask, -math.inf).amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    e = (scores - top).masked_fill(~mask, -math.inf).exp()
    return e / e.sum(-1, keepdim=True).clamp_min(torch.finfo(e.dtype).tiny)


def added_mask(scores, mask):
    bias = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, torch.finfo(scores.dtype).min / 2)
    return (scores + bias).softmax(-1) * mask


def decoder_by_loop(ids, pad):
    n = ids.size(1)
    rows = [[[[s <= t and row[s] != pad for s in range(n)] for t in range(n)]] for row in ids.tolist()]
    return torch.tensor(rows)


RIGHT |= {
    "my_padding_mask": {
        "view": lambda ids, pad=0: ids.ne(pad).view(ids.size(0), 1, 1, -1),
        "not equal": lambda ids, pad=0: ~(ids == pad).unsqueeze(1).unsqueeze(1),
        "loop": lambda ids, pad=0: padding_by_loop(ids, pad),
        "einsum": lambda ids, pad=0: torch.einsum("bs->bs", (ids - pad).abs()).bool()[:, None, None],
        "in place": lambda ids, pad=0: (
            torch.ones(ids.shape, dtype=torch.bool).masked_fill_(ids == pad, False).reshape(len(ids), 1, 1, -1)
        ),
        "NumPy": lambda ids, pad=0: torch.from_numpy((ids.numpy() != pad)[:, np.newaxis, np.newaxis]),
    },
    "my_causal_mask": {
        "comparison": lambda n: (torch.arange(n)[:, None] >= torch.arange(n))[None, None],
        "no upper triangle": lambda n: ~torch.ones(1, 1, n, n, dtype=torch.bool).triu(1),
        "loop, in place": causal_in_place,
        "list": lambda n: torch.tensor([[[[s <= t for s in range(n)] for t in range(n)]]]),
        "running sum": lambda n: torch.eye(n).cumsum(0).bool()[None, None],
        "NumPy": lambda n: torch.from_numpy(np.tril(np.ones((1, 1, n, n), dtype=bool))),
        "library": lambda n: (torch.nn.Transformer.generate_square_subsequent_mask(n) == 0)[None, None],
    },
    "masked_softmax": {
        "where": lambda scores, mask: torch.where(mask, scores, -math.inf).softmax(-1).nan_to_num(0.0),
        "-1e9, then masked again": lambda scores, mask: torch.where(mask, scores, -1e9).softmax(-1) * mask,
        "loop": masked_by_loop,
        "by hand": masked_by_hand,
        "added mask": added_mask,
        "empty rows last": lambda scores, mask: torch.where(
            mask.any(-1, keepdim=True), scores.masked_fill(mask.logical_not(), -torch.inf).softmax(-1), 0.0
        ),
    },
    "decoder_mask": {
        "product": lambda ids, pad: BOOK.my_padding_mask(ids, pad) * BOOK.my_causal_mask(ids.size(1)),
        "sentence by sentence": lambda ids, pad: torch.stack(
            [(row != pad).expand(len(row), -1).tril()[None] for row in ids]
        ),
        "loop": decoder_by_loop,
        "einsum": lambda ids, pad: torch.einsum(
            "bs,ts->bts", (ids != pad).int(), torch.ones(ids.size(1), ids.size(1)).tril().int()
        ).bool()[:, None],
        "in place": lambda ids, pad: (
            BOOK.my_causal_mask(ids.size(1)).repeat(len(ids), 1, 1, 1).masked_fill_((ids == pad)[:, None, None], False)
        ),
        "neither": lambda ids, pad: (
            ~((ids == pad)[:, None, None, :] | (torch.arange(ids.size(1)) > torch.arange(ids.size(1))[:, None]))
        ),
    },
}

# Chapter 5


def split_by_loop(x, h):
    B, T, D = x.shape
    heads = torch.empty(B, h, T, D // h, dtype=x.dtype)
    for i in range(h):
        heads[:, i] = x[..., i * (D // h) : (i + 1) * (D // h)]
    return heads


def merge_by_loop(x):
    B, h, T, K = x.shape
    merged = torch.empty(B, T, h * K, dtype=x.dtype)
    for i in range(h):
        merged[:, :, i * K : (i + 1) * K] = x[:, i]
    return merged


def with_torch_s_attention(x, memory, W, h):
    q, k, v = (
        (s @ W[n]).view(*s.shape[:2], h, -1).transpose(1, 2) for s, n in ((x, "Q"), (memory, "K"), (memory, "V"))
    )
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape) @ W["O"]


def head_by_head(x, memory, W, h):
    size, outputs = x.size(-1) // h, []
    for i in range(h):
        part = slice(i * size, (i + 1) * size)
        q, k, v = x @ W["Q"][:, part], memory @ W["K"][:, part], memory @ W["V"][:, part]
        outputs.append((q @ k.mT / size**0.5).softmax(-1) @ v)
    return torch.cat(outputs, -1) @ W["O"]


def sum_of_heads(x, memory, W, h):
    """Each head with its own rows of the output matrix."""
    by_head = zip(*(W[name].chunk(h, 1) for name in "QKV"), W["O"].chunk(h, 0), strict=True)
    total = torch.zeros_like(x)
    for of_q, of_k, of_v, of_o in by_head:
        total += (x @ of_q @ (memory @ of_k).mT / of_q.size(1) ** 0.5).softmax(-1) @ (memory @ of_v @ of_o)
    return total


def heads_by_einsum(x, memory, W, h):
    Q, K, V = (W[name].unflatten(1, (h, -1)) for name in "QKV")
    q, k, v = (torch.einsum("btd,dhk->bhtk", s, M) for s, M in ((x, Q), (memory, K), (memory, V)))
    weights = torch.einsum("bhtk,bhsk->bhts", q, k).div(q.size(-1) ** 0.5).softmax(-1)
    return torch.einsum("bhts,bhsk,hkd->btd", weights, v, W["O"].unflatten(0, (h, -1)))


def torch_s_own_layer(x, memory, W, h):
    layer = torch.nn.MultiheadAttention(x.size(-1), h, bias=False, batch_first=True, dtype=x.dtype)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([W["Q"].mT, W["K"].mT, W["V"].mT]))
        layer.out_proj.weight.copy_(W["O"].mT)
        return layer(x, memory, memory)[0]


def shapes_as_found(B, T, S, d, h):
    x, memory = torch.empty(B, T, d, device="meta"), torch.empty(B, S, d, device="meta")
    q, k = (s.unflatten(-1, (h, -1)).transpose(1, 2) for s in (x, memory))
    return q.shape, k.shape, (q @ k.mT).shape, (q @ k.mT @ k).transpose(1, 2).flatten(2).shape


def shapes_in_steps(B, T, S, d, h):
    size = d // h
    q, k = (B, h, T, size), (B, h, S, size)
    return q, k, (*q[:-1], k[-2]), (B, T, h * size)


def parameters_by_loop(d, h, bias):
    total = 0
    for _ in ("Q", "K", "V"):
        for _ in range(h):
            total += d * (d // h)
            if bias:
                total += d // h
    return total + d * d + (d if bias else 0)


RIGHT |= {
    "my_split_heads": {
        "view and permute": lambda x, h: x.view(x.size(0), x.size(1), h, x.size(2) // h).permute(0, 2, 1, 3),
        "chunks": lambda x, h: torch.stack(x.chunk(h, -1), 1),
        "loop, in place": split_by_loop,
        "einsum": lambda x, h: torch.einsum("bthk->bhtk", x.reshape(*x.shape[:2], h, -1)),
        "windows": lambda x, h: x.unfold(2, x.size(2) // h, x.size(2) // h).swapaxes(1, 2),
        "NumPy": lambda x, h: torch.from_numpy(np.stack(np.split(x.numpy(), h, axis=-1), axis=1)),
    },
    "my_merge_heads": {
        "permute and reshape": lambda x: x.permute(0, 2, 1, 3).reshape(x.size(0), x.size(2), -1),
        "cat": lambda x: torch.cat(list(x.unbind(1)), -1),
        "loop, in place": merge_by_loop,
        "einsum": lambda x: torch.einsum("bhtk->bthk", x).flatten(-2),
        "contiguous view": lambda x: x.transpose(1, 2).contiguous().view(x.size(0), x.size(2), -1),
        "NumPy": lambda x: torch.from_numpy(np.concatenate(list(x.numpy().swapaxes(0, 1)), axis=-1)),
    },
    "multi_head": {
        "fused attention": with_torch_s_attention,
        "loop": head_by_head,
        "sum of heads, in place": sum_of_heads,
        "einsum": heads_by_einsum,
        "library": torch_s_own_layer,
    },
    "cross_shapes": {
        "lists": lambda B, T, S, d, h: [[B, h, T, d // h], [B, h, S, d // h], [B, h, T, S], [B, T, d]],
        "as found": shapes_as_found,
        "in steps": shapes_in_steps,
        "divmod": lambda B, T, S, d, h: tuple(
            (B, *rest) for rest in ((h, T, divmod(d, h)[0]), (h, S, divmod(d, h)[0]), (h, T, S), (T, d))
        ),
        "torch.Size": lambda B, T, S, d, h: (
            *(torch.Size([B, h, n, d // h]) for n in (T, S)),
            torch.Size([B, h, T, S]),
            torch.Size([B, T, d]),
        ),
        "a list of tuples": lambda B, T, S, d, h: [
            *((B, h, *rest) for rest in ((T, d // h), (S, d // h), (T, S))),
            (B, T, d),
        ],
    },
    "attention_parameters": {
        "library": lambda d, h, bias: sum(
            p.numel() for p in torch.nn.MultiheadAttention(d, h, bias=bias, device="meta").parameters()
        ),
        "loop": parameters_by_loop,
        "two cases": lambda d, h, bias: 4 * d**2 + 4 * d if bias else 4 * d**2,
        "a row more": lambda d, h, bias: 4 * d * (d + int(bias)),
        "head by head": lambda d, h, bias: h * (4 * d * (d // h)) + [0, 4 * d][bias],
        "linear layers": lambda d, h, bias: sum(
            p.numel() for _ in range(4) for p in torch.nn.Linear(d, d, bias=bias, device="meta").parameters()
        ),
    },
}

# Chapter 6


def norm_by_loop(x, gain, bias, eps=1e-5):
    if x.dim() > 1:
        return torch.stack([norm_by_loop(row, gain, bias, eps) for row in x])
    mean = sum(x) / len(x)
    variance = sum((entry - mean) ** 2 for entry in x) / len(x)
    return torch.stack([g * (v - mean) / (variance + eps) ** 0.5 + b for v, g, b in zip(x, gain, bias, strict=True)])


def norm_in_place(x, gain, bias, eps=1e-5):
    y = x.clone()
    y -= y.mean(-1, keepdim=True)
    y /= (y.square().mean(-1, keepdim=True) + eps).sqrt()
    return y.mul_(gain).add_(bias)


def norm_by_einsum(x, gain, bias, eps=1e-5):
    centred = x - torch.einsum("...d->...", x)[..., None] / x.size(-1)
    variance = torch.einsum("...d,...d->...", centred, centred)[..., None] / x.size(-1)
    return torch.addcmul(bias, gain, centred * torch.rsqrt(variance + eps))


def batch_norm_with_counts(x, mask):
    weight = mask[..., None].to(x.dtype)
    n = weight.sum()
    mean = (x * weight).sum((0, 1)) / n
    variance = ((x - mean) ** 2 * weight).sum((0, 1)) / n
    return weight * (x - mean) * torch.rsqrt(variance + 1e-5)


def batch_norm_by_loop(x, mask):
    result = torch.zeros_like(x)
    for i in range(x.size(-1)):
        real = x[..., i][mask]
        result[..., i][mask] = (real - real.mean()) / (real.var(correction=0) + 1e-5) ** 0.5
    return result


def residual_in_steps(x, sublayer, norm, pre):
    if pre:
        return sublayer(norm(x)).add(x)
    return norm(sublayer(x).add(x))


def residual_in_place(x, sublayer, norm, pre):
    result = x.clone()
    result += sublayer(norm(x) if pre else x)
    return result if pre else norm(result)


def residual_composed(x, sublayer, norm, pre):
    before, behind = (norm, lambda y: y) if pre else (lambda y: y, norm)
    return behind(x + sublayer(before(x)))


def residual_as_a_module(x, sublayer, norm, pre):
    class Residual(torch.nn.Module):
        def forward(self, x):
            return x + sublayer(norm(x)) if pre else norm(x + sublayer(x))

    return Residual()(x)


def stack_by_recursion(x, sublayers, norm, pre):
    if not sublayers:
        return norm(x) if pre else x
    return stack_by_recursion(BOOK.residual(x, sublayers[0], norm, pre), sublayers[1:], norm, pre)


def stack_in_place(x, sublayers, norm, pre):
    stream = x.clone()
    for sublayer in sublayers:
        if pre:
            stream += sublayer(norm(stream))
        else:
            stream = norm(stream.add_(sublayer(stream.clone())))
    return norm(stream) if pre else stream


def stack_of_modules(x, sublayers, norm, pre):
    class Residual(torch.nn.Module):
        def __init__(self, sublayer):
            super().__init__()
            self.sublayer = sublayer

        def forward(self, x):
            return x + self.sublayer(norm(x)) if pre else norm(x + self.sublayer(x))

    layers = torch.nn.Sequential(*map(Residual, sublayers))
    return norm(layers(x)) if pre else layers(x)


def stack_two_ways(x, sublayers, norm, pre):
    if not pre:
        return reduce(lambda y, sublayer: norm(torch.add(sublayer(y), y)), sublayers, x)
    added = [x]  # the stream is the sum of all that was added
    for sublayer in sublayers:
        added.append(sublayer(norm(sum(added))))
    return norm(torch.stack(added).sum(0))


def difference_by_loop(x):
    if x.dim() > 2:
        return torch.stack([difference_by_loop(sentence) for sentence in x])
    mean = sum(x) / len(x)
    own = sum(((word - mean) ** 2).sum() for word in x)
    return (own / sum((word**2).sum() for word in x)) ** 0.5


def difference_in_place(x):
    own = x.clone()
    own -= own.mean(-2, keepdim=True)
    return own.norm(dim=(-2, -1)) / torch.linalg.matrix_norm(x)


def gradient_by_autograd(x, upstream, eps):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(F.layer_norm(leaf, leaf.shape[-1:], eps=eps), leaf, upstream)[0]


def gradient_by_jacobians(x, upstream, eps):
    """(I − 11ᵀ/D − yyᵀ/D)/s, a matrix for each vector."""
    rows, result = zip(x.flatten(0, -2), upstream.flatten(0, -2), strict=True) if x.dim() > 1 else [(x, upstream)], []
    for row, back in rows:
        D, s = len(row), (row.var(correction=0) + eps).sqrt()
        y = (row - row.mean()) / s
        result.append((torch.eye(D).to(x) - torch.ones(D, D).to(x) / D - y.outer(y) / D) / s @ back)
    return torch.stack(result).view_as(x)


def gradient_step_by_step(x, upstream, eps):
    """By the chain rule, backwards through each line of the norm."""
    D, centred = x.size(-1), x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    by_variance = (upstream * centred).sum(-1, keepdim=True) * -0.5 * (variance + eps) ** -1.5
    by_centred = upstream / (variance + eps).sqrt() + by_variance * 2 * centred / D
    return by_centred - by_centred.mean(-1, keepdim=True)


def gradient_in_place(x, upstream, eps):
    y = F.layer_norm(x, x.shape[-1:], eps=eps)
    gradient = upstream.clone()
    gradient -= upstream.mean(-1, keepdim=True)
    gradient -= y.mul((upstream * y).mean(-1, keepdim=True))
    return gradient.div_((x.var(-1, keepdim=True, unbiased=False) + eps).sqrt_())


RIGHT |= {
    "my_layer_norm": {
        "library": lambda x, gain, bias, eps=1e-5: F.layer_norm(x, x.shape[-1:], gain, bias, eps),
        "einsum": norm_by_einsum,
        "loop": norm_by_loop,
        "in place on a copy": norm_in_place,
        "mean of squares": lambda x, gain, bias, eps=1e-5: (
            gain
            * (x - x.mean(-1, keepdim=True))
            / ((x**2).mean(-1, keepdim=True) - x.mean(-1, keepdim=True) ** 2 + eps) ** 0.5
            + bias
        ),
    },
    "masked_batch_norm": {
        "library": lambda x, mask: torch.zeros_like(x).index_put(
            (mask,), F.batch_norm(x[mask], None, None, training=True, eps=1e-5)
        ),
        "filled at the end": lambda x, mask: (
            (x - x[mask].mean(0)) / (x[mask].var(0, correction=0) + 1e-5).sqrt()
        ).masked_fill(~mask[..., None], 0),
        "weights of 0 and 1": batch_norm_with_counts,
        "loop": batch_norm_by_loop,
        "where": lambda x, mask: torch.where(
            mask[..., None], (x - x[mask].mean(0)) / torch.sqrt(x[mask].var(0, unbiased=False) + 1e-5), 0.0
        ),
    },
    "residual": {
        "in steps": residual_in_steps,
        "in place on a copy": residual_in_place,
        "functional": residual_composed,
        "a module": residual_as_a_module,
        "word by word": lambda x, sublayer, norm, pre: torch.stack(
            [BOOK.residual(word, sublayer, norm, pre) for word in x]
        ),
    },
    "residual_stack": {
        "recursion": stack_by_recursion,
        "in place on a copy": stack_in_place,
        "modules": stack_of_modules,
        "functional": stack_two_ways,
        "of residuals": lambda x, sublayers, norm, pre: (norm if pre else torch.clone)(
            reduce(lambda y, sublayer: BOOK.residual(y, sublayer, norm, pre), sublayers, x)
        ),
    },
    "word_difference": {
        "loop": difference_by_loop,
        "in place on a copy": difference_in_place,
        "what is shared taken off": lambda x: (
            (1 - x.mean(-2).square().mean(-1) / x.square().mean((-2, -1))).clamp(min=0).sqrt()
        ),
        "einsum": lambda x: (
            torch.einsum("...td,...td->...", *2 * [x - x.mean(-2, keepdim=True)])
            / torch.einsum("...td,...td->...", x, x)
        ).sqrt(),
        "library": lambda x: (x.var(-2, unbiased=False).mean(-1) / x.pow(2).flatten(-2).mean(-1)).sqrt(),
    },
    "norm_gradient": {
        "autograd": gradient_by_autograd,
        "Jacobians": gradient_by_jacobians,
        "step by step": gradient_step_by_step,
        "in place on a copy": gradient_in_place,
        "functional": lambda x, upstream, eps: torch.func.vjp(lambda x: F.layer_norm(x, x.shape[-1:], eps=eps), x)[1](
            upstream
        )[0],
    },
}

# Chapter 7


def network_by_loop(x, W1, b1, W2, b2):
    if x.dim() > 1:
        return torch.stack([network_by_loop(row, W1, b1, W2, b2) for row in x])
    inner = [max(x @ W1[:, f] + b1[f], torch.zeros(()).to(x)) for f in range(len(b1))]
    return torch.stack(inner) @ W2 + b2


def network_in_place(x, W1, b1, W2, b2):
    inner = x @ W1
    inner += b1
    inner[inner < 0] = 0
    return (inner @ W2).add_(b2)


def encoder_in_steps(x, mask, attention, feed_forward, norm):
    attended = norm(attention(x, x, mask) + x)
    return norm(feed_forward(attended) + attended)


def encoder_in_place(x, mask, attention, feed_forward, norm):
    y = x.clone()
    y += attention(x, x, mask)
    y = norm(y)
    return norm(y.clone().add_(feed_forward(y)))


def encoder_by_loop(x, mask, attention, feed_forward, norm):
    for sublayer in (lambda y: attention(y, y, mask), feed_forward):
        x = norm(x + sublayer(x))
    return x


def encoder_of_residuals(x, mask, attention, feed_forward, norm):
    x = BOOK.residual(x, lambda y: attention(y, y, mask), norm, pre=False)
    return BOOK.residual(x, feed_forward, norm, pre=False)


def decoder_in_steps(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    own = norm(attention(x, x, self_mask) + x)
    read = norm(attention(own, memory, memory_mask) + own)
    return norm(feed_forward(read) + read)


def decoder_by_recursion(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    def after(n):
        if n == 0:
            return x
        y = after(n - 1)
        parts = (lambda: attention(y, y, self_mask), lambda: attention(y, memory, memory_mask), lambda: feed_forward(y))
        return norm(y + parts[n - 1]())

    return after(3)


def decoder_functional(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    sublayers = (lambda y: attention(y, y, self_mask), lambda y: attention(y, memory, memory_mask), feed_forward)
    return reduce(lambda y, sublayer: norm(torch.add(y, sublayer(y))), sublayers, x)


def decoder_on_top_of_an_encoder(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    crossing = lambda y: attention(y, memory, memory_mask)  # noqa: E731
    x = BOOK.encoder_layer(x, self_mask, attention, crossing, norm)  # its second sub-layer reads the memory
    return norm(x + feed_forward(x))


def parameters_counted(V, d, d_ff, L):
    """Those of a model of this package's shape, of PyTorch's layers, without memory for the numbers."""
    with torch.device("meta"):
        encoder = torch.nn.TransformerEncoderLayer(d, 1, d_ff)
        decoder = torch.nn.TransformerDecoderLayer(d, 1, d_ff)
    one = sum(p.numel() for layer in (encoder, decoder) for p in layer.parameters())
    return V * d + L * one


def parameters_of_layers(V, d, d_ff, L):
    attention, network, norm = BOOK.attention_parameters(d, 1, True), d_ff * (d + 1) + d * (d_ff + 1), d + d
    kinds = {"encoder": (1, 2), "decoder": (2, 3)}
    total = d * V
    for _ in range(L):
        for attentions, norms in kinds.values():
            total += attentions * attention + network + norms * norm
    return total


RIGHT |= {
    "feed_forward": {
        "library": lambda x, W1, b1, W2, b2: F.linear(F.relu(F.linear(x, W1.mT, b1)), W2.mT, b2),
        "einsum": lambda x, W1, b1, W2, b2: torch.einsum("...f,fd->...d", (x @ W1 + b1).clamp(min=0), W2) + b2,
        "loop": network_by_loop,
        "in place": network_in_place,
        "multiplied by what is positive": lambda x, W1, b1, W2, b2: (
            torch.matmul((x @ W1 + b1) * (x @ W1 + b1 > 0), W2) + b2
        ),
    },
    "encoder_layer": {
        "in steps": encoder_in_steps,
        "in place on a copy": encoder_in_place,
        "loop": encoder_by_loop,
        "of residuals": encoder_of_residuals,
        "one sentence at a time": lambda x, mask, *parts: torch.cat(
            [BOOK.encoder_layer(x[i : i + 1], mask[i : i + 1], *parts) for i in range(len(x))]
        ),
    },
    "decoder_layer": {
        "in steps": decoder_in_steps,
        "recursion": decoder_by_recursion,
        "functional": decoder_functional,
        "an encoder layer first": decoder_on_top_of_an_encoder,
        "one sentence at a time": lambda x, memory, own, read, *parts: torch.cat(
            [BOOK.decoder_layer(x[i : i + 1], memory[i : i + 1], own, read[i : i + 1], *parts) for i in range(len(x))]
        ),
    },
    "transformer_parameters": {
        "a formula": lambda V, d, d_ff, L: V * d + L * (12 * d * d + 4 * d * d_ff + 2 * d_ff + 24 * d),
        "library": parameters_counted,
        "loop": parameters_of_layers,
        "factored": lambda V, d, d_ff, L: d * (V + L * (12 * (d + 2) + 4 * d_ff)) + 2 * d_ff * L,
        "a list of shapes": lambda V, d, d_ff, L: sum(
            math.prod(shape)
            for shape in [
                (V, d),
                *L * [*12 * [(d, d)], *12 * [(d,)], *4 * [(d, d_ff)], *2 * [(d_ff,), (d,)], *10 * [(d,)]],
            ]
        ),
        "NumPy": lambda V, d, d_ff, L: int(
            np.dot([1, 12 * L, 12 * L, 4 * L, 2 * L, 12 * L], [V * d, d * d, d, d * d_ff, d_ff, d])
        ),
    },
    "tied_logits": {
        "library": lambda h, table: F.linear(h, table),
        "einsum": lambda h, table: torch.einsum("...d,vd->...v", h, table),
        "products added up": lambda h, table: (h.unsqueeze(-2) * table).sum(-1),
        "loop": lambda h, table: torch.stack([(h * row).sum(-1) for row in table], -1),
        "tensordot": lambda h, table: torch.tensordot(h, table, dims=([-1], [1])),
        "transposed": lambda h, table: (table @ h.mT).mT,
        "loop over sentences": lambda h, table: torch.stack([row @ table.mT for row in h]),
        "NumPy": lambda h, table: torch.from_numpy(h.numpy() @ table.numpy().T),
    },
}

# Chapter 8


def smooth_by_loop(y, V, epsilon, pad):
    rows = []
    for token in y.tolist():
        row = [0.0] * V if token == pad else [epsilon / V] * V
        if token != pad:
            row[token] += 1 - epsilon
        rows.append(row)
    return torch.tensor(rows)


def smooth_in_place(y, V, epsilon, pad):
    smoothed = torch.full((len(y), V), epsilon / V)
    smoothed[torch.arange(len(y)), y] += 1 - epsilon
    smoothed[y == pad] = 0
    return smoothed


def floor_by_training(V, epsilon):
    """The loss of PyTorch at the best logits: the logarithm of the target."""
    target = torch.full((V,), epsilon / V, dtype=torch.float64)
    target[0] += 1 - epsilon
    return F.cross_entropy(target.log()[None], torch.tensor([0]), label_smoothing=epsilon)


def floor_as_entropy(V, epsilon):
    p = torch.full((V,), epsilon / V, dtype=torch.float64)
    p[0] += 1 - epsilon
    return -(p * p.log()).sum()


def noam_in_branches(step, d, warmup):
    if step < warmup:
        return step / warmup**1.5 / math.sqrt(d)
    return 1 / math.sqrt(step * d)


def loss_by_loop(logits, y, pad):
    losses = []
    for row, token in zip(logits.flatten(0, 1), y.flatten().tolist(), strict=True):
        if token != pad:
            losses.append(torch.logsumexp(row, 0) - row[token])
    return sum(losses) / len(losses)


def loss_in_place(logits, y, pad):
    log_p = logits.clone().sub_(logits.logsumexp(-1, keepdim=True))
    losses = -log_p[F.one_hot(y, logits.size(-1)).bool()].view_as(y)
    return losses.masked_fill_(y == pad, 0).sum() / y.ne(pad).sum()


RIGHT |= {
    "shift": {
        "narrow": lambda y: (y.narrow(1, 0, y.size(1) - 1), y.narrow(1, 1, y.size(1) - 1)),
        "a list": lambda y: [y[..., :-1], y[..., 1:]],
        "loop": lambda y: (torch.stack([row[:-1] for row in y]), torch.stack([row[1:] for row in y])),
        "rolled and cut": lambda y: (y[:, : y.size(1) - 1], y.roll(-1, 1)[:, :-1]),
        "windows": lambda y: tuple(y.unfold(1, y.size(1) - 1, 1).unbind(1)),
        "lists": lambda y: tuple(
            torch.tensor(rows) for rows in zip(*((row[:-1], row[1:]) for row in y.tolist()), strict=True)
        ),
    },
    "smooth": {
        "where": lambda y, V, epsilon, pad: torch.where(
            (y != pad)[:, None], (1 - epsilon) * F.one_hot(y, V).float() + epsilon / V, torch.tensor(0.0)
        ),
        "scatter": lambda y, V, epsilon, pad: (
            torch.full((len(y), V), epsilon / V)
            .scatter_(1, y[:, None], 1 - epsilon + epsilon / V)
            .masked_fill((y == pad)[:, None], 0)
        ),
        "loop": smooth_by_loop,
        "in place": smooth_in_place,
        "interpolation": lambda y, V, epsilon, pad: (
            torch.lerp(torch.eye(V)[y], torch.full((V,), 1 / V), epsilon) * y.ne(pad).unsqueeze(1)
        ),
    },
    "loss_floor": {
        "entropy of a tensor": floor_as_entropy,
        "library": floor_by_training,
        "loop": lambda V, epsilon: sum(
            -p * math.log(p) for p in (epsilon / V + (1 - epsilon) * (i == 0) for i in range(V))
        ),
        "distribution": lambda V, epsilon: torch.distributions.Categorical(
            torch.full((V,), epsilon / V, dtype=torch.float64) + (torch.arange(V) == 0).double() * (1 - epsilon)
        ).entropy(),
        "NumPy": lambda V, epsilon: (
            -sum(n * p * np.log(p) for n, p in ((1, 1 - epsilon + epsilon / V), (V - 1, epsilon / V)))
        ),
        "one logarithm of a quotient": lambda V, epsilon: (
            (1 - epsilon + epsilon / V) * math.log(V / (V - V * epsilon + epsilon))
            + (V - 1) * epsilon / V * math.log(V / epsilon)
        ),
    },
    "my_noam": {
        "from the peak": lambda step, d, warmup: (
            (d * warmup) ** -0.5 * (step / warmup if step < warmup else (warmup / step) ** 0.5)
        ),
        "branches": noam_in_branches,
        "library": lambda step, d, warmup: (
            torch.minimum(torch.tensor(step).double() ** -0.5, torch.tensor(step).double() * warmup**-1.5).item()
            / math.sqrt(d)
        ),
        "NumPy": lambda step, d, warmup: np.min([step**-0.5, step * warmup**-1.5]) / np.sqrt(d),
        "larger divisor": lambda step, d, warmup: 1 / (d**0.5 * max(step**0.5, warmup**1.5 / step)),
        "logarithms": lambda step, d, warmup: math.exp(
            min(-math.log(step) / 2, math.log(step) - 1.5 * math.log(warmup)) - math.log(d) / 2
        ),
    },
    "token_loss": {
        "library": lambda logits, y, pad: F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=pad),
        "real ones chosen": lambda logits, y, pad: F.cross_entropy(logits.mT, y, reduction="none")[y != pad].mean(),
        "loop": loss_by_loop,
        "in place on a copy": loss_in_place,
        "einsum": lambda logits, y, pad: (
            -torch.einsum(
                "btv,btv,bt->", logits.log_softmax(-1), F.one_hot(y, logits.size(-1)).to(logits), (y != pad).to(logits)
            )
            / (y != pad).sum()
        ),
        "a plain number": lambda logits, y, pad: F.nll_loss(
            logits.log_softmax(-1).transpose(1, 2), y, ignore_index=pad
        ).item(),
    },
}

# Chapter 9


def greedy_with_tensors(step, bos, eos, max_len):
    tokens = torch.tensor([bos])
    for _ in range(max_len):
        token = step(tokens).argmax(keepdim=True)
        if token.item() == eos:
            break
        tokens = torch.cat([tokens, token])
    return tokens[1:].tolist()


def greedy_by_recursion(step, bos, eos, max_len):
    def behind(tokens):
        token = int(step(tokens).argmax())
        return [] if len(tokens) > max_len or token == eos else [token, *behind([*tokens, token])]

    return behind([bos])


def greedy_that_cuts(step, bos, eos, max_len):
    tokens = [bos]
    while tokens[-1] != eos and len(tokens) <= max_len:
        tokens += [step(tokens).topk(1).indices.item()]
    return [token for token in tokens if token not in (bos, eos)]


def greedy_by_sorting(step, bos, eos, max_len):
    written = []
    for _ in range(max_len):
        scores = step((bos, *written)).tolist()
        best = sorted(range(len(scores)), key=scores.__getitem__)[-1]
        if best == eos:
            return written
        written = [*written, best]
    return written


def greedy_with_iterators(step, bos, eos, max_len):
    def writing():
        tokens = [bos]
        while True:
            tokens.append(max(enumerate(step(tokens)), key=lambda pair: pair[1])[0])
            yield tokens[-1]

    return list(itertools.takewhile(lambda token: token != eos, itertools.islice(writing(), max_len)))


def greedy_in_numpy(step, bos, eos, max_len):
    tokens = np.array([bos])
    while len(tokens) < max_len + 1 and (token := np.argmax(step(tokens).numpy())) != eos:
        tokens = np.append(tokens, token)
    return list(tokens[1:])


def cached_by_library(x, keys, values, W):
    keys, values = torch.vstack([keys, x @ W["K"]]), torch.vstack([values, x @ W["V"]])
    return F.scaled_dot_product_attention((x @ W["Q"])[None, None], keys[None], values[None])[0, 0], keys, values


def cached_in_place(x, keys, values, W):
    longer = [table.new_empty(len(table) + 1, table.size(1)) for table in (keys, values)]
    for table, old, name in zip(longer, (keys, values), "KV", strict=True):
        table[:-1], table[-1] = old, x @ W[name]
    scores = longer[0] @ (x @ W["Q"])
    scores /= W["Q"].size(1) ** 0.5
    return scores.softmax(0) @ longer[1], *longer


def cached_by_einsum(x, keys, values, W):
    q, k, v = (torch.einsum("d,dk->k", x, W[name]) for name in "QKV")
    keys, values = torch.cat([keys, k.expand(1, -1)]), torch.cat([values, v.expand(1, -1)])
    weights = (torch.einsum("k,nk->n", q, keys) / q.numel() ** 0.5).softmax(-1)
    return torch.einsum("n,nv->v", weights, values), keys, values


def cached_by_loop(x, keys, values, W):
    keys, values = [*keys, x @ W["K"]], [*values, x @ W["V"]]
    powers = [math.exp(k.dot(x @ W["Q"]) / len(k) ** 0.5) for k in keys]
    output = sum(power * v for power, v in zip(powers, values, strict=True)) / sum(powers)
    return output, torch.stack(keys), torch.stack(values)


def beam_with_counter(step, bos, eos, k, max_len):
    order = count()  # settles ties without comparing tokens
    beam, finished = [(0.0, next(order), [bos])], []
    for _ in range(max_len):
        found: list[Any] = []
        for total, _, tokens in beam:
            found += [(total + float(v), next(order), [*tokens, t]) for t, v in enumerate(step(tokens))]
        found.sort(key=lambda one: -one[0])
        beam = [one for one in found[:k] if one[2][-1] != eos]
        finished += [one for one in found[:k] if one[2][-1] == eos]
        if not beam:
            break
    tokens = max(finished or beam, key=lambda one: one[0])[2]
    return tokens[1:-1] if tokens[-1] == eos else tokens[1:]


def beam_with_tensors(step, bos, eos, k, max_len):
    totals, beam, finished = torch.zeros(1), [[bos]], []
    for _ in range(max_len):
        scores = totals[:, None] + torch.stack([step(tokens) for tokens in beam])  # (beam, V)
        best = scores.flatten().topk(min(k, scores.numel()))
        rows, columns = best.indices // scores.size(1), best.indices % scores.size(1)
        kept = [[*beam[r], c] for r, c in zip(rows.tolist(), columns.tolist(), strict=True)]
        is_open = columns != eos
        finished += [(t, h[:-1]) for t, h in zip(best.values.tolist(), kept, strict=True) if h[-1] == eos]
        totals, beam = best.values[is_open], [h for h in kept if h[-1] != eos]
        if not beam:
            break
    open_ones = list(zip(totals.tolist(), beam, strict=True))
    return max(finished or open_ones)[1][1:]


def beam_of_best_continuations(step, bos, eos, k, max_len):
    """Only the k best of each hypothesis can be among the k best of all."""
    beam, finished = {(bos,): 0.0}, {}
    for _ in range(max_len):
        found = {}
        for tokens, total in beam.items():
            for value, token in zip(*step(tokens).topk(k), strict=True):
                found[*tokens, int(token)] = total + value.item()
        kept = dict(sorted(found.items(), key=lambda one: one[1], reverse=True)[:k])
        finished |= {tokens: total for tokens, total in kept.items() if tokens[-1] == eos}
        beam = {tokens: total for tokens, total in kept.items() if tokens[-1] != eos}
    ended = finished or beam
    best = max(ended, key=ended.get)
    return list(best[1:-1] if best[-1] == eos else best[1:])


def beam_by_recursion(step, bos, eos, k, max_len):
    def search(beam, finished, left):
        if not beam or not left:
            return max(finished or beam)[1]
        found = [(s + v, [*t, i]) for s, t in beam for i, v in enumerate(step(t).tolist())]
        kept = sorted(found)[-k:]
        ended = [one for one in kept if one[1][-1] == eos]
        return search([one for one in kept if one not in ended], finished + ended, left - 1)

    return [token for token in search([(0.0, [bos])], [], max_len) if token not in (bos, eos)]


def beam_with_a_heap(step, bos, eos, k, max_len):
    import heapq

    beam, ended = [(0.0, (bos,))], []
    for _ in range(max_len):
        grown = ((s + float(v), (*t, i)) for s, t in beam for i, v in enumerate(step(t)))
        best = heapq.nlargest(k, grown)
        ended.extend(one for one in best if eos in one[1])
        beam = [one for one in best if eos not in one[1]]
    _, tokens = max(ended or beam)
    return [*tokens[1:]] if tokens[-1] != eos else [*tokens[1:-1]]


def beam_in_numpy(step, bos, eos, k, max_len):
    beam, totals, finished = [[bos]], np.zeros(1), []
    for _ in range(max_len):
        scores = totals[:, None] + np.array([step(tokens).numpy() for tokens in beam])
        rows, columns = np.unravel_index(np.argsort(-scores, axis=None)[:k], scores.shape)
        kept = [(scores[r, c], [*beam[r], int(c)]) for r, c in zip(rows, columns, strict=True)]
        finished += [one for one in kept if one[1][-1] == eos]
        beam = [tokens for _, tokens in kept if tokens[-1] != eos]
        totals = np.array([total for total, tokens in kept if tokens[-1] != eos])
        if not beam:
            break
    tokens = max(finished or zip(totals, beam, strict=True))[1]
    return [token for token in tokens[1:] if token != eos]


def top_p_by_loop(logits, p):
    held, keep = 0.0, []
    for token in logits.argsort(descending=True).tolist():
        if held >= p:
            break
        keep.append(token)
        held += float(logits.softmax(-1)[token])
    filtered = torch.full_like(logits, -math.inf)
    filtered[keep] = logits[keep]
    return filtered


def top_p_by_comparison(logits, p):
    """A token stays if all the likelier ones together hold less than p."""
    q = logits.softmax(-1)
    before = torch.where(q > q[:, None], q, 0.0).sum(-1)
    return torch.where(before < p, logits, -math.inf)


def top_p_scattered(logits, p):
    ranked, order = torch.sort(logits, descending=True)
    reached = ranked.softmax(-1).cumsum(-1)
    drop = F.pad(reached >= p, (1, -1))  # the one that crosses p stays
    return torch.empty_like(logits).scatter_(-1, order, ranked.masked_fill(drop, -math.inf))


def top_p_by_searchsorted(logits, p):
    ranked = logits.softmax(-1).sort(descending=True).values
    n = int(torch.searchsorted(ranked.cumsum(-1), p)) + 1
    least = ranked[min(n, len(ranked)) - 1]
    return logits.masked_fill(logits.softmax(-1) < least, -math.inf)


def top_p_from_the_least_likely_up(logits, p):
    ranked, order = torch.sort(logits)
    drop = ranked.softmax(-1).cumsum(-1) <= 1 - p
    return logits.masked_fill(drop.scatter(0, order, drop), -math.inf)


def top_p_in_numpy(logits, p):
    order = np.argsort(-logits.numpy())
    held = np.cumsum(logits.softmax(-1).numpy()[order])
    filtered = logits.numpy().copy()
    filtered[order[np.searchsorted(held, p) + 1 :]] = -np.inf
    return torch.from_numpy(filtered)


RIGHT |= {
    "my_greedy": {
        "tensors": greedy_with_tensors,
        "recursion": greedy_by_recursion,
        "marks taken out at the end": greedy_that_cuts,
        "sorting": greedy_by_sorting,
        "iterators": greedy_with_iterators,
        "NumPy": greedy_in_numpy,
    },
    "cached_attention": {
        "library": cached_by_library,
        "in place": cached_in_place,
        "einsum": cached_by_einsum,
        "loop": cached_by_loop,
    },
    "my_beam_search": {
        "counter": beam_with_counter,
        "tensors": beam_with_tensors,
        "k best of each": beam_of_best_continuations,
        "recursion": beam_by_recursion,
        "heap": beam_with_a_heap,
        "NumPy": beam_in_numpy,
    },
    "length_normalised": {
        "loop": lambda logp, n, alpha: torch.stack([s / ((5 + m) / 6) ** alpha for s, m in zip(logp, n, strict=True)]),
        "upside down": lambda logp, n, alpha: logp * (6 / (5 + n)) ** alpha,
        "in place on a copy": lambda logp, n, alpha: logp.clone().div_(n.clone().add_(5).div_(6).pow_(alpha)),
        "logarithms": lambda logp, n, alpha: logp * torch.exp(-alpha * ((5 + n) / 6).log()),
        "powers apart": lambda logp, n, alpha: logp * 6**alpha / (5 + n) ** alpha,
        "NumPy": lambda logp, n, alpha: torch.from_numpy(logp.numpy() / np.power((5 + n.numpy()) / 6, alpha)),
    },
    "top_p": {
        "loop": top_p_by_loop,
        "comparison of all pairs": top_p_by_comparison,
        "scattered back": top_p_scattered,
        "binary search": top_p_by_searchsorted,
        "least likely first, as in Hugging Face's": top_p_from_the_least_likely_up,
        "NumPy": top_p_in_numpy,
    },
}

# Chapter 10


def n_grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def precision_with_a_list(hyp, ref, n):
    left, found = n_grams(ref, n), 0
    for gram in n_grams(hyp, n):
        if gram in left:
            left.remove(gram)
            found += 1
    return found / len(n_grams(hyp, n))


def precision_with_a_dictionary(hyp, ref, n):
    left = {}
    for gram in zip(*(ref[i:] for i in range(n)), strict=False):
        left[gram] = left.get(gram, 0) + 1
    hits = []
    for gram in zip(*(hyp[i:] for i in range(n)), strict=False):
        hits.append(left.get(gram, 0) > 0)
        left[gram] = left.get(gram, 0) - 1
    return sum(hits) / len(hits)


def precision_by_subtraction(hyp, ref, n):
    ours, theirs = Counter(n_grams(hyp, n)), Counter(n_grams(ref, n))
    return 1 - sum((ours - theirs).values()) / sum(ours.values())


def precision_of_sorted_lists(hyp, ref, n):
    a, b = deque(sorted(n_grams(hyp, n))), deque(sorted(n_grams(ref, n)))
    total, found = len(a), 0
    while a and b:
        if a[0] == b[0]:
            found += 1
        smaller = min(a[0], b[0])
        if a[0] == smaller:
            a.popleft()
            b = deque(list(b)[1:]) if b[0] == smaller else b
        else:
            b.popleft()
    return found / total


def precision_with_tensors(hyp, ref, n):
    a, b = torch.tensor(hyp).unfold(0, n, 1), torch.tensor(ref).unfold(0, n, 1)
    earlier = (a[:, None] == a).all(-1).tril(-1).sum(-1)  # how often each stands further left
    return ((a[:, None] == b).all(-1).sum(-1) > earlier).double().mean()


def bleu_by_library(hyps, refs):
    from sacrebleu.metrics import BLEU

    texts = [[" ".join(map(str, words)) for words in side] for side in (hyps, refs)]
    return BLEU(tokenize="none", smooth_method="none", force=True).corpus_score(texts[0], [texts[1]]).score


def bleu_in_numpy(hyps, refs):
    hits = np.zeros((4, 2))
    for hyp, ref in zip(hyps, refs, strict=True):
        for n in range(1, 5):
            ours = Counter(n_grams(hyp, n))
            hits[n - 1] += (ours & Counter(n_grams(ref, n))).total(), ours.total()
    lengths = [sum(len(words) for words in side) for side in (hyps, refs)]
    return 100 * np.exp(np.log(hits[:, 0] / hits[:, 1]).mean()) * min(1, np.exp(1 - lengths[1] / lengths[0]))


def bleu_of_precisions(hyps, refs):
    """Each sentence's precision, weighed by its number of n-grams."""
    product = 1.0
    for n in range(1, 5):
        sizes = [len(hyp) - n + 1 for hyp in hyps]
        shares = [BOOK.clipped_precision(hyp, ref, n) for hyp, ref in zip(hyps, refs, strict=True)]
        product *= sum(size * share for size, share in zip(sizes, shares, strict=True)) / sum(sizes)
    h, r = (len([*itertools.chain(*side)]) for side in (hyps, refs))
    return 100 * product**0.25 * (math.exp(1 - r / h) if h < r else 1)


def bleu_with_a_geometric_mean(hyps, refs):
    from statistics import geometric_mean

    def precision(n):
        pairs = [(Counter(n_grams(h, n)), Counter(n_grams(r, n))) for h, r in zip(hyps, refs, strict=True)]
        return sum((a & b).total() for a, b in pairs) / sum(a.total() for a, _ in pairs)

    ratio = sum(map(len, refs)) / sum(map(len, hyps))
    return geometric_mean(map(precision, (1, 2, 3, 4))) * 100 * math.exp(-max(0, ratio - 1))


def bleu_with_tensors(hyps, refs):
    found = torch.tensor(
        [
            [[(Counter(n_grams(h, n)) & Counter(n_grams(r, n))).total(), len(h) + 1 - n] for n in range(1, 5)]
            for h, r in zip(hyps, refs, strict=True)
        ],
        dtype=torch.float64,
    ).sum(0)
    h, r = (sum(map(len, side)) for side in (hyps, refs))
    return 100 * (found[:, 0] / found[:, 1]).prod() ** 0.25 * torch.tensor(1 - r / h).clamp(max=0).exp()


def bleu_by_recursion(hyps, refs):
    def product(n):
        if n == 0:
            return 1.0
        total = sum(len(hyp) - n + 1 for hyp in hyps)
        extra = sum((Counter(n_grams(h, n)) - Counter(n_grams(r, n))).total() for h, r in zip(hyps, refs, strict=True))
        return (total - extra) / total * product(n - 1)

    h, r = sum(map(len, hyps)), sum(map(len, refs))
    return 100 * math.sqrt(math.sqrt(product(4))) * (1.0 if h >= r else math.e ** (1 - r / h))


def most_frequent(words):
    return Counter(pair for word in words for pair in pairwise(word)).most_common(1)[0][0]


def merged_in_place(words, new):
    words, best = [list(word) for word in words], most_frequent(words)
    for word in words:
        i = 0
        while i < len(word) - 1:
            if (word[i], word[i + 1]) == best:
                word[i : i + 2] = [new]
            i += 1
    return words


def merged_by_recursion(words, new):
    best = most_frequent(words)

    def merged(word):
        if len(word) < 2:
            return word
        return [new, *merged(word[2:])] if (word[0], word[1]) == best else [word[0], *merged(word[1:])]

    return [merged(list(word)) for word in words]


def merged_as_text(words, new):
    best = " ".join(f"<{i}>" for i in most_frequent(words))
    texts = (" ".join(f"<{i}>" for i in word).replace(best, f"<{new}>") for word in words)
    return [[int(piece[1:-1]) for piece in text.split()] for text in texts]


def merged_on_a_stack(words, new):
    counts = {}
    for word in words:
        for pair in pairwise(word):
            counts[pair] = counts.get(pair, 0) + 1
    [best] = [pair for pair, n in counts.items() if n == max(counts.values())]
    merged = []
    for word in words:
        stack = []
        for piece in word:
            if stack and (stack[-1], piece) == best:
                stack[-1] = new
            else:
                stack.append(piece)
        merged.append(stack)
    return merged


def merged_from_a_queue(words, new):
    best, merged = most_frequent(words), []
    for word in map(deque, words):
        out = []
        while word:
            first = word.popleft()
            if word and (first, word[0]) == best:
                word.popleft()
                first = new
            out += [first]
        merged += [out]
    return merged


def merged_where_it_begins(words, new):
    best, merged = most_frequent(words), []
    for word in words:
        begins, last = set(), -2
        for i, pair in enumerate(pairwise(word)):
            if pair == best and i > last + 1:
                begins.add(i)
                last = i
        merged.append([new if i in begins else piece for i, piece in enumerate(word) if i - 1 not in begins])
    return merged


def averaged_in_place(checkpoints, x):
    mean = {name: matrix.clone() for name, matrix in checkpoints[0].items()}
    for checkpoint in checkpoints[1:]:
        for name in mean:
            mean[name] += checkpoint[name]
    return (x @ mean["A"].div_(len(checkpoints))).relu_() @ mean["B"].div_(len(checkpoints))


def averaged_as_it_comes(checkpoints, x):
    A, B = torch.zeros_like(checkpoints[0]["A"]), torch.zeros_like(checkpoints[0]["B"])
    for n, checkpoint in enumerate(checkpoints, 1):
        A, B = A + (checkpoint["A"] - A) / n, B + (checkpoint["B"] - B) / n
    return F.relu(x @ A) @ B


def averaged_by_library(checkpoints, x):
    mean = {name: sum(c[name] for c in checkpoints).div(len(checkpoints)) for name in checkpoints[0]}
    return F.linear(F.linear(x, mean["A"].T).clamp_min(0), mean["B"].T)


RIGHT |= {
    "clipped_precision": {
        "list": precision_with_a_list,
        "dictionary": precision_with_a_dictionary,
        "subtraction": precision_by_subtraction,
        "sorted lists": precision_of_sorted_lists,
        "tensors": precision_with_tensors,
        "set": lambda hyp, ref, n: (
            sum(min(n_grams(hyp, n).count(gram), n_grams(ref, n).count(gram)) for gram in set(n_grams(hyp, n)))
            / len(n_grams(hyp, n))
        ),
    },
    "my_bleu": {
        "library": bleu_by_library,
        "NumPy": bleu_in_numpy,
        "of precisions": bleu_of_precisions,
        "geometric mean": bleu_with_a_geometric_mean,
        "tensors": bleu_with_tensors,
        "recursion": bleu_by_recursion,
    },
    "merge_step": {
        "in place on copies": merged_in_place,
        "recursion": merged_by_recursion,
        "text": merged_as_text,
        "stack": merged_on_a_stack,
        "queue": merged_from_a_queue,
        "places first": merged_where_it_begins,
    },
    "average_weights": {
        "sum and division": lambda checkpoints, x: (
            (x @ (sum(c["A"] for c in checkpoints) / len(checkpoints))).relu()
            @ (sum(c["B"] for c in checkpoints) / len(checkpoints))
        ),
        "in place on copies": averaged_in_place,
        "as it comes": averaged_as_it_comes,
        "library": averaged_by_library,
        "einsum": lambda checkpoints, x: (
            torch.einsum("td,ndf->tf", x, torch.stack([c["A"] for c in checkpoints]) / len(checkpoints)).clamp(min=0)
            @ torch.stack([c["B"] for c in checkpoints]).mean(0)
        ),
    },
}

# Chapter 11


def offset_in_place(weights, offset):
    n, total = weights.size(-1), torch.zeros(len(weights), dtype=weights.dtype)
    queries = range(max(0, -offset), min(n, n - offset))
    for i in queries:
        total += weights[:, i, i + offset]
    return total / len(queries)


def without_by_zeroed_rows(found, W_O, h, head):
    size, rows = len(W_O) // h, W_O.clone()
    rows[head * size : (head + 1) * size] = 0
    return found @ rows


def without_by_deleting(found, W_O, h, head):
    kept = torch.arange(len(W_O)) // (len(W_O) // h) != head
    return found[..., kept] @ W_O[kept]


def rollout_by_loop(weights):
    n, result = weights.size(-1), torch.eye(weights.size(-1)).to(weights)
    for layer in weights:
        mixed = torch.zeros(n, n, dtype=weights.dtype)
        for i in range(n):
            for j in range(n):
                mixed[i] += (layer[:, i, j].mean() + (i == j)) / 2 * result[j]
        result = mixed
    return result


def rollout_by_library(weights):
    halves = [(layer.mean(0) + torch.eye(layer.size(-1)).to(layer)) / 2 for layer in weights.flip(0)]
    return torch.linalg.multi_dot(halves) if len(halves) > 1 else halves[0]


def rollout_by_recursion(weights):
    if len(weights) == 0:
        return torch.eye(weights.size(-1), dtype=weights.dtype)
    below = rollout_by_recursion(weights[:-1])
    return torch.lerp(below, weights[-1].mean(0) @ below, 0.5)


RIGHT |= {
    "score_at_links": {
        "loop": lambda weights, links: torch.stack(
            [sum(head[q, k] for q, k in links) / len(links) for head in weights]
        ),
        "gathered": lambda weights, links: weights.flatten(1)[:, [q * weights.size(-1) + k for q, k in links]].mean(1),
        "columns": lambda weights, links: weights[:, [q for q, _ in links], [k for _, k in links]].mean(dim=-1),
        "einsum": lambda weights, links: (
            torch.einsum(
                "hts,nt,ns->h",
                weights,
                *(F.one_hot(c, n).to(weights) for c, n in zip(torch.tensor(links).mT, weights.shape[1:], strict=True)),
            )
            / len(links)
        ),
        "counts": lambda weights, links: (
            (
                weights
                * torch.zeros(weights.shape[1:], dtype=weights.dtype).index_put_(
                    tuple(torch.tensor(links).mT), torch.ones(len(links), dtype=weights.dtype), accumulate=True
                )
            ).sum((1, 2))
            / len(links)
        ),
        "NumPy": lambda weights, links: torch.from_numpy(weights.numpy()[:, *np.array(links).T].mean(-1)),
    },
    "offset_score": {
        "loop": lambda weights, offset: torch.stack(
            [weights[:, i, i + offset] for i in range(weights.size(-1)) if 0 <= i + offset < weights.size(-1)]
        ).mean(0),
        "in place": offset_in_place,
        "library": lambda weights, offset: torch.stack([torch.diagonal(w, offset).mean() for w in weights]),
        "comparison": lambda weights, offset: weights[
            :, torch.arange(weights.size(1)) - torch.arange(weights.size(1))[:, None] == offset
        ].mean(1),
        "einsum": lambda weights, offset: (
            torch.einsum(
                "hts,ts->h",
                weights,
                torch.ones(weights.size(1)).to(weights)[: weights.size(1) - abs(offset)].diag(offset),
            )
            / (weights.size(1) - abs(offset))
        ),
        "NumPy": lambda weights, offset: torch.from_numpy(weights.numpy().diagonal(offset, 1, 2).mean(-1)),
    },
    "without_head": {
        "loop": lambda found, W_O, h, head: sum(
            part @ rows
            for i, (part, rows) in enumerate(zip(found.chunk(h, -1), W_O.chunk(h, 0), strict=True))
            if i != head
        ),
        "rows of W_O set to 0": without_by_zeroed_rows,
        "left out": without_by_deleting,
        "einsum": lambda found, W_O, h, head: torch.einsum(
            "bthk,hkd,h->btd",
            found.unflatten(-1, (h, -1)),
            W_O.unflatten(0, (h, -1)),
            (torch.arange(h) != head).to(found),
        ),
        "what it adds is subtracted": lambda found, W_O, h, head: (
            found @ W_O - found.chunk(h, -1)[head] @ W_O.chunk(h, 0)[head]
        ),
    },
    "rollout": {
        "library": rollout_by_library,
        "loop, in place": rollout_by_loop,
        "recursion": rollout_by_recursion,
        "einsum": lambda weights: reduce(
            lambda below, layer: (torch.einsum("hts,su->tu", layer, below) / len(layer) + below) / 2,
            weights,
            torch.eye(weights.size(-1), dtype=weights.dtype),
        ),
        "running products": lambda weights: [
            *accumulate((weights.mean(1) + torch.eye(weights.size(-1)).to(weights)) / 2, lambda below, one: one @ below)
        ][-1],
    },
}

# Chapter 12


def multiplications_counted(n, d, gates):
    """As shapes of products: (rows, inner, columns)."""
    attention = 4 * [(n, d, d)] + [(n, d, n), (n, n, d)]
    recurrence = [(1, d, d) for _ in range(n) for _ in range(gates) for _ in ("word", "state")]
    return tuple(sum(math.prod(product) for product in products) for products in (attention, recurrence))


def multiplications_by_loop(n, d, gates):
    attention = recurrence = 0
    for _ in range(n):
        attention += 4 * d * d
        for _ in range(n):
            attention += d + d
        recurrence += gates * (d * d + d * d)
    return attention, recurrence


def heard_by_loop(layers):
    heard = [{s for s, read in enumerate(row) if read} for row in layers[0].tolist()]
    for links in layers[1:].tolist():
        heard = [set().union(*(heard[s] for s, read in enumerate(row) if read)) for row in links]
    return torch.tensor([[s in of for s in range(len(heard))] for of in heard])


def heard_by_asking_back(layers):
    def has_heard(m, t, s):
        if m < 0:
            return t == s
        return any(has_heard(m - 1, between, s) for between in layers[m, t].nonzero().flatten().tolist())

    n = layers.size(-1)
    return torch.tensor([[has_heard(len(layers) - 1, t, s) for s in range(n)] for t in range(n)])


def heard_in_place(layers):
    reached = layers[0].clone()
    for links in layers[1:]:
        before = reached.clone()
        for t in range(len(links)):
            reached[t] = before[links[t]].any(0)
    return reached


def window_by_steps(n, r):
    mask = torch.zeros(n, n, dtype=torch.bool)
    for step in range(-(r // 2), r // 2 + 1):
        if abs(step) < n:
            mask.diagonal(step).fill_(True)
    return mask[None, None]


def reach_by_loop(weights, reach, ramp):
    kept = torch.zeros_like(weights)
    for t in range(weights.size(1)):
        for s in range(weights.size(2)):
            kept[:, t, s] = weights[:, t, s] * min(max((ramp + reach - abs(t - s)) / ramp, 0), 1)
        kept[:, t] /= kept[:, t].sum(-1, keepdim=True)
    return kept


def nearness(n, reach, ramp, dtype):
    rows = [[np.clip((ramp + reach - abs(t - s)) / ramp, 0, 1) for s in range(n)] for t in range(n)]
    return torch.tensor(rows, dtype=dtype)


def reach_in_place(weights, reach, ramp):
    kept = weights.clone()
    kept *= nearness(weights.size(-1), reach, ramp, weights.dtype)
    kept /= kept.sum(-1, keepdim=True)
    return kept


def reach_by_einsum(weights, reach, ramp):
    near = nearness(weights.size(-1), reach, ramp, weights.dtype)
    return weights * near / torch.einsum("bts,ts->bt", weights, near)[..., None]


RIGHT |= {
    "multiplications": {
        "factored": lambda n, d, gates: (2 * n * d * (2 * d + n), n * gates * (d * d + d * d)),
        "shapes": multiplications_counted,
        "loop": multiplications_by_loop,
        "polynomials": lambda n, d, gates: (
            int(np.polyval([2 * d, 4 * d * d, 0], n)),
            int(np.polyval([2 * gates * n, 0, 0], d)),
        ),
        "a list": lambda n, d, gates: [n * d * (4 * d + 2 * n), 2 * n * d**2 * gates],
        "NumPy": lambda n, d, gates: tuple(np.array([4 * d + 2 * n, 2 * gates * d]) * n * d),
    },
    "who_heard": {
        "library": lambda layers: (
            torch.linalg.multi_dot([*layers.double().flip(0)]) > 0 if len(layers) > 1 else layers[0]
        ),
        "sets": heard_by_loop,
        "recursion": heard_by_asking_back,
        "in place on a copy": heard_in_place,
        "einsum": lambda layers: reduce(
            lambda below, links: torch.einsum("tb,bs->ts", links.int(), below.int()).bool(), layers
        ),
        "any of": lambda layers: reduce(lambda below, links: (links[:, :, None] & below).any(1), layers),
        "NumPy": lambda layers: torch.from_numpy(reduce(lambda below, links: links @ below, layers.numpy())),
    },
    "my_window_mask": {
        "triangles": lambda n, r: torch.ones(1, 1, n, n, dtype=torch.bool).tril(r // 2).triu(-(r // 2)),
        "loop": lambda n, r: torch.tensor([[[[abs(t - s) <= r // 2 for s in range(n)] for t in range(n)]]]),
        "diagonals, in place": window_by_steps,
        "twice the distance": lambda n, r: (2 * torch.cdist(*2 * [torch.arange(n).double()[:, None]]) < r)[None, None],
        "two comparisons": lambda n, r: (
            (torch.arange(n) >= torch.arange(n)[:, None] - r // 2)
            & (torch.arange(n) <= torch.arange(n)[:, None] + r // 2)
        ).view(1, 1, n, n),
        "NumPy": lambda n, r: torch.from_numpy(np.abs(np.subtract.outer(range(n), range(n))) <= r // 2)[None, None],
    },
    "within_reach": {
        "library": lambda weights, reach, ramp: F.normalize(
            weights * nearness(weights.size(-1), reach, ramp, weights.dtype), p=1, dim=-1
        ),
        "loop": reach_by_loop,
        "in place on a copy": reach_in_place,
        "einsum": reach_by_einsum,
    },
}

# Chapter 13


def spans_by_search(symbols):
    found = []
    for end, symbol in enumerate(symbols):
        if symbol == -1:
            depth, begin = 1, end
            while depth:
                begin -= 1
                depth += (symbols[begin] == -1) - (symbols[begin] > 0)
            found.append([symbols[begin], symbols[:begin].count(0), symbols[:end].count(0)])
    return found


def spans_by_recursion(symbols):
    found, rest = [], iter(symbols)

    def read(place, kind=None):
        start = place
        for symbol in rest:
            if symbol == 0:
                place += 1
            elif symbol > 0:
                place = read(place, symbol)
            else:
                found.append((kind, start, place))
                return place
        return place

    read(0)
    return found


def spans_with_a_generator(symbols):
    def closing():
        waiting, place = deque(), 0
        for symbol in symbols:
            if symbol > 0:
                waiting.appendleft((symbol, place))
            elif symbol == -1:
                yield (*waiting.popleft(), place)
            place += symbol == 0

    return list(closing())


def spans_with_places_first(symbols):
    places = [0, *accumulate(int(symbol == 0) for symbol in symbols)]
    opened, found = [], []
    for i, symbol in enumerate(symbols):
        if symbol > 0:
            opened += [i]
        if symbol < 0:
            begin = opened.pop()
            found += [[symbols[begin], places[begin], places[i]]]
    return found


def spans_by_depth(symbols):
    open_at, found, depth, place = {}, [], 0, 0
    for symbol in symbols:
        match symbol:
            case 0:
                place += 1
            case -1:
                depth -= 1
                found.append((*open_at[depth], place))
            case kind:
                open_at[depth] = (kind, place)
                depth += 1
    return found


def spans_in_numpy(symbols):
    s = np.array(symbols)
    depth, place = np.cumsum(np.sign(s)), np.cumsum(s == 0)
    found = []
    for end in np.flatnonzero(s < 0):
        begin = max(i for i in np.flatnonzero(s > 0) if i < end and depth[i] == depth[end] + 1)
        found.append((s[begin], place[begin], place[end]))
    return found


def f1_with_lists(gold, found):
    hits = 0
    for right, ours in zip(gold, found, strict=True):
        left = [tuple(one) for one in right]
        for one in map(tuple, ours):
            if one in left:
                left.remove(one)
                hits += 1
    return 2 * hits / (sum(map(len, gold)) + sum(map(len, found)))


def f1_of_precision_and_recall(gold, found):
    hits = sum(
        sum(min(right.count(one), ours.count(one)) for one in [x for i, x in enumerate(right) if x not in right[:i]])
        for right, ours in zip(gold, found, strict=True)
    )
    precision, recall = hits / sum(map(len, found)), hits / sum(map(len, gold))
    return 2 * precision * recall / (precision + recall)


def f1_of_one_text(gold, found):
    """The number of the sentence makes a bracket one of the whole text."""
    a, b = (Counter((i, *one) for i, s in enumerate(side) for one in s) for side in (gold, found))
    return (a & b).total() / ((a.total() + b.total()) / 2)


def f1_harmonic(gold, found):
    from statistics import harmonic_mean

    hits = sum((Counter(map(tuple, a)) & Counter(map(tuple, b))).total() for a, b in zip(gold, found, strict=True))
    return harmonic_mean([hits / sum(map(len, side)) for side in (gold, found)])


def f1_by_errors(gold, found):
    missed = vain = total = 0
    for right, ours in zip(gold, found, strict=True):
        a, b = Counter(map(tuple, right)), Counter(map(tuple, ours))
        missed, vain, total = missed + (a - b).total(), vain + (b - a).total(), total + a.total() + b.total()
    return 1 - (missed + vain) / total


def f1_with_tensors(gold, found):
    hits = 0
    for right, ours in zip(gold, found, strict=True):
        a, b = torch.tensor(right).reshape(-1, 3), torch.tensor(ours).reshape(-1, 3)
        earlier = (a[:, None] == a).all(-1).tril(-1).sum(-1)
        hits += ((a[:, None] == b).all(-1).sum(-1) > earlier).sum()
    return 2 * hits / sum(len(s) for side in (gold, found) for s in side)


def prompt_in_steps(source, target, bos, mark, eos):
    inputs = [bos, *source, mark, *target]
    wanted = [-100 for _ in inputs]
    for i, token in enumerate([*target, eos]):
        wanted[1 + len(source) + i] = token
    return inputs, wanted


def prompt_appended(source, target, bos, mark, eos):
    inputs, wanted = [bos], []
    for token in [*source, mark]:
        inputs.append(token)
        wanted.append(-100)
    for token in target:
        inputs.append(token)
        wanted.append(token)
    return inputs, [*wanted, eos]


def prompt_with_a_flag(source, target, bos, mark, eos):
    text = [(bos, False), *((t, False) for t in source), (mark, False), *((t, True) for t in target), (eos, True)]
    return [t for t, _ in text[:-1]], [t if asked else -100 for t, asked in text[1:]]


def prompt_by_pairs(source, target, bos, mark, eos):
    text = [bos, *source, mark, *target, eos]
    pairs = [(a, b if i > len(source) else -100) for i, (a, b) in enumerate(pairwise(text))]
    return tuple(map(list, zip(*pairs, strict=True)))


def prompt_with_tensors(source, target, bos, mark, eos):
    text = torch.tensor([bos, *source, mark, *target, eos])
    wanted = text.roll(-1)
    wanted[: len(source) + 1] = -100
    return text[:-1].tolist(), wanted[:-1].tolist()


def patches_by_einsum(image, p):
    cells = image.view(image.size(0) // p, p, -1, p)
    return torch.einsum("hpwq->hwpq", cells).flatten(2).flatten(0, 1)


def patches_in_place(image, p):
    rows, columns = image.size(0) // p, image.size(1) // p
    patches = torch.empty(rows * columns, p * p, dtype=image.dtype)
    for i in range(rows * columns):
        top, left = i // columns * p, i % columns * p
        patches[i] = image[top : top + p, left : left + p].reshape(-1)
    return patches


def operations_of_shapes(L, d, d_ff, V, n):
    """As shapes of products for one token: (inner, outer)."""
    layer = 4 * [(d, d)] + [(d, d_ff), (d_ff, d)] + [(d, n), (n, d)]
    forward = sum(2 * a * b for _ in range(L) for a, b in layer) + 2 * d * V
    return forward + 2 * forward


def operations_of_parameters(L, d, d_ff, V, n):
    """Six for each number in a matrix, and attention's own products."""
    with torch.device("meta"):
        matrices = [torch.nn.Linear(d, d, bias=False) for _ in range(4)]
        matrices += [torch.nn.Linear(d, d_ff, bias=False), torch.nn.Linear(d_ff, d, bias=False)]
    numbers = L * sum(one.weight.numel() for one in matrices) + V * d
    return 6 * numbers + L * 12 * n * d


def operations_by_loop(L, d, d_ff, V, n):
    total = 0
    for passes in (1, 2):  # forward, then backward
        for _ in range(L):
            total += passes * 2 * (4 * d**2 + 2 * d * d_ff)
            total += passes * 2 * (n * d + n * d)
        total += passes * 2 * V * d
    return total


RIGHT |= {
    "spans": {
        "search": spans_by_search,
        "recursion": spans_by_recursion,
        "generator inside": spans_with_a_generator,
        "places first": spans_with_places_first,
        "depths": spans_by_depth,
        "NumPy": spans_in_numpy,
    },
    "labelled_f1": {
        "lists": f1_with_lists,
        "precision and recall": f1_of_precision_and_recall,
        "one text": f1_of_one_text,
        "harmonic mean": f1_harmonic,
        "errors": f1_by_errors,
        "tensors": f1_with_tensors,
    },
    "prompt_example": {
        "in steps": prompt_in_steps,
        "appended": prompt_appended,
        "flags": prompt_with_a_flag,
        "pairs": prompt_by_pairs,
        "tensors": prompt_with_tensors,
        "chains": lambda source, target, bos, mark, eos: (
            list(itertools.chain([bos], source, [mark], target)),
            list(itertools.chain(itertools.repeat(-100, len(source) + 1), target, [eos])),
        ),
    },
    "cut_patches": {
        "library": lambda image, p: F.unfold(image[None, None], p, stride=p)[0].mT,
        "loop": lambda image, p: torch.stack(
            [
                image[i : i + p, j : j + p].flatten()
                for i in range(0, image.size(0), p)
                for j in range(0, image.size(1), p)
            ]
        ),
        "windows": lambda image, p: image.unfold(0, p, p).unfold(1, p, p).flatten(0, 1).flatten(1),
        "einsum": patches_by_einsum,
        "in place": patches_in_place,
        "splits": lambda image, p: torch.stack(
            [square.reshape(-1) for band in image.split(p, 0) for square in band.split(p, 1)]
        ),
        "library, shuffled": lambda image, p: F.pixel_unshuffle(image[None], p).flatten(1).mT.contiguous(),
    },
    "training_operations": {
        "a formula": lambda L, d, d_ff, V, n: 6 * (L * (4 * d**2 + 2 * d * d_ff) + V * d) + 12 * L * n * d,
        "shapes": operations_of_shapes,
        "parameters": operations_of_parameters,
        "loop": operations_by_loop,
        "factored": lambda L, d, d_ff, V, n: 6 * d * (V + 2 * L * (2 * d + d_ff + n)),
        "NumPy": lambda L, d, d_ff, V, n: 6 * int(np.dot([4 * L, 2 * L, 2 * L, 1], [d * d, d * d_ff, n * d, V * d])),
    },
}
