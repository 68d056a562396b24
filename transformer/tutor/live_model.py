"""Figures to take in hand that show a whole model, its masks, its heads and how it writes::

    from transformer.tutor import live_model
    live_model.heads_by_hand("it is new .", "er ist neu .", "sie ist neu .", ["encoder 2, head 2"])

They are made as those of `live.py`. What they open with is computed here, or handed over by the chapter.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher

import torch

from transformer.model import Transformer
from transformer.text.symbols import BOS, EOS
from transformer.text.tokenizer import Tokenizer
from transformer.tutor.figures import KEY, TARGET, VALUE
from transformer.tutor.live import BAR, SVG, Live, chance, field

LEFT, TOP, PITCH = 92, 50, 17
"""pixels: where the cells of a cache begin, and from one token to the next"""

# Masks


def leaks_by_hand(
    words: Sequence[str],
    answers: Sequence[str],
    instead: Sequence[str],
    moved: Mapping[Sequence[bool], Sequence[Sequence[float]]],
    place: int,
    masks: Sequence[bool],
) -> Live:
    """The outputs of a decoder that move when one of its words changes (paper §3.2.3), with masks or without.

    The decoder is given T `words` and is to say T `answers`. `instead` has what each word but the first is changed to,
    `moved` for each combination of masks how far each change moves each output, (T − 1, T). It opens with the word at
    `place` changed, under the `masks`. Raises ValueError for a place that is no changed word's.
    """
    if not 1 <= place < len(words):
        raise ValueError(f"the changed word is at place {place}, expected one from 1 to {len(words) - 1}")
    far = moved[tuple(masks)][place - 1]  # (T,)
    farthest = max(far) or 1  # where nothing moves, no bar has a length
    bars = [f"{BAR} / $% 4px", f"{BAR.replace('currentColor', TARGET)} / $% 4px"]  # rightly, and before the word
    rows = "".join(
        f'<tr style="background: {bars[t < place].replace("$", f"{100 * far[t] / farthest:.1f}")}"><th scope="row">'
        f"{html.escape(f'{word} → {instead[t - 1]}' if t == place else word)}</th><td>→ {html.escape(answer)}</td>"
        f"<td>{_distance(far[t])}</td></tr>"
        for t, (word, answer) in enumerate(zip(words, answers, strict=True))
    )
    short = {
        "".join(str(int(has)) for has in key): [[float(f"{x:.4g}") for x in row] for row in found]
        for key, found in moved.items()
    }
    leaks = sum(x > 0 for x in far[:place])
    told = "1 output before it moves" if leaks == 1 else f"{leaks} outputs before it move"
    without = " and ".join(str(layer + 1) for layer, has in enumerate(masks) if not has) or "none"
    return Live(
        "leaks_by_hand",
        f"A decoder is given {' '.join(words)}; layers without their mask: {without}. When {words[place]} becomes "
        f"{instead[place - 1]}, {told}.",
        {"words": list(words), "instead": list(instead), "place": place, "masks": list(masks)}
        | {"bars": bars, "moved": short},
        f'<p class="live-says">“{field("word", words[place])}” becomes “{field("other", instead[place - 1])}”: '
        f"<b>{field('leaks', told)}</b></p>"
        '<table class="leaks" style="width: 100%; max-width: 26rem"><thead><tr>'
        '<th scope="col">given</th><th scope="col">to say</th><th scope="col">moves by</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>",
    )


def _distance(moved: float) -> str:
    """How far an output moved; 0 is exactly 0."""
    return "0" if moved == 0 else "&lt;0.01" if moved < 0.005 else f"{moved:.2f}"


# Heads


def heads_by_hand(
    sentence: str, whole: str, without: str, off: Sequence[str], n_layers: int = 2, n_heads: int = 2
) -> Live:
    """The heads of the shipped small model (paper §3.2.2) to switch off, and what becomes of a sentence.

    `whole` is its translation by all heads, `without` the one without those that are `off`, named as in
    "encoder 2, head 1". The parts are "encoder", "decoder" and "cross". Raises ValueError for a head that there is not.
    """
    heads = [(layer, head) for layer in range(1, n_layers + 1) for head in range(1, n_heads + 1)]
    rows = {part: [f"{part} {layer}, head {head}" for layer, head in heads] for part in ("encoder", "decoder", "cross")}
    if unknown := {*off} - {name for names in rows.values() for name in names}:
        raise ValueError(f"got the heads {sorted(unknown)}, expected names such as {rows['encoder'][0]!r}")
    body = "".join(
        f'<tr><th scope="row">{part}</th>' + "".join(_head(name, name in off) for name in names) + "</tr>"
        for part, names in rows.items()
    )
    layers = "".join(f'<th scope="colgroup" colspan="{n_heads}">layer {i + 1}</th>' for i in range(n_layers))
    return Live(
        "heads_by_hand",
        f"A table of {3 * len(heads)} heads. All of them translate {sentence} as {whole} "
        f"Without {' and '.join(off)} it becomes {without}",
        {"sentence": sentence, "off": list(off)},
        f'<p class="live-says">Switched off: <b>{field("off", str(len(off)))}</b> of {3 * len(heads)} heads</p>'
        '<div style="display: flex; flex-wrap: wrap; gap: 0.5rem 2rem; align-items: center">'
        f'<table class="heads" style="width: auto"><thead><tr><td></td>{layers}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
        f'<dl style="flex: 1 1 16rem; margin: 0"><dt>all heads</dt><dd>{html.escape(whole)}</dd>'
        f"<dt>those that are left</dt><dd>{marked(without, whole)}</dd></dl></div>",
        model="embedded-en-de",
    )


def _head(name: str, is_off: bool) -> str:
    """A head of the table, struck through if it is off."""
    number = name.rpartition(" ")[2]
    return f'<td title="{name}">{f"<s>{number}</s>" if is_off else number}</td>'


def marked(text: str, other: str) -> str:
    """A text whose words are marked where another has different ones."""
    words, others = text.split(), other.split()
    blocks = SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    common = {i for block in blocks for i in range(block.a, block.a + block.size)}
    shown = [html.escape(word) for word in words]
    return " ".join(word if i in common else f"<mark>{word}</mark>" for i, word in enumerate(shown))


# Decoding


@torch.inference_mode()
def decoding_by_hand(name: str, sentence: str, written: Sequence[int], operations: Callable[[int, bool], int]) -> Live:
    """A shipped model that has written some tokens (paper §3.2.3): its cache, and the likeliest next ones.

    `operations(n, cached)` is how many the decoder needs for token n, with a cache or without. Raises ValueError where
    the translation has ended.
    """
    if EOS in written:
        raise ValueError(f"the written tokens are {list(written)}, expected no end mark among them")
    model, tokenizer = Transformer.from_pretrained(name), Tokenizer.from_pretrained(name)
    source = torch.tensor([[*tokenizer.encode(sentence), EOS]])  # (1, S)
    logits = model(source, torch.tensor([[BOS, *written]]))[0, -1]  # (V,)
    shares, ids = (found.tolist() for found in logits.softmax(-1).topk(5))
    words, likeliest = tokenizer.tokens([BOS, *written]), tokenizer.tokens(ids)
    n, c = len(words), model.config
    rows = [(TOP + 35 * layer + 15 * i, color) for layer in range(c.n_layers) for i, color in enumerate((KEY, VALUE))]
    costs = {way: [operations(i + 1, cached) for i in range(n)] for way, cached in (("kept", True), ("anew", False))}
    counts = "".join(
        f'<tr><th scope="row">{title}</th><td>{field(way, f"{costs[way][-1]:,}")}</td>'
        f"<td>{field(way + 'Sum', f'{sum(costs[way]):,}')}</td></tr>"
        for title, way in (("with a cache", "kept"), ("without", "anew"))
    )
    chips = "".join(
        f'<span style="background: {BAR} / {share:.1%} 4px">{html.escape(word)} {chance(share)}</span>'
        for word, share in zip(likeliest, shares, strict=True)
    )
    return Live(
        "decoding_by_hand",
        f"Step {n} of a translation: after {' '.join(words[1:])} the likeliest token is {likeliest[0]}. The cache has "
        f"the keys and values of {n} tokens in {c.n_layers} layers, and only the last ones are new.",
        {
            **{"sentence": sentence, "written": list(written), "next": list(zip(ids, shares, strict=True))},
            "pieces": dict(zip([*written, *ids], [*words[1:], *likeliest], strict=True)),
            "sizes": {"N": c.n_layers, "d": c.d_model, "d_ff": c.d_ff, "S": source.size(1)},
            "column": {"left": LEFT, "pitch": PITCH, "top": TOP, "rows": rows},
            "bar": f"{BAR} / $% 4px",
        },
        f'<p class="live-says">Step {field("n", str(n))}: <b>{field("written", " ".join(words[1:]))}</b>'
        f"{field('more', ' …')}</p>"
        '<div style="display: flex; flex-wrap: wrap; gap: 0.25rem 2rem; align-items: end">'
        f"{_cache(words, rows)}"
        '<table style="flex: 0 1 15rem"><thead><tr><th scope="col">operations</th><th scope="col">this step</th>'
        f'<th scope="col">so far</th></tr></thead><tbody>{counts}</tbody></table></div>'
        f'<p class="live-next" style="display: flex; flex-wrap: wrap; gap: 0.5rem">The likeliest next: {chips}</p>',
        name,
    )


def _cache(words: Sequence[str], rows: Sequence[tuple[int, str]]) -> str:
    """The keys and values of tokens in each layer as cells, those of the last token bright."""
    ink = 'fill="currentColor" font-size="12"'
    labels = "".join(
        f'<text x="84" y="{y + 11}" text-anchor="end" {ink}>{("keys", "values")[i % 2]}</text>'
        + (f'<text x="0" y="{y + 18}" {ink}>layer {i // 2 + 1}</text>' if i % 2 == 0 else "")
        for i, (y, _) in enumerate(rows)
    )
    cells = ""
    for i, word in enumerate(words):
        x, opacity = LEFT + PITCH * i, 1 if i == len(words) - 1 else 0.25
        turned = f'transform="translate({x + 11} {TOP - 5}) rotate(-50)"'
        cells += f"<text {turned} {ink}>{html.escape(word)}</text>" + "".join(
            f'<rect x="{x}" y="{y}" width="{PITCH - 3}" height="13" fill="{color}" fill-opacity="{opacity}"/>'
            for y, color in rows
        )
    return (
        f'<svg viewBox="0 0 340 {rows[-1][0] + 14}" width="340" {SVG} aria-label="the cache: a column for each token" '
        'style="flex: 1 1 20rem; min-width: 0; max-width: 22rem; height: auto">'
        f'{labels}<g class="cells">{cells}</g></svg>'
    )
