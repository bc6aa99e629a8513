//! Who we are to Azure for one cluster: an identity, and the client that acts as it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::api::{DaskCluster, Reason};
use crate::azure::{ArmClient, Credential, Endpoint, Identity, RequestObserver};
use crate::clock::Clock;
use crate::lookup::Trouble;

/// A client and a name for whose eyes and hands it is.
#[derive(Clone)]
pub struct AzureAccess {
    pub client: ArmClient,
    /// Equal for the same identity, whoever holds it; no secret.
    pub principal: String,
}

/// What is needed to make clients.
pub struct AccessSettings {
    pub endpoint: Endpoint,
    pub http: reqwest::Client,
    /// The operator's own, for clusters that name no Secret.
    pub own: Option<Identity>,
    pub observer: Arc<dyn RequestObserver>,
}

/// Makes clients and keeps them, one an identity's present state.
pub struct AccessPool {
    settings: AccessSettings,
    clock: Clock,
    kubernetes: Client,
    own: Option<AzureAccess>,
    of_secrets: Mutex<HashMap<SecretKey, Held>>,
}

/// Namespace and name.
type SecretKey = (String, String);

#[derive(Clone)]
struct Held {
    version: String,
    uid: String,
    access: AzureAccess,
}

/// A cluster's way to Azure.
#[derive(Clone)]
pub struct Granted {
    pub access: AzureAccess,
    /// UID of the Secret that it comes from.
    pub secret_uid: Option<String>,
}

impl AccessPool {
    pub fn new(settings: AccessSettings, clock: Clock, kubernetes: Client) -> Self {
        let own = settings
            .own
            .clone()
            .map(|identity| client(&settings, &clock, identity, "the operator".into()));
        Self {
            settings,
            clock,
            kubernetes,
            own,
            of_secrets: Mutex::default(),
        }
    }

    /// The access of a cluster. `known_version` is the Secret's resource version as the watch last saw it; while it is
    /// the one that was read, the Secret is not read again.
    ///
    /// # Errors
    /// When the Secret is missing, lacks a key or cannot be read, or when there is no identity at all.
    pub async fn of(
        &self,
        cluster: &DaskCluster,
        known_version: Option<&str>,
    ) -> Result<Granted, Trouble> {
        let Some(name) = &cluster.spec.credentials_secret_name else {
            return match &self.own {
                Some(access) => Ok(Granted {
                    access: access.clone(),
                    secret_uid: None,
                }),
                None => Err(Trouble::passing(
                    Reason::CredentialsMissing,
                    "the DaskCluster names no credentialsSecretName, and the operator has no identity of its own: name a Secret with AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
                )),
            };
        };
        let namespace = cluster.metadata.namespace.clone().unwrap_or_default();
        let key = (namespace.clone(), name.clone());
        let held = self.held(&key);
        if let Some(held) =
            held.filter(|held| known_version.is_some_and(|version| version == held.version))
        {
            return Ok(held.granted());
        }
        let api: Api<Secret> = Api::namespaced(self.kubernetes.clone(), &namespace);
        let secret = api.get_opt(name).await.map_err(|error| {
            Trouble::passing(
                Reason::CredentialsMissing,
                format!("Secret {name} cannot be read: {error}"),
            )
        })?;
        let secret = secret.ok_or_else(|| {
            Trouble::passing(
                Reason::CredentialsMissing,
                format!("Secret {name} does not exist: create it with the keys AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"),
            )
        })?;
        let identity = Identity::from_secret(|key| {
            let ByteString(bytes) = secret.data.as_ref()?.get(key)?;
            Some(String::from_utf8_lossy(bytes).trim().to_owned())
        })
        .map_err(|error| {
            Trouble::passing(
                Reason::CredentialsMissing,
                format!("Secret {name} is incomplete: {error}"),
            )
        })?;
        let uid = secret.metadata.uid.clone().unwrap_or_default();
        let version = secret.metadata.resource_version.clone().unwrap_or_default();
        let access = client(
            &self.settings,
            &self.clock,
            identity,
            format!("{namespace}/{name}/{uid}"),
        );
        let held = Held {
            version,
            uid,
            access,
        };
        self.of_secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, held.clone());
        Ok(held.granted())
    }

    /// Tells the version that a write of ours gave the Secret: its keys are as they were read.
    pub fn secret_was_touched(&self, namespace: &str, name: &str, version: Option<String>) {
        let mut secrets = self
            .of_secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let (Some(held), Some(version)) = (
            secrets.get_mut(&(namespace.to_owned(), name.to_owned())),
            version,
        ) {
            held.version = version;
        }
    }

    /// Lets go of the identity in a Secret that nobody uses any more.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.of_secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn held(&self, key: &SecretKey) -> Option<Held> {
        self.of_secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }
}

impl Held {
    fn granted(self) -> Granted {
        Granted {
            access: self.access,
            secret_uid: Some(self.uid),
        }
    }
}

/// The operator's own access, without a Kubernetes cluster.
pub fn own_access(settings: &AccessSettings, clock: &Clock) -> Option<AzureAccess> {
    let identity = settings.own.clone()?;
    Some(client(settings, clock, identity, "the operator".into()))
}

fn client(
    settings: &AccessSettings,
    clock: &Clock,
    identity: Identity,
    principal: String,
) -> AzureAccess {
    let credential = Credential::new(
        identity,
        &settings.endpoint,
        settings.http.clone(),
        clock.clone(),
        Arc::clone(&settings.observer),
    );
    let client = ArmClient::new(
        settings.endpoint.clone(),
        credential,
        settings.http.clone(),
        clock.clone(),
        Arc::clone(&settings.observer),
    );
    AzureAccess { client, principal }
}
