"""What all tests share: one thread, one seed, and models small enough to build for every test."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from transformer.config import TransformerConfig
from transformer.model import Transformer

pytest_plugins = ["tools.clock"]

torch.set_num_threads(1)  # sums in one order, and no quarrel over cores between processes
# The same examples on every machine; no deadline, for a first call may have to load a kernel.
hypothesis.settings.register_profile("repeatable", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("repeatable")


# Files with minutes of work in few tests, the longest first; by itself pytest-xdist begins with those of many tests.
LONGEST = ("test_exercises", "test_colab", "test_your_own", "test_distributed", "test_chapters")


class TorchRandom:
    """Lets Hypothesis seed PyTorch before every example, so that a failure can be replayed."""

    seed = staticmethod(torch.default_generator.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


TORCH_RANDOM = TorchRandom()  # Hypothesis holds it weakly
hypothesis.register_random(TORCH_RANDOM)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that at the end no processor waits for one that began late.

    Let a module's coverage come from the tests that bear its name; in all others, counting only costs time.
    """
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    counted = {f"test_{Path(module).stem}" for module in settings["tool"]["coverage"]["run"]["include"]}
    for item in items:
        if item.path.stem not in counted:
            item.add_marker("no_cover")


@pytest.fixture(scope="session", autouse=True)
def encoded_texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where encoded texts are kept while tests run, which leave nothing in the user's cache."""
    folder = tmp_path_factory.mktemp("encoded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFORMER_ENCODED", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test starts from the same random state, in whatever order and company it runs."""
    torch.default_generator.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Transformer]:
    """Builds a small model in evaluation mode, with changes to its configuration.

    All its parameters are random, gains and biases included: where they are 1 and 0, mistakes can hide. Unless they
    are to be those that a training starts from.
    """

    def build(fresh: bool = False, **changes: Any) -> Transformer:
        sizes = {"vocab_size": 11, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 32, "max_len": 16}
        model = Transformer(TransformerConfig(**{**sizes, **changes})).eval()
        for parameter in () if fresh else model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return model

    return build
