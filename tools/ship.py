"""Put a trained model into the package, so that `Transformer.from_pretrained(name)` finds it everywhere.

    python -m tools.ship runs/multi30k-en-de multi30k-en-de --others runs/seed1 runs/seed2

Half precision, with its tokenizer and a model card that says what it is, how it was made and what it scores.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import tyro

from tools.live_weights import IN_BYTES, in_the_page
from transformer.decoding import DecodingConfig
from transformer.evaluation import Evaluation, evaluate, invented_words
from transformer.files import SHIPPED, read_json, saved_checkpoints, step_of
from transformer.model import Transformer
from transformer.runs.checkpoints import load
from transformer.text.corpora import NAMED, Corpus, load_corpus
from transformer.text.pairs import Pair
from transformer.text.tokenizer import Tokenizer
from transformer.training import TrainingConfig

SEARCHES = {"greedy": DecodingConfig("greedy"), "beam 4, α = 1": DecodingConfig("beam", beam=4, alpha=1.0)}
LAST = list(SEARCHES)[-1]
"""the search by which trainings are compared"""
SETTINGS = ("vocab_size", "d_ff", "dropout", "seed", "steps", "bpe_dropout", "bpe_dropout_until")
"""in what the listed trainings differ"""
LANGUAGES = {"en": "English", "de": "German", "fr": "French"}
CARD = """# {name}

A Transformer that translates {from_language} into {to_language}: {norm}-norm, {n_layers} + {n_layers} layers,
d_model {d_model}, {n_heads} heads, d_ff {d_ff}, dropout {dropout}, {parameters:,} parameters, {vocab_size:,} tokens,
in half precision.

**Data and terms.** {terms}

**Recipe.** {steps:,} updates; {weights}. {batch},
Adam (0.9, 0.98), schedule {schedule} with {warmup:,} updates of warm-up to {peak_rate}, label smoothing
{label_smoothing}, BPE-dropout {bpe_dropout}{until}, seed {seed}. To make it again:

```sh
python -m transformer train --corpus {corpus}
python -m tools.ship runs/{corpus}-{source}-{target} {name}
```

**Scores** on the test split ({n:,} sentences):

| search | BLEU | chrF | exact match | invented words |
|---|---|---|---|---|
{scores}

Signature: `{signature}`.
Invented words stand in no {to_language} text of the corpus, and are no compounds of words that do.
{others}
**Limits.** {limits}
"""

OTHERS = """
**Chance.** Other trainings, perhaps on another machine, {search}, on the test split; the first line is the model of
the table above. `seeds.json` has these scores and those on the validation split.

| tokens | d_ff | seed | updates | dropout | BPE-dropout | BLEU | chrF | exact match | invented words |
|---|---|---|---|---|---|---|---|---|---|
{rows}
"""


def main(
    run: tyro.conf.Positional[Path], name: tyro.conf.Positional[str], average: int = 1, others: tuple[Path, ...] = ()
) -> None:
    """Score a trained model, or the mean of its last checkpoints, and write `transformer/pretrained/NAME`.

    `others` are trainings with other seeds, which show how much of a score is chance, or with other settings. Beside
    those that an earlier call left in `seeds.json` there, they are listed in the card.
    """
    stored = read_json(run / "config.json")
    settings = asdict(TrainingConfig(**stored["training"]))
    corpus = load_corpus(stored["corpus"], stored["source"], stored["target"])
    model, tokenizer = load(run, average, "cpu")
    folder = SHIPPED / name
    folder.mkdir(parents=True, exist_ok=True)  # logs that lie there stay
    model.save_pretrained(folder, dtype=torch.float16)
    tokenizer.save(folder / "tokenizer.json")
    results = scores_of(name, corpus)
    known = all_targets(corpus)
    rows = [told(run, Transformer.from_pretrained(name), tokenizer, corpus, known, results[LAST])]
    rows += [told(other, *load(other, 1, "cpu"), corpus, known) for other in others]
    rows = logged(folder / "seeds.json", rows)
    card = CARD.format(
        **asdict(model.config), **{key: settings[key] for key in settings if key != "steps"}, **stored_names(stored),
        from_language=LANGUAGES[stored["source"]], to_language=LANGUAGES[stored["target"]],
        name=name, terms=NAMED[corpus.name].terms, limits=NAMED[corpus.name].limits, n=len(corpus["test"]),
        steps=step_of(saved_checkpoints(run)[-1]),
        parameters=sum(p.numel() for p in model.parameters()),
        until=until(settings["bpe_dropout_until"]),
        batch=f"Batches of {settings['batch_size']} sentences" if settings["batch_size"]
        else f"Batches of {settings['batch_tokens']:,} tokens by length",
        weights=f"mean of the last {average} checkpoints" if average > 1 else "the checkpoint of least validation loss",
        scores="\n".join(table_row(search, test_scores(result, known)) for search, result in results.items()),
        others=chance(rows) if len(rows) > 1 else "",
        signature=results["greedy"].bleu.signature,
    )  # fmt: skip
    (folder / "README.md").write_text(card, encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder.name}: {size:.2f} MB\n{card}")


def scores_of(name: str, corpus: Corpus) -> dict[str, Evaluation]:
    """The scores of a shipped model on the test split, by each search; of one whose weights the page rounds, so too."""
    model, tokenizer = Transformer.from_pretrained(name), Tokenizer.from_pretrained(name)  # what is stored
    results = {search: evaluate(model, tokenizer, corpus["test"], config) for search, config in SEARCHES.items()}
    if IN_BYTES.get(name):
        model.load_weights(in_the_page(name))
        results[f"{LAST}, a byte a weight as in the page"] = evaluate(model, tokenizer, corpus["test"], SEARCHES[LAST])
    return results


def told(
    run: Path, model: Transformer, tokenizer: Tokenizer, corpus: Corpus, known: list[str],
    tested: Evaluation | None = None,
) -> dict[str, Any]:  # fmt: skip
    """How a run was set, and what a model of it scores by `LAST`, for `seeds.json`; `tested` on the test split."""
    set_to = asdict(TrainingConfig(**read_json(run / "config.json")["training"])) | asdict(model.config)
    row = {name: set_to[name] for name in SETTINGS}
    tested = tested or evaluate(model, tokenizer, corpus["test"], SEARCHES[LAST])
    for split, result in {"val": evaluate(model, tokenizer, corpus["val"], SEARCHES[LAST]), "test": tested}.items():
        nats = math.log(result.perplexity) * tokens_per_target(tokenizer, corpus[split])
        row |= {f"{split}_nats": round(nats, 2), f"{split}_bleu": round(result.bleu.score, 2)}
    of_test = test_scores(tested, known)
    digits = {"test_chrf": 1, "test_exact_match": 3, "test_invented": None}
    return row | {name: round(of_test[name], n) for name, n in digits.items()}


def tokens_per_target(tokenizer: Tokenizer, pairs: Sequence[Pair]) -> float:
    """How many tokens a translation has on average, with EOS; the loss times this compares models of any tokenizer."""
    targets = tokenizer.encode_all([pair.target for pair in pairs])
    return sum(len(target) + 1 for target in targets) / len(targets)


def logged(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows` and those of other trainings that the log has, whose runs may be gone by now; written if there are any."""
    set_to = [[row[name] for name in SETTINGS] for row in rows]
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    rows = [*rows, *(row for row in before if [row[name] for name in SETTINGS] not in set_to)]
    if len(rows) > 1:
        path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return rows


def chance(rows: list[dict[str, Any]]) -> str:
    """The card's table of the trainings, which differ in `SETTINGS`."""
    lines = []
    for row in rows:
        sizes = f"{row['vocab_size']:,} | {row['d_ff']}"
        merges = f"{row['bpe_dropout']}{until(row['bpe_dropout_until'])}"
        lines.append(table_row(f"{sizes} | {row['seed']} | {row['steps']:,} | {row['dropout']} | {merges}", row))
    return OTHERS.format(search=LAST, rows="\n".join(lines))


def test_scores(result: Evaluation, known: list[str]) -> dict[str, float]:
    """What the card tells of the test split, by the names that `seeds.json` has for it."""
    return {
        "test_bleu": result.bleu.score,
        "test_chrf": result.chrf,
        "test_exact_match": result.exact_match,
        "test_invented": n_invented(result, known),
    }


def table_row(name: str, scores: Mapping[str, Any]) -> str:
    """A line of a table of the card."""
    cells = "{test_bleu:.1f} | {test_chrf:.1f} | {test_exact_match:.3f} | {test_invented}".format_map(scores)
    return f"| {name} | {cells} |"


def until(update: int | None) -> str:
    """How long merges were left out, in words; nothing where it was to the end."""
    return f" until update {update:,}" if update else ""


def all_targets(corpus: Corpus) -> list[str]:
    """Every text of a corpus in the language translated into."""
    return [pair.target for split in corpus.splits for pair in corpus[split]]


def n_invented(result: Evaluation, known: list[str]) -> int:
    """How many words of the translations are in no known text, and are no compounds of words that are."""
    return sum(map(len, invented_words(result.translations, known)))


def stored_names(stored: dict[str, str]) -> dict[str, str]:
    """The corpus and the two languages of a run."""
    return {key: stored[key] for key in ("corpus", "source", "target")}


if __name__ == "__main__":
    tyro.cli(main)
