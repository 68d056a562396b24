"""The claims instrument: a claim is shown with its evidence, and a false or unknown one stops the reader."""

import json
import math
import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tools import claims as proved
from tools.exercises import BOOK, chapter_of
from transformer.tutor import verify
from transformer.tutor.claims import TRACE, Claim, ClaimError, Outcome, claims


@pytest.fixture(autouse=True)
def at_a_reader_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


# The ledger

DROPPED = {"MT-6"}
"""claims that were given up; their numbers are not used again"""


def test_ledger_is_complete():
    assert len(claims()) > 50
    for identity, claim in claims().items():
        assert re.fullmatch(r"[A-Z]{2,4}-[1-9]\d*", identity) and claim.id == identity
        assert len(claim.text) > 20 and claim.text.strip() == claim.text, identity
        assert re.match(r"paper (§\d|Table \d|Fig \d)|reader|myth", claim.source), (identity, claim.source)


def test_no_claim_is_made_twice():
    texts = [claim.text for claim in claims().values()]
    assert len(set(texts)) == len(texts)


def test_numbers_leave_no_gap():
    """Numbers are stable: a claim is appended, never renumbered, so each prefix counts from 1."""
    assert not DROPPED & claims().keys()
    numbers: dict[str, list[int]] = {}
    for identity in [*claims(), *DROPPED]:
        prefix, number = identity.split("-")
        numbers.setdefault(prefix, []).append(int(number))
    assert {prefix: sorted(found) for prefix, found in numbers.items()} == {
        prefix: list(range(1, len(found) + 1)) for prefix, found in numbers.items()
    }


def test_what_is_called_a_myth_says_which_and_nothing_else_does():
    for claim in claims().values():
        called = "myth" in claim.source or "half true" in claim.source
        assert bool(claim.myth) == called or claim.chapter > 10, claim.id


# What verify does


@pytest.mark.parametrize("true", [True, np.True_, np.float32(1) < 2, torch.tensor(1) < 2, torch.tensor([[True]])])
def test_claim_that_holds_is_shown_with_its_text_and_evidence(true: Any, capsys: pytest.CaptureFixture[str]):
    verify("ATT-5", true, "largest error 3e-08")
    assert capsys.readouterr().out == f"✓ ATT-5 holds: {claims()['ATT-5'].text} [largest error 3e-08]\n"


@pytest.mark.parametrize("false", [False, np.False_, np.float32(3) < 2, torch.tensor(3) < 2])
def test_claim_that_fails_is_shown_and_stops(false: Any, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ClaimError, match=r"✗ ATT-5 fails: .*error 0\.3"):
        verify("ATT-5", false, "error 0.3")
    assert capsys.readouterr().out.startswith("✗ ATT-5")


def test_failed_claim_is_an_assertion_error():
    assert issubclass(ClaimError, AssertionError)


@pytest.mark.parametrize(("wrong", "near"), [("ATT-55", "ATT-5"), ("ATT5", "ATT-5"), ("EMB-01", "EMB-1")])
def test_unknown_claim_stops_and_similar_names_are_offered(wrong: str, near: str):
    with pytest.raises(ClaimError, match=f"no claim '{wrong}'; did you mean .*{near}"):
        verify(wrong, True, "evidence")


def test_claim_like_no_other_stops_too():
    with pytest.raises(ClaimError, match=r"no claim '\?\?\?'$"):
        verify("???", True, "evidence")


@pytest.mark.parametrize("ci", [None, "", "0", "false", "False"])
def test_absent_data_are_reported_to_a_reader(
    ci: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    verify("ATT-5", None, "Multi30k is absent")
    assert capsys.readouterr().out.startswith("○ ATT-5 not run: ")


@pytest.mark.parametrize("ci", ["true", "1", "yes"])
def test_absent_data_are_forbidden_in_ci(ci: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(ClaimError, match=r"not run: .*Multi30k is absent.*CI must have the data, set"):
        verify("ATT-5", None, "Multi30k is absent")
    verify("ATT-5", True, "here they are")


@pytest.mark.parametrize(
    "condition", [3e-8, 0, 1, "True", [True], np.array([True, True]), torch.tensor([True, True]), torch.tensor(1.0)]
)
def test_condition_must_be_a_truth_value(condition: Any):
    with pytest.raises(TypeError, match=r"condition of ATT-5 is .*, expected True, False or None"):
        verify("ATT-5", condition, "evidence")


@pytest.mark.parametrize("evidence", ["", "  \n"])
def test_evidence_is_required(evidence: str):
    with pytest.raises(ValueError, match="ATT-5 came without evidence, expected what was measured"):
        verify("ATT-5", True, evidence)


@pytest.mark.parametrize("number", [-1, math.nan, math.inf])
def test_bars_are_numbers_from_0(number: float):
    with pytest.raises(ValueError, match=r"ATT-5 came with bars of \{'masked': .*\}, expected numbers from 0"):
        verify("ATT-5", True, "evidence", bars={"masked": number})


# What a notebook keeps of it


def test_outcome_is_text_html_and_a_record():
    bundle, metadata = DisplayFormatter().format(Outcome(claims()["ATT-5"], "holds", "error 3e-08"))
    assert bundle["text/plain"].startswith("✓ ATT-5 holds")
    assert "<summary><strong>✓</strong>" in bundle["text/html"] and 'data-status="holds"' in bundle["text/html"]
    assert json.loads(json.dumps(metadata[TRACE])) == {
        "claim": "ATT-5",
        "status": "holds",
        "evidence": "error 3e-08",
        "shown": "",
    }


def test_line_shows_one_number_and_typeset_letters_and_folds_the_rest():
    claim = Claim("X-1", "q·k has variance d_k", "paper §3")
    bundle, _ = DisplayFormatter().format(Outcome(claim, "holds", "largest d_k 512", "98 of 100 rows"))
    line, _, folded = bundle["text/html"].partition("</summary>")
    assert "variance d<sub>k</sub>" in line and "98 of 100 rows" in line
    assert "largest d<sub>k</sub> 512" in folded and "X-1" in folded and "paper §3" in folded
    assert "X-1" not in line and "512" not in line


def test_html_shows_signs_and_runs_nothing():
    claim = Claim("X-1", "a < b & c", "reader")
    bundle, _ = DisplayFormatter().format(Outcome(claim, "holds", '<script>alert("x")</script>'))
    assert "a &lt; b &amp; c" in bundle["text/html"] and "<script" not in bundle["text/html"]
    assert bundle["text/plain"] == '✓ X-1 holds: a < b & c [<script>alert("x")</script>]'


@pytest.mark.slow
def test_executed_notebook_keeps_every_outcome():
    code = "from transformer.tutor import verify\nverify('ATT-5', True, 'error 3e-08')\nverify('EMB-1', None, 'absent')"
    cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("verify('POS-1', False, 'error 0.5')")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(CellExecutionError, match="✗ POS-1 fails"):
        NotebookClient(notebook, kernel_name="python3").execute()
    nbformat.validate(notebook)
    saved = json.loads(nbformat.writes(notebook))
    outputs = [output for cell in saved["cells"] for output in cell["outputs"]]
    records = [output["metadata"][TRACE] for output in outputs if TRACE in output.get("metadata", {})]
    assert [(record["claim"], record["status"]) for record in records] == [
        ("ATT-5", "holds"),
        ("EMB-1", "not run"),
        ("POS-1", "fails"),
    ]


# The page of all claims


def chapter(*outcomes: Outcome) -> nbformat.NotebookNode:
    """An executed notebook in which these outcomes were shown."""
    bundles = [outcome._repr_mimebundle_() for outcome in outcomes]
    shown = [nbformat.v4.new_output("display_data", data, metadata=metadata) for data, metadata in bundles]
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell(outputs=shown)]
    return nbformat.v4.new_notebook(cells=cells)


def outcome(claim: str, status: str = "holds", evidence: str = "error 3e-08") -> Outcome:
    return Outcome(claims()[claim], status, evidence, bars=BARS)


def test_claims_of_written_chapters_that_nothing_verifies_are_found():
    of_chapter_1 = [id for id, claim in claims().items() if id.startswith("EMB-") and not claim.said]
    source = Path("book/01_embeddings.ipynb")
    assert proved.unproved({}) == []
    assert proved.unproved({source: chapter()}) == of_chapter_1
    assert proved.unproved({source: chapter(*(outcome(claim) for claim in of_chapter_1[1:]))}) == of_chapter_1[:1]
    assert proved.unproved({source: chapter(*map(outcome, of_chapter_1))}) == []


def test_claim_that_is_only_said_needs_no_proof():
    lacking = proved.unproved({Path("book/03_attention.ipynb"): chapter()})
    assert "ATT-3" in lacking and "ATT-2" not in lacking


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("√d_k and M_{a+b}", "√d{sub}`k` and M{sub}`a+b`"),
        ("d^-½ of `d_k`", "d{sup}`-½` of `d_k`"),
        ("val_loss < [1]", r"val\_loss \< \[1\]"),
    ],
)
def test_letters_with_an_index_are_typeset_on_the_page_of_claims(text: str, expected: str):
    assert proved.statement(Claim("X-1", text, "reader")) == expected


def pages(folder: Path, myths: str, *shown: Outcome) -> tuple[str, str]:
    """The two pages, where one chapter shows these outcomes."""
    (folder / "claims.md").write_text("# Claims\n\n<!-- claims -->\n", encoding="utf-8")
    (folder / "myths.md").write_text(myths, encoding="utf-8")
    proved.write_pages(folder, {Path("book/02_positional_encoding.ipynb"): chapter(*shown)})
    return tuple((folder / name).read_text(encoding="utf-8") for name in ("claims.md", "myths.md"))


def test_page_lists_claims_with_evidence(tmp_path: Path):
    shown = [outcome("POS-3", evidence="a|b *c* $d$ <e> 3e-08"), outcome("POS-4", "not run", "Multi30k is absent")]
    claimed, _ = pages(tmp_path, "", *shown)
    _, of_chapter = claimed.split("## [2. Title](02_positional_encoding.ipynb)")
    rows = of_chapter.strip().splitlines()[2:]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [5, 5]
    assert "{claim}`POS-3`" in rows[0] and "a\\|\N{ZERO WIDTH SPACE}b " in rows[0] and r"\*c\* \$d\$ \<e>" in rows[0]
    assert "3·10{sup}`−8`" in rows[0]
    assert "○" in rows[1] and "not run: Multi30k is absent" in rows[1]


# The page of myths

BARS = {"with": 1, "without": 0}
SECTION = "<!-- myth POS-11: rows without a mistake -->\n**No.** It is not so.\nAnd why.\nHeard: in a pub\n"


def test_myth_is_told_with_what_was_measured_and_where(tmp_path: Path):
    _, told = pages(tmp_path, f"# Myths\n\n{SECTION}", Outcome(claims()["POS-11"], "holds", "in full", "-3 of 9", BARS))
    heading, heard, *sentences, _, drawn, _, measured = [
        one for one in told.splitlines()[2:] if one and one[:2] != "{."
    ]
    assert heading == f"### “{claims()['POS-11'].myth}”" and heard == "Heard: in a pub"
    assert sentences == ["**No.** It is not so.", "And why."] and drawn.startswith('<div class="bars"')
    assert measured == (
        "✓\N{NO-BREAK SPACE}{claim}`POS-11` Rows without a mistake: **−3 of 9**. More in {section}`POS-11`."
    )


def test_myth_without_a_figure_shows_the_bars_of_its_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shown: list[Outcome] = []
    monkeypatch.setattr("transformer.tutor.claims.show", shown.append)
    verify("POS-11", True, "in full", bars={"d_k, <sharp>": 2e-8, "of 40": 40, "half": torch.tensor(20.0)})
    kept = json.loads(json.dumps(shown[0]._repr_mimebundle_()[1], sort_keys=True))  # as a notebook's file has it
    assert [name for name, _ in kept[TRACE]["bars"]] == ["d_k, <sharp>", "of 40", "half"]
    _, told = pages(tmp_path, SECTION, *shown)
    assert 'role="img" aria-label="d_k, &lt;sharp&gt;: 2·10^{−8}; of 40: 40; half: 20"' in told
    assert re.findall(r"--share: ([\d.]+)", told) == ["0.0000", "1.0000", "0.5000"]
    assert "<span>d<sub>k</sub>, &lt;sharp&gt;</span>" in told and "<b>2·10<sup>−8</sup></b>" in told


def test_myth_without_any_picture_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="POS-11 has no picture"):
        pages(tmp_path, SECTION, Outcome(claims()["POS-11"], "holds", "in full"))


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (1234, "1,234"), (1234.6, "1,235"), (99.14, "99.1"), (3.456, "3.46"), (0.0, "0"), (2.5e-8, "2e-08")],
)
def test_bar_is_labelled_with_its_number(number: float, expected: str):
    assert proved.written(number) == expected


def test_myth_that_could_not_be_looked_into_says_so(tmp_path: Path):
    _, told = pages(tmp_path, SECTION, outcome("POS-11", "not run", "Multi30k is absent"))
    assert "○\N{NO-BREAK SPACE}{claim}`POS-11` Rows without a mistake: not run: Multi30k is absent" in told


def test_myth_of_a_chapter_that_is_not_there_is_left_out(tmp_path: Path):
    _, told = pages(tmp_path, SECTION + "\n" + SECTION.replace("POS-11", "INF-6"), outcome("POS-11"))
    assert told.count("### ") == 1 and "INF-6" not in told and "<!--" not in told


def test_claim_that_refutes_nothing_is_no_myth(tmp_path: Path):
    with pytest.raises(ValueError, match="POS-4, which has no `myth`"):
        pages(tmp_path, SECTION.replace("POS-11", "POS-4"), outcome("POS-4"))


def test_myth_shows_the_figure_of_a_cell(tmp_path: Path):
    pytest.importorskip("sphinx", reason="the book's own requirements are not installed")
    drawing = '<svg viewBox="0 0 9 9" version="1.1"><path d="M 0.123456 1"/></svg>'
    shows = chapter(outcome("POS-11")).cells[1]
    shows.outputs.append(nbformat.v4.new_output("display_data", {"image/svg+xml": drawing}))
    shows.metadata["mystnb"] = {"image": {"alt": "A line that falls"}}
    notebook = nbformat.v4.new_notebook(cells=[shows])
    told = proved.with_measurements(SECTION.replace("11:", f"11 {shows.id}:"), {Path("book/02_x.ipynb"): notebook})
    assert 'aria-label="A line that falls"' in told and "0.12 1" in told
    with pytest.raises(ValueError, match="cell-0 shows 0 figures, expected one"):
        proved.with_measurements(SECTION.replace("11:", "11 cell-0:"), {Path("book/02_x.ipynb"): notebook})


def test_every_saying_that_a_written_chapter_refutes_has_a_verdict_and_two_or_three_sentences():
    told = list(proved.MYTH.finditer((BOOK / "myths.md").read_text(encoding="utf-8")))
    written = {chapter_of(path) for path in BOOK.glob("*.ipynb")}
    expected = [claim.id for claim in claims().values() if claim.myth and claim.chapter in written]
    assert sorted(one["claim"] for one in told) == sorted(expected) and len(told) >= 20
    assert (BOOK / "myths.md").read_text(encoding="utf-8").count("<!--") == len(told), "a section that is not read"
    for one in told:
        assert 3 <= len(re.findall(r"[.?](?=\s|\*|$)", one["told"])) <= 4, one["told"]


def test_saying_that_is_called_often_heard_was_heard_somewhere():
    often, _ = (BOOK / "myths.md").read_text(encoding="utf-8").split("## Heard less often")
    assert [one["claim"] for one in proved.MYTH.finditer(often) if not one["heard"]] == []


def test_every_myth_has_a_figure_or_bars():
    code = "".join(path.read_text(encoding="utf-8") for path in BOOK.glob("*.ipynb"))
    for one in proved.MYTH.finditer((BOOK / "myths.md").read_text(encoding="utf-8")):
        _, _, proof = code.partition(f'\\"{one["claim"]}\\"')
        assert one["cell"] or "bars=" in proof.partition(" skip")[0], one["claim"]


def test_pictures_of_myths_are_figures_of_the_chapter_that_refutes_them():
    chapters = {chapter_of(path): nbformat.read(path, as_version=4) for path in BOOK.glob("*.ipynb")}
    found = [one for one in proved.MYTH.finditer((BOOK / "myths.md").read_text(encoding="utf-8")) if one["cell"]]
    assert len(found) > 5
    for one in found:
        (cell,) = [c for c in chapters[claims()[one["claim"]].chapter].cells if c.id == one["cell"]]
        assert "plt.show()" in cell.source, one["claim"]
