"""Machine types and accelerators of Vertex AI: what goes together.

https://cloud.google.com/vertex-ai/docs/training/configure-compute and
https://cloud.google.com/vertex-ai/docs/predictions/configure-compute, which list other machines each. Families that
neither lists may have come since; Google judges those.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edge_tasks.domain.prices import PREDICTION, TRAINING, Machine
from edge_tasks.errors import ConfigError

_FROM_2_TO_32 = (2, 4, 8, 16, 32)
_N4 = (2, 4, 8, 16, 32, 48, 64, 80)
_N2 = (2, 4, 8, 16, 32, 48, 64, 80, 96, 128)
_N2D = (2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224)
_C2 = (4, 8, 16, 30, 60)
_C2D = (2, 4, 8, 16, 32, 56, 112)

# The CPUs of each series. `emulator.services.machines` has the same: it imports nothing of ours.
_SIZES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    TRAINING: {
        "n1-standard": (4, 8, 16, 32, 64, 96),
        "n1-highmem": (2, 4, 8, 16, 32, 64, 96),
        "n1-highcpu": (16, 32, 64, 96),
        "e2-standard": (4, 8, 16, 32),
        "e2-highmem": (2, 4, 8, 16),
        "e2-highcpu": (16, 32),
        "n2-standard": (4, 8, 16, 32, 48, 64, 80),
        "n2-highmem": (2, 4, 8, 16, 32, 48, 64, 80),
        "n2-highcpu": (16, 32, 48, 64, 80),
        "n4-standard": _N4,
        "n4-highmem": _N4,
        "n4-highcpu": _N4,
        "c2-standard": _C2,
        "m1-ultramem": (40, 80, 160),
        "m1-megamem": (96,),
    },
    PREDICTION: {
        "n1-standard": _FROM_2_TO_32,
        "n1-highmem": _FROM_2_TO_32,
        "n1-highcpu": _FROM_2_TO_32,
        "e2-standard": _FROM_2_TO_32,
        "e2-highmem": (2, 4, 8, 16),
        "e2-highcpu": _FROM_2_TO_32,
        "n2-standard": _N2,
        "n2-highmem": _N2,
        "n2-highcpu": (2, 4, 8, 16, 32, 48, 64, 80, 96),
        "n2d-standard": _N2D,
        "n2d-highmem": (2, 4, 8, 16, 32, 48, 64, 80, 96),
        "n2d-highcpu": _N2D,
        "c2-standard": _C2,
        "c2d-standard": _C2D,
        "c2d-highmem": _C2D,
        "c2d-highcpu": _C2D,
        "c3-highcpu": (4, 8, 22, 44, 88, 176),
    },
}

# Accelerator-optimized machines: the accelerator that is built in, and how many.
_BUILT_IN = {
    **{f"a2-highgpu-{count}g": ("NVIDIA_TESLA_A100", count) for count in (1, 2, 4, 8)},
    "a2-megagpu-16g": ("NVIDIA_TESLA_A100", 16),
    **{f"a2-ultragpu-{count}g": ("NVIDIA_A100_80GB", count) for count in (1, 2, 4, 8)},
    **{f"a3-highgpu-{count}g": ("NVIDIA_H100_80GB", count) for count in (1, 2, 4, 8)},
    "a3-edgegpu-8g": ("NVIDIA_H100_80GB", 8),
    "a3-megagpu-8g": ("NVIDIA_H100_MEGA_80GB", 8),
    "a3-ultragpu-8g": ("NVIDIA_H200_141GB", 8),
    "a4-highgpu-8g": ("NVIDIA_B200", 8),
    "a4x-highgpu-4g": ("NVIDIA_GB200", 4),
    **{f"g2-standard-{size}": ("NVIDIA_L4", 1) for size in (4, 8, 12, 16, 32)},
    "g2-standard-24": ("NVIDIA_L4", 2),
    "g2-standard-48": ("NVIDIA_L4", 4),
    "g2-standard-96": ("NVIDIA_L4", 8),
    **{f"g4-standard-{48 * count}": ("NVIDIA_RTX_PRO_6000", count) for count in (1, 2, 4, 8)},
}
_ONLY = {"a3-megagpu-8g": TRAINING, "a3-edgegpu-8g": PREDICTION}

# What may be added to N1 machines: how many, for machines of up to so many CPUs.
_T4 = {16: (1, 2, 4), 32: (2, 4), 96: (4,)}
_FOR_N1: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    "NVIDIA_TESLA_T4": _T4,
    "NVIDIA_TESLA_P4": _T4,
    "NVIDIA_TESLA_P100": {16: (1, 2, 4), 32: (2, 4), 64: (4,)},
    "NVIDIA_TESLA_V100": {8: (1, 2, 4, 8), 16: (2, 4, 8), 32: (4, 8), 96: (8,)},
}
# Their memory is more than what four P100 may have.
_TOO_LARGE_FOR_P100 = ("n1-standard-64", "n1-highmem-64")

# GB of memory for each CPU, and of the machines that are made for accelerators: CPUs and GB.
# https://cloud.google.com/compute/docs/machine-resource
_MEMORY = {
    "n1-standard": 3.75,
    "n1-highmem": 6.5,
    "n1-highcpu": 0.9,
    "c3-highcpu": 2.0,
    "c2-standard": 4.0,
    **{f"{family}-standard": 4.0 for family in ("e2", "n2", "n2d", "n4", "c2d", "g2")},
    **{f"{family}-highmem": 8.0 for family in ("e2", "n2", "n2d", "n4", "c2d")},
    **{f"{family}-highcpu": 1.0 for family in ("e2", "n2", "n2d")},
    "c2d-highcpu": 2.0,
}
_ACCELERATED = {
    **{f"a2-highgpu-{count}g": (12 * count, 85.0 * count) for count in (1, 2, 4, 8)},
    "a2-megagpu-16g": (96, 1360.0),
    **{f"a2-ultragpu-{count}g": (12 * count, 170.0 * count) for count in (1, 2, 4, 8)},
    **{f"a3-highgpu-{count}g": (26 * count, 234.0 * count) for count in (1, 2, 4, 8)},
}

_USES = {TRAINING: "training", PREDICTION: "serving"}
_FAMILIES = {name.partition("-")[0] for name in (*_SIZES[TRAINING], *_SIZES[PREDICTION], *_BUILT_IN)}


def machine_spec(machine_type: str, accelerator: str | None, count: int) -> dict[str, str | int]:
    """Return the MachineSpec: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/MachineSpec."""
    if accelerator is None:
        return {"machine_type": machine_type}
    return {"machine_type": machine_type, "accelerator_type": accelerator, "accelerator_count": count}


@dataclass(frozen=True)
class Resources:
    """What a machine has: CPUs, memory in GB, accelerators."""

    cpus: int
    memory: float
    accelerator: str | None = None
    accelerator_count: int = 0


def resources(machine_type: str, accelerator: str | None, count: int) -> Resources | None:
    """Return what a machine has; None for one whose size is not known here."""
    series, _, size = machine_type.rpartition("-")
    if machine_type in _ACCELERATED:
        cpus, memory = _ACCELERATED[machine_type]
    elif series in _MEMORY and size.isdecimal():
        cpus, memory = int(size), int(size) * _MEMORY[series]
    else:
        return None
    return Resources(cpus, memory, accelerator, count if accelerator else 0)


def machine_types(use: str) -> Iterator[str]:
    """Yield the machine types of Vertex AI for `use`, TRAINING or PREDICTION."""
    for series, sizes in _SIZES[use].items():
        yield from (f"{series}-{size}" for size in sizes)
    yield from (name for name in _BUILT_IN if _ONLY.get(name, use) == use)


def check_machine(key: str, machine: Machine) -> None:
    """Raise ConfigError when Vertex AI has no such machine for its use, or the accelerator does not go with it.

    `key` is where it is written, such as `models.digits.serving_machine_type`.
    """
    name = machine.machine_type
    family = name.partition("-")[0]
    if family not in _FAMILIES:
        return
    names = list(machine_types(machine.use))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        of_family = [other for other in names if other.startswith(f"{family}-")]
        raise ConfigError(
            f"`{key}` is `{name}`, which is not a machine type of Vertex AI for {_USES[machine.use]}",
            f"did you mean `{near[0]}`?" if near else f"use one of {', '.join(of_family or names)}",
        )
    _check_accelerator(key, machine)


def _check_accelerator(key: str, machine: Machine) -> None:
    name, accelerator, count = machine.machine_type, machine.accelerator_type, machine.accelerator_count
    accelerator_key = key.replace("machine_type", "accelerator_type")
    if name in _BUILT_IN:
        built_in, most = _BUILT_IN[name]
        # Replicas of a model may share a machine.
        fits = count == most if machine.use == TRAINING else count <= most
        if accelerator != built_in or not fits:
            raise ConfigError(
                f"`{name}` has {_asked(built_in, most)} built in, `{accelerator_key}` asks for "
                f"{_asked(accelerator, count)}",
                f"{accelerator_key.rpartition('.')[2]}: {built_in}, with a count of "
                f"{most if machine.use == TRAINING else f'at most {most}'}",
            )
    elif accelerator is not None and not name.startswith("n1-"):
        raise ConfigError(
            f"no accelerator can be added to `{name}`",
            f"use an n1 machine, or remove `{accelerator_key}`",
        )
    elif accelerator is not None and count not in _addable(name, accelerator):
        addable = {other: _addable(name, other) for other in _FOR_N1}
        known = "; ".join(f"{other}: {', '.join(map(str, counts))}" for other, counts in addable.items() if counts)
        raise ConfigError(
            f"{_asked(accelerator, count)} cannot be added to `{name}`", f"what goes with `{name}`: {known}"
        )


def _addable(name: str, accelerator: str) -> tuple[int, ...]:
    """Return how many of an accelerator may be added to an N1 machine."""
    if accelerator == "NVIDIA_TESLA_P100" and name in _TOO_LARGE_FOR_P100:
        return ()
    cpus = int(name.rpartition("-")[2])
    counts = _FOR_N1.get(accelerator, {})
    return next((counts[most] for most in sorted(counts) if cpus <= most), ())


def _asked(accelerator: str | None, count: int) -> str:
    return f"{count} {accelerator}" if accelerator else "none"
