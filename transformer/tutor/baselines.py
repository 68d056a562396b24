"""What the Transformer is compared with (paper §1 and §4): a GRU translator, with and without attention, and windows.

Small and plain, to be trained by the package's own loop. Shapes: B batch, S source and T target positions, D d_model,
V vocabulary, H heads, K the size of a head's queries and keys.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from transformer.attention import MultiHeadAttention, attention_weights, padding_mask
from transformer.config import TransformerConfig
from transformer.embeddings import TokenEmbedding
from transformer.model import Transformer, evaluation_mode
from transformer.text.symbols import BOS, EOS, PAD


class GRUTranslator(nn.Module):
    """An encoder and a decoder of gated recurrent units (Cho et al. 2014): ids in, logits out, as the Transformer.

    The encoder reads in both directions, half of the width each; its last two states, through a matrix and a tanh,
    are the decoder's first state. Without attention nothing else passes from source to target (Cho et al. 2014,
    Sutskever et al. 2014). With attention every state of the decoder also takes a weighted mean of all states of the
    encoder, by dot products (Luong et al. 2015), and a layer makes one vector of the two. Source, target and output
    share one matrix, as in the Transformer.

    Raises ValueError for an odd d_model.
    """

    def __init__(self, vocab_size: int, d_model: int, attention: bool) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"d_model is {d_model}, expected an even number: half of it for each direction")
        # What the training loop asks of a model: d_model, and positions without an end.
        self.config = TransformerConfig(vocab_size, d_model, n_heads=1, dropout=0.0)
        self.embedding = TokenEmbedding(vocab_size, d_model)
        self.encoder = nn.GRU(d_model, d_model // 2, bidirectional=True, batch_first=True)
        self.bridge = nn.Linear(d_model, d_model)
        self.decoder = nn.GRU(d_model, d_model, batch_first=True)
        self.combine = nn.Linear(2 * d_model, d_model) if attention else None
        self.output = nn.Linear(d_model, vocab_size, bias=False)
        self.output.weight = self.embedding.weight

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.output.weight.device

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Score every next token: source (B, S) and target (B, T) ids → logits (B, T, V)."""
        return self.output(self.hidden(source, target))

    def hidden(self, source: Tensor, target: Tensor) -> Tensor:
        """The last vectors (B, T, D) for source (B, S) and target (B, T) ids, one step before the logits."""
        return self.decode(target, *self.encode(source))[0]

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read ids (B, S): the states (B, S, D), what hides their padding (B, 1, S), the decoder's first state."""
        lengths = (source != PAD).sum(-1).cpu()  # (B,)
        packed = pack_padded_sequence(self.embedding(source), lengths, batch_first=True, enforce_sorted=False)
        states, last = self.encoder(packed)  # last: (2, B, D/2)
        memory, _ = pad_packed_sequence(states, batch_first=True, total_length=source.size(1))  # (B, S, D)
        first = self.bridge(torch.cat([*last], -1)).tanh()[None]  # (1, B, D)
        return memory, padding_mask(source)[:, 0], first

    def decode(self, target: Tensor, memory: Tensor, mask: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Write on from a state (1, B, D) with target ids (B, T): the vectors (B, T, D) and the state after them."""
        states, last = self.decoder(self.embedding(target), state)  # (B, T, D)
        if self.combine is None:
            return states, last
        return self.look_back(states, memory, mask), last

    def look_back(self, states: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Make one vector (B, T, D) of each state and what it finds in memory."""
        context = self.weights(states, memory, mask) @ memory  # (B, T, D)
        return self.combine(torch.cat([states, context], -1)).tanh()

    def weights(self, states: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Where each state (B, T, D) looks in the memory (B, S, D), by dot products without a scale: (B, T, S)."""
        # attention_weights divides by √D, which Luong et al. do not
        return attention_weights(states * math.sqrt(states.size(-1)), memory, mask)


@torch.no_grad()
def write_greedily(model: Transformer | GRUTranslator, source: Tensor, limit: int) -> list[list[int]]:
    """The likeliest next token, at most `limit` times, for source ids (B, S): lists of ids without BOS and EOS.

    The whole prefix is read anew at every step, so any model will do that has `hidden` and `output`; `greedy` is the
    faster way for a Transformer.
    """
    written = torch.full((len(source), 1), BOS, device=source.device)  # (B, 1)
    ended = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    with evaluation_mode(model):
        for _ in range(limit):
            logits = model.output(model.hidden(source, written)[:, -1])  # (B, V)
            logits[:, [PAD, BOS]] = -math.inf  # never written, as in the package's searches
            best = logits.argmax(-1)  # (B,)
            # What comes behind EOS is never read; EOS again, since padding would count as hidden.
            best = best.masked_fill(ended, EOS)
            written, ended = torch.cat([written, best[:, None]], 1), ended | (best == EOS)
            if ended.all():
                break
    rows = written[:, 1:].tolist()
    return [row[: row.index(EOS)] if EOS in row else row for row in rows]


def distances(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """How far every query is from every key, in positions, (T, S)."""
    return (torch.arange(queries, device=device)[:, None] - torch.arange(keys, device=device)).abs()


def window_mask(n: int, r: int) -> Tensor:
    """Restricted self-attention (paper §4): (1, 1, n, n), True within a neighbourhood of r positions, r odd.

    Raises ValueError for an even r, which has no middle, and for one below 1.
    """
    if r < 1 or r % 2 == 0:
        raise ValueError(f"r is {r}, expected an odd number of positions, the word itself and as many on each side")
    return (distances(n, n) <= r // 2)[None, None]


def restrict(attentions: Iterable[MultiHeadAttention], r: int) -> None:
    """Let each of these self-attentions see only r positions, on top of the mask that it is given."""
    for attention in attentions:
        attention.attend = partial(_within, attention.attend, r)


def _within(
    attend: Callable[..., Tensor], r: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0
) -> Tensor:
    near = window_mask(q.size(-2), r).to(q.device)  # (1, 1, T, T)
    return attend(q, k, v, near if mask is None else mask & near, dropout)


def learn_reach(
    attentions: Sequence[MultiHeadAttention], start: float, ramp: float = 4.0, scale: float = 16.0
) -> list[nn.Parameter]:
    """Give each of these self-attentions a reach for each head, in positions, learned with the other weights.

    A weight at distance x is multiplied by min(max((ramp + reach − x) / ramp, 0), 1), and the row is divided by its
    sum: adaptive attention span (Sukhbaatar et al. 2019), here to both sides. Returns the parameters (H, 1, 1); a
    reach is `scale` times its parameter, so that Adam, whose steps have the size of the learning rate, moves it by
    positions. A penalty on it is the caller's. Dropout on weights is left out.
    """
    for attention in attentions:
        attention.reach = nn.Parameter(torch.full((attention.n_heads, 1, 1), start / scale))
        attention.attend = partial(_within_reach, attention.reach, ramp, scale)
    return [attention.reach for attention in attentions]


def _within_reach(
    reach: Tensor, ramp: float, scale: float, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0
) -> Tensor:
    far = distances(q.size(-2), k.size(-2), q.device)  # (T, T)
    near = ((ramp + scale * reach - far) / ramp).clamp(0, 1)  # (H, T, T)
    weights = attention_weights(q, k, mask) * near  # (B, H, T, T)
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-9) @ v  # (B, H, T, d_v)


def dilated_masks(n: int, width: int) -> Iterator[Tensor]:
    """Who reads whom in one layer after the other of dilated convolutions that look back, (n, n) each, for ever.

    In layer i each word reads itself and `width` − 1 words before it, width**i apart from each other (paper §4;
    in Kalchbrenner et al. 2016 gaps double), so that i layers reach width**i words.
    """
    back = torch.arange(n)[:, None] - torch.arange(n)  # (n, n): row minus column
    apart = 1
    while True:
        yield (back >= 0) & (back % apart == 0) & (back < width * apart)
        apart = min(apart * width, n)  # beyond n nothing but the word itself is in reach
