"""The texts to learn from: the embedded corpus, Multi30k, or a folder of your own.

Every corpus is the same thing, splits of sentence pairs, whatever it is read from. Those with a name are declared
in `NAMED`, each with the recipe of a training on it.
"""

import gzip
import hashlib
import itertools
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import pooch

from transformer.text import grammar
from transformer.text.pairs import Pair, normalised

EMBEDDED_SIZES = {"train": 16_000, "val": 500, "test": 500, "comp": 500}
"""sentence pairs in each split of the embedded corpus"""

MULTI30K_URL = (
    "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/"
)
"""where Multi30k is fetched from"""
MULTI30K_SPLITS = {"train": "train", "val": "val", "test": "test_2016_flickr"}
"""the splits of Multi30k, and the names of their files"""
MULTI30K_SHA256 = {
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.fr.gz": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.fr.gz": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
}
"""checksums of its files"""
_Made = TypeVar("_Made")
TABLES = (".tsv", ".tsv.gz")
"""how the name of a file of sentence pairs ends"""


class CorpusUnavailable(RuntimeError):
    """The corpus is neither on this machine nor to be had from the network."""


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs in splits: "train", "val" and "test", of which a folder of your own may lack some."""

    name: str
    """its name, such as "embedded" or "multi30k", or that of a folder"""
    source: str
    """language of the source, such as "en\""""
    target: str
    """language of the target, such as "de\""""
    splits: Mapping[str, list[Pair]]
    """the sentence pairs of each split"""
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """what each split is read from: two parallel texts or one table; empty for a corpus that is generated"""

    def __getitem__(self, split: str) -> list[Pair]:
        if split not in self.splits:
            files = f"{split}.{self.source} and {split}.{self.target}, or {split}.tsv"
            advice = f"; make {files}" if split in ("train", "val", "test") else ""
            raise ValueError(f"{self.name} has no split {split!r}, expected one of {', '.join(self.splits)}{advice}")
        return self.splits[split]

    def stream(self, split: str) -> Iterator[Pair]:
        """The sentence pairs of a split, one after the other; those of parallel texts are not in memory all at once.

        Raises ValueError for a split that there is not, and what reading it raises.
        """
        files = self.files.get(split, ())
        return stream_parallel(*files) if len(files) == 2 else iter(self[split])

    def file_checksum(self, split: str) -> str:
        """SHA-256 of the contents of a split's files, and of which one is the source; hex digits."""
        sums = [_sha256(path, path.stat().st_mtime_ns, path.stat().st_size) for path in self.files[split]]
        return hashlib.sha256("\n".join([*sums, self.source, self.target, split]).encode()).hexdigest()


@cache
def _sha256(path: Path, _changed: int, _size: int) -> str:
    """SHA-256 of a file's bytes, read once as long as its size and the time of its last change stay the same."""
    return pooch.file_hash(str(path))


def load_corpus(name: str | Path, source: str = "en", target: str = "de") -> Corpus:
    """Load the corpus of that name, such as "embedded" or "multi30k", or of that path.

    A path is a folder (see `load_folder`) or a file of sentence pairs (see `load_table`).
    Raises ValueError for an unknown corpus or language, or for one language twice, CorpusUnavailable for a corpus that
    cannot be had, TypeError for what is neither a name nor a path.
    """
    if not isinstance(name, str | Path):
        raise TypeError(f"got {type(name).__name__} {name!r}, expected the name of a corpus or a path")
    if name in NAMED:
        return NAMED[name].load(source, target)
    if source.casefold() == target.casefold():
        raise ValueError(f"{name} cannot go from {source} to {target}, expected two different languages")
    path = Path(name)
    if path.is_dir():
        return load_folder(path, source, target)
    if path.name.endswith(TABLES):
        return load_table(path, source, target)
    raise ValueError(
        f"corpus {str(name)!r} is unknown, expected {' or '.join(NAMED)}, or a folder that holds train.{source}, "
        f"train.{target}, val.{source} and val.{target}, or a .tsv file; if it was moved, name its new place"
    )


def load_embedded(source: str = "en", target: str = "de") -> Corpus:
    """The corpus that the grammar of `transformer.text.grammar` generates, English to German, always the same.

    Beside train, val and test it has "comp": word combinations that never occur in training. Raises ValueError for
    other languages.
    """
    if (source, target) != ("en", "de"):
        raise ValueError(f"the embedded corpus goes from en to de, got {source} to {target}; multi30k has others")
    splits = _OnDemand(EMBEDDED_SIZES, lambda split: grammar.generate(EMBEDDED_SIZES[split], seed=0, split=split))
    return Corpus("embedded", source, target, splits)


class _OnDemand(Mapping[str, _Made]):
    """Splits that are made or read when they are first asked for, so that a command pays for what it uses alone."""

    def __init__(self, names: Iterable[str], make: Callable[[str], _Made]) -> None:
        self._names, self._make = tuple(names), make
        self._made: dict[str, _Made] = {}

    def __getitem__(self, split: str) -> _Made:
        if split not in self._names:
            raise KeyError(split)
        if split not in self._made:
            self._made[split] = self._make(split)
        return self._made[split]

    def __contains__(self, split: object) -> bool:
        return split in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def load_multi30k(source: str = "en", target: str = "de") -> Corpus:
    """Multi30k, 29,000 captions in English, German and French (Elliott et al. 2016), test set of 2016.

    Read from the folder `multi30k` of `$TRANSFORMER_DATA` where there is one, otherwise downloaded once to the
    user's cache. Every file is checked against its SHA-256.

    Raises CorpusUnavailable where it is neither here nor to be had, ValueError for a file with other content.
    """
    languages = ("en", "de", "fr")
    if source not in languages or target not in languages or source == target:
        raise ValueError(f"Multi30k has {', '.join(languages)}, got {source} to {target}; expected two different ones")
    files = {
        split: (_multi30k_file(f"{stem}.{source}.gz"), _multi30k_file(f"{stem}.{target}.gz"))
        for split, stem in MULTI30K_SPLITS.items()
    }
    return Corpus(
        "multi30k", source, target, _OnDemand(files, lambda split: list(stream_parallel(*files[split]))), files
    )


def _multi30k_file(name: str) -> Path:
    local = os.environ.get("TRANSFORMER_DATA")
    if local and (Path(local) / "multi30k").is_dir():
        path = Path(local) / "multi30k" / name
        if not path.is_file():
            raise CorpusUnavailable(f"{path} is missing; complete the folder, or unset TRANSFORMER_DATA to download it")
        if pooch.file_hash(str(path)) != MULTI30K_SHA256[name]:
            raise ValueError(f"{path} is not the published file (its SHA-256 differs); replace it by a fresh copy")
        return path
    cache = pooch.create(
        pooch.os_cache("executable-transformer") / "multi30k", MULTI30K_URL, registry=MULTI30K_SHA256, retry_if_failed=2
    )
    try:
        return Path(cache.fetch(name))
    except ValueError as error:  # pooch has removed the file again
        raise ValueError(
            f"the download of {name} is damaged (its SHA-256 differs); nothing was kept, try again"
        ) from error
    except OSError as error:
        raise CorpusUnavailable(
            f"Multi30k is not here and could not be downloaded ({type(error).__name__} for {name}). Connect to the "
            "network once, or set TRANSFORMER_DATA to a folder that holds multi30k/train.en.gz and its sister "
            "files; the corpus 'embedded' needs neither"
        ) from error


def load_folder(folder: Path, source: str, target: str) -> Corpus:
    """A corpus of your own: `train`, `val` and `test`, each as two parallel text files or as one table.

    That is `train.en` and `train.de` (see `stream_parallel`), or `train.tsv` (see `read_table`); all may be gzipped,
    with `.gz` behind the name. A split is read when it is asked for, so what nobody asks for may be missing.

    Raises ValueError for a folder with nothing of that kind, and, when a split is asked for, for a file that is
    missing, for a split without any pair, and what reading it raises.
    """

    def find(*names: str) -> Path | None:
        candidates = [folder / (name + ending) for name in names for ending in ("", ".gz")]
        return next((path for path in candidates if path.is_file()), None)

    def files_of(split: str) -> tuple[Path, ...]:
        names = [f"{split}.{language}" for language in (source, target)]
        found = [find(name) for name in names]
        table = find(f"{split}.tsv")
        if None not in found:
            return tuple(found)
        if table:
            return (table,)
        missing = names[found.index(None)]
        raise ValueError(f"{folder} has no {missing} (or {missing}.gz), expected one line a sentence")

    def read(split: str) -> list[Pair]:
        files = files_of(split)
        pairs = list(stream_parallel(*files)) if len(files) == 2 else read_table(*files, source, target)
        if not pairs:
            raise ValueError(_without_pairs(*files))
        return pairs

    present = [
        split for split in ("train", "val", "test") if find(f"{split}.{source}", f"{split}.{target}", f"{split}.tsv")
    ]
    if not present:
        raise ValueError(
            f"{folder} has no train.{source} or train.{target}, expected these, val.{source} and val.{target}, or "
            "train.tsv and val.tsv; for one file of pairs, name the file itself"
        )
    return Corpus(folder.resolve().name, source, target, _OnDemand(present, read), _OnDemand(present, files_of))


def load_table(path: Path, source: str, target: str) -> Corpus:
    """One file of sentence pairs (see `read_table`), split by chance: a twentieth for val, as much for test.

    At most 1,000 source sentences each. Which are drawn depends on the sentences alone, neither on their order nor on a
    seed, and all pairs with one source sentence go to the same split, so that none is tested on what it was trained on.

    Raises FileNotFoundError where there is no such file, ValueError for fewer than three different source sentences,
    and what `read_table` raises.
    """
    if not path.is_file():  # nor a pipe: a table is read again whenever a run is resumed
        raise FileNotFoundError(f"there is no file {path}, expected a table of sentence pairs")
    pairs = read_table(path, source, target)
    drawn = sorted({pair.source for pair in pairs}, key=lambda text: hashlib.sha256(text.encode()).digest())
    if len(drawn) < 3:
        raise ValueError(f"{path} has {len(drawn)} different sentences, expected at least 3: one for each split")
    n = min(1_000, max(1, len(drawn) // 20))
    split_of = dict.fromkeys(drawn[:n], "val") | dict.fromkeys(drawn[n : 2 * n], "test")
    splits: dict[str, list[Pair]] = {"train": [], "val": [], "test": []}
    for pair in pairs:
        splits[split_of.get(pair.source, "train")].append(pair)
    return Corpus(path.name, source, target, splits, dict.fromkeys(splits, (path,)))


def read_table(path: Path, source: str, target: str) -> list[Pair]:
    """The sentence pairs of a .tsv file, a pair a line, its two sentences separated by a tab, `normalised`.

    A first line that holds the names of both languages, such as "en" and "de" or "EN" and "DE", says which columns they
    are; without it the first column is the source and the second the target. Further columns are left out, and so are
    pairs with an empty side. Quotation marks are text.

    Raises ValueError for a first line that names other languages, for a line with too few columns, and for columns that
    are empty or hold numbers; and what `read_lines` raises.
    """
    rows = [[cell.strip() for cell in line.split("\t")] for line in read_lines(path)]
    names = [cell.casefold() for cell in rows[0]] if rows else []
    wanted = [source.casefold(), target.casefold()]
    named = set(wanted) <= set(names)
    columns = tuple(map(names.index, wanted)) if named else (0, 1)
    if not named and _are_codes(rows[0][:2] if rows else []):
        raise ValueError(
            f"{path} seems to name its columns {' and '.join(rows[0][:2])} in line 1, expected {source} and {target}; "
            f"change these names there or the languages asked for, or, if that line is text, put a first line above it "
            f"with {source} and {target} over their columns"
        )
    for i, row in enumerate(rows, 1):
        if len(row) <= max(columns) and any(row):
            raise ValueError(
                f"{path} has {len(row)} columns in line {i}, expected at least {max(columns) + 1}: a sentence, a tab "
                "and its translation"
            )
    if named:
        rows[0] = [""] * (max(columns) + 1)
    sides = [[row[column] if any(row) else "" for row in rows] for column in columns]
    for column, side in zip(columns, sides, strict=True):
        if any(map(any, rows)) and not any(side):
            raise ValueError(
                f"{path} has nothing in column {column + 1}, expected a sentence, a tab and its translation; name the "
                f"columns in a first line, with {source} and {target} over the right ones"
            )
        if any(side) and all(_is_number(text) for text in side if text):
            raise ValueError(
                f"{path} has nothing but numbers in column {column + 1}, expected sentences; name the columns in a "
                f"first line, with {source} and {target} over the right ones"
            )
    return list(pairs_of(zip(*sides, strict=True)))


def _are_codes(cells: list[str]) -> bool:
    """Whether two cells look like the codes of two languages: "fr" and "es", "FR" and "ES", "fr-CA" and "es-MX"."""
    forms = r"[a-z]{2}", r"[A-Z]{2}", r"[a-z]{2,3}[-_][A-Z][A-Za-z]{1,3}"
    return len(cells) == 2 and any(all(re.fullmatch(form, cell) for cell in cells) for form in forms)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def stream_parallel(source: Path, target: Path) -> Iterator[Pair]:
    """Two text files that translate each other line by line, `normalised`; pairs with an empty side are left out.

    Raises ValueError for files of unequal length, when the shorter one ends, for files without any pair, and what
    `lines_in` raises.
    """
    pair = None
    for pair in pairs_of(_side_by_side(source, target)):
        yield pair
    if pair is None:
        raise ValueError(_without_pairs(source, target))


def _without_pairs(*files: Path) -> str:
    """What to say of files from which no pair was read."""
    expected = "one sentence a line, and its translation in the same line of the other file, or of the other column"
    return f"no sentence pair is in {' and '.join(map(str, files))}, expected {expected}"


def _side_by_side(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    """Line n of the one file and line n of the other; raises ValueError where one of them ends before the other."""
    rows = itertools.zip_longest(lines_in(source), lines_in(target))
    for i, (one, other) in enumerate(rows, 1):
        if one is None or other is None:
            longer = i + sum(1 for _ in rows)
            lengths = (i - 1, longer) if one is None else (longer, i - 1)
            raise ValueError(
                f"{source} has {lengths[0]} lines and {target} has {lengths[1]}, expected line n of the one to be "
                "the translation of line n of the other; was one of them cut off?"
            )
        yield one, other


def pairs_of(rows: Iterable[tuple[str, str]]) -> Iterator[Pair]:
    """Pairs of lines, `normalised`, each with the number of its line; those with an empty side are left out."""
    for i, (source, target) in enumerate(rows, 1):
        pair = Pair(normalised(source), normalised(target), line=i)
        if pair.source and pair.target:
            yield pair


def read_lines(path: Path) -> list[str]:
    """All lines of a text file; see `lines_in`."""
    return list(lines_in(path))


def lines_in(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, perhaps gzipped, without their ends, one after the other.

    What is no file on disk, such as the pipe of `<(zcat text.gz)`, is read at once.
    Raises FileNotFoundError where there is no such file, ValueError for one whose compression is damaged, and what
    `lines_of` raises.
    """
    if path.is_dir() or not path.exists():
        raise FileNotFoundError(f"there is no file {path}, expected UTF-8 text with one sentence a line")
    open_file = gzip.open if path.suffix == ".gz" else open
    try:
        with open_file(path, "rb") as file:
            if not path.is_file():  # it cannot be read a second time, to say what is wrong with it
                yield from lines_of(file.read(), str(path))
                return
            for number, line in enumerate(file, 1):
                if not _is_plain(line, number):
                    file.seek(0)
                    lines_of(file.read(), str(path))  # raises, and says where and what to do
                yield _text_of(line, number)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a complete gzip file ({error}); fetch it again") from error


def lines_of_stream(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """The same of lines that come one after the other and cannot be read again, such as those of standard input.

    Raises ValueError at a line that is not UTF-8.
    """
    for number, line in enumerate(stream, 1):
        if not _is_plain(line, number):
            try:
                lines_of(line, f"line {number} of {name}")
            except ValueError as error:
                raise ValueError(str(error).replace("(line 1: ", "(")) from error  # it was given one line
        yield _text_of(line, number)


def _text_of(line: bytes, number: int) -> str:
    return line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").rstrip("\r")


def _is_plain(line: bytes, number: int) -> bool:
    """Whether a line is UTF-8 text as far as can be told from it alone; a first one with \\r in it is of an old Mac."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in line and (number > 1 or b"\r" not in line.rstrip(b"\r\n"))


def lines_of(content: bytes, name: str) -> list[str]:
    """The lines of UTF-8 text, without their ends, which are "\\n" or "\\r\\n"; a byte order mark is no part of it.

    Raises ValueError for another encoding, saying which it looks like, and for lines that end in "\\r" alone: the first
    one tells. Further down a "\\r" is white space, as large corpora have some within a sentence.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{name} is not UTF-8 text (line {line}: {error.reason}); {_advice(content, error)}"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{name} is not UTF-8 text (line {line}: a zero byte); {_advice(content)}")
    # Only \n ends a line: str.splitlines would also cut at form feeds and the like, and shift one side.
    lines = [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    if lines and "\r" in lines[0]:
        raise ValueError(
            f"{name} ends lines with \\r alone, as old Macs did, expected \\n; convert it with tr '\\r' '\\n'"
        )
    return lines


def _advice(content: bytes, error: UnicodeDecodeError | None = None) -> str:
    """What a text that is not UTF-8 looks like, and how to convert it."""
    if content.startswith(b"\x1f\x8b"):
        return "it is a gzip file: let its name end in .gz, or unpack it with gunzip"
    if content.startswith(b"PK\x03\x04"):
        return "it is a zip file, as those of Excel and Word are: unpack it, or save it there as UTF-8 text"
    zeros = content[:4_000].count(0) / max(1, len(content[:4_000]))
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):  # before utf-16, whose mark is a part of it
        found = "utf-32"
    elif content.startswith((b"\xff\xfe", b"\xfe\xff")):
        found = "utf-16"
    elif zeros > 0.4:  # Latin letters in UTF-16 have a zero byte each
        found = "utf-16le" if content[1:4_000:2].count(0) > content[0:4_000:2].count(0) else "utf-16be"
    elif zeros:
        return "it holds no text, or is damaged; fetch it again"
    elif error is not None and error.reason == "unexpected end of data":
        return (
            "it was cut off within a letter: fetch it again; or it is latin1: convert it with iconv -f latin1 -t utf-8"
        )
    else:  # cp1252 is latin1 with letters and marks where latin1 has control characters
        found = "cp1252" if any(0x80 <= byte < 0xA0 for byte in content) else "latin1"
        advice = f"convert it with iconv -f {found} -t utf-8, and see whether its letters are right"
        return f"it looks like {found}, perhaps: {advice}"
    return f"it looks like {found}: convert it with iconv -f {found} -t utf-8"


@dataclass(frozen=True)
class NamedCorpus:
    """All that a corpus with a name declares: where its sentences come from, and how to train on them."""

    load: Callable[[str, str], Corpus]
    """what loads it, given the two languages"""
    tokenizer: Literal["bpe", "words"]
    """byte-pair encoding, or whole words, the vocab_size most frequent ones"""
    model: dict[str, Any]
    """the fields of `TransformerConfig`; vocab_size is the most that there may be"""
    training: dict[str, Any]
    """the fields of `TrainingConfig`"""
    terms: str
    """what is in it, and under which terms: for the card of a model"""
    limits: str
    """what a model trained on it can do: for its card"""


NAMED = {
    "embedded": NamedCorpus(
        load=load_embedded,
        tokenizer="words",
        model={"vocab_size": 1_000, "d_model": 64, "n_layers": 2, "n_heads": 2, "d_ff": 128, "dropout": 0.0},
        # Small random batches and no dropout: the text is generated, and there is no end of it.
        training={
            "steps": 1_500, "batch_size": 32, "schedule": "linear", "warmup": 100, "peak_rate": 5e-3,
            "precision": "fp32", "validate_every": 500,
        },
        terms="16,000 sentence pairs that `transformer/text/grammar.py` generates; under the licence of\nthe package.",
        limits="It knows a few hundred words and the sentences of one small grammar, and nothing of the world.",
    ),
    "multi30k": NamedCorpus(
        load=load_multi30k,
        tokenizer="bpe",
        # A small model with much dropout: on 29,000 sentences it ends up above larger ones (Wu et al. 2021, "Good for
        # misconceived reasons"); a small vocabulary leaves more of the parameters to the layers. Merges that are left
        # out show the pieces of rare words in changing company; in the last quarter text is cut as it will be in use.
        model={"vocab_size": 5_000, "d_model": 160, "n_layers": 3, "n_heads": 4, "d_ff": 512, "dropout": 0.2},
        training={
            "steps": 8_000, "batch_tokens": 8_000, "schedule": "linear", "warmup": 1_000, "peak_rate": 2.5e-3,
            "bpe_dropout": 0.1, "bpe_dropout_until": 6_000, "validate_every": 250, "keep_last": 10,
        },
        terms="""29,000 English photo captions with German translations (Elliott et al. 2016,
https://github.com/multi30k/dataset, task 1). Captions and translations derive from Flickr30k and are for research and
education; these weights carry the same terms. The data set is not part of this package.""",
        limits="""It knows the language of photo captions: people, animals and things doing something, in the
present tense. On anything else it writes fluent nonsense. It repeats the stereotypes of its captions, and chooses a
gender where English leaves it open.""",
    ),
}  # fmt: skip
"""every corpus that has a name; one more is one more entry, and what loads it"""
