"""The benchmark measures what it says, and writes it where it is told; how fast anything is, is not tested."""

import re
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tools import bench as module
from tools.bench import (
    BenchConfig,
    NeverEnding,
    Reference,
    bench,
    decoding_rows,
    gpu_rows,
    greedy_without_cache,
    interleaved,
    peak,
    reference_loss,
    run_rows,
)
from transformer.config import TransformerConfig
from transformer.decoding import greedy
from transformer.model import Transformer
from transformer.runs.loop import train
from transformer.runs.run import Run
from transformer.text.batches import collate, encode_pairs
from transformer.text.corpora import Corpus, load_corpus
from transformer.text.tokenizer import make_tokenizer
from transformer.training import TrainingConfig

CPU = torch.device("cpu")
TINY = TransformerConfig(vocab_size=300, d_model=16, n_layers=1, n_heads=2, d_ff=16, dropout=0.0)
QUICK = BenchConfig(parts=("training",), rounds=1, batches=1, threads=1, device="cpu", model=TINY)


def test_both_sides_have_the_same_size_and_the_same_kind_of_loss():
    model, reference = Transformer(TINY).eval(), Reference(TINY).eval()
    extra = 2 * 2 * TINY.d_model  # torch.nn.Transformer normalises once more after each stack
    assert sum(p.numel() for p in reference.parameters()) == sum(p.numel() for p in model.parameters()) + extra
    batch = collate([([5, 6, 7], [8, 9]), ([10], [11, 12, 13, 14])])
    log_p = reference(batch.source, batch.target_in).log_softmax(-1)[batch.target_mask]  # (n, V)
    right = log_p.gather(1, batch.target_out[batch.target_mask][:, None])
    torch.testing.assert_close(reference_loss(reference, batch, 0.0), -right.sum())


def test_variants_take_turns_and_the_median_counts(monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    durations, clock = iter([200, 1, 10, 2, 30, 3, 200, 4]), 0

    def variant(name: str) -> None:
        nonlocal clock
        order.append(name)
        clock += next(durations)

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock))
    seconds = interleaved({name: lambda name=name: variant(name) for name in "ab"}, rounds=3, device=CPU)
    assert order == ["a", "b"] * 4
    assert seconds == {"a": 30, "b": 3}, "the first round warms up"


def test_search_without_a_cache_writes_the_same():
    model = Transformer(TINY).eval()
    model.output = NeverEnding(TINY.d_model, TINY.vocab_size, bias=False)
    source = torch.randint(4, 300, (3, 5))
    written = torch.tensor([found.best.tokens for found in greedy(model, source, 7)])
    assert written.shape == (3, 7), "EOS had a chance"
    assert torch.equal(greedy_without_cache(model, source, 7)[:, 1:], written)


def ratios(table: str) -> list[float]:
    return [float(cell) for cell in re.findall(r"\| ([\d.]+)×", table)]


@pytest.mark.slow
def test_table_has_a_row_for_each_measurement(monkeypatch: pytest.MonkeyPatch):
    pairs = load_corpus("embedded")["comp"]
    monkeypatch.setattr(module, "load_corpus", lambda name: Corpus(name, "en", "de", {"train": pairs}))
    table = bench(QUICK)
    header, _, titles, rule, *rows = table.splitlines()
    assert torch.__version__ in header and "d_model 16, 1 + 1 layers" in header and "1 threads" in header
    assert all(row.count("|") == 5 for row in (titles, rule, *rows))
    assert all(ratio > 0 for ratio in ratios(table)) and len(ratios(table)) == len(rows) > 1


def test_decoding_is_measured_against_four_others():
    rows = list(decoding_rows(QUICK, CPU, long=(2, 5), short=(3, 4)))
    rivals = ["recomputing every prefix", "one sentence at a time", "greedy", "greedy"]
    assert [row.against.split(":")[0] for row in rows] == rivals
    assert [row.what[:24] for row in rows[2:]] == ["beam 4, 3 sentences of 4", "beam 4, 2 sentences of 5"]


@pytest.mark.slow
def test_graphics_cards_are_measured_eager_and_compiled(monkeypatch: pytest.MonkeyPatch):
    """Run on the CPU and without compiling; what is left to a GPU is only its speed."""
    compiled: list[str] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    (row,) = gpu_rows(QUICK, CPU, {"tiny": (TINY, 2, 5)})
    layers = ["EncoderLayer", "DecoderLayer", "TransformerEncoderLayer", "TransformerDecoderLayer"]
    assert compiled == layers * TINY.n_layers, "each layer once, of both models"
    assert row.what == "training, tiny, bf16, 2 × 5 tokens" and "% of the peak" in row.result


def test_peak_is_that_of_a_matrix_product(monkeypatch: pytest.MonkeyPatch):
    """By processor time on both sides, for others may want the machine."""
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=time.process_time))
    started = time.process_time()
    matrix = torch.randn(512, 512)
    for _ in range(20):
        matrix @ matrix
    rate = 2 * 512**3 * 20 / (time.process_time() - started)
    assert rate / 10 < peak("fp32", CPU) < rate * 10


def test_a_finished_run_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pairs = load_corpus("embedded")["comp"]
    small = Corpus("multi30k", "en", "de", {"train": pairs[:50], "test": pairs[50:55]})
    monkeypatch.setattr(module, "load_corpus", lambda name: small)
    tokenizer = make_tokenizer("words", small, 500)
    model = Transformer(replace(TINY, vocab_size=len(tokenizer)))
    examples = encode_pairs(tokenizer, small["train"])
    run = Run(tmp_path / "run", tokenizer, {"corpus": "multi30k"})
    config = TrainingConfig(steps=4, batch_size=8, warmup=2, validate_every=2)
    records = train(model, examples, examples, config, run, progress=False, device="cpu")
    assert sum(record["cpu_seconds"] for record in records) > 0
    (row,) = run_rows(replace(QUICK, run=tmp_path / "run"), CPU)
    assert "4 updates in 0 CPU minutes" in row.what and "tok:13a" in row.what
    assert row.result.startswith("beam 4, α = 1: ") and row.against.startswith("greedy ")


def test_table_is_written_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(module.PARTS, "training", lambda command, device: iter([module.Row("a|a", "b", "c", "2×")]))
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench cpu -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    assert bench(replace(QUICK)).endswith("\n| a\\|a | b | c | 2× |"), "a bar in a cell would end it"
    for _ in range(2):  # writing again replaces, and adds nothing
        table = bench(replace(QUICK, readme=readme))
        text = readme.read_text(encoding="utf-8")
        assert text == f"before\n<!-- bench cpu -->\n\n{table}\n\n<!-- end -->\nafter\n"


@pytest.mark.parametrize("text", ["nothing", "<!-- bench cpu --> without an end", "<!-- end --> <!-- bench cpu -->"])
def test_a_file_without_the_marks_is_refused_before_the_work(text: str, tmp_path: Path):
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="has no line '<!-- bench cpu -->'"):
        bench(replace(QUICK, corpus="nowhere", readme=readme))
    assert readme.read_text(encoding="utf-8") == text


def test_gpu_part_needs_a_gpu():
    with pytest.raises(ValueError, match="needs a CUDA device, and this is cpu"):
        bench(replace(QUICK, parts=("gpu",)))


@pytest.mark.parametrize(
    ("flags", "parts"),
    [("--rounds 0", ["rounds is 0", "at least 1"]), ("--corpus nowhere", ["corpus 'nowhere' is unknown"])],
)
def test_command_explains_an_error(flags: str, parts: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["bench", *flags.split()])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert all(part in str(stopped.value) for part in parts)


def test_command_has_a_flag_for_every_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["bench", "--help"])
    with pytest.raises(SystemExit):
        module.main()
    out = capsys.readouterr().out.replace(",", " ")
    settings = (field for config in (BenchConfig, TransformerConfig) for field in fields(config))
    missing = [one.name for one in settings if f"--{one.name.replace('_', '-')} " not in out]
    assert missing == ["model"], "its own fields are flags"


def test_number_of_threads_is_left_as_it_was():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="corpus 'nowhere' is unknown"):
        bench(replace(QUICK, threads=before + 1, corpus="nowhere"))
    assert torch.get_num_threads() == before
