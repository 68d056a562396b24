"""How fast it is and how well it translates, measured on this machine: `python -m tools.bench`.

A benchmark, not a test: the numbers depend on the machine, and nothing fails when they are low. Variants take
turns and the median counts, so that a slow minute of the machine hits all of them; only ratios travel.
"""

import datetime
import itertools
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from transformer.config import TransformerConfig
from transformer.decoding import DecodingConfig, beam_search, greedy, translate
from transformer.embeddings import sinusoids
from transformer.evaluation import bleu
from transformer.files import CheckpointError, replace_text, saved_checkpoints, step_of
from transformer.model import Transformer
from transformer.runs.checkpoints import load
from transformer.runs.device import choose_device, has_fast_bf16
from transformer.runs.loop import train
from transformer.runs.recipes import EMBEDDED, MULTI30K
from transformer.runs.run import Run
from transformer.text.batches import Batch, collate, encode_pairs, plain_batches, token_batches
from transformer.text.corpora import CorpusUnavailable, load_corpus
from transformer.text.symbols import BOS, EOS, PAD
from transformer.text.tokenizer import make_tokenizer
from transformer.training import paper_adam, summed_loss

Part = Literal["training", "decoding", "embedded", "gpu"]
"""what can be measured, see BenchConfig.parts"""
Loss = Callable[[nn.Module, Batch, float], Tensor]
"""model, batch and label smoothing → the summed loss"""
BEAM = DecodingConfig("beam", beam=4, alpha=1.0)
"""the beam search that is measured"""


@dataclass(frozen=True)
class BenchConfig:
    """Measure speed and quality on this machine, and print a table."""

    parts: tuple[Part, ...] = ("embedded", "training", "decoding")
    """embedded: a training on one thread; training, decoding and gpu: speed"""
    corpus: str = "embedded"
    """whose sentences are trained on: a corpus with a name, or a folder"""
    run: Path | None = None
    """a finished training on Multi30k, to be measured too"""
    rounds: int = 5
    """times that each variant is measured, in turn with the others"""
    batches: int = 5
    """batches trained on in one measurement"""
    threads: int = 2
    """threads of PyTorch on the CPU"""
    device: str | None = None
    """cpu, cuda, mps; None: the best there is"""
    readme: Path | None = None
    """file in which the table replaces what stands between <!-- bench cpu --> (or cuda) and <!-- end -->"""
    model: TransformerConfig = MULTI30K.model
    """whose speed is measured"""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    """what was measured, and on what"""
    result: str
    """the measured value, with its unit"""
    against: str = ""
    """the other variant, and its value"""
    ratio: str = ""
    """how much faster the first is"""


class Reference(nn.Module):
    """`torch.nn.Transformer` with the same sizes, embeddings, positions and tied output, used as its manual shows."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model, padding_idx=PAD)
        self.scale = config.d_model**0.5
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("positions", sinusoids(config.max_len, config.d_model), persistent=False)
        sizes = config.d_model, config.n_heads, config.n_layers, config.n_layers, config.d_ff, config.dropout
        self.transformer = nn.Transformer(*sizes, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Source (B, S) and target (B, T) ids → logits (B, T, V)."""
        causal = nn.Transformer.generate_square_subsequent_mask(target.size(1), dtype=torch.bool, device=target.device)
        hidden = self.transformer(
            self._embed(source), self._embed(target), tgt_mask=causal, tgt_is_causal=True,
            src_key_padding_mask=source == PAD, tgt_key_padding_mask=target == PAD,
            memory_key_padding_mask=source == PAD,
        )  # fmt: skip
        return F.linear(hidden, self.embedding.weight)

    def _embed(self, ids: Tensor) -> Tensor:
        return self.dropout(self.embedding(ids) * self.scale + self.positions[: ids.size(1)])


def reference_loss(model: nn.Module, batch: Batch, label_smoothing: float) -> Tensor:
    """The loss as it is usually written: logits everywhere, padding left out by `ignore_index`."""
    logits, targets = model(batch.source, batch.target_in).flatten(0, 1), batch.target_out.flatten()
    return F.cross_entropy(logits, targets, ignore_index=PAD, label_smoothing=label_smoothing, reduction="sum")


def interleaved(variants: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each variant; they take turns, and a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    finish = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    for round_ in range(rounds + 1):
        for name, variant in variants.items():
            finish()
            started = time.perf_counter()
            variant()
            finish()
            if round_:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def trainer(model: nn.Module, loss: Loss, batches: Sequence[Batch], precision: str) -> Callable[[], None]:
    """A function that makes one update on each batch, in "fp32" or "bf16"."""
    optimizer, kind = paper_adam(model.train()), batches[0].source.device.type

    def run() -> None:
        for batch in batches:
            with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
                summed = loss(model, batch, 0.1)
            (summed / batch.n_tokens).backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def training_rows(command: BenchConfig, device: torch.device) -> Iterator[Row]:
    """Real target tokens per second, ours and `torch.nn.Transformer`'s, on the same batches."""
    for kind, config, batches in sample_batches(command, device):
        n_tokens = sum(batch.n_tokens for batch in batches)
        for precision in ("fp32", "bf16") if has_fast_bf16(device) else ("fp32",):
            variants = {
                "ours": trainer(Transformer(config).to(device), summed_loss, batches, precision),
                "torch": trainer(Reference(config).to(device), reference_loss, batches, precision),
            }
            ours, theirs = (n_tokens / s for s in interleaved(variants, command.rounds, device).values())
            yield Row(
                f"training, {kind} batches, {precision}", f"{ours:,.0f} tokens/s",
                f"`torch.nn.Transformer` {theirs:,.0f} tokens/s", f"{ours / theirs:.2f}×",
            )  # fmt: skip


def sample_batches(command: BenchConfig, device: torch.device) -> Iterator[tuple[str, TransformerConfig, list[Batch]]]:
    """Some batches by length and some in random order, with the size of a model for them."""
    corpus = load_corpus(command.corpus)
    tokenizer = make_tokenizer("bpe", corpus, command.model.vocab_size)
    examples, config = encode_pairs(tokenizer, corpus["train"]), replace(command.model, vocab_size=len(tokenizer))
    by_length, at_random = token_batches(examples, 4_096, seed=0, epoch=0), plain_batches(examples, 64, seed=0, epoch=0)
    for kind, batches in {"length-bucketed": by_length, "random": at_random}.items():
        some = itertools.islice(batches, command.batches)
        yield kind, config, [collate([examples[i] for i in indices]).to(device) for indices in some]


@torch.inference_mode()
def greedy_without_cache(model: Transformer, source: Tensor, length: int) -> Tensor:
    """Recompute the whole prefix for every word: what a cache saves. Source (B, S) → ids (B, length + 1)."""
    tokens = torch.full((len(source), 1), BOS, device=source.device)
    mask = model.source_mask(source)
    memory = model.encode(source, mask)
    for _ in range(length):
        logits = model.output(model.decode(tokens, memory, mask)[:, -1])
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=1)
    return tokens


def decoding_rows(
    command: BenchConfig, device: torch.device, long: tuple[int, int] = (32, 160), short: tuple[int, int] = (64, 20)
) -> Iterator[Row]:
    """Seconds to write translations, with and without what makes it fast; sizes are (sentences, tokens)."""
    model = Transformer(command.model).eval()
    model.output = NeverEnding(command.model.d_model, command.model.vocab_size, bias=False)
    model.to(device)
    sources = torch.randint(4, command.model.vocab_size, (max(long[0], short[0]), 20), device=device)
    sources[:, -1] = EOS
    n, length = long
    source = sources[:n]
    variants = {
        "greedy": lambda: greedy(model, source, length),
        "recomputing every prefix": lambda: greedy_without_cache(model, source, length),
        "one sentence at a time": lambda: [greedy(model, row[None], length) for row in source],
    }
    seconds = interleaved(variants, command.rounds, device)
    ours = seconds.pop("greedy")
    what = f"greedy, {n} sentences of {length} tokens, cached, batched"
    for name, slower in seconds.items():
        yield Row(what, f"{ours:.2f} s", f"{name}: {slower:.2f} s", f"{slower / ours:.1f}×")
    for n, length in (short, long):
        one_each = partial(greedy, model, sources[:n], length)
        four_each = partial(beam_search, model, sources[:n], 4, max_length=length)
        one, four = interleaved({"greedy": one_each, "beam": four_each}, command.rounds, device).values()
        what = f"beam 4, {n} sentences of {length} tokens, cached, batched"
        yield Row(what, f"{four:.2f} s", f"greedy: {one:.2f} s", f"{four / one:.1f}× the time")


class NeverEnding(nn.Linear):
    """An output layer that gives EOS no chance, so that every search writes up to its last position."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, D) to logits (…, V)."""
        logits = super().forward(x)
        logits[..., EOS] = -torch.inf
        return logits


def embedded_rows(command: BenchConfig, device: torch.device) -> Iterator[Row]:
    """Train the embedded recipe on one thread; exact match on new combinations, and on the ambiguous sentences."""
    torch.set_num_threads(1)
    corpus = load_corpus("embedded")
    tokenizer = make_tokenizer(EMBEDDED.tokenizer, corpus, EMBEDDED.model.vocab_size)
    torch.manual_seed(EMBEDDED.training.seed)
    model = Transformer(replace(EMBEDDED.model, vocab_size=len(tokenizer)))
    examples = [encode_pairs(tokenizer, corpus[split]) for split in ("train", "val")]
    started = time.process_time()
    train(model, *examples, EMBEDDED.training, device=device, progress=False)
    seconds = time.process_time() - started
    torch.set_num_threads(command.threads)

    def share(ambiguous: bool, search: DecodingConfig) -> float:
        pairs = [pair for pair in corpus["comp"] if (len(pair.translations) > 1) == ambiguous]
        written = translate(model, tokenizer, [pair.source for pair in pairs], search)
        return sum(text == pair.translations[0] for text, pair in zip(written, pairs, strict=True)) / len(pairs)

    greedily, by_beam = DecodingConfig("greedy"), DecodingConfig("beam", beam=4)
    what = f"embedded corpus, {seconds:.1f} CPU seconds of training on one thread"
    yield Row(f"{what}: exact match on new combinations of words", f"greedy {share(False, greedily):.3f}")
    yield Row(
        f"{what}: likeliest translation found where there are several",
        f"beam 4 {share(True, by_beam):.2f}", f"greedy {share(True, greedily):.2f}",
    )  # fmt: skip


def run_rows(command: BenchConfig, device: torch.device) -> Iterator[Row]:
    """BLEU of a finished training on Multi30k, and what it cost."""
    run = Run(command.run)
    model, tokenizer = load(command.run, device=device)
    test = load_corpus("multi30k")["test"]
    minutes = sum(record["cpu_seconds"] for record in run.metrics()) / 60
    step = step_of(saved_checkpoints(command.run)[-1])
    seconds, scores = {}, {}
    for name, search in {"greedy": DecodingConfig("greedy"), "beam 4": BEAM}.items():
        started = time.perf_counter()
        written = translate(model, tokenizer, [pair.source for pair in test], search)
        seconds[name] = time.perf_counter() - started
        scores[name] = bleu(written, [pair.target for pair in test])
    yield Row(
        f"Multi30k en→de, {step:,} updates in {minutes:.0f} CPU minutes: "
        f"sacreBLEU on test_2016_flickr ({scores['greedy'].signature})",
        f"beam 4, α = {BEAM.alpha:g}: {scores['beam 4'].score:.1f} ({seconds['beam 4']:.1f} s)",
        f"greedy {scores['greedy'].score:.1f} ({seconds['greedy']:.1f} s)",
        f"{seconds['beam 4'] / seconds['greedy']:.1f}× the time",
    )


GPU_SIZES = {
    "embedded": (EMBEDDED.model, 256, 10),
    "Multi30k": (MULTI30K.model, 1_024, 16),
    "base": (TransformerConfig.base(), 512, 48),
    "big": (TransformerConfig.big(), 512, 48),
}
"""what is measured on a GPU: a model, sentences in a batch, and tokens in each"""


def gpu_rows(
    command: BenchConfig, device: torch.device, sizes: dict[str, tuple[TransformerConfig, int, int]] = GPU_SIZES
) -> Iterator[Row]:
    """Tokens per second and share of the device's peak, of four sizes in bf16, eager and with compiled layers."""
    for name, (config, n, length) in sizes.items():
        ids = torch.randint(4, config.vocab_size, (n, length + 1), device=device)
        batch = Batch(ids[:, :-1].contiguous(), ids)
        variants = {}
        for variant in ("eager", "compiled"):
            model, reference = Transformer(config).to(device), Reference(config).to(device)
            if variant == "compiled":
                compile_layers(model)
                compile_layers(reference)
            variants[variant] = trainer(model, summed_loss, [batch], "bf16")
            variants[f"torch, {variant}"] = trainer(reference, reference_loss, [batch], "bf16")
        seconds = interleaved(variants, command.rounds, device)
        with FlopCounterMode(display=False) as counter:
            variants["eager"]()
        ours = min(seconds["eager"], seconds["compiled"])
        theirs = min(seconds["torch, eager"], seconds["torch, compiled"])
        share = counter.get_total_flops() / ours / peak("bf16", device)
        speed = {variant: f"{n * length / s:,.0f}" for variant, s in seconds.items()}
        yield Row(
            f"training, {name}, bf16, {n} × {length} tokens",
            f"{speed['eager']} tokens/s, compiled {speed['compiled']} ({share:.0%} of the peak)",
            f"`torch.nn.Transformer` {speed['torch, eager']} tokens/s, compiled {speed['torch, compiled']}",
            f"{theirs / ours:.2f}×",
        )


def compile_layers(model: nn.Module) -> None:
    """Compile each layer for itself: they are alike, so the compiler works once for all of a side."""
    torch.compiler.reset()  # the code compiled for another size would be made general, and slower
    for module in model.modules():
        if type(module).__name__.endswith(("EncoderLayer", "DecoderLayer")):
            module.compile()


def peak(precision: str, device: torch.device, n: int = 8_192) -> float:
    """Operations per second of one large product of matrices: what the device can do at best."""
    n = n if device.type == "cuda" else 512
    matrix = torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * n**3 / interleaved({"product": lambda: matrix @ matrix}, 10, device)["product"]


PARTS: dict[str, Callable[[BenchConfig, torch.device], Iterator[Row]]] = {
    "training": training_rows,
    "decoding": decoding_rows,
    "embedded": embedded_rows,
    "gpu": gpu_rows,
}
"""what measures each part"""


def bench(command: BenchConfig) -> str:
    """Measure what the command asks for; returns a Markdown table, and writes it where `readme` says.

    Raises ValueError for an unknown corpus, a number of rounds, batches or threads below 1, the part "gpu" without
    a GPU, or a readme without the two marks.
    """
    for name in ("rounds", "batches", "threads"):
        if getattr(command, name) < 1:
            raise ValueError(f"{name} is {getattr(command, name)}, expected at least 1")
    device = choose_device(command.device)
    if "gpu" in command.parts and device.type != "cuda":
        raise ValueError(f"the part 'gpu' needs a CUDA device, and this is {device}; leave it out")
    if command.readme is not None:
        replaced(command.readme, device, "")  # complain before the work
    threads_before = torch.get_num_threads()
    torch.set_num_threads(command.threads)
    try:
        load_corpus(command.corpus)  # complain before the work here too
        torch.manual_seed(0)
        rows = [row for part in command.parts for row in PARTS[part](command, device)]
        rows += run_rows(command, device) if command.run is not None else []
    finally:
        torch.set_num_threads(threads_before)
    table = as_table(rows, command, device)
    if command.readme is not None:
        replace_text(command.readme, replaced(command.readme, device, table))
    return table


def as_table(rows: Sequence[Row], command: BenchConfig, device: torch.device) -> str:
    """The rows in Markdown, under the machine, the model and the date."""
    model = command.model
    header = (
        f"{machine(device)}, {command.threads} threads, PyTorch {torch.__version__}, {datetime.date.today()}. "
        f"Model: d_model {model.d_model}, {model.n_layers} + {model.n_layers} layers, {model.n_heads} heads, d_ff "
        f"{model.d_ff}; batches from {command.corpus}; medians of {command.rounds} interleaved rounds."
    )
    lines = ["| what | measured | against | ratio |", "|---|---|---|---|"]
    for row in rows:
        cells = (cell.replace("|", "\\|") for cell in (row.what, row.result, row.against, row.ratio))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([header, "", *lines])


def machine(device: torch.device) -> str:
    """The device by its name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")  # Linux does not tell Python
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def replaced(readme: Path, device: torch.device, table: str) -> str:
    """The text of the file with the table between its marks; raises ValueError where they are missing."""
    text, start, end = readme.read_text(encoding="utf-8"), f"<!-- bench {device.type} -->", "<!-- end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{readme} has no line {start!r} with {end!r} after it; put the two where the table should be")
    return f"{before}{start}\n\n{table}\n\n{end}{after}"


def main() -> None:
    """Measure what the command line asks for, and print the table; an error is explained in a line."""
    command = tyro.cli(BenchConfig, prog="python -m tools.bench", config=(tyro.conf.OmitArgPrefixes,))
    try:
        print(bench(command))
    except (ValueError, OSError, CheckpointError, CorpusUnavailable) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
