use std::collections::HashSet;

use super::*;

type Values<'a> = &'a [(&'a str, &'a str)];

fn value<'a>(values: Values<'a>) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        let (_, value) = values.iter().find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    }
}

const APPLICATION: [(&str, &str); 2] = [
    ("AZURE_TENANT_ID", "tenant"),
    ("AZURE_CLIENT_ID", "client\n"),
];

fn with<'a>(more: Values<'a>) -> Vec<(&'a str, &'a str)> {
    [&APPLICATION[..], more].concat()
}

fn client_secret(secret: &str) -> Identity {
    Identity::ClientSecret {
        tenant_id: "tenant".to_owned(),
        client_id: "client".to_owned(),
        client_secret: Secret::new(secret.to_owned()),
    }
}

fn federated(namespace: &str, name: &str) -> Identity {
    Identity::FederatedServiceAccount {
        tenant_id: "tenant".to_owned(),
        client_id: "client".to_owned(),
        service_account: ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
    }
}

fn workload_identity(file: &str) -> Identity {
    Identity::WorkloadIdentity {
        tenant_id: "tenant".to_owned(),
        client_id: "client".to_owned(),
        token_file: file.into(),
    }
}

fn managed(client: Option<&str>) -> Identity {
    Identity::ManagedIdentity {
        client_id: client.map(str::to_owned),
    }
}

#[test]
fn a_secret_gives_what_it_holds_without_the_blanks_around_its_values() {
    for (values, identity) in [
        (
            [("AZURE_CLIENT_SECRET", " hush-hush\n")],
            client_secret("hush-hush"),
        ),
        (
            [("AZURE_FEDERATED_SERVICE_ACCOUNT", "dask.azure-1\n")],
            federated("weather", "dask.azure-1"),
        ),
    ] {
        let read = Identity::from_secret("weather", value(&with(&values)));
        assert_eq!(read, Ok(identity));
    }
}

#[test]
fn each_secret_that_names_nobody_says_what_it_lacks() {
    const TENANT_ONLY: Values<'static> = &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", " ")];
    for (values, message) in [
        (vec![], "AZURE_TENANT_ID is not set"),
        (
            vec![("AZURE_CLIENT_SECRET", "s")],
            "AZURE_TENANT_ID is not set",
        ),
        (TENANT_ONLY.to_vec(), "AZURE_CLIENT_ID is not set"),
        (
            with(&[]),
            "AZURE_CLIENT_SECRET is not set: set it, or for workload identity set AZURE_FEDERATED_SERVICE_ACCOUNT to",
        ),
        // The file would be the operator's own.
        (
            with(&[("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token")]),
            "AZURE_CLIENT_SECRET is not set",
        ),
        (
            with(&[
                ("AZURE_CLIENT_SECRET", "s"),
                ("AZURE_FEDERATED_SERVICE_ACCOUNT", "a"),
            ]),
            "AZURE_CLIENT_SECRET and AZURE_FEDERATED_SERVICE_ACCOUNT are both set",
        ),
        (
            with(&[("AZURE_MANAGED_IDENTITY", "true")]),
            "AZURE_MANAGED_IDENTITY is not for Secrets",
        ),
        (
            with(&[("AZURE_CLIENT_CERTIFICATE", "-----BEGIN")]),
            "AZURE_CLIENT_CERTIFICATE is not supported",
        ),
    ] {
        let refused = Identity::from_secret("weather", value(&values)).unwrap_err();
        assert!(refused.to_string().starts_with(message), "{refused}");
    }
    let long = "a".repeat(254);
    for name in ["../secrets/x", "a/token", "A", "-a", "a..b", "a?b", &long] {
        let account = [("AZURE_FEDERATED_SERVICE_ACCOUNT", name)];
        let values = with(&account);
        let refused = Identity::from_secret("weather", value(&values));
        assert_eq!(refused, Err(InvalidIdentity::ServiceAccountName), "{name}");
    }
}

#[test]
fn the_environment_gives_a_secret_a_token_file_a_managed_identity_or_nobody() {
    const FILE: (&str, &str) = ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token");
    const MACHINE: (&str, &str) = ("AZURE_MANAGED_IDENTITY", "true");
    for (values, identity) in [
        (vec![], None),
        (vec![("AZURE_TENANT_ID", "tenant")], None),
        (vec![("AZURE_MANAGED_IDENTITY", "false")], None),
        (
            with(&[("AZURE_CLIENT_SECRET", "hush-hush"), FILE]),
            Some(client_secret("hush-hush")),
        ),
        (with(&[FILE]), Some(workload_identity("/var/run/token"))),
        (vec![MACHINE], Some(managed(None))),
        (with(&[MACHINE]), Some(managed(Some("client")))),
    ] {
        assert_eq!(Identity::from_environment(value(&values)), Ok(identity));
    }
}

#[test]
fn half_an_identity_in_the_environment_is_refused() {
    for (values, message) in [
        (with(&[]), "AZURE_CLIENT_SECRET is not set"),
        (
            vec![("AZURE_CLIENT_SECRET", "s"), ("AZURE_CLIENT_ID", " ")],
            "AZURE_TENANT_ID is not set",
        ),
        (
            vec![
                ("AZURE_FEDERATED_TOKEN_FILE", "f"),
                ("AZURE_TENANT_ID", "t"),
            ],
            "AZURE_CLIENT_ID is not set",
        ),
        (
            with(&[
                ("AZURE_MANAGED_IDENTITY", "true"),
                ("AZURE_CLIENT_SECRET", "s"),
            ]),
            "AZURE_MANAGED_IDENTITY and AZURE_CLIENT_SECRET are both set",
        ),
        (
            with(&[
                ("AZURE_MANAGED_IDENTITY", "true"),
                ("AZURE_FEDERATED_TOKEN_FILE", "f"),
            ]),
            "AZURE_MANAGED_IDENTITY and AZURE_FEDERATED_TOKEN_FILE are both set",
        ),
        (
            with(&[("AZURE_CLIENT_CERTIFICATE_PATH", "/c.pem")]),
            "AZURE_CLIENT_CERTIFICATE_PATH is not supported",
        ),
    ] {
        let refused = Identity::from_environment(value(&values)).unwrap_err();
        assert!(refused.to_string().starts_with(message), "{refused}");
    }
}

#[test]
fn the_same_proof_is_the_same_principal_and_any_other_is_not() {
    let identities = [
        client_secret("hush-hush"),
        client_secret("wrong"),
        workload_identity("hush-hush"),
        workload_identity("/var/run/token"),
        federated("weather", "dask"),
        federated("weatherd", "ask"),
        managed(Some("client")),
        managed(None),
    ];
    let principals: HashSet<_> = identities.iter().map(Identity::principal).collect();
    assert_eq!(principals.len(), identities.len());
    assert_eq!(
        client_secret("hush-hush").principal(),
        client_secret("hush-hush").principal()
    );
    assert_eq!(client_secret("wrong").name(), "tenant/client");
    assert_eq!(
        managed(Some("CLIENT")).principal(),
        managed(Some("client")).principal()
    );
    assert_eq!(federated("weather", "dask").name(), "tenant/client");
    assert_eq!(managed(None).name(), "managed-identity/system-assigned");
}

#[test]
fn the_secret_is_shown_nowhere() {
    let identity = client_secret("hush-hush");
    let shown = format!("{identity:?} {} {}", identity.name(), identity.principal());
    assert!(!shown.contains("hush"));
}
