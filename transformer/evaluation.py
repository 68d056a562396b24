"""Scores of translations and of the model behind them: BLEU, chrF, exact match, loss, accuracy (paper §6.1).

`invented_words` finds the words of a translation that nobody says; no score counts them.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import torch
from sacrebleu.metrics import BLEU, CHRF
from torch import Tensor

from transformer.decoding import DEFAULT_DECODING, DecodingConfig, translate
from transformer.loss import check_label_smoothing, row_chunks
from transformer.model import Transformer, evaluation_mode
from transformer.text.batches import Example, collate, encode_pairs, token_batches
from transformer.text.pairs import Pair, checked_pairs, checked_texts, normalised
from transformer.text.symbols import SPECIAL_TOKENS
from transformer.text.tokenizer import Tokenizer
from transformer.training import to_predict

BleuTokens = Literal["13a", "intl", "zh", "char", "none", "ja-mecab", "ko-mecab"]
"""what BLEU counts as a token, by sacreBLEU's names; the last two need its extras sacrebleu[ja] and sacrebleu[ko]"""
UNSPACED: dict[str, BleuTokens] = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "yue"), "zh"),
    **dict.fromkeys(("ja", "jpn", "th", "tha", "lo", "lao", "km", "khm"), "char"),
}
"""languages that put no spaces between words, where 13a would take a sentence for a word"""
LETTERS = re.compile(r"[^\W\d_]+")
"""a word of which is asked whether anybody says it"""
LINKS = ("", "e", "en", "er", "es", "n", "s")
"""what may stand between the parts of a German compound"""


def bleu_tokens(language: str) -> BleuTokens:
    """What BLEU should count in a language, such as "de" or "zh-TW": 13a, sacreBLEU's standard, unless it is unspaced.

    Japanese is counted by characters, which needs nothing installed; others often publish "ja-mecab".
    """
    return UNSPACED.get(language.lower().replace("_", "-").split("-")[0], "13a")


@dataclass(frozen=True)
class TeacherForced:
    """Scores of a model that is given the right words before each word that it predicts (teacher forcing)."""

    loss: float
    """mean label-smoothed cross-entropy, in nats per token: what training minimises"""
    nll: float
    """mean negative log-likelihood without smoothing, in nats per token"""
    accuracy: float
    """share of tokens whose most likely prediction is right"""

    @property
    def perplexity(self) -> float:
        """exp(nll): among how many tokens a blind guess would do as well."""
        return float(torch.tensor(self.nll, dtype=torch.float64).exp())  # where it is infinite, math.exp would raise


@torch.inference_mode()
def teacher_forced(
    model: Transformer, examples: Sequence[Example], label_smoothing: float = 0.0, batch_tokens: int = 8_192
) -> TeacherForced:
    """Score the examples with the right words as input; padding does not count, dropout is off.

    Raises ValueError where there is nothing to score, and for a label smoothing outside 0 to 1.
    """
    if not examples:
        raise ValueError("got no examples to score, expected at least one sentence pair")
    check_label_smoothing(label_smoothing)
    nll = even = 0.0  # sums, against the right tokens and against all tokens alike
    n_correct = n_tokens = 0
    with evaluation_mode(model):
        for indices in token_batches(examples, batch_tokens, seed=0, epoch=0):
            batch = collate([examples[i] for i in indices]).to(model.device)
            hidden, targets = to_predict(model, batch)  # (n, D), (n,)
            for rows in row_chunks(len(hidden), len(model.output.weight), model.device):
                sums = _summed_scores(model.output(hidden[rows]), targets[rows])
                nll, even, n_correct = nll + sums[0], even + sums[1], n_correct + sums[2]
            n_tokens += len(targets)
    loss = (1 - label_smoothing) * nll + label_smoothing * even  # the target: ε/V on every token, 1 − ε more on one
    return TeacherForced(loss / n_tokens, nll / n_tokens, n_correct / n_tokens)


def _summed_scores(logits: Tensor, targets: Tensor) -> tuple[float, float, int]:
    """For logits (n, V) and right tokens (n,), summed: −log p of the right one, mean −log p of all V, and hits."""
    log_p = torch.log_softmax(logits, -1, dtype=torch.promote_types(logits.dtype, torch.float32))  # (n, V)
    n_correct = (logits.argmax(-1) == targets).sum()
    return -log_p.gather(1, targets[:, None]).sum().item(), -log_p.mean(-1).sum().item(), int(n_correct)


@dataclass(frozen=True)
class Bleu:
    """A corpus BLEU score with the settings that make it comparable (Post 2018)."""

    score: float
    """0 to 100"""
    signature: str
    """sacreBLEU's description of tokenisation, casing, smoothing and version"""

    def __str__(self) -> str:
        return f"BLEU = {self.score:.2f} ({self.signature})"


def bleu(
    hypotheses: Sequence[str], references: Sequence[str], tokens: BleuTokens = "13a", decoded: bool = False
) -> Bleu:
    """Corpus BLEU by sacreBLEU, cased, with its standard tokenisation 13a unless told otherwise: plain text in.

    There is one reference each. Chinese and other texts without spaces need other `tokens`, see `bleu_tokens`; the
    signature names them. Warns where no reference has four tokens, so that no four-gram can match: then BLEU is 0, or
    owes its number to smoothing.

    Raises TypeError for a single string and for what is no string, such as a list of references or a missing value;
    ValueError for lists of unequal length, empty lists, tokens of another name or whose library is missing, and
    hypotheses with special tokens in them, which would count as words. With `decoded`
    they are text for sure, which may spell such a token like any other.
    """
    hypotheses, references = checked_texts(hypotheses), checked_texts(references)
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"got {len(hypotheses)} hypotheses and {len(references)} references, expected one hypothesis for each "
            "reference and at least one; a sentence that was not translated is an empty string"
        )
    for i, text in enumerate(hypotheses):
        marks = sorted(set(SPECIAL_TOKENS).intersection(text.split()))
        if marks and not decoded:
            raise ValueError(
                f"hypothesis {i} holds {', '.join(marks)}: {text!r}; special tokens would be scored as words, "
                "decode the ids with Tokenizer.decode, which leaves them out"
            )
    metric = _metric(tokens)
    if metric.corpus_score(references, [references]).totals[-1] == 0:
        warnings.warn(
            f"no reference has four tokens as {tokens} counts them, so no four-gram can match: BLEU is 0, or owes its "
            "number to smoothing; count other tokens (char, for a language without spaces), or report chrF",
            stacklevel=2,
        )
    score = metric.corpus_score(hypotheses, [references])
    return Bleu(score.score, str(metric.get_signature()))


def _metric(tokens: BleuTokens) -> BLEU:
    """What computes BLEU on such tokens; raises ValueError for another name, or where a library is missing."""
    if tokens not in get_args(BleuTokens):
        raise ValueError(f"BLEU's tokens are {tokens!r}, expected one of {', '.join(get_args(BleuTokens))}")
    try:
        return BLEU(force=True, tokenize=tokens)  # no word on full stops that stand apart, as the embedded corpus's
    except RuntimeError as error:
        raise ValueError(
            f"{tokens} needs a library: pip install 'sacrebleu[{tokens[:2]}]'; or count \"char\""
        ) from error


def exact_match(hypotheses: Sequence[str], pairs: Sequence[Pair]) -> float:
    """The share of hypotheses that equal a right translation of their pair, character for character.

    Where a pair has several right translations, each of them counts. Raises ValueError for unequal lengths, TypeError
    for a single string, and for what is no string or no `Pair`.
    """
    hypotheses, pairs = checked_texts(hypotheses), checked_pairs(pairs)
    if len(hypotheses) != len(pairs) or not pairs:
        raise ValueError(f"got {len(hypotheses)} hypotheses for {len(pairs)} pairs, expected one each and at least one")
    return sum(h in pair.translations for h, pair in zip(hypotheses, pairs, strict=True)) / len(pairs)


def invented_words(texts: Sequence[str], known: Sequence[str]) -> list[list[str]]:
    """The words of each text that stand in no known text and are no German compound of words that do, in their order.

    A word is a run of letters, in lower case. A compound is two known words or more, of three letters at least, with
    nothing or a linking element between them. Good words that are rare are found as well, and a wrong compound is not.

    Raises TypeError for a single string and for what is no string.
    """
    known_words = {word for text in checked_texts(known) for word in _words(text)}
    parts = {word for word in known_words if len(word) >= 3}
    longest = max(map(len, parts), default=0)

    @cache
    def is_compound(word: str) -> bool:
        """Whether parts, and links between them, make up the word; a part alone does, too."""
        starts = {0}  # where a part may begin, as parts and links make up what stands before
        for start in range(len(word)):
            if start in starts:
                if word[start:] in parts:
                    return True
                ends = range(start + 3, min(start + longest + 1, len(word) - 2))
                found = [end for end in ends if word[start:end] in parts]
                starts.update(end + len(link) for end in found for link in LINKS if word.startswith(link, end))
        return False

    return [
        [word for word in _words(text) if word not in known_words and not is_compound(word)]
        for text in checked_texts(texts)
    ]


def _words(text: str) -> list[str]:
    return LETTERS.findall(text.lower())


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on sentence pairs, and its translations."""

    bleu: Bleu
    """of the translations against the references"""
    chrf: float
    """of the same texts, 0 to 100: F-score of runs of one to six characters (Popović 2015), by sacreBLEU"""
    exact_match: float
    """share of translations that equal a right one, character for character"""
    token_accuracy: float
    """teacher-forced: share of tokens whose likeliest prediction is right"""
    perplexity: float
    """teacher-forced: e to the mean negative log-likelihood per token, without label smoothing"""
    translations: list[str]
    """one for each pair, in order"""


def evaluate(
    model: Transformer,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    decoding: DecodingConfig = DEFAULT_DECODING,
    tokens: BleuTokens = "13a",
) -> Evaluation:
    """Translate the sources and compare with the targets, all `normalised`; then score the targets themselves.

    `tokens` are BLEU's (see `bleu`). Raises ValueError where there is nothing to evaluate, TypeError for what is no
    `Pair`, and what `bleu` raises.
    """
    _metric(tokens)  # first, so that what is missing is told before an hour of translating
    pairs = [_normalised_pair(pair) for pair in checked_pairs(pairs)]
    scores = teacher_forced(model, encode_pairs(tokenizer, pairs))
    translations = translate(model, tokenizer, [pair.source for pair in pairs], decoding)
    references = [pair.target for pair in pairs]
    return Evaluation(
        bleu=bleu(translations, references, tokens, decoded=True),
        chrf=CHRF().corpus_score(translations, [references]).score,
        exact_match=exact_match(translations, pairs),
        token_accuracy=scores.accuracy,
        perplexity=scores.perplexity,
        translations=translations,
    )


def _normalised_pair(pair: Pair) -> Pair:
    others = tuple((normalised(text), probability) for text, probability in pair.alternatives)
    return replace(pair, source=normalised(pair.source), target=normalised(pair.target), alternatives=others)
