"""The command line: train, translate and evaluate from a shell, and one understandable message for each mistake."""

import io
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

import transformer
from tools.chapters import ROOT
from transformer.__main__ import RUNNERS, Evaluate, Train, Translate, doubts, main, parse, tell
from transformer.config import TransformerConfig
from transformer.decoding import DecodingConfig
from transformer.files import CheckpointError, read_json, saved_checkpoints, step_of, write_json
from transformer.runs.checkpoints import average, load
from transformer.runs.recipes import EMBEDDED, MULTI30K, ONE_HOUR, Recipe
from transformer.text.corpora import NAMED, Corpus
from transformer.text.pairs import Pair
from transformer.text.symbols import UNK
from transformer.text.tokenizer import make_tokenizer
from transformer.training import TrainingConfig

NUMBERS = {
    "one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs", "seven": "sieben",
}  # fmt: skip
SMALL = [
    *("--tokenizer", "words", "--d-model", "32", "--n-layers", "1", "--n-heads", "2", "--d-ff", "64"),
    *("--batch-size", "16", "--schedule", "constant", "--warmup", "20", "--peak-rate", "5e-3", "--precision", "fp32"),
]


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command as the shell would, in this process; `stdin` is what comes in by the pipe."""

    def run(*argv: str | Path, stdin: bytes = b"") -> Result:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as exit_:  # how the parser ends, for help and for unknown flags
            code = int(exit_.code or 0)
        result = Result(code, *capsys.readouterr())
        assert "Traceback" not in result.err
        return result

    return run


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_DEVICE", "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus that counts in two languages, and a run that has learnt it."""
    folder, rng = tmp_path_factory.mktemp("place"), random.Random(0)
    (folder / "numbers").mkdir()
    for split, n in {"train": 300, "val": 20, "test": 20}.items():
        said = [rng.choices(list(NUMBERS), k=rng.randint(1, 3)) for _ in range(n)]
        for language, lines in {"en": said, "de": [[NUMBERS[word] for word in words] for words in said]}.items():
            text = "".join(" ".join(words) + "\n" for words in lines)
            (folder / "numbers" / f"{split}.{language}").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFORMER_DEVICE", "cpu")
        patch.chdir(folder)
        assert main(["train", "--corpus", "numbers", "--run", "run", *SMALL, "--steps=400", "--validate-every=50"]) == 0
    return folder


@pytest.fixture(autouse=True)
def at_the_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


# What it is for


def test_training_shows_its_first_pair_where_columns_may_be_swapped(command: Command, tmp_path: Path):
    """The names of languages in a first line are too many to know them all."""
    rows = "".join(f"{german}\t{english}\n" for english, german in NUMBERS.items())
    (tmp_path / "pairs.tsv").write_text("Deutsch\tEnglisch\n" + rows, encoding="utf-8")
    result = command("train", "--corpus", tmp_path / "pairs.tsv", "--run", tmp_path / "run", *SMALL, "--steps=1")
    assert "the first pair, en → de: 'Deutsch' → 'Englisch'\n" in result.err


@pytest.mark.parametrize(("rank", "is_told"), [("0", True), ("1", False), ("10", False)])
def test_of_several_processes_the_first_one_tells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rank: str, is_told: bool
):
    monkeypatch.setenv("RANK", rank)
    tell("done")
    assert capsys.readouterr().err == "done\n" * is_told


def test_training_that_only_warms_up_is_warned_of(command: Command, tmp_path: Path):
    """As the recipe of a corpus is with a few of its updates alone."""
    flags = ["--schedule", "linear", "--warmup", "2", "--steps", "2"]
    result = command("train", "--corpus", "numbers", "--run", tmp_path / "run", *SMALL, *flags)
    assert result.code == 0
    assert result.err.count("warning: warmup is 2 of 2 updates: the learning rate rises to the end and never") == 1


def test_training_leaves_a_run(place: Path):
    assert {path.name for path in (place / "run").iterdir()} == {
        "best.json", "checkpoints", "config.json", "lock", "metrics.jsonl",
    }  # fmt: skip
    stored = read_json(place / "run" / "config.json")
    assert stored["corpus"] == str(place / "numbers"), "from any folder"
    assert (
        set(stored["texts"]) == {"train", "val"}
        and stored["model"]["d_model"] == 32
        and stored["training"]["steps"] == 400
    )


def test_sentences_are_translated_as_arguments(command: Command):
    assert command("translate", "--model", "run", "one two", "five") == (0, "eins zwei\nfünf\n", "")


def test_file_is_translated_line_by_line(command: Command, tmp_path: Path):
    (tmp_path / "input").write_bytes("\ufeffseven\r\n\n  \nthree one\n".encode())
    assert command("translate", "--model", "run", "--file", tmp_path / "input").out == "sieben\n\n\ndrei eins\n"


@pytest.mark.parametrize(
    ("stdin", "out"),
    [
        (b"six\n\nfour five", "sechs\n\nvier fünf\n"),
        (b"\n\n\n", "\n\n\n"),
        (b"", ""),
        (b"one\n", "eins\n"),
        ("one\u2028two\n".encode(), "eins zwei\n"),
    ],
)
def test_standard_input_keeps_its_line_numbers(command: Command, stdin: bytes, out: str):
    assert command("translate", "--model", "run", stdin=stdin).out == out


def test_line_feed_in_a_translation_makes_no_second_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A model that writes bytes can write this one."""

    def two_lines_each(model: object, tokenizer: object, sentences: list[str], *_: object) -> list[str]:
        return ["two\nlines"] * len(sentences)

    monkeypatch.setattr("transformer.__main__.translate", two_lines_each)
    monkeypatch.setattr("transformer.evaluation.translate", two_lines_each)
    assert command("translate", "--model", "run", "one", "two").out == "two lines\ntwo lines\n"
    assert command("evaluate", "--model", "run", "--limit", "3", "--output", tmp_path / "out").code == 0
    assert (tmp_path / "out").read_text() == "two lines\n" * 3


def test_words_that_the_model_does_not_know_are_reported_with_their_line(command: Command):
    result = command("translate", "--model", "run", stdin=b"one\none hundred\n")
    assert result.code == 0 and result.out.startswith("eins\n") and result.out.count("\n") == 2
    assert result.err == "line 2 has words that are not in the model's vocabulary: one hundred\n"


@pytest.mark.parametrize(
    ("sentence", "translation", "told"),
    [
        ("Mr. Two", "eins", []),
        ("Mrs. Two , Prof. One bzw. Capt . Three", "drei", []),
        ("Mr. and Mrs. Two sleep. Two MMrs. One", "drei", ["seems to hold 3 sentences"]),
        ("Three dogs. Two cats", "drei", ["seems to hold 2 sentences"]),
        ("three dogs . Two cats ! One?", "drei", ["seems to hold 3 sentences"]),
        ('"Three dogs!" "Two," he said.', "drei", ["seems to hold 2 sentences"]),
        ("three dogs, e.g. Two at 3.5 p.m. Or Mr. Two...", "drei", []),
        ("三只狗。两只猫。", "drei", ["seems to hold 2 sentences"]),
        ("one", "eins zwei drei vier " * 3, ["has a translation that repeats itself"]),
        ("one", "eins zwei drei vier " * 2, []),
        ("one", "", []),
    ],
)
def test_doubts_about_a_translation_are_told(sentence: str, translation: str, told: list[str]):
    tokenizer = make_tokenizer("bpe", Corpus("none", "en", "de", {"train": []}), 260)
    found = list(doubts(tokenizer, sentence, translation))
    assert len(found) == len(told) and all(doubt.startswith(part) for doubt, part in zip(found, told, strict=True))


def test_reader_who_has_enough_is_no_error(place: Path):
    """As `… | head` is, which closes its end of the pipe."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "transformer", "translate", "--model", "run", "one", "two"],
        env=os.environ | {"PYTHONPATH": str(Path(transformer.__file__).parents[1])},
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to another process")
def test_ctrl_c_during_the_imports_leaves_no_traceback(tmp_path: Path):
    (tmp_path / "torch.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    path = os.pathsep.join([str(tmp_path), str(Path(transformer.__file__).parents[1])])
    heeding = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # even in background
    process = subprocess.Popen(
        [sys.executable, "-c", heeding + "runpy.run_module('transformer', run_name='__main__')"],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline().strip() == b"importing"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    finally:
        process.kill()
    assert (process.returncode, err) == (-signal.SIGINT, b"")


def test_damaged_history_is_told_and_keeps_nobody_from_going_on(command: Command, started: Path):
    before = (started / "metrics.jsonl").read_bytes()
    (started / "metrics.jsonl").write_bytes(b"\xff\0\n" + before + b'{"loss": 3}\n')
    damaged = (started / "metrics.jsonl").read_bytes()
    result = command("train", "--run", started, "--resume", "--until", "3")
    n = before.count(b"\n") + 2
    assert (
        result.code == 0 and f"warning: {started / 'metrics.jsonl'} is damaged in line 1, {n}, expected" in result.err
    )
    assert (started / "metrics.jsonl").read_bytes().startswith(before)
    assert (started / "metrics.jsonl.damaged").read_bytes() == damaged
    (started / "metrics.jsonl").unlink()
    result = command("train", "--run", started, "--resume", "--until", "4")
    assert result.code == 0 and "metrics.jsonl is missing" in result.err


def test_decoding_is_configured_by_flags(command: Command):
    flags = ["--method", "sample", "--temperature", "9", "--max-length", "5"]
    outs = [command("translate", "--model", "run", *flags, "--seed", seed, "one two three").out for seed in "112"]
    assert outs[0] == outs[1] != outs[2]


def test_checkpoint_can_be_named_as_the_model(command: Command, place: Path):
    last = saved_checkpoints(place / "run")[-1]
    assert command("translate", "--model", last, "two").out == "zwei\n"


def test_evaluation_reports_five_measures_of_the_corpus_trained_on(command: Command, tmp_path: Path):
    result = command("evaluate", "--model", "run", "--output", tmp_path / "out")
    assert result.code == 0
    first, *measures = result.out.splitlines()
    assert first == "numbers en→de test, 20 sentences"
    names = [line.rsplit(" ", 1)[0] for line in measures[1:]]
    assert names == ["chrF", "exact match", "token accuracy", "perplexity"]
    assert measures[0].startswith("BLEU = ") and "|tok:13a|" in measures[0]
    assert float(measures[1].split()[-1]) > 50 and float(measures[2].split()[-1]) > 0.5
    assert result.err.startswith("warning: no reference has four tokens") and result.err.count("\n") == 1
    translations = (tmp_path / "out").read_text(encoding="utf-8").splitlines()
    assert len(translations) == 20 and set(" ".join(translations).split()) <= set(NUMBERS.values())


def test_checkpoint_is_not_written_over_by_translations(command: Command, place: Path):
    weights = saved_checkpoints(place / "run")[-1] / "model.safetensors"
    before = weights.read_bytes()
    for model in ("run", weights.parent):
        result = command("evaluate", "--model", model, "--limit", "1", "--output", weights)
        assert_explained(result, "in the folder of the model", "nothing is overwritten")
    assert weights.read_bytes() == before


def test_output_that_cannot_be_written_is_said_before_the_work(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    result = command("evaluate", "--model", "run", "--output", tmp_path / "out")
    assert_explained(result, f"cannot write to {tmp_path / 'out'}", "that is writable")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_output_on_a_full_disk_is_named(command: Command):
    result = command("evaluate", "--model", "run", "--limit", "1", "--output", "/dev/full")
    assert result.code == 1 and "error: could not write the translations to /dev/full: " in result.err


def test_evaluation_counts_the_tokens_that_are_named(command: Command):
    result = command("evaluate", "--model", "run", "--bleu-tokens", "char")
    assert "|tok:char|" in result.out and result.err == ""


def test_evaluation_scores_texts_that_spell_special_tokens(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """They are text like any other; an error would come after all the work, and throw the translations away."""

    def as_unknown(model: object, tokenizer: object, sentences: list[str], *_: object) -> list[str]:
        return ["eins <unk> </s>"] * len(sentences)

    monkeypatch.setattr("transformer.evaluation.translate", as_unknown)
    result = command("evaluate", "--model", "run", "--limit", "3", "--output", tmp_path / "out")
    assert result.code == 0 and "BLEU = " in result.out
    assert (tmp_path / "out").read_text() == "eins <unk> </s>\n" * 3


@pytest.mark.parametrize("closed", ["stdin", "stdout"])
def test_closed_standard_streams_are_said(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], closed: str
):
    monkeypatch.setattr(sys, closed, None)
    assert main(["translate", "--model", "run", *(["one"] if closed == "stdout" else [])]) == 1
    assert f"error: standard {'in' if closed == 'stdin' else 'out'}put is closed, expected" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_standard_output_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for argv in (["translate", "--model", "run", "one"], ["--version"]):
        with Path("/dev/full").open("w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            assert main(argv) == 1
        assert "error: could not write to standard output ([Errno 28]" in capsys.readouterr().err


def test_evaluation_of_one_checkpoint_finds_its_corpus(command: Command, place: Path):
    result = command("evaluate", "--model", saved_checkpoints(place / "run")[0], "--split", "val", "--limit", "3")
    assert result.code == 0 and result.out.startswith("numbers en→de val, 3 sentences\n")


def test_average_uses_the_mean_of_the_last_checkpoints(command: Command, place: Path):
    model, _ = load("run", 3, "cpu")
    expected = average(saved_checkpoints(place / "run")[-3:])
    assert all(torch.equal(parameter, expected[name]) for name, parameter in model.named_parameters())
    assert command("translate", "--model", "run", "--average", "3", "two one").out == "zwei eins\n"


def test_vocabulary_comes_from_the_training_split_alone():
    splits = {"train": [Pair("one", "eins")], "val": [Pair("two", "zwei")], "test": [Pair("three", "drei")]}
    tokenizer = make_tokenizer("words", Corpus("numbers", "en", "de", splits), 300)
    assert UNK not in tokenizer.encode("one eins")
    assert set(tokenizer.encode("two zwei three drei")) == {UNK}


# What is kept of the texts


OWN = "numbers-en-de-train-0123456789abcdef"


@pytest.fixture
def kept_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a training keeps of its texts."""
    folder = tmp_path / "kept"
    for name in (OWN, f"{OWN}.draft"):
        (folder / name).mkdir(parents=True)
        (folder / name / "ids.npy").write_bytes(b"0" * 2_000_000)
    (folder / f"{OWN}.lock").touch()
    monkeypatch.setenv("TRANSFORMER_ENCODED", str(folder))
    return folder


def test_what_is_kept_is_cleared(command: Command, kept_texts: Path):
    assert command("cache").out.splitlines()[0] == f"      2.0 MB  {OWN}" and kept_texts.is_dir()
    assert command("cache", "--clear").out.splitlines()[-1] == f"      4.0 MB were deleted from {kept_texts}"
    assert not kept_texts.exists()


def test_clearing_leaves_what_is_of_others(command: Command, kept_texts: Path):
    (kept_texts / "thesis").mkdir()
    for name in ("thesis/chapter.txt", "notes.txt", "numbers-en-de-train.lock"):
        (kept_texts / name).write_text("dear to somebody")
    assert "thesis" not in command("cache").out
    assert command("cache", "--clear").code == 0
    assert {path.name for path in kept_texts.iterdir()} == {"thesis", "notes.txt", "numbers-en-de-train.lock"}
    assert (kept_texts / "thesis" / "chapter.txt").read_text() == "dear to somebody"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few users make links")
def test_clearing_follows_a_link_and_keeps_it(command: Command, kept_texts: Path, monkeypatch: pytest.MonkeyPatch):
    link = kept_texts.with_name("link")
    link.symlink_to(kept_texts)
    monkeypatch.setenv("TRANSFORMER_ENCODED", str(link))
    assert command("cache", "--clear").code == 0
    assert link.is_dir() and not any(kept_texts.iterdir())


def test_file_in_the_place_of_what_is_kept_is_said(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRANSFORMER_ENCODED", str(tmp_path / "file"))
    assert_explained(command("cache", "--clear"), f"{tmp_path / 'file'} is a file", "set $TRANSFORMER_ENCODED")


# Help, version, recipes


@pytest.mark.parametrize(
    ("name", "configs"),
    [
        ("train", [Train, TransformerConfig, TrainingConfig]),
        ("translate", [Translate, DecodingConfig]),
        ("evaluate", [Evaluate, DecodingConfig]),
    ],
)
def test_help_explains_every_setting(command: Command, name: str, configs: list[type]):
    result = command(name, "--help")
    assert result.code == 0
    for config in configs:
        for field in fields(config):
            if field.type not in configs and field.name != "sentences":
                assert f"--{field.name.replace('_', '-')} " in result.out.replace(",", " "), field.name


def test_help_lists_the_commands(command: Command):
    result = command("--help")
    assert result.code == 0
    assert all(name in result.out for name in ("train", "translate", "evaluate", "--version"))


def test_version(command: Command):
    assert command("--version") == (0, f"{transformer.__version__}\n", "")


def recipe_of(command: Train) -> Recipe:
    return Recipe(command.corpus, command.tokenizer, command.model, command.training)


def test_help_speaks_to_users_not_to_programmers(command: Command):
    for name in ("train", "translate", "evaluate"):
        shown = command(name, "--help").out
        assert "Raises" not in shown and "Error" not in shown


def test_help_shows_the_defaults_of_the_corpus_named(command: Command):
    shown = " ".join(command("train", "--corpus", "embedded", "--help").out.replace("│", " ").split())
    assert f"travels through the model (default: {EMBEDDED.model.d_model})" in shown


def test_size_need_fit_no_other_recipe_than_that_of_the_corpus():
    """30 is no multiple of the four heads that the recipe of Multi30k has."""
    assert parse(["train", "--corpus", "embedded", "--d-model", "30"]).model.head_sizes == (15, 15)


def test_corpus_brings_its_recipe_and_flags_change_it():
    assert recipe_of(parse(["train"])) == MULTI30K
    for argv in (["train", "--corpus", "embedded"], ["train", "--corpus=embedded"]):
        assert recipe_of(parse(argv)) == EMBEDDED
    assert recipe_of(parse(["train", "--corpus", "numbers"])) == replace(ONE_HOUR, corpus="numbers")
    page = (ROOT / "book" / "running.md").read_text(encoding="utf-8")
    (hour,) = re.findall(r"transformer (train --batch-tokens .* runs/one-hour)", page)
    assert recipe_of(parse(hour.split())) == ONE_HOUR, "the page has the flags of the recipe"
    assert parse(["train", "--corpus", "embedded", "--d-model", "160"]).model.d_model == 160, "the default of another"
    changed = parse(["train", "--corpus", "embedded", "--d-model", "32", "--steps", "7"])
    assert isinstance(changed, Train)
    assert (changed.model.d_model, changed.training.steps) == (32, 7)
    assert changed.model.n_layers == EMBEDDED.model.n_layers


def commands_of_the_pages() -> Iterator[list[str]]:
    """The arguments of every command in the pages and the models' cards, up to a comment or a redirection."""
    for page in (*(ROOT / "book").glob("*.md"), ROOT / "README.md", *ROOT.glob("transformer/pretrained/*/README.md")):
        for line in re.findall(r"^.*-m (?:-- )?transformer (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            if "`" not in line:
                yield shlex.split(line.partition(" > ")[0], comments=True)


@pytest.mark.parametrize("argv", [*commands_of_the_pages()], ids=" ".join)
def test_command_of_a_page_is_understood(argv: list[str]):
    command = parse([word for word in argv if word != "--resume"])  # which asks for the run itself
    if isinstance(command, Train):
        assert command.corpus in NAMED or command.corpus.endswith(".tsv"), "a name that is known, or a file"


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
@pytest.mark.parametrize("size", ["base", "big"])
def test_script_for_wmt14_has_the_paper_s_settings(tmp_path: Path, size: str):
    (tmp_path / "torchrun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "torchrun").chmod(0o755)
    script = ROOT / "tools" / "wmt14.sh"
    paths = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    said = subprocess.run(
        ["sh", script, size, "wmt14"], env=os.environ | paths, capture_output=True, text=True, check=True
    )
    words = said.stdout.split()
    command = parse([word for word in words[words.index("transformer") + 1 :] if word != "--start-or-resume"])
    sizes = {"vocab_size": 37_000, "max_len": command.model.max_len}
    assert command.model == getattr(TransformerConfig, size)(**sizes)
    assert command.training.steps == {"base": 100_000, "big": 300_000}[size]
    assert command.training.peak_rate is None and command.training.warmup == 4_000
    n_processes = int(words[words.index("--nproc-per-node") + 1])
    assert command.training.batch_tokens * command.training.accumulate * n_processes == 25_000


# Mistakes


def assert_explained(result: Result, *parts: str) -> None:
    """The command failed with one message, which holds the parts."""
    assert result.code == 1 and result.out == ""
    assert result.err.count("error: ") == 1
    message = result.err[result.err.index("error: ") :]
    assert message.count("\n") == 1, "one line"
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("argv", "suggestion"),
    [
        (["translate", "--model", "run", "--beem", "3", "one"], "--beam"),
        (["train", "--corpus", "numbers", "--d-modell", "3"], "--d-model"),
        (["learn"], "train"),
        ([], "train"),
        (["train", "--steps", "many"], "--steps"),
        (["train", "--steps", "0"], "steps is 0, expected at least 1"),
        (["train", "--norm", "mid"], "'post'"),
        (["train", "--longest", "0"], "longest is 0, expected at least 1"),
        (["train", "--until", "0"], "until is 0, expected the number of an update"),
        (["train", "--d-model", "30", "--n-heads", "4"], "d_model 30 is not divisible by n_heads 4"),
        (["train", "--d-model", "31", "--n-heads", "1"], "d_model is 31, expected an even number"),
        (["translate", "--beam", "0", "one"], "beam is 0, expected from 1"),
        (["translate", "--temperature", "-1", "--method", "sample", "one"], "temperature is -1.0"),
        (["translate", "--batch-size", "0", "one"], "batch_size is 0"),
        (["translate", "--top-k", "5", "one"], "which draws nothing"),
        (["translate", "--model", "run", "-the dog"], "go behind --"),
    ],
    ids=" ".join,
)
def test_command_that_cannot_be_read_is_answered_with_what_could_be_meant(
    command: Command, argv: list[str], suggestion: str
):
    result = command(*argv)
    assert result.code not in (0, None) and result.out == ""
    assert suggestion in result.err and "tyro" not in result.err


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ("translate --model nowhere one", ["no model 'nowhere'", "expected the folder"]),
        ("translate --model run --average 0 one", ["average_last is 0", "expected 1"]),
        ("translate --model run --average 99 one", ["run has", "99", "keep_last 99"]),
        ("translate --model run --device abacus one", ["device 'abacus' is unknown", "'cpu'"]),
        ("translate --model run --file nowhere", ["nowhere", "one sentence a line"]),
        ("translate --model run --file numbers/test.en one", ["got sentences and a file", "one of them"]),
        (
            "translate --model numbers one",
            ["numbers/config.json is missing", "folder of a checkpoint", "that of a run"],
        ),
        ("translate --model embedded-en-de --average 2 one", ["0 checkpoints", "expected a run with the 2"]),
        ("evaluate --model run --split dev", ["no split 'dev'", "train, val, test"]),
        ("evaluate --model run --output nowhere/out", ["cannot write to nowhere/out", "a folder that exists"]),
        ("evaluate --model run --output numbers", ["cannot write to numbers", "the name of a file"]),
        ("evaluate --model run --limit 1 --output numbers/test.de", ["is a text of numbers", "nothing is overwritten"]),
        (
            "evaluate --model run --limit 1 --output numbers/train.en",
            ["is a text of numbers", "nothing is overwritten"],
        ),
        ("evaluate --model run --limit 1 --output run/out", ["in the folder of the model", "another place"]),
        ("evaluate --model run --limit 0", ["limit is 0", "at least 1"]),
        ("evaluate --model run --corpus nowhere", ["corpus 'nowhere' is unknown", " or ".join(NAMED)]),
        ("evaluate --model run --corpus numbers --target fr", ["has no test.fr"]),
        ("train --corpus nowhere", ["corpus 'nowhere' is unknown", "train.en"]),
        ("train --corpus multi30k --target nl", ["en, de, fr", "en to nl"]),
        ("train --corpus numbers --run new --vocab-size 9", ["vocab_size is 9", "at least 260"]),
        ("train --corpus numbers --run new --vocab-size 1000000000000", ["vocab_size is 10000", "at most 16,777,216"]),
        ("train --corpus numbers --run new --d-model 1000000000", ["GB of this machine", "make it smaller"]),
        ("train --corpus numbers --run new --n-layers 10000000", ["GB of this machine", "make it smaller"]),
        ("train --corpus numbers --run new --max-len 1000000000000", ["GB of this machine", "make it smaller"]),
        ("train --corpus numbers --run run", ["run already holds a training", "resume it"]),
        ("train --corpus numbers --run new --resume", ["no run to resume in new", "start a new one"]),
        ("train --run run --resume --d-model 64", ["--d-model 64", "started with 32", "new run"]),
        ("train --run run --resume --corpus embedded", ["--corpus embedded", "numbers; leave out"]),
    ],
)
def test_mistake_is_explained(command: Command, argv: str, parts: list[str]):
    assert_explained(command(*argv.split()), *parts)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--run new --device abacus", "device 'abacus' is unknown"),
        ("--run run", "run already holds a training"),
        ("--run numbers", "numbers is no run, it holds test.de"),
        ("--run numbers/test.de", "numbers/test.de is a file"),
    ],
)
def test_training_that_cannot_be_is_refused_before_its_text_is_read(
    command: Command, monkeypatch: pytest.MonkeyPatch, argv: str, message: str
):
    monkeypatch.setattr("transformer.__main__.load_corpus", lambda *_: pytest.fail("the corpus was read"))
    assert_explained(command("train", "--corpus", "numbers", *argv.split()), message)


def test_input_is_translated_block_by_block(command: Command, monkeypatch: pytest.MonkeyPatch):
    """In the order given, with the lines' own numbers, and what came before a bad line is out before it is named."""
    words = list(NUMBERS)
    numbers = [words[i % 7] for i in range(23)] + ["hundred"]
    monkeypatch.setattr("transformer.__main__.BLOCK", 2)
    data = "".join(f"{number}\n" for number in numbers).encode()
    result = command("translate", "--model", "run", "--batch-size", "4", stdin=data)
    assert result.code == 0 and result.out.splitlines()[:23] == [NUMBERS[number] for number in numbers[:23]]
    assert result.err.startswith("line 24 has words that are not")
    bad = b"".join([*data.splitlines(keepends=True)[:19], "f\u00fcnf\n".encode("latin-1"), data])
    result = command("translate", "--model", "run", "--batch-size", "4", stdin=bad)
    assert result.code == 1 and result.out.splitlines() == [NUMBERS[number] for number in numbers[:19]]
    assert "after 19 lines that are translated: line 20 of standard input is not UTF-8" in result.err
    assert "line 1:" not in result.err


def test_every_block_is_drawn_by_numbers_of_its_own(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transformer.__main__.BLOCK", 1)
    flags = ["--method", "sample", "--temperature", "9", "--max-length", "9", "--batch-size", "1"]
    result = command("translate", "--model", "run", *flags, stdin=b"one two\n" * 6)
    assert result.code == 0 and len(set(result.out.splitlines())) == 6


def test_interrupted_translation_keeps_what_it_has(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transformer.__main__.BLOCK", 1)
    read: list[int] = []

    def lines(*_: object) -> Iterator[str]:
        for word in NUMBERS:
            read.append(len(read))
            if word == "six":
                raise KeyboardInterrupt
            yield word

    monkeypatch.setattr("transformer.__main__.lines_of_stream", lines)
    result = command("translate", "--model", "run", "--batch-size", "2", stdin=b"not read")
    assert result == (130, "eins\nzwei\ndrei\nvier\n", "stopped; 4 lines are translated\n")


def test_lines_of_a_pipe_are_read_as_those_of_a_file(command: Command, tmp_path: Path):
    text = "\ufeffone\n\ufefftwo\nthree\rfour".encode()
    (tmp_path / "lines.txt").write_bytes(text)
    piped = command("translate", "--model", "run", stdin=text)
    assert piped == command("translate", "--model", "run", "--file", tmp_path / "lines.txt") and piped.code == 0


def test_memory_that_ends_is_explained(command: Command, monkeypatch: pytest.MonkeyPatch):
    def too_much(_: Translate) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 69120000000 bytes")

    monkeypatch.setitem(RUNNERS, Translate, too_much)
    assert_explained(command("translate", "--model", "run", "one"), "out of memory", "69120000000", "--batch-size")


@pytest.mark.parametrize("flag", ["--d-model", "--warmup", "--accumulate"])
def test_number_that_nothing_can_count_is_refused(command: Command, flag: str):
    result = command("train", "--corpus", "numbers", "--run", "new", flag, "1" + 400 * "0")
    assert result.code != 0 and "401 digits" in result.err.replace("\n", " ")


def test_help_needs_no_run(command: Command, tmp_path: Path):
    assert "--resume" in command("train", "--resume", "--run", tmp_path / "none", "--help").out


@pytest.mark.parametrize("name", ["test.en", "train.tsv", "val.de"])
def test_translations_take_the_place_of_no_text_of_a_corpus(command: Command, tmp_path: Path, name: str):
    shutil.copytree("numbers", tmp_path / "other")
    (tmp_path / "other" / "test.de").unlink()  # a side alone is one's own, too
    (tmp_path / "other" / name).write_text("mine", encoding="utf-8")
    flags = ("--model", "run", "--corpus", tmp_path / "other", "--split", "val", "--limit", "1")
    output = tmp_path / "other" / name
    assert_explained(command("evaluate", *flags, "--output", output), "is a text of other", "nothing is overwritten")
    assert output.read_text(encoding="utf-8") == "mine"


def test_translations_that_cannot_be_written_leave_the_earlier_ones(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output, write = tmp_path / "out.txt", Path.write_text
    (tmp_path / "out.txt.draft").write_text("mine", encoding="utf-8")

    def until_the_disk_is_full(path: Path, text: str, **how: Any) -> None:
        write(path, text[: len(text) // 2], **how)
        raise OSError(28, "No space left on device")

    output.write_text("earlier", encoding="utf-8")
    monkeypatch.setattr(Path, "write_text", until_the_disk_is_full)
    result = command("evaluate", "--model", "run", "--output", output)
    assert result.code == 1 and "could not write the translations" in result.err and "BLEU" in result.out
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        "out.txt": "earlier", "out.txt.draft": "mine",
    }  # fmt: skip


def test_translations_keep_the_permissions_of_their_file_and_go_through_links_and_pipes(
    command: Command, tmp_path: Path
):
    (tmp_path / "out.txt").write_text("earlier", encoding="utf-8")
    (tmp_path / "out.txt").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "out.txt")
    assert command("evaluate", "--model", "run", "--limit", "1", "--output", tmp_path / "link").code == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o600
    read, write = os.pipe()
    assert command("evaluate", "--model", "run", "--limit", "1", "--output", f"/dev/fd/{write}").code == 0
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        assert pipe.read() == (tmp_path / "out.txt").read_text(encoding="utf-8")


def test_translations_take_the_place_of_no_file_of_a_named_corpus(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = tmp_path / "test.de.gz"
    text.write_bytes(b"published")
    monkeypatch.setitem(NAMED, "multi30k", replace(NAMED["multi30k"], load=lambda *_: Corpus(
        "multi30k", "en", "de", {"test": []}, {"test": (text, text)}
    )))  # fmt: skip
    result = command("evaluate", "--model", "run", "--corpus", "multi30k", "--output", text)
    assert_explained(result, "is a text of multi30k", "nothing is overwritten")
    assert text.read_bytes() == b"published"


def test_damaged_settings_of_a_run_matter_to_nobody_who_names_the_corpus(command: Command, tmp_path: Path):
    run = shutil.copytree("run", tmp_path / "run")
    write_json(run / "config.json", {"corpus": 3})
    named = ("--corpus", "numbers", "--source", "en", "--target", "de", "--limit", "1")
    assert command("evaluate", "--model", run, *named, "--output", tmp_path / "out.txt").code == 0


def test_error_is_explained_where_standard_output_is_closed(command: Command, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as closed:
        closed.setattr("sys.stdout", None)
        assert main(["train", "--corpus", "missing.tsv"]) == 1


def test_run_goes_on_with_the_model_of_its_checkpoint(command: Command, tmp_path: Path):
    run = shutil.copytree("run", tmp_path / "run")
    stored = read_json(run / "config.json")
    write_json(run / "config.json", stored | {"model": stored["model"] | {"n_heads": 4}})
    result = command("train", "--resume", "--run", run, "--steps", "450")
    assert_explained(result, "is of a model with n_heads 2, expected 4")


def test_mean_of_checkpoints_leaves_out_an_old_one_that_is_kept_as_the_best(place: Path, tmp_path: Path):
    run = shutil.copytree(place / "run", tmp_path / "run")
    first, *_ = saved = saved_checkpoints(run)
    assert load(run, len(saved))
    first.rename(first.with_name("step-00000001"))  # and between it and the others there was one
    with pytest.raises(CheckpointError, match=f"has {len(saved) - 1} checkpoints that follow each other"):
        load(run, len(saved))
    history = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in history if "val_nll" not in line or json.loads(line)["step"] > step_of(saved[1])]
    (run / "metrics.jsonl").write_text("".join(kept), encoding="utf-8")
    assert load(run, len(saved)), "none between, as where validations became rarer"


@pytest.mark.parametrize("sentence", ["", "  ", "\n"])
def test_empty_sentence_as_an_argument_is_refused(command: Command, sentence: str):
    assert_explained(command("translate", "--model", "run", "one", sentence), "sentence 2 is empty", "expected text")


def test_input_that_is_not_utf8_is_refused(command: Command, tmp_path: Path):
    data = "fünf\n".encode("latin-1")
    assert_explained(command("translate", "--model", "run", stdin=data), "standard input is not UTF-8", "iconv")
    result = command("translate", "--model", "run", stdin=b"one\rtwo\n")
    assert_explained(result, "line 1 of standard input ends lines with \\r", "tr '\\r' '\\n'")
    (tmp_path / "input").write_bytes(b"one\n" + data)
    result = command("translate", "--model", "run", "--file", tmp_path / "input")
    assert_explained(result, "input is not UTF-8", "line 2", "iconv")


def test_line_that_takes_long_is_told_before(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transformer.__main__.LONG", 3)
    result = command("translate", "--model", "run", stdin=b"one two three\none two three four\n")
    assert result.code == 0 and result.err.startswith("line 2 has 4 tokens, which takes long")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few users make links")
def test_link_that_leads_to_itself_is_no_corpus(command: Command, tmp_path: Path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for more in ([], ["--start-or-resume"]):
        assert_explained(command("train", "--corpus", tmp_path / "loop", *more), "loop' is unknown")
    assert_explained(command("evaluate", "--model", tmp_path / "loop"), "there is no model")


def test_sentence_longer_than_the_learned_positions_is_refused(command: Command, tmp_path: Path):
    flags = ["--positions", "learned", "--max-len", "6", "--steps", "1"]
    assert command("train", "--corpus", "numbers", "--run", tmp_path / "run", *SMALL, *flags).code == 0
    result = command("translate", "--model", tmp_path / "run", "one " * 9)
    assert_explained(result, "sentence 1 has 10 tokens", "at most 6")
    lines = f"one\ntwo\n{'one ' * 9}\nthree\n".encode()
    result = command("translate", "--model", tmp_path / "run", "--batch-size", "1", stdin=lines)
    assert result.out.count("\n") == 2, "those before the long one are translated"
    assert "after 2 lines that are translated: line 3 has 10 tokens" in result.err


@pytest.fixture
def corpus_with_long_lines(place: Path, tmp_path: Path) -> Path:
    """The numbers, with a long line in training, behind an empty one, and one in validation."""
    folder = shutil.copytree(place / "numbers", tmp_path / "long")
    for language, word in {"en": "one ", "de": "eins "}.items():
        for split, n in {"train": 300, "val": 40}.items():
            text = (folder / f"{split}.{language}").read_text(encoding="utf-8")
            (folder / f"{split}.{language}").write_text(f"\n{word * n}\n{text}", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("", ["1 of 301 pairs of train, of which a side has more than 256 tokens: line 2 (300 tokens)"]),
        ("--longest 300", []),
        (
            "--positions learned --max-len 32",
            ["1 of 301 pairs of train, of which a side has more than 31", "1 of 21 pairs of val", "line 2 (40 tokens)"],
        ),
    ],
    ids=["default", "as long as it is", "learned positions"],
)
def test_pairs_that_are_too_long_are_left_out_and_named(
    command: Command, corpus_with_long_lines: Path, tmp_path: Path, flags: str, told: list[str]
):
    end = ["--steps", "1", *flags.split()]
    result = command("train", "--corpus", corpus_with_long_lines, "--run", tmp_path / "run", *SMALL, *end)
    assert result.code == 0
    assert result.err.count("left out") == min(len(told), 2)
    for part in told:
        assert part in result.err


def test_split_whose_pairs_are_all_too_long_is_refused(command: Command, corpus_with_long_lines: Path, tmp_path: Path):
    for language, word in {"en": "one ", "de": "eins "}.items():
        (corpus_with_long_lines / f"val.{language}").write_text(word * 300, encoding="utf-8")
    result = command("train", "--corpus", corpus_with_long_lines, "--run", tmp_path / "run", *SMALL, "--steps", "1")
    assert_explained(result, "every pair of val has more than 256 tokens on a side", "--longest")
    assert not (tmp_path / "run").exists()


def test_tokenizer_of_another_model_is_refused(command: Command, place: Path, tmp_path: Path):
    folder = shutil.copytree(saved_checkpoints(place / "run")[-1], tmp_path / "checkpoint")
    make_tokenizer("bpe", Corpus("none", "en", "de", {"train": []}), 260).save(folder / "tokenizer.json")
    (folder / "checksums.json").unlink()  # as in a folder that was put together by hand
    assert_explained(command("translate", "--model", folder, "one"), "tokenizer.json has 260 tokens", "expected the")
    (folder / "tokenizer.json").unlink()
    assert_explained(command("translate", "--model", folder, "one"), "tokenizer.json", "missing")


def test_ctrl_c_before_the_training_begins_is_no_error(command: Command, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("transformer.__main__.load_corpus", interrupted)
    assert command("train", "--corpus", "numbers", "--run", "new") == (130, "", "stopped\n")


# Stop and go on


def weights(run: Path) -> dict[str, torch.Tensor]:
    last = saved_checkpoints(run)[-1]
    return load_file(last / "model.safetensors") | load_file(last / "optimizer.safetensors")


def same_bits(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_stopped_run_goes_on_with_its_settings(command: Command, place: Path, tmp_path: Path):
    flags = ["--corpus", "numbers", *SMALL, "--steps", "12"]
    assert command("train", "--run", tmp_path / "whole", *flags).code == 0
    assert command("train", "--run", tmp_path / "run", *flags, "--until", "5").code == 0
    assert command("train", "--run", tmp_path / "run", "--resume", "--d-model", "32").code == 0
    assert same_bits(tmp_path / "run", tmp_path / "whole")


def test_one_command_starts_and_resumes(command: Command, tmp_path: Path):
    """Stopped before its first checkpoint, at one, and at the end: what a job says that is restarted after a crash."""
    flags = ["--corpus", "numbers", *SMALL, "--steps", "12", "--start-or-resume"]
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for more in (["--until", "5"], [], []):
        assert command("train", "--run", tmp_path / "run", *flags, *more).code == 0
    assert command("train", "--run", tmp_path / "whole", *flags).code == 0
    assert same_bits(tmp_path / "run", tmp_path / "whole")
    assert "start_or_resume" not in read_json(tmp_path / "run" / "config.json")
    assert_explained(command("train", "--run", tmp_path / "run", *flags, "--seed", "3"), "--seed 3", "started with 0")


@pytest.fixture(scope="module")
def long_run(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was started for 3,000 updates with dropout .3, and has made two."""
    run = tmp_path_factory.mktemp("long") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFORMER_DEVICE", "cpu")
        patch.chdir(place)
        flags = [*SMALL, "--steps", "3000", "--dropout", ".3", "--until", "2"]
        assert main(["train", "--run", str(run), "--corpus", "numbers", *flags]) == 0
    return run


@pytest.fixture
def started(long_run: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be resumed."""
    return shutil.copytree(long_run, tmp_path / "run")


def test_run_is_tied_to_its_sentences_and_to_no_folder(
    command: Command, started: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert command("train", "--run", started, "--resume", "--until", "3").code == 0
    assert command("evaluate", "--model", started, "--limit", "1").out.startswith("numbers en→de test")
    moved = shutil.copytree(place / "numbers", elsewhere / "moved")
    assert command("train", "--run", started, "--resume", "--corpus", "moved", "--until", "4").code == 0
    assert read_json(started / "config.json")["corpus"] == str(moved)
    for language in ("en", "de"):
        with (moved / f"train.{language}").open("a") as file:
            file.write("one more\n")
    before = read_json(started / "config.json")
    result = command("train", "--run", started, "--resume", "--until", "5")
    assert_explained(result, "sentences of moved are not those that the run in", "restore them, or start a new run")
    assert read_json(started / "config.json") == before
    shutil.rmtree(moved)
    assert_explained(command("evaluate", "--model", started), f"'{moved}' is unknown", "name its new place")


def test_languages_are_the_run_s_unless_others_are_named(command: Command, place: Path, tmp_path: Path):
    """Also where the corpus is named: from English to "French", not to the German that lies there, too."""
    folder = shutil.copytree(place / "numbers", tmp_path / "three")
    for split in ("train", "val", "test"):
        text = (folder / f"{split}.de").read_text(encoding="utf-8").replace("eins", "un").replace("zwei", "deux")
        (folder / f"{split}.fr").write_text(text, encoding="utf-8")
    flags = ["--corpus", folder, "--target", "fr", "--run", tmp_path / "run", *SMALL, "--steps", "1"]
    assert command("train", *flags).code == 0
    for given, scored in {"": "en→fr", "--target de": "en→de", "--source de --target en": "de→en"}.items():
        for corpus in ([], ["--corpus", folder]):
            result = command("evaluate", "--model", tmp_path / "run", "--limit", "1", *corpus, *given.split())
            assert result.out.startswith(f"three {scored} test, 1 sentences")


def test_resumed_run_may_become_longer(command: Command, started: Path):
    """8,000 is also the default without a run: it counts all the same, and holds for the next time."""
    assert command("train", "--run", started, "--resume", "--steps", "8000", "--until", "3").code == 0
    assert read_json(saved_checkpoints(started)[-1] / "state.json")["step"] == 3
    assert read_json(started / "config.json")["training"]["steps"] == 8_000
    assert parse(["train", "--run", str(started), "--resume"]).training.steps == 8_000


def test_resumed_run_follows_what_only_says_when_to_save(command: Command, started: Path):
    flags = ["--validate-every", "2", "--keep-last", "3", "--until", "8"]
    assert command("train", "--run", started, "--resume", *flags).code == 0
    steps = [read_json(folder / "state.json")["step"] for folder in saved_checkpoints(started)]
    assert steps[-3:] == [4, 6, 8] and len(steps) <= 4, "the last three, and the best"
    stored = read_json(started / "config.json")["training"]
    assert (stored["validate_every"], stored["keep_last"], stored["steps"]) == (2, 3, 3_000)


def test_an_update_keeps_its_batches_on_resuming(command: Command, started: Path):
    result = command("train", "--run", started, "--resume", "--accumulate", "2", "--until", "3")
    assert_explained(result, "an update would be made of 2 batches (accumulate 2, processes 1)", "expected 1")
    for checkpoint in saved_checkpoints(started):  # as they were before they told their batches
        (checkpoint / "state.json").write_text('{"step": 2}')
    result = command("train", "--run", started, "--resume", "--accumulate", "2", "--until", "3")
    assert_explained(result, "--accumulate 2 was given, it was started with 1")


@pytest.mark.parametrize("missing", [False, True], ids=["cut off", "missing"])
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "state.json"])
def test_damaged_checkpoint_is_told_with_a_way_out(command: Command, started: Path, file: str, missing: bool):
    def damage() -> Path:
        last = saved_checkpoints(started)[-1]
        (last / file).unlink() if missing else (last / file).write_bytes((last / file).read_bytes()[:-9])
        return last

    assert command("train", "--run", started, "--resume", "--until", "3").code == 0
    last = damage()
    result = command("train", "--run", started, "--resume", "--until", "4")
    assert_explained(result, str(last / file), f"delete {last} to go on from the checkpoint before it")
    shutil.rmtree(last)
    assert command("train", "--run", started, "--resume", "--until", "3").code == 0
    shutil.rmtree(saved_checkpoints(started)[0])
    damage()
    assert_explained(command("train", "--run", started, "--resume", "--until", "4"), "start a new run")


def test_flags_that_change_nothing_are_fine_on_resuming(command: Command, started: Path):
    before = read_json(started / "config.json")
    flags = ["--corpus", "numbers", *SMALL, "--steps", "3000", "--dropout", ".3", "--log-every", "10"]
    assert command("train", "--run", started, "--resume", *flags, "--until", "3").code == 0
    assert read_json(started / "config.json") == before


@pytest.mark.parametrize(
    ("flags", "value", "stored"),
    [
        ("--dropout 0.2", "0.2", "0.3"),  # the recipe for a corpus of one's own says .2
        ("--n-heads 4", "4", "2"),
        ("--schedule linear", "linear", "constant"),
        ("--batch-tokens 2501", "2501", "2500"),
        ("--no-tie-embeddings", "False", "True"),
        ("--corpus embedded", "embedded", "numbers"),
        ("--tokenizer bpe", "bpe", "words"),
        ("--target fr", "fr", "de"),
    ],
)
def test_other_changes_are_refused_by_name(command: Command, started: Path, flags: str, value: str, stored: str):
    result = command("train", "--run", started, "--resume", *flags.split())
    given = flags if value == "False" else f"{flags.split()[0]} {value}"
    assert_explained(result, f"{given} was given, it was started with", f"{stored};", "start a new run")
    assert len(saved_checkpoints(started)) == 1


def test_all_refused_flags_are_named_at_once(command: Command, started: Path):
    result = command("train", "--run", started, "--resume", "--seed", "3", "--norm", "pre")
    assert_explained(result, "--seed 3 was given", "--norm pre was given")


def test_linear_schedule_keeps_its_number_of_updates(command: Command, tmp_path: Path):
    flags = ["--corpus", "numbers", *SMALL, "--schedule", "linear", "--steps", "60", "--until", "2"]
    assert command("train", "--run", tmp_path / "run", *flags).code == 0
    result = command("train", "--run", tmp_path / "run", "--resume", "--steps", "80")
    assert_explained(result, "--steps 80 was given", "started with 60")


def test_run_that_is_further_than_it_shall_go_is_not_resumed(command: Command, started: Path):
    before = read_json(started / "config.json")
    result = command("train", "--run", started, "--resume", "--steps", "1")
    assert_explained(result, "has made 2 updates and is to stop after 1; expected steps and until of 2 or more")
    assert read_json(started / "config.json") == before


@pytest.mark.parametrize(
    "stored",
    [{}, {"colour": "red"}, {"model": {"d_model": 0}, "training": {}}, {"model": {}, "training": {"steps": "9"}}],
    ids=str,
)
def test_settings_of_another_program_are_not_resumed(command: Command, started: Path, stored: dict):
    write_json(started / "config.json", stored)
    assert_explained(command("train", "--run", started, "--resume"), "does not describe a run of this package")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": ...}, "it lacks source;"),
        ({"corpus": 5}, "corpus is 5, expected a name"),
        ({"target": None}, "target is None, expected a name"),
        ({"longest": "many"}, "longest is 'many', expected a whole number"),
        ({"longest": -1}, "longest is -1, expected at least 1"),
        ({"tokenizer": "xx"}, "tokenizer is 'xx', expected one of bpe, words"),
    ],
    ids=str,
)
def test_settings_that_somebody_has_changed_are_named(command: Command, started: Path, changes: dict, told: str):
    stored = read_json(started / "config.json") | changes
    write_json(started / "config.json", {name: value for name, value in stored.items() if value is not ...})
    assert_explained(command("train", "--run", started, "--resume"), f"{started / 'config.json'} does not", told)
    if changes.keys() & {"corpus", "source", "target"}:
        assert_explained(
            command("evaluate", "--model", started), f"{started / 'config.json'} does not", "give --corpus"
        )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, None], ids=lambda c: str(c)[:9])
def test_run_without_its_settings_can_be_evaluated(command: Command, started: Path, content: bytes | None):
    path = started / "config.json"
    path.unlink() if content is None else path.write_bytes(content)
    result = command("train", "--run", started, "--resume")
    assert_explained(result, f"{path} ", "restore it, or start a new run")
    assert "use another checkpoint" not in result.err
    named = ["--corpus", "numbers", "--source", "en", "--target", "de"]
    assert command("evaluate", "--model", started, "--limit", "1", *named).code == 0
    if content is not None:
        assert_explained(command("evaluate", "--model", started), f"{path} ", "--corpus, --source and --target")


def test_evaluation_takes_from_the_training_what_is_not_said(command: Command):
    assert command("evaluate", "--model", "run", "--corpus", "numbers", "--limit", "1").out.startswith("numbers en→de")
    swapped = command("evaluate", "--model", "run", "--source", "de", "--target", "en", "--limit", "1")
    assert swapped.out.startswith("numbers de→en")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to another process")
def test_ctrl_c_in_a_shell_saves_and_the_run_goes_on(command: Command, place: Path, tmp_path: Path):
    flags = ["--corpus", "numbers", *SMALL, "--steps", "300", "--validate-every", "1000", "--log-every", "1"]
    run = tmp_path / "run"
    root = str(Path(transformer.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "transformer", "train", "--run", str(run), *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (metrics := run / "metrics.jsonl").is_file() or not metrics.stat().st_size:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped after update" in err and f"saved in {run}" in err and "Traceback" not in err
    assert len(saved_checkpoints(run)) == 1 and saved_checkpoints(run)[0].name < "step-00000300"

    assert command("train", "--run", run, "--resume").code == 0
    assert command("train", "--run", tmp_path / "whole", *flags).code == 0
    assert same_bits(run, tmp_path / "whole")


@pytest.mark.slow
def test_pipe_is_utf8_in_and_out_whatever_the_locale(place: Path):
    done = subprocess.run(
        [sys.executable, "-m", "transformer", "translate", "--model", "run"],
        env=os.environ | {"PYTHONPATH": str(Path(transformer.__file__).parents[1]), "PYTHONIOENCODING": "ascii"},
        input="five\n\nzwölf\n".encode(),
        capture_output=True,
    )
    assert done.returncode == 0
    assert done.stdout.decode().startswith("fünf\n\n") and done.stdout.count(b"\n") == 3
    assert b"line 3 has words that are not in the model's vocabulary" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_names_that_are_no_text_are_names_all_the_same(place: Path, tmp_path: Path):
    """A run "café" as an old system wrote it, and a corpus of such a name."""
    run, corpus = (os.fsencode(tmp_path) + name for name in (b"/caf\xe9", b"/tri\xe9"))
    shutil.copytree(os.fsencode(place / "numbers"), corpus)
    flags = ["--corpus", corpus, *SMALL, "--steps", "3", "--until", "2"]
    commands = [
        ["train", "--run", run, *flags],
        ["train", "--run", run, "--resume"],
        ["evaluate", "--model", run, "--limit", "1"],
        ["translate", "--model", run, "one"],
    ]
    for argv in commands:
        done = subprocess.run(
            [sys.executable, "-m", "transformer", *argv],
            env=os.environ | {"PYTHONPATH": str(Path(transformer.__file__).parents[1])},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
