"""Realistic tables for tests, and a function that reads a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pandas = pytest.importorskip("pandas")


def rows_of(path: str | Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def customers(n: int = 240) -> Any:
    """Make a realistic table of customers. Most customers who are young and make many calls have left.

    Some ages and calls are missing. In the column "left", one customer is neither "yes" nor "no" but "paused".
    """
    rng = np.random.default_rng(0)
    age, calls = rng.integers(18, 80, n).astype(float), rng.integers(0, 10, n)
    leaves = calls * 5 - age + rng.normal(0, 3, n) > -20
    frame = pandas.DataFrame(
        {
            "customer_id": [f"C{i:05d}" for i in range(n)],
            "age": age,
            "plan": rng.choice(["basic", "plus"], n),
            "since": pandas.date_range("2015-01-01", periods=n, freq="9D").strftime("%Y-%m-%d"),
            "auto_pay": rng.random(n) < 0.5,
            "calls": calls.astype(str),
            "left": np.where(leaves, "yes", "no"),
        }
    )
    frame.loc[rng.random(n) < 0.1, "age"] = np.nan
    frame.loc[rng.random(n) < 0.1, "calls"] = "NA"
    frame.loc[11, "left"] = "paused"
    return frame


def flats(n: int = 160) -> str:
    """Return the text of a table of flats, as a German spreadsheet program saves it.

    It has letters such as ß, semicolons between the fields, and decimal commas. Half of the years are missing.
    """
    rng = np.random.default_rng(1)
    size = rng.uniform(30, 140, n).round(1)
    price = (1500 * size + 5000 * rng.normal(size=n)).round(2)
    lines = ["straße;fläche;balkon;baujahr;preis"]
    for i in range(n):
        year = "" if i % 2 else str(1900 + i % 100)
        lines.append(f"Weg {i % 9};{size[i]};{('ja', 'nein')[i % 2]};{year};{price[i]:.2f}".replace(".", ","))
    return "\n".join(lines)
