"""The example's data: New York's observations of 2013 and the generated months."""

import json

import isd_data
import pandas as pd
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("isd") / "real"
    isd_data.prepare(folder, "real")
    return folder


@pytest.fixture(scope="module")
def source():
    return pd.read_csv(isd_data.new_york_source())


def test_every_observation_of_new_york_is_there_once(real, source):
    weather = pd.read_parquet(real)
    assert len(weather) == len(source) == 26_115
    assert not weather.duplicated(["usaf", "datetime"]).any()
    assert weather.groupby("usaf").size().to_dict() == {
        "725020": (source["origin"] == "EWR").sum(),
        "744860": (source["origin"] == "JFK").sum(),
        "725030": (source["origin"] == "LGA").sum(),
    }


def test_units_are_metric_and_times_are_utc(real):
    weather = pd.read_parquet(real).set_index(["usaf", "datetime"])
    # Newark, 1 January 2013, 01:00 in New York: 39.02 °F, 9 knots given as 10.357 mph, 1012 mb, from 270°.
    first = weather.loc[("725020", pd.Timestamp("2013-01-01T06:00"))]
    assert (first["temperature"], first["windSpeed"], first["seaLvlPressure"], first["windAngle"]) == (
        3.9,
        4.6,
        1012.0,
        270,
    )


def test_what_was_not_observed_stays_missing(real, source):
    weather = pd.read_parquet(real)
    for ours, theirs in [
        ("temperature", "temp"),
        ("windSpeed", "wind_speed"),
        ("seaLvlPressure", "pressure"),
    ]:
        assert weather[ours].isna().sum() == source[theirs].isna().sum() > 0
    assert weather[["snowDepth", "cloudCoverage"]].isna().all(axis=None)


def test_files_lie_in_the_folder_of_their_month(real):
    files = isd_data.month_files(real)
    assert [file.parent.relative_to(real).as_posix() for file in files] == sorted(
        f"year=2013/month={month}" for month in range(1, 13)
    )
    for file in files:
        table = pq.read_table(file, partitioning=None)
        assert table.schema.equals(isd_data.ISD_SCHEMA)
        months = table.column("datetime").to_pandas().dt.strftime("year=%Y/month=%-m")
        assert set(months) == {file.parent.relative_to(real).as_posix()}


def test_a_generated_month_follows_from_its_seed():
    stations = isd_data.generated_stations(1)
    pd.testing.assert_frame_equal(stations, isd_data.generated_stations(1))
    month = isd_data.generated_month(stations, 2010, 2, rows=50, seed=1)
    pd.testing.assert_frame_equal(month, isd_data.generated_month(stations, 2010, 2, rows=50, seed=1))
    assert not month.equals(isd_data.generated_month(stations, 2010, 2, rows=50, seed=2))


def test_preparing_twice_writes_144_months_once_and_other_arguments_write_anew(tmp_path):
    folder = tmp_path / "generated"
    assert isd_data.prepare(folder, "generated", rows_per_month=5) == 144 * 5
    written = [file.stat().st_mtime_ns for file in isd_data.month_files(folder)]
    assert len(written) == 144
    isd_data.prepare(folder, "generated", rows_per_month=5)
    assert [file.stat().st_mtime_ns for file in isd_data.month_files(folder)] == written
    assert isd_data.prepare(folder, "generated", rows_per_month=6) == 144 * 6


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("ten years")
    with pytest.raises(SystemExit, match="did not write"):
        isd_data.prepare(tmp_path / "mine", "real")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "ten years"


def test_a_folder_left_half_written_is_written_again(tmp_path):
    folder = tmp_path / "real"
    unfinished = tmp_path / "real.unfinished" / "year=2013" / "month=1"
    unfinished.mkdir(parents=True)
    (unfinished / "part-00000.snappy.parquet").write_bytes(b"half a file")
    assert isd_data.prepare(folder, "real") == 26_115
    assert json.loads((folder / "_SUCCESS").read_text())["kind"] == "real"
    assert not unfinished.exists()


def test_rows_of_another_month_are_refused(tmp_path):
    frame = isd_data.generated_month(isd_data.generated_stations(0), 2008, 1, 3, 0)
    with pytest.raises(ValueError, match="another month than 2008-02"):
        isd_data.write_month(tmp_path, 2008, 2, frame)
