"""Sentence pairs as token ids in arrays: encoded once, kept on disk, and mapped into memory by every process.

What is kept lies in the user's cache, in a folder for each text and tokeniser. Its name tells what it was made from: a
SHA-256 of the files' bytes and of the tokeniser. So another text, another vocabulary or other languages are another
folder, and what is found there always fits.
"""

import hashlib
import itertools
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pooch
from filelock import FileLock

from transformer.files import CHECKSUMS, CheckpointError, check_unchanged, read_json, write_folder
from transformer.text.corpora import Corpus
from transformer.text.pairs import Pair
from transformer.text.tokenizer import Tokenizer, make_tokenizer

FORMAT = 3
"""of what is kept; to be raised with every change in how texts are read, normalised or encoded"""
AT_ONCE = 10_000
"""sentence pairs that are in memory as text at one time"""

Example = tuple[list[int], list[int]]
"""one sentence pair as token ids, without BOS and EOS"""
_Item, _Kept = TypeVar("_Item"), TypeVar("_Kept")


@dataclass(frozen=True, eq=False)  # by identity, as == of arrays is neither true nor false
class Encoded(Sequence[Example]):
    """Sentence pairs as token ids, without BOS and EOS, in arrays that may lie on disk; pair i is `encoded[i]`.

    A slice, such as `encoded[:100]`, is `Encoded` too.
    """

    ids: np.ndarray
    """all tokens, pair after pair, the source before the target: whole numbers, (number of tokens,)"""
    bounds: np.ndarray
    """where in `ids` each pair's source begins, its target begins, and its target ends: int64, (pairs, 3)"""
    lines: np.ndarray
    """the line of its file that a pair stood in, from 1, or its number where it comes from no file: int64, (pairs,)"""
    checksum: str
    """SHA-256 of the sentences that were encoded, before any were left out: hex digits; "" in `Resegmented`"""

    @classmethod
    def of(cls, tokenizer: Tokenizer, pairs: Iterable[Pair]) -> "Encoded":
        """Encode the pairs, as many processors at a time as there are; few of them are in memory as text at once."""
        dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
        ids, lengths, lines, digest = bytearray(), [], [], hashlib.sha256()  # a bytearray grows without being copied
        for block in _read_ahead(enumerate(pairs, 1)):
            texts = [text for _, pair in block for text in (pair.source, pair.target)]
            rows = tokenizer.encode_all(texts)  # first, as it says what is wrong with a text that is none
            digest.update("".join(f"{text}\n" for text in texts).encode())
            lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
            ids += np.fromiter(itertools.chain.from_iterable(rows), dtype, int(lengths[-1].sum())).tobytes()
            lines.append(np.fromiter((pair.line or number for number, pair in block), np.int64, len(block)))
        starts = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()  # of all sides, and the end
        bounds = np.stack([starts[:-1:2], starts[1::2], starts[2::2]], axis=1)
        return cls(
            np.frombuffer(ids, dtype), bounds, np.concatenate([np.zeros(0, np.int64), *lines]), digest.hexdigest()
        )

    @property
    def lengths(self) -> np.ndarray:
        """How many tokens the two sides of each pair have: int32, (number of pairs, 2)."""
        return np.diff(self.bounds, axis=1).astype(np.int32)

    def without(self, left_out: Iterable[int]) -> "Encoded":
        """All pairs but those with these numbers; their tokens stay where they are."""
        kept = np.ones(len(self), dtype=bool)
        kept[list(left_out)] = False
        return replace(self, bounds=self.bounds[kept], lines=self.lines[kept])

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, i: int | slice) -> "Example | Encoded":
        if isinstance(i, slice):
            return replace(self, bounds=self.bounds[i], lines=self.lines[i])
        if not -len(self) <= i < len(self):
            raise IndexError(f"there is no pair {i}, expected one of {len(self):,}, counted from 0")
        first, middle, last = self.bounds[i].tolist()
        return self.ids[first:middle].tolist(), self.ids[middle:last].tolist()

    def save(self, folder: Path) -> None:
        """Write the arrays into a folder that there is, as .npy files, and the checksum.

        Raises OSError where they could not be written to their ends.
        """
        for name in ("ids", "bounds", "lines"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        (folder / "checksum.txt").write_text(self.checksum, encoding="ascii")
        try:
            Encoded.load(folder)  # np.save does not notice when the last bytes of a file find no room
        except ValueError as error:
            raise OSError(f"the arrays in {folder} were cut off as they were written: {error}") from error

    @classmethod
    def load(cls, folder: Path) -> "Encoded":
        """What `save` wrote; the tokens stay on disk, and all processes that read them share one copy in memory.

        Raises OSError or ValueError for files that are missing or cut off.
        """
        arrays = (np.lib.format.open_memmap(folder / f"{name}.npy", mode="r") for name in ("ids", "bounds", "lines"))
        return cls(*arrays, (folder / "checksum.txt").read_text(encoding="ascii"))


def _read_ahead(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """The items in blocks of AT_ONCE; while one is worked on, a thread reads the next."""
    stream = iter(items)

    def read() -> list[_Item]:
        return list(itertools.islice(stream, AT_ONCE))

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read)
        while block := coming.result():
            coming = reader.submit(read)
            yield block


def encode_split(corpus: Corpus, split: str, tokenizer: Tokenizer) -> Encoded:
    """A split of the corpus as token ids: from the cache, or encoded now and kept there if it was read from files."""
    return _once(
        corpus, split, [tokenizer.to_json()],
        make=lambda: Encoded.of(tokenizer, corpus.stream(split)), save=Encoded.save, load=Encoded.load,
    )  # fmt: skip


def tokenizer_for(corpus: Corpus, kind: str, vocab_size: int) -> Tokenizer:
    """`make_tokenizer`, whose result is kept like what it encodes."""
    return _once(
        corpus, "train", [kind, str(vocab_size)],
        make=lambda: make_tokenizer(kind, corpus, vocab_size),
        save=lambda tokenizer, folder: tokenizer.save(folder / "tokenizer.json"),
        load=lambda folder: Tokenizer.load(folder / "tokenizer.json"),
    )  # fmt: skip


def cache_folder() -> Path:
    """Where encoded texts and their tokenisers are kept: `$TRANSFORMER_ENCODED`, or a folder of the user's cache.

    Raises ValueError for a home folder (~) that there is not.
    """
    kept = os.environ.get("TRANSFORMER_ENCODED") or pooch.os_cache("executable-transformer") / "encoded"
    try:
        return Path(kept).expanduser()  # files of settings may give it with ~, as no shell would
    except RuntimeError as error:
        raise ValueError(f"$TRANSFORMER_ENCODED is {kept!r} ({error}), expected the path of a folder") from error


def _once(
    corpus: Corpus,
    split: str,
    made_with: Sequence[str],
    make: Callable[[], _Kept],
    save: Callable[[_Kept, Path], None],
    load: Callable[[Path], _Kept],
) -> _Kept:
    """What was made of a split before, by this process or another one, or is made now.

    Whichever process comes first makes it, and the others wait for that. Without a folder to write to, each makes its
    own, and a warning says so.
    """
    if split not in corpus.files:
        return make()
    key = hashlib.sha256("\0".join([str(FORMAT), corpus.file_checksum(split), *made_with]).encode()).hexdigest()
    folder = cache_folder() / f"{corpus.name}-{corpus.source}-{corpus.target}-{split}-{key[:16]}"
    made = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if (found := _found(folder, load)) is not None:
                return found
            if folder.is_dir():
                warnings.warn(f"{folder} is damaged, and made anew", stacklevel=3)
                shutil.rmtree(folder)
            made = make()
            write_folder(folder, lambda draft: save(made, draft))
            return load(folder)
    except (OSError, CheckpointError) as error:
        why = error.__cause__ or error  # a CheckpointError's own words are on checkpoints
        warnings.warn(f"nothing is kept in {folder.parent} ({why}), so the next start takes as long", stacklevel=3)
        return make() if made is None else made


def _found(folder: Path, load: Callable[[Path], _Kept]) -> _Kept | None:
    """What is kept in a folder; None where there is none, or where its files are not those that were written."""
    try:
        check_unchanged(folder, *read_json(folder / CHECKSUMS))
        return load(folder)
    except (OSError, ValueError, CheckpointError):  # ValueError: cut off, and the checksums with it
        return None
