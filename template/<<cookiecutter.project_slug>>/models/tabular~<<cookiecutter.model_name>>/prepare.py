"""Write a table of customers, and who of them left. It is made up: put your own in its place."""

import csv
import math
import random
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data" / "<<cookiecutter.model_name>>.csv"

CITIES = {"Bristol": 0.0, "Leeds": 0.6, "London": -0.8, "York": 0.3}
PLANS = {"basic": 0.9, "family": -0.6, "premium": -1.2}


def prepare(path, rows=2000):
    # DVC knows the file by its hash, and this generator gives the same numbers on every machine.
    draw = random.Random(0)
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["age", "city", "plan", "monthly_fee", "calls", "months", "left"])
        for _ in range(rows):
            age = draw.randint(18, 85)
            city = draw.choice(list(CITIES))
            plan = draw.choice(list(PLANS))
            fee = round(draw.uniform(5, 60), 2)
            calls = min(int(draw.expovariate(0.5)), 12)
            months = draw.randint(0, 96)
            odds = CITIES[city] + PLANS[plan] + 0.5 * calls - 0.04 * months
            odds += 0.02 * fee - 0.01 * age
            left = draw.random() < 1 / (1 + math.exp(-odds))
            # People do not tell everything.
            writer.writerow(
                [
                    "" if draw.random() < 0.05 else age,
                    "" if draw.random() < 0.08 else city,
                    plan,
                    "" if draw.random() < 0.03 else fee,
                    calls,
                    months,
                    "yes" if left else "no",
                ]
            )


if __name__ == "__main__":
    DATA.parent.mkdir(exist_ok=True)
    prepare(DATA)
