"""Score trainings on Multi30k that differ in their vocabulary, on the validation captions, for chapter 10.

    for n in 5000 10000; do
        python -m transformer train --run runs/v$n --vocab-size $n --steps 1500 --warmup 500 --bpe-dropout-until 1125
    done
    python -m tools.vocabulary_log runs/v5000 runs/v10000
"""

import json
from pathlib import Path
from typing import Any

import tyro

from transformer.decoding import DecodingConfig, translate
from transformer.evaluation import bleu, invented_words, teacher_forced
from transformer.files import SHIPPED, read_json
from transformer.runs.checkpoints import load
from transformer.text.batches import encode_pairs
from transformer.text.corpora import load_corpus

OUTPUT = SHIPPED / "multi30k-en-de" / "vocabularies.json"
BEAM = DecodingConfig("beam", beam=4, alpha=1.0)


def scores(run: Path) -> dict[str, Any]:
    """How a run was set, and what its best checkpoint scores; the loss in nats per caption, since tokens differ."""
    model, tokenizer = load(run)
    corpus = load_corpus("multi30k")
    examples, references = encode_pairs(tokenizer, corpus["val"]), [pair.target for pair in corpus["val"]]
    n_tokens = sum(len(target) + 1 for _, target in examples)  # with EOS
    written = translate(model, tokenizer, [pair.source for pair in corpus["val"]], BEAM)
    known = [pair.target for split in corpus.splits for pair in corpus[split]]
    return {
        "vocab_size": len(tokenizer),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": read_json(run / "config.json")["training"]["steps"],
        "val_tokens": round(n_tokens / len(examples), 2),
        "val_nats": round(teacher_forced(model, examples).nll * n_tokens / len(examples), 2),
        "val_bleu": round(bleu(written, references).score, 2),
        "val_invented": sum(map(len, invented_words(written, known))),
    }


def main(runs: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Write the scores of each run beside the shipped model."""
    OUTPUT.write_text(json.dumps([scores(run) for run in runs], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
