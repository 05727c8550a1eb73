"""Machine types and accelerators of Vertex AI: what goes together.

https://cloud.google.com/vertex-ai/docs/predictions/configure-compute and
https://cloud.google.com/vertex-ai/docs/training/configure-compute. Families that are not listed here may have come
since; Google judges those.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from edge_tasks.errors import ConfigError

_FROM_2_TO_96 = (2, 4, 8, 16, 32, 64, 96)
_N2 = (2, 4, 8, 16, 32, 48, 64, 80, 96, 128)
_C2D = (2, 4, 8, 16, 32, 56, 112)

_SIZES = {
    "n1-standard": _FROM_2_TO_96,
    "n1-highmem": _FROM_2_TO_96,
    "n1-highcpu": _FROM_2_TO_96,
    "e2-standard": (2, 4, 8, 16, 32),
    "e2-highmem": (2, 4, 8, 16),
    "e2-highcpu": (2, 4, 8, 16, 32),
    "n2-standard": _N2,
    "n2-highmem": _N2,
    "n2-highcpu": (2, 4, 8, 16, 32, 48, 64, 80, 96),
    "n2d-standard": (2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224),
    "n2d-highmem": (2, 4, 8, 16, 32, 48, 64, 80, 96),
    "n2d-highcpu": (2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224),
    "c2-standard": (4, 8, 16, 30, 60),
    "c2d-standard": _C2D,
    "c2d-highmem": _C2D,
    "c2d-highcpu": _C2D,
    "c3-highcpu": (4, 8, 22, 44, 88, 176),
    "g2-standard": (4, 8, 12, 16, 24, 32, 48, 96),
}

# Accelerator-optimized machines: the accelerator that is built in, and how many (fewer may be asked for).
_BUILT_IN = {
    "a2-highgpu-1g": ("NVIDIA_TESLA_A100", 1),
    "a2-highgpu-2g": ("NVIDIA_TESLA_A100", 2),
    "a2-highgpu-4g": ("NVIDIA_TESLA_A100", 4),
    "a2-highgpu-8g": ("NVIDIA_TESLA_A100", 8),
    "a2-megagpu-16g": ("NVIDIA_TESLA_A100", 16),
    "a2-ultragpu-1g": ("NVIDIA_A100_80GB", 1),
    "a2-ultragpu-2g": ("NVIDIA_A100_80GB", 2),
    "a2-ultragpu-4g": ("NVIDIA_A100_80GB", 4),
    "a2-ultragpu-8g": ("NVIDIA_A100_80GB", 8),
    "a3-highgpu-1g": ("NVIDIA_H100_80GB", 1),
    "a3-highgpu-2g": ("NVIDIA_H100_80GB", 2),
    "a3-highgpu-4g": ("NVIDIA_H100_80GB", 4),
    "a3-highgpu-8g": ("NVIDIA_H100_80GB", 8),
    "a3-megagpu-8g": ("NVIDIA_H100_MEGA_80GB", 8),
    "a3-ultragpu-8g": ("NVIDIA_H200_141GB", 8),
    "a4-highgpu-8g": ("NVIDIA_B200", 8),
    **{f"g2-standard-{size}": ("NVIDIA_L4", 1) for size in (4, 8, 12, 16, 32)},
    "g2-standard-24": ("NVIDIA_L4", 2),
    "g2-standard-48": ("NVIDIA_L4", 4),
    "g2-standard-96": ("NVIDIA_L4", 8),
}

# What may be added to N1 machines, and how many of it.
_FOR_N1 = {
    "NVIDIA_TESLA_T4": (1, 2, 4),
    "NVIDIA_TESLA_P4": (1, 2, 4),
    "NVIDIA_TESLA_P100": (1, 2, 4),
    "NVIDIA_TESLA_V100": (1, 2, 4, 8),
}

# GB of memory for each CPU, and of the machines that are made for accelerators: CPUs and GB.
# https://cloud.google.com/compute/docs/machine-resource
_MEMORY = {
    "n1-standard": 3.75,
    "n1-highmem": 6.5,
    "n1-highcpu": 0.9,
    "c3-highcpu": 2.0,
    "c2-standard": 4.0,
    **{f"{family}-standard": 4.0 for family in ("e2", "n2", "n2d", "c2d", "g2")},
    **{f"{family}-highmem": 8.0 for family in ("e2", "n2", "n2d", "c2d")},
    **{f"{family}-highcpu": 1.0 for family in ("e2", "n2", "n2d")},
    "c2d-highcpu": 2.0,
}
_ACCELERATED = {
    **{f"a2-highgpu-{count}g": (12 * count, 85.0 * count) for count in (1, 2, 4, 8)},
    "a2-megagpu-16g": (96, 1360.0),
    **{f"a2-ultragpu-{count}g": (12 * count, 170.0 * count) for count in (1, 2, 4, 8)},
    **{f"a3-highgpu-{count}g": (26 * count, 234.0 * count) for count in (1, 2, 4, 8)},
}

_NAMES = [*(f"{series}-{size}" for series, sizes in _SIZES.items() for size in sizes), *_BUILT_IN]
_FAMILIES = {name.partition("-")[0] for name in _NAMES}


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


def check_machine(key: str, machine_type: str, accelerator: str | None, count: int) -> None:
    """Raise ConfigError when there is no such machine, or the accelerator does not go with it.

    `key` is where it is written, such as `models.digits.serving_machine_type`.
    """
    family = machine_type.partition("-")[0]
    if family not in _FAMILIES:
        return
    if machine_type not in _NAMES:
        near = difflib.get_close_matches(machine_type, _NAMES, n=1)
        raise ConfigError(
            f"`{key}` is `{machine_type}`, which is not a machine type of Vertex AI",
            f"did you mean `{near[0]}`?" if near else f"use one of {', '.join(_of_family(family))}",
        )
    _check_accelerator(key, machine_type, accelerator, count)


def _check_accelerator(key: str, machine_type: str, accelerator: str | None, count: int) -> None:
    accelerator_key = key.replace("machine_type", "accelerator_type")
    if machine_type in _BUILT_IN:
        built_in, most = _BUILT_IN[machine_type]
        if accelerator != built_in or count > most:
            raise ConfigError(
                f"`{machine_type}` has {_asked(built_in, most)} built in, `{accelerator_key}` asks for "
                f"{_asked(accelerator, count)}",
                f"{accelerator_key.rpartition('.')[2]}: {built_in}, with a count of at most {most}",
            )
    elif accelerator is not None and not machine_type.startswith("n1-"):
        raise ConfigError(
            f"no accelerator can be added to `{machine_type}`",
            f"use an n1 machine, or remove `{accelerator_key}`",
        )
    elif accelerator is not None and count not in _FOR_N1.get(accelerator, ()):
        known = "; ".join(f"{name}: {', '.join(map(str, counts))}" for name, counts in _FOR_N1.items())
        raise ConfigError(
            f"{_asked(accelerator, count)} cannot be added to `{machine_type}`", f"what goes with n1 machines: {known}"
        )


def _asked(accelerator: str | None, count: int) -> str:
    return f"{count} {accelerator}" if accelerator else "none"


def _of_family(family: str) -> list[str]:
    return [name for name in _NAMES if name.startswith(f"{family}-")]
