"""What one inference costs before anyone measures it: energy and money.

These are estimates from counts.  They say what a design needs, not what a machine takes: that is measured
(`utils/measure/timing.py`).
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

# --- energy ---------------------------------------------------------------------------------------------

#: Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, figure 1.1.9: 45 nm, 0.9 V.
#: Picojoules of one multiplication and one addition.  An 8-bit product is added to a 32-bit sum.
PICOJOULES_PER_MAC = {"float32": 3.7 + 0.9, "float16": 1.1 + 0.4, "int32": 3.1 + 0.1, "int8": 0.2 + 0.1}

#: The same source: picojoules to read 64 bits, smallest and largest (caches of 8 kB and of 1 MB; DRAM).
PICOJOULES_PER_64_BITS = {"cache": (10.0, 100.0), "dram": (1300.0, 2600.0)}


@dataclass(frozen=True)
class Energy:
    """An estimate of the energy of one inference, in joules."""

    low: float
    high: float
    arithmetic: float

    @property
    def memory(self) -> tuple[float, float]:
        """Joules for moving the bytes, low and high."""
        return self.low - self.arithmetic, self.high - self.arithmetic


def energy_per_inference(macs: int, bytes_moved: int, dtype: str = "float32", memory: str = "dram") -> Energy:
    """Estimate joules for arithmetic and memory traffic from published figures for 45 nm.

    E = MACs · E(multiply + add) + bytes / 8 · E(64 bits), with Horowitz's table (ISSCC 2014).  It leaves out fetching
    and decoding instructions, leakage and the rest of the device, so a processor uses several times more; newer
    chips use less for each operation.  Ratios between two models are worth more than the figures.

    macs: multiply-accumulates, at least 0.
    bytes_moved: bytes read and written: at least the parameters once, if they do not stay in a cache.
    dtype: "float32", "float16", "int32" or "int8", of the multiplied numbers.
    memory: "dram", or "cache" if everything fits on the chip.
    Returns Energy, from the smallest to the largest figure of the memory.
    """
    for name, value in (("macs", macs), ("bytes_moved", bytes_moved)):
        _check_number(name, value)
    _check_choice("dtype", dtype, PICOJOULES_PER_MAC)
    _check_choice("memory", memory, PICOJOULES_PER_64_BITS)
    arithmetic = macs * PICOJOULES_PER_MAC[dtype] * 1e-12
    low, high = (bytes_moved / 8 * each * 1e-12 for each in PICOJOULES_PER_64_BITS[memory])
    return Energy(arithmetic + low, arithmetic + high, arithmetic)


# --- money ----------------------------------------------------------------------------------------------


def cost_per_million(seconds: float, price_per_core_hour: float, *, cores: int = 1, utilization: float = 1.0) -> float:
    """Price of a million inferences on rented processors, in the currency of the price.

    10⁶ · seconds · cores / 3600 · price / utilization

    seconds: of one inference, measured on such a core; above 0.
    price_per_core_hour: what the provider asks for a core and hour.
    cores: that one inference keeps busy.
    utilization: share of the paid time in which requests arrive, in (0, 1].
    """
    _check_number("seconds", seconds)
    _check_number("price_per_core_hour", price_per_core_hour)
    if seconds == 0:
        raise ValueError("seconds=0; pass the measured time of one inference")
    if isinstance(cores, bool) or not isinstance(cores, numbers.Integral) or cores < 1:
        raise ValueError(f"cores={cores!r}; pass a whole number from 1")
    _check_number("utilization", utilization)
    if not 0 < utilization <= 1:
        raise ValueError(f"utilization={utilization!r}; pass a share above 0, at most 1")
    return 1e6 * seconds * cores / 3600 * price_per_core_hour / utilization


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={value!r}; pass a number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name}={value!r}; pass a finite number, at least 0")


def _check_choice(name: str, value: str, choices: Any) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; pass one of {', '.join(map(repr, choices))}")
