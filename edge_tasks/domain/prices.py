"""What an hour of a machine costs on Vertex AI, by Google's list prices. No price is ever guessed.

Google prices cores and gigabytes of memory, not machine types: a machine's price is their sum, for training with a fee
on top. The prices come from the Cloud Billing Catalog API (`edge_tasks.cloud.price_catalog`), whose entries (SKUs) are
told apart by their descriptions, such as `Vertex AI: Online/Batch Prediction N1 Predefined Instance Core running in
Iowa`. What does not match exactly one of them has no price.

https://cloud.google.com/billing/docs/reference/rest/v1/services.skus/list and
https://cloud.google.com/vertex-ai/pricing
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FORMAT_VERSION = 1

PREDICTION, TRAINING = "prediction", "training"

# What is shown for an amount that is not known.
UNKNOWN = "?"

# How descriptions of what is priced begin, and whether it must be there. `{}` is the part of the machine.
_CORE, _MEMORY = "Core", "Ram"
_FAMILY_PATTERNS = {
    PREDICTION: (("Vertex AI: Online/Batch Prediction {family}( Predefined)? Instance {part} running in ", True),),
    TRAINING: (
        ("Vertex AI: Training/Pipelines on {family}( Predefined)? Instance {part}( running)? in ", True),
        ("Vertex AI: Training/Pipelines Management fee on {family}( Predefined)? Instance {part} in ", False),
    ),
}
_ACCELERATOR_PATTERNS = {
    PREDICTION: (("Vertex AI: Online/Batch Prediction {accelerator}( GPU)? running in ", True),),
    TRAINING: (
        ("Vertex AI: Training/Pipelines on {accelerator}( GPU)?( running)? in ", True),
        ("Vertex AI: Training/Pipelines Management fee on {accelerator}( GPU)? in ", False),
    ),
}

# Gigabytes of memory for each core. https://cloud.google.com/compute/docs/machine-resource
_MEMORY_PER_CORE = {
    "n1-standard": 3.75,
    "n1-highmem": 6.5,
    "n1-highcpu": 0.9,
    "e2-standard": 4.0,
    "e2-highmem": 8.0,
    "e2-highcpu": 1.0,
    "n2-standard": 4.0,
    "n2-highmem": 8.0,
    "n2-highcpu": 1.0,
    "n2d-standard": 4.0,
    "n2d-highmem": 8.0,
    "n2d-highcpu": 1.0,
    "c2-standard": 4.0,
    "c2d-standard": 4.0,
    "c2d-highmem": 8.0,
    "c2d-highcpu": 2.0,
    "c3-highcpu": 2.0,
    "g2-standard": 4.0,
}
# Cores and gigabytes of machines that are sold by their accelerators: for each of these.
_BY_ACCELERATOR = {"a2-highgpu": (12, 85.0), "a2-ultragpu": (12, 170.0), "a3-highgpu": (26, 234.0)}


class Price(BaseModel):
    """One entry of the catalog: the price of an hour of a core, a gigabyte or an accelerator."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: str
    description: str
    amount: float = Field(ge=0, allow_inf_nan=False)


class PriceList(BaseModel):
    """The list prices of one region on one day."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = FORMAT_VERSION
    region: str
    currency: str
    fetched: date
    source: str
    prices: tuple[Price, ...]

    @classmethod
    def from_json(cls, text: str) -> PriceList | None:
        """Read a saved list; None for what is not one of this version."""
        try:
            found = cls.model_validate_json(text)
        except ValidationError:
            return None
        return found if found.format_version == FORMAT_VERSION else None


@dataclass(frozen=True)
class Machine:
    """Machines of one kind: for what, which, and how many."""

    use: str
    machine_type: str
    accelerator_type: str | None = None
    accelerator_count: int = 1
    count: int = 1
    spot: bool = False  # which Google may take away, at another price

    def __str__(self) -> str:
        """Return it for people, such as `2 n1-standard-4 with 1 NVIDIA_TESLA_T4`."""
        with_accelerators = f" with {self.accelerator_count} {self.accelerator_type}" if self.accelerator_type else ""
        return f"{self.count} {self.machine_type}{with_accelerators}{' (spot)' if self.spot else ''}"


@dataclass(frozen=True)
class Use:
    """Machines, and for how many hours they ran."""

    machine: Machine
    hours: float


def read_sku(sku: Mapping[str, Any], region: str) -> Price | None:
    """Return the price of an entry of the catalog; None when it is of another region, or not of an hour.

    Raises ValueError, KeyError or TypeError for an entry that is not built as Google documents it.
    """
    if region not in sku["serviceRegions"] or not sku["pricingInfo"]:
        return None
    expression = sku["pricingInfo"][-1]["pricingExpression"]
    rates = expression["tieredRates"]
    if expression["usageUnit"] not in ("h", "GiBy.h", "GBy.h") or len(rates) != 1:
        return None
    unit = rates[0]["unitPrice"]
    return Price(
        sku=sku["skuId"],
        description=sku["description"],
        amount=int(unit.get("units") or 0) + int(unit.get("nanos") or 0) / 1e9,
    )


def of_vertex(prices: Iterable[Price]) -> tuple[Price, ...]:
    """Return those prices that machines are made of."""
    begins = ("vertex ai: online/batch prediction ", "vertex ai: training/pipelines ")
    return tuple(price for price in prices if price.description.lower().startswith(begins))


def hourly(prices: PriceList, machine: Machine) -> float | None:
    """Return what an hour of the machines costs; None when not all of it has exactly one price.

    Spot machines have none: what they cost changes with what is left over.
    """
    known = shape(machine)
    if known is None or machine.spot:
        return None
    cores, memory = known
    family = machine.machine_type.partition("-")[0]
    total = 0.0
    for quantity, part in ((cores, _CORE), (memory, _MEMORY)):
        amount = _sum(prices, _FAMILY_PATTERNS[machine.use], {"family": family, "part": part})
        if amount is None:
            return None
        total += quantity * amount
    if machine.accelerator_type:
        name = machine.accelerator_type.replace("_", " ")
        amount = _sum(prices, _ACCELERATOR_PATTERNS[machine.use], {"accelerator": name})
        if amount is None:
            return None
        total += machine.accelerator_count * amount
    return total * machine.count


def total(prices: PriceList, uses: Iterable[Use]) -> float | None:
    """Return what was used cost; None when a part of it has no price."""
    amounts = [None if (amount := hourly(prices, use.machine)) is None else use.hours * amount for use in uses]
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def amounts(found: Mapping[str, float | None], prices: PriceList | None) -> dict[str, Any]:
    """Return amounts of money as plain JSON, with what they rest on; null without a price."""
    rounded = {name: None if amount is None else round(amount, 4) for name, amount in found.items()}
    basis = {"currency": prices.currency, "prices_of": prices.fetched.isoformat()} if prices else {}
    return {**rounded, **basis}


def money(amount: float | None, prices: PriceList | None) -> str:
    """Return an amount for people; `?` without a price."""
    if amount is None or prices is None:
        return UNKNOWN
    shown = f"{amount:,.2f}" if amount >= 0.005 or amount == 0 else "<0.01"
    return f"{shown} {prices.currency}"


def note(prices: PriceList) -> str:
    """Return what amounts of money rest on."""
    return f"list prices of {prices.fetched} in {prices.region}, without discounts"


def shape(machine: Machine) -> tuple[float, float] | None:
    """Return cores and gigabytes of one machine; None when they are not known."""
    series, _, size = machine.machine_type.rpartition("-")
    if series in _MEMORY_PER_CORE and size.isdigit():
        return int(size), int(size) * _MEMORY_PER_CORE[series]
    accelerators = re.fullmatch(r"(\d+)g", size)
    if series in _BY_ACCELERATOR and accelerators:
        cores, memory = _BY_ACCELERATOR[series]
        return cores * int(accelerators[1]), memory * int(accelerators[1])
    return None


def _sum(prices: PriceList, patterns: Iterable[tuple[str, bool]], words: Mapping[str, str]) -> float | None:
    """Add up what the patterns find; None when one that must be there is not, or is ambiguous."""
    total = 0.0
    for pattern, required in patterns:
        filled = pattern.format(**{name: re.escape(word) for name, word in words.items()})
        found = [price for price in prices.prices if re.match(filled, price.description, re.IGNORECASE)]
        if len(found) > 1 or (required and not found):
            return None
        total += found[0].amount if found else 0.0
    return total
