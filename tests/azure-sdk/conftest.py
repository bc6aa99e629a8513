"""Microsoft's own clients against a simulator: unchanged but for endpoint, authority and CA."""

import base64
import os
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from azure.identity import ClientSecretCredential
from cryptography.hazmat.primitives.asymmetric import rsa
from simulator import Simulator, sdk_python

# Azure's own durations, so many times faster.
TIME_SCALE = 120
# The client of a world that names none.
CLIENT = "c11e0000-0000-4000-8000-00000000a002"


@pytest.fixture(scope="session")
def issuer_key():
    """The private key of the issuer of service accounts' tokens."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwks(key):
    """What a client finds at the `jwks_uri` of the issuer with this key."""
    public = key.public_key().public_numbers()

    def part(number: int) -> str:
        value = number.to_bytes((number.bit_length() + 7) // 8)
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    n, e = part(public.n), part(public.e)
    return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "issuer", "n": n, "e": e}]}


@pytest.fixture(scope="session")
def simulator(tmp_path_factory, issuer_key):
    folder = tmp_path_factory.mktemp("azure")
    data = tmp_path_factory.mktemp("data")
    (data / "numbers.txt").write_text("1\n2\n3\n")
    world = {
        "time_scale": TIME_SCALE,
        "page_size": 3,
        "federated_credentials": [
            {
                "client_id": CLIENT,
                "issuer": "https://kubernetes.default.svc",
                "subject": "system:serviceaccount:dask:operator",
                "jwks": jwks(issuer_key),
            }
        ],
        "data": [{"uri": "https://weather.blob.core.windows.net/isd/", "path": str(data)}],
        "environments": [{"image": "registry.example/sdk:1", "path": str(sdk_python())}],
    }
    running = Simulator(folder, world)
    # What requests and urllib3 trust instead of certifi's roots.
    os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"] = running.env["SSL_CERT_FILE"]
    yield running
    running.end()


@pytest.fixture(scope="session", autouse=True)
def localhost_names():
    """Names below `localhost` lead to this machine (RFC 6761), which glibc alone does not know.
    Storage accounts are such names: clients put them together from an account and an endpoint."""
    lookup = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        if isinstance(host, str) and host.endswith(".localhost"):
            host = "127.0.0.1"
        return lookup(host, *arguments, **options)

    socket.getaddrinfo = getaddrinfo
    yield
    socket.getaddrinfo = lookup


@pytest.fixture(scope="session")
def credential(simulator):
    env = simulator.env
    return ClientSecretCredential(
        env["AZURE_TENANT_ID"],
        env["AZURE_CLIENT_ID"],
        env["AZURE_CLIENT_SECRET"],
        authority=simulator.authority,
        # The authority is of a private cloud, which the public one does not know.
        disable_instance_discovery=True,
    )


@pytest.fixture(scope="session")
def arm(simulator):
    """What every client of ARM is told."""
    return {
        "base_url": simulator.arm,
        "credential_scopes": [f"{simulator.arm}/.default"],
        "polling_interval": 0.2,
    }
