"""The tasks: four data sets of the paper, and water and molecules from classical to DFT.

The paper's body could not be read; where its details are unknown the task says so in its note.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable

import numpy as np

from benchmarks.active_learning.atomistic import (
    qm9_classical,
    qm9_orbitals,
    water_revpbe0,
    water_scan,
)
from benchmarks.active_learning.task import Task, data_file
from tpainn_calc.base.arrays import Array


def beijing_pm25() -> Task:
    """Hourly PM2.5 of Beijing: 2010-2011 as source, 2012-2014 as target."""
    with gzip.open(data_file("beijing_pm25/PRSA_data_2010.1.1-2014.12.31.csv.gz"), "rt") as stream:
        records = [r for r in csv.DictReader(stream) if r["pm2.5"] not in ("", "NA")]
    year = np.array([int(r["year"]) for r in records])
    hour = np.array([float(r["hour"]) for r in records]) * (2 * np.pi / 24)
    month = np.array([float(r["month"]) for r in records]) * (2 * np.pi / 12)
    columns = [np.sin(hour), np.cos(hour), np.sin(month), np.cos(month)]
    columns += [np.array([float(r[k]) for r in records]) for k in ("DEWP", "TEMP", "PRES")]
    columns += [np.log1p([float(r[k]) for r in records]) for k in ("Iws", "Is", "Ir")]
    wind = np.array([r["cbwd"] for r in records])
    columns += [(wind == w).astype(float) for w in ("NE", "NW", "SE", "cv")]
    X = np.column_stack(columns)
    y = np.log1p([float(r["pm2.5"]) for r in records])
    old = year <= 2011
    return Task(
        "pm25",
        "feature shift",
        X[~old],
        y[~old],
        X[old],
        y[old],
        "log(1 + PM2.5) from weather and time; source 2010-2011, target 2012-2014.",
    )


def forbes2000() -> Task:
    """Market value of the Forbes 2000: 2022 as source, 2025 as target."""
    old = _forbes_rows("forbes2000/forbes_global2000_2022.csv", 1.0)
    new = _forbes_rows("forbes2000/forbes_global2000_2025.csv", 1e-6)
    return Task(
        "forbes",
        "feature shift",
        new[0],
        new[1],
        old[0],
        old[1],
        "log10 market value from sales, profits, assets and broad industry; source 2022, target "
        "2025. The years and columns of the paper are unknown.",
    )


#: Words that place an industry of either year's naming in one broad group.
INDUSTRY_WORDS = {
    "finance": ("bank", "financ", "insur", "invest"),
    "energy": ("oil", "gas", "utilit", "energy", "chemical", "material", "mining"),
    "technology": ("tech", "software", "semiconductor", "telecom", "it "),
    "health": ("drug", "health", "pharma", "biotech"),
    "consumer": ("retail", "food", "consumer", "household", "restaurant", "beverage"),
}


def _forbes_rows(name: str, to_million: float) -> tuple[Array, Array]:
    with data_file(name).open(encoding="utf-8") as stream:
        records = list(csv.DictReader(stream))
    keys = list(records[0])

    def column(word: str) -> Array:
        key = next(k for k in keys if word in k.lower())
        return np.array([float(r[key].replace(",", "") or "nan") for r in records]) * to_million

    sales = column("sales") if any("sales" in k.lower() for k in keys) else column("revenue")
    profits, assets, value = column("profits"), column("assets"), column("market")
    industry = [r[next(k for k in keys if "industry" in k.lower())].lower() for r in records]
    groups = [
        np.array([any(word in name for word in words) for name in industry], dtype=float)
        for words in INDUSTRY_WORDS.values()
    ]
    X = np.column_stack(
        [
            np.log10(np.maximum(sales, 1.0)),
            np.sign(profits) * np.log10(1.0 + np.abs(profits)),
            np.log10(np.maximum(assets, 1.0)),
            *groups,
        ]
    )
    usable = np.isfinite(X).all(axis=1) & (value > 0)
    return X[usable], np.log10(value[usable])


def era5() -> Task:
    """Daily weather of five cities: precipitation as source target, evaporation as target."""
    path = data_file("era5/era5_daily_canadian_cities_1990_1993.csv.gz")
    with gzip.open(path, "rt") as stream:
        records = list(csv.DictReader(stream))
    names = ["lat", "lon", "psl", "tas", "tdps", "uas", "vas", "sfcWind", "snw"]
    table = {
        k: np.array([float(r[k] or "nan") for r in records]) for k in [*names, "pr", "evspsblpot"]
    }
    day = np.array([r["date"] for r in records], dtype="datetime64[D]")
    season = (day - day.astype("datetime64[Y]")).astype(float) * (2 * np.pi / 365.25)
    X = np.column_stack([np.sin(season), np.cos(season), *(table[k] for k in names)])
    cheap = np.log1p(np.maximum(table["pr"], 0.0) * 86400.0)
    target = table["evspsblpot"] * 86400.0
    usable = np.isfinite(X).all(axis=1) & np.isfinite(cheap) & np.isfinite(target)
    return Task(
        "era5",
        "target transfer",
        X[usable],
        target[usable],
        X[usable],
        cheap[usable],
        "Potential evaporation (mm/day) from the other surface variables; source target "
        "log(1 + precipitation). The paper's second target is runoff, which our extract lacks.",
    )


#: Name -> loader.
TASKS: dict[str, Callable[[], Task]] = {
    "qm9": qm9_orbitals,
    "era5": era5,
    "forbes": forbes2000,
    "pm25": beijing_pm25,
    "qm9_classical": qm9_classical,
    "water": water_revpbe0,
    "water_scan": water_scan,
}
