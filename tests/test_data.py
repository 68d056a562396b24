"""Corpora, tokenisers and batches: no text is lost, shifted or changed on its way to the model."""

import functools
import gzip
import hashlib
import http.server
import itertools
import os
import random
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transformer.files import CheckpointError
from transformer.text import corpora
from transformer.text.batches import collate, encode_pairs, pad, plain_batches, token_batches, too_long
from transformer.text.corpora import (
    NAMED,
    Corpus,
    CorpusUnavailable,
    load_corpus,
    load_multi30k,
    read_lines,
    read_table,
    stream_parallel,
)
from transformer.text.pairs import Pair, normalised
from transformer.text.symbols import BOS, EOS, PAD, SPECIAL_TOKENS, UNK
from transformer.text.tokenizer import JOINED, Tokenizer

TEXTS = [
    "a small dog sleeps",
    "the dogs sleep",
    "ein kleiner Hund schläft",
    "die Hunde schlafen",
    "one, two: three!",
] * 4


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return Tokenizer.bpe(TEXTS, vocab_size=300)


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer.words(TEXTS)


@pytest.fixture(scope="module")
def multi30k() -> Corpus:
    """The real corpus: on a reader's machine only where it is already, in CI always."""
    if not os.environ.get("TRANSFORMER_DATA") and not os.environ.get("CI"):
        pytest.skip("Multi30k is not here: set TRANSFORMER_DATA to the folder that holds multi30k")
    return load_multi30k()


@pytest.fixture(scope="module")
def multi30k_bpe(multi30k: Corpus) -> Tokenizer:
    return Tokenizer.bpe((text for pair in multi30k["train"] for text in (pair.source, pair.target)), 8_000)


# The tokeniser


@given(st.text())
@settings(max_examples=200)
@example("")
@example(" ")
@example("  two  spaces \t and\r\nlines\n")
@example("<s> </s> <pad> <unk>")
@example("a<s>b</s><pad>")
@example("\0 and \x7f")
@example("👩‍👩‍👧 e\u0301 \u202e\u2028 \ufeff Straße 中文 العربية")
def test_bpe_gives_every_string_back(bpe: Tokenizer, text: str):
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    assert all(len(SPECIAL_TOKENS) <= i < len(bpe) for i in ids)


def test_bpe_gives_every_sentence_of_multi30k_back(multi30k: Corpus, multi30k_bpe: Tokenizer):
    texts = [text for pair in multi30k["test"] for text in (pair.source, pair.target)]
    assert len(texts) == 2_000
    assert [multi30k_bpe.decode(ids) for ids in multi30k_bpe.encode_all(texts)] == texts


def test_bpe_joins_what_often_stands_together(bpe: Tokenizer):
    assert len(bpe.encode("the dogs sleep")) < len("the dogs sleep") / 2
    assert "".join(bpe.tokens(bpe.encode("the dogs sleep"))) == "the dogs sleep"


@pytest.mark.parametrize("size", [260, 270, 300])
def test_bpe_vocabulary_keeps_to_its_size(size: int):
    assert 260 <= len(Tokenizer.bpe(TEXTS, size)) <= size


def test_bpe_refuses_a_vocabulary_that_cannot_hold_the_bytes():
    with pytest.raises(ValueError, match=r"vocab_size is 259, expected at least 260"):
        Tokenizer.bpe(TEXTS, 259)


@pytest.mark.parametrize("learn", [Tokenizer.bpe, Tokenizer.words])
@pytest.mark.parametrize(
    ("texts", "size", "error", "message"),
    [
        ("abc def", 300, TypeError, "got one string, 'abc def', expected a list of texts"),
        ([None], 300, TypeError, "got NoneType None, expected a string"),
        (["a", 7], 300, TypeError, "got int 7, expected a string"),
        ([b"a"], 300, TypeError, "got bytes b'a', expected a string"),
        ([["a"]], 300, TypeError, r"got list \['a'\], expected a string"),
        (["a \ud83d"], 300, ValueError, "half a surrogate pair"),
        (["a"], "300", TypeError, "vocab_size is '300', expected a whole number"),
        (["a"], 300.5, TypeError, "vocab_size is 300.5, expected a whole number"),
        (["a"], 2**64, ValueError, "vocab_size is 18446744073709551616, expected at most"),
    ],
)
def test_vocabulary_is_learned_from_texts_alone(learn, texts, size, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        learn(texts, size)


def test_special_token_that_is_frequent_in_the_texts_is_still_text():
    tokenizer = Tokenizer.bpe(["<s>", "</s>", "<pad>", "<unk>"] * 100, 1_000)
    for token in SPECIAL_TOKENS:
        assert tokenizer.decode(tokenizer.encode(token)) == token
        assert min(tokenizer.encode(token)) >= len(SPECIAL_TOKENS)


def test_same_texts_give_the_same_vocabulary(tmp_path: Path):
    for name in ("one", "two"):
        Tokenizer.bpe(TEXTS, 300).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_every_word_and_mark_has_an_id_of_its_own(words: Tokenizer):
    assert words.tokens(words.encode("one, two: three!")) == ["one", ",", "two", ":", "three", "!"]
    assert len(words) == len(SPECIAL_TOKENS) + len({w for t in TEXTS for w in words.tokens(words.encode(t))})


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters=JOINED) | st.just(" ")))
@settings(max_examples=200)
@example("Der rot-haarige Hund läuft.")
@example('today the dog sleeps . "Ja" , sagt er...')
@example("one\ttwo \u00a0 three ")
def test_known_words_and_marks_come_back_as_they_stood(text: str):
    tokenizer = Tokenizer.words([text])
    assert tokenizer.decode(tokenizer.encode(text)) == " ".join(text.split())


def test_word_is_the_same_with_and_without_a_mark_beside_it(words: Tokenizer):
    assert words.encode("two.")[:1] == words.encode("two") == words.encode('"two')[-1:]


def test_every_word_is_in_the_vocabulary_unless_a_size_is_named():
    texts = [f"w{i} w{i // 2}" for i in range(40_000)]
    assert len(Tokenizer.words(texts)) == 40_000 + len(SPECIAL_TOKENS), "the library ends at 30,000"
    some = Tokenizer.words(["rare often often twice twice often", "often"], 6)
    assert len(some) == 6 and some.encode("rare").count(UNK) == 1 and UNK not in some.encode("often twice")
    with pytest.raises(ValueError, match="vocab_size is 4, expected at least 5: special tokens and a word"):
        Tokenizer.words(texts, 4)


def test_unseen_word_is_unk_and_never_another_special_token(words: Tokenizer):
    assert words.encode("the cat sleeps").count(UNK) == 1
    assert words.decode(words.encode("the cat sleeps")) == "the sleeps"
    assert words.tokens(words.encode("a cat")) == ["a", "<unk>"]
    assert not {PAD, BOS, EOS} & set(words.encode("<s> the </s> <pad> dogs"))


@pytest.mark.parametrize("kind", ["bpe", "words"])
def test_special_tokens_have_the_same_ids_everywhere(kind: str, request: pytest.FixtureRequest):
    tokenizer: Tokenizer = request.getfixturevalue(kind)
    assert tuple(tokenizer.tokens([PAD, BOS, EOS, UNK])) == SPECIAL_TOKENS
    assert tokenizer.decode([BOS, *tokenizer.encode("the dogs"), EOS, PAD]) == "the dogs"


@pytest.mark.parametrize("kind", ["bpe", "words"])
def test_saved_tokenizer_is_the_same_tokenizer(kind: str, request: pytest.FixtureRequest, tmp_path: Path):
    tokenizer: Tokenizer = request.getfixturevalue(kind)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    texts = [*TEXTS, "<s> something </s> new: schön"]
    assert loaded.encode_all(texts) == tokenizer.encode_all(texts)
    assert len(loaded) == len(tokenizer)


def test_tokenizer_that_cannot_be_saved_leaves_the_one_before(
    words: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "tokenizer.json"
    words.save(path)
    before = path.read_bytes()

    def half(draft: Path, text: str, **_: Any) -> None:
        draft.write_bytes(text.encode()[:9])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space left"):
        words.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["empty", "cut off", "not UTF-8", "other JSON", "other special tokens"])
def test_file_that_is_no_tokenizer_is_refused_by_name(bpe: Tokenizer, tmp_path: Path, damage: str):
    path = tmp_path / "tokenizer.json"
    bpe.save(path)
    whole = path.read_text(encoding="utf-8")
    path.write_bytes(
        {
            "empty": b"",
            "cut off": whole[: len(whole) // 2].encode(),
            "not UTF-8": b"\xff" + whole.encode(),
            "other JSON": b'{"model": "another program\'s"}',
            "other special tokens": whole.replace("<pad>", "[PAD]").encode(),
        }[damage]
    )
    with pytest.raises(ValueError, match=r"tokenizer\.json .*(cut off|another program|expected)"):
        Tokenizer.load(path)


def test_missing_tokenizer_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_missing_tokenizer_of_a_model_is_named_with_what_to_do(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing, .*beside the model with tokenizer\.save\("):
        Tokenizer.from_pretrained(tmp_path)


def test_only_unicode_text_can_be_encoded(bpe: Tokenizer):
    with pytest.raises(TypeError, match="got one string, 'dogs', expected a list of texts"):
        bpe.encode_all("dogs")
    with pytest.raises(TypeError, match="got bytes b'dogs', expected a string"):
        bpe.encode(b"dogs")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="half a surrogate pair, expected Unicode text"):
        bpe.encode("dogs \ud83d")


@pytest.mark.parametrize("read", [Tokenizer.decode, Tokenizer.tokens])
def test_only_ids_of_the_vocabulary_can_be_decoded(words: Tokenizer, read):
    for unknown in (len(words), 10**6, -1):
        with pytest.raises(IndexError, match=f"no token {unknown}, expected ids from 0 to {len(words) - 1}"):
            read(words, [5, unknown])
    for no_ids in ("dogs", [5.0], [[5, 6]], torch.tensor([[5, 6]]), 5, None):
        with pytest.raises(TypeError, match=r"got .*, expected the token ids of one text, as `encode` gives them"):
            read(words, no_ids)
    assert read(words, torch.tensor(words.encode("dogs"))) == read(words, words.encode("dogs"))


# Batches

ids = st.lists(st.integers(len(SPECIAL_TOKENS), 30), max_size=12)
some_examples = st.lists(st.tuples(ids, ids), max_size=40)


def lengths_like_captions(n: int) -> list[tuple[list[int], list[int]]]:
    """Made-up examples as long as captions are, source and target related but not equal in length."""
    rng = random.Random(0)
    lengths = [max(4, round(rng.gauss(14, 4))) for _ in range(n)]
    return [([9] * source, [9] * max(3, round(source * rng.gauss(1.05, 0.15)))) for source in lengths]


def share_of_real_tokens(examples: list[tuple[list[int], list[int]]], max_tokens: int) -> tuple[float, float]:
    """Of the positions of all batches of an epoch, the shares that are no padding: in source and in target."""
    batches = [collate([examples[i] for i in indices]) for indices in token_batches(examples, max_tokens, 0, 0)]
    return tuple(
        sum(int((side != PAD).sum()) for side in sides) / sum(side.numel() for side in sides)
        for sides in ([b.source for b in batches], [b.target_out for b in batches])
    )


def test_target_is_shifted_by_one():
    batch = collate([([7, 8], [5, 6, 7]), ([9], [4])])
    assert batch.source.tolist() == [[7, 8, EOS], [9, EOS, PAD]]
    assert batch.target_in.tolist() == [[BOS, 5, 6, 7], [BOS, 4, EOS, PAD]]
    assert batch.target_out.tolist() == [[5, 6, 7, EOS], [4, EOS, PAD, PAD]]
    assert batch.target_mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.n_tokens == 6


@given(some_examples.filter(len))
def test_batch_holds_its_examples_and_nothing_else(examples: list[tuple[list[int], list[int]]]):
    batch = collate(examples)
    for (source, target), source_row, target_row in zip(examples, batch.source, batch.target, strict=True):
        assert source_row[source_row != PAD].tolist() == [*source, EOS]
        assert target_row[target_row != PAD].tolist() == [BOS, *target, EOS]
    assert batch.target_in.shape == batch.target_out.shape
    assert batch.n_tokens == sum(len(target) + 1 for _, target in examples)


def test_batches_can_be_compared():
    batch, same = (collate([([7, 8], [5]), ([9], [4])]) for _ in range(2))
    assert batch != same and batch in (same, batch)


def test_rows_are_padded_on_the_right():
    assert pad([[5], [6, 7, 8]]).tolist() == [[5, PAD, PAD], [6, 7, 8]]
    assert pad([]).shape == (0, 0)
    assert pad([[], []]).dtype == torch.long


@pytest.mark.parametrize("size", [0, -1])
def test_batches_hold_something(size: int):
    examples = lengths_like_captions(3)
    with pytest.raises(ValueError, match=f"batch_size is {size}, expected at least 1"):
        next(plain_batches(examples, size, 0, 0))
    with pytest.raises(ValueError, match=f"max_tokens is {size}, expected at least 1"):
        next(token_batches(examples, size, 0, 0))
    with pytest.raises(ValueError, match="got no examples, expected at least one"):
        collate([])


def test_batches_are_of_pairs_and_of_whole_ids(words: Tokenizer):
    with pytest.raises(TypeError, match=r"got tuple \('a dog', 'ein Hund'\), expected a Pair .*Pair\(source, target\)"):
        encode_pairs(words, [("a dog", "ein Hund")])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="got str 'a', expected a Pair"):
        encode_pairs(words, "a dog")  # type: ignore[arg-type]
    for wrong in ([[1.5]], [[4], [5, 6.0]]):
        with pytest.raises(TypeError, match="ids with a decimal point, expected whole numbers"):
            pad(wrong)  # type: ignore[arg-type]
    for make, wrong in ((pad, [[None]]), (pad, [["a"]]), (pad, [[2**70]]), (collate, [("ab", "c")])):
        with pytest.raises(TypeError, match=r"got .* for ids, expected whole numbers, as `encode` gives them"):
            make(wrong)


@given(some_examples, st.integers(1, 60), st.integers(0, 3))
def test_each_example_comes_once_an_epoch_and_fits_the_budget(
    examples: list[tuple[list[int], list[int]]], max_tokens: int, epoch: int
):
    batches = list(token_batches(examples, max_tokens, seed=0, epoch=epoch))
    assert sorted(i for indices in batches for i in indices) == list(range(len(examples)))
    for indices in batches:
        batch = collate([examples[i] for i in indices])
        assert len(indices) == 1 or max(batch.source.numel(), batch.target_out.numel()) <= max_tokens


@given(some_examples, st.integers(1, 9))
def test_each_example_comes_once_an_epoch_in_plain_batches(examples: list, batch_size: int):
    batches = list(plain_batches(examples, batch_size, seed=0, epoch=0))
    assert sorted(i for indices in batches for i in indices) == list(range(len(examples)))
    assert all(len(indices) == batch_size for indices in batches[:-1])


@pytest.mark.parametrize("deal", [token_batches, plain_batches])
def test_order_depends_on_seed_and_epoch_alone(deal):
    examples = lengths_like_captions(300)

    def order(seed: int, epoch: int) -> list[list[int]]:
        return list(deal(examples, 32, seed, epoch))

    expected = order(1, 2)
    random.seed(99)  # the state of the program must not matter
    assert order(1, 2) == expected
    assert order(1, 3) != expected != order(2, 2)


def test_lengths_come_in_random_order():
    """Or the model would meet the short sentences first and forget them over the long ones."""
    examples = lengths_like_captions(1_000)
    batches = [collate([examples[i] for i in b]) for b in token_batches(examples, 200, seed=0, epoch=0)]
    longest = [max(batch.source.size(1), batch.target_out.size(1)) for batch in batches]
    falls = sum(after < before for before, after in itertools.pairwise(longest))
    assert 0.3 < falls / len(longest) < 0.7


def test_budget_is_used_up():
    examples = lengths_like_captions(1_000)
    batches = [collate([examples[i] for i in b]) for b in token_batches(examples, 500, seed=0, epoch=0)]
    used = [max(batch.source.numel(), batch.target_out.numel()) for batch in batches]
    assert sum(used) / len(used) > 0.9 * 500


def test_sentence_longer_than_the_budget_is_a_batch_of_its_own():
    examples = [([5] * 3, [5] * 3), ([5] * 99, [5] * 3), ([5] * 4, [5] * 4)]
    assert [1] in list(token_batches(examples, 20, seed=0, epoch=0))


def test_examples_that_are_too_long_are_found_with_their_length():
    examples = [([5] * 3, [5] * 3), ([5] * 4, [5]), ([5], [5] * 9)]
    assert too_long(examples, 4) == {1: 5, 2: 10}, "EOS is a token, too"
    assert too_long(examples, 10) == {}


def test_little_is_padded_when_sentences_are_as_long_as_captions():
    assert min(share_of_real_tokens(lengths_like_captions(29_000), 4_096)) >= 0.95


@pytest.mark.slow
def test_little_is_padded_on_multi30k(multi30k: Corpus, multi30k_bpe: Tokenizer):
    assert min(share_of_real_tokens(encode_pairs(multi30k_bpe, multi30k["train"]), 4_096)) >= 0.95


# Files of one's own


def write_corpus(folder: Path, **changes: str | bytes | None) -> Path:
    """A folder corpus of two pairs a split; changes by file name, `train_de="…"`, None leaves a file out."""
    folder.mkdir(exist_ok=True)
    texts = {"en": "a dog\nthe dogs\n", "de": "ein Hund\ndie Hunde\n"}
    files: dict[str, str | bytes | None] = {f"{s}_{k}": t for s in ("train", "val", "test") for k, t in texts.items()}
    for name, content in (files | changes).items():
        if content is not None:
            data = content.encode() if isinstance(content, str) else content
            (folder / name.replace("_", ".", 1)).write_bytes(data)
    return folder


def test_folder_is_a_corpus(tmp_path: Path):
    corpus = load_corpus(str(write_corpus(tmp_path / "mine")), "en", "de")
    assert corpus["train"] == [Pair("a dog", "ein Hund"), Pair("the dogs", "die Hunde")]
    assert set(corpus.splits) == {"train", "val", "test"}
    assert (corpus.source, corpus.target) == ("en", "de")


def test_folder_may_be_gzipped_and_of_any_languages(tmp_path: Path):
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.la.gz").write_bytes(gzip.compress(b"canis\n"))
        (tmp_path / f"{split}.fi").write_text("koira\n")
    assert load_corpus(str(tmp_path), "la", "fi")["val"] == [Pair("canis", "koira")]


def test_pairs_with_an_empty_side_are_left_out_together(tmp_path: Path):
    corpus = load_corpus(str(write_corpus(tmp_path, train_en="one\n\n three \n", train_de="eins\nzwei\ndrei\n")))
    assert corpus["train"] == [Pair("one", "eins"), Pair("three", "drei")]


def test_files_of_unequal_length_are_refused(tmp_path: Path):
    folder = write_corpus(tmp_path, val_de="nur eine Zeile\n")
    with pytest.raises(ValueError, match=r"val\.en has 2 lines and .*val\.de has 1.*, expected .* cut off"):
        load_corpus(str(folder))["val"]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_line_that_is_not_utf8_is_named(tmp_path: Path, start: bytes):
    folder = write_corpus(tmp_path, train_de=start + "ein Hund\nMünchen\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"train\.de is not UTF-8 text \(line 2: .*iconv -f latin1 -t utf-8"):
        load_corpus(str(folder))["train"]


@pytest.mark.parametrize("encoding", ["latin1", "cp1252", "utf-16", "utf-16le", "utf-16be", "utf-32"])
def test_advised_conversion_brings_the_text_back(tmp_path: Path, encoding: str):
    """What `iconv -f` is told to read, as Python reads it: the very text that was written."""
    text = "ein Hund läuft.\nMünchen\n" + ("“so”\n" if encoding == "cp1252" else "")
    (tmp_path / "text").write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match="is not UTF-8 text") as refused:
        read_lines(tmp_path / "text")
    advised = re.search(r"iconv -f (\S+) -t utf-8", str(refused.value))[1]
    assert (tmp_path / "text").read_bytes().decode(advised) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a plain t\0ext with one zero byte\n", "line 1: a zero byte.* damaged; fetch it again"),
        ("one\nfünf Ü".encode()[:-1], "line 2: .* cut off within a letter: fetch it again"),
        (b"one\rtwo\rthree\r", r"ends lines with \\r alone, as old Macs did, expected \\n; .* tr "),
        (b"one\rtwo\rthree\n", r"ends lines with \\r alone, as old Macs did, expected \\n; .* tr "),
        (gzip.compress(b"a dog\n" * 99), r"it is a gzip file: let its name end in \.gz"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0\xcf", "it is a zip file, as those of Excel and Word are"),
        ("собака спит\n".encode("cp1251"), "looks like latin1, perhaps: .* see whether its letters are right"),
        ("犬が眠る\n".encode("shift-jis"), "looks like cp1252, perhaps: .* see whether its letters are right"),
    ],
    ids=["zero byte", "cut off", "old Mac", "old Mac and a line feed", "gzip", "zip", "Russian", "Japanese"],
)
def test_text_that_cannot_be_lines_is_refused_with_advice(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_lines(tmp_path / "text")


def test_byte_at_the_start_of_a_line_belongs_to_it(tmp_path: Path):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfa\n\xfc\n")
    with pytest.raises(ValueError, match="line 2"):
        read_lines(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (b"\xef\xbb\xbfone\r\n\ntwo", None),
        (b"one\nf\xfcnf\n", r"line 2: .*latin1"),
        (b"one\rtwo\n", "as old Macs did"),
    ],
)
def test_pipe_is_read_like_a_file(tmp_path: Path, content: bytes, refused: str | None):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True).start()
    if refused:
        with pytest.raises(ValueError, match=refused):
            read_lines(pipe)
    else:
        assert read_lines(pipe) == ["one", "", "two"]
    assert read_lines(Path(os.devnull)) == []


@pytest.mark.parametrize("name", ["", "missing", "missing.gz"])
def test_folder_and_missing_file_are_no_text(tmp_path: Path, name: str):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*expected UTF-8 text with one sentence a line"):
        read_lines(tmp_path / name)


@pytest.mark.parametrize("text", ["", "\n \n"], ids=["empty", "blank lines"])
@pytest.mark.parametrize("names", [("val.en", "val.de"), ("val.tsv",)], ids=["parallel", "table"])
def test_split_without_a_pair_is_refused(tmp_path: Path, text: str, names: tuple[str, ...]):
    for name in names:
        (tmp_path / name).write_text(text)
    corpus = load_corpus(tmp_path)
    for read in (corpus.__getitem__, lambda split: list(corpus.stream(split))):
        with pytest.raises(ValueError, match=rf"no sentence pair is in .*{names[-1]}, expected one sentence a line"):
            read("val")


def test_missing_file_of_a_folder_is_named(tmp_path: Path):
    corpus = load_corpus(str(write_corpus(tmp_path, test_de=None)))
    assert len(corpus["train"]) == len(corpus["val"]) == 2, "which need no test"
    with pytest.raises(ValueError, match=r"has no test\.de \(or test\.de\.gz\)"):
        corpus["test"]


def test_split_that_nobody_asks_for_may_be_missing(tmp_path: Path):
    corpus = load_corpus(str(write_corpus(tmp_path, test_en=None, test_de=None)))
    assert set(corpus.splits) == {"train", "val"}
    with pytest.raises(
        ValueError, match=r"no split 'test', expected one of train, val; make test\.en and test\.de, or test\.tsv"
    ):
        corpus["test"]
    with pytest.raises(ValueError, match=r"has no train\.la or train\.fi, expected .* name the file itself"):
        load_corpus(str(tmp_path), "la", "fi")


# Tables of pairs


def table(folder: Path, text: str, name: str = "pairs.tsv") -> Path:
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder / name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog\tein Hund\nthe dogs\tdie Hunde\n", [("a dog", "ein Hund", 1), ("the dogs", "die Hunde", 2)]),
        ("\ufeffa dog\tein Hund\tCC-BY, by somebody\r\n", [("a dog", "ein Hund", 1)]),
        ("de\tid\ten\nein Hund\t7\ta dog\n", [("a dog", "ein Hund", 2)]),
        ('one\teins\n\n\tzwei\nthree\t \n"four\tvier\n', [("one", "eins", 1), ('"four', "vier", 5)]),
        ("", []),
    ],
    ids=["two columns", "three, from Windows", "named columns", "empty sides", "empty"],
)
def test_table_is_read(tmp_path: Path, text: str, expected: list[tuple[str, str, int]]):
    for name in ("pairs.tsv", "pairs.tsv.gz"):
        pairs = read_table(table(tmp_path, text, name), "en", "de")
        assert [(pair.source, pair.target, pair.line) for pair in pairs] == expected


def test_names_over_the_columns_say_the_direction(tmp_path: Path):
    path = table(tmp_path, "en\tde\na dog\tein Hund\n")
    assert read_table(path, "de", "en") == [Pair("ein Hund", "a dog")]


@pytest.mark.parametrize(
    ("names", "languages"), [("DE\tEN", ("en", "de")), ("de\ten", ("EN", "DE")), ("De\tEn", ("en", "de"))]
)
def test_names_over_the_columns_are_compared_without_case(tmp_path: Path, names: str, languages: tuple[str, str]):
    path = table(tmp_path, f"{names}\nein Hund\ta dog\n")
    assert read_table(path, *languages) == [Pair("a dog", "ein Hund", line=2)]


@pytest.mark.parametrize("names", ["fr\tes", "FR\tES", "en\tfr", "en\tfr\tby", "en-US\tde-DE", "zh-Hant\tde_CH"])
def test_names_of_other_languages_are_no_sentences(tmp_path: Path, names: str):
    path = table(tmp_path, f"{names}\nun chien\tun perro\tme\n")
    found = " and ".join(names.split("\t")[:2])
    with pytest.raises(ValueError, match=f"name its columns {found} in line 1, expected en and de; change these names"):
        read_table(path, "en", "de")
    table(tmp_path, f"en\tde\n{names}\n")
    assert len(read_table(path, "en", "de")) == 1, "as the message says"


@pytest.mark.parametrize("line", ["Go.\tGeh.", "Go\tVa", "no\tnon", "go", "犬\t犬", "10\t20"])
def test_short_sentences_are_no_names(tmp_path: Path, line: str):
    path = table(tmp_path, f"{line}\tx\na dog\tein Hund\n")
    assert read_table(path, "en", "de")[0].source == line.split("\t")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n\na sentence alone\n", "1 columns in line 3, expected at least 2: a sentence, a tab"),
        ("1276\tLet's try.\t77\tVersuchen wir's!\n", "numbers in column 1, expected sentences; name the columns"),
        ("0.001\tthe dog\tder Hund\n-2e3\ta\tb\n", "numbers in column 1, expected sentences; name the columns"),
        ("the dog\t1.25\n", "numbers in column 2, expected sentences; name the columns"),
        ("\tein Hund\n\n\tdie Hunde\n", "nothing in column 1, expected a sentence, a tab and its translation"),
        ("a dog\t\tein Hund\nthe dogs\t \tdie Hunde\n", "nothing in column 2, expected a sentence, a tab"),
    ],
)
def test_table_of_something_else_is_refused(tmp_path: Path, text: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_table(table(tmp_path, text), "en", "de")


def test_folder_may_hold_tables(tmp_path: Path):
    for split in ("train", "val"):
        table(tmp_path, f"{split}\tja\n", f"{split}.tsv")
    assert load_corpus(str(tmp_path), "en", "de")["val"] == [Pair("val", "ja")]


def test_one_table_is_split_by_its_sentences_alone(tmp_path: Path):
    lines = [f"sentence {i}\t{reading} {i}\n" for i in range(200) for reading in ("Satz", "Spruch")]
    corpus = load_corpus(str(table(tmp_path, "".join(lines))), "en", "de")
    sources = {split: {pair.source for pair in corpus[split]} for split in corpus.splits}
    assert {split: len(corpus[split]) for split in corpus.splits} == {"train": 360, "val": 20, "test": 20}
    assert not sources["train"] & sources["val"] and not (sources["train"] | sources["val"]) & sources["test"]
    shuffled = load_corpus(str(table(tmp_path, "".join(reversed(lines)))), "en", "de")
    assert {split: {pair.source for pair in shuffled[split]} for split in shuffled.splits} == sources
    with pytest.raises(ValueError, match="2 different sentences, expected at least 3"):
        load_corpus(str(table(tmp_path, "a\tb\nc\td\n")), "en", "de")


def test_large_table_keeps_a_thousand_sentences_for_each_test(tmp_path: Path):
    corpus = load_corpus(str(table(tmp_path, "".join(f"a{i}\tb{i}\n" for i in range(21_000)))), "en", "de")
    assert {split: len(corpus[split]) for split in corpus.splits} == {"train": 19_000, "val": 1_000, "test": 1_000}


@pytest.mark.parametrize("content", [b"plain text", gzip.compress(b"line\n" * 999)[:-9]], ids=["no gzip", "cut off"])
def test_damaged_gzip_file_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "train.en.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.en\.gz is not a complete gzip file .*fetch it again"):
        read_lines(tmp_path / "train.en.gz")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", []),
        ("\n", [""]),
        ("one\n\nthree", ["one", "", "three"]),
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("\ufeffone\n", ["one"]),
        ("a\u2028b\x0cc\x85d\x1ee\ng\rh\n", ["a\u2028b\x0cc\x85d\x1ee", "g\rh"]),
    ],
)
def test_only_a_line_feed_ends_a_line(tmp_path: Path, content: str, expected: list[str]):
    path = tmp_path / "text"
    path.write_bytes(content.encode())
    assert read_lines(path) == expected


def test_strange_separators_shift_nothing(tmp_path: Path):
    (tmp_path / "a").write_text("one\u2028more\ntwo\n", encoding="utf-8")
    (tmp_path / "b").write_text("eins\nzwei\x0cmehr\n", encoding="utf-8")
    assert list(stream_parallel(tmp_path / "a", tmp_path / "b")) == [Pair("one more", "eins"), Pair("two", "zwei mehr")]


def test_lines_are_normalised_and_know_their_number(tmp_path: Path):
    (tmp_path / "a").write_text("un cafe\u0301\n\ntwo\t words\u00a0here\n", encoding="utf-8")
    (tmp_path / "b").write_text("ein Cafe\u0301\nzwei\ndrei\n", encoding="utf-8")
    pairs = list(stream_parallel(tmp_path / "a", tmp_path / "b"))
    assert pairs == [Pair("un caf\u00e9", "ein Caf\u00e9"), Pair("two words here", "drei")]
    assert [pair.line for pair in pairs] == [1, 3]


def test_normalising_twice_changes_nothing_more():
    for text in ("e\u0301", " a  b\t", "\u00c5ngstr\u00f6m", ""):
        assert normalised(normalised(text)) == normalised(text)
    with pytest.raises(TypeError, match="got bytes b'a', expected a string"):
        normalised(b"a")  # type: ignore[arg-type]


def test_unknown_corpus_language_and_split_are_answered_with_what_there_is(tmp_path: Path):
    with pytest.raises(ValueError, match=f"'multi30' is unknown, expected {' or '.join(NAMED)}, or a folder"):
        load_corpus("multi30")
    with pytest.raises(ValueError, match=r"has en, de, fr, got en to nl"):
        load_corpus("multi30k", "en", "nl")
    with pytest.raises(ValueError, match=r"got de to de; expected two different"):
        load_corpus("multi30k", "de", "de")
    with pytest.raises(ValueError, match=r"embedded corpus goes from en to de, got de to en"):
        load_corpus("embedded", "de", "en")
    with pytest.raises(ValueError, match=r"no split 'dev', expected one of train, val, test$"):
        load_corpus(str(write_corpus(tmp_path)))["dev"]


def test_translation_is_between_two_languages(tmp_path: Path):
    for corpus in (write_corpus(tmp_path / "mine"), table(tmp_path, "a\tb\nc\td\ne\tf\n")):
        with pytest.raises(ValueError, match="cannot go from de to DE, expected two different languages"):
            load_corpus(str(corpus), "de", "DE")


def test_corpus_is_named_by_a_string_or_a_path(tmp_path: Path):
    path = table(tmp_path, "a\tb\nc\td\ne\tf\n")
    assert load_corpus(path) == load_corpus(str(path))
    for wrong in (b"embedded", ["embedded"], None):
        with pytest.raises(TypeError, match=f"got {type(wrong).__name__} .*expected the name of a corpus or a path"):
            load_corpus(wrong)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"there is no file other\.tsv, expected a table of sentence pairs"):
        load_corpus("other.tsv")


# Multi30k: from a folder, from the network, from neither


def test_multi30k_is_the_published_corpus(multi30k: Corpus):
    assert [len(multi30k[split]) for split in ("train", "val", "test")] == [29_000, 1_014, 1_000]
    assert multi30k["train"][0].source == "Two young, White males are outside near many bushes."
    assert multi30k["test"][0].target == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for the published files, with their names; the folder they lie in."""
    folder = tmp_path / "published"
    folder.mkdir()
    checksums = {}
    for name in corpora.MULTI30K_SHA256:
        split, language, _ = name.split(".")
        (folder / name).write_bytes(gzip.compress(f"{split} {language}\n".encode(), mtime=0))
        checksums[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(corpora, "MULTI30K_SHA256", checksums)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache instead of the user's, and no local data."""
    monkeypatch.setattr(corpora.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("TRANSFORMER_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def requests(published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve the published files on this machine instead of on the network; collects the paths asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append(self.path)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    handler = functools.partial(Handler, directory=str(published))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(corpora, "MULTI30K_URL", f"http://127.0.0.1:{server.server_port}/")
        yield asked
        server.shutdown()


def test_multi30k_is_downloaded_once(requests: list[str], cache: Path):
    corpus = load_multi30k("de", "fr")
    assert corpus["test"] == [Pair("test_2016_flickr de", "test_2016_flickr fr")]
    assert len(requests) == 6
    assert load_multi30k("de", "fr") == corpus
    assert len(requests) == 6
    assert len(list(cache.rglob("*.gz"))) == 6


def test_damaged_download_is_refused_and_not_kept(
    requests: list[str], published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    (published / "val.en.gz").write_bytes(gzip.compress(b"something else\n"))
    with pytest.raises(
        ValueError, match=r"val\.en\.gz is damaged \(its SHA-256 differs\); nothing was kept, try again"
    ):
        load_multi30k()
    assert not list(cache.rglob("*val.en.gz"))


def test_damaged_cache_is_fetched_again(requests: list[str], cache: Path):
    expected = load_multi30k()
    next(cache.rglob("train.en.gz")).write_bytes(b"damaged")
    assert load_multi30k() == expected
    assert len(requests) == 7


def test_file_that_the_server_has_not_leaves_the_corpus_unavailable(
    requests: list[str], published: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    (published / "train.en.gz").unlink()
    with pytest.raises(CorpusUnavailable, match=r"could not be downloaded \(HTTPError for train\.en\.gz\)"):
        load_multi30k()


def test_without_network_it_says_soon_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(corpora, "MULTI30K_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/")
        pauses: list[float] = []
        monkeypatch.setattr("pooch.core.time.sleep", pauses.append)
        with pytest.raises(CorpusUnavailable, match=r"could not be downloaded .* set TRANSFORMER_DATA .* 'embedded'"):
            load_multi30k()
    assert len(pauses) == 2 and sum(pauses) < 15, "two more tries, and it does not wait long for them"


@pytest.fixture
def local(published: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published files in `$TRANSFORMER_DATA`, and a network that nobody may use."""
    published.rename(tmp_path / "multi30k")
    monkeypatch.setenv("TRANSFORMER_DATA", str(tmp_path))
    monkeypatch.setattr(corpora.pooch, "create", lambda *_, **__: pytest.fail("asked for the network"))
    return tmp_path / "multi30k"


def test_local_data_come_first(local: Path):
    assert load_multi30k()["train"] == [Pair("train en", "train de")]


def test_damaged_local_file_is_refused(local: Path):
    (local / "train.de.gz").write_bytes(gzip.compress(b"something else\n"))
    with pytest.raises(ValueError, match=r"train\.de\.gz is not the published file .*replace it"):
        load_multi30k()


def test_missing_local_file_is_named(local: Path):
    (local / "val.de.gz").unlink()
    with pytest.raises(CorpusUnavailable, match=r"val\.de\.gz is missing; complete the folder, or unset"):
        load_multi30k()
