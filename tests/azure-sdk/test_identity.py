"""azure-identity."""

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientSecretCredential, WorkloadIdentityCredential

SCOPE = "https://management.azure.com/.default"


def test_a_client_secret_gets_a_token_and_a_wrong_one_gets_azures_error(simulator, credential):
    assert credential.get_token(SCOPE).token
    env = simulator.env
    wrong = ClientSecretCredential(
        env["AZURE_TENANT_ID"],
        env["AZURE_CLIENT_ID"],
        "guessed",
        authority=simulator.authority,
        disable_instance_discovery=True,
    )
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        wrong.get_token(SCOPE)


def test_a_wrong_tenant_gets_azures_error(simulator):
    wrong = ClientSecretCredential(
        "11111111-0000-4000-8000-000000000000",
        simulator.env["AZURE_CLIENT_ID"],
        simulator.env["AZURE_CLIENT_SECRET"],
        authority=simulator.authority,
        disable_instance_discovery=True,
    )
    with pytest.raises((ClientAuthenticationError, ValueError)):
        wrong.get_token(SCOPE)
