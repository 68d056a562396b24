"""Checkpoints: written whole or not at all, never unpickled, and damaged ones are refused by name."""

import ast
import errno
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from transformer import files
from transformer.files import (
    CheckpointError,
    best_checkpoint,
    checkpoint_folder,
    read_json,
    read_tensors,
    resolve,
    saved_checkpoints,
    write_folder,
    write_json,
)
from transformer.model import Transformer
from transformer.runs import run as run_module
from transformer.runs.checkpoints import average, load
from transformer.runs.loop import train
from transformer.runs.run import Run
from transformer.text.batches import Example
from transformer.text.tokenizer import Tokenizer
from transformer.training import TrainingConfig

PACKAGE = Path(files.__file__).parent
FILES = {"checksums.json", "config.json", "model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json"}
EXAMPLES: list[Example] = [([4, 5, 6], [6, 5, 4]), ([7, 8], [8, 7]), ([9], [9])]

Builder = Callable[..., Transformer]


MADE_WITH = {"bf16": False, "batches_per_update": 1}  # by `train_some`


def train_some(model: Transformer, run: Run, until: int = 2, **options: Any) -> None:
    """Train up to an update; every second one leaves a checkpoint."""
    config = TrainingConfig(steps=100, batch_size=2, warmup=2, peak_rate=1e-2, validate_every=2, precision="fp32")
    train(model, EXAMPLES, EXAMPLES, config, run, until=until, device="cpu", progress=False, **options)


@pytest.fixture
def run(tiny_model: Builder, tmp_path: Path) -> Run:
    """A training with one checkpoint, of update 2."""
    run = Run(tmp_path / "run", Tokenizer.words(["a b c"]))
    train_some(tiny_model(), run)
    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is saved comes back


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": False, "norm": "pre"}, {"positions": "learned"}], ids=str)
def test_loaded_model_computes_the_same(tiny_model: Builder, tmp_path: Path, changes: dict[str, Any]):
    model = tiny_model(**changes)
    model.save_pretrained(tmp_path)
    loaded = Transformer.from_pretrained(tmp_path)
    source, target = torch.randint(4, 11, (2, 5)), torch.randint(4, 11, (2, 7))
    assert loaded.config == model.config and not loaded.training
    assert torch.equal(loaded(source, target), model(source, target))


def test_tied_matrices_are_stored_once_and_tied_again(tiny_model: Builder, tmp_path: Path):
    tiny_model().save_pretrained(tmp_path)
    stored = sum(tensor.numel() for tensor in load_file(tmp_path / "model.safetensors").values())
    loaded = Transformer.from_pretrained(tmp_path)
    assert stored == sum(parameter.numel() for parameter in loaded.parameters())
    assert loaded.output.weight is loaded.source_embedding.weight


def test_checkpoint_is_complete_and_needs_no_pickle(run: Run):
    (checkpoint,) = saved_checkpoints(run.folder)
    assert {path.name for path in checkpoint.iterdir()} == FILES
    suffixes = {path.suffix for path in run.folder.rglob("*") if path.is_file() and path.name != "lock"}
    assert suffixes == {".json", ".jsonl", ".safetensors"}
    assert Tokenizer.load(checkpoint / "tokenizer.json").encode("b") == run.tokenizer.encode("b")


def test_package_unpickles_nothing():
    """No module imports what unpickles, and none calls the torch functions that do."""
    banned_modules, banned_names = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}, {"load_state"}
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                origin = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                assert not banned_modules & {name.split(".")[0] for name in origin}, module.name
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in {"torch.load", "np.load", "numpy.load"}, module.name
                assert node.attr not in banned_names, module.name


def test_model_can_be_meant_in_three_ways(run: Run, monkeypatch: pytest.MonkeyPatch):
    (checkpoint,) = saved_checkpoints(run.folder)
    assert resolve(run.folder) == resolve(str(checkpoint)) == checkpoint
    monkeypatch.setattr(files, "SHIPPED", checkpoint.parent)
    assert resolve(checkpoint.name) == resolve(f"{checkpoint.name}/") == checkpoint
    with pytest.raises(CheckpointError, match=rf"no model 'elsewhere', expected the folder .*{checkpoint.name}"):
        resolve("elsewhere")


def test_nameless_model_is_not_the_current_folder(run: Run, monkeypatch: pytest.MonkeyPatch):
    for folder in (run.folder, saved_checkpoints(run.folder)[0]):
        monkeypatch.chdir(folder)
        assert resolve(".").resolve() == saved_checkpoints(run.folder)[0]
        with pytest.raises(CheckpointError, match="no model '', expected the folder"):
            resolve("")


def test_run_without_checkpoints_is_said(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="holds no finished checkpoint, expected one under"):
        resolve(tmp_path)


def test_half_written_checkpoint_is_no_checkpoint(run: Run):
    shutil.copytree(saved_checkpoints(run.folder)[0], run.folder / "checkpoints" / "step-00000009.draft")
    assert [folder.name for folder in saved_checkpoints(run.folder)] == ["step-00000002"]


def test_best_checkpoint_that_is_gone_leaves_the_last(run: Run):
    write_json(run.folder / "best.json", {"checkpoint": "step-00000001", "val_nll": 0.0})
    with pytest.warns(UserWarning, match="it names 'step-00000001' .* the best one on record is used"):
        assert best_checkpoint(run.folder).name == "step-00000002"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b'{"checkpoint": "step-0', b"[2]", b"\xff\0", b"[" * 100_000),
        *(b'{"checkpoint": "../step-00000002", "val_nll": 1.0}', b'{"checkpoint": 2, "val_nll": 1.0}', b"{}"),
        *(b'{"checkpoint": "step-00000002", "val_nll": %s}' % nll for nll in (b"NaN", b"null", b'"1"', b"[]", b"-9")),
    ],
    ids=lambda content: content[:60].decode(errors="replace"),
)
def test_best_that_is_damaged_is_told_and_found_anew(run: Run, tiny_model: Builder, content: bytes):
    (run.folder / "best.json").write_bytes(content)
    with pytest.warns(
        UserWarning, match=r"best\.json does not tell which checkpoint is the best .*, expected the name"
    ):
        assert resolve(run.folder).name == "step-00000002"
    with pytest.warns(UserWarning, match="instead the best one on record is used"):
        train_some(tiny_model(), run, until=4, resume=True)
    losses = {found["step"]: found["val_nll"] for found in run.metrics() if "val_nll" in found}
    step, nll = min(losses.items(), key=lambda one: one[1])
    assert read_json(run.folder / "best.json") == {"checkpoint": f"step-{step:08d}", "val_nll": nll}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_run_whose_name_is_no_text_is_a_run_all_the_same(run: Run, tiny_model: Builder):
    folder = run.folder.rename(run.folder.with_name(os.fsdecode(b"caf\xe9")))
    train_some(tiny_model(), Run(folder, run.tokenizer, {"corpus": str(folder)}), until=4, resume=True)
    assert read_json(folder / "config.json") == {"corpus": str(folder)}
    last = saved_checkpoints(folder)[-1]
    assert Transformer.from_pretrained(last).config == tiny_model().config
    assert len(Tokenizer.from_pretrained(last)) == len(run.tokenizer)


# When saving fails


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def fail_at_call(n: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which finds the disk full at its n-th call."""
    calls = iter(range(1, n))
    return lambda *args, **options: function(*args, **options) if next(calls, None) else no_space()


def only_for_reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """`Path.open` on a full disk."""
    return lambda path, mode="r", *args, **options: (
        function(path, mode, *args, **options) if mode in ("r", "rb") else no_space()
    )


STAGES = {
    "making the folder": (Path, "mkdir", 1),
    "the model": (sys.modules["transformer.model"], "save_file", 1),
    "the tokeniser": (Tokenizer, "save", 1),
    "the optimiser": (run_module, "save_file", 1),
    "the first JSON file": (files, "replace_text", 1),
    "the second JSON file": (files, "replace_text", 2),
    "syncing the first file": (os, "fsync", 1),
    "syncing the last file": (os, "fsync", len(FILES)),
    "giving the folder its name": (Path, "rename", 1),
}


@pytest.mark.parametrize("stage", STAGES)
def test_checkpoint_that_cannot_be_written_harms_none_that_can_be_read(
    run: Run, tiny_model: Builder, monkeypatch: pytest.MonkeyPatch, stage: str
):
    before = contents(run.folder / "checkpoints")
    place, name, n = STAGES[stage]
    model, optimizer = tiny_model(), torch.optim.Adam([torch.zeros(1)])
    with monkeypatch.context() as disk_is_full:
        disk_is_full.setattr(place, name, fail_at_call(n, getattr(place, name)))
        with pytest.raises(CheckpointError, match=r"could not save .*step-00000004 .*No space.* intact.* resume from"):
            run.save(model, optimizer, step=4, keep_last=1, made_with=MADE_WITH)
    assert contents(run.folder / "checkpoints") == before
    train_some(tiny_model(), run, until=4, resume=True)  # with room again, it goes on
    assert read_json(saved_checkpoints(run.folder)[-1] / "state.json") == {"step": 4} | MADE_WITH


def test_attempt_that_was_cut_off_does_not_hinder_the_next(run: Run, tiny_model: Builder):
    draft = run.folder / "checkpoints" / "step-00000004.draft"
    draft.mkdir()
    (draft / "model.safetensors").write_bytes(b"half")
    train_some(tiny_model(), run, until=4, resume=True)
    assert {path.name for path in saved_checkpoints(run.folder)[-1].iterdir()} == FILES
    assert not draft.exists()


def test_what_was_cut_off_is_cleared_when_the_run_goes_on(run: Run, tiny_model: Builder):
    """Also of an update that never comes again, such as the one that Ctrl-C stopped at."""
    for name in ("step-00000003.draft", "step-00000001.deleted"):
        (run.folder / "checkpoints" / name).mkdir()
    train_some(tiny_model(), run, until=2, resume=True)
    assert [path.name for path in (run.folder / "checkpoints").iterdir()] == ["step-00000002"]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch], ids=["folder", "file"])
def test_empty_checkpoint_is_not_gone_on_from(run: Run, tiny_model: Builder, make: Callable[[Path], None]):
    stray = run.folder / "checkpoints" / "step-00000099"
    make(stray)
    with pytest.raises(CheckpointError, match=r"state\.json is missing.* delete .*step-00000099 to go on from"):
        train_some(tiny_model(), run, until=4, resume=True)


def test_checkpoint_is_never_written_over(tmp_path: Path):
    write_folder(tmp_path / "one", lambda draft: write_json(draft / "config.json", {"first": True}))
    with pytest.raises(CheckpointError, match="could not save"):
        write_folder(tmp_path / "one", lambda draft: write_json(draft / "config.json", {"first": False}))
    assert contents(tmp_path) == contents(tmp_path) | {"one/config.json": b'{\n  "first": true\n}\n'}
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_file_in_the_place_of_the_folder_is_said(run: Run, tiny_model: Builder, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CheckpointError, match=r"could not write to .*file.* choose a folder that is writable"):
        train_some(tiny_model(), Run(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few users make links")
@pytest.mark.parametrize("name", ["file", "file/run", "link", "loop"])
def test_place_that_can_be_no_folder_is_said_without_advice_on_checkpoints(
    tiny_model: Builder, tmp_path: Path, name: str
):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CheckpointError, match=r"could not write to .*(file|link|loop) is a file or a link") as error:
        train_some(tiny_model(), Run(tmp_path / name))
    assert "intact" not in str(error.value)


def test_folder_that_became_a_file_stops_the_training_with_its_checkpoints_whole(run: Run, tiny_model: Builder):
    before = contents(run.folder / "checkpoints")
    (run.folder / "checkpoints" / "step-00000004.draft").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"could not save .*step-00000004"):
        train_some(tiny_model(), run, until=4, resume=True)
    assert contents(run.folder / "checkpoints") | before == contents(run.folder / "checkpoints")
    assert [folder.name for folder in saved_checkpoints(run.folder)] == ["step-00000002"]


@pytest.mark.parametrize(
    ("method", "write"),
    [
        ("open", lambda run: run.record({"step": 3, "loss": 1.0})),
        ("write_text", lambda run: run.note_best(2, -1.0)),
        ("write_text", lambda run: run.go_on(0)),
    ],
    ids=["a record", "the best", "the records on resuming"],
)
def test_record_that_cannot_be_written_is_said_and_harms_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, method: str, write: Callable[[Run], None]
):
    before = contents(run.folder)
    with monkeypatch.context() as disk_is_full:
        disk_is_full.setattr(Path, method, no_space if method == "write_text" else only_for_reading(Path.open))
        with pytest.raises(CheckpointError, match=r"could not write to .*No space.* intact: resume from the last one"):
            write(run)
    assert contents(run.folder) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 600 kB, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount") if sys.platform == "linux" and os.geteuid() == 0 else None
    mounting = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True)
    if not mounting or mounting.returncode != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_disk_that_fills_up_leaves_the_checkpoints_that_fitted(small_disk: Path, tiny_model: Builder):
    run = Run(small_disk / "run", Tokenizer.words(["a b c"]))
    with pytest.raises(CheckpointError, match=r"No space left|os error 28|Disk quota"):
        train_some(tiny_model(), run, until=100)
    saved = saved_checkpoints(run.folder)
    assert saved, "the disk must hold at least one"
    for checkpoint in saved:
        assert {path.name for path in checkpoint.iterdir()} == FILES
        Transformer.from_pretrained(checkpoint)
    roomy, done = small_disk.parent / "roomy", read_json(saved[-1] / "state.json")["step"]
    shutil.copytree(run.folder, roomy)
    train_some(tiny_model(), Run(roomy), until=done + 2, resume=True)
    assert read_json(saved_checkpoints(roomy)[-1] / "state.json") == {"step": done + 2} | MADE_WITH


# Damaged, foreign, incomplete


def use(run: Run, file: str, tiny_model: Builder) -> None:
    """Do what needs the file of a checkpoint: load the model, or go on with the training."""
    if file == "config.json":
        Transformer.from_pretrained(run.folder)
    else:
        train_some(tiny_model(), run, until=4, resume=True)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_truncated_tensors_are_refused(run: Run, tiny_model: Builder, file: str, share: float):
    path = saved_checkpoints(run.folder)[0] / file
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=rf"{file} is not a complete safetensors file .*cut off or damaged"):
        train_some(tiny_model(), run, until=4, resume=True)


@pytest.mark.parametrize("content", [b"\x80\x04N.", b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60, b"{}"], ids=str)
def test_foreign_weights_are_refused(run: Run, content: bytes):
    (saved_checkpoints(run.folder)[0] / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a complete safetensors file"):
        Transformer.from_pretrained(run.folder)


def test_weights_of_another_program_are_refused(run: Run):
    save_file({"wte.weight": torch.zeros(2, 2)}, saved_checkpoints(run.folder)[0] / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"another configuration: .* is nothing, expected \("):
        Transformer.from_pretrained(run.folder)


DAMAGED_JSON = {
    "deep": b"[" * 100_000,
    "empty": b"",
    "cut off": b'{"d_model": 16',
    "no text": b"\xff\xfe",
    "list": b"[16]",
    "null": b"null",
}


@pytest.mark.parametrize("damage", DAMAGED_JSON)
@pytest.mark.parametrize("file", ["config.json", "state.json"])
def test_damaged_json_is_refused_by_name(run: Run, tiny_model: Builder, file: str, damage: str):
    (saved_checkpoints(run.folder)[0] / file).write_bytes(DAMAGED_JSON[damage])
    with pytest.raises(CheckpointError, match=rf"{file} (is not valid JSON|holds a)"):
        use(run, file, tiny_model)


@pytest.mark.parametrize("content", [{}, *({"step": step} for step in (None, "two", True, -5, 0, 120, 2.0))], ids=str)
def test_state_that_does_not_say_where_to_go_on_is_refused(run: Run, tiny_model: Builder, content: dict[str, Any]):
    write_json(saved_checkpoints(run.folder)[0] / "state.json", content)
    before = contents(run.folder)
    with pytest.raises(CheckpointError, match=r"state\.json has step .*, expected the number of an update, 2 as"):
        train_some(tiny_model(), run, until=4, resume=True)
    assert contents(run.folder) == before


@pytest.mark.parametrize("file", sorted(FILES - {"checksums.json", "tokenizer.json"}))
def test_missing_file_is_named(run: Run, tiny_model: Builder, file: str):
    (saved_checkpoints(run.folder)[0] / file).unlink()
    with pytest.raises(CheckpointError, match=rf"{file} is missing"):
        use(run, file, tiny_model)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"d_model": 32}, r"another configuration: .* is \(.*16.*\), expected \(.*32.*\)"),
        ({"n_layers": 3}, r"another configuration: .*layers\.2.* is nothing, expected \("),
        ({"n_layers": 1}, r"another configuration: .*layers\.1.* is \(.*\), expected nothing"),
        ({"colour": "red"}, "colour"),
        ({"n_heads": 0}, "n_heads is 0"),
        ({"d_model": "wide"}, r"config\.json"),
        ({"n_heads": 3}, "divisible"),
        ({"n_layers": 2.0}, r"config\.json does not describe .*: n_layers is 2\.0, expected a whole number"),
        ({"n_heads": True}, "n_heads is True, expected a whole number"),
        ({"d_k": [8]}, r"d_k is \[8\], expected a whole number"),
        ({"dropout": "0.1"}, "dropout is '0.1', expected a number"),
        ({"tie_embeddings": "no"}, "tie_embeddings is 'no', expected true or false"),
    ],
    ids=str,
)
def test_configuration_that_does_not_fit_is_refused(run: Run, changes: dict[str, Any], complaint: str):
    path = saved_checkpoints(run.folder)[0] / "config.json"
    write_json(path, read_json(path) | changes)
    with pytest.raises(CheckpointError, match=complaint):
        Transformer.from_pretrained(run.folder)


def test_optimiser_of_another_run_is_refused(run: Run, tiny_model: Builder):
    path = saved_checkpoints(run.folder)[0] / "optimizer.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"elsewhere/step": torch.zeros(())}, path)
    with pytest.raises(
        CheckpointError, match=rf"{path} knows a parameter 'elsewhere' that the model has not.*start a new"
    ):
        train_some(tiny_model(), run, until=4, resume=True)
    bias = "encoder.layers.0.feed_forward."
    save_file({name: tensor for name, tensor in tensors.items() if bias not in name}, path)
    assert len(load_file(path)) < len(tensors)
    with pytest.raises(CheckpointError, match=rf"{path} lacks the parameter '{bias}.*, or start a new run"):
        train_some(tiny_model(), run, until=4, resume=True)


OF_SHAPE = r"of shape .*, expected floating-point numbers of shape \(32, 16\)"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda tensor: tensor.flatten()[:-1], OF_SHAPE),
        (lambda tensor: tensor[None], OF_SHAPE),
        (lambda tensor: tensor.int(), OF_SHAPE),
        (lambda tensor: torch.full_like(tensor, math.nan), "with NaN or infinite numbers, expected finite ones"),
    ],
    ids=["shorter", "one dimension more", "whole numbers", "no numbers"],
)
@pytest.mark.parametrize("moment", ["exp_avg", "exp_avg_sq"])
def test_damaged_moments_are_refused(run: Run, tiny_model: Builder, damage: Callable[..., Any], said: str, moment: str):
    """They had ended as a loss that is no number, and as the advice to lower the learning rate."""
    path = saved_checkpoints(run.folder)[0] / "optimizer.safetensors"
    tensors, key = load_file(path), f"encoder.layers.0.feed_forward.inner.weight/{moment}"
    save_file(tensors | {key: damage(tensors[key]).contiguous()}, path)
    with pytest.raises(CheckpointError, match=rf"{path} has {key} {said}; it is damaged, start a new run"):
        train_some(tiny_model(), run, until=4, resume=True)
    save_file({name: tensor for name, tensor in tensors.items() if name != key}, path)
    with pytest.raises(CheckpointError, match=r"lacks the parameter 'encoder\.layers\.0\.feed_forward\.inner\.weight'"):
        train_some(tiny_model(), run, until=4, resume=True)


@pytest.mark.parametrize(
    ("moment", "value", "expected"),
    [("step", 2.5, "2, the update"), ("step", -2.0, "2, the update"), ("exp_avg_sq", -1.0, "squares, 0 or more")],
)
def test_moments_that_no_training_computes_are_refused(
    run: Run, tiny_model: Builder, moment: str, value: float, expected: str
):
    path = saved_checkpoints(run.folder)[0] / "optimizer.safetensors"
    tensors, key = load_file(path), f"encoder.layers.0.feed_forward.inner.weight/{moment}"
    save_file(tensors | {key: torch.full_like(tensors[key], value)}, path)
    (path.parent / "checksums.json").unlink()
    with pytest.raises(
        CheckpointError, match=rf"{moment} with {value:g}, expected {expected}.* it is damaged, start a new run"
    ):
        train_some(tiny_model(), run, until=4, resume=True)


def test_training_with_frozen_parameters_goes_on(tiny_model: Builder, tmp_path: Path):
    def half_frozen() -> Transformer:
        torch.manual_seed(3)
        model = tiny_model()
        model.encoder.requires_grad_(False)
        return model

    halved, whole, model = Run(tmp_path / "halved"), Run(tmp_path / "whole"), half_frozen()
    train_some(half_frozen(), whole, until=4)
    train_some(half_frozen(), halved, until=2)
    train_some(model, halved, until=4, resume=True)
    one, other = (load_file(saved_checkpoints(run.folder)[-1] / "model.safetensors") for run in (halved, whole))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    frozen, fresh = half_frozen().encoder.state_dict(), model.encoder.state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in frozen.items())
    with pytest.raises(CheckpointError, match=r"lacks the parameter 'encoder.*, or was frozen there"):
        train_some(tiny_model(), halved, until=6, resume=True)


DAMAGED_LINES = [
    "",
    "{",
    '{"loss": 1.0}',
    "[2]",
    "null",
    '{"step": "two"}',
    '{"step": true}',
    "\udcff\udcfe",
    "[" * 100_000,
]


@pytest.mark.parametrize("line", DAMAGED_LINES, ids=lambda line: ascii(line[:20]))
def test_line_that_is_no_record_stops_no_training(run: Run, tiny_model: Builder, line: str):
    """It is named, and the file is kept; the checkpoints are whole."""
    path, before = run.folder / "metrics.jsonl", run.metrics()
    content = line.encode(errors="surrogateescape") + b"\n" + path.read_bytes()
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"metrics\.jsonl is damaged in line 1, expected a JSON object .*; left out"):
        assert run.metrics() == before
    with pytest.warns(UserWarning, match="is damaged in line 1, "):
        train_some(tiny_model(), run, until=4, resume=True)
    assert run.metrics()[: len(before)] == before
    assert (run.folder / "metrics.jsonl.damaged").read_bytes() == content


# A folder that is something else


@pytest.mark.parametrize(
    "names", [["config.json", "model.safetensors"], ["metrics.jsonl"], ["best.json"], ["a thesis"]]
)
@pytest.mark.parametrize("with_checkpoints", [False, True])
def test_folder_of_something_else_is_left_alone(
    tiny_model: Builder, tmp_path: Path, names: list[str], with_checkpoints: bool
):
    for name in names:
        (tmp_path / name).write_text("dear to somebody")
    if with_checkpoints:  # as other programs call them
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "epoch-1.pt").write_text("dear, too")
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"is no run, it holds .*; a training would write over .* Choose a new"):
        train_some(tiny_model(), Run(tmp_path))
    assert contents(tmp_path) == before


def test_checkpoints_of_another_program_are_left_alone(tiny_model: Builder, tmp_path: Path):
    (tmp_path / "checkpoints" / "step-1000").mkdir(parents=True)
    (tmp_path / "config.json").write_text('{"mine": 1}')
    with pytest.raises(CheckpointError, match="is no run, it holds step-1000"):
        train_some(tiny_model(), Run(tmp_path))
    assert (tmp_path / "config.json").read_text() == '{"mine": 1}'


def test_training_that_died_before_its_first_checkpoint_can_be_started_anew(tiny_model: Builder, tmp_path: Path):
    (tmp_path / "checkpoints" / "step-00000002.draft").mkdir(parents=True)
    for name in ("config.json", "metrics.jsonl", "best.json.draft"):
        (tmp_path / name).write_text("{}")
    train_some(tiny_model(), Run(tmp_path))
    assert [folder.name for folder in saved_checkpoints(tmp_path)] == ["step-00000002"]


def test_weights_that_do_not_fit_leave_the_model_as_it_was(tiny_model: Builder):
    model, other = tiny_model(), tiny_model(d_ff=64)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(CheckpointError, match="another configuration"):
        model.load_weights(dict(other.named_parameters()))
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])
def test_weights_that_are_no_finite_numbers_are_refused(run: Run, tiny_model: Builder, value: float):
    """The last one is finite, and is not in float32."""
    path = saved_checkpoints(run.folder)[0] / "model.safetensors"
    tensors = {name: tensor.double() for name, tensor in load_file(path).items()}
    name = sorted(tensors)[3]
    tensors[name].flatten()[2] = value
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=rf"step-00000002 holds NaN or infinite numbers in {name}, expected fin"):
        Transformer.from_pretrained(run.folder)
    with pytest.raises(CheckpointError, match="holds NaN or infinite numbers"):
        train_some(tiny_model(), run, until=4, resume=True)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.int64], ids=str)
def test_weights_that_are_whole_numbers_are_refused(run: Run, dtype: torch.dtype):
    path = saved_checkpoints(run.folder)[0] / "model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)
    with pytest.raises(CheckpointError, match=rf"holds numbers of type {dtype} in .*, expected finite weights"):
        Transformer.from_pretrained(run.folder)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 1  # of a number that is finite still; the last one counts the updates of the optimiser
    path.write_bytes(content)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "config.json": lambda path: write_json(path, read_json(path) | {"n_heads": 4}),
    "model.safetensors": flip_a_bit,
    "optimizer.safetensors": flip_a_bit,
    "tokenizer.json": lambda path: Tokenizer.words(["c c c b b a"]).save(path),
}
"""what fits all the same, and makes nonsense of a model"""


@pytest.mark.parametrize("file", CHANGES)
def test_file_that_was_changed_is_refused_unless_that_is_meant(run: Run, tiny_model: Builder, file: str):
    (checkpoint,) = saved_checkpoints(run.folder)

    def load_all() -> None:
        Transformer.from_pretrained(run.folder)
        Tokenizer.from_pretrained(run.folder)

    before = (checkpoint / file).read_bytes()
    CHANGES[file](checkpoint / file)
    assert (checkpoint / file).read_bytes() != before
    with pytest.raises(CheckpointError, match=rf"step-00000002/{file} is not as it was saved.*delete checksums"):
        load_all()
        train_some(tiny_model(), run, until=4, resume=True)
    (checkpoint / "checksums.json").unlink()
    load_all()
    if file in ("config.json", "tokenizer.json"):  # the run would go on with another one
        with pytest.raises(CheckpointError, match=r"step-00000002.*(n_heads 4, expected 2|is another tokenizer)"):
            train_some(tiny_model(), run, until=4, resume=True)
    else:
        train_some(tiny_model(), run, until=4, resume=True)


# The mean of several


def test_average_is_the_mean(run: Run, tiny_model: Builder):
    train_some(tiny_model(), run, until=6, resume=True)
    saved = saved_checkpoints(run.folder)
    weights = [read_tensors(checkpoint / "model.safetensors") for checkpoint in saved]
    mean = average(saved)
    assert len(saved) == 3 and mean.keys() == weights[0].keys()
    for name, tensor in mean.items():
        expected = torch.stack([one[name] for one in weights]).double().mean(0)
        torch.testing.assert_close(tensor.double(), expected, rtol=0, atol=1e-7)
        assert tensor.dtype == torch.float32
    tiny_model().load_weights(mean)


def test_average_of_one_is_itself(run: Run):
    saved = saved_checkpoints(run.folder)
    expected = read_tensors(saved[0] / "model.safetensors")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in average(saved).items())


@pytest.mark.parametrize("changes", [{"d_ff": 64}, {"n_layers": 1}, {"tie_embeddings": False}], ids=str)
def test_average_of_different_models_is_refused(tiny_model: Builder, tmp_path: Path, changes: dict[str, Any]):
    folders = [checkpoint_folder(tmp_path, step) for step in (1, 2)]
    for folder, model in zip(folders, [tiny_model(), tiny_model(**changes)], strict=True):
        folder.mkdir(parents=True)
        model.save_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"step-00000002 is of another model than .*step-00000001"):
        average(folders)


@pytest.mark.parametrize("n", [1.5, "2", True, math.nan])
def test_number_to_average_is_a_whole_one(run: Run, n: Any):
    with pytest.raises(TypeError, match=f"average_last is {n!r}, expected a whole number"):
        load(run.folder, n)


def test_average_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no checkpoints to average"):
        average([])


def test_json_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_json(tmp_path / "a.json", {"text": "schön"})
    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        write_json(tmp_path / "a.json", {"text": "new"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"text": "schön"}
