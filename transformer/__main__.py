"""The command line: `python -m transformer train | translate | evaluate | cache`."""

import itertools
import os
import re
import shlex
import shutil
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, is_dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nobody needs a traceback of the imports below

import torch
import tyro

from transformer import __version__
from transformer.config import TransformerConfig, check_types
from transformer.decoding import DEFAULT_DECODING, DecodingConfig, check_lengths, translate
from transformer.evaluation import BleuTokens, bleu_tokens, evaluate
from transformer.files import SHIPPED, CheckpointError, last_checkpoint, read_settings, resolve, saved_checkpoints
from transformer.model import Transformer
from transformer.runs.checkpoints import load
from transformer.runs.device import choose_device
from transformer.runs.loop import check_until, train
from transformer.runs.notes import Notes
from transformer.runs.processes import is_first
from transformer.runs.recipes import recipe_for
from transformer.runs.run import Run
from transformer.text.batches import too_long
from transformer.text.corpora import NAMED, TABLES, Corpus, CorpusUnavailable, lines_of_stream, load_corpus, read_lines
from transformer.text.encoded import Encoded, cache_folder, encode_split, tokenizer_for
from transformer.text.pairs import normalised
from transformer.text.symbols import UNK
from transformer.text.tokenizer import Tokenizer
from transformer.training import TrainingConfig

BLOCK = 16  # batches whose sentences are sorted by length, translated and printed before the next are read
LONG = 1_000
"""tokens of a line that takes noticeably long to translate, and that no training has prepared a model for"""
NOT_STORED = ("run", "resume", "start_or_resume", "until", "device")  # of one command, not of the run
CORPORA = f"{', '.join(NAMED)}, a folder with train.en, train.de, val.en, …, or a .tsv file of pairs"
MULTI30K = recipe_for("multi30k")
FITTING = replace(MULTI30K.model, d_k=1, d_v=1, positions="learned")
"""sizes with which any others fit, for a first look at a command line whose defaults are not known yet"""
KEPT = re.compile(r".+-.+-.+-(train|val|test)-[0-9a-f]{16}(\.draft|\.lock)?")
"""what a training calls its folders in the cache, CORPUS-SOURCE-TARGET-SPLIT-HASH, and what lies beside them"""
OUT_OF_MEMORY = "allocate memory|not enough memory|out of memory"
"""how PyTorch says so, in a RuntimeError, on a CPU and on a GPU"""
WHEN_MEMORY_ENDS = (
    "make batches smaller: of a new training by --batch-tokens or --batch-size, with --accumulate to keep updates as "
    "large; of a search by --batch-size or --beam"
)
LONGER = r"(?<!\b(?:Mrs|Rev|Sgt|Frl|bzw))(?<!\b(?:Prof|Capt))"
"""not behind one of these abbreviations, which have three letters or more"""
SENTENCE_END = rf"""(?:\w{{3}}{LONGER}\s?[.!?…]["'”»)\]]*\s+(?=["'“„«(\[]*[A-ZÀ-ÖØ-ÞΑ-ΩА-Я])|[。！？][”」]*(?=\w))"""
"""the end of a sentence that another one follows, and not of an abbreviation such as Mr."""


@dataclass(frozen=True)
class Train:
    """Train a model on a corpus, and keep settings, history and checkpoints in a folder.

    The defaults are the recipe of the corpus, for one of your own a recipe of an hour; with --resume, the settings of
    the run. Ctrl-C saves before it stops.
    """

    corpus: Annotated[str, tyro.conf.arg(help=CORPORA)] = MULTI30K.corpus
    source: str = "en"
    """language to translate from"""
    target: str = "de"
    """language to translate into"""
    tokenizer: Literal["bpe", "words"] = MULTI30K.tokenizer
    """byte-pair encoding of vocab_size tokens, or the words of the training texts, the vocab_size most frequent ones"""
    longest: int = 256
    """pairs of which a side has more tokens, counted without EOS and BPE-dropout, are left out, and named; learned
    positions allow one less than max_len"""
    run: Path | None = None
    """folder of the run; None: runs/CORPUS-SOURCE-TARGET, where a folder or file is called by its name"""
    resume: bool = False
    """go on from the last checkpoint of the run, with its settings; --validate-every, --keep-last, --accumulate (if
    accumulate times processes stays the same) and, unless the schedule is linear, --steps may change"""
    start_or_resume: bool = False
    """resume where the run has a checkpoint, otherwise start it: one command for a job that may be restarted"""
    until: int | None = None
    """stop after this update, to be resumed"""
    device: str | None = None
    """cpu, cuda, mps; None: the best there is"""
    model: TransformerConfig = MULTI30K.model
    """sizes and choices of the model"""
    training: TrainingConfig = MULTI30K.training
    """how it is trained"""

    def __post_init__(self) -> None:
        check_types(self)  # as somebody may have changed them in a run's config.json
        if self.longest < 1:
            raise ValueError(f"longest is {self.longest}, expected at least 1 token")
        check_until(self.until)

    def folder(self) -> Path:
        """Where the run is kept."""
        name = real(Path(self.corpus)).name  # of "." too
        for ending in TABLES:
            name = name.removesuffix(ending)
        return self.run or Path("runs") / f"{name}-{self.source}-{self.target}"


@dataclass(frozen=True)
class Trained:
    """A model to use, and how: what `translate` and `evaluate` have in common."""

    model: str = "multi30k-en-de"
    """folder of a run or of a checkpoint, or a model that comes with the package: multi30k-en-de, embedded-en-de"""
    average: int = 1
    """use the mean of the last so many checkpoints of the run; 1: use the best one"""
    device: str | None = None
    """cpu, cuda, mps; None: the best there is"""
    decoding: DecodingConfig = DEFAULT_DECODING
    """how translations are searched for"""


@dataclass(frozen=True)
class Translate(Trained):
    """Translate sentences given as arguments, in a file, or one a line on standard input."""

    sentences: tyro.conf.Positional[tuple[str, ...]] = ()
    """what to translate; none: read the file or standard input"""
    file: Path | None = None
    """text file with one sentence a line; an empty line stays empty"""


@dataclass(frozen=True)
class Evaluate(Trained):
    """Measure BLEU, chrF, exact match, token accuracy and perplexity on one split of a corpus."""

    corpus: Annotated[str | None, tyro.conf.arg(help=f"{CORPORA}; None: as in training")] = None
    source: str | None = None
    """language to translate from; None: as in training"""
    target: str | None = None
    """language to translate into; None: as in training"""
    bleu_tokens: BleuTokens | None = None
    """what BLEU counts, by sacreBLEU's names; None: by the target language, such as zh for Chinese, otherwise 13a"""
    split: str = "test"
    """train, val or test; the embedded corpus also has comp"""
    limit: int | None = None
    """only so many sentences, from the first"""
    output: Path | None = None
    """write the translations to this file, one a line"""


@dataclass(frozen=True)
class Cache:
    """List what trainings keep of the texts that they have read: token ids, and the vocabularies that made them.

    A text that did not change is not encoded again; one that did finds nothing, and what was kept of it stays here.
    """

    clear: bool = False
    """delete all of it"""


Command = Train | Translate | Evaluate | Cache


def run_train(command: Train) -> None:
    """Train as the command says; build corpus, tokeniser and model first."""
    folder = command.folder()
    choose_device(command.device)  # raises now what it would raise after minutes of encoding
    if not command.resume:
        Run(folder).refuse_taken()
    corpus = load_corpus(command.corpus, command.source, command.target)
    tokenizer = (
        Run(folder).last_tokenizer()
        if command.resume
        else tokenizer_for(corpus, command.tokenizer, command.model.vocab_size)
    )
    splits = {split: encode_split(corpus, split, tokenizer) for split in ("train", "val")}
    texts = {split: encoded.checksum for split, encoded in splits.items()}
    if command.resume:
        refuse_other_texts(folder, corpus, texts)
    config = replace(command.model, vocab_size=len(tokenizer))
    refuse_giants(config)
    torch.manual_seed(command.training.seed)
    model = Transformer(config)
    n_parameters = sum(p.numel() for p in model.parameters())
    tell(f"{n_parameters:,} parameters, {len(splits['train']):,} pairs, {len(tokenizer):,} tokens, run in {folder}")
    run = Run(folder, tokenizer, settings(command, texts))
    longest = command.longest
    if command.model.positions == "learned":
        longest = min(longest, command.model.max_len - 1)  # EOS has a position, too
    examples, validation = (of_length(split, encoded, longest) for split, encoded in splits.items())
    source, target = (tokenizer.decode(side)[:60] for side in examples[0])  # where swapped columns can be seen
    tell(f"the first pair, {corpus.source} → {corpus.target}: {source!r} → {target!r}")
    train(model, examples, validation, command.training, run, command.resume, command.until, command.device)
    tell(f"done; python -m transformer evaluate --model {shlex.quote(str(folder))}")


def tell(text: str) -> None:
    """Write a line about a training to standard error, once: of several processes only the first one does."""
    if is_first():
        print(text, file=sys.stderr)


def of_length(split: str, encoded: Encoded, longest: int) -> Encoded:
    """A split without pairs of more than `longest` tokens on a side: one of them sets memory and time.

    Standard error tells how many those are, and which lines. Raises ValueError where no pair would be left.
    """
    left_out = {i: n - 1 for i, n in too_long(encoded, longest + 1).items()}  # which counts EOS
    if len(left_out) == len(encoded) > 0:
        raise ValueError(
            f"every pair of {split} has more than {longest:,} tokens on a side, expected shorter ones; divide the "
            "lines into sentences, or allow more with --longest (and with --max-len where positions are learned)"
        )
    if left_out:
        named = [f"line {encoded.lines[i]} ({n:,} tokens)" for i, n in itertools.islice(left_out.items(), 5)]
        more = f" and {len(left_out) - 5:,} more" if len(left_out) > 5 else ""
        tell(
            f"left out {len(left_out):,} of {len(encoded):,} pairs of {split}, of which a side has more than "
            f"{longest:,} tokens: {', '.join(named)}{more}"
        )
    return encoded.without(left_out)


def settings(command: Train, texts: dict[str, str]) -> dict[str, Any]:
    """What `config.json` of a run says, enough to resume it later and from any folder; `texts` are the checksums."""
    stored = {key: value for key, value in asdict(command).items() if key not in NOT_STORED}
    if command.corpus not in NAMED:
        stored["corpus"] = str(real(Path(command.corpus)))
    return stored | {"texts": texts}


def refuse_other_texts(folder: Path, corpus: Corpus, texts: dict[str, str]) -> None:
    """Raise ValueError where a run would go on with other sentences than it was started with, wherever they lie."""
    if read_settings(folder).get("texts", texts) != texts:
        raise ValueError(
            f"the sentences of {corpus.name} are not those that the run in {folder} was started with (the SHA-256 of "
            "train or val differs); restore them, or start a new run"
        )


def refuse_giants(config: TransformerConfig) -> None:
    """Raise ValueError for a model that could not be trained in this machine's memory, before it is tried for hours."""
    sizes = os.sysconf_names if hasattr(os, "sysconf") else {}  # Windows has none, and is not asked
    if "SC_PHYS_PAGES" in sizes:
        there, needed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), 16 * config.n_numbers
        if needed > there:
            raise ValueError(
                f"a model of {config.n_numbers:,} numbers needs {needed / 1e9:,.0f} GB with gradients and moments, "
                f"expected at most the {there / 1e9:,.0f} GB of this machine; make it smaller"
            )


def run_translate(command: Translate) -> None:
    """Translate what the command names, and print one line for each line of input."""
    if command.sentences and command.file:
        raise ValueError("got sentences and a file, expected one of them")
    for i, sentence in enumerate(command.sentences, 1):
        if not sentence.strip():
            raise ValueError(
                f"sentence {i} is empty, expected text; only lines of a file or of standard input may be empty"
            )
    model, tokenizer = load(command.model, command.average, command.device)
    size = BLOCK * command.decoding.batch_size
    lines: Iterable[str] = command.sentences
    if command.file:
        lines = read_lines(command.file)
    elif not command.sentences:
        if sys.stdin is None:
            raise ValueError("standard input is closed, expected sentences there, as arguments or in a --file")
        lines = lines_of_stream(sys.stdin.buffer, "standard input")
        size = 1 if sys.stdin.isatty() else size  # whoever types is answered line by line
    if model.config.positions == "learned":
        lines = readable(model, tokenizer, lines, "sentence" if command.sentences else "line")
    print_blocks(model, tokenizer, lines, command.decoding, size)


def readable(model: Transformer, tokenizer: Tokenizer, lines: Iterable[str], what: str) -> Iterator[str]:
    """The lines, as far as learned positions reach; raises ValueError at the first that is longer."""
    for number, line in enumerate(lines, 1):
        check_lengths(model, [tokenizer.encode(normalised(line))], number, what)
        yield line


def print_blocks(
    model: Transformer, tokenizer: Tokenizer, lines: Iterable[str], decoding: DecodingConfig, size: int
) -> None:
    """Print the translations, `size` lines after the other, so that no input is too long and nothing is lost.

    Whatever stops it, Ctrl-C or a line that cannot be read, finds the lines before translated and printed: those of
    the blocks before, and before a bad line all. Raises what stopped it, and says where.
    """
    done = 0
    try:
        for block in blocks_of(lines, size):
            print_translations(model, tokenizer, block, decoding, first=done + 1)
            done += len(block)
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(f"stopped; {done:,} lines are translated") from interruption
    except ValueError as error:
        raise ValueError(f"after {done:,} lines that are translated: {error}" if done else str(error)) from error


def blocks_of(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """The lines in lists of `size`; where reading them fails, a shorter one comes before the error."""
    block: list[str] = []
    try:
        for line in lines:
            block.append(line)
            if len(block) == size:
                yield block
                block = []
    except ValueError:
        if block:
            yield block
        raise
    if block:
        yield block


def print_translations(
    model: Transformer, tokenizer: Tokenizer, sentences: Sequence[str], decoding: DecodingConfig, first: int = 1
) -> None:
    """Print the translations, and say on standard error which lines to look at: see `doubts`.

    Lines are counted from `first`.
    """
    sentences = [normalised(sentence) for sentence in sentences]
    for i, text in enumerate(sentences, first):  # a token has a byte or more: most need no encoding
        if len(text.encode(errors="surrogatepass")) > LONG and (n_tokens := len(tokenizer.encode(text))) > LONG:
            advice = "which takes long to translate: give each sentence a line of its own"
            print(f"line {i} has {n_tokens:,} tokens, {advice}", file=sys.stderr)
    translations = translate(model, tokenizer, sentences, decoding.after(first - 1))
    for i, (sentence, translation) in enumerate(zip(sentences, translations, strict=True), first):
        for doubt in doubts(tokenizer, sentence, translation):
            print(f"line {i} {doubt}", file=sys.stderr)
        print(one_line(translation), flush=True)


def doubts(tokenizer: Tokenizer, sentence: str, translation: str) -> Iterator[str]:
    """Why a translation may be wrong, as far as it can be seen: unknown words, more than one sentence, repetition."""
    if UNK in tokenizer.encode(sentence):
        yield f"has words that are not in the model's vocabulary: {sentence}"
    n_sentences = 1 + len(re.findall(SENTENCE_END, sentence))
    if n_sentences > 1:
        yield f"seems to hold {n_sentences} sentences, of which some may be lost: give each a line of its own"
    words = translation.split()
    fours = Counter(zip(*(words[i:] for i in range(4)), strict=False))
    if fours and fours.most_common(1)[0][1] > 2:
        yield "has a translation that repeats itself: the sentence may be longer than those of the training, cut it up"


def one_line(text: str) -> str:
    """The text without line feeds, which a model is free to write, so that line n translates line n."""
    return text.replace("\n", " ")


def run_evaluate(command: Evaluate) -> None:
    """Print the scores of a model on one split."""
    if command.limit is not None and command.limit < 1:
        raise ValueError(f"limit is {command.limit}, expected at least 1 sentence")
    if command.output and (command.output.is_dir() or not command.output.parent.is_dir()):
        raise ValueError(f"cannot write to {command.output}, expected the name of a file in a folder that exists")
    corpus = corpus_of(command)
    if command.output:
        refuse_output(command.output, corpus, command)
    pairs = corpus[command.split][: command.limit]
    model, tokenizer = load(command.model, command.average, command.device)
    result = evaluate(model, tokenizer, pairs, command.decoding, command.bleu_tokens or bleu_tokens(corpus.target))
    failed = None
    if command.output:  # first, as nobody may be there to read the scores
        try:
            write_output(command.output, "".join(one_line(text) + "\n" for text in result.translations))
        except OSError as error:  # which does not name the file when the disk is full
            failed = OSError(f"could not write the translations to {command.output}: {error}")
    print(f"{corpus.name} {corpus.source}→{corpus.target} {command.split}, {len(pairs):,} sentences")
    print(result.bleu)
    print(f"chrF {result.chrf:.2f}")
    print(f"exact match {result.exact_match:.3f}")
    print(f"token accuracy {result.token_accuracy:.3f}")
    print(f"perplexity {result.perplexity:.2f}")
    if failed:
        raise failed


def write_output(output: Path, text: str) -> None:
    """Write the translations whole or not at all; into what is no file on disk, such as a pipe, as far as they go."""
    place = real(output)
    if (output.exists() and not output.is_file()) or not os.access(place.parent, os.W_OK):
        output.write_text(text, encoding="utf-8", errors="backslashreplace")
        return
    draft = place.with_name(f".{place.name[:99]}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
        if place.exists():
            shutil.copymode(place, draft)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def refuse_output(output: Path, corpus: Corpus, command: Evaluate) -> None:
    """Raise ValueError where a file cannot be written, or would take the place of a text or a part of the model."""
    place, folder = real(output), real(resolve(command.model))
    if folder.parent.name == "checkpoints":
        folder = folder.parent.parent  # the run, whose settings and history count as well
    texts: set[Path] = set()
    for split in corpus.files:
        with suppress(ValueError):  # of a split with one side alone, which nobody can evaluate on
            texts |= {real(path) for path in corpus.files[split]}
    own = {command.corpus}
    with suppress(CheckpointError):  # of a model that does not say what it was trained on
        own.add(trained_on(command.model)[0])
    own = {real(Path(name)) for name in own - {None, *NAMED}}  # folders, or tables
    text = rf"(train|val|test)\.({re.escape(corpus.source)}|{re.escape(corpus.target)}|tsv)(\.gz)?"
    if place in texts | own or (place.parent in own and re.fullmatch(text, place.name)):
        whose = corpus.name if place in texts else place.parent.name
        raise ValueError(
            f"{output} is a text of {whose}, or is called like one, expected another place for the translations; "
            "nothing is overwritten"
        )
    if folder in place.parents:
        raise ValueError(
            f"{output} is in the folder of the model, {folder}, expected another place for the translations; nothing "
            "is overwritten"
        )
    if sys.stdout is not None and place.exists() and os.path.samestat(place.stat(), os.fstat(1)):
        raise ValueError(f"{output} is where the scores are printed, expected a file of its own for the translations")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise ValueError(f"cannot write to {output}, expected a file or folder that is writable")


def real(path: Path) -> Path:
    """The path without links; `Path.resolve` would raise where they lead in a circle."""
    return Path(os.path.realpath(path))


def corpus_of(command: Evaluate) -> Corpus:
    """The corpus to evaluate on: the one that the model was trained on, where the command does not say otherwise."""
    if command.corpus and command.source and command.target:
        return load_corpus(command.corpus, command.source, command.target)
    name, source, target = trained_on(command.model)
    if command.corpus is None and name is None:
        raise ValueError(f"{command.model} does not say which corpus it was trained on; name one with --corpus")
    return load_corpus(command.corpus or name, command.source or source, command.target or target)


def trained_on(model: str) -> tuple[str | None, str, str]:
    """Corpus, source and target language of a run, of one of its checkpoints or of a shipped model, where known."""
    for run in (Path(model), real(Path(model)).parent.parent):
        if (run / "checkpoints").is_dir() and (run / "config.json").is_file():
            stored = read_settings(run)
            if "corpus" not in stored:  # of a training in Python, which tells what it likes
                break
            said = stored["corpus"], stored.get("source"), stored.get("target")
            if not all(isinstance(value, str) for value in said):
                raise CheckpointError(
                    f"{run / 'config.json'} does not describe a run of this package: corpus, source and target are "
                    f"{said}, expected three names; restore it, or give --corpus, --source and --target"
                )
            return said
    if (shipped := resolve(model).resolve()).parent == SHIPPED.resolve():  # these are called CORPUS-SOURCE-TARGET
        corpus, source, target = shipped.name.rsplit("-", 2)
        return corpus, source, target
    return None, "en", "de"


def run_cache(command: Cache) -> None:
    """Print what is kept and its size, in MB, and delete it where that is asked for; all else in the folder stays."""
    folder = cache_folder()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected the folder of what is kept; set $TRANSFORMER_ENCODED to one")
    own = [path for path in folder.glob("*") if KEPT.fullmatch(path.name) and not path.is_symlink()]
    kept = sorted(path for path in own if path.is_dir())
    sizes = [sum(file.stat().st_size for file in path.iterdir()) / 1e6 for path in kept]
    for path, size in zip(kept, sizes, strict=True):
        print(f"{size:>9,.1f} MB  {path.name}")
    if command.clear and folder.is_dir():
        for path in own:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    print(f"{sum(sizes):>9,.1f} MB {'were deleted from' if command.clear else 'in'} {folder}")


def parse(argv: Sequence[str]) -> Command:
    """Read the command line; the flags are the fields of the dataclasses.

    It is read twice: first to see which corpus or run is meant, then with the settings of that as defaults. So a
    flag that was not given cannot differ from them.
    """
    meant = read(argv, Train(model=FITTING), partly=True)
    if not isinstance(meant, Train) or (meant.resume and {"-h", "--help"} & {*argv}):  # of no run in particular
        return read(argv, Train())
    if not (meant.resume or (meant.start_or_resume and saved_checkpoints(meant.folder()))):
        return read(argv, Train(**vars(recipe_for(meant.corpus))))
    started = stored_run(meant.folder())
    command = read(argv, started)
    refuse_changes(started, command)
    return replace(command, resume=True)


def read(argv: Sequence[str], defaults: Train, partly: bool = False) -> Command:
    """One command of the command line, where training has these defaults; `partly`, as far as it can be understood."""
    commands = (
        Annotated[Train, tyro.conf.subcommand("train", default=defaults)]
        | Annotated[Translate, tyro.conf.subcommand("translate")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Cache, tyro.conf.subcommand("cache")]
    )
    # In a field, because messages about a bare union show the name of a wrapper that tyro puts around it.
    line = make_dataclass("Line", [("command", commands, Translate()) if partly else ("command", commands)])
    found = tyro.cli(
        line,
        args=list(argv),
        prog="python -m transformer",
        description="Train, use and measure the model of Attention Is All You Need. --version prints the version.",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        add_help=not partly,
        return_unknown_args=partly,
    )
    return found[0].command if partly else found.command


def stored_run(folder: Path) -> Train:
    """The command that a run was started with; raises CheckpointError where there is none to resume."""
    last_checkpoint(folder)
    stored = read_settings(folder)
    stored.pop("texts", None)  # compared when the corpus is read
    try:
        if lacking := {"corpus", "source", "target", "tokenizer", "model", "training"} - stored.keys():
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
        model, training = TransformerConfig(**stored.pop("model")), TrainingConfig(**stored.pop("training"))
        return Train(**stored, model=model, training=training, run=folder)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a run of this package: {error}; restore it, or start a new run"
        ) from error


def refuse_changes(started: Train, command: Train) -> None:
    """Raise ValueError for flags that a resumed run cannot follow, with both values of each."""
    free = {*NOT_STORED, "validate_every", "keep_last"}
    if "batches_per_update" in Run(command.folder()).made_with():  # `train` compares accumulate times processes
        free.add("accumulate")
    if started.training.schedule != "linear":  # which falls to zero at the last update, wherever that is
        free.add("steps")
    if not {started.corpus, command.corpus} & {*NAMED}:  # one's own may have moved, if the sentences are the same
        free.add("corpus")
    before, now = flat(started), flat(command)
    changed = [name for name in now if now[name] != before[name] and name not in free]
    if changed:
        given = (f"{as_typed(name, now[name])} was given, it was started with {before[name]}" for name in changed)
        run = f"the run in {command.folder()} cannot follow"
        raise ValueError(f"{run}: {'; '.join(given)}; leave out what differs, or start a new run")


def as_typed(name: str, value: Any) -> str:
    """A setting as a flag of the command line."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"


def flat(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass and of the dataclasses in it, as one dict."""
    values: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        values |= flat(value) if is_dataclass(value) else {item.name: value}
    return values


RUNNERS: dict[type, Callable[[Any], None]] = {
    Train: run_train, Translate: run_translate, Evaluate: run_evaluate, Cache: run_cache,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 after an error that is explained on standard error, 130 after Ctrl-C.

    141, as the shell has it, where nobody reads on.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        with flushed_output():
            return run(argv)
    except BrokenPipeError:  # whoever reads has enough, as `head` does
        return 141
    except (ValueError, OSError, CheckpointError, CorpusUnavailable, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search(OUT_OF_MEMORY, str(error)):
            raise
        print(f"error: out of memory ({str(error).strip()[:200]!r}); {WHEN_MEMORY_ENDS}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        print(str(interruption) or "stopped", file=sys.stderr)
        return 130


@contextmanager
def flushed_output() -> Iterator[None]:
    """Let what is printed in the block be written by its end; where that fails, nothing more is printed.

    The interpreter would try again at its own end, and complain.
    """
    try:
        yield
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise OSError(f"could not write to standard output ({error}); make room, or send it elsewhere") from error


def run(argv: Sequence[str]) -> int:
    """Run one command; returns 0, and raises what goes wrong."""
    if list(argv) == ["--version"]:
        print(__version__)
        return 0
    try:
        command = parse(argv)
        if sys.stdout is None and not isinstance(command, Train):
            raise ValueError("standard output is closed, expected somewhere to write to, such as a file: > out.txt")
        with warnings.catch_warnings():  # which restores the next two lines as well
            warnings.filterwarnings("always", module="transformer")
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            RUNNERS[type(command)](command)
    except SystemExit as end:  # of the parser, which has said why
        if end.code and "translate" in argv[:1] and any(re.match(r"-[^-]|-.*\s", argument) for argument in argv):
            print('sentences that begin with - go behind --: translate -- "- like this"', file=sys.stderr)
        raise
    return 0


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stderr = Notes(sys.stderr)
    if sys.stdout is not None:
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # like the input, whatever the locale says
    sys.exit(main())
