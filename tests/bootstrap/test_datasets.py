"""Datasets appear at their paths, or one line says why not."""

from __future__ import annotations

import json
import os

import pytest


@pytest.fixture
def mount(tmp_path):
    """Where Azure ML has put the input: differs from job to job."""
    folder = tmp_path / "cr" / "j" / "1234" / "INPUT_dataset_noaa_isd"
    folder.mkdir(parents=True)
    (folder / "part-0.parquet").write_text("rows")
    return folder


def one(path=None, mode="Mount"):
    dataset = {"name": "noaa-isd", "input": "dataset_noaa_isd", "mode": mode}
    return [{**dataset, "path": str(path)} if path else dataset]


@pytest.fixture
def link(bootstrap, mount):
    def link(datasets, **inputs):
        return bootstrap.link_datasets(datasets, inputs or {"dataset_noaa_isd": str(mount)})

    return link


def test_a_path_is_linked_with_its_parents(link, mount, tmp_path):
    path = tmp_path / "mnt" / "deep" / "noaa"
    assert link(one(path)) == {"DASK_AZUREML_DATASET_NOAA_ISD": str(path)}
    assert os.readlink(path) == str(mount)
    assert (path / "part-0.parquet").read_text() == "rows"
    assert os.listdir(path.parent) == ["noaa"]


def test_a_link_points_to_the_data_and_not_to_another_link(link, mount, tmp_path):
    alias, path = tmp_path / "alias", tmp_path / "noaa"
    alias.symlink_to(mount)
    link(one(path), dataset_noaa_isd=str(alias))
    alias.unlink()
    assert (path / "part-0.parquet").read_text() == "rows"


def test_a_link_of_an_earlier_job_and_an_empty_folder_are_replaced(link, mount, tmp_path):
    link_of_before, empty = tmp_path / "before", tmp_path / "empty"
    link_of_before.symlink_to(tmp_path / "gone")
    empty.mkdir()
    for path in (link_of_before, empty, f"{empty}/"):
        link(one(path))
        assert os.readlink(str(path).rstrip("/")) == str(mount)


def test_a_file_can_be_a_dataset(link, mount, tmp_path):
    path = tmp_path / "rows.parquet"
    link(one(path), dataset_noaa_isd=str(mount / "part-0.parquet"))
    assert path.read_text() == "rows"


def test_without_a_path_the_variable_has_what_azure_gave(link, mount):
    assert link(one()) == {"DASK_AZUREML_DATASET_NOAA_ISD": str(mount)}
    uri = "azureml://datastores/weather/paths/isd/"
    given = link(one(mode="Direct"), dataset_noaa_isd=uri)
    assert given == {"DASK_AZUREML_DATASET_NOAA_ISD": uri}


def refusals(tmp_path, mount):
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine").touch()
    file.touch()
    here = {"dataset_noaa_isd": str(mount)}
    return {
        "full cannot be made: directory not empty": (one(full), here),
        "file is a file already": (one(file), here),
        f"noaa cannot be made: {file}: file exists": (one(file / "noaa"), here),
        # Where nobody can make anything: what it should have pointed to is not what is missing.
        "/proc/noaa cannot be made: no such file or directory": (one("/proc/noaa"), here),
        "the job has no input dataset_noaa_isd": (one(), {"dataset_other": "/"}),
        "Azure ML did not put it at /nowhere": (one(), {"dataset_noaa_isd": "/nowhere"}),
        "a Direct dataset has no path": (one(full, "Direct"), {"dataset_noaa_isd": "azureml://x"}),
    }


def test_what_cannot_be_linked_is_said_and_left_as_it_is(bootstrap, link, mount, tmp_path):
    for line, (datasets, inputs) in refusals(tmp_path, mount).items():
        with pytest.raises(bootstrap.CannotRun) as raised:
            link(datasets, **inputs)
        assert line in str(raised.value)
        assert str(raised.value).startswith("dataset noaa-isd: ")
    assert os.listdir(tmp_path / "full") == ["mine"]


def test_a_denied_path_is_said(bootstrap, link, monkeypatch, tmp_path):
    # Tests may run as root, whom no folder denies anything.
    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "makedirs", denied)
    with pytest.raises(bootstrap.CannotRun, match="cannot be made: permission denied"):
        link(one(tmp_path / "root" / "noaa"))


def test_a_job_whose_dataset_cannot_be_linked_ends_with_1(lab, mount, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    job = lab.worker(
        arguments=f"dataset_noaa_isd={mount}", DASK_AZUREML_DATASETS=json.dumps(one(taken))
    )
    assert job.exit_code() == 1
    assert job.own_lines()[-1] == f"dataset noaa-isd: {taken} is a file already"
    assert taken.read_text() == "mine"
