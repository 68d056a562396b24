"""Score trainings on Multi30k that differ in their vocabulary, on the validation captions, for chapter 10.

    for n in 5000 10000; do
        python -m transformer train --run runs/v$n --vocab-size $n --steps 1500 --warmup 500 --bpe-dropout-until 1125
    done
    python -m tools.vocabulary_log runs/v5000 runs/v10000
"""

import json
import math
from pathlib import Path
from typing import Any

import tyro

from tools.ship import LAST, SEARCHES, all_targets, n_invented, tokens_per_target
from transformer.evaluation import evaluate
from transformer.files import SHIPPED, read_json
from transformer.runs.checkpoints import load
from transformer.text.corpora import Corpus, load_corpus

OUTPUT = SHIPPED / "multi30k-en-de" / "vocabularies.json"


def scores(run: Path, corpus: Corpus, known: list[str]) -> dict[str, Any]:
    """How a run was set, and what its best checkpoint scores; the loss in nats per caption, since tokens differ."""
    model, tokenizer = load(run)
    result = evaluate(model, tokenizer, corpus["val"], SEARCHES[LAST])
    tokens = tokens_per_target(tokenizer, corpus["val"])
    return {
        "vocab_size": len(tokenizer),
        "d_ff": model.config.d_ff,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": read_json(run / "config.json")["training"]["steps"],
        "val_tokens": round(tokens, 2),
        "val_nats": round(math.log(result.perplexity) * tokens, 2),
        "val_bleu": round(result.bleu.score, 2),
        "val_invented": n_invented(result, known),
    }


def main(runs: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Write the scores of each run beside the shipped model."""
    corpus = load_corpus("multi30k")
    known = all_targets(corpus)
    rows = [scores(run, corpus, known) for run in runs]
    OUTPUT.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
