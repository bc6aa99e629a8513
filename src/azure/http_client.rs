//! The HTTP client that everything about Azure goes through: HTTPS only, with deadlines, without
//! redirects.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::ClientBuilder;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

/// How requests to Azure are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a request may take, from its first byte to the last of its answer.
    pub timeout: Duration,
    /// Which certificate authorities are trusted.
    pub roots: Roots,
    /// The pod that asks, so that Azure's logs tell which of several it was.
    pub pod: Option<String>,
}

impl Default for HttpSettings {
    /// Ten seconds to connect, a minute for all. ARM answers within seconds; its own gateway gives
    /// up after a minute.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            roots: Roots::System,
            pod: None,
        }
    }
}

/// Where the trusted certificate authorities are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// The machine's; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them, as they do everywhere.
    System,
    /// A file of PEM certificates.
    File(PathBuf),
}

/// No client could be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// There is nobody to trust.
    #[error("no trusted certificate was found: {reasons}")]
    NoRoots {
        /// What went wrong with the files that were read.
        reasons: String,
    },
    /// The TLS library refuses the configuration.
    #[error("the TLS configuration was refused")]
    Tls(#[from] rustls::Error),
    /// The HTTP library refuses the configuration.
    #[error("the HTTP client could not be built")]
    Http(#[from] reqwest::Error),
}

/// Makes the client. Clones of it share connections, so one is made for the whole operator.
pub fn http_client(settings: &HttpSettings) -> Result<reqwest::Client, HttpClientError> {
    let roots = roots(&settings.roots)?;
    Ok(builder(settings, roots)?.https_only(true).build()?)
}

fn builder(settings: &HttpSettings, roots: RootCertStore) -> Result<ClientBuilder, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // A redirect could carry a token to another host; ARM does not use any.
        .redirect(reqwest::redirect::Policy::none())
        // Trying again is the reconcile's to decide.
        .retry(reqwest::retry::never())
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.timeout)
        // Many requests share one HTTP/2 connection: a dead one has to be noticed.
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(settings.connect_timeout)
        .user_agent(user_agent(settings.pod.as_deref())))
}

/// `dask-azureml-operator/0.1.0 (dask-azureml-operator-5d9c7-x2x4v)`
fn user_agent(pod: Option<&str>) -> String {
    let product = concat!("dask-azureml-operator/", env!("CARGO_PKG_VERSION"));
    let is_name = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    match pod.filter(is_name) {
        Some(pod) => format!("{product} ({pod})"),
        None => product.to_owned(),
    }
}

/// A client for the metadata service of virtual machines, which speaks plain HTTP and is behind no
/// proxy.
pub(super) fn plain_http_client(
    connect_timeout: Duration,
    timeout: Duration,
) -> Result<reqwest::Client, HttpClientError> {
    let settings = HttpSettings {
        connect_timeout,
        timeout,
        ..HttpSettings::default()
    };
    let client = builder(&settings, RootCertStore::empty())?.no_proxy();
    Ok(client.build()?)
}

/// A client that takes plain HTTP too, for tests of this crate against a local server.
#[cfg(test)]
pub(crate) fn insecure_http_client(settings: &HttpSettings) -> reqwest::Client {
    let builder = builder(settings, RootCertStore::empty()).unwrap();
    builder.no_proxy().build().unwrap()
}

fn roots(roots: &Roots) -> Result<RootCertStore, HttpClientError> {
    let CertificateResult { certs, errors, .. } = match roots {
        Roots::System => load_native_certs(),
        Roots::File(path) => load_certs_from_paths(Some(path), None),
    };
    let mut store = RootCertStore::empty();
    // A machine's store may hold certificates that no longer parse; the others still count.
    store.add_parsable_certificates(certs);
    if store.is_empty() {
        let reasons: Vec<_> = errors.iter().map(ToString::to_string).collect();
        return Err(HttpClientError::NoRoots {
            reasons: reasons.join("; "),
        });
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_is_told_which_pod_asks_where_that_is_a_name() {
        assert!(user_agent(Some("pod-1")).ends_with(" (pod-1)"));
        for none in [None, Some("a\nb"), Some("a (b)")] {
            assert!(user_agent(none).ends_with(env!("CARGO_PKG_VERSION")));
        }
    }

    #[test]
    fn a_client_without_anybody_to_trust_is_refused() {
        let settings = HttpSettings {
            roots: Roots::File("does-not-exist.crt".into()),
            ..HttpSettings::default()
        };
        let error = http_client(&settings).unwrap_err();
        assert!(error.to_string().contains("does-not-exist.crt"), "{error}");
    }
}
