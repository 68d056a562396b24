"""Where the computation runs, and in which number format."""

import os
import timeit
from functools import cache

import torch


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, or `$TRANSFORMER_DEVICE`, or the best there is: cuda, then mps, then cpu.

    Raises ValueError for a device that PyTorch does not know or that this machine does not have.
    """
    wanted = device or os.environ.get("TRANSFORMER_DEVICE") or None  # empty is not set
    if wanted is None:
        return next(torch.device(kind) for kind in ("cuda", "mps", "cpu") if _available(kind))
    try:
        chosen = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(
            f"device {wanted!r} is unknown, expected for example 'cpu', 'cuda', 'cuda:1' or 'mps'"
        ) from error
    if not _available(chosen.type) or (chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()):
        asked = "" if device else ", which $TRANSFORMER_DEVICE asks for,"
        raise ValueError(
            f"device {str(chosen)!r}{asked} is not available here; use 'cpu', or leave the choice to the program"
        )
    return chosen


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the CPU's random numbers, and those of the device.

    `torch.manual_seed` also seeds GPUs that are not in use, and notes for each which lines called it: a millisecond,
    which is too long for every update.
    """
    (torch.default_generator if device.type == "cpu" else torch).manual_seed(seed)


def _available(kind: str) -> bool:
    checks = {"cpu": lambda: True, "cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    return kind in checks and checks[kind]()


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies matrices faster in bfloat16 than in float32.

    A GPU does where bfloat16 is built in. A CPU with instructions for it may (an EPYC took .45 of the time) or may not
    (a Xeon without units for matrices took 1.8 times as long), so there it is tried, once.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of torch do not tell what a CPU can do, which then stays at fp32.
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return bool(has.get("amx_bf16") or has.get("avx512_bf16")) and bf16_gain() > 1.25
    return False


@cache
def bf16_gain() -> float:
    """How many times as long a CPU takes for a product of matrices in float32 as in bfloat16, the shortest of five."""
    single, half = (_seconds_of_a_product(dtype) for dtype in (torch.float32, torch.bfloat16))
    return single / half


def _seconds_of_a_product(dtype: torch.dtype) -> float:
    matrix, other = torch.ones(512, 160, dtype=dtype), torch.ones(160, 2_048, dtype=dtype)
    return min(timeit.repeat(lambda: matrix @ other, number=1, repeat=5))
