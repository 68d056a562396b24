"""One process or several, such as one for each GPU, that train the same model: `torchrun -m -- transformer train`."""

import atexit
import os
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, reduce
from torch import Tensor
from torch.distributed import PrefixStore, is_initialized, rendezvous

from transformer.files import CheckpointError
from transformer.runs.device import choose_device


def _where_to_meet() -> dict[str, Any]:
    """Where the processes of one machine find each other's addresses; empty: where torchrun says.

    What torchrun keeps them in outlives the processes. Those that are started again would find the addresses of the
    dead there, so each start has a part of its own. Several machines may count their starts differently.
    """
    starts, all_here = os.environ.get("TORCHELASTIC_RESTART_COUNT"), os.environ.get("LOCAL_WORLD_SIZE")
    if starts is None or all_here == "1" or all_here != os.environ.get("WORLD_SIZE") or is_initialized():
        return {}
    store, rank, world_size = next(rendezvous("env://"))
    return {"store": PrefixStore(f"start {starts}", store), "rank": rank, "world_size": world_size}


def is_first() -> bool:
    """Whether this process speaks for all of a training: torchrun's number 0, or one that was started alone.

    `Processes.is_main` says the same once they have found each other.
    """
    return os.environ.get("RANK", "0") == "0"


class Processes:
    """All processes of a training, of which this one is number `index`; accelerate finds the others.

    Each makes every update together with the others, from its share of the batches. A process that is alone
    exchanges nothing.
    """

    def __init__(self, device: str | torch.device | None = None) -> None:
        device = choose_device(device)
        state = PartialState(cpu=device.type == "cpu", **_where_to_meet())
        self.count, self.index, self.is_main = state.num_processes, state.process_index, state.is_main_process
        self.device = state.device if self.count > 1 else device
        if self.count > 1:
            atexit.register(state.destroy_process_group)  # or its threads may outlive what they use, and abort the exit

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of every process's tensor, which all have the same shape."""
        return reduce(tensor, "sum") if self.count > 1 else tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in at least one of the processes."""
        return flag if self.count == 1 else bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def agree(self, number: int, what: str) -> None:
        """Raise CheckpointError, in all processes at once, where they know different numbers, from 0 on."""
        if self.count > 1:
            known = torch.zeros(self.count, dtype=torch.float64, device=self.device)  # (n,), one for each process
            known[self.index] = number
            found = [int(one) for one in self.sum(known).tolist()]
            if len(set(found)) > 1:
                raise CheckpointError(
                    f"the processes have {', '.join(map(str, found))} {what}, expected the same; they must see one and "
                    "the same folder of the run, on a disk that all machines share"
                )

    def synchronize(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Give all models the weights of the first one, and add up their gradients before each step of the optimiser.

        With equal weights and equal gradients, equal optimisers keep the weights equal.
        """
        if self.count > 1:
            parameters = list(model.parameters())
            for parameter in parameters:
                broadcast(parameter.data)
            optimizer.register_step_pre_hook(lambda *_: self._sum_gradients(parameters))

    def _sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes; all of them travel in one message."""
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]  # None: there was no batch left
        total = self.sum(torch.cat([gradient.flatten() for gradient in own]))
        for parameter, gradient in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)
