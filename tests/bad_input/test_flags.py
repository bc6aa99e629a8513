"""What is typed wrong: told all at once, with what would be right, before anybody is asked."""

import os
import subprocess

import pytest
from line.running import binary


def typed(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # No cluster to be found: whoever gets as far as asking for one fails otherwise.
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": "/nowhere"} | variables
    command = [binary("dask-azureml-operator"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_all_that_is_wrong_is_told_at_once_with_what_would_be_right():
    done = typed(
        "run",
        "--resync-seconds=4",
        "--log",
        "a=loud",
        "--no-such-flag",
        "--default-conda-file=/nowhere/conda.yaml",
        SWEEP_SECONDS="soon",
        ORPHANS="burn",
        AZURE_RESOURCE_MANAGER_ENDPOINT="no url",
        AZURE_CLIENT_SECRET="hush-hush-hush-hush",
    )
    assert done.returncode == 2, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for words in (
        ("--resync-seconds", "5..=3600"),
        ("--log", "a=loud", "dask_azureml_operator=debug"),
        ("--no-such-flag",),
        ("/nowhere/conda.yaml", "No such file"),
        ("--sweep-seconds", "soon"),
        ("--orphans", "burn", "report, remove"),
        ("no url",),
        ("identity", "AZURE_"),
    ):
        assert sum(all(word in line for word in words) for line in told) == 1, f"{words}: {done.stderr}"
    assert len(told) == 8, done.stderr
    assert "hush" not in done.stderr


@pytest.mark.parametrize("command", [["run"], ["plan", "-f", "/nowhere"]])
def test_what_only_concerns_the_cloud_is_told_for_every_command(command):
    done = typed(*command, AZURE_AUTHORITY_HOST="no url", AZURE_POD_IDENTITY_AUTHORITY_HOST="nowhere")
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 2, done.stderr


def test_help_names_the_range_of_every_number():
    done = typed("run", "--help")
    assert done.returncode == 0
    for range_ in ("5 to 3600", "60 to 86400", "60 to 604800", "0 to 1000", "5 to 300", "1 to 60"):
        assert f"({range_})" in " ".join(done.stdout.split()), range_
