"""The Transformer (paper §3): encoder, decoder, and the one matrix that ties tokens to vectors at both ends."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from transformer.attention import KeyValueCache, MultiHeadAttention, causal_mask, padding_mask, record_attention
from transformer.config import TransformerConfig
from transformer.dropout import Dropout
from transformer.embeddings import PositionalEncoding, TokenEmbedding
from transformer.files import CHECKSUMS, CheckpointError, check_unchanged, read_json, read_tensors, resolve, write_json
from transformer.layers import DecoderLayer, EncoderLayer


class Encoder(nn.Module):
    """A stack of N encoder layers (paper §3.1); pre-norm stacks are normalised once more at their end."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map embedded tokens x (B, S, D) to the memory (B, S, D); the mask broadcasts to (B, H, S, S)."""
        for layer in self.layers:
            x = layer(x, mask)  # (B, S, D)
        return self.norm(x)


class DecoderCache:
    """The keys and values that a decoder keeps between steps: of each layer's self-attention and cross-attention."""

    def __init__(self, n_layers: int) -> None:
        self.layers = [(KeyValueCache(), KeyValueCache()) for _ in range(n_layers)]

    @property
    def length(self) -> int:
        """How many target positions are cached."""
        keys = self.layers[0][0].keys  # (B, H, T, K)
        return 0 if keys is None else keys.size(2)

    def select(self, hypotheses: Tensor, sentences: Tensor | None = None) -> None:
        """Keep these rows of the target, in this order, and of the memory these sentences; None: all of them."""
        for own, memory in self.layers:
            own.select(hypotheses)
            if sentences is not None:
                memory.select(sentences)


class Decoder(nn.Module):
    """A stack of N decoder layers (paper §3.1); pre-norm stacks are normalised once more at their end."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else nn.Identity()

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: DecoderCache | None = None,
    ) -> Tensor:
        """Map embedded target tokens x (B, T, D) to (B, T, D), reading memory (B, S, D).

        `self_mask` broadcasts to (B, H, T, past + T), where the cached positions come first, and `memory_mask` to
        (B, H, T, S). With a cache, x holds only the newest tokens.
        """
        caches = [(None, None)] * len(self.layers) if cache is None else cache.layers
        for layer, (self_cache, memory_cache) in zip(self.layers, caches, strict=True):
            x = layer(x, memory, self_mask, memory_mask, self_cache, memory_cache)  # (B, T, D)
        return self.norm(x)


@dataclass(frozen=True)
class AttentionMaps:
    """The attention weights, or the products q · k, of one pass; rows are queries and columns are keys."""

    encoder: Tensor
    """source looking at source, (L, B, H, S, S)"""
    decoder: Tensor
    """target looking at earlier target, (L, B, H, T, T)"""
    cross: Tensor
    """target looking at source, (L, B, H, T, S)"""


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off while the block runs, and back on after it where it was on."""
    were_training = {module: module.training for module in model.modules()}  # a part may have a mode of its own
    model.eval()
    try:
        yield
    finally:
        for module, was_training in were_training.items():
            module.training = was_training


class Transformer(nn.Module):
    """The encoder–decoder of paper Figure 1: source and target ids in, logits over the vocabulary out.

    Matrices start from Xavier's uniform distribution, embeddings from a normal distribution of deviation
    d_model^-½, biases from zero. The paper does not give its initialisation; this is the one its published
    code chose, and it makes words and positions about equally large (see `TokenEmbedding`).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.source_embedding = TokenEmbedding(config.vocab_size, config.d_model)
        self.target_embedding = TokenEmbedding(config.vocab_size, config.d_model)
        self.positions = PositionalEncoding(config.d_model, config.positions, config.max_len)
        self.dropout = Dropout(config.dropout)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.output = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.target_embedding.weight = self.output.weight = self.source_embedding.weight
        else:
            nn.init.normal_(self.output.weight, std=config.d_model**-0.5)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.output.weight.device

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Score every next token: source (B, S) and target (B, T) ids → logits (B, T, V).

        Position t of the logits predicts token t + 1 of the target, from tokens 0 to t and the source.

        Raises IndexError for ids outside the vocabulary, TypeError for ids that are not int64 or int32, ValueError for
        ids that are not (B, length), where there is no source or not a target for each, and for a sentence longer than
        a learned position table.
        """
        return self.output(self.hidden(source, target))

    def hidden(self, source: Tensor, target: Tensor) -> Tensor:
        """The decoder's last vectors (B, T, D) for source (B, S) and target (B, T) ids, one step before the logits.

        Raises what `forward` raises.
        """
        source_mask = self.source_mask(source)  # (B, 1, 1, S)
        _check_ids(target)
        if len(source) != len(target) or not len(source):
            raise ValueError(
                f"got {len(source)} sources and {len(target)} targets, expected a target for each source and at least "
                "one of each"
            )
        return self.decode(target, self.encode(source, source_mask), source_mask)

    def source_mask(self, source: Tensor) -> Tensor:
        """The padding mask of source ids (B, S), as (B, 1, 1, S)."""
        _check_ids(source)
        return padding_mask(source)

    def decoder_mask(self, target: Tensor, past: int = 0) -> Tensor | None:
        """The mask of the decoder's self-attention for target ids (B, T) that follow `past` cached ones.

        Without a past it hides the future and padding, (B, 1, T, T), with one the future alone, (1, 1, T, past + T).
        It is None for a single new token, which may see all that came before.
        """
        if past == 0:
            return causal_mask(target.size(1), device=target.device) & padding_mask(target)
        return None if target.size(1) == 1 else causal_mask(target.size(1), past, target.device)

    def encode(self, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """Read source ids (B, S) into the memory (B, S, D); by default the mask hides their padding.

        Raises what `forward` raises for such ids.
        """
        mask = self.source_mask(source) if mask is None else mask  # (B, 1, 1, S)
        return self.encoder(self._embed(source, self.source_embedding), mask)

    def decode(
        self, target: Tensor, memory: Tensor, source_mask: Tensor | None = None, cache: DecoderCache | None = None
    ) -> Tensor:
        """Map target ids (B, T), given the memory (B, S, D) and its mask, to the last layer's vectors (B, T, D).

        This is one pass of the decoder; `transformer.decoding` searches for a translation with many of them, and
        gives W rows of the target for each row of the memory, (B·W, T). `source_mask` hides the source's padding, as
        the method of that name makes it; without one, decoding sees all of the memory, padding included.
        Each position sees itself and the positions before it. With a cache, `target` holds only the tokens
        that came since the last call; then padding is hidden in the first call alone, and later ones must have none.
        `output` turns the result into logits. Raises what `forward` raises for such ids.
        """
        past = 0 if cache is None else cache.length
        x = self._embed(target, self.target_embedding, start=past)  # (B, T, D)
        return self.decoder(x, memory, self.decoder_mask(target, past), source_mask, cache)

    def _embed(self, ids: Tensor, embedding: TokenEmbedding, start: int = 0) -> Tensor:
        _check_ids(ids)
        return self.dropout(self.positions(embedding(ids), start))  # (B, T, D)

    @torch.no_grad()
    def attention_maps(self, source: Tensor, target: Tensor, products: bool = False) -> AttentionMaps:
        """Every attention weight of one pass over source (B, S) and target (B, T), without dropout.

        `products` asks for the products q · k, before scaling and mask, in place of the weights.
        """
        with evaluation_mode(self), record_attention(self) as recorded:
            self(source, target)

        def stack(attentions: Iterable[MultiHeadAttention]) -> Tensor:  # L times (B, H, T, S) → (L, B, H, T, S)
            records = [recorded[attention][0] for attention in attentions]
            return torch.stack([record.products if products else record.weights for record in records])

        return AttentionMaps(
            encoder=stack(layer.self_attention for layer in self.encoder.layers),
            decoder=stack(layer.self_attention for layer in self.decoder.layers),
            cross=stack(layer.cross_attention for layer in self.decoder.layers),
        )

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write `config.json` and `model.safetensors` into a folder, new or not; tied matrices are stored once.

        The checksums of a checkpoint that lies there already are deleted, as it is changed on purpose. Raises
        ValueError, and writes nothing, for weights that are no finite numbers in that format: none could be loaded.
        """
        # named_parameters names a shared tensor once; the sinusoids are computed, not saved.
        tensors = {name: p.detach().to(dtype).contiguous() for name, p in self.named_parameters()}
        for name, stored in tensors.items():
            if not stored.is_floating_point() or not stored.isfinite().all():
                raise ValueError(
                    f"{name} cannot be stored as {dtype}, expected a floating-point format in which all its numbers "
                    "are finite; keep float32, or take weights from before the training diverged"
                )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "model.safetensors.draft"
        try:
            save_file(tensors, draft)  # first, as nothing else is large: a checkpoint there is whole if this fails
            (folder / CHECKSUMS).unlink(missing_ok=True)
            write_json(folder / "config.json", asdict(self.config))
            draft.replace(folder / "model.safetensors")
        except (Exception, KeyboardInterrupt):
            draft.unlink(missing_ok=True)
            raise

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], device: torch.device | str = "cpu") -> "Transformer":
        """Load a model, in float32 and ready for use (no dropout), from a checkpoint, a run or a shipped name.

        Raises CheckpointError for a checkpoint that is missing, damaged or of another program.
        """
        folder = resolve(name)
        path, settings = folder / "config.json", read_json(folder / "config.json")
        weights = read_tensors(folder / "model.safetensors")
        missing = [field.name for field in fields(TransformerConfig) if field.name not in settings]
        try:
            if missing:
                raise TypeError(f"it lacks {', '.join(missing)}")
            config, stored = TransformerConfig(**settings), sum(weight.numel() for weight in weights.values())
            if config.n_numbers > 100 * stored + 10**6:  # beyond doubt, and before so many are made
                raise ValueError(f"its model has {config.n_numbers:,} numbers, the weights beside it {stored:,}")
            model = cls(config)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path} does not describe a Transformer of this package: {error}") from error
        model.load_weights(weights, origin=str(folder))
        check_unchanged(folder, "config.json", "model.safetensors")
        return model.to(device).eval()

    def load_weights(self, tensors: dict[str, Tensor], origin: str = "the weights") -> None:
        """Copy the tensors into the parameters of the same names.

        Raises CheckpointError where names or shapes differ, and for weights that are no finite floating-point numbers;
        no parameter is touched then.
        """
        own = dict(self.named_parameters())
        for name in sorted(tensors.keys() | own.keys()):
            got, expected = (tuple(some[name].shape) if name in some else "nothing" for some in (tensors, own))
            if got != expected:
                raise CheckpointError(
                    f"{origin} is a checkpoint of another configuration: {name} is {got}, expected {expected}; build "
                    "the model from the config.json that lies beside the weights"
                )
        for name, parameter in own.items():
            stored = tensors[name]
            if not stored.is_floating_point() or not stored.to(parameter.dtype).isfinite().all():
                what = "NaN or infinite numbers" if stored.is_floating_point() else f"numbers of type {stored.dtype}"
                raise CheckpointError(
                    f"{origin} holds {what} in {name}, expected finite weights; its training diverged or the file is "
                    "damaged, use another checkpoint"
                )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(tensors[name])


def _check_ids(ids: Tensor) -> None:
    if not isinstance(ids, Tensor) or ids.dtype not in (torch.int64, torch.int32):  # all that PyTorch looks up
        what = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
        raise TypeError(
            f"token ids are {what}, expected a tensor of whole numbers (batch, length), int64 or int32; "
            "`.long()` makes int64 of other numbers"
        )
    if ids.dim() != 2:
        raise ValueError(f"token ids have shape {tuple(ids.shape)}, expected (batch, length); add a batch dimension")
