"""Machines and their disks: which there are, and which accelerators go with them.

https://cloud.google.com/vertex-ai/docs/training/configure-compute and
https://cloud.google.com/vertex-ai/docs/predictions/configure-compute, which list other machines each. A series that
neither lists may have come since: it is accepted if it is named as machine types are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid, invalid_field

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message


class Use(Enum):
    """What a machine does: it runs a job's replica, or a model server."""

    TRAINING = "training"
    SERVING = "serving"


_NAME = re.compile(r"[a-z]+[0-9]+[a-z]*(-[a-z0-9]+)+")
_FROM_2_TO_32 = (2, 4, 8, 16, 32)
_N4 = (2, 4, 8, 16, 32, 48, 64, 80)
_N2 = (2, 4, 8, 16, 32, 48, 64, 80, 96, 128)
_N2D = (2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224)
_C2 = (4, 8, 16, 30, 60)
_C2D = (2, 4, 8, 16, 32, 56, 112)

# The CPUs of each series. `edge_tasks.domain.machines` has the same; a test compares them.
_SIZES: Mapping[Use, Mapping[str, tuple[int, ...]]] = {
    Use.TRAINING: {
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
    Use.SERVING: {
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

# The accelerator that is built in, and how many.
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
_ONLY = {"a3-megagpu-8g": Use.TRAINING, "a3-edgegpu-8g": Use.SERVING}

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
# TPUs of the first kinds are accelerators of this machine; later ones have their own machine types.
_CLOUD_TPU = "cloud-tpu"
_TPUS = ("TPU_V2", "TPU_V3")

_FAMILIES = {name.partition("-")[0] for name in (*_SIZES[Use.TRAINING], *_SIZES[Use.SERVING], *_BUILT_IN, _CLOUD_TPU)}

# https://cloud.google.com/vertex-ai/docs/training/configure-compute#boot_disk_options
_DISKS = ("pd-ssd", "pd-standard", "hyperdisk-balanced")
_WITH_HYPERDISK = ("a3-ultragpu-8g", "a4-highgpu-8g")
SMALLEST_DISK, LARGEST_DISK = 100, 64_000


def check_machine(machine: Message, field: str, use: Use) -> None:
    """Refuse a machine that Vertex AI does not have for a use, and accelerators that do not go with it."""
    name = machine.machine_type
    if not name:
        raise invalid(f"{field}.machine_type is required.")
    if machine.accelerator_count < 0 or bool(machine.accelerator_count) != bool(machine.accelerator_type):
        # In Google's words: https://github.com/prefect-archive/prefect-gcp/issues/175.
        raise invalid_field(
            f"{field}.accelerator_type", "Both `accelerator_type` and `accelerator_count` should be specified or none."
        )
    if not _exists(name, use):
        # In Google's words: https://cloud.google.com/vertex-ai/docs/general/troubleshooting.
        raise invalid(f'Machine type "{name}" is not supported.')
    if name.partition("-")[0] in _FAMILIES:
        _check_accelerator(machine, field, use)


def machine_with(accelerator: str, count: int) -> str:
    """Return a machine that has so many of an accelerator, for who asks for that alone."""
    return next((name for name, built_in in _BUILT_IN.items() if built_in == (accelerator, count)), "n1-standard-4")


def check_disk(disk: Message, field: str) -> None:
    """Refuse a boot disk of a type or a size that Vertex AI does not have; what is not set has a default."""
    if disk.boot_disk_type and disk.boot_disk_type not in _DISKS:
        raise invalid(f"{field}.boot_disk_type is {disk.boot_disk_type!r}, which is not one of {', '.join(_DISKS)}.")
    if disk.boot_disk_size_gb and not SMALLEST_DISK <= disk.boot_disk_size_gb <= LARGEST_DISK:
        raise invalid(
            f"{field}.boot_disk_size_gb is {disk.boot_disk_size_gb}: it must be from {SMALLEST_DISK} to {LARGEST_DISK}."
        )


def complete_disk(disk: Message, machine_type: str) -> None:
    """Fill in the disk that a machine has when nothing else is asked for."""
    disk.boot_disk_type = disk.boot_disk_type or _DISKS[2 if machine_type in _WITH_HYPERDISK else 0]
    disk.boot_disk_size_gb = disk.boot_disk_size_gb or SMALLEST_DISK


def _exists(name: str, use: Use) -> bool:
    if name in _BUILT_IN:
        return _ONLY.get(name, use) is use
    if name == _CLOUD_TPU:
        return use is Use.TRAINING
    series, _, size = name.rpartition("-")
    if name.partition("-")[0] in _FAMILIES:
        return size in map(str, _SIZES[use].get(series, ()))
    return _NAME.fullmatch(name) is not None


def _check_accelerator(machine: Message, field: str, use: Use) -> None:
    name, count = machine.machine_type, machine.accelerator_count
    accelerator = _accelerator(machine) if machine.accelerator_type else ""
    if not accelerator:
        # A model server gets what is built into its machine all the same.
        if use is Use.TRAINING and (name in _BUILT_IN or name == _CLOUD_TPU):
            needs = _BUILT_IN[name][0] if name in _BUILT_IN else " or ".join(_TPUS)
            raise invalid(f"{field}.machine_type {name} must be used with {needs}: set accelerator_type and _count.")
        return
    counts = _counts(name, accelerator, use)
    if not counts:
        # In Google's words: https://github.com/hashicorp/terraform-provider-google/issues/18931.
        raise invalid(f'Accelerator "{accelerator}" is not supported for machine type "{name}"')
    # A machine whose accelerators are divided has one of a part's size.
    if count not in counts and not getattr(machine, "gpu_partition_size", ""):
        shown = ", ".join(map(str, counts))
        raise invalid(f"{field}.accelerator_count is {count}; {name} can have {shown} of {accelerator}.")


def _counts(name: str, accelerator: str, use: Use) -> tuple[int, ...]:
    """Return how many of an accelerator a machine may have; none when it does not go with it."""
    if name == _CLOUD_TPU:
        return (8, *range(32, 4097, 32)) if accelerator in _TPUS else ()
    if name in _BUILT_IN:
        built_in, most = _BUILT_IN[name]
        if accelerator != built_in:
            return ()
        # Replicas of a model may share a machine.
        return (most,) if use is Use.TRAINING else tuple(range(1, most + 1))
    if not name.startswith("n1-") or (accelerator == "NVIDIA_TESLA_P100" and name in _TOO_LARGE_FOR_P100):
        return ()
    counts = _FOR_N1.get(accelerator, {})
    cpus = int(name.rpartition("-")[2])
    return next((counts[most] for most in sorted(counts) if cpus <= most), ())


def _accelerator(machine: Message) -> str:
    """Return the name of the accelerator; its number when the API has no name for it."""
    values = machine.DESCRIPTOR.fields_by_name["accelerator_type"].enum_type.values_by_number
    number = machine.accelerator_type
    return str(values[number].name if number in values else number)
