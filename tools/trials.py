"""Many trainings on Multi30k at once, each with a change of its own: for the table of chapter 10.

    python -m tools.trials trials.jsonl

A small model keeps a GPU waiting. So models of one shape are trained side by side: every weight has a first axis over
the trainings (N), and one product of matrices serves them all. They see the same sentences in the same order. What
differs are dropout, learning rate and the like (`Trial`). Only validation captions are looked at. Six trainings of
6,000 updates and 8,000 tokens took three minutes of an H200; `--scale` makes them shorter.

Compare them with each other, not with a training by `transformer.runs.loop`. The arithmetic is the same, but each width
has batches of its own, of which the last is not full: 78 updates an epoch where the loop has 66.
"""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from transformer.config import TransformerConfig
from transformer.decoding import DecodingConfig, translate
from transformer.embeddings import sinusoids
from transformer.evaluation import bleu, invented_words, teacher_forced
from transformer.model import Transformer
from transformer.runs.device import choose_device
from transformer.runs.recipes import ONE_HOUR
from transformer.text.batches import Example, collate, encode_pairs
from transformer.text.corpora import load_corpus
from transformer.text.resegmented import Resegmented
from transformer.text.symbols import EOS, PAD, UNK
from transformer.text.tokenizer import Tokenizer, make_tokenizer

BEAM = DecodingConfig("beam", beam=4, alpha=1.0)
WIDTHS = (7, *range(9, 19), 20, 22, 25, 30, 40, 128)  # batches are padded to one of these: a CUDA graph for each
SEGMENTATIONS = 12  # of the training text under BPE-dropout; epochs take turns
MEAN_OVER = 1_000  # updates


@dataclass(frozen=True)
class Trial:
    """What one training does in its own way; the defaults are the recipe's."""

    dropout: float = ONE_HOUR.model.dropout
    attention_dropout: float = 0.0
    label_smoothing: float = ONE_HOUR.training.label_smoothing
    peak_rate: float = ONE_HOUR.training.peak_rate
    falls: bool = True
    """from its peak the rate falls to zero in a line; False: as 1/√update"""
    bpe_dropout: float = 0.0
    """share of merges left out at random (Provilkov et al. 2020)"""
    word_dropout: float = 0.0
    """share of tokens, on both sides, that are read as unknown"""
    r_drop: float = 0.0
    """weight of the divergence between two passes with different dropout (Liang et al. 2021)"""
    seed: int = 0
    """of the initial weights"""


@dataclass(frozen=True)
class Group:
    """Trials that are trained together."""

    trials: tuple[Trial, ...]
    steps: int
    batch_tokens: int = ONE_HOUR.training.batch_tokens
    model: TransformerConfig = ONE_HOUR.model
    warmup: int = ONE_HOUR.training.warmup
    twice: bool = False
    """whether every sentence is read twice in an update, with different dropout"""


GROUPS = (
    Group(
        steps=12_000,
        trials=(
            *(Trial(dropout=p) for p in (0.2, 0.25, 0.3, 0.35)),
            Trial(dropout=0.3, seed=1),
            Trial(dropout=0.3, attention_dropout=0.1),
            Trial(dropout=0.3, label_smoothing=0.2),
            *(Trial(dropout=p, word_dropout=q) for p, q in ((0.3, 0.05), (0.2, 0.1))),
            *(Trial(dropout=p, bpe_dropout=0.1) for p in (0.2, 0.3)),
            Trial(dropout=0.3, peak_rate=4e-3),
        ),
    ),
    Group(
        steps=6_000,
        twice=True,
        trials=(
            Trial(),
            *(Trial(dropout=p, r_drop=alpha) for p in (0.2, 0.3) for alpha in (2.0, 5.0)),
            Trial(r_drop=5.0, label_smoothing=0.0),
        ),
    ),
    Group(
        steps=4_500,
        model=replace(ONE_HOUR.model, d_model=128, n_layers=4, d_ff=256),
        trials=(
            *(Trial(dropout=p) for p in (0.1, 0.2, 0.3)),
            Trial(dropout=0.3, peak_rate=5e-3, falls=False),
            Trial(dropout=0.2, peak_rate=4e-3),
        ),
    ),
    Group(
        steps=10_500,
        batch_tokens=4_000,
        trials=(
            *(Trial(dropout=p, peak_rate=rate) for p in (0.2, 0.25, 0.3) for rate in (1e-3, 1.5e-3)),
            Trial(dropout=0.3, peak_rate=6e-4),
            Trial(dropout=0.2, peak_rate=1e-3, bpe_dropout=0.1),
            Trial(dropout=0.3, peak_rate=1e-3, attention_dropout=0.1),
        ),
    ),
    Group(  # the earlier recipe in seeds.json, and changes of it
        steps=6_000,
        batch_tokens=8_000,
        warmup=1_000,
        trials=(
            *(Trial(dropout=0.25, seed=seed) for seed in (0, 1)),
            *(Trial(dropout=p) for p in (0.2, 0.3)),
            Trial(dropout=0.25, label_smoothing=0.2),
            Trial(dropout=0.2, bpe_dropout=0.1),
        ),
    ),
)


class SideBySide:
    """The models of a group and their Adam: the arithmetic of `Transformer` and `training_step`, N times at once."""

    def __init__(self, group: Group, device: torch.device) -> None:
        self.group, self.device, self.config = group, device, group.model
        started = []
        for trial in group.trials:
            torch.manual_seed(trial.seed)
            started.append({name: p.detach() for name, p in Transformer(group.model).named_parameters()})
        self.weights = {
            name: torch.stack([model[name] for model in started]).to(device).requires_grad_() for name in started[0]
        }
        self.first, self.second = ([torch.zeros_like(p) for p in self.weights.values()] for _ in range(2))
        self.mean = [p.detach().clone() for p in self.weights.values()]  # over the last updates
        settings = {name: [float(getattr(trial, name)) for trial in group.trials] for name in asdict(Trial())}
        self.settings = {name: torch.tensor(values, device=device) for name, values in settings.items()}  # (N,) each
        self.uses = {name: any(values) for name, values in settings.items()}
        self.positions = sinusoids(WIDTHS[-1], self.config.d_model).to(device)
        self.tables = torch.arange(len(group.trials), device=device)[:, None, None] * self.config.vocab_size
        self.step = torch.zeros((), device=device)

    def each(self, name: str, like: Tensor) -> Tensor:
        """A setting of the trials, shaped to be multiplied with a tensor whose first axis they are."""
        return self.settings[name].view(-1, *[1] * (like.dim() - 1))

    def drop(self, x: Tensor, name: str = "dropout") -> Tensor:
        """Dropout with a rate for each trial."""
        rate = self.each(name, x)
        return x * ((torch.rand(x.shape, device=x.device) >= rate).to(x.dtype) * (1 / (1 - rate)).to(x.dtype))

    def linear(self, x: Tensor, name: str) -> Tensor:
        """(N, M, D) → (N, M, F), every model by its own matrix."""
        return torch.baddbmm(self.weights[f"{name}.bias"][:, None], x, self.weights[f"{name}.weight"].mT)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (N, B, L) → (N, B·L, D)."""
        if self.uses["word_dropout"]:
            hidden = torch.rand(ids.shape, device=ids.device) < self.each("word_dropout", ids)
            ids = ids.masked_fill(hidden & (ids > EOS), UNK)
        table = self.weights["source_embedding.weight"].flatten(0, 1)  # (N·V, D)
        x = F.embedding(ids + self.tables, table) * math.sqrt(self.config.d_model) + self.positions[: ids.size(-1)]
        return self.drop(x.flatten(1, 2))

    def attend(self, name: str, x: Tensor, y: Tensor, widths: tuple[int, int], mask: Tensor) -> Tensor:
        """Multi-head attention of x (N, B·T, D) to y (N, B·S, D); the mask broadcasts to (N, B, H, T, S)."""

        def heads(projection: str, of: Tensor, width: int) -> Tensor:  # (N, B, H, width, K)
            return self.linear(of, f"{name}.{projection}").unflatten(-1, (self.config.n_heads, -1)).unflatten(
                1, (-1, width)
            ).transpose(2, 3)  # fmt: skip

        query, key, value = heads("query", x, widths[0]), heads("key", y, widths[1]), heads("value", y, widths[1])
        scores = (query @ key.mT / math.sqrt(query.size(-1))).float().masked_fill(~mask, -1e9)
        weights = scores.softmax(-1)
        if self.uses["attention_dropout"]:
            weights = self.drop(weights, "attention_dropout")
        mixed = (weights.to(value.dtype) @ value).transpose(2, 3).flatten(3).flatten(1, 2)  # (N, B·T, D)
        return self.linear(mixed, f"{name}.output")

    def add(self, x: Tensor, change: Tensor, name: str) -> Tensor:
        """A residual connection and, behind it, the norm."""
        norm = f"{name}_residual.norm"
        normal = F.layer_norm(x + self.drop(change), x.shape[-1:])
        return normal * self.weights[f"{norm}.weight"][:, None] + self.weights[f"{norm}.bias"][:, None]

    def feed_forward(self, x: Tensor, layer: str) -> Tensor:
        """The feed-forward sub-layer."""
        name = f"{layer}.feed_forward"
        return self.add(x, self.linear(self.linear(x, f"{name}.inner").relu(), f"{name}.outer"), name)

    def hidden(self, source: Tensor, target: Tensor) -> Tensor:
        """Ids (N, B, S) and (N, B, T) → what the decoder makes of them, (N, B·T, D)."""
        s, t = source.size(-1), target.size(-1)
        seen = (source != PAD)[:, :, None, None, :]
        past = torch.ones(t, t, dtype=torch.bool, device=self.device).tril()
        x = self.embed(source)
        for layer in (f"encoder.layers.{i}" for i in range(self.config.n_layers)):
            name = f"{layer}.self_attention"
            x = self.feed_forward(self.add(x, self.attend(name, x, x, (s, s), seen), name), layer)
        y = self.embed(target)
        for layer in (f"decoder.layers.{i}" for i in range(self.config.n_layers)):
            name, cross = f"{layer}.self_attention", f"{layer}.cross_attention"
            y = self.add(y, self.attend(name, y, y, (t, t), past), name)
            y = self.feed_forward(self.add(y, self.attend(cross, y, x, (t, s), seen), cross), layer)
        return y

    def losses(self, source: Tensor, target: Tensor) -> Tensor:
        """The loss of each trial (N,) on sources (N, B, S) and targets (N, B, T + 1), in nats per token."""
        if self.group.twice:
            source, target = source.repeat(1, 2, 1), target.repeat(1, 2, 1)
        on_gpu = self.device.type == "cuda"  # a graph may not keep what autocast caches
        with torch.autocast(self.device.type, torch.bfloat16, enabled=on_gpu, cache_enabled=False):
            logits = self.hidden(source, target[:, :, :-1]) @ self.weights["source_embedding.weight"].mT
        log_p, wanted = logits.float().log_softmax(-1), target[:, :, 1:].flatten(1)  # (N, M, V), (N, M)
        real = (wanted != PAD).float()
        n_tokens = real.sum(1)
        smoothing = self.settings["label_smoothing"][:, None]
        right = log_p.gather(2, wanted[..., None])[..., 0]
        loss = -(((1 - smoothing) * right + smoothing * log_p.mean(-1)) * real).sum(1) / n_tokens
        if self.group.twice:
            one, other = log_p.chunk(2, dim=1)
            apart = ((one.exp() - other.exp()) * (one - other)).sum(-1) / 2  # the mean of both divergences
            loss = loss + self.settings["r_drop"] * (apart * real.chunk(2, dim=1)[0]).sum(1) / n_tokens
        return loss

    def update(self, source: Tensor, target: Tensor) -> Tensor:
        """One update of every model; the loss of each before it, (N,)."""
        self.step += 1
        loss = self.losses(source, target)
        weights = list(self.weights.values())
        gradients = torch.autograd.grad(loss.sum(), weights)
        with torch.no_grad():
            line = (self.group.steps + 1 - self.step) / (self.group.steps + 1 - self.group.warmup)
            after = torch.where(self.settings["falls"] > 0, line, (self.group.warmup / self.step) ** 0.5)
            rate = self.settings["peak_rate"] * torch.minimum(self.step / self.group.warmup, after)
            rate = rate * (1 - 0.98**self.step) ** 0.5 / (1 - 0.9**self.step)  # Adam's correction of both means
            torch._foreach_lerp_(self.first, gradients, 0.1)
            torch._foreach_mul_(self.second, 0.98)
            torch._foreach_addcmul_(self.second, gradients, gradients, 0.02)
            for p, first, second in zip(weights, self.first, self.second, strict=True):
                p -= rate.view(-1, *[1] * (p.dim() - 1)) * first / (second.sqrt() + 1e-9)
            torch._foreach_lerp_(self.mean, weights, 1 / MEAN_OVER)
        return loss.detach()

    def models(self, mean: bool) -> Iterator[Transformer]:
        """The models as such: with their last weights, or with the moving mean of them."""
        values = self.mean if mean else self.weights.values()
        for n in range(len(self.group.trials)):
            model = Transformer(self.config).to(self.device).eval()
            with torch.no_grad():
                for p, value in zip(model.parameters(), values, strict=True):
                    p.copy_(value[n])
            yield model


def padded(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Sources and targets as wide as the widest batch, and behind them a pair of nothing, which fills up batches."""
    batch = collate([*examples, ([], [])])
    sides = [
        F.pad(side, (0, columns - side.size(1)), value=PAD)  # cuts off where it is below zero
        for side, columns in ((batch.source, WIDTHS[-1]), (batch.target, WIDTHS[-1] + 1))
    ]
    sides[1][-1] = PAD  # nothing to predict; its source keeps an EOS, since one must attend to something
    return sides[0], sides[1]


def batches(group: Group, tokenizer: Tokenizer, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """For ever: sources (N, B, L) and targets (N, B, L + 1) of like length; a last batch is filled up with nothing."""
    rates = sorted({trial.bpe_dropout for trial in group.trials})
    examples = encode_pairs(tokenizer, load_corpus("multi30k")["train"])
    kept = [
        [[side.to(device) for side in padded(text.epoch(n))] for n in range(SEGMENTATIONS if rate else 1)]
        for rate, text in ((rate, Resegmented(tokenizer, examples, rate, seed=0)) for rate in rates)
    ]
    whose = torch.tensor([[rates.index(trial.bpe_dropout)] for trial in group.trials], device=device)
    rng = np.random.default_rng(0)
    for epoch in itertools.count():
        sources, targets = (torch.stack(side) for side in zip(*(some[epoch % len(some)] for some in kept), strict=True))
        longest = torch.maximum((sources != PAD).sum(-1), (targets != PAD).sum(-1) - 1).amax(0)[:-1].cpu().numpy()
        width_of = np.searchsorted(WIDTHS, longest)
        cut = []
        for k in np.unique(width_of[width_of < len(WIDTHS)]):
            rows = rng.permutation(np.flatnonzero(width_of == k))
            size = max(1, group.batch_tokens // WIDTHS[k])
            filled = np.pad(rows, (0, -len(rows) % size), constant_values=len(longest))
            cut += [(WIDTHS[k], some) for some in torch.from_numpy(filled).to(device).split(size)]
        for which in rng.permutation(len(cut)):
            width, rows = cut[which]
            yield sources[:, :, :width][whose, rows], targets[:, :, : width + 1][whose, rows]


def train(group: Group, tokenizer: Tokenizer, device: torch.device) -> SideBySide:
    """Train a group; on a GPU, the kernels of an update are recorded once for each width and played from then on."""
    together, graphs, pool = SideBySide(group, device), {}, None
    for source, target in itertools.islice(batches(group, tokenizer, device), group.steps):
        width = source.size(-1)
        if device.type != "cuda":
            together.update(source, target)
        elif width in graphs:
            graph, inputs = graphs[width]
            for static, new in zip(inputs, (source, target), strict=True):
                static.copy_(new)
            graph.replay()
        else:
            inputs = source, target
            torch.cuda.synchronize()  # the other stream would not wait for them
            with torch.cuda.stream(torch.cuda.Stream()):
                together.update(*inputs)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):  # records, and computes nothing
                together.update(*inputs)
            pool, graphs[width] = graph.pool(), (graph, inputs)
    return together


def main(out: Annotated[Path, tyro.conf.Positional], scale: float = 1.0) -> None:
    """Train every group, and write a line of JSON for each trial; `scale` multiplies the updates."""
    device, corpus = choose_device(), load_corpus("multi30k")
    tokenizer = make_tokenizer(ONE_HOUR.tokenizer, corpus, ONE_HOUR.model.vocab_size)
    validation, references = encode_pairs(tokenizer, corpus["val"]), [pair.target for pair in corpus["val"]]
    known = [pair.target for split in ("train", "test") for pair in corpus[split]]
    with out.open("w", encoding="utf-8") as file:
        for group in GROUPS:
            model = replace(group.model, vocab_size=len(tokenizer))
            group = replace(group, steps=max(1, round(scale * group.steps)), model=model)
            together = train(group, tokenizer, device)
            rows = [
                {"d_model": model.d_model, "n_layers": model.n_layers, "d_ff": model.d_ff, "steps": group.steps}
                | {"batch_tokens": group.batch_tokens, "warmup": group.warmup, "twice": group.twice} | asdict(trial)
                for trial in group.trials
            ]  # fmt: skip
            for name, mean in (("", False), ("mean_", True)):
                for row, trained in zip(rows, together.models(mean), strict=True):
                    written = translate(trained, tokenizer, [pair.source for pair in corpus["val"]], BEAM)
                    row[f"{name}bleu"] = round(bleu(written, references).score, 2)
                    row[f"{name}nll"] = round(teacher_forced(trained, validation).nll, 4)
                    row[f"{name}invented"] = sum(map(len, invented_words(written, known)))
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()


if __name__ == "__main__":
    tyro.cli(main)
