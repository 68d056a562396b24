"""Several processes train the same model as one: the same batches, the same weights, the same history."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

import transformer
from transformer.config import TransformerConfig
from transformer.files import CheckpointError, checkpoint_folder, saved_checkpoints
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
    learn(folder / "handed", **CASES["odd"], dtype=torch.float32, until=3)
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
    finish(torchrun("--standalone", "--nproc-per-node=2", script, folder))
    return folder


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def torchrun(*arguments: object) -> subprocess.Popen:
    """Start what stands behind `torchrun` on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--local-addr=127.0.0.1"]
    paths = [str(Path(transformer.__file__).parents[1]), str(Path(__file__).parent)]
    return subprocess.Popen(
        [*launcher, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Wait for the end of a process, which must be a good one; what it has printed."""
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-4_000:]
    return output


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


def test_run_of_two_processes_goes_on_in_one(two_processes: Path, tmp_path: Path):
    alone = CASES["odd"] | {"accumulate": 2 * CASES["odd"]["accumulate"], "dtype": torch.float32}
    learn(tmp_path, **alone)
    learn(two_processes / "handed", **alone, resume=True)
    handed, whole = (weights(folder / "weights-0.json") for folder in (two_processes / "handed", tmp_path))
    torch.testing.assert_close(handed, whole, rtol=0, atol=1e-3)


def test_processes_that_share_no_folder_say_so_at_once(two_processes: Path):
    """One that waits for the others would wait for ever."""
    for rank in (0, 1):
        text = (two_processes / f"apart-{rank}.txt").read_text()
        assert "have 7, 0 updates made before, expected the same; they must see one and the same folder" in text
    assert not (two_processes / "elsewhere").exists()


# Two machines, and workers that are killed


def test_two_machines_learn_what_one_process_learns(tmp_path: Path):
    """Imitated by two agents on this one, which find each other by the network."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path; from test_distributed import CASES, learn\n"
        "learn(Path(sys.argv[1]), **CASES['odd'])\n"
    )
    folder = tmp_path / "together"
    meeting = ("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--rdzv-id=test")
    agents = [torchrun("--nnodes=2", "--nproc-per-node=1", *meeting, script, folder) for _ in "ab"]
    for agent in agents:
        finish(agent)
    learn(tmp_path / "alone", **CASES["odd"] | {"accumulate": 2})
    for rank in (0, 1):
        together, alone = weights(folder / f"weights-{rank}.json"), weights(tmp_path / "alone" / "weights-0.json")
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


TRAINING = """
train --start-or-resume --steps 60 --validate-every 10 --log-every 10 --warmup 20 --dropout 0.2
--batch-tokens 60 --tokenizer words --d-model 16 --n-layers 1 --n-heads 2 --d-ff 32 --precision fp32 --device cpu
"""


def train_under_torchrun(
    corpus: Path, run: Path, disturb: Callable[[subprocess.Popen], None]
) -> dict[str, torch.Tensor]:
    """Two workers that are started again up to three times; what they have learnt in the end."""
    restarts = ["--standalone", "--max-restarts=3", "--monitor-interval=0.2", "--nproc-per-node=2"]
    agent = torchrun(*restarts, "-m", "--", "transformer", *TRAINING.split(), "--corpus", corpus, "--run", run)
    disturb(agent)
    assert finish(agent).count("done; ") == 1, "the first process alone tells"
    last = saved_checkpoints(run)[-1]
    assert last.name == "step-00000060"
    return load_file(last / "model.safetensors") | load_file(last / "optimizer.safetensors")


def workers(agent: subprocess.Popen) -> list[psutil.Process]:
    """The training processes that an agent has started."""
    found = psutil.Process(agent.pid).children(recursive=True)
    return [process for process in found if "--start-or-resume" in process.cmdline()]


def kill_when(ready: Callable[[], bool], which: int) -> Callable[[subprocess.Popen], None]:
    """Kills a worker, as the system does that runs out of memory, as soon as `ready` says so."""

    def disturb(agent: subprocess.Popen) -> None:
        while not (ready() and len(workers(agent)) == 2):
            assert agent.poll() is None, "the training ended before"
            time.sleep(0.02)
        workers(agent)[which].kill()

    return disturb


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    for split, n in (("train", 200), ("val", 5)):
        rng = random.Random(n)
        lines = [" ".join(rng.choices("abcdefgh", k=rng.randint(1, 6))) for _ in range(n)]
        for side in ("en", "de"):
            (folder / f"{split}.{side}").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return train_under_torchrun(corpus, tmp_path_factory.mktemp("runs") / "whole", lambda agent: None)


@pytest.mark.parametrize(("after", "which"), [(None, 0), (20, 1)])
def test_killed_worker_is_started_again_and_goes_on(
    corpus: Path, undisturbed: dict[str, torch.Tensor], tmp_path: Path, after: int | None, which: int
):
    """By torchrun's own means, with one and the same command, from the very first start on."""
    run = tmp_path / "run"
    begun = run / "lock" if after is None else checkpoint_folder(run, after)
    learnt = train_under_torchrun(corpus, run, kill_when(begun.exists, which))
    assert learnt.keys() == undisturbed.keys()
    assert all(torch.equal(tensor, undisturbed[name]) for name, tensor in learnt.items())
