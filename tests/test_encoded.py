"""Texts as token ids: encoded once, kept under a name that tells what they were made of, and read by every process."""

import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch
import pytest

from transformer.__main__ import main
from transformer.text import encoded
from transformer.text import tokenizer as tokenizer_module
from transformer.text.batches import count_token_batches, encode_pairs, plain_batches, token_batches, too_long
from transformer.text.corpora import Corpus, load_corpus
from transformer.text.encoded import Encoded, encode_split, tokenizer_for
from transformer.text.pairs import Pair
from transformer.text.symbols import UNK
from transformer.text.tokenizer import Tokenizer, evenly_spaced, make_tokenizer
from transformer.training import TrainingConfig, batches_of_updates

WORDS = ["the", "a", "small", "old", "dog", "cat", "house", "sleeps", "runs", "sees", "in", "on", "café", "Öl", "猫"]
Write = Callable[..., Path]


def sentences(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(n)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a corpus of as many pairs, perhaps with other texts, as parallel files or as tables."""

    def build(name: str = "mine", n: int = 60, table: bool = False, **texts: list[str]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for split, size in (("train", n), ("val", 5)):
            sides = [texts.get(f"{split}_{side}", sentences(size, seed)) for seed, side in enumerate(("en", "de"))]
            if table:
                rows = ["\t".join(row) for row in zip(*sides, strict=True)]
                (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
                continue
            for side, lines in zip(("en", "de"), sides, strict=True):
                (folder / f"{split}.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    return build


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for encoded texts."""
    monkeypatch.setenv("TRANSFORMER_ENCODED", str(tmp_path / "kept"))
    return tmp_path / "kept"


def folders(kept: Path) -> set[str]:
    return {path.name for path in kept.glob("*") if path.is_dir()}


def prepare(folder: Path) -> tuple[Corpus, Tokenizer, Encoded]:
    corpus = load_corpus(str(folder))
    tokenizer = tokenizer_for(corpus, "words", 100)
    return corpus, tokenizer, encode_split(corpus, "train", tokenizer)


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("at_once", [1, 7, 1_000])
def test_arrays_hold_what_lists_would(
    write: Write, kept: Path, monkeypatch: pytest.MonkeyPatch, table: bool, at_once: int
):
    monkeypatch.setattr(encoded, "AT_ONCE", at_once)
    corpus, tokenizer, arrays = prepare(write(table=table))
    lists = encode_pairs(tokenizer, corpus["train"])
    assert [arrays[i] for i in range(len(arrays))] == lists == list(arrays)
    assert arrays[-1] == lists[-1]
    with pytest.raises(IndexError, match="there is no pair 60, expected one of 60"):
        arrays[60]
    assert arrays.lengths.tolist() == [[len(source), len(target)] for source, target in lists]


def test_pairs_know_their_lines_and_can_be_left_out(write: Write, kept: Path):
    texts = ["a dog", "", "the old cat sleeps in the house", "a cat"]
    _, _, arrays = prepare(write(train_en=texts, train_de=["ein", "zwei", "drei", "vier"]))
    assert arrays.lines.tolist() == [1, 3, 4]
    assert too_long(arrays, 7) == {1: 8}
    rest = arrays.without([1])
    assert rest.lines.tolist() == [1, 4] and list(rest) == [arrays[0], arrays[2]]
    assert list(arrays.without([])) == list(arrays)


@pytest.mark.parametrize("part", [slice(2), slice(-2, None), slice(None, None, -2), slice(9, 9)], ids=str)
def test_slice_is_encoded_too(write: Write, kept: Path, part: slice):
    *_, arrays = prepare(write())
    assert isinstance(arrays[part], Encoded) and list(arrays[part]) == list(arrays)[part]
    assert arrays[part].lines.tolist() == list(range(1, 61))[part]


def test_arrays_can_be_compared(write: Write, kept: Path):
    *_, arrays = prepare(write())
    same = arrays.without([])
    assert arrays != same and arrays in (same, arrays)


def test_batches_are_those_of_lists(write: Write, kept: Path):
    corpus, tokenizer, arrays = prepare(write(n=300))
    lists = encode_pairs(tokenizer, corpus["train"])
    for epoch in range(3):
        assert list(token_batches(arrays, 60, 7, epoch)) == list(token_batches(lists, 60, 7, epoch))
        assert list(plain_batches(arrays, 16, 7, epoch)) == list(plain_batches(lists, 16, 7, epoch))
        assert count_token_batches(arrays, 60) == len(list(token_batches(arrays, 60, 7, epoch)))


@pytest.mark.parametrize("settings", [{"batch_size": 7, "accumulate": 2}, {"batch_tokens": 40, "accumulate": 3}])
def test_updates_go_on_where_a_run_stopped(write: Write, kept: Path, settings: dict[str, int]):
    """Within an epoch, at its end, and epochs later."""
    _, _, arrays = prepare(write(n=50))
    config = TrainingConfig(**settings)
    whole = [update for update, _ in zip(batches_of_updates(arrays, config, 2), range(40), strict=False)]
    for done in range(30):
        assert next(batches_of_updates(arrays, config, 2, done)) == whole[done]


def test_order_is_what_it_has_always_been():
    """Trainings that were begun before, and the shipped models' recipes, depend on it."""
    examples = [([1] * (7 * i % 5), [2] * (3 * i % 7)) for i in range(9)]
    assert list(token_batches(examples, 18, 3, 1)) == [[4, 2], [0, 5, 3, 1], [8, 6, 7]]
    assert list(plain_batches(examples, 4, 3, 1)) == [[4, 7, 1, 3], [5, 0, 8, 2], [6]]


def test_kind_of_a_vocabulary_must_be_known():
    with pytest.raises(ValueError, match="kind is 'word', expected 'bpe' or 'words'"):
        make_tokenizer("word", Corpus("made", "en", "de", {"train": [Pair("a", "b")]}), 300)


@pytest.mark.parametrize("most", [1, 2, 7, 10])
def test_vocabulary_of_a_large_corpus_is_learned_from_pairs_all_over_it(
    write: Write, kept: Path, monkeypatch: pytest.MonkeyPatch, most: int
):
    words = [f"word{i}" for i in range(40)]
    corpus = load_corpus(str(write(train_en=words, train_de=words)))
    monkeypatch.setattr(tokenizer_module, "ENOUGH", most)
    tokenizer = make_tokenizer("words", corpus, 100)
    known = [i for i, word in enumerate(words) if UNK not in tokenizer.encode(word)]
    assert most / 2 <= len(known) <= most
    assert known == list(range(0, 40, known[1] if most > 1 else 40)), "from the first on, at equal distances"
    assert evenly_spaced(words, 40) == words and evenly_spaced([], 3) == []


# What is kept


def test_files_are_hashed_once(write: Write, kept: Path, monkeypatch: pytest.MonkeyPatch):
    hashed, true_hash = [], pooch.file_hash
    monkeypatch.setattr(pooch, "file_hash", lambda path: hashed.append(path) or true_hash(path))
    folder = write()
    prepare(folder)
    prepare(folder)
    assert sorted(hashed) == [str(folder / "train.de"), str(folder / "train.en")]


def test_what_was_encoded_is_read_the_next_time(write: Write, kept: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write()
    _, tokenizer, first = prepare(folder)
    assert len(folders(kept)) == 2, "the vocabulary, and the texts"
    monkeypatch.setattr(encoded, "make_tokenizer", None)
    monkeypatch.setattr(Encoded, "of", None)
    _, again, second = prepare(folder)
    assert again.to_json() == tokenizer.to_json() and list(second) == list(first)
    assert isinstance(second.ids, np.memmap) and not second.ids.flags.writeable
    assert second.checksum == first.checksum


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "train.en").write_text((folder / "train.en").read_text("utf-8") + "\n", "utf-8"),
        lambda folder: (
            (folder / "train.en").rename(folder / "train.xx")
            and (folder / "train.de").rename(folder / "train.en")
            and (folder / "train.xx").rename(folder / "train.de")
        ),
    ],
    ids=["a line more", "the languages exchanged"],
)
def test_another_text_is_another_one(write: Write, kept: Path, change: Callable[[Path], None]):
    folder = write()
    prepare(folder)
    before = folders(kept)
    change(folder)
    if len((folder / "train.en").read_text("utf-8").split("\n")) > 61:
        with (folder / "train.de").open("a", encoding="utf-8") as file:
            file.write("\n")
    prepare(folder)
    assert len(folders(kept)) == 4 and before < folders(kept)


def test_another_vocabulary_is_another_one(write: Write, kept: Path):
    corpus, _, arrays = prepare(write())
    smaller = tokenizer_for(corpus, "words", 8)
    assert len(smaller) == 8 and list(encode_split(corpus, "train", smaller)) != list(arrays)


def test_checksum_is_of_the_sentences_as_they_are_read(write: Write, kept: Path):
    lines = sentences(60, 0)
    *_, expected = prepare(write("one"))
    *_, same = prepare(write("two", train_en=[unicodedata.normalize("NFD", f" {line}  ") for line in lines]))
    *_, other = prepare(write("three", train_en=[*lines[:-1], "the end"]))
    assert expected.checksum == same.checksum != other.checksum


def test_text_that_is_none_is_refused_with_its_reason():
    with pytest.raises(ValueError, match="half a surrogate pair, expected Unicode text; was it read as UTF-8"):
        Encoded.of(Tokenizer.words(["x"]), [Pair("\ud800", "x")])


@pytest.mark.parametrize("damage", ["cut off", "a bit", "gone"])
def test_damaged_arrays_are_made_anew(write: Write, kept: Path, damage: str):
    folder = write()
    *_, first = prepare(folder)
    (file,) = kept.glob("mine-en-de-train-*/ids.npy")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.unlink()
    if damage != "gone":
        file.write_bytes(content[:-5] if damage == "cut off" else content)
    with pytest.warns(UserWarning, match="is damaged, and made anew"):
        *_, second = prepare(folder)
    assert list(second) == list(first)


@pytest.mark.parametrize("name", ["ids.npy", "tokenizer.json"])
@pytest.mark.parametrize("left", [0, 50])
def test_what_was_cut_off_together_with_its_checksums_is_made_anew(write: Write, kept: Path, name: str, left: int):
    folder = write()
    first = list(prepare(folder)[-1])  # a copy: what is mapped into memory must not be cut off
    (file,) = kept.glob(f"*/{name}")
    os.truncate(file, left)
    (file.parent / "checksums.json").write_text("{}")
    with pytest.warns(UserWarning, match="is damaged, and made anew"):
        *_, second = prepare(folder)
    assert list(second) == first


def test_arrays_that_find_no_room_are_not_kept(write: Write, kept: Path, monkeypatch: pytest.MonkeyPatch):
    """NumPy does not notice when the last bytes are lost, as with `ulimit -f`."""
    folder, true_save = write(), np.save

    def save(path: Path, array: np.ndarray) -> None:
        true_save(path, array)
        os.truncate(path, path.stat().st_size - 2)

    monkeypatch.setattr(np, "save", save)
    with pytest.warns(UserWarning, match="nothing is kept in .* were cut off as they were written"):
        corpus, tokenizer, arrays = prepare(folder)
    assert list(arrays) == encode_pairs(tokenizer, corpus["train"])
    assert list(kept.glob("*/tokenizer.json")) and not list(kept.glob("*/ids.npy"))


def test_without_a_place_to_keep_it_the_training_goes_on(write: Write, kept: Path):
    kept.write_text("a file stands where the folder would")
    with pytest.warns(UserWarning, match=r"nothing is kept in .*, so the next start takes as long"):
        corpus, tokenizer, arrays = prepare(write())
    assert list(arrays) == encode_pairs(tokenizer, corpus["train"])


def test_what_cannot_be_read_is_said_and_not_kept(write: Write, kept: Path):
    folder = write()
    (folder / "train.de").write_text("one\n")
    with pytest.raises(ValueError, match=r"train\.en has 60 lines and .*train\.de has 1, expected line n"):
        prepare(folder)
    assert not folders(kept)


def test_generated_corpus_is_not_kept(kept: Path):
    corpus = Corpus("made", "en", "de", {"train": [Pair("a dog", "ein Hund")] * 3})
    arrays = encode_split(corpus, "train", tokenizer_for(corpus, "words", 20))
    assert len(arrays) == 3 and arrays.lines.tolist() == [1, 2, 3] and not kept.exists()


@pytest.mark.slow
def test_processes_that_start_together_make_it_once(write: Write, kept: Path):
    """Whoever comes second waits, and reads what the first has made."""
    script = (
        "import sys; from test_encoded import prepare; from pathlib import Path; from transformer.text import encoded"
    )
    script += "; make = encoded.make_tokenizer; encoded.make_tokenizer = lambda *a: (print('made'), make(*a))[1]"
    script += "; *_, arrays = prepare(Path(sys.argv[1])); print(arrays.checksum, len(arrays))"
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    folder = write(n=2_000)
    started = [
        subprocess.Popen([sys.executable, "-c", script, folder], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate()[0].split("\n") for process in started]
    assert sum("made" in output for output in outputs) == 1
    assert len({output[-2] for output in outputs}) == 1 and outputs[0][-2].endswith(" 2000")


def test_command_lists_and_clears_what_is_kept(write: Write, kept: Path, capsys: pytest.CaptureFixture[str]):
    prepare(write())
    assert main(["cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("mine-en-de-train-" in line for line in lines[:2])
    assert lines[2].endswith(f"MB in {kept}") and len(folders(kept)) == 2
    assert main(["cache", "--clear"]) == 0
    assert not kept.exists() and "were deleted from" in capsys.readouterr().out
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"      0.0 MB in {kept}\n"
