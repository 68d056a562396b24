r"""Score checkpoints of trainings on Multi30k, alone and averaged, for the chart of chapter 10.

    python -m transformer train
    python -m transformer train --run runs/noam --schedule noam --steps 3000 --warmup 2000 --peak-rate 5e-3 \
        --batch-tokens 4096 --vocab-size 10000 --d-model 128 --n-layers 4 --d-ff 256 --dropout 0.3 --keep-last 12
    python -m tools.averaging_log runs/multi30k-en-de runs/noam
"""

import json
from pathlib import Path
from typing import Any

import torch
import tyro

from transformer.decoding import DecodingConfig, translate
from transformer.evaluation import bleu, teacher_forced
from transformer.files import SHIPPED, read_json, saved_checkpoints, step_of
from transformer.runs.checkpoints import average, load
from transformer.text.batches import encode_pairs
from transformer.text.corpora import load_corpus
from transformer.training import TrainingConfig, learning_rate

OUTPUT = SHIPPED / "multi30k-en-de" / "averaging.json"


def scores(run: Path, n: int, every: int) -> list[dict[str, float]]:
    """Perplexity and greedy BLEU on the validation split, of single checkpoints and of means of n."""
    model, tokenizer = load(run)
    config = TrainingConfig(**read_json(run / "config.json")["training"])
    validation = load_corpus("multi30k")["val"]
    examples, references = encode_pairs(tokenizer, validation), [pair.target for pair in validation]
    saved = saved_checkpoints(run)
    records = []
    for last in range(len(saved), n - 1, -every):
        step = step_of(saved[last - 1])
        record = {"step": step, "learning_rate": learning_rate(step, config, model.config.d_model)}
        for name, first in {"single": last - 1, "mean": last - n}.items():
            model.load_weights(average(saved[first:last]))
            written = translate(model, tokenizer, [pair.source for pair in validation], DecodingConfig("greedy"))
            record[f"{name}_bleu"] = round(bleu(written, references).score, 2)
            record[f"{name}_perplexity"] = round(teacher_forced(model, examples).perplexity, 3)
        records.insert(0, record)
        print(record, flush=True)
    return records


def main(runs: tyro.conf.Positional[tuple[Path, ...]], n: int = 5, every: int = 2) -> None:
    """Write the scores of every second checkpoint of each run beside the shipped model; other schedules' stay."""
    content: dict[str, Any] = {**read_json(OUTPUT), "n": n, "torch": torch.__version__}
    for run in runs:
        settings = read_json(run / "config.json")
        content[settings["training"]["schedule"]] = {"settings": settings, "records": scores(run, n, every)}
    OUTPUT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
