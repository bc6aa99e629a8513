from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys

import pytest
from azure_ml import BOOTSTRAP, Lab, Mlflow
from distributed import Client


@pytest.fixture(scope="session")
def bootstrap():
    """The bootstrap as a module."""
    spec = importlib.util.spec_from_file_location("dask_azureml", BOOTSTRAP)
    module = importlib.util.module_from_spec(spec)
    sys.modules["dask_azureml"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def addresses():
    """Loopback addresses, each given once, and others than those of a run beside this one."""
    first = 64 + os.getpid() % 128
    return (f"127.{first}.{n // 200}.{n % 200 + 2}" for n in itertools.count())


@pytest.fixture(scope="session")
def mlflow_address(addresses):
    return next(addresses)


@pytest.fixture(scope="session")
def tls(tmp_path_factory, mlflow_address):
    """A CA that only SSL_CERT_FILE can make trusted, and a certificate of it."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test CA")
    openssl("req", *key, "-keyout", "node.key", "-out", "node.csr", "-subj", "/CN=mlflow")
    (folder / "san").write_text(f"subjectAltName=IP:{mlflow_address}\n")
    ca = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl("x509", "-req", "-in", "node.csr", *ca, "-extfile", "san", "-out", "node.crt")
    return folder


@pytest.fixture(scope="module")
def mlflow(tls, mlflow_address):
    service = Mlflow(mlflow_address, (tls / "node.crt", tls / "node.key"))
    yield service
    service.close()


def _lab(folder, addresses, mlflow, tls):
    lab = Lab(folder, addresses, mlflow, str(tls / "ca.crt"))
    yield lab
    lab.close()
    mlflow.runs.clear()
    mlflow.refusals.clear()


@pytest.fixture
def lab(tmp_path, addresses, mlflow, tls):
    """Jobs of one test."""
    yield from _lab(tmp_path, addresses, mlflow, tls)


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory, addresses, mlflow, tls):
    """Jobs that the tests of one file share."""
    yield from _lab(tmp_path_factory.mktemp("lab"), addresses, mlflow, tls)


@pytest.fixture
def connect():
    """Dask clients that are closed at the end of the test."""
    clients = []

    def connect(scheduler):
        clients.append(Client(scheduler.address, timeout=30))
        return clients[-1]

    yield connect
    for client in clients:
        client.close(timeout=5)
