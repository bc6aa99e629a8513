"""What a release is made of, as far as it can be made without Docker and GitHub."""

import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from line.running import REPOSITORY

WORKFLOW = yaml.safe_load((REPOSITORY / ".github/workflows/release.yaml").read_text())
MAKEFILE = (REPOSITORY / "Makefile").read_text()
# What a runner of GitHub has and this machine has not.
OF_GITHUB = {"docker", "cosign", "helm", "gh"}


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    digest = "sha256:" + "0" * 64
    image = f"registry.example:5000/team/operator@{digest}"
    made = make("chart", "manifest", "checksums", f"ARTIFACTS={folder}", f"IMAGE={image}")
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_every_step_of_the_workflow_is_a_target_or_a_tool_of_the_runner():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    called = set()
    for job in WORKFLOW["jobs"].values():
        for step in job["steps"]:
            commands = step.get("run", "").splitlines()
            if len(commands) == 1:
                program, first, *_ = commands[0].split()
                assert program in OF_GITHUB | {"make"}, commands
                if program == "make":
                    called.add(first)
    assert called == {"release-version", "test", "image", "release-artifacts"}
    assert called <= targets


def test_each_job_may_do_no_more_than_it_says():
    assert WORKFLOW["permissions"] == {}
    assert all("permissions" in job for job in WORKFLOW["jobs"].values())
    assert WORKFLOW["jobs"]["test"]["permissions"] == {"contents": "read"}


def test_a_tag_that_is_not_the_version_is_no_release():
    version = re.search(r'^version = "(.*)"', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert make("release-version", f"TAG=v{version}").returncode == 0
    assert make("release-version", "TAG=v99.0.0").returncode != 0


def test_the_package_of_the_chart_holds_what_it_renders_from_and_the_manifest_has_the_image(artifacts):
    (package,) = artifacts.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = {name.removeprefix("dask-azureml-operator/") for name in archive.getnames()}
    of_chart = REPOSITORY / "charts" / "dask-azureml-operator"
    files = {str(path.relative_to(of_chart)) for path in of_chart.rglob("*") if path.is_file()}
    assert names == files
    rendered = [each for each in yaml.safe_load_all((artifacts / "install.yaml").read_text()) if each]
    (deployment,) = (each for each in rendered if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example:5000/team/operator@sha256:" + "0" * 64
    assert "Helm" not in {each["metadata"]["labels"].get("app.kubernetes.io/managed-by") for each in rendered}


def test_the_checksums_are_those_of_the_files(artifacts):
    told = (artifacts / "checksums.txt").read_text()
    assert {line.split()[1] for line in told.splitlines()} == {
        path.name for path in artifacts.iterdir() if path.name != "checksums.txt"
    }
    checked = subprocess.run(["sha256sum", "--check", "checksums.txt"], cwd=artifacts, capture_output=True)
    assert checked.returncode == 0


def test_the_image_is_built_with_the_toolchain_of_the_repository_and_holds_two_files():
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    toolchain = re.search(r'channel = "(.*)"', (REPOSITORY / "rust-toolchain.toml").read_text())[1]
    assert f"FROM rust:{toolchain}-alpine AS build\n" in dockerfile
    assert f"ENV RUSTUP_TOOLCHAIN={toolchain}\n" in dockerfile
    last = dockerfile.split("FROM scratch")[1]
    assert re.findall(r"^COPY --from=build (\S+)", last, re.MULTILINE) == [
        "/etc/ssl/certs/ca-certificates.crt",
        "/dask-azureml-operator",
    ]
    assert "\nUSER 65532:65532\n" in last
    for label in ("title", "description", "licenses", "version", "revision", "source"):
        assert f"org.opencontainers.image.{label}=" in last
