"""Compares what Dask computed with what pandas computes of the same files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

# Sums of many floats depend on their order, and a cluster's order is not pandas'.
RELATIVE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Findings:
    """What an exploration found, in plain pandas."""

    rows: int
    stations: int
    description: pd.DataFrame
    """As of `DataFrame.describe`: a column a quantity, a row a statistic."""
    daily_means: pd.DataFrame
    """A row a day, a column a quantity."""


def differences(findings: Findings, folder: Path) -> list[str]:
    """Where `findings` differ from what pandas makes of the parquet files in `folder`, in words."""
    measured = list(findings.daily_means.columns)
    paths = sorted(folder.glob("year=*/month=*/*.parquet"))
    if not paths:
        return [f"{folder} has no file year=*/month=*/*.parquet to check against"]
    columns = ["usaf", "datetime", *measured]
    weather = pd.concat(pd.read_parquet(path, columns=columns, partitioning=None) for path in paths)

    found = []
    for what, ours, theirs in [
        ("rows", findings.rows, len(weather)),
        ("stations", findings.stations, weather["usaf"].nunique()),
    ]:
        if ours != theirs:
            found.append(f"{what}: {ours:,}, by pandas {theirs:,}")
    for name in measured:
        found += _description_differences(name, findings.description[name], weather[name].dropna())
    expected = weather.groupby(weather["datetime"].dt.floor("D"))[measured].mean()
    return found + _daily_differences(findings.daily_means, expected)


def _description_differences(name: str, description: pd.Series, values: pd.Series) -> list[str]:
    found = []
    for statistic, theirs in values.describe().items():
        ours = description[statistic]
        tolerance = 0 if statistic == "count" else RELATIVE_TOLERANCE
        if not np.isclose(ours, theirs, rtol=tolerance, atol=0):
            found.append(f"{statistic} of {name}: {ours}, by pandas {theirs}")
    return found


def _daily_differences(computed: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
    if not computed.index.equals(expected.index):
        return [f"days: {len(computed)}, by pandas {len(expected)}, or other ones"]
    equal = np.isclose(computed, expected, rtol=RELATIVE_TOLERANCE, atol=0, equal_nan=True)
    return [
        f"mean {expected.columns[column]} of {expected.index[row]:%Y-%m-%d}: "
        f"{computed.iat[row, column]}, by pandas {expected.iat[row, column]}"
        for row, column in zip(*np.nonzero(~equal))
    ]
