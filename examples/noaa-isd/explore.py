"""Explores a folder of the NOAA ISD open dataset on a DaskCluster.

    python explore.py noaa-isd --dataset noaa-isd --plot daily-means.png

Needs kubectl with access to the DaskCluster, a network path to its scheduler, and the environment
variables of `azure_ml_run.py`. With `--check-against FOLDER`, a folder with the same data on this
machine, every number is compared with what pandas makes of it. Ends with exit code 1 if any
differs, or if the run does not give back what was logged to it.
"""

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from azure_ml_run import AzureMlRun
from dask.distributed import Client, wait
from matplotlib.figure import Figure
from pandas_check import Findings, differences

UNITS = {"temperature": "°C", "windSpeed": "m/s", "seaLvlPressure": "hPa"}
MEASURED = list(UNITS)
QUARTILES = {"25%": 0.25, "50%": 0.50, "75%": 0.75}
# Told to Dask, which would else read a file to learn it, and read it here, where there is none.
META = pd.DataFrame(
    {"usaf": "", "datetime": pd.Timestamp(0), **dict.fromkeys(MEASURED, 0.0)}, index=[0]
).astype({"usaf": "str", "datetime": "datetime64[us]"})


def list_files(variable: str) -> list[str]:
    """The files of the dataset, relative to its folder. Runs on a worker."""
    folder = Path(os.environ[variable])
    return sorted(str(path.relative_to(folder)) for path in folder.glob("year=*/month=*/*.parquet"))


def read_file(file: str, variable: str) -> pd.DataFrame:
    """One file of the dataset. Runs on a worker; its folder may lie elsewhere than another's."""
    # `partitioning=None`: year and month of the path would clash with those that a file may hold.
    frame = pd.read_parquet(Path(os.environ[variable]) / file, columns=list(META.columns), partitioning=None)
    return frame.astype(META.dtypes.to_dict())


def explore(client: Client, dataset: str) -> Findings:
    variable = "DASK_AZUREML_DATASET_" + dataset.upper().replace("-", "_")
    with timed("list the files, on a worker"):
        files = client.submit(list_files, variable, pure=False).result()
    if not files:
        raise SystemExit(f"dataset {dataset} has no file year=*/month=*/*.parquet")
    weather = dd.from_map(read_file, files, variable=variable, meta=META.iloc[:0])

    # `len(weather)` would do, but a reader of parquet may answer it from the footers of the files.
    with timed(f"count the rows by reading {len(files)} files"):
        rows = int(weather.map_partitions(len, meta=(None, "int64")).compute().sum())
    with timed("persist, in the memory of the workers"):
        weather = weather.persist()
        wait(weather)
    with timed("len of what is persisted"):
        if len(weather) != rows:
            raise SystemExit(f"{len(weather)} rows are persisted of {rows}")
    with timed("count the stations"):
        stations = len(weather["usaf"].value_counts(split_out=1).compute())
    with timed("describe"):
        description = weather[MEASURED].describe().compute()
        # Dask's quartiles are estimates from five values a file. These measurements come in tenths,
        # so that they have few values, which can be counted: that gives the true ones.
        counted = dask.compute(*(weather[name].value_counts(split_out=1) for name in MEASURED))
        for name, counts in zip(MEASURED, counted):
            for statistic, share in QUARTILES.items():
                description.loc[statistic, name] = quantile(counts.sort_index(), share)
    with timed("daily means"):
        daily_means = (
            weather.groupby(weather["datetime"].dt.floor("D"))[MEASURED]
            .mean(split_out=1)
            .compute()
            .sort_index()
        )
    return Findings(rows, stations, description, daily_means)


def quantile(counts: pd.Series, share: float) -> float:
    """The quantile of values by how often each occurs (sorted by value), interpolated as pandas does."""
    up_to = counts.cumsum().to_numpy()
    position = share * (up_to[-1] - 1)
    below, above = counts.index[np.searchsorted(up_to, [np.floor(position), np.ceil(position)], side="right")]
    return below + (position % 1) * (above - below)


def plot(daily_means: pd.DataFrame, title: str) -> bytes:
    """The daily means as a PNG."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, name in zip(figure.subplots(len(MEASURED), sharex=True), MEASURED):
        axes.plot(daily_means.index, daily_means[name], linewidth=0.8)
        axes.set_ylabel(f"{name} [{UNITS[name]}]")
    figure.suptitle(title)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def log_to_run(run: AzureMlRun, dataset: str, rows: int, png: bytes) -> list[str]:
    """Logs rows and plot to the run; returns what it does not give back as it was."""
    # A name of its own each time, as artifacts of a run are not overwritten.
    artifact = f"explore/{dataset}/{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.png"
    metric, tag = f"{dataset}.rows", f"{dataset}.plot"
    run.upload(artifact, png)
    run.log_metric(metric, rows)
    run.set_tag(tag, artifact)

    print(f"           artifact {artifact} of run {run.run_id}")
    logged = run.data()
    returned = [
        ("the plot", run.download(artifact) == png),
        (f"metric {metric}", logged["metrics"].get(metric) == rows),
        (f"tag {tag}", logged["tags"].get(tag) == artifact),
    ]
    return [f"{what} came back from the run as something else" for what, same in returned if not same]


def kubectl(*arguments: str) -> str:
    return subprocess.run(["kubectl", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def connection(cluster: str, namespace: str, key: str) -> str:
    """One value of the connection Secret; its token, which only the operator needs, is not asked for."""
    path = f"jsonpath={{.data.{key}}}"
    return base64.b64decode(
        kubectl("get", "secret", f"{cluster}-connection", "-n", namespace, "-o", path)
    ).decode()


def run_of(cluster: str, namespace: str) -> AzureMlRun:
    """The run of the cluster's head job."""
    manifest = json.loads(
        kubectl("get", "daskclusters.azureml.dask.dev", cluster, "-n", namespace, "-o", "json")
    )
    workspace = manifest["spec"]["workspace"]
    return AzureMlRun(
        workspace["subscriptionId"],
        workspace["resourceGroup"],
        workspace["name"],
        manifest["status"]["run"]["name"],
    )


@contextmanager
def timed(what: str):
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:8.2f} s {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cluster", help="name of the DaskCluster")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--dataset", default="noaa-isd", help="its name in the manifest")
    parser.add_argument("--plot", type=Path, default=Path("daily-means.png"), help="where to save the plot")
    parser.add_argument("--check-against", type=Path, metavar="FOLDER", help="the same data on this machine")
    arguments = parser.parse_args()

    address = connection(arguments.cluster, arguments.namespace, "scheduler-address")
    dashboard = connection(arguments.cluster, arguments.namespace, "dashboard-url")
    # Signs in before the work, so that a refusal costs none.
    run = run_of(arguments.cluster, arguments.namespace)
    with Client(address, timeout="60s") as client:
        cluster = client.scheduler_info(n_workers=0)
        print(
            f"{address}: {cluster['n_workers']} workers, {cluster['total_threads']} cores, "
            f"{cluster['total_memory'] / 1e12:.3g} TB; dashboard at {dashboard}"
        )
        findings = explore(client, arguments.dataset)

    days = len(findings.daily_means)
    print(f"\n{findings.rows:,} rows of {findings.stations} stations on {days:,} days")
    print(findings.description.round(2).to_string(), end="\n\n")

    png = plot(findings.daily_means, f"{arguments.dataset}: daily means of {findings.stations} stations")
    arguments.plot.write_bytes(png)
    with timed(f"log the plot ({arguments.plot}) to the run and fetch it back"):
        wrong = log_to_run(run, arguments.dataset, findings.rows, png)
    if arguments.check_against:
        with timed(f"check every number against pandas on {arguments.check_against}"):
            wrong += differences(findings, arguments.check_against)
    for difference in wrong:
        print(f"DIFFERS: {difference}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
