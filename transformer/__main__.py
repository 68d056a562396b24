"""The command line: `python -m transformer train | translate | evaluate | bench`."""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from transformer import __version__
from transformer.config import TransformerConfig
from transformer.decoding import DecodingConfig, translate
from transformer.evaluation import evaluate
from transformer.files import SHIPPED, CheckpointError, last_checkpoint, read_json, resolve, write_json
from transformer.model import Transformer
from transformer.runs import recipes
from transformer.runs.bench import BenchConfig, bench
from transformer.runs.checkpoints import load
from transformer.runs.loop import train
from transformer.runs.recipes import MULTI30K
from transformer.runs.run import Run
from transformer.text.batches import encode_pairs
from transformer.text.corpora import Corpus, CorpusUnavailable, load_corpus, read_lines
from transformer.text.symbols import UNK
from transformer.text.tokenizer import Tokenizer, make_tokenizer
from transformer.training import TrainingConfig


@dataclass(frozen=True)
class Train:
    """Train a model on a corpus, and keep settings, course and checkpoints in a folder.

    The defaults are a recipe for the corpus: of "embedded" for the embedded one, of Multi30k for all others.
    Ctrl-C saves before it stops.
    """

    corpus: str = "multi30k"
    """embedded, multi30k, or a folder with train.en, train.de, val.en, …"""
    source: str = "en"
    """language to translate from"""
    target: str = "de"
    """language to translate into"""
    tokenizer: Literal["bpe", "words"] = "bpe"
    """byte-pair encoding of vocab_size tokens, or every word of the training texts"""
    run: Path | None = None
    """folder of the run; None: runs/CORPUS-SOURCE-TARGET"""
    resume: bool = False
    """go on from the last checkpoint of the run, with the settings it was started with"""
    until: int | None = None
    """stop after this update, to be resumed"""
    device: str | None = None
    """cpu, cuda, mps; None: the best there is"""
    model: TransformerConfig = MULTI30K.model
    training: TrainingConfig = MULTI30K.training

    def folder(self) -> Path:
        """Where the run is kept."""
        return self.run or Path("runs") / f"{Path(self.corpus).name}-{self.source}-{self.target}"


EMBEDDED = Train(**vars(recipes.EMBEDDED))


@dataclass(frozen=True)
class Translate:
    """Translate sentences given as arguments, in a file, or one a line on standard input."""

    sentences: tyro.conf.Positional[tuple[str, ...]] = ()
    """what to translate; none: read the file or standard input"""
    model: str = "multi30k-en-de"
    """folder of a run or of a checkpoint, or a model that comes with the package: multi30k-en-de, embedded-en-de"""
    file: Path | None = None
    """text file with one sentence a line; an empty line stays empty"""
    average: int = 1
    """use the mean of the last so many checkpoints of the run; 1: use the best one"""
    device: str | None = None
    """cpu, cuda, mps; None: the best there is"""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


@dataclass(frozen=True)
class Evaluate:
    """Measure BLEU, exact match, token accuracy and perplexity on one split of a corpus."""

    model: str = "multi30k-en-de"
    """folder of a run or of a checkpoint, or a model that comes with the package: multi30k-en-de, embedded-en-de"""
    corpus: str | None = None
    """embedded, multi30k or a folder; None: the one that the run was trained on"""
    source: str = "en"
    """language to translate from"""
    target: str = "de"
    """language to translate into"""
    split: str = "test"
    """train, val or test; the embedded corpus also has comp"""
    limit: int | None = None
    """only so many sentences, from the first"""
    output: Path | None = None
    """write the translations to this file, one a line"""
    average: int = 1
    """use the mean of the last so many checkpoints of the run; 1: use the best one"""
    device: str | None = None
    """cpu, cuda, mps; None: the best there is"""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


def run_train(command: Train) -> None:
    """Train as the command says; build corpus, tokeniser and model first."""
    folder = command.folder()
    if command.resume:
        last_checkpoint(folder)  # complain at once where there is none
    corpus = load_corpus(command.corpus, command.source, command.target)
    tokenizer = (
        Tokenizer.load(last_checkpoint(folder) / "tokenizer.json")
        if command.resume
        else make_tokenizer(command.tokenizer, corpus, command.model.vocab_size)
    )
    torch.manual_seed(command.training.seed)
    model = Transformer(replace(command.model, vocab_size=len(tokenizer)))
    n_parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{n_parameters:,} parameters, {len(corpus['train']):,} pairs, {len(tokenizer):,} tokens, run in {folder}",
        file=sys.stderr,
    )
    run = Run(folder, tokenizer, settings(command))
    if command.resume:
        write_json(folder / "config.json", run.settings)  # a larger --steps holds for the next --resume too
    examples, validation = encode_pairs(tokenizer, corpus["train"]), encode_pairs(tokenizer, corpus["val"])
    train(model, examples, validation, command.training, run, command.resume, command.until, command.device)
    print(f"done; python -m transformer evaluate --model {folder}", file=sys.stderr)


def settings(command: Train) -> dict[str, Any]:
    """What `config.json` of a run says, enough to go on with it later."""
    return {key: value for key, value in asdict(command).items() if key not in ("run", "resume", "until", "device")}


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
    sentences = list(command.sentences) or (read_lines(command.file) if command.file else None)
    if sentences is not None:
        print_translations(model, tokenizer, sentences, command.decoding)
    elif sys.stdin.isatty():  # someone types: answer each line as it comes
        for line in sys.stdin:
            print_translations(model, tokenizer, [line.strip()], command.decoding)
    else:
        print_translations(model, tokenizer, read_standard_input(), command.decoding)


def read_standard_input() -> list[str]:
    """The lines of standard input; raises ValueError where they are not UTF-8."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"standard input is not UTF-8 text ({error.reason}); convert it with iconv -t utf-8"
        ) from error
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def print_translations(
    model: Transformer, tokenizer: Tokenizer, sentences: Sequence[str], decoding: DecodingConfig
) -> None:
    """Print the translations, and say on standard error which lines hold words that the model does not know."""
    for i, sentence in enumerate(sentences, 1):
        if UNK in tokenizer.encode(sentence):
            print(f"line {i} has words that are not in the model's vocabulary: {sentence}", file=sys.stderr)
    for translation in translate(model, tokenizer, sentences, decoding):
        print(one_line(translation), flush=True)


def one_line(text: str) -> str:
    """The text without line feeds, which a model is free to write, so that line n translates line n."""
    return text.replace("\n", " ")


def run_evaluate(command: Evaluate) -> None:
    """Print the scores of a model on one split."""
    if command.limit is not None and command.limit < 1:
        raise ValueError(f"limit is {command.limit}, expected at least 1 sentence")
    corpus = corpus_of(command)
    pairs = corpus[command.split][: command.limit]
    model, tokenizer = load(command.model, command.average, command.device)
    result = evaluate(model, tokenizer, pairs, command.decoding)
    print(f"{corpus.name} {corpus.source}→{corpus.target} {command.split}, {len(pairs):,} sentences")
    print(result.bleu)
    print(f"exact match {result.exact_match:.3f}")
    print(f"token accuracy {result.token_accuracy:.3f}")
    print(f"perplexity {result.perplexity:.2f}")
    if command.output:
        command.output.write_text("".join(one_line(text) + "\n" for text in result.translations), encoding="utf-8")


def corpus_of(command: Evaluate) -> Corpus:
    """The corpus to evaluate on: the one named, or the one that the run was trained on."""
    if command.corpus is not None:
        return load_corpus(command.corpus, command.source, command.target)
    for folder in (Path(command.model), *Path(command.model).resolve().parents[:2]):
        if (folder / "config.json").is_file() and "corpus" in (stored := read_json(folder / "config.json")):
            return load_corpus(stored["corpus"], stored["source"], stored["target"])
    if resolve(command.model).parent == SHIPPED:  # these are called CORPUS-SOURCE-TARGET
        return load_corpus(*command.model.split("-"))
    raise ValueError(f"{command.model} does not say which corpus it was trained on; name one with --corpus")


def run_bench(command: BenchConfig) -> None:
    """Measure speed on this machine, and print a table."""
    print(bench(command))


def parse(argv: Sequence[str]) -> Train | Translate | Evaluate | BenchConfig:
    """Read the command line; the flags are the fields of the dataclasses."""
    embedded = "--corpus=embedded" in argv or ("--corpus", "embedded") in itertools.pairwise(argv)
    recipe = EMBEDDED if embedded else Train()
    command = tyro.cli(
        Annotated[Train, tyro.conf.subcommand("train", default=recipe)]
        | Annotated[Translate, tyro.conf.subcommand("translate")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[BenchConfig, tyro.conf.subcommand("bench")],
        args=list(argv),
        prog="python -m transformer",
        description="Train, use and measure the model of Attention Is All You Need.",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return resumed(command, recipe) if isinstance(command, Train) and command.resume else command


def resumed(command: Train, recipe: Train) -> Train:
    """The settings that a run was started with; of the flags given now only --steps may differ from them.

    Raises ValueError for a flag that contradicts the run, CheckpointError where there is no run.
    """
    folder = command.folder()
    last_checkpoint(folder)
    stored = read_json(folder / "config.json")
    try:
        model, training = TransformerConfig(**stored.pop("model")), TrainingConfig(**stored.pop("training"))
        started = replace(command, **stored, model=model, training=replace(training, steps=command.training.steps))
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a run of this package: {error}") from error
    given, kept = flat(command), flat(started)
    default = flat(recipe) | {"corpus": Train.corpus}  # the recipe's own corpus was named by a flag
    for flag, value in given.items():
        if value not in (default[flag], kept[flag]):
            raise ValueError(
                f"--{flag.replace('_', '-')} {value} was given, but the run in {folder} was started with {kept[flag]}; "
                "leave the flag out, or start a new run"
            )
    return started if given["steps"] != default["steps"] else replace(started, training=training)


def flat(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass and of the dataclasses in it, as one dict."""
    values: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        values |= flat(value) if is_dataclass(value) else {item.name: value}
    return values


RUNNERS: dict[type, Callable[[Any], None]] = {
    Train: run_train,
    Translate: run_translate,
    Evaluate: run_evaluate,
    BenchConfig: run_bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 after an error that is explained on standard error, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    if list(argv) == ["--version"]:
        print(__version__)
        return 0
    try:
        command = parse(argv)
        RUNNERS[type(command)](command)
    except (ValueError, OSError, CheckpointError, CorpusUnavailable, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        print(str(interruption) or "stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # like the input, whatever the locale says
    sys.exit(main())
