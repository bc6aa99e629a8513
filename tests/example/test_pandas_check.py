"""What `pandas_check` accepts of a cluster, and what it does not."""

from dataclasses import replace

import isd_data
import pandas as pd
import pytest
from pandas_check import Findings, differences

MEASURED = ["temperature", "windSpeed", "seaLvlPressure"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("isd") / "real"
    isd_data.prepare(folder, "real")
    return folder


@pytest.fixture
def right(folder):
    weather = pd.read_parquet(folder)
    daily = weather.groupby(weather["datetime"].dt.floor("D"))[MEASURED].mean()
    return Findings(len(weather), 3, weather[MEASURED].describe(), daily)


def test_pandas_own_numbers_are_accepted(right, folder):
    assert differences(right, folder) == []


def test_one_row_too_few_is_a_difference(right, folder):
    assert differences(replace(right, rows=26_114), folder) == ["rows: 26,114, by pandas 26,115"]


def test_one_station_too_many_is_a_difference(right, folder):
    assert differences(replace(right, stations=4), folder) == ["stations: 4, by pandas 3"]


@pytest.mark.parametrize("statistic", ["count", "mean", "std", "25%", "50%", "75%", "max"])
def test_a_statistic_off_by_a_millionth_is_a_difference(right, folder, statistic):
    right.description.loc[statistic, "windSpeed"] *= 1 + 1e-6
    [difference] = differences(right, folder)
    assert difference.startswith(f"{statistic} of windSpeed: ")


def test_a_missing_number_is_a_difference(right, folder):
    right.daily_means.iloc[17, 1] = float("nan")
    [difference] = differences(right, folder)
    assert difference.startswith("mean windSpeed of 2013-01-18: nan")


def test_a_missing_day_is_a_difference(right, folder):
    shorter = replace(right, daily_means=right.daily_means.iloc[1:])
    assert differences(shorter, folder) == ["days: 363, by pandas 364, or other ones"]


def test_a_folder_without_data_is_a_difference(right, tmp_path):
    [difference] = differences(right, tmp_path)
    assert "to check against" in difference
