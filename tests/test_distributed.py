"""Several processes train the same model as one: the same batches, the same weights, the same history."""

import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import transformer
from transformer.config import TransformerConfig
from transformer.files import CheckpointError, saved_checkpoints
from transformer.model import Transformer
from transformer.runs.loop import train
from transformer.runs.run import Run
from transformer.text.batches import Example
from transformer.training import TrainingConfig, batches_of_updates

pytestmark = pytest.mark.slow

# A position table of 2 rows has to grow, and grows to other lengths in another process.
CASES: dict[str, dict[str, Any]] = {
    "even": {"batch_size": 3, "accumulate": 1},  # 4 batches an epoch
    "odd": {"batch_size": 4, "accumulate": 1},  # 3 batches: at the end of the epoch one process has none
    "accumulated": {"batch_size": 1, "accumulate": 3},
    "by tokens": {"batch_size": None, "batch_tokens": 20, "accumulate": 2},
}
RESUMED = {"batch_size": 4, "accumulate": 1, "dropout": 0.3, "dtype": torch.float32}  # as checkpoints are

EVERY_PROCESS = """
import sys
from pathlib import Path
from test_distributed import learn_all
learn_all(Path(sys.argv[1]))
"""


def make_examples(n: int) -> list[Example]:
    rng = random.Random(n)
    sentences = [[rng.randrange(4, 13) for _ in range(rng.randint(1, 7))] for _ in range(n)]
    return [(sentence, sentence[::-1]) for sentence in sentences]


def learn(
    folder: Path,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float64,
    resume: bool = False,
    until: int | None = None,
    **changes: Any,
) -> None:
    """Seven updates, which is more than an epoch, in as many processes as there are; kept in the folder.

    In float64, since Adam magnifies what is nothing but rounding: the gradient of the keys' biases.
    """
    torch.manual_seed(7)
    sizes = {"vocab_size": 13, "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32, "max_len": 2}
    model = Transformer(TransformerConfig(**sizes, dropout=dropout)).to(dtype)
    rates = {"steps": 7, "warmup": 2, "peak_rate": 1e-2, "precision": "fp32", "log_every": 1, "validate_every": 100}
    config = TrainingConfig(**rates, **changes)
    train(model, make_examples(12), make_examples(3), config, Run(folder), resume, until, device="cpu", progress=False)
    weights = {name: parameter.tolist() for name, parameter in model.named_parameters()}
    rank = os.environ.get("RANK", "0")
    (folder / f"weights-{rank}.json").write_text(json.dumps(weights))


def learn_all(folder: Path) -> None:
    """What each of the processes does."""
    torch.set_num_threads(1)
    if os.environ["RANK"] != "0":
        monkey = pytest.MonkeyPatch()
        for writing in ("start", "go_on", "record", "save", "note_best"):
            monkey.delattr(Run, writing)  # one process writes, and the others need not even know how
    for name, changes in CASES.items():
        learn(folder / name, **changes)
    learn(folder / "whole", **RESUMED)
    learn(folder / "halved", **RESUMED, until=3)
    learn(folder / "halved", **RESUMED, resume=True)
    is_main = os.environ["RANK"] == "0"  # the other has a folder of its own, as on a machine that shares none
    with pytest.raises(CheckpointError) as error:
        learn(folder / ("halved" if is_main else "elsewhere"), **RESUMED, resume=is_main)
    (folder / f"apart-{os.environ['RANK']}.txt").write_text(str(error.value))


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes, joined by gloo on this machine, have left what they learnt."""
    folder = tmp_path_factory.mktemp("two")
    script = folder / "script.py"
    script.write_text(EVERY_PROCESS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    paths = [str(Path(transformer.__file__).parents[1]), str(Path(__file__).parent)]
    done = subprocess.run(
        [*launcher, f"--master-port={port}", str(script), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return folder


def weights(file: Path) -> dict[str, torch.Tensor]:
    stored = json.loads(file.read_text())
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in stored.items()}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_learns(two_processes: Path, tmp_path: Path, case: str):
    alone = CASES[case] | {"accumulate": 2 * CASES[case]["accumulate"]}
    learn(tmp_path, **alone)
    for rank in (0, 1):
        together = weights(two_processes / case / f"weights-{rank}.json")
        torch.testing.assert_close(together, weights(tmp_path / "weights-0.json"), rtol=0, atol=1e-9)


def test_one_case_leaves_a_process_without_a_batch():
    """Or the test above would not see what happens then."""
    config = TrainingConfig(**CASES["odd"])
    updates = batches_of_updates(make_examples(12), config, n_processes=2)
    assert [len(next(updates)) for _ in range(4)] == [2, 1, 2, 1]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_report_the_loss_of_all_their_tokens(two_processes: Path, tmp_path: Path, case: str):
    learn(tmp_path, **CASES[case] | {"accumulate": 2 * CASES[case]["accumulate"]})
    alone, together = (
        [(record["step"], record["loss"]) for record in Run(folder).metrics() if "loss" in record]
        for folder in (tmp_path, two_processes / case)
    )
    assert [step for step, _ in together] == list(range(1, 8)), "one process keeps the records"
    assert together == [(step, pytest.approx(loss, rel=1e-6)) for step, loss in alone]


def test_two_processes_resume_bit_for_bit(two_processes: Path):
    whole, halved = (saved_checkpoints(two_processes / name)[-1] for name in ("whole", "halved"))
    for file in ("model.safetensors", "optimizer.safetensors"):
        one, other = load_file(whole / file), load_file(halved / file)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_processes_that_share_no_folder_say_so_at_once(two_processes: Path):
    """One that waits for the others would wait for ever."""
    for rank in (0, 1):
        text = (two_processes / f"apart-{rank}.txt").read_text()
        assert "have 7, 0 updates made before, expected the same; they must see one and the same folder" in text
    assert not (two_processes / "elsewhere").exists()
