"""A model of the learner's answers: equal to the package's, wrong parts named; answers kept; the three projects."""

import copy
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from nbclient import NotebookClient

from tests.as_a_notebook import run_cell as notebook
from tests.right_answers import RIGHT
from transformer.config import TransformerConfig
from transformer.decoding import translate
from transformer.model import Transformer
from transformer.text.batches import Batch, collate, encode_pairs
from transformer.text.corpora import load_corpus
from transformer.text.symbols import BOS, EOS
from transformer.text.tokenizer import Tokenizer
from transformer.training import paper_adam, summed_loss
from transformer.tutor import check, projects
from transformer.tutor.certificate import COLUMNS, Certificate
from transformer.tutor.comparison import Asked, compare, float64, package_twin
from transformer.tutor.exercises import learner
from transformer.tutor.exercises.kept import CannotKeep, DamagedAnswer, load, source_of
from transformer.tutor.exercises.learner import Session, exercises, forget_answers, keep_answers, kept_answers
from transformer.tutor.your_own import (
    PARTS,
    SMOOTHING,
    OwnTransformer,
    assemble,
    book,
    learn,
    loss_of,
    translated,
    unseen_loss,
    your_parts,
)

ROOT = Path(__file__).parents[1]
SIZES = {"vocab_size": 23, "d_model": 12, "n_layers": 2, "n_heads": 3, "d_ff": 20, "dropout": 0.0}
EXAMPLES = [([5, 7, 9, 4, 5, 11, 20], [6, 7, 8, 9]), ([4, 15], [8, 4, 5, 5, 19, 20]), ([9, 9, 3, 4], [21])]
LONG = [(list(range(3, 22)), list(range(4, 20)))]
"""a sentence so long that positions made in float32 are rounded otherwise"""
NO_EMPTY_ROW = "each word of the model sees a word"
PADDING_IS_0 = "the model's padding is 0, and stands at the end"
SMALL = "no number of a small model is that large"
MASK_IS_WHOLE = "where a model calls it, the mask has the shape of the scores"
UNSEEN = {
    "You compare with 0, whatever pad is: compare with pad.": PADDING_IS_0,
    "Real words may have smaller ids than pad: compare with !=, not with >.": PADDING_IS_0,
    "You count the real words and take as many places from the left: padding may stand anywhere.": PADDING_IS_0,
    "The id of padding is `pad`, not always 0.": PADDING_IS_0,
    "Real is every id but `pad`, y != pad: ids below it are words, too.": PADDING_IS_0,
    "A row in which everything is hidden is 0/0 = NaN: it should be zeros.": NO_EMPTY_ROW,
    "A row in which everything is hidden shares its weight out evenly, as with −1e9: it should be zeros.": NO_EMPTY_ROW,
    "any(-2) looks through the queries of a key: a row is empty where no key is left, any(-1, keepdim=True).": (
        NO_EMPTY_ROW
    ),
    "scores[~mask] needs a mask of the shape of scores: masked_fill lets it broadcast.": MASK_IS_WHOLE,
    "You divide by the row sum after masking: a huge hidden score leaves nothing to divide. Mask before.": SMALL,
    "You mask after the softmax and divide by what is left: where that is 0 you get NaN. Mask before.": SMALL,
    "The mask comes after the exponential, which may overflow, and ∞ · 0 is NaN: set hidden scores to −∞ "
    "before.": SMALL,
    "A number like −100 or −1000 is not low enough, for scores may be lower: hidden places need −∞.": SMALL,
    "A number like −100 or −1000 is not low enough: where scores are lower, hidden places win, and you cut all of it "
    "off. Hidden places need −∞.": SMALL,
    "Where a target is very unlikely, its probability is 0 in float32, and log 0 is −∞: take log_softmax.": SMALL,
    "exp of a large logit is inf in float32: take log_softmax, which subtracts the maximum first.": SMALL,
    "You add a small number to p, which changes the loss where p is small: take log_softmax, which never meets "
    "log 0.": SMALL,
    "ε is 1e-5 whatever `eps` says (the default of F.layer_norm): use `eps`.": "that is the model's ε",
    "You take axis 2: the features are the last axis, −1, however many stand before it.": "here the last is number 2",
    "h may be a single vector, too, (D,): your answer counts on more axes than that.": "here there are always three",
}
"""known mistakes that make no difference in the model, and why"""


def random_model(norm: str = "post", **parts: Any) -> OwnTransformer:
    """A small model whose numbers are all random, gains and biases too."""
    torch.manual_seed(1)
    model = assemble(TransformerConfig(**SIZES, norm=norm), **parts)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.4)
    return model


@pytest.fixture
def batch() -> Batch:
    """Three sentences of unequal length, in ids."""
    return collate(EXAMPLES)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A progress folder for every test, and a session that begins."""
    monkeypatch.setenv("TRANSFORMER_PROGRESS", str(tmp_path / "solved"))
    monkeypatch.setattr(learner, "session", Session())
    return tmp_path / "solved"


# The same as the package's


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_model_of_the_book_s_answers_is_the_package_s(norm: str, batch: Batch):
    compared = compare(random_model(norm), batch)
    assert compared.is_equal and not compared.wrong, str(compared)
    assert max(stage.difference for stage in compared.stages if stage.difference is not None) < 1e-12


def test_other_right_answers_make_the_same_model(batch: Batch):
    others = {name: RIGHT[name]["loop"] for name in PARTS if "loop" in RIGHT[name]}
    assert len(others) > 10
    compared = compare(random_model(**others), batch)
    assert compared.is_equal, str(compared)


def test_weights_of_the_package_load_with_their_biases(batch: Batch):
    package = Transformer(TransformerConfig(**SIZES))
    with torch.no_grad():
        for parameter in package.parameters():
            parameter.normal_(0, 0.4)
    own = assemble(package.config)
    own.load_state_dict(package.state_dict())
    torch.testing.assert_close(own(batch.source, batch.target_in), package(batch.source, batch.target_in))
    assert list(own.state_dict()) == list(package.state_dict())
    assert compare(own, batch).is_equal


def test_shipped_model_runs_on_the_parts():
    package, tokenizer = Transformer.from_pretrained("embedded-en-de"), Tokenizer.from_pretrained("embedded-en-de")
    own = assemble(package.config)
    own.load_state_dict(package.state_dict())
    ids = tokenizer.encode_all(["women need the suitcase because it is new ."])
    assert tokenizer.decode(translated(own, ids)[0]) == "Frauen brauchen den Koffer , weil er neu ist ."
    assert translated(own, ids, beam=3) == translated(own, ids)
    with pytest.raises(ValueError, match=r"got a cache.* use transformer\.tutor\.your_own\.translated"):
        translate(own, tokenizer, ["women need the suitcase because it is new ."])
    with pytest.raises(ValueError, match="has no attention_maps, use looks"):
        own.attention_maps(torch.tensor([[*ids[0], EOS]]), torch.tensor([[BOS]]))
    with pytest.raises(ValueError, match="beam is -1, expected a width of 1 or more, or 0"):
        translated(own, ids, beam=-1)
    with pytest.raises(TypeError, match="expected the ids of several sentences"):
        translated(own, ids[0])


def test_memory_without_a_mask_is_seen_whole(batch: Batch):
    own = random_model()
    memory = own.encode(batch.source[:1])
    everything = torch.ones(1, 1, 1, memory.size(1), dtype=torch.bool)
    assert torch.equal(*(own.decode(batch.target_in[:1], memory, mask) for mask in (None, everything)))


@pytest.mark.parametrize("name", ["my_padding_mask", "my_causal_mask", "decoder_mask"])
def test_mask_without_a_return_is_a_difference(name: str, batch: Batch):
    compared = compare(random_model(**{name: lambda *_: None}), batch)
    assert not compared.is_equal and name in compared.wrong


def test_it_learns_what_the_package_learns(batch: Batch):
    with float64():
        own = random_model().double()
        package = package_twin(own)
        for name, parameter in package.named_parameters():
            parameter.requires_grad_(dict(own.named_parameters())[name].requires_grad)
        for model in (own, package):
            adam = paper_adam(model)
            adam.param_groups[0]["lr"] = 0.01
            for _ in range(10):
                is_own = isinstance(model, OwnTransformer)
                loss = loss_of(model, batch) if is_own else summed_loss(model, batch, SMOOTHING) / batch.n_tokens
                adam.zero_grad()
                loss.backward()
                adam.step()
        moved = [
            (a - b).abs().max() for a, b in zip(own.parameters(), random_model().double().parameters(), strict=True)
        ]
        apart = [(a - b).abs().max() for a, b in zip(own.parameters(), package.parameters(), strict=True)]
    assert max(moved) > 0.05 and max(apart) < 1e-10


def test_training_lowers_the_loss_of_what_it_has_not_seen():
    tokenizer = Tokenizer.from_pretrained("embedded-en-de")
    examples = encode_pairs(tokenizer, load_corpus("embedded")["val"])
    torch.manual_seed(0)
    sizes = {"d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64, "dropout": 0.0}
    own = assemble(TransformerConfig(vocab_size=len(tokenizer), **sizes))
    before = unseen_loss(own, examples[-50:])
    losses = list(learn(own, examples[:-50], steps=60, warmup=30))
    assert len(losses) == 60 and losses[-1] < 0.8 * losses[0]
    assert unseen_loss(own, examples[-50:]) < 0.8 * before


def test_what_no_exercise_has_is_refused():
    for change in ({"positions": "learned"}, {"dropout": 0.1}, {"tie_embeddings": False}, {"d_k": 7}):
        with pytest.raises(ValueError, match=next(iter(change))):
            assemble(TransformerConfig(**{**SIZES, **change}))
    with pytest.raises(TypeError, match="no part 'softmax'"):
        assemble(TransformerConfig(**SIZES), softmax=torch.softmax)
    with pytest.raises(TypeError, match="expected a function"):
        assemble(TransformerConfig(**SIZES), embed=None)


# A mistake in a part


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_every_known_mistake_makes_a_difference(name: str, batch: Batch):
    asked = Asked(random_model(), batch)
    for mistake in exercises()[name].single:
        equal = all(asked.stage(i, parts={name: mistake.function}).is_equal for i in range(asked.n))
        assert equal == (mistake.text in UNSEEN), mistake.text


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_wrong_part_is_named_and_told_its_mistake(name: str, batch: Batch):
    mistake = next(one for one in exercises()[name].single if one.text not in UNSEEN)
    others = {other: next(iter(RIGHT[other].values())) for other in ("embed", "feed_forward") if other != name}
    compared = compare(random_model(**others, **{name: mistake.function}), batch)
    assert compared.wrong == {name: mistake.text}, str(compared)
    assert not compared.is_equal and f"from {compared.first.name} on" in str(compared)


def test_two_wrong_parts_are_both_named(batch: Batch):
    wrong = {name: exercises()[name].single[0].function for name in ("embed", "multi_head")}
    assert list(compare(random_model(**wrong), batch).wrong) == ["embed", "multi_head"]


def test_error_of_a_part_is_a_difference_and_not_an_error(batch: Batch):
    def feed_forward(x, W1, b1, W2, b2):
        raise RuntimeError("nothing here")

    compared = compare(random_model(feed_forward=feed_forward), batch)
    assert compared.first.name == "encoder layer 1" and "nothing here" in compared.first.story
    assert list(compared.wrong) == ["feed_forward"]
    page = DisplayFormatter().format(compared)[0]["text/html"]
    assert 'data-status="wrong"' in page and "7.1 feed_forward" in page


def test_comparison_leaves_model_and_settings_as_they_were(batch: Batch):
    model = random_model()
    before = copy.deepcopy(model.state_dict())
    compare(model, batch)
    assert torch.get_default_dtype() == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# What an exercise accepts is not condemned


def table_of_d2l(n: int, d: int) -> torch.Tensor:
    """The table as in Dive into Deep Learning, section 11.6."""
    table = torch.zeros((1, n, d))
    rates = torch.pow(10000, torch.arange(0, d, 2, dtype=torch.float32) / d)
    x = torch.arange(n, dtype=torch.float32).reshape(-1, 1) / rates
    table[:, :, 0::2] = torch.sin(x)
    table[:, :, 1::2] = torch.cos(x)
    return table[0]


def table_of_the_annotated_transformer(n: int, d: int) -> torch.Tensor:
    """The table as in The Annotated Transformer."""
    pe = torch.zeros(n, d)
    position = torch.arange(0, n).unsqueeze(1)
    div_term = torch.exp(torch.arange(0, d, 2) * -(math.log(10000.0) / d))
    pe[:, 0::2] = torch.sin(position * div_term)
    pe[:, 1::2] = torch.cos(position * div_term)
    return pe


def table_with_float(n: int, d: int) -> torch.Tensor:
    """The table, its positions made by .float()."""
    angle = torch.arange(n)[:, None].float() / 10000 ** (torch.arange(0, d, 2).float() / d)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


@pytest.mark.parametrize("table", [table_of_d2l, table_of_the_annotated_transformer, table_with_float])
def test_right_table_of_positions_is_right_whatever_its_dtype(table: Callable[[int, int], torch.Tensor]):
    assert learner.grade(exercises()["my_sinusoids"], table).status == "right"
    compared = compare(random_model(my_sinusoids=table), collate(LONG))
    assert compared.is_equal and not compared.wrong, str(compared)
    in_float32_digits = table is table_of_d2l  # though its dtype is float64
    assert ("≈ table of positions: equal in float32" in str(compared)) == in_float32_digits
    assert not in_float32_digits or compared.single == ("my_sinusoids",)


def test_float32_hides_no_mistake_beside_it():
    wrong = exercises()["my_layer_norm"].single[0]
    compared = compare(random_model(my_sinusoids=table_of_d2l, my_layer_norm=wrong.function), collate(LONG))
    assert list(compared.wrong) == ["my_layer_norm"] and compared.single == ("my_sinusoids",)


def norm_in_place(x, gain, bias, eps=1e-5):
    """A layer norm that overwrites x."""
    x -= x.mean(-1, keepdim=True)
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps) * gain + bias


def residual_in_place(x, sublayer, norm, pre):
    """A residual connection that overwrites x."""
    x += sublayer(norm(x)) if pre else sublayer(x)
    return x if pre else norm(x)


def encoder_in_place(x, mask, attention, feed_forward, norm):
    """A layer that overwrites x."""
    x += attention(x, x, mask)
    x = norm(x)
    return norm(x + feed_forward(x))


def decoder_in_place(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
    """A layer that overwrites x."""
    x += attention(x, x, self_mask)
    x = norm(x)
    x = norm(x + attention(x, memory, memory_mask))
    return norm(x + feed_forward(x))


def softmax_in_place(scores, mask):
    """A softmax that overwrites the scores."""
    scores[~mask.expand_as(scores)] = -math.inf
    return scores.softmax(-1).nan_to_num()


IN_PLACE = {
    "my_layer_norm": norm_in_place,
    "residual": residual_in_place,
    "encoder_layer": encoder_in_place,
    "decoder_layer": decoder_in_place,
    "masked_softmax": softmax_in_place,
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_part_that_changes_its_input_is_named_alone(name: str, batch: Batch):
    honest = ("embed", "feed_forward", "mix_values", "my_merge_heads", "my_split_heads", "multi_head")
    others = {other: next(iter(RIGHT[other].values())) for other in honest}
    compared = compare(random_model(**others, **{name: IN_PLACE[name]}), batch)
    assert list(compared.wrong) == [name] and "in place" in compared.wrong[name], str(compared)
    assert f"{name} changes its input" in compared.first.story


def test_layer_may_hand_on_a_copy_of_the_memory(batch: Batch):
    def decoder_layer(x, memory, self_mask, memory_mask, attention, feed_forward, norm):
        x = norm(x + attention(x, x.clone(), self_mask))
        x = norm(x + attention(x, memory.clone(), memory_mask))
        return norm(x + feed_forward(x))

    assert learner.grade(exercises()["decoder_layer"], decoder_layer).status == "right"
    compared = compare(random_model(decoder_layer=decoder_layer), batch)
    assert compared.is_equal and not compared.wrong, str(compared)


# Answers that are kept

HELPED = """
import math as m
from torch import softmax
from transformer.tutor import check
HALF = 0.5

def scaled(scores, size):
    return scores / rooted(size)

def rooted(size):
    return m.pow(size, HALF)

@check
def my_attention_weights(q, k):
    # my own way
    return softmax(scaled(q @ k.mT, q.size(-1)), dim=-1)
"""


def test_nothing_is_kept_without_the_learner_s_word(own_folder: Path, capsys: pytest.CaptureFixture[str]):
    notebook(HELPED)
    out = capsys.readouterr().out
    assert "keep_answers() keeps your answers" in out and "(from transformer.tutor import keep_answers)" in out
    check("2.4")(lambda x, pe: x + pe[: x.size(1)])
    assert "keep_answers" not in capsys.readouterr().out  # said once
    assert [path.name for path in own_folder.iterdir() if path.is_dir()] == []


def test_answer_is_kept_with_its_helpers_and_found_by_another_session(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    notebook(HELPED)
    keep_answers()
    file = own_folder / "answers" / "my_attention_weights.py"
    assert str(file.parent) in capsys.readouterr().out
    source = file.read_text(encoding="utf-8")
    assert "# my own way" in source and "@check" not in source and "import math as m" in source
    monkeypatch.setattr(learner, "session", Session())
    parts = your_parts()
    assert list(parts) == ["my_attention_weights"] and "1 of 25 parts are yours" in capsys.readouterr().out
    q, k = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    torch.testing.assert_close(parts["my_attention_weights"](q, k), book("my_attention_weights")(q, k))
    assert learner.solved() == {"my_attention_weights"}


def test_answers_after_the_word_are_kept_at_once_and_forgotten_on_request(own_folder: Path):
    keep_answers()
    notebook(HELPED)
    assert (own_folder / "answers" / "my_attention_weights.py").is_file()
    forget_answers()
    assert not (own_folder / "answers").exists() and not learner.keeps_answers()
    assert kept_answers(PARTS) == {} and learner.solved() == {"my_attention_weights"}


def test_files_that_are_not_ours_are_not_removed(own_folder: Path):
    keep_answers()
    (own_folder / "answers" / "letter.txt").write_text("dear diary")
    forget_answers()
    assert (own_folder / "answers" / "letter.txt").is_file()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("table = torch.ones(3)\ndef my_greedy(*a):\n    return table", "uses table, a Tensor of your notebook"),
        ("my_greedy = lambda *a: []", "no function that was written with def"),
        (
            "def outer(x):\n    def my_greedy(*a):\n        return x\n    return my_greedy\nmy_greedy = outer(1)",
            "inside",
        ),
        ("import functools\n@functools.cache\ndef my_greedy(*a):\n    return 1", "no function that was written"),
        ("def a(f):\n    return f\n@a\ndef my_greedy(*a):\n    return 1", "has a decorator of its own, a"),
        ("def one():\n    return 1\ntwo = one\ndef my_greedy(*a):\n    return two()", "another name of one"),
    ],
)
def test_what_cannot_be_kept_is_said_with_the_reason(lines: str, said: str):
    answer = notebook(f"import torch\n{lines}")["my_greedy"]
    with pytest.raises(CannotKeep, match=said):
        source_of(answer)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("my_attention_weights", "def my_attention_weights(q: Optional[Rows], k: 'a remark') -> Rows:\n"
         "    return (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1)"),
        ("my_noam", "def my_noam(step, d_model, warmup, root=SCALE, *, least=lambda x, EPS=EPS: min(*x)):\n"
         "    return least((step ** -0.5, step * warmup ** -1.5)) / root(d_model)"),
        ("my_noam", "def least(a: Rows, b=EPS):\n    return min(a)\n"
         "def my_noam(step, d_model, warmup, least=least):\n"
         "    return least((step ** -0.5, step * warmup ** -1.5)) / SCALE(d_model)"),
    ],
)  # fmt: skip
def test_annotations_and_defaults_are_kept_with_what_they_name(name: str, lines: str):
    names = "import math\nfrom typing import Optional\nfrom torch import Tensor as Rows\nSCALE, EPS = math.sqrt, 1e-9\n"
    again = load(exercises()[name], source_of(notebook(names + lines)[name]))
    assert learner.grade(exercises()[name], again).status == "right"


def test_answer_that_cannot_be_read_again_is_told_at_once(own_folder: Path, capsys: pytest.CaptureFixture[str]):
    keep_answers()
    space = notebook("ROOT = 2\ndef mix_values(w, v, half=1 / ROOT):\n    return w @ v")
    space["ROOT"] = 0
    check(space["mix_values"])
    assert "This answer cannot be kept: ZeroDivisionError" in capsys.readouterr().out
    assert [*(own_folder / "answers").iterdir()] == []


def test_learner_is_told_when_an_answer_is_kept_for_the_session_only(
    own_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    keep_answers()
    right = notebook("def mix_values(w, v):\n    return w @ v")["mix_values"]
    check(right)
    kept = (own_folder / "answers" / "mix_values.py").read_text(encoding="utf-8")
    monkeypatch.setattr(Path, "write_text", full)
    check(right)
    assert "kept for this session only" in capsys.readouterr().out
    assert (own_folder / "answers" / "mix_values.py").read_text(encoding="utf-8") == kept


def test_learner_is_told_when_an_answer_cannot_be_kept(own_folder: Path, capsys: pytest.CaptureFixture[str]):
    keep_answers()
    check("3.3")(lambda w, v: w @ v)
    assert "This answer cannot be kept: <lambda> is no function" in capsys.readouterr().out
    assert "mix_values" in kept_answers(PARTS)  # of this session


@pytest.mark.slow
def test_chapter_runs_with_every_answer_kept(own_folder: Path):
    """As after all exercises: that it runs with none is seen where the book is built."""
    keep_answers()
    imports = "import math\nimport torch\nfrom collections import Counter\nfrom transformer.tutor import check"
    for name in PARTS:
        notebook(f"{imports}\n@check\n{exercises()[name].solution}")
    assert kept_answers(PARTS).keys() == PARTS.keys()
    chapter = nbformat.read(ROOT / "book" / "14_your_own.ipynb", as_version=4)
    laboratory = next(i for i, cell in enumerate(chapter.cells) if cell.source.startswith("## Laboratory"))
    chapter.cells = chapter.cells[:laboratory]  # what follows tries the book's answers
    NotebookClient(chapter).execute()
    shown = "".join(
        str(output.get("data", {}).get("text/plain", ""))
        for cell in chapter.cells
        for output in cell.get("outputs", [])
    )
    assert "25 of its 25 parts are yours; it is equal to the package's in" in shown
    assert "○" not in shown.partition("Your own Transformer")[2].partition("(○: the book's)")[0]


def test_one_line_in_the_chapter_makes_a_first_part(capsys: pytest.CaptureFixture[str]):
    chapter = nbformat.read(ROOT / "book" / "14_your_own.ipynb", as_version=4)
    stub = next(cell.source for cell in chapter.cells if cell.source.startswith('@check("1.2")'))
    imports = "import math\nfrom transformer.tutor import check\n"
    notebook(imports + stub)
    assert "your turn" in capsys.readouterr().out and your_parts() == {}
    notebook(imports + stub.replace("...", "return table[ids] * math.sqrt(table.size(1))"))
    assert list(your_parts()) == ["embed"]


def test_names_that_are_only_attributes_or_local_are_no_helpers():
    lines = "    total = x.size(0)\n    return [i for i in range(total)]"
    source = f"import torch\nsize = torch.ones(2)\ndef my_greedy(x):\n{lines}"
    assert source_of(notebook(source)["my_greedy"]).startswith("def my_greedy(x):")


def test_answer_under_another_name_is_kept(own_folder: Path, monkeypatch: pytest.MonkeyPatch):
    keep_answers()
    notebook('from transformer.tutor import check\n@check("3.3")\ndef mixture(w, v):\n    return w @ v')
    monkeypatch.setattr(learner, "session", Session())
    assert not kept_answers(PARTS)["mix_values"].problem


def test_answers_are_kept_in_memory_where_nothing_can_be_written(own_folder: Path, capsys: pytest.CaptureFixture[str]):
    own_folder.write_text("a file where the folder should be")
    keep_answers()
    assert "until this session ends" in capsys.readouterr().out
    notebook(HELPED)
    learner.session.answers.clear()
    assert not kept_answers(PARTS)["my_attention_weights"].problem
    forget_answers()
    assert kept_answers(PARTS) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"def mix_values(w, v", "SyntaxError"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"", "does not define mix_values"),
        (b"1 / 0", "ZeroDivisionError"),
    ],
)
def test_damaged_file_is_told_and_the_book_stands_in(
    content: bytes, said: str, own_folder: Path, capsys: pytest.CaptureFixture[str]
):
    keep_answers()
    (own_folder / "answers" / "mix_values.py").write_bytes(content)
    assert your_parts(even_wrong=True) == {}
    printed = capsys.readouterr().out
    assert said in printed and "mix_values.py" in printed and "0 of 25" in printed


def test_kept_answer_that_is_no_longer_right_is_told_and_used_on_request(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
):
    keep_answers()
    (own_folder / "answers" / "mix_values.py").write_text("def mix_values(w, v):\n    return w.mT @ v\n")
    assert your_parts() == {}
    assert "who attends to me" in capsys.readouterr().out
    assert list(your_parts(even_wrong=True)) == ["mix_values"]


@pytest.mark.parametrize("name", PARTS)
def test_book_s_answer_as_a_learner_would_write_it_is_kept(name: str):
    exercise = exercises()[name]
    lines = "import math\nimport torch\nfrom collections import Counter\n"
    answer = notebook(lines + exercise.solution)[name]
    again = load(exercise, source_of(answer))
    assert again is not exercise.reference
    assert learner.grade(exercise, again).status == "right"


def test_loading_leaves_the_book_s_names_alone():
    exercise = exercises()["mix_values"]
    load(exercise, "math = None\ndef mix_values(w, v):\n    return w @ v")
    assert exercise.reference.__globals__["math"] is math
    with pytest.raises(DamagedAnswer):
        load(exercise, "from nowhere import nothing")


# The last page


def test_certificate_says_what_is_whose(batch: Batch):
    compared = compare(random_model(), batch)
    page = Certificate(("embed",), compared, 9, (("a <b>", "ein b"),), (93, 100), 90.25)
    text, shown = str(page), DisplayFormatter().format(page)[0]["text/html"]
    equal = "equal to the package's in 26 stages and to the book's answers in 2"
    assert f"1 of its 25 parts are yours; it is {equal}" in text
    assert "✔ 1.2 embed" in text and "○ 3.3 mix_values" in text and "BLEU 90.2" in text
    assert "a &lt;b&gt;" in shown and 'data-status="right"' in shown
    assert sum(COLUMNS.values()) == len(PARTS)


def test_nobody_s_model_gets_no_certificate(batch: Batch):
    compared = compare(random_model(), batch)
    assert str(compared).startswith("The book's parts and the package")
    assert str(compare(random_model(embed=RIGHT["embed"]["loop"]), batch)).startswith("Your model and the package")
    page = Certificate((), compared, 9, (("a", "ein"),), (93, 100), 90.25)
    shown = DisplayFormatter().format(page)[0]["text/html"]
    assert "No certificate yet" in str(page) and "ein" not in str(page)
    assert 'data-status="todo"' in shown and "Your own Transformer" not in shown


# The projects


def right_turn(x: torch.Tensor) -> torch.Tensor:
    """Rotary positions, in the form of Su et al. (2021)."""
    half = torch.arange(0, x.size(-1), 2, dtype=torch.float64)
    angle = torch.arange(x.size(-2))[:, None] * 10000.0 ** (-half / x.size(-1))
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def test_turn_that_knows_the_distance_alone_is_told_from_others():
    spread, reach, stretched = projects.distances(right_turn)
    assert spread < 1e-12 and reach > 0.1 and stretched < 1e-12
    spread, _, _ = projects.distances(lambda x: x + torch.arange(x.size(-2))[:, None])
    assert spread > 0.1
    assert projects.distances(lambda x: x)[1] < 1e-12


def test_too_few_examples_are_refused():
    with pytest.raises(ValueError, match="got 3 examples, expected at least 32"):
        next(learn(random_model(), EXAMPLES, steps=1, warmup=1))
    next(learn(random_model(), EXAMPLES, steps=1, warmup=1, size=3))  # all of them is enough
    tokenizer = Tokenizer.from_pretrained("embedded-en-de")
    with pytest.raises(ValueError, match="got 231 examples, expected at least 232"):
        projects.turning(right_turn, {}, tokenizer, 77 * EXAMPLES)


def test_one_update_is_a_training_too():
    goal = projects.turning(right_turn, {}, Tokenizer.from_pretrained("embedded-en-de"), 78 * EXAMPLES, steps=1)
    assert "after 1 updates" in str(goal)


@pytest.mark.slow
@pytest.mark.parametrize(("rotate", "unmet", "steps"), [(right_turn, 0, 120), (lambda x: x, 1, 6)])
def test_goal_of_turning(rotate: Callable[[Any], Any], unmet: int, steps: int):
    tokenizer = Tokenizer.from_pretrained("embedded-en-de")
    examples = encode_pairs(tokenizer, load_corpus("embedded")["train"][:4_000])
    goal = projects.turning(rotate, {}, tokenizer, examples, steps)
    assert goal.status == ("wrong" if unmet else "right")
    missed = [line for line in goal.measured if line.startswith("✘")]
    assert len(missed) == unmet and all("scores of other distances are up to 0.0 apart" in line for line in missed)


LANGUAGE = """
S: SUBJECT VERB OBJECT | SUBJECT OBJECT VERB   # the verb last
SUBJECT: the NOUN | NOUN ga
OBJECT: a ADJ NOUN | ADJ NOUN wo
""" + "\n".join(
    [f"NOUN: n{i} | m{i}" for i in range(12)]
    + [f"VERB: v{i} | u{i}" for i in range(8)]
    + ["ADJ: old | furui", "ADJ: new | atarashii"]
)


def test_grammar_gives_both_languages(tmp_path: Path):
    file = tmp_path / "language.txt"
    file.write_text(LANGUAGE, encoding="utf-8")
    grammar = projects.read_grammar(file)
    source, target = projects.sentence(grammar, projects.random.Random(3))
    assert source[0] == "the" and target[1] == "ga" and source[2].replace("v", "u") == target[-1]
    assert source[1].replace("n", "m") == target[0] and len(source) == 6 and len(target) == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("S the dog", "expected NAME"),
        ("S: N | x\nN: a | b", "other names"),
        ("S: S1 S2 | S2 S1", "the rules of S do not end"),
        ("S: N A | N A\nA: B a | B a\nB: A1 | A1\nB: N B | N B\nN: n | m", "the rules of S, A, B do not end"),
        ("# nothing yet", "has no rule, expected NAME: words | words"),
    ],
)
def test_grammar_with_a_mistake_is_refused(text: str, said: str, tmp_path: Path):
    (tmp_path / "language.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        projects.read_grammar(tmp_path / "language.txt")


def test_rules_that_lead_back_to_themselves_may_end(tmp_path: Path):
    file, draw = tmp_path / "language.txt", projects.random.Random(0)
    file.write_text("S: A n | n A\nA: |\n" + 9 * "A: A a | a A\n", encoding="utf-8")
    sentences = [projects.sentence(projects.read_grammar(file), draw) for _ in range(1_000)]
    assert all(source == target[::-1] for source, target in sentences)
    assert projects.DEEPEST / 2 < max(len(source) for source, _ in sentences) < projects.DEEPEST


def test_rules_that_hardly_ever_end_are_told(tmp_path: Path):
    file = tmp_path / "language.txt"
    file.write_text("S: A1 A2 A3 | A1 A2 A3\nA: a | b\n" + 99 * "A: A1 A2 | A2 A1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="a thousand sentences in a row"):
        projects.sentence(projects.read_grammar(file), projects.random.Random(0))


def test_language_that_is_not_there_or_too_small_has_not_reached_its_goal(tmp_path: Path):
    assert projects.own_language(tmp_path / "none.txt", {}).status == "todo"
    (tmp_path / "small.txt").write_text("S: a N | ein N\nN: dog | Hund", encoding="utf-8")
    small = projects.own_language(tmp_path / "small.txt", {})
    assert small.status == "wrong" and "1 different sentences" in str(small)


@pytest.mark.slow
def test_goal_of_a_language(tmp_path: Path):
    (tmp_path / "language.txt").write_text(LANGUAGE, encoding="utf-8")
    assert projects.own_language(tmp_path / "language.txt", {}).status == "right"
    too_short = projects.own_language(tmp_path / "language.txt", {}, steps=20)
    assert too_short.status == "wrong" and "0.0% of 200" in str(too_short)


def test_goal_of_captions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def translate(texts):
        """Nothing yet."""
        ...

    assert projects.captions(translate).status == "todo"
    (tmp_path / "multi30k").mkdir()
    monkeypatch.setenv("TRANSFORMER_DATA", str(tmp_path))
    absent = projects.captions(lambda texts: texts)
    assert absent.status == "todo" and "is missing" in str(absent)


@pytest.mark.skipif("TRANSFORMER_DATA" not in os.environ, reason="Multi30k is not on this machine")
def test_captions_are_scored():
    copied = projects.captions(lambda texts: texts)
    assert copied.status == "wrong" and "BLEU" in str(copied)
    target = [pair.target for pair in load_corpus("multi30k", "de", "en")["test"][:100]]
    assert projects.captions(lambda texts: target).status == "right"
    target = [pair.target for pair in load_corpus("multi30k", "en", "de")["test"][:100]]
    books = projects.captions(lambda texts: target, "en", "de")
    assert books.status == "wrong" and "✘ a direction that is not the book's" in str(books)
