"""azure-identity, and what ARM's clients do when a token is not taken any more."""

import base64
import json
import time

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.mgmt.resource.resources import ResourceManagementClient
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

SCOPE = "https://management.azure.com/.default"


def client_secret(simulator, **changes):
    given = {
        "tenant_id": simulator.env["AZURE_TENANT_ID"],
        "client_id": simulator.env["AZURE_CLIENT_ID"],
        "client_secret": simulator.env["AZURE_CLIENT_SECRET"],
    }
    return ClientSecretCredential(
        **given | changes, authority=simulator.authority, disable_instance_discovery=True
    )


def test_a_client_secret_gets_a_token_and_a_wrong_one_gets_azures_error(simulator, credential):
    assert credential.get_token(SCOPE).token
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        client_secret(simulator, client_secret="guessed").get_token(SCOPE)


def test_an_unknown_client_and_a_wrong_tenant_get_azures_errors(simulator):
    with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
        client_secret(simulator, client_id="nobody").get_token(SCOPE)
    other = "11111111-0000-4000-8000-000000000000"
    with pytest.raises(ClientAuthenticationError, match="AADSTS90002"):
        client_secret(simulator, tenant_id=other).get_token(SCOPE)


def service_account_token(folder, key, **changes):
    """A file with a token as Kubernetes projects it, signed by a key."""
    claims = {
        "iss": "https://kubernetes.default.svc",
        "sub": "system:serviceaccount:dask:operator",
        "aud": ["api://AzureADTokenExchange"],
        "exp": int(time.time()) + 3600,
    }

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    header = {"alg": "RS256", "kid": "issuer"}
    said = ".".join(part(json.dumps(one).encode()) for one in (header, claims | changes))
    file = folder / "token"
    file.write_text(f"{said}.{part(key.sign(said.encode(), PKCS1v15(), SHA256()))}")
    return file


def workload_identity(simulator, token):
    return WorkloadIdentityCredential(
        tenant_id=simulator.env["AZURE_TENANT_ID"],
        client_id=simulator.env["AZURE_CLIENT_ID"],
        token_file_path=str(token),
        authority=simulator.authority,
        disable_instance_discovery=True,
    )


def test_workload_identity_signs_in_with_the_token_of_its_service_account(
    simulator, tmp_path, issuer_key
):
    token = service_account_token(tmp_path, issuer_key)
    assert workload_identity(simulator, token).get_token(SCOPE).token


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"sub": "system:serviceaccount:dask:other"}, "AADSTS700213"),
        ({"aud": "somebody"}, "AADSTS700213"),
        ({"exp": 1}, "AADSTS700024"),
        ({"nbf": int(time.time()) + 3600}, "AADSTS700024"),
    ],
)
def test_a_token_of_another_account_audience_or_time_does_not_sign_in(
    simulator, tmp_path, issuer_key, changes, refused
):
    token = service_account_token(tmp_path, issuer_key, **changes)
    with pytest.raises(ClientAuthenticationError, match=refused):
        workload_identity(simulator, token).get_token(SCOPE)


def test_a_token_that_somebody_else_has_signed_does_not_sign_in(simulator, tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = service_account_token(tmp_path, key)
    with pytest.raises(ClientAuthenticationError, match="not signed by a key of its issuer"):
        workload_identity(simulator, token).get_token(SCOPE)


def test_a_managed_identity_gets_its_token_from_the_metadata_service(simulator, arm, monkeypatch):
    host = simulator.env["AZURE_SIMULATOR_CONTROL"]
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", host)
    credential = ManagedIdentityCredential()
    with ResourceManagementClient(credential, simulator.subscription, **arm) as resources:
        assert resources.resource_groups.get(simulator.group).name == simulator.group
    with pytest.raises(ClientAuthenticationError, match="Identity not found"):
        ManagedIdentityCredential(client_id="nobody").get_token(SCOPE)


def test_a_client_whose_token_was_revoked_gets_a_new_one_by_the_claims_of_the_challenge(
    simulator, arm
):
    credential = client_secret(simulator)
    with ResourceManagementClient(credential, simulator.subscription, **arm) as resources:
        resources.resource_groups.get(simulator.group)
        simulator.control("/tokens/revoke", "POST")
        resources.resource_groups.get(simulator.group)
    refused = [one for one in simulator.exchanges() if one["response"]["status"] == 401]
    assert "claims=" in refused[-1]["response"]["headers"]["www-authenticate"]
