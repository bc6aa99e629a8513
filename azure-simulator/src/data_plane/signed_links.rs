//! Links to files that need no token but end after a while, as those to Azure's blobs do.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::arm::request::Query;

const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// What links are signed with; new in every simulator.
#[derive(Clone)]
pub(crate) struct SigningKey(Uuid);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4())
    }

    fn signature(&self, path: &str, expires: &str) -> String {
        let mut hash = Sha256::new();
        for part in [
            self.0.as_bytes().as_slice(),
            path.as_bytes(),
            expires.as_bytes(),
        ] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    /// The query that lets `path` be read for an hour.
    pub(crate) fn sign(&self, path: &str, now: Timestamp) -> String {
        let expires = now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX);
        let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let signature = self.signature(path, &expires);
        format!("sv=2019-07-07&sr=b&sp=r&se={expires}&sig={signature}")
    }

    pub(crate) fn permits(&self, path: &str, query: &Query, now: Timestamp) -> bool {
        let (Some(expires), Some(signature)) = (query.get("se"), query.get("sig")) else {
            return false;
        };
        let live = expires
            .parse::<Timestamp>()
            .is_ok_and(|expires| expires > now);
        live && signature == self.signature(path, expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_ends_and_is_good_for_one_path() {
        let key = SigningKey::new();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let query = Query::parse(&key.sign("/blob/a", now));
        assert!(key.permits("/blob/a", &query, now));
        assert!(!key.permits("/blob/b", &query, now));
        assert!(!key.permits("/blob/a", &query, now + SignedDuration::from_hours(2)));
        assert!(!SigningKey::new().permits("/blob/a", &query, now));
    }
}
