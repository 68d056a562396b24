"""How fast it is, on this machine: interleaved runs, medians, ratios (`python -m transformer bench`).

A benchmark, not a test: the numbers depend on the machine, and nothing fails when they are low.
"""

import itertools
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer.batches import Batch, collate, plain_batches, token_batches
from transformer.config import TransformerConfig
from transformer.corpora import load_corpus
from transformer.decoding import beam_search, greedy
from transformer.device import choose_device
from transformer.embeddings import sinusoids
from transformer.evaluation import encode_pairs
from transformer.model import Transformer
from transformer.symbols import BOS, EOS, PAD
from transformer.tokenizer import Tokenizer
from transformer.training import summed_loss


@dataclass(frozen=True)
class BenchConfig:
    """Measure training against torch.nn.Transformer, and decoding with and without cache and batches."""

    corpus: str = "embedded"
    """whose sentences are trained on: embedded or multi30k"""
    d_model: int = 192
    """width of the model"""
    n_layers: int = 3
    """layers of encoder and decoder"""
    rounds: int = 5
    """times that each variant is measured, in turn with the others"""
    batches: int = 5
    """batches trained on in one measurement"""
    threads: int = 2
    """threads of PyTorch on the CPU"""
    device: str | None = None
    """cpu, cuda, mps; None: the best there is"""


class Reference(nn.Module):
    """`torch.nn.Transformer` with the same sizes, embeddings, positions and tied output, used as its manual shows."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model, padding_idx=PAD)
        self.scale = config.d_model**0.5
        self.register_buffer("positions", sinusoids(config.max_len, config.d_model), persistent=False)
        self.transformer = nn.Transformer(
            config.d_model,
            config.n_heads,
            config.n_layers,
            config.n_layers,
            config.d_ff,
            config.dropout,
            batch_first=True,
        )

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
        return self.embedding(ids) * self.scale + self.positions[: ids.size(1)]


def reference_loss(model: nn.Module, batch: Batch, label_smoothing: float) -> Tensor:
    """The loss as it is usually written: logits everywhere, padding left out by `ignore_index`."""
    logits = model(batch.source, batch.target_in)
    return F.cross_entropy(
        logits.flatten(0, 1),
        batch.target_out.flatten(),
        ignore_index=PAD,
        label_smoothing=label_smoothing,
        reduction="sum",
    )


def interleaved(variants: dict[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each variant; they take turns, so that a slow minute of the machine hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(rounds + 1):
        for name, variant in variants.items():
            _wait_for(device)
            started = time.perf_counter()
            variant()
            _wait_for(device)
            if round_:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def trainer(
    model: nn.Module, loss: Callable[[nn.Module, Batch, float], Tensor], batches: Sequence[Batch]
) -> Callable[[], None]:
    """A function that makes one update on each batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
    model.train()

    def run() -> None:
        for batch in batches:
            (loss(model, batch, 0.1) / batch.n_tokens).backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def train_speed(config: TransformerConfig, batches: list[Batch], rounds: int, device: torch.device) -> dict[str, float]:
    """Real target tokens per second, ours and `torch.nn.Transformer`'s, on the same batches."""
    batches = [batch.to(device) for batch in batches]
    n_tokens = sum(batch.n_tokens for batch in batches)
    variants = {
        "ours": trainer(Transformer(config).to(device), summed_loss, batches),
        "torch.nn.Transformer": trainer(Reference(config).to(device), reference_loss, batches),
    }
    return {name: n_tokens / seconds for name, seconds in interleaved(variants, rounds, device).items()}


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


def decode_speed(config: TransformerConfig, rounds: int, device: torch.device, length: int = 160) -> dict[str, float]:
    """Seconds to write 16 translations of `length` tokens, in four ways."""
    model = Transformer(config).to(device).eval()
    with torch.no_grad():
        model.output.weight[EOS] = -1_000 * model.output.weight.mean(0).sign()  # an untrained model: never stop early
    source = torch.randint(4, config.vocab_size, (16, 20), device=device)
    source[:, -1] = EOS
    variants = {
        "cached greedy": lambda: greedy(model, source, length),
        "greedy without a cache": lambda: greedy_without_cache(model, source, length),
        "cached greedy, one at a time": lambda: [greedy(model, row[None], length) for row in source],
        "cached beam 4": lambda: beam_search(model, source, 4, max_length=length),
    }
    return interleaved(variants, rounds, device)


def bench(command: BenchConfig) -> str:
    """Measure everything and return it as a Markdown table.

    Raises ValueError for an unknown corpus or a number of rounds, batches or threads below 1.
    """
    for name in ("rounds", "batches", "threads"):
        if getattr(command, name) < 1:
            raise ValueError(f"{name} is {getattr(command, name)}, expected at least 1")
    threads_before = torch.get_num_threads()
    torch.set_num_threads(command.threads)
    try:
        return _table(command)
    finally:
        torch.set_num_threads(threads_before)


def _table(command: BenchConfig) -> str:
    torch.manual_seed(0)
    device = choose_device(command.device)
    pairs = load_corpus(command.corpus)["train"]
    texts = [text for pair in pairs for text in (pair.source, pair.target)]
    tokenizer = Tokenizer.bpe(texts, 8_000)
    examples = encode_pairs(tokenizer, pairs)
    config = TransformerConfig(len(tokenizer), command.d_model, command.n_layers, n_heads=4, d_ff=4 * command.d_model)
    rows = []
    for kind, dealt in {
        "length-bucketed": token_batches(examples, 4_096, seed=0, epoch=0),
        "random": plain_batches(examples, 64, seed=0, epoch=0),
    }.items():
        batches = [collate([examples[i] for i in indices]) for indices in itertools.islice(dealt, command.batches)]
        speed = train_speed(config, batches, command.rounds, device)
        ours, theirs = speed["ours"], speed["torch.nn.Transformer"]
        rows.append(
            f"| training, {kind} batches | {ours:,.0f} tokens/s "
            f"| torch.nn.Transformer: {theirs:,.0f} | {ours / theirs:.2f}× |"
        )
    seconds = decode_speed(config, command.rounds, device)
    fastest = seconds.pop("cached greedy")
    for name, slower in seconds.items():
        rows.append(
            f"| cached greedy, 16 × 160 tokens | {fastest:.2f} s | {name}: {slower:.2f} s | {slower / fastest:.2f}× |"
        )
    machine = f"{torch.cuda.get_device_name(device)}" if device.type == "cuda" else f"{device} of {platform.machine()}"
    header = (
        f"{machine}, {command.threads} threads, torch {torch.__version__}, {command.corpus}, "
        f"d_model {command.d_model}, {command.n_layers} layers"
    )
    return "\n".join([header, "", "| what | ours | against | ratio |", "|---|---|---|---|", *rows])
