use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{is_owned_by, metadata};
use crate::names::ClusterIdentity;
use crate::token::Token;

/// The type by which these Secrets are watched, and no others.
pub const SECRET_TYPE: &str = "azureml.dask.dev/connection";

/// Names the head job whose scheduler knows the token.
const HEAD_RUN: &str = "azureml.dask.dev/head-run";

const ADDRESS: &str = "scheduler-address";
const DASHBOARD: &str = "dashboard-url";
const TOKEN: &str = "token";

/// What a connection Secret holds.
#[derive(Clone, PartialEq, Eq)]
pub struct HeldConnection {
    /// It belongs to this cluster.
    pub ours: bool,
    /// That of the Secret, so that no other one of its name is written to; `None` for one that is to be made.
    pub uid: Option<String>,
    pub head_run: Option<String>,
    pub token: Option<Token>,
    pub address: Option<String>,
    pub dashboard: Option<String>,
}

impl HeldConnection {
    pub fn read(secret: &Secret, cluster: &ClusterIdentity) -> Self {
        let key = |name: &str| {
            let ByteString(bytes) = secret.data.as_ref()?.get(name)?;
            String::from_utf8(bytes.clone()).ok()
        };
        Self {
            ours: is_owned_by(&secret.metadata, cluster),
            uid: secret.metadata.uid.clone(),
            head_run: secret
                .metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(HEAD_RUN).cloned()),
            token: key(TOKEN).and_then(|token| Token::read(&token)),
            address: key(ADDRESS),
            dashboard: key(DASHBOARD),
        }
    }
}

impl fmt::Debug for HeldConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldConnection")
            .field("ours", &self.ours)
            .field("head_run", &self.head_run)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

pub fn connection_secret_name(cluster: &ClusterIdentity) -> String {
    format!("{}-connection", cluster.name)
}

/// What a Dask user needs to connect; address and dashboard are empty until the head has published them.
pub fn connection_secret(cluster: &ClusterIdentity, held: &HeldConnection) -> Secret {
    let mut metadata = metadata(cluster, connection_secret_name(cluster));
    metadata.uid.clone_from(&held.uid);
    metadata.annotations = held
        .head_run
        .clone()
        .map(|run| BTreeMap::from([(HEAD_RUN.to_owned(), run)]));
    let entries = [
        (ADDRESS, held.address.clone().unwrap_or_default()),
        (DASHBOARD, held.dashboard.clone().unwrap_or_default()),
        (
            TOKEN,
            held.token
                .as_ref()
                .map(|token| token.reveal().to_owned())
                .unwrap_or_default(),
        ),
    ];
    Secret {
        metadata,
        type_: Some(SECRET_TYPE.to_owned()),
        data: Some(
            entries
                .into_iter()
                .map(|(name, value)| (name.to_owned(), ByteString(value.into_bytes())))
                .collect(),
        ),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_debug_hides_the_token() {
        let cluster = ClusterIdentity {
            namespace: "weather".into(),
            name: "noaa-isd".into(),
            uid: "u1".into(),
        };
        let token = Token::draw();
        let held = HeldConnection {
            ours: true,
            uid: Some("s1".into()),
            head_run: Some("noaa-isd-u1-head-1".into()),
            token: Some(token.clone()),
            address: Some("tcp://10.20.0.8:8786".into()),
            dashboard: Some("http://10.20.0.8:8787".into()),
        };
        let secret = connection_secret(&cluster, &held);
        assert_eq!(HeldConnection::read(&secret, &cluster), held);
        assert!(!format!("{held:?}").contains(token.reveal()));
        let stranger = ClusterIdentity {
            uid: "u2".into(),
            ..cluster
        };
        assert!(!HeldConnection::read(&secret, &stranger).ours);
    }
}
