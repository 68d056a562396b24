"""Evaluation: the numbers are those of sacreBLEU and of the definitions, and wrong input is refused, not scored."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import sacrebleu
import torch
from hypothesis import given
from hypothesis import strategies as st

from transformer import loss as loss_module
from transformer.decoding import DecodingConfig, translate
from transformer.evaluation import bleu, bleu_tokens, evaluate, exact_match, invented_words, teacher_forced
from transformer.model import Transformer
from transformer.text.batches import Example, encode_pairs
from transformer.text.pairs import Pair
from transformer.text.symbols import BOS, EOS, SPECIAL_TOKENS
from transformer.text.tokenizer import Tokenizer

EXAMPLES: list[Example] = [([4, 5, 6], [7, 8]), ([5], [9, 10, 4, 5, 6]), ([6, 7], []), ([8, 8, 8, 8, 8], [4])]

WORDS = ["the", "a", "dog", "dogs", "sleep", "sleeps", ".", ",", "don't", "3.5", "Der", "über"]
sentences = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


# BLEU


@pytest.mark.filterwarnings("ignore:no reference has four tokens")
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=8))
def test_bleu_is_sacrebleu_s(pairs: list[tuple[str, str]]):
    hypotheses, references = (list(side) for side in zip(*pairs, strict=True))
    assert bleu(hypotheses, references).score == sacrebleu.corpus_bleu(hypotheses, [references]).score


def test_bleu_says_how_it_was_computed():
    result = bleu(["a dog sleeps here"], ["a dog sleeps here"])
    assert result.score == pytest.approx(100)
    for part in ("nrefs:1", "case:mixed", "tok:13a", "smooth:exp", f"version:{sacrebleu.__version__}"):
        assert part in result.signature.split("|")
    assert str(result) == f"BLEU = 100.00 ({result.signature})"


def test_bleu_is_of_the_corpus_not_a_mean_of_sentences():
    hypotheses, references = ["a b c d e", "x"], ["a b c d e", "y"]
    mean = sum(sacrebleu.sentence_bleu(h, [r]).score for h, r in zip(hypotheses, references, strict=True)) / 2
    assert bleu(hypotheses, references).score == sacrebleu.corpus_bleu(hypotheses, [references]).score > mean


def test_bleu_sees_case():
    assert bleu(["der hund schläft hier"], ["Der Hund schläft hier"]).score < 50


@pytest.mark.parametrize("mark", SPECIAL_TOKENS)
def test_special_tokens_are_not_scored_as_words(mark: str):
    with pytest.raises(ValueError, match=rf"hypothesis 1 holds {mark}: .*Tokenizer\.decode"):
        bleu(["a dog", f"a dog {mark}"], ["a dog", "a dog"])


@pytest.mark.parametrize(("hypotheses", "references"), [(["a"], ["a", "b"]), (["a", "b"], ["a"]), ([], [])])
def test_every_reference_needs_its_hypothesis(hypotheses: list[str], references: list[str]):
    with pytest.raises(ValueError, match=rf"got {len(hypotheses)} hypotheses and {len(references)} references"):
        bleu(hypotheses, references)


def test_untranslated_sentence_is_an_empty_string_and_costs():
    references = ["a dog sleeps here", "the dogs sleep there"]
    assert 0 < bleu([references[0], ""], references).score < 100


@pytest.mark.parametrize(
    ("language", "tokens", "texts"),
    [
        ("zh", "zh", ["我喜欢这只小猫。", "今天天气很好。"]),
        ("zh-TW", "zh", ["我喜歡這隻小貓。"]),
        ("cmn", "zh", ["我喜欢这只小猫。"]),
        ("ja", "char", ["犬が走っています。"]),
        ("jpn", "char", ["犬が走っています。"]),
        ("th", "char", ["ฉันรักแมวตัวนี้"]),
        ("lo", "char", ["ຂ້ອຍຮັກແມວໂຕນີ້"]),
        ("km", "char", ["ខ្ញុំស្រលាញ់ឆ្មានេះ"]),
        ("de", "13a", ["Der Hund läuft."]),
    ],
)
def test_right_translation_scores_100_in_every_script(language: str, tokens: str, texts: list[str]):
    found = bleu(texts, texts, bleu_tokens(language))
    assert found.score == pytest.approx(100)
    assert f"tok:{tokens}" in found.signature.split("|")
    assert 0 <= bleu([text[:-2] for text in texts], texts, bleu_tokens(language)).score < 99


def test_score_that_says_nothing_is_not_given_without_a_word():
    for hypothesis, reference, score in (("我喜欢这只小猫。", "我喜欢这只小猫。", 0), ("a b c d e", "a b c", 39.76)):
        with pytest.warns(UserWarning, match="no reference has four tokens as 13a counts them, so no four-gram"):
            assert bleu([hypothesis], [reference]).score == pytest.approx(score, abs=0.01)


def test_unknown_tokens_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"BLEU's tokens are 'mecab', expected one of 13a, .*ja-mecab"):
        bleu(["a"], ["a"], "mecab")  # type: ignore[arg-type]


@pytest.mark.skipif(find_spec("MeCab") is not None, reason="MeCab is installed")
def test_missing_library_of_a_tokenisation_is_named():
    with pytest.raises(ValueError, match=r"ja-mecab needs a library: pip install 'sacrebleu\[ja\]'; or count"):
        bleu(["犬"], ["犬"], "ja-mecab")


# Exact match


def test_exact_match_counts_whole_sentences():
    pairs = [Pair("a", "eins zwei"), Pair("b", "drei"), Pair("c", "vier"), Pair("d", "")]
    assert exact_match(["eins zwei", "drei !", "Vier", ""], pairs) == 0.5


def test_every_right_translation_counts():
    pair = Pair("maybe", "vielleicht", alternatives=(("vielleicht", 0.6), ("es kann sein", 0.4)))
    assert exact_match(["es kann sein", "vielleicht", "nie"], [pair] * 3) == pytest.approx(2 / 3)


def test_one_string_is_no_list_of_texts():
    for score in (lambda: bleu("ab", "ab"), lambda: bleu(["a", "b"], "ab"), lambda: exact_match("a", [Pair("a", "a")])):
        with pytest.raises(TypeError, match=r"got one string, .*, expected a list of texts"):
            score()


@pytest.mark.parametrize("wrong", [["a b c d"], None, math.nan, 5], ids=str)
def test_what_is_no_string_is_scored_by_nothing(wrong: Any):
    """A list of references for each sentence, as other libraries take it, or a value that was missing in a table."""
    good, pairs = ["a b c d"] * 2, [Pair("a", "a b c d")] * 2
    for score in (lambda *texts: bleu(good, *texts), lambda t: bleu(t, good), lambda t: exact_match(t, pairs)):
        with pytest.raises(TypeError, match=r"text 1 is the .*, expected a string, one for each sentence"):
            score(["a b c d", wrong])
    assert bleu(iter(good), iter(good)).score == pytest.approx(100)


def test_what_is_no_pair_is_scored_by_nothing(tiny_model: Callable[..., Transformer]):
    tokenizer = Tokenizer.words(["a b"])
    for score in (lambda p: exact_match(["a"], p), lambda p: evaluate(tiny_model(), tokenizer, p)):
        with pytest.raises(TypeError, match=r"got tuple \('a', 'b'\), expected a Pair .*Pair\(source, target\)"):
            score([("a", "b")])


def test_exact_match_needs_a_hypothesis_for_each_pair():
    with pytest.raises(ValueError, match="got 1 hypotheses for 2 pairs"):
        exact_match(["a"], [Pair("a", "a")] * 2)
    with pytest.raises(ValueError, match="at least one"):
        exact_match([], [])


# Invented words

KNOWN = ["Ein Kind trägt eine Kleidung.", "Die Maus in der Tasche des Hundes", "Zwei Autos, 3 Bälle an"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("DIE kind trägt 3 Bälle, an!", []),  # as known, whatever the case
        ("Kinddie Maustasche Kindermaus Kleidungstasche Autosballe", ["autosballe"]),
        ("Mauseintasche", []),  # three parts
        ("Kindan anKind", ["kindan", "ankind"]),  # a part has three letters at least
        ("Kindxmaus Kinds Tascher", ["kindxmaus", "kinds", "tascher"]),  # a link stands between parts, nowhere else
        ("Auto-Tasche eine_Maus", ["auto"]),  # runs of letters
        ("", []),
    ],
)
def test_a_word_is_invented_if_it_is_neither_known_nor_a_compound(text: str, found: list[str]):
    assert invented_words([text], KNOWN) == [found]


def test_invented_words_come_in_their_order_and_as_often_as_they_are_written():
    assert invented_words(["Bork eine Maus alp bork", "", "Alp"], KNOWN) == [["bork", "alp", "bork"], [], ["alp"]]
    assert invented_words(["Alp"], []) == [["alp"]] and invented_words([], KNOWN) == []


def test_words_of_any_length_are_looked_at():
    word = "ab" * 2_000  # more parts than Python has levels of calls
    assert invented_words([word, f"{word}x"], ["aba bab abab"]) == [[], [f"{word}x"]]


def test_invented_words_are_looked_for_in_lists_of_texts():
    for arguments in (("ab", ["ab"]), (["ab"], "ab"), (["ab"], [None]), ([5], ["ab"])):
        with pytest.raises(TypeError, match="expected a"):
            invented_words(*arguments)  # type: ignore[arg-type]


# With the right words as input


def by_hand(model: Transformer, examples: list[Example], epsilon: float) -> tuple[float, float, float]:
    """Smoothed loss, negative log-likelihood and accuracy, one sentence and one word at a time."""
    loss = nll = right = n = 0
    for source, target in examples:
        words = [BOS, *target, EOS]
        log_probs = model(torch.tensor([[*source, EOS]]), torch.tensor([words[:-1]]))[0].log_softmax(-1)
        for row, word in zip(log_probs, words[1:], strict=True):
            nll -= row[word].item()
            loss -= (1 - epsilon) * row[word].item() + epsilon * row.mean().item()
            right += int(row.argmax()) == word
            n += 1
    return loss / n, nll / n, right / n


@pytest.mark.parametrize("batch_tokens", [1, 12, 8_192])
def test_scores_are_those_of_word_by_word_counting(tiny_model: Callable[..., Transformer], batch_tokens: int):
    model = tiny_model().double()
    with torch.no_grad():  # a model that is right now and then
        model.output.weight *= 8
    found = teacher_forced(model, EXAMPLES, label_smoothing=0.2, batch_tokens=batch_tokens)
    loss, nll, accuracy = by_hand(model, EXAMPLES, 0.2)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.nll == pytest.approx(nll, rel=1e-5)
    assert found.accuracy == pytest.approx(accuracy)
    assert found.perplexity == pytest.approx(math.exp(nll), rel=1e-5)


@pytest.mark.parametrize("most", [1, 5])
def test_few_logits_exist_at_a_time_and_all_are_computed_once(
    tiny_model: Callable[..., Transformer], monkeypatch: pytest.MonkeyPatch, most: int
):
    model, n_rows = tiny_model().double(), []
    whole = teacher_forced(model, EXAMPLES, label_smoothing=0.2)
    monkeypatch.setitem(loss_module.LOGITS_AT_ONCE, "cpu", most * model.config.vocab_size)
    model.output.register_forward_hook(lambda _, inputs, logits: n_rows.append(len(logits)))
    found = teacher_forced(model, EXAMPLES, label_smoothing=0.2)
    assert max(n_rows) == most and sum(n_rows) == sum(len(target) + 1 for _, target in EXAMPLES)
    assert (found.loss, found.nll) == pytest.approx((whole.loss, whole.nll)) and found.accuracy == whole.accuracy


@pytest.mark.parametrize("smoothing", [1.5, -0.1, math.nan])
def test_smoothing_of_a_score_is_a_share(tiny_model: Callable[..., Transformer], smoothing: float):
    with pytest.raises(ValueError, match=f"label_smoothing is {smoothing}, expected a share from 0 to 1"):
        teacher_forced(tiny_model(), EXAMPLES, smoothing)


def test_perplexity_of_a_model_that_knows_nothing_is_the_size_of_the_vocabulary(
    tiny_model: Callable[..., Transformer],
):
    model = tiny_model(tie_embeddings=False)
    torch.nn.init.zeros_(model.output.weight)
    found = teacher_forced(model, EXAMPLES, label_smoothing=0.1)
    assert found.perplexity == pytest.approx(model.config.vocab_size, rel=1e-5)
    assert found.loss == pytest.approx(found.nll, rel=1e-5)


def test_scoring_uses_no_dropout_and_leaves_the_model_in_its_mode(tiny_model: Callable[..., Transformer]):
    model = tiny_model(dropout=0.5)
    expected = teacher_forced(model, EXAMPLES)
    assert teacher_forced(model.train(), EXAMPLES) == expected
    assert model.training


def test_nothing_to_score_is_refused(tiny_model: Callable[..., Transformer]):
    with pytest.raises(ValueError, match="no examples to score, expected at least one"):
        teacher_forced(tiny_model(), [])


# Everything together


def test_evaluation_reports_what_its_parts_report(tiny_model: Callable[..., Transformer]):
    pairs = [Pair("a b", "c d e a b"), Pair("c", "a"), Pair("d a", "b b")]
    tokenizer = Tokenizer.words(text for pair in pairs for text in (pair.source, pair.target))
    model, decoding = tiny_model(vocab_size=len(tokenizer)), DecodingConfig(beam=2, max_length=8)
    result = evaluate(model, tokenizer, pairs, decoding)
    scores = teacher_forced(model, encode_pairs(tokenizer, pairs))
    assert result.translations == translate(model, tokenizer, [pair.source for pair in pairs], decoding)
    assert result.bleu == bleu(result.translations, [pair.target for pair in pairs])
    assert result.chrf == sacrebleu.corpus_chrf(result.translations, [[pair.target for pair in pairs]]).score
    assert result.exact_match == exact_match(result.translations, pairs)
    assert (result.token_accuracy, result.perplexity) == (scores.accuracy, scores.perplexity)


def test_equal_text_is_equal_however_it_was_typed(tiny_model: Callable[..., Transformer]):
    composed, apart = "un caf\u00e9 est l\u00e0", "un  cafe\u0301 est la\u0300\t"
    tokenizer = Tokenizer.bpe([composed, apart], 300)
    model, decoding = tiny_model(vocab_size=len(tokenizer)), DecodingConfig("greedy", max_length=8)
    one, other = (evaluate(model, tokenizer, [Pair(text, text)], decoding) for text in (composed, apart))
    assert one == other
    assert translate(model, tokenizer, [apart + "\n"], decoding) == translate(model, tokenizer, [composed], decoding)


def test_pairs_are_encoded_side_by_side():
    tokenizer = Tokenizer.words(["a b"])
    a, b = (tokenizer.encode(word)[0] for word in "ab")
    assert encode_pairs(tokenizer, [Pair("a a b", "b"), Pair("a", "b b")]) == [([a, a, b], [b]), ([a], [b, b])]
