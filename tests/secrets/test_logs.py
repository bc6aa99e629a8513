"""What a line of the log says, and what is logged while the operator runs."""

import subprocess
import time

from line.running import binary
from support.clusters import eventually, manifest


def test_every_line_of_a_reconcile_names_its_cluster_its_generation_and_its_plan(stage):
    stage.kubernetes.apply(manifest("logged", stage.line.env, {}))

    def spans() -> list[dict]:
        return [line["span"] for line in stage.lines() if line.get("fields", {}).get("message") == "acting"]

    eventually(lambda: len(spans()) > 3, seconds=60, otherwise=stage.log.read_text)
    for span in spans():
        assert {"namespace", "name", "generation", "plan"} <= span.keys(), span
        assert "\n" not in span["plan"] and len(span["plan"].encode()) <= 512


def test_what_is_logged_follows_the_file_while_the_operator_runs(stage):
    def levels_since(size: int) -> set[str]:
        with stage.log.open() as log:
            log.seek(size)
            text = log.read()
        return {level for level in ("TRACE", "DEBUG", "INFO") if f'"level":"{level}"' in text}

    def told(text: str) -> bool:
        return text in stage.log.read_text()

    assert levels_since(0) == {"TRACE", "DEBUG", "INFO"}
    # In one piece, as the kubelet changes a ConfigMap's file.
    stage.filter.with_suffix(".new").write_text("nonsense=x")
    stage.filter.with_suffix(".new").rename(stage.filter)
    eventually(lambda: told("the log filter stays as it is"), seconds=20, otherwise=lambda: levels_since(0))
    stage.filter.with_suffix(".new").write_text("dask_azureml_operator=debug")
    stage.filter.with_suffix(".new").rename(stage.filter)
    changed = '"filter":"dask_azureml_operator=debug"'
    eventually(lambda: told(changed), seconds=20, otherwise=lambda: levels_since(0))
    quiet = stage.log.stat().st_size
    eventually(lambda: "DEBUG" in levels_since(quiet), seconds=30, otherwise=lambda: levels_since(quiet))
    assert "TRACE" not in levels_since(quiet)
    stage.filter.unlink()
    eventually(lambda: told('"filter":"info"'), seconds=20, otherwise=lambda: levels_since(quiet))
    quiet = stage.log.stat().st_size
    stage.kubernetes.apply(manifest("later", stage.line.env, {}))
    eventually(lambda: "INFO" in levels_since(quiet), seconds=30, otherwise=lambda: levels_since(quiet))
    assert levels_since(quiet) == {"INFO"}


def test_a_disk_that_is_full_ends_no_operator(stage, tmp_path):
    """Its lines are lost, and it works on."""
    address = tmp_path / "address"
    command = [binary("dask-azureml-operator"), "run", "--metrics-listen", "127.0.0.1:0"]
    command += ["--metrics-address-file", str(address), "--instance", "tests/full-disk", "--log", "trace"]
    with open("/dev/full", "w") as full, subprocess.Popen(command, env=stage.line.environment, stderr=full) as operator:
        try:
            eventually(address.exists, seconds=30, otherwise=operator.poll)
            until = time.monotonic() + 3
            eventually(lambda: time.monotonic() > until or operator.poll() is not None, seconds=10, otherwise=str)
            assert operator.poll() is None
        finally:
            operator.terminate()
    assert operator.returncode == 0
