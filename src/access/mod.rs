//! Who we are to Azure for one cluster: an identity, and the client that acts as it.

mod service_accounts;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use service_accounts::TokenRequests;
pub use source::{Choices, Source};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::api::Reason;
use crate::azure::{
    ArmClient, Budgets, Credential, Endpoint, Identity, RequestObserver, TokenSources,
};
use crate::clock::Clock;
use crate::leadership::Lead;
use crate::lookup::Trouble;

/// A client and names for whose eyes and hands it is.
#[derive(Clone)]
pub struct AzureAccess {
    pub client: ArmClient,
    /// Equal for the same identity by the same proof, whoever holds it ([`Identity::principal`]). To be compared, not
    /// to be shown.
    pub principal: String,
    /// The identity without its proof ([`Identity::name`]): Azure counts requests by it.
    pub name: Arc<str>,
}

/// What is needed to make clients.
pub struct AccessSettings {
    pub endpoint: Endpoint,
    pub http: reqwest::Client,
    pub tokens: TokenSources,
    /// The operator's own.
    pub own: Option<Identity>,
    /// Whether clusters without a Secret act as the operator.
    pub lends_own: bool,
    pub observer: Arc<dyn RequestObserver>,
    pub budgets: Budgets,
    /// Azure is asked only while it is ours.
    pub lead: Lead,
}

/// Makes clients and keeps them, one a principal.
pub struct AccessPool {
    settings: AccessSettings,
    clock: Clock,
    kubernetes: Client,
    own: Option<AzureAccess>,
    of_secrets: Mutex<HashMap<SecretKey, Held>>,
}

/// Namespace and name.
type SecretKey = (String, String);

/// What a Secret last said.
#[derive(Clone)]
struct Held {
    version: String,
    uid: String,
    /// The access that it gives, or why none.
    access: Result<AzureAccess, Trouble>,
    read_at: Duration,
}

/// A Secret that no watch tells about is read again after this time, if it gave no access: so many clusters that wait
/// for the same one do not ask the API server each.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Why a Secret gave no access is forgotten after this time, if nobody asked again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// A cluster's way to Azure.
#[derive(Clone)]
pub struct Granted {
    pub access: AzureAccess,
    /// UID of the Secret that it comes from.
    pub secret_uid: Option<String>,
}

impl AccessPool {
    pub fn new(settings: AccessSettings, clock: Clock, kubernetes: Client) -> Self {
        let own = settings.own.clone();
        let own = own.map(|identity| access(&settings, &clock, identity));
        Self {
            settings,
            clock,
            kubernetes,
            own,
            of_secrets: Mutex::default(),
        }
    }

    /// Where the identity of a cluster comes from that names this Secret, or none.
    ///
    /// # Errors
    /// When it comes from nowhere.
    pub fn source(&self, named: Option<&str>, namespace_has_one: bool) -> Result<Source, Trouble> {
        let choices = Choices {
            namespace_has_one,
            operator_lends: self.settings.lends_own,
            operator_has_one: self.own.is_some(),
        };
        Source::of(named, choices)
    }

    /// The access from a source. `known_version` is the Secret's resource version as a watch last saw it; while it is
    /// the one that was read, the Secret is not read again.
    ///
    /// # Errors
    /// When the Secret is missing, names no identity or cannot be read.
    pub async fn of(
        &self,
        namespace: &str,
        source: &Source,
        known_version: Option<&str>,
    ) -> Result<Granted, Trouble> {
        let name = match source {
            Source::Secret(name) => name,
            Source::Operator => {
                let access = self.own.clone().ok_or_else(|| {
                    let message = "the operator has no identity of its own";
                    Trouble::passing(Reason::CredentialsMissing, message)
                })?;
                return Ok(Granted {
                    access,
                    secret_uid: None,
                });
            }
        };
        let key = (namespace.to_owned(), name.clone());
        let now = self.clock.elapsed();
        let held = self.lock().get(&key).cloned();
        if let Some(held) = held.filter(|held| held.still_holds(known_version, now)) {
            return held.granted();
        }
        let api: Api<Secret> = Api::namespaced(self.kubernetes.clone(), namespace);
        let secret = api.get_opt(name).await.map_err(|error| {
            Trouble::passing(
                Reason::CredentialsMissing,
                format!("Secret {name} cannot be read: {error}"),
            )
        })?;
        let held = self.hold(key, secret.unwrap_or_default(), now);
        held.granted()
    }

    /// Keeps what a Secret says; one without a UID is not there.
    fn hold(&self, key: SecretKey, secret: Secret, now: Duration) -> Held {
        let (namespace, name) = (&key.0, &key.1);
        let missing = |message| Trouble::passing(Reason::CredentialsMissing, message);
        let identity = if secret.metadata.uid.is_none() {
            let message = format!(
                "Secret {name} does not exist: create it with {}",
                source::KEYS
            );
            Err(missing(message))
        } else {
            let value = |key: &str| {
                let ByteString(bytes) = secret.data.as_ref()?.get(key)?;
                Some(String::from_utf8_lossy(bytes).trim().to_owned())
            };
            Identity::from_secret(namespace, value)
                .map_err(|error| missing(format!("Secret {name} is incomplete: {error}")))
        };
        let mut secrets = self.lock();
        // Names that nobody waits for any more.
        secrets.retain(|_, held| {
            held.access.is_ok() || now.saturating_sub(held.read_at) < FORGOTTEN_AFTER
        });
        let access = identity.map(|identity| {
            let principal = identity.principal();
            let others = secrets
                .values()
                .filter_map(|held| held.access.as_ref().ok());
            let same = others
                .chain(&self.own)
                .find(|access| access.principal == principal);
            same.cloned()
                .unwrap_or_else(|| access(&self.settings, &self.clock, identity))
        });
        let held = Held {
            version: secret.metadata.resource_version.unwrap_or_default(),
            uid: secret.metadata.uid.unwrap_or_default(),
            access,
            read_at: now,
        };
        secrets.insert(key, held.clone());
        held
    }

    /// Tells the version that a write of ours gave the Secret: its keys are as they were read.
    pub fn secret_was_touched(&self, namespace: &str, name: &str, version: Option<String>) {
        let key = (namespace.to_owned(), name.to_owned());
        if let (Some(held), Some(version)) = (self.lock().get_mut(&key), version) {
            held.version = version;
        }
    }

    /// Lets go of the identity in a Secret that nobody uses any more.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SecretKey, Held>> {
        self.of_secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn still_holds(&self, known_version: Option<&str>, now: Duration) -> bool {
        match known_version {
            Some(version) => version == self.version,
            None => self.access.is_err() && now.saturating_sub(self.read_at) < READ_AGAIN_AFTER,
        }
    }

    fn granted(self) -> Result<Granted, Trouble> {
        Ok(Granted {
            access: self.access?,
            secret_uid: Some(self.uid),
        })
    }
}

/// The operator's own access, without a Kubernetes cluster.
pub fn own_access(settings: &AccessSettings, clock: &Clock) -> Option<AzureAccess> {
    let identity = settings.own.clone()?;
    Some(access(settings, clock, identity))
}

fn access(settings: &AccessSettings, clock: &Clock, identity: Identity) -> AzureAccess {
    let (principal, name) = (identity.principal(), identity.name().into());
    let credential = Credential::new(
        identity,
        &settings.endpoint,
        settings.tokens.clone(),
        clock.clone(),
        Arc::clone(&settings.observer),
    );
    let client = ArmClient::new(
        settings.endpoint.clone(),
        credential,
        settings.http.clone(),
        clock.clone(),
        Arc::clone(&settings.observer),
        settings.budgets.clone(),
    );
    AzureAccess {
        client: client.only_while_leading(settings.lead.clone()),
        principal,
        name,
    }
}
