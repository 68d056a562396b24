"""The exercises: right answers pass, each mistake is told its own text, and whatever a learner does is survived."""

import ast
import inspect
import math
import multiprocessing
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import tyro
from IPython.core.formatters import DisplayFormatter
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.as_a_notebook import run_cell
from tests.mutation import mutants
from tests.right_answers import RIGHT, derived
from tools.exercises import END, chapter_of, exercise_cells, fold, main, renew
from tools.repository import CELL_ID
from transformer.attention import attention_weights, causal_mask, merge_heads, padding_mask, split_heads
from transformer.embeddings import sinusoids
from transformer.layers import layer_norm
from transformer.training import noam
from transformer.tutor import check, hint, progress
from transformer.tutor.baselines import window_mask
from transformer.tutor.exercises import grading, learner, running, variation
from transformer.tutor.exercises.exercise import Exercise, Mistake
from transformer.tutor.exercises.learner import Session, UnknownExercise, exercises
from transformer.tutor.exercises.variation import first_order, function

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
EVERY = pytest.mark.parametrize("exercise", exercises().values(), ids=exercises().keys())
CENTRAL = {
    "softmax",
    "my_attention_weights",
    "my_padding_mask",
    "my_causal_mask",
    "masked_softmax",
    "my_sinusoids",
    "my_split_heads",
}
PREAMBLE = "import math\nimport torch\nfrom transformer.tutor import check, hint, progress"
SAME_AXIS = re.compile("the axis of [a-z_ ]+ is (−?)[0-2], expected (−?)[0-2]")
FREE = "two steps are done in the other order"
EQUIVALENT = {
    "share_alike": {
        "the conversion to a plain number is missing": "a tensor of one number is taken for the number",
        "the axis of the argmax is −2, expected −1": "similarities are symmetric",
    },
    "lookup_gradient": {"upstream stands in the place of ids": "they are equally many"},
    "word_difference": {"x is subtracted from the mean, not the other way round": "it is squared"},
    "norm_gradient": {
        "x is subtracted from the mean, not the other way round": "it is squared",
        FREE: "neither needs the other",
    },
    "my_sinusoids": {FREE: "neither needs the other"},
    "shift_matrix": {FREE: "they set different entries, or neither needs the other"},
    "position_dot": {"the conversion to a plain number is missing": "a tensor of one number is taken for the number"},
    "my_attention_weights": {"k stands in the place of q": "both are as wide"},
    "equivariance_gap": {
        "the conversion to a plain number is missing": "a tensor of one number is taken for the number",
        "a difference has the other sign": "its absolute value is taken",
    },
    "my_layer_norm": {"x is subtracted from the mean, not the other way round": "it is squared"},
    "my_noam": {"two arguments have changed places": "the smaller one of two has no order"},
    "token_loss": {"−1 stands in the place of 0": "the axis has one place", FREE: "neither needs the other"},
    "my_greedy": {"the conversion to a plain number is missing": "tensors of one number in the list"},
    "cached_attention": {FREE: "neither needs the other"},
    "my_beam_search": {
        "1 stands in the place of 0": "a constant that is added to every total",
        "−1 stands in the place of 0": "the same",
        "the conversion to a list is missing": "tensors of one number in the place of numbers",
        "index −1 is taken, expected 1": "of two places the last is number 1",
        "index −2 is taken, expected −1": ("a finished one left in the beam pushes out only what is less likely"),
        "index 0 is taken, expected −1": "the same",
        "index 1 is taken, expected −1": "the same",
        "step stands in the place of eos": "the same",
        "bos stands in the place of eos": "the same",
        FREE: "neither needs the other",
    },
    "clipped_precision": {
        "n is added, not subtracted": "shorter n-grams of the reference match none",
        "n is not subtracted": "the same",
        "2 stands in the place of 1": "the same",
        FREE: "neither needs the other",
    },
    "my_bleu": {
        "a sum stands in the place of a difference": "shorter n-grams of the reference match none",
        "an intermediate result is not subtracted": "the same",
        "2 stands in the place of 1": "the same",
        "the arguments 0 and a difference have changed places": "the smaller one of two has no order",
        FREE: "neither needs the other",
    },
    "merge_step": {FREE: "neither needs the other"},
    "average_weights": {FREE: "neither needs the other"},
    "rollout": {"the axis of size is −2, expected −1": "the tables are square"},
    "my_window_mask": {
        "a difference has the other sign": "its absolute value is taken",
        "the division is not one of whole numbers": "a distance is whole",
    },
    "within_reach": {
        "the axis of size is −2, expected −1": "the tables are square",
        "a difference has the other sign": "its absolute value is taken",
    },
    "labelled_f1": {"the arguments gold and found have changed places": "F1 is the same for both"},
}
"""the variants of answers that are right, and why"""
VAGUE = ("The numbers are not the expected ones.", "Your result has shape", "Your result is the expected one ")
"""how a verdict begins that does not say what is wrong"""


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A progress folder for every test, and a session that begins."""
    monkeypatch.setenv("TRANSFORMER_PROGRESS", str(tmp_path / "solved"))
    monkeypatch.setattr(learner, "session", Session())
    return tmp_path / "solved"


@pytest.fixture
def verdict(capsys: pytest.CaptureFixture[str]) -> Callable[[Any], str]:
    """Grades an answer as my_attention_weights and gives back what the learner reads."""

    def read(answer: Any, number: str = "3.2") -> str:
        check(number)(answer)
        return capsys.readouterr().out

    return read


def defined(source: str, exercise: Exercise) -> Any:
    return run_cell(source, **exercise.reference.__globals__)[exercise.name]


def right_weights(q, k):
    return (q @ k.mT / q.size(-1) ** 0.5).softmax(-1)


# What every exercise must keep


@EVERY
def test_book_s_answer_is_right_and_fast(exercise: Exercise):
    begin = time.process_time()
    assert grading.grade(exercise, exercise.reference).status == "right"
    assert time.process_time() - begin < 1  # the slowest takes a tenth of that


@EVERY
def test_stub_is_to_do_and_gives_the_book_s_answer(exercise: Exercise, capsys: pytest.CaptureFixture[str]):
    names = run_cell(exercise.stub, check=check, torch=torch)
    assert names[exercise.name] is exercise.reference
    assert capsys.readouterr().out.startswith(f"○ {exercise.number} {exercise.name}: your turn\n")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@EVERY
def test_each_mistake_is_told_its_own_text(exercise: Exercise, seed: int):
    for mistake in exercise.single:
        found = grading.grade(exercise, mistake.function, seed)
        assert (found.status, found.text) == ("wrong", mistake.text)


@pytest.mark.slow
@EVERY
def test_two_mistakes_at_once_are_both_named_or_are_one(exercise: Exercise):
    """A pair may be no more than one of its mistakes (no scale at all, and the wrong one), and even right again."""
    texts = {mistake.text for mistake in exercise.single}
    for pair in exercise.pairs:
        found = grading.grade(exercise, pair.function)
        assert (
            found.status == "right"
            or found.text in texts | {p.text for p in exercise.pairs}
            or all(run.error for run in (running.run(pair.function, case) for case in exercise.cases()))
        ), pair.text


def test_two_mistakes_at_once_are_both_named(verdict: Callable[[Any], str]):
    out = verdict(lambda q, k: (q @ k.mT).softmax(-2))
    assert "Two things at once." in out and "over the queries" in out and "not scaled" in out


@pytest.mark.slow
@EVERY
def test_right_answers_in_six_styles_pass(exercise: Exercise):
    styles = RIGHT[exercise.name] | derived(exercise)
    assert len(styles) >= 6
    for style, answer in styles.items():
        for seed in range(3):
            assert grading.grade(exercise, answer, seed) == grading.Finding("right"), style


def test_styles_are_of_exercises_and_each_is_a_function_of_its_own():
    assert list(RIGHT) == list(exercises())
    answers = [answer for styles in RIGHT.values() for answer in styles.values()]
    assert len(set(answers)) == len(answers)


PACKAGE = {
    "my_sinusoids": sinusoids,
    "my_attention_weights": attention_weights,
    "my_padding_mask": padding_mask,
    "my_causal_mask": causal_mask,
    "my_split_heads": split_heads,
    "my_merge_heads": merge_heads,
    "my_layer_norm": layer_norm,
    "my_noam": noam,
    "my_window_mask": window_mask,
}
OWN_TASK = {
    "my_greedy": "a function for the next token, where the package takes a model and a batch",
    "my_beam_search": "the same, and without a penalty for length",
    "my_bleu": "lists of words, where the package takes texts and cuts them up",
}
NARROWER = {
    ("my_sinusoids", "dtype"): "in float32",
    ("my_attention_weights", "mask"): "none of them masked",
    ("my_causal_mask", "past"): "all given at once",
    ("my_causal_mask", "device"): "all given at once",
}
"""arguments of the package that an exercise does without, and how its task says so"""


def test_what_the_package_has_is_a_right_answer_and_takes_no_more_than_the_task():
    assert {*PACKAGE, *OWN_TASK} == {name for name in exercises() if name.startswith("my_")}
    for name, own in PACKAGE.items():
        exercise = exercises()[name]
        assert grading.grade(exercise, own) == grading.Finding("right"), name
        ours, theirs = (list(inspect.signature(f).parameters.values()) for f in (exercise.reference, own))
        assert [one.default for one in ours] == [one.default for one in theirs[: len(ours)]], name
        for left_out in theirs[len(ours) :]:
            assert NARROWER[name, left_out.name] in " ".join(exercise.reference.__doc__.split())


@EVERY
def test_whatever_has_a_default_is_left_out_once(exercise: Exercise):
    parameters = inspect.signature(exercise.reference).parameters.values()
    needed = [one for one in parameters if one.default is inspect.Parameter.empty]
    assert {len(case) for case in exercise.cases()} == {len(needed), len(parameters)}


def test_missing_default_is_named_by_the_signatures(verdict: Callable[[Any], str]):
    out = verdict(lambda ids, pad: (ids != pad)[:, None, None], "4.1")
    assert "Your function takes (ids, pad), expected (ids, pad=0)." in out


def test_one_number_need_not_be_a_tensor(verdict: Callable[[Any], str]):
    loss = exercises()["token_loss"].reference
    for kind in (float, np.float64):
        assert "✔" in verdict(lambda *args, kind=kind: kind(loss(*args)), "8.5")
    assert "✘" in verdict(lambda *args: [float(loss(*args))], "8.5")


def test_answer_for_float32_only_is_right_with_a_remark(verdict: Callable[[Any], str]):
    def in_single(x, dim):
        return torch.tensor(x.softmax(dim).tolist())

    def raises_in_double(w, v):
        return w @ torch.eye(w.size(-1)) @ v

    for answer, number in ((in_single, "3.1"), (raises_in_double, "3.3")):
        out = verdict(answer, number)
        assert out.startswith("✔") and "It works in float32 only" in out.replace("it works", "It works")


@pytest.mark.slow
@EVERY
def test_every_change_to_the_answer_is_told_what_it_is(exercise: Exercise, monkeypatch: pytest.MonkeyPatch):
    """Each is rejected, unless it is right for a reason, and 95 % are told more than that the numbers are wrong."""
    monkeypatch.setattr(running, "TIME_LIMIT", 0.5)  # for loops that never end
    found = [(one.texts[0], grading.grade(exercise, function(exercise, one))) for one in first_order(exercise)]
    right = {text for text, finding in found if finding.status == "right" and not is_same_axis(text)}
    assert right == EQUIVALENT.get(exercise.name, {}).keys()
    wrong = [finding.text for _, finding in found if finding.status == "wrong"]
    assert wrong and sum(text.startswith(VAGUE) for text in wrong) <= 0.05 * len(wrong)


def is_same_axis(text: str) -> bool:
    """Whether a change only counts an axis from the other end: where it is right, both are one axis."""
    signs = SAME_AXIS.fullmatch(text)
    return signs is not None and signs[1] != signs[2]


def book(name: str) -> Any:
    return exercises()[name].reference


def sinusoids_of_twice_the_exponent(n, d):
    i = torch.arange(0, d, 2)
    angle = torch.arange(n)[:, None] / 10000 ** (2 * i / d)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def wrong_for_short_ones(q, k):
    return right_weights(q, k) if q.size(-2) > 2 else (q @ k.mT).softmax(-1)


UNFORESEEN = {
    "my_sinusoids": (sinusoids_of_twice_the_exponent, "exponent is twice as large"),
    "softmax_jacobian": (lambda p: torch.outer(p, p) - p.diag(), "is subtracted from"),
    "softmax_jacobian, the identity": (
        lambda p: torch.eye(len(p)) - torch.outer(p, p),
        "the identity stands in the place of",
    ),
    "feed_forward": (
        lambda x, W1, b1, W2, b2: ((x @ W1).relu() + b1) @ W2 + b2,
        "the ReLU is applied before b1 is added",
    ),
    "feed_forward, GELU": (
        lambda x, W1, b1, W2, b2: F.gelu(x @ W1 + b1) @ W2 + b2,
        "GELU stands in the place of the ReLU",
    ),
    "my_noam": (
        lambda step, d, warmup: d**-0.5 * min(step**-0.5, step * warmup**-3),
        "the exponent is twice as large",
    ),
    "prompt_example": (
        lambda source, target, *marks: (
            [*source, marks[1], *target, marks[2]],
            book("prompt_example")(source, target, *marks)[1],
        ),
        "the first one is left out, not the last",
    ),
}
"""wrong answers that no list of known mistakes has, and what is said of them"""


@pytest.mark.parametrize("name", UNFORESEEN)
def test_mistake_that_nobody_foresaw_is_named(name: str):
    answer, said = UNFORESEEN[name]
    assert said in grading.grade(exercises()[name.partition(",")[0]], answer).text


def weights_without_a_transpose(q, k):
    return (q @ k / q.size(-1) ** 0.5).softmax(-1)


def feed_forward_by_max(x, W1, b1, W2, b2):
    return max(x @ W1 + b1, 0) @ W2 + b2


def cut_as_text(word, merges):
    return reduce(lambda text, pair: text.replace(" ".join(pair), "".join(pair)), merges, " ".join(word)).split()


def merged_as_text(words, new):
    (one, other), _ = Counter(pair for word in words for pair in pairwise(word)).most_common(1)[0]
    texts = [" ".join(map(str, word)).replace(f"{one} {other}", str(new)) for word in words]
    return [list(map(int, text.split())) for text in texts]


def beam_that_ends_before_the_cut(step, bos, eos, k, max_len, best_of_each=99):
    beam, finished = [(0.0, [bos])], []
    for _ in range(max_len):
        found = []
        for total, tokens in beam:
            for log_p, token in sorted(((p, i) for i, p in enumerate(step(tokens).tolist())), reverse=True)[
                :best_of_each
            ]:
                (finished if token == eos else found).append((total + log_p, [*tokens, token]))
        beam = sorted(found, reverse=True)[:k]
    return [token for token in max(finished or beam)[1][1:] if token != eos]


def n_grams(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def bleu_without_a_limit(hyps, refs):
    logs = []
    for n in range(1, 5):
        pairs = [(n_grams(hyp, n), n_grams(ref, n)) for hyp, ref in zip(hyps, refs, strict=True)]
        logs.append(np.log(sum((a & b).total() for a, b in pairs) / sum(a.total() for a, _ in pairs)))
    return float(100 * np.exp(np.mean(logs) + 1 - sum(map(len, hyps)) / sum(map(len, refs))))


def mean_of_keys_before_the_end(weights, offset):
    n = weights.size(-1)
    return torch.stack([weights[:, i, i + offset] for i in range(n) if i + offset < n]).mean(0)


def cosines(table):
    return F.normalize(table, dim=-1) @ F.normalize(table, dim=-1).mT


def sinusoids_of_the_authors(n, d):
    angle = torch.arange(n)[:, None] * 10000.0 ** (-torch.arange(d // 2) / max(d // 2 - 1, 1))
    return torch.cat([angle.sin(), angle.cos()], -1)


def dot_in_a_table(k, d, rows):
    pe = sinusoids(rows, d)
    return float(pe[0] @ pe[k])


def gap_of_the_inverse(f, x, inverse):
    return (f(x[inverse]) - f(x)[inverse]).abs().max().item()


def softmax_by_index(scores, mask):
    scores = scores.clone()
    scores[~mask] = float("-inf")
    return scores.softmax(-1).nan_to_num(0.0)


def share_of_texts(hyp, ref, n):
    a, b = (Counter("".join(map(str, w[i : i + n])) for i in range(len(w) - n + 1)) for w in (hyp, ref))
    return (a & b).total() / a.total()


def mean_by_booleans(weights, links):
    table = torch.zeros(weights.shape[1:], dtype=torch.bool)
    for q, k in links:
        table[q, k] = True
    return weights[:, table].mean(-1)


TESTED = [
    # whose verdict was false
    ("7.2", lambda x, mask, *parts: book("encoder_layer")(x, None, *parts), "The mask is not used: padding is"),
    ("7.3", lambda x, m, a, b, *parts: book("decoder_layer")(x, m, a, None, *parts), "Cross-attention has no mask"),
    ("3.2", lambda q, k: (q @ k.transpose(1, 2) / q.size(-1) ** 0.5).softmax(-1), "Yours fits one axis of batches"),
    ("3.3", lambda w, v: torch.einsum("bts,bsd->btd", w, v), "Yours fits one axis of batches"),
    ("3.2", weights_without_a_transpose, "This comes out if k is not transposed."),
    (
        "6.3",
        lambda x, f, norm, pre: x - f(norm(x)) if pre else norm(x - f(x)),
        "if the sublayer is subtracted, not added.",
    ),
    ("12.4", lambda weights, reach, ramp: weights, "The weights come out as they were given"),
    # that were accepted
    ("4.3", lambda s, mask: s.masked_fill(~mask, -100).softmax(-1) * mask.any(-1, True), "is not low enough, for"),
    ("4.3", lambda s, mask: s.masked_fill(~mask, -100).softmax(-1) * mask, "where scores are lower, hidden places win"),
    ("8.5", lambda x, y, pad: -x.softmax(-1).gather(-1, y[..., None])[y != pad].log().mean(), "its probability is 0"),
    ("10.3", merged_as_text, "replace also finds the pair inside longer numbers"),
    ("1.3", lambda table, id, k: cosines(table)[id].topk(k + 1).indices[1:], "The first of topk need not be the word"),
    ("9.3", lambda *case: beam_that_ends_before_the_cut(*case, best_of_each=case[3]), "the best k of each"),
    # that nobody had foreseen
    ("9.3", beam_that_ends_before_the_cut, "Finished hypotheses count among the k: "),
    ("9.3", lambda *case: book("my_beam_search")(*case[:-1], case[-1] + 1), "You take one step too many"),
    ("9.1", lambda *case: book("my_greedy")(*case[:-1], 50), "max_len is not used"),
    ("9.1", lambda *case: [2, 3] * 4, "You return 8 entries, expected 2."),
    ("1.5", lambda word, merges: [word], "You return 1 entry, expected 2."),
    ("1.5", cut_as_text, "inside longer pieces"),
    ("1.4", lambda table, kinds: (kinds == cosines(table).fill_diagonal_(-9).argmax(0)).double().mean(), "with places"),
    ("2.1", sinusoids_of_the_authors, "That is the authors' code"),
    ("2.2", lambda k, d: torch.eye(d), "This is the identity"),
    ("3.1", lambda x, dim: (x - x.amax(dim, True)).exp() / (x - x.amax(dim, True)).exp().sum(), "the sum of all"),
    ("3.5", lambda d, std_q, std_k: 1 / d**0.5, "You return a factor, expected the divisor"),
    ("5.5", lambda d, h, bias: 4 * h * d * d + (4 * d if bias else 0), "You multiply the matrices by the number"),
    ("6.4", lambda x, parts, norm, pre: book("residual_stack")(x, parts[:1], norm, pre), "inside the loop: only"),
    ("6.4", lambda x, parts, norm, pre: book("residual")(x, parts[0], norm, pre), "inside the loop, and the last"),
    ("6.4", lambda x, parts, norm, pre: book("residual_stack")(x, parts[-1:], norm, pre), "reads the stack's input"),
    ("6.5", lambda x: (x - x.mean(-2, True)).mean((-2, -1)).abs() / x.mean((-2, -1)).abs(), "You square the mean"),
    ("7.1", feed_forward_by_max, "Python's max cannot compare"),
    ("8.3", lambda V, epsilon: -np.log(1 - epsilon), "and without its ε/V"),
    ("8.4", lambda step, d, warmup: d**-1 / 2 * min(step**-1 / 2, step * warmup**-3 / 2), "at all three places"),
    ("8.4", lambda step, d, warmup: d**-0.5 * min(step**-0.5, step * warmup**-3 / 2), "warmup⁻³ / 2."),
    ("9.5", lambda logits, p: book("top_p")(logits, p).log_softmax(-1), "You return log-probabilities among"),
    ("9.1", lambda step, *rest: book("my_greedy")(lambda tokens: step(torch.tensor([tokens])), *rest), "as one row"),
    ("2.3", lambda k, d: dot_in_a_table(k, d, abs(k) + 1), "pe[k] with a negative k counts from the end"),
    ("2.3", lambda k, d: dot_in_a_table(k, d, 512), "counts from the end of the table of 512 rows"),
    ("3.2", lambda q, k: (q @ k.mT / q.shape[1] ** 0.5).softmax(-1), "q.shape[1] is d_k for one table only"),
    ("3.7", lambda f, x, perm: gap_of_the_inverse(f, x, perm.argsort()), "You move row i to place perm[i]"),
    ("4.3", softmax_by_index, "scores[~mask] needs a mask of the shape of scores"),
    ("10.1", lambda a, b, n: share_of_texts(a, b, n), "Joined without a separator"),
    ("11.1", mean_by_booleans, "A table of booleans has each link once"),
    ("10.1", lambda a, b, n: (n_grams(a, n) & n_grams(b, n)).total() / len(n_grams(a, n)), "len of a Counter counts"),
    ("10.2", bleu_without_a_limit, "upside down, and nothing keeps it"),
    ("10.4", lambda checkpoints, x: book("average_weights")(checkpoints[:2], x), "the first two checkpoints alone"),
    ("11.2", mean_of_keys_before_the_end, "Negative places count from the end"),
    ("12.1", lambda n, d, gates: (4 * d * d + 2 * n * d, 2 * gates * d * d), "n is left out: all n words"),
    ("12.3", lambda n, r: book("my_window_mask")(n, r + 2), "two positions too wide"),
    ("13.5", lambda L, d, d_ff, V, n: book("training_operations")(L, d, 4 * d, V, n), "12 d² holds only"),
]
"""answers of somebody who wrote hundreds of them, and what is said of them"""


@pytest.mark.parametrize(("number", "answer", "said"), TESTED)
def test_what_a_tester_wrote_is_told_what_it_is(number: str, answer: Any, said: str):
    found = grading.grade(learner.find(number), answer)
    assert found.status == "wrong" and said in found.text


def test_missing_stack_is_named():
    """What comes out of an answer that collects its rows in a list is no other axis, and no other order of steps."""
    for exercise in exercises().values():
        rows = [run.value for run in grading.reference_runs(exercise, 0)]
        if all(isinstance(value, torch.Tensor) and value.dim() > 1 for value in rows):
            for unstack in (list, lambda value: [list(row) for row in value]):
                found = grading.grade(exercise, lambda *case, f=exercise.reference, g=unstack: g(f(*case)))
                assert found.text == "The numbers are right, but you return a list, expected a tensor."


@pytest.mark.parametrize("name", ["top_p", "clipped_precision", "spans", "my_padding_mask"])
def test_what_many_mistakes_come_to_is_said_without_choosing_one(name: str):
    said = {
        "top_p": (lambda logits, p: logits, "Your function returns logits as it was given."),
        "clipped_precision": (lambda hyp, ref, n: 0.0, "Your result is 0 in every failing case."),
        "spans": (lambda symbols: [], "Your result is empty in every failing case."),
        "my_padding_mask": (lambda ids, pad=0: torch.zeros(len(ids), 1, 1, ids.size(1)) > 0, "Every entry of your"),
    }
    answer, text = said[name]
    assert grading.grade(exercises()[name], answer).text.startswith(text)


@pytest.mark.parametrize("places", [3, 4, 6, 8])
def test_small_numbers_that_were_rounded_are_wrong(places: int, verdict: Callable[[Any], str]):
    """Learning rates are far below what float32 leaves of a difference of tensors."""
    assert f"You round to {places} decimal places" in verdict(lambda *case: round(noam(*case), places), "8.4")
    assert "✔" in verdict(lambda *case: noam(*case) * (1 + 1e-7), "8.4")


def test_rounding_is_named_for_tensors_too_and_only_where_it_explains_all(verdict: Callable[[Any], str]):
    assert "You round to 2 decimal places" in verdict(lambda q, k: right_weights(q, k).round(decimals=2))
    assert "You round" not in verdict(lambda q, k: right_weights(q, k).round(decimals=2).clamp(min=0.3))


def test_mistake_is_named_only_where_it_agrees_on_every_case(verdict: Callable[[Any], str]):
    """This answer forgets the scale, but for short inputs only: that it *is* not scaled would be false."""
    out = verdict(wrong_for_short_ones)
    assert "not scaled" not in out and "You get exactly" not in out
    assert "The first that differs is entry [" in out


def test_property_that_the_right_result_has_is_named(verdict: Callable[[Any], str]):
    out = verdict(lambda q, k: right_weights(q, k) ** 3)
    assert "What is true of the expected result, and not of yours: its rows sum to 1." in out


def test_engine_varies_the_package_too():
    assert len({mutant.source for mutant in mutants("loss", [])}) > 20


def test_search_for_two_changes_is_left_out_where_it_would_take_long():
    assert variation.second_order(exercises()["transformer_parameters"]) == ()
    assert variation.second_order(exercises()["my_noam"]) != ()


def test_two_changes_are_named_together():
    def answer(step, d, warmup):
        return d**0.5 * max(step**-0.5, step * warmup**-1.5)

    text = grading.grade(exercises()["my_noam"], answer).text
    assert "multiply by √d" in text or " and " in text


@EVERY
def test_stub_solution_and_answer_agree(exercise: Exercise):
    signature = inspect.signature(exercise.reference)
    for source in (exercise.stub, exercise.solution):
        assert inspect.signature(defined("check = lambda f: f\n" + source, exercise)) == signature
    assert grading.grade(exercise, defined(exercise.solution, exercise)).status == "right"
    assert exercise.reference.__doc__ and len(exercise.stub.splitlines()) <= 25
    assert assigned(exercise.stub) <= assigned(exercise.solution), "the solution fills the frame that is given"


def assigned(source: str) -> set[str]:
    """The names that a function gives values to."""
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    return {node.id for node in names if isinstance(node.ctx, ast.Store)}


@EVERY
def test_there_is_enough_help(exercise: Exercise):
    assert len(exercise.single) >= (5 if exercise.name in CENTRAL else 3)
    assert len(exercise.hints) >= 2
    texts = [mistake.text for mistake in exercise.single]
    assert len(set(texts)) == len(texts) and all(text.endswith(".") for text in texts)


def test_numbers_leave_no_gap():
    by_chapter: dict[int, list[str]] = {}
    for exercise in exercises().values():
        by_chapter.setdefault(exercise.chapter, []).append(exercise.number)
    assert list(by_chapter) == list(range(1, len(by_chapter) + 1))
    for chapter, numbers in by_chapter.items():
        assert numbers == [f"{chapter}.{i}" for i in range(1, len(numbers) + 1)]


def test_no_exercise_has_the_name_of_what_the_package_has():
    """A learner's function would take its place, and cells above the exercise could not be run again."""
    package = ROOT / "transformer"
    modules = set(package.rglob("*.py")) - set((package / "tutor" / "exercises").glob("*.py"))
    nodes = [node for path in modules for node in ast.parse(path.read_text(encoding="utf-8")).body]
    taken = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert {name.removeprefix("my_") for name in exercises() if name.startswith("my_")} <= taken
    assert taken.isdisjoint(exercises()), "call it my_…"


# Notebooks


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_the_exercises_as_declared(path: Path):
    """Every exercise of the chapter is there, as it is declared; `python -m tools.exercises` makes it so."""
    assert renew(nbformat.read(path, as_version=4), chapter_of(path)) == []


def written_by_hand() -> NotebookNode:
    """A chapter 3 with text around its exercises, one of them out of step, and a cell after them."""
    cells = [nbformat.v4.new_markdown_cell("Before.", id="before")]
    for name in ("mix_values", "softmax"):
        one = exercises()[name]
        cells.append(nbformat.v4.new_code_cell(one.stub.replace(", v", ", values"), id=f"own-{name}"))
        cells.append(nbformat.v4.new_markdown_cell(f"Try first.\n\n{fold(one)}\n\nThen go on.".replace("w @ v", "v")))
    cells.append(nbformat.v4.new_markdown_cell("After.", id="after", metadata={"tags": [END]}))
    return nbformat.v4.new_notebook(cells=cells)


def test_notebook_is_brought_into_step_where_it_stands():
    notebook = written_by_hand()
    texts = [cell.id for cell in notebook.cells if cell.cell_type == "markdown"]
    absent = [f"3.{i}: it is not there" for i in (2, 4, 5, 6, 7)]
    unnamed = [f"3.{i}: the name of its cell" for i in (1, 3)]
    assert renew(notebook, 3) == sorted([*absent, *unnamed, "3.3: the solution", "3.3: the stub"])
    assert [cell.id for cell in notebook.cells if cell.id in texts] == texts and notebook.cells[-1].id == "after"
    assert notebook.cells[1].id == notebook.cells[1].metadata["id"] == "exercise-3-3", "the pages lead there in Colab"
    assert [one.number for _, one in exercise_cells(notebook)] == ["3.3", "3.1", "3.2", "3.4", "3.5", "3.6", "3.7"]
    assert notebook.cells[1].source == exercises()["mix_values"].stub
    assert notebook.cells[2].source == f"Try first.\n\n{fold(exercises()['mix_values'])}\n\nThen go on."
    nbformat.validate(notebook)
    assert renew(notebook, 3) == []


def test_what_a_notebook_gets_wrong_is_noticed():
    notebook = written_by_hand()
    renew(notebook, 3)
    assert notebook.cells.pop(2).cell_type == "markdown"
    assert renew(notebook, 3) == ["3.3: the solution is not there"]
    notebook.cells.append(nbformat.v4.new_code_cell(exercises()["softmax"].stub))
    assert "3.1: it is there twice" in renew(notebook, 3)
    notebook.cells[1].source = "@check\ndef mix_value(w, v):\n    ..."
    with pytest.raises(UnknownExercise, match="did you mean mix_values"):
        renew(notebook, 3)


def test_command_writes_once_and_check_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "03_attention.ipynb"
    nbformat.write(written_by_hand(), path)
    before = path.read_bytes()
    monkeypatch.setattr("sys.argv", ["exercises", "--check", str(path)])
    assert tyro.cli(main) == 1 and path.read_bytes() == before
    assert "03_attention.ipynb: 3.3: the stub" in capsys.readouterr().out.splitlines()
    monkeypatch.setattr("sys.argv", ["exercises", str(path)])
    assert tyro.cli(main) == 0 and path.read_bytes() != before
    after = path.read_bytes()
    assert tyro.cli(main) == 0 and path.read_bytes() == after


def wrong_cell(exercise: Exercise, mistake: Mistake) -> str:
    i = exercise.single.index(mistake)
    return (
        "from transformer.tutor.exercises.learner import find\n"
        f"check({exercise.name!r})(lambda *args: find({exercise.name!r}).single[{i}].function(*args))"
    )


def notebook_of(chapter: int) -> NotebookNode:
    """A chapter's notebook; while it is not written, one with nothing but its exercises."""
    written = [path for path in NOTEBOOKS if chapter_of(path) == chapter]
    if written:
        return nbformat.read(written[0], as_version=4)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PREAMBLE)])
    renew(notebook, chapter)
    return notebook


def imports(notebook: NotebookNode) -> str:
    """What a notebook imports behind the set-up for Colab: enough for its exercises, as `book/running.md` promises."""
    first = next(cell for cell in notebook.cells if cell.cell_type == "code" and cell.get("id") != CELL_ID)
    statements = ast.parse(first.source).body
    return "\n".join(ast.unparse(one) for one in statements if isinstance(one, ast.Import | ast.ImportFrom))


def fillings(chapter: int) -> list[tuple[str, str]]:
    """Cells with a chapter's exercises unsolved, solved and full of mistakes, and what each verdict must say."""
    notebook = notebook_of(chapter)
    places = exercise_cells(notebook)
    every = [one for _, one in places]
    return [
        (imports(notebook), ""),
        *[(notebook.cells[i].source, f"○ {one.number} {one.name}: ") for i, one in places],
        *[("@check\n" + one.solution, f"✔ {one.number} {one.name}: ") for one in every],
        *[(wrong_cell(one, mistake), mistake.text) for one in every for mistake in one.single],
    ]


@pytest.mark.slow
def test_notebooks_run_unsolved_solved_and_full_of_mistakes():
    """The exercise cells only, in each notebook's order and after its own imports; one kernel for all chapters."""
    cells = [cell for chapter in sorted({one.chapter for one in exercises().values()}) for cell in fillings(chapter)]
    filled = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source, _ in cells])
    NotebookClient(filled).execute()
    for cell, (_, expected) in zip(filled.cells, cells, strict=True):
        assert not expected or expected in cell.outputs[0].data["text/plain"], cell.source


# What learners do


def test_loop_that_never_ends_is_stopped(verdict: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "TIME_LIMIT", 0.2)

    def endless(q, k):
        while True:
            try:
                q = q * 1
            except Exception:
                continue

    out = verdict(endless)
    assert "No answer after 0.2 s" in out and "At line" in out


def test_answer_that_is_too_slow_is_told_the_limit_that_it_had():
    def endless():
        while True:
            pass

    assert running.run(endless, (), limit=0.1).story.startswith("No answer after 0.1 s of computing")


def test_bare_except_does_not_hold_the_clock_up(verdict: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "TIME_LIMIT", 0.2)

    def stubborn(q, k):
        for _ in range(2):
            try:
                while True:
                    q = q * 1
            except:  # noqa: E722
                continue
        while True:
            q = q * 1

    assert "No answer after 0.2 s" in verdict(stubborn)


def test_waiting_is_not_computing_so_that_a_busy_machine_fails_nobody(
    verdict: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "TIME_LIMIT", 0.5)
    pauses = iter([0.8])

    def waiting(q, k):
        time.sleep(next(pauses, 0))
        return right_weights(q, k)

    assert "✔" in verdict(waiting)
    assert list(pauses) == []


def test_prints_are_shown_with_the_failing_case_and_nowhere_else(verdict: Callable[[Any], str]):
    def printing(q, k):
        print("scores", q.shape)
        return right_weights(q, k)

    assert "scores" not in verdict(printing)
    out = verdict(lambda q, k: print("look here"))
    assert "returns None" in out and "printing is not returning" in out and "it printed: look here" in out


def test_changed_inputs_are_named(verdict: Callable[[Any], str]):
    def careless(q, k):
        q /= q.size(-1) ** 0.5
        return (q @ k.mT).softmax(-1)

    assert "changes q in place" in verdict(careless)
    assert "✔" in verdict(lambda q, k: (q.clone().div_(q.size(-1) ** 0.5) @ k.mT).softmax(-1))


def test_arrays_lists_and_other_dtypes_are_named(verdict: Callable[[Any], str]):
    assert "you return a ndarray, expected a tensor" in verdict(lambda q, k: right_weights(q, k).numpy())
    assert "you return a list, expected a tensor" in verdict(lambda q, k: right_weights(q, k).tolist())
    assert "a mask is boolean" in verdict(lambda n: torch.ones(1, 1, n, n).tril(), "4.2")
    assert "✔" in verdict(lambda k, d: np.float64(exercises()["position_dot"].reference(k, d)), "2.3")


def test_answer_in_float64_is_right_with_a_remark_unless_it_is_one_number(verdict: Callable[[Any], str]):
    for answer, number in ((lambda x, dim: x.double().softmax(dim), "3.1"), (in_double_weights, "3.2")):
        out = verdict(answer, number)
        assert out.startswith("✔") and "with inputs in float32 it gives float64" in out
    loss = exercises()["token_loss"].reference
    assert verdict(lambda x, y, pad: loss(x.double(), y, pad), "8.5") == verdict(loss, "8.5")
    assert "✘" in verdict(lambda x, dim: x.double().softmax(-1), "3.1")


def in_double_weights(q, k):
    return right_weights(q.double(), k.double())


def test_answer_in_half_precision_is_told_so(verdict: Callable[[Any], str]):
    said = verdict(lambda q, k: right_weights(q, k).half())
    assert "right to the few digits of torch.float16: keep the inputs' dtype, torch.float32" in said
    assert "few digits" not in verdict(lambda q, k: (q @ k.mT).softmax(-1).half())


def test_settings_of_torch_are_left_as_they_were(verdict: Callable[[Any], str]):
    def meddling(q, k):
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(1)
        return right_weights(q, k)

    torch.manual_seed(0)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert "✔" in verdict(meddling)
    assert torch.get_default_dtype() == torch.float32 and torch.equal(torch.rand(3), drawn)


def test_result_that_carries_a_gradient_is_right(verdict: Callable[[Any], str]):
    assert "✔" in verdict(lambda q, k: right_weights(q.requires_grad_(), k))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_result_on_a_gpu_is_right(verdict: Callable[[Any], str]):
    assert "✔" in verdict(lambda q, k: right_weights(q.to("cuda"), k.to("cuda")))


def test_wrong_signature_is_named(verdict: Callable[[Any], str]):
    assert "Your function takes (q), expected (q, k)" in verdict(lambda q: q)


def test_error_comes_with_the_learner_s_line(verdict: Callable[[Any], str]):
    def broken(q, k):
        scores = q @ k
        return scores.softmax(-1)

    out = verdict(broken)
    assert "RuntimeError" in out and "scores = q @ k" in out
    assert "SystemExit" in verdict(lambda q, k: exit())
    assert "RecursionError" in verdict(lambda q, k: endless_recursion(q))


def endless_recursion(q):
    return endless_recursion(q)


def test_randomness_is_named(verdict: Callable[[Any], str]):
    assert "Two runs on the same input differ" in verdict(
        lambda q, k: torch.nn.functional.dropout(right_weights(q, k), 0.5)
    )


def test_state_of_an_earlier_run_is_named_where_lists_come_out(verdict: Callable[[Any], str]):
    kept = []

    def by_default(word, merges, pieces=[]):  # noqa: B006
        pieces += book("cut_word")(word, merges)
        return pieces

    def in_the_module(words, new):
        kept.extend(book("merge_step")(words, new))
        return kept

    for answer, number in ((by_default, "1.5"), (in_the_module, "10.3")):
        assert "Two runs on the same input differ" in verdict(answer, number)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda q, k: right_weights(q, k)[..., :1], "has shape (2, 1), expected (2, 3)"),
        (lambda q, k: right_weights(q, k).mT, "axes are swapped"),
        (lambda q, k: right_weights(q, k) * float("nan"), "contains NaN"),
        (lambda q, k: right_weights(q, k) * 3, "the expected one times 3 in every"),
        (lambda q, k: right_weights(q, k) + 1, "the expected one plus 1 in every"),
        (lambda q, k: right_weights(q, k) * k.size(-2), "times a number that depends on the case: 3"),
        (lambda q, k: right_weights(q, k) ** 2, "The numbers are not the expected ones."),
    ],
)
def test_what_nobody_foresaw_is_described(answer: Any, said: str, verdict: Callable[[Any], str]):
    assert said in verdict(answer)


def is_positive(x):
    """Tell which numbers are positive."""
    return x > 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [(lambda x: (x > 0).mT, "transpose of the expected"), (lambda x: ~(x > 0), "a comparison is the wrong way round")],
)
def test_exercise_without_known_mistakes_still_explains(answer: Any, said: str):
    exercise = Exercise("9.9", is_positive, lambda draw: iter([(draw.normal(n, n),) for n in (3, 5)]), [])
    assert said in grading.grade(exercise, answer).text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda q, k: {"weights": right_weights(q, k)}, "You return a dict, expected a tensor."),
        (lambda q, k: (right_weights(q, k), q), "You return a tuple, expected a tensor."),
        (lambda q, k: (row for row in right_weights(q, k)), "You return a generator, expected a tensor."),
        (lambda q, k: lambda: right_weights(q, k), "You return a function, expected a tensor."),
        (lambda q, k: (yield right_weights(q, k)), "You return a generator, expected a tensor."),
        (lambda q, k: right_weights(q, k).to("meta"), "The result is not the expected one."),
        (lambda q, k: right_weights(q, k).to(torch.complex64), "the dtype is torch.complex64"),
        (lambda q, k: right_weights(q, k).to(torch.complex64) * 1j, "Your numbers are complex"),
        (lambda q, k: right_weights(q, k).to_sparse(), "✔"),
    ],
)
def test_result_that_is_no_plain_tensor_is_no_accident(answer: Any, said: str, verdict: Callable[[Any], str]):
    assert said in verdict(answer)


@pytest.mark.parametrize("join", [torch.stack, np.array], ids=["tensor", "array"])
def test_several_values_in_one_tensor_are_told_to_be_a_tuple(join: Any, verdict: Callable[[Any], str]):
    said = "The numbers are right, but you return one {}, expected a tuple of 2."
    numbers = exercises()["multiplications"].reference
    makes = {torch.stack: torch.tensor, np.array: np.array}[join]
    what = {torch.stack: "tensor", np.array: "array"}[join]
    assert said.format(what) in verdict(lambda n, d, gates: makes(numbers(n, d, gates)), "12.1")
    assert said.format(what) in verdict(lambda y: join([y[:, :-1], y[:, 1:]]), "8.1")
    assert "tuple of 2" not in verdict(lambda y: join([y[:, 1:], y[:, 1:]]), "8.1")


@pytest.mark.parametrize("low", [-1e9, -1e4, torch.finfo(torch.float32).min])
def test_large_negative_number_is_not_infinity(low: float, verdict: Callable[[Any], str]):
    out = verdict(lambda logits, p: book("top_p")(logits, p).clamp(min=low), "9.5")
    assert "A large negative number is not −∞: write -math.inf" in out


def test_axis_is_named_with_its_call_and_without_a_place_in_the_book_s_answer():
    texts = {one.texts[0] + one.where for exercise in exercises().values() for one in first_order(exercise)}
    assert "the axis of the softmax is 1, expected −1" in texts
    assert not any(text.startswith("the axis of") and "places" in text for text in texts)


def test_property_of_a_single_number_is_not_told(verdict: Callable[[Any], str]):
    out = verdict(lambda k, d: math.sin(k) - 9.0, "2.3")
    assert "The numbers are not the expected ones." in out and "What is true" not in out


def test_wrong_value_among_several_is_named(verdict: Callable[[Any], str]):
    shapes = exercises()["cross_shapes"].reference
    assert "You return 3 values, expected 4." in verdict(lambda *sizes: shapes(*sizes)[:3], "5.4")
    out = verdict(lambda B, T, S, d, h: (*shapes(B, T, S, d, h)[:3], (B, 7, h)), "5.4")
    assert "Value 4 of 4 is (2, 7, 4), expected (2, 3, 8)." in out
    assert "Value 2 of 2 is [[2, 4]], expected [[1, 3]]." in verdict(lambda y: (y[:, :-1], y[:, 1:] + 1), "8.1")
    assert "You return an int, expected a tuple." in verdict(lambda B, T, S, d, h: 3, "5.4")
    assert "You return a str, expected a number." in verdict(lambda d, h, bias: "many", "5.5")
    assert "The result is not the expected one." in verdict(lambda d, h, bias: 10**30, "5.5")


def test_errors_are_told_in_short(verdict: Callable[[Any], str]):
    def silent(q, k):
        raise AssertionError

    def talkative(q, k):
        raise ValueError("x" * 5000)

    assert "Your function raised AssertionError. At line" in verdict(silent)
    assert len(verdict(talkative).splitlines()[1]) < 400


def test_single_numbers_are_compared_over_the_cases(verdict: Callable[[Any], str]):
    scale = exercises()["score_scale"].reference
    assert "the expected one times 3 in every failing case" in verdict(lambda d, a, b: 3 * scale(d, a, b), "3.5")
    assert "The numbers are not the expected ones." in verdict(lambda d, a, b: d**3 + a + 7 * b, "3.5")


def test_verdict_shows_the_smallest_case_and_both_results(verdict: Callable[[Any], str]):
    out = verdict(lambda q, k: (q @ k.mT / q.size(-1)).softmax(-1))
    assert out.startswith("✘ 3.2 my_attention_weights: not yet\nYou divide by d_k, expected √d_k.\n")
    assert "Smallest failing case:\n  q = [[" in out and "\n  expected = [[" in out and "\n  yours = [[" in out


def test_wrong_answer_stays_the_learner_s_and_right_one_too():
    wrong = lambda q, k: q  # noqa: E731
    assert check("3.2")(wrong) is wrong and check("my_attention_weights")(right_weights) is right_weights


def test_check_works_as_a_plain_call(capsys: pytest.CaptureFixture[str]):
    check(exercises()["my_attention_weights"].reference)
    assert capsys.readouterr().out.startswith("✔ 3.2 my_attention_weights: right\nChapter 3: 1 of 7 solved ■□□□□□□")


def test_unknown_names_list_the_near_ones():
    with pytest.raises(UnknownExercise, match="'attention_weights'; did you mean my_attention_weights"):
        check("attention_weights")
    with pytest.raises(UnknownExercise, match=r"'9\.77'"):
        hint("9.77")
    with pytest.raises(UnknownExercise, match="'right_weights'"):
        check(right_weights)
    with pytest.raises(TypeError, match="expected a function"):
        check(torch.zeros(2))


def test_same_answer_has_the_same_verdict_and_leaves_the_random_state(verdict: Callable[[Any], str]):
    state = torch.get_rng_state()
    answer = lambda q, k: right_weights(q, k) * torch.rand(1)  # noqa: E731
    offer = '\nhint("my_attention_weights") gives you a hint (from transformer.tutor import hint).'
    assert verdict(answer) == verdict(answer).replace(offer, "")
    assert torch.equal(torch.get_rng_state(), state)


UNFINISHED = {
    "docstring and dots": "'Task.'\n    ...",
    "dots": "...",
    "error": "raise NotImplementedError",
    "error with a text": "raise NotImplementedError('to do')",
    "pass": "pass",
    "docstring": "'Task.'",
    "comment only": "'Task.'\n    # here it should stand",
    "bare return": "return",
    "open name": "x = ...\n    return x",
    "open result": "x = q @ k\n    return ...",
    "open name in one line": "x = ...; return x",
    "open name in a loop": "for _ in q:\n        x = ...\n    return x",
}
FINISHED = [
    *("return q[..., 0]", "return q[...]", "return 5", "return k", "q[...] = 0", "print()", "q[0] = ..."),
    *("return None if q is None else k", "raise ValueError", "x = 5\n    return x"),
    *("x = ...\n    return k", "x = ...\n    x = q\n    return x", "x = ...\n    for x in q:\n        return x"),
]


@pytest.mark.parametrize("body", UNFINISHED.values(), ids=UNFINISHED.keys())
def test_unfinished_bodies_are_to_do(body: str):
    names = run_cell(f"kept = lambda f: f\n@kept\ndef my_attention_weights(q, k):\n    {body}\n")
    answer = names["my_attention_weights"]
    assert grading.grade(exercises()["my_attention_weights"], answer).status == "todo"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x = ...\n    return x @ k", "Still open: x = ... (line 5)."),
        ("x = ...\n    y = ...\n    x = q\n    return ...", "Still open: y = ... (line 6), return ... (line 8)."),
        ("x = ...\n    x += 1\n    return x", "Still open: x = ... (line 5)."),
        ("...", ""),
    ],
)
def test_lines_that_are_still_open_are_named(body: str, said: str):
    names = run_cell(f"kept = lambda f: f\n\n@kept\ndef my_attention_weights(q, k):\n    {body}\n")
    finding = grading.grade(exercises()["my_attention_weights"], names["my_attention_weights"])
    assert finding == grading.Finding("todo", said)


def test_finished_answer_is_graded_though_a_part_of_its_frame_is_left(verdict: Callable[[Any], str]):
    frame = exercises()["my_layer_norm"].given.replace("return ...", "return layer_norm(x, gain, bias, eps)")
    source = "def my_layer_norm(x, gain, bias, eps=1e-5):\n    " + frame.replace("\n", "\n    ")
    assert "✔" in verdict(run_cell(source, layer_norm=layer_norm)["my_layer_norm"], "6.1")


@pytest.mark.parametrize("body", FINISHED)
def test_what_does_something_is_graded(body: str):
    names = run_cell(f"def my_attention_weights(q, k):\n    {body}\n")
    answer = names["my_attention_weights"]
    assert grading.grade(exercises()["my_attention_weights"], answer).status == "wrong"


def test_an_answer_without_a_source_is_graded():
    names: dict[str, Any] = {}
    exec("def my_attention_weights(q, k):\n    return k", names)
    answers = (names["my_attention_weights"], lambda q, k: ..., torch.matmul)
    for answer in answers:
        assert grading.grade(exercises()["my_attention_weights"], answer).status == "wrong"


# Hints and progress


def test_hint_is_offered_after_two_failures_and_given_one_at_a_time(
    verdict: Callable[[Any], str], capsys: pytest.CaptureFixture[str]
):
    offer = 'hint("my_attention_weights") gives you a hint (from transformer.tutor import hint).'
    assert offer not in verdict(lambda q, k: q) and offer in verdict(lambda q, k: q)
    for asked in ("my_attention_weights", "3.2"):
        hint(asked)
    first, second = capsys.readouterr().out.splitlines()
    assert "hint 1 of 2" in first and "hint 2 of 2" in second and "solution is folded" in second


def test_success_stays_after_a_redefinition_and_a_restart(verdict: Callable[[Any], str]):
    verdict(right_weights)
    assert "solved it before" in verdict(lambda q, k: q)
    learner.session.solved.clear()
    assert learner.solved() == {"my_attention_weights"}


def test_what_was_solved_under_its_old_name_still_counts(own_progress: Path):
    own_progress.mkdir()
    for name in ("attention_weights", "mix_values", "my_softmax"):
        (own_progress / name).touch()
    assert learner.solved() == {"my_attention_weights", "mix_values"}


def test_two_notebooks_do_not_overwrite_each_other_s_progress(own_progress: Path):
    check("3.2")(right_weights)
    learner.session.solved.clear()  # another kernel, which has read nothing of the first
    check("3.3")(lambda w, v: w @ v)
    learner.session.solved.clear()
    assert learner.solved() == {"my_attention_weights", "mix_values"}


ROUNDS = 40


def solve_in_step(number: str, folder: Path, both: Any) -> None:
    """In another process: solve an exercise again and again, each time in a new folder, as soon as both are ready."""
    try:
        for i in range(ROUNDS):
            os.environ["TRANSFORMER_PROGRESS"] = str(folder / str(i))
            learner.session.solved.clear()
            both.wait()
            check(number)(learner.find(number).reference)
    except BaseException:
        both.abort()  # or else the other would wait for ever
        raise


@pytest.mark.slow
def test_two_kernels_that_solve_at_the_same_moment_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spawn = multiprocessing.get_context("spawn")
    both = spawn.Barrier(2)
    kernels = [spawn.Process(target=solve_in_step, args=(number, tmp_path, both)) for number in ("3.3", "3.5")]
    for kernel in kernels:
        kernel.start()
    for kernel in kernels:
        kernel.join()
        assert kernel.exitcode == 0
    for i in range(ROUNDS):
        monkeypatch.setenv("TRANSFORMER_PROGRESS", str(tmp_path / str(i)))
        assert learner.solved() == {"mix_values", "score_scale"}


def test_progress_is_kept_in_memory_where_nothing_can_be_written(own_progress: Path, verdict: Callable[[Any], str]):
    own_progress.write_text("a file where the folder should be")
    assert "Chapter 3: 1 of 7 solved" in verdict(right_weights)
    assert learner.solved() == {"my_attention_weights"}


def test_progress_is_one_line_that_names_the_chapters_begun(capsys: pytest.CaptureFixture[str]):
    progress()
    check("3.2")(right_weights)
    progress()
    first, *_, last = capsys.readouterr().out.splitlines()
    total = len(exercises())
    assert first == f"0 of {total} exercises solved {'□' * total}"
    assert last == f"1 of {total} exercises solved (chapter 3: 1 of 7) ■{'□' * (total - 1)}"


def test_verdict_is_read_without_colour_and_runs_nothing():
    finding = grading.Finding("wrong", "<script>1</script>", ("yours: <b>",))
    shown = learner.Verdict(exercises()["softmax"], finding)
    page = DisplayFormatter().format(shown)[0]["text/html"]
    assert '<span aria-hidden="true">✘</span> 3.1 softmax: not yet' in page and 'data-status="wrong"' in page
    assert "<script>" not in page and "<b>" not in page
