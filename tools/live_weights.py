"""Write the shipped models as scripts that the pages can load, from a server or from disk.

    python -m tools.live_weights                # into book/assets/live/weights
    python -m tools.live_weights --cost         # measure what one byte for a weight costs in BLEU, into live_cost.json

A script says `engine.register(name, {config, tokenizer, tensors})`; `book/assets/live/engine/weights.js` reads it.

    config      the fields of `TransformerConfig` that the engine needs
    tokenizer   {vocab}: the tokens by id; of byte pairs also {merges}: the ids of both parts and of the whole
    tensors     by the names of the checkpoint: {shape, half} in half precision, or {shape, int8, scale}, where a row is
                whole numbers of one byte times its scale in single precision; all little-endian, in base64
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from transformer.config import TransformerConfig
from transformer.decoding import DecodingConfig, translate
from transformer.evaluation import bleu
from transformer.files import SHIPPED, read_json, read_tensors
from transformer.model import Transformer
from transformer.text.corpora import load_corpus
from transformer.text.tokenizer import Tokenizer

WEIGHTS = Path(__file__).parents[1] / "book" / "assets" / "live" / "weights"
COST = Path(__file__).with_name("live_cost.json")
MEASURED = "multi30k-en-de"
IN_BYTES = {"embedded-en-de": False, "multi30k-en-de": True}
"""the models that the pages have, and whether a weight takes one byte or two"""
SIZES = ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff")
SEARCHES = {"greedy": DecodingConfig("greedy"), "beam 4, α = 0.6": DecodingConfig("beam", beam=4, alpha=0.6)}


def quantised(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of one byte (m, n) and a scale (m,), whose product is close to the rows (m, n)."""
    scale = rows.float().abs().amax(1).clamp(min=1e-12) / 127
    return (rows.float() / scale[:, None]).round().to(torch.int8), scale


def in_the_page(name: str) -> dict[str, Tensor]:
    """The weights of a shipped model as the engine has them, in single precision."""
    tensors = read_tensors(SHIPPED / name / "model.safetensors")
    for key, tensor in tensors.items():
        if IN_BYTES[name] and tensor.dim() == 2:
            numbers, scale = quantised(tensor)
            tensors[key] = numbers * scale[:, None]
    return {key: tensor.float() for key, tensor in tensors.items()}


def script(name: str) -> str:
    """The script of a shipped model.

    Raises ValueError for a model that the engine cannot run.
    """
    config = TransformerConfig(**read_json(SHIPPED / name / "config.json"))
    engine_has = TransformerConfig(**{size: getattr(config, size) for size in SIZES}, dropout=config.dropout)
    if config != engine_has:
        raise ValueError(f"{name} is {config}, expected {engine_has}: the engine has the paper's choices alone")
    tensors = read_tensors(SHIPPED / name / "model.safetensors")
    stored = {
        "config": {size: getattr(config, size) for size in SIZES},
        "tokenizer": stored_tokenizer(read_json(SHIPPED / name / "tokenizer.json")),
        "tensors": {key: stored_tensor(tensor, IN_BYTES[name]) for key, tensor in tensors.items()},
    }
    return f'engine.register("{name}", {json.dumps(stored, ensure_ascii=False, separators=(",", ":"))});\n'


def stored_tensor(tensor: Tensor, in_bytes: bool) -> dict[str, Any]:
    """One tensor; vectors are so few that they stay in half precision."""
    if not in_bytes or tensor.dim() == 1:
        return {"shape": list(tensor.shape), "half": encoded(tensor.half())}
    numbers, scale = quantised(tensor)
    return {"shape": list(tensor.shape), "int8": encoded(numbers), "scale": encoded(scale)}


def encoded(tensor: Tensor) -> str:
    """The numbers of a tensor in base64, little-endian."""
    array = tensor.numpy()
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def stored_tokenizer(settings: dict[str, Any]) -> dict[str, Any]:
    """The vocabulary and merges of a `tokenizer.json`."""
    model = settings["model"]
    ids = model["vocab"]
    vocab = sorted(ids, key=ids.__getitem__)
    if model["type"] == "WordLevel":
        return {"vocab": vocab}
    return {"vocab": vocab, "merges": [[ids[a], ids[b], ids[a + b]] for a, b in model["merges"]]}


def write(folder: Path) -> None:
    """Write the scripts of all models into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in IN_BYTES:
        path = folder / f"{name}.js"
        path.write_text(script(name), encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def measure_cost(name: str = MEASURED) -> dict[str, Any]:
    """Translate the test split with the shipped weights and with those of the page: BLEU of both by each search."""
    shipped, tokenizer = Transformer.from_pretrained(name), Tokenizer.from_pretrained(name)
    page = Transformer(shipped.config).eval()
    page.load_weights(in_the_page(name))
    pairs = load_corpus(name.split("-")[0])["test"]
    sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
    found: dict[str, Any] = {"weights": checksum(name)}
    for search, config in SEARCHES.items():
        written = [translate(model, tokenizer, sources, config) for model in (shipped, page)]
        before, after = (bleu(texts, targets) for texts in written)
        same = sum(a == b for a, b in zip(*written, strict=True))
        found[search] = {"shipped": round(before.score, 2), "page": round(after.score, 2), "same": same}
        print(f"{search}: {before.score:.2f} shipped, {after.score:.2f} in the page, {same} of {len(pairs)} the same")
    return found


def stored_cost(name: str = MEASURED) -> dict[str, Any]:
    """What was measured when the shipped weights were last changed.

    Raises ValueError where it was measured with other weights.
    """
    found = json.loads(COST.read_text(encoding="utf-8"))
    if found["weights"] != checksum(name):
        raise ValueError(f"{COST.name} was measured with other weights; renew it: python -m tools.live_weights --cost")
    return found


def checksum(name: str) -> str:
    """SHA-256 of the shipped weights."""
    return hashlib.sha256((SHIPPED / name / "model.safetensors").read_bytes()).hexdigest()


def main(cost: bool = False) -> None:
    """Write the scripts, or with --cost measure, and keep what came out."""
    if cost:
        COST.write_text(json.dumps(measure_cost(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        write(WEIGHTS)


if __name__ == "__main__":
    tyro.cli(main)
