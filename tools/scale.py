"""What a training on a large corpus takes before its first update, in time and memory, and how long an epoch's plan is.

    python -m tools.scale 290000 1000000 4500000    # pairs; 4,500,000 are the paper's English–German

The corpus is made up: words in the frequencies of natural text, about 30 tokens a side. A model of next to no size is
started on it, once from nothing, once more as a new run, and once resumed. Each start ends after its first update, with
a checkpoint and the loss on ten pairs.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import tyro

from tools.chapters import ROOT
from transformer.text.batches import token_batches
from transformer.text.encoded import Encoded

WORDS, PER_SENTENCE = 300_000, 24  # kinds of words, and how many a sentence has on average
BLOCK = 100_000  # sentences that are made at once
VOCABULARY = 37_000  # the paper's (§5.1)
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
TINY = ["--d-model", "16", "--n-layers", "1", "--n-heads", "2", "--d-ff", "32"]


def make_words(rng: np.random.Generator) -> np.ndarray:
    """Words of one to five syllables, the shorter ones first, as the frequent ones are."""
    lengths = np.sort(rng.integers(1, 6, WORDS))
    return np.array(["".join(rng.choice(SYLLABLES, n)) for n in lengths], dtype=object)


def write_text(path: Path, n: int, rng: np.random.Generator) -> None:
    """A file of n sentences, whose words follow Zipf's law: word r is 1/r as frequent as the first one."""
    words = make_words(rng)
    edges = np.cumsum(1 / np.arange(1, WORDS + 1))
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, n, BLOCK):
            lengths = rng.poisson(PER_SENTENCE, min(BLOCK, n - start)) + 1
            drawn = words[np.searchsorted(edges, rng.random(lengths.sum()) * edges[-1])].tolist()
            ends = np.cumsum(lengths).tolist()
            file.writelines(
                " ".join(drawn[end - k : end]) + "\n" for end, k in zip(ends, lengths.tolist(), strict=True)
            )


def start(corpus: Path, run: Path, until: int, *flags: str) -> tuple[float, float]:
    """Train as far as update `until`; the seconds that the process took, and the most memory that it held, in MB."""
    command = ["train", "--corpus", corpus, "--run", run, "--until", until, "--vocab-size", VOCABULARY, *TINY]
    command += ["--batch-tokens", 250, "--device", "cpu", *flags]
    began, most = time.perf_counter(), 0
    process = subprocess.Popen(
        [sys.executable, "-m", "transformer", *map(str, command)],
        env=os.environ | {"TRANSFORMER_ENCODED": str(corpus.parent / "encoded"), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    if process.wait():
        raise RuntimeError(
            f"the training ended with status {process.returncode}, expected 0; run it by hand: {command}"
        )
    return time.perf_counter() - began, most / 1e6


def plan(folder: Path) -> tuple[float, float]:
    """The seconds to plan an epoch of the pairs that are kept in a folder, and the tokens of a side on average."""
    (arrays,) = folder.glob("*-train-*/ids.npy")
    examples = Encoded.load(arrays.parent)
    began = time.perf_counter()
    sum(1 for _ in token_batches(examples, 2_500, seed=0, epoch=0))
    return time.perf_counter() - began, float(examples.lengths.mean())


def measure(n: int, place: Path) -> str:
    """A line of the table for a corpus of n pairs."""
    corpus, rng = place / "corpus", np.random.default_rng(0)
    corpus.mkdir()
    for split, size in (("train", n), ("val", 10)):
        for side in ("en", "de"):
            write_text(corpus / f"{split}.{side}", size, rng)
    first, again = start(corpus, place / "one", 1), start(corpus, place / "two", 1)
    resumed = start(corpus, place / "two", 2, "--resume")
    planned, tokens = plan(place / "encoded")
    starts = (f"{seconds:>8.1f} s {megabytes:>6,.0f} MB" for seconds, megabytes in (first, again, resumed))
    return f"{n:>9,} {tokens:>12.1f} {'  '.join(starts)} {planned:>8.1f} s"


def main(pairs: Annotated[tuple[int, ...], tyro.conf.Positional] = (290_000,)) -> None:
    """Measure corpora of so many sentence pairs."""
    print("    pairs  tokens/side    first start, peak    next start, peak       resumed, peak       plan", flush=True)
    for n in pairs:
        with tempfile.TemporaryDirectory() as place:
            print(measure(n, Path(place)), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
