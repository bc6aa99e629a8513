//! The certificate authority of a simulator, and the certificate that its listener shows.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::files::write_at_once;

pub(crate) const CA: &str = "ca.crt";
pub(crate) const CA_BUNDLE: &str = "ca-bundle.crt";
const CA_KEY: &str = "ca.key";

/// The certificates cannot be made or written.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate's making failed.
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library does not take the certificate.
    #[error("the certificate cannot be used")]
    Unusable(#[from] rustls::Error),
    /// A file of the directory cannot be read or written.
    #[error("the certificate's files cannot be written")]
    Files(#[from] std::io::Error),
}

pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) ca_pem: String,
}

/// Makes the CA (or takes the one that a simulator left in `directory`, so that clients outlive a
/// restart), a certificate for this machine, and writes `ca.crt` and `ca-bundle.crt`.
pub(crate) fn prepare(directory: &Path) -> Result<Tls, TlsError> {
    let (key, ca_pem) = authority(directory)?;
    let issuer = Issuer::new(authority_params(), key);
    let mut params = CertificateParams::new(vec![
        "localhost".to_owned(),
        // Hosts of storage accounts.
        "*.blob.core.localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ])?;
    params
        .distinguished_name
        .push(DnType::CommonName, "azure-simulator");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let own = KeyPair::generate()?;
    let certificate = params.signed_by(&own, &issuer)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der())),
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let bundle = format!("{}{ca_pem}", machine_roots());
    write_at_once(&directory.join(CA_BUNDLE), &bundle)?;
    Ok(Tls {
        config: Arc::new(config),
        ca_pem,
    })
}

fn authority(directory: &Path) -> Result<(KeyPair, String), TlsError> {
    let (certificate_file, key_file) = (directory.join(CA), directory.join(CA_KEY));
    if let (Ok(pem), Ok(key)) = (
        std::fs::read_to_string(&certificate_file),
        std::fs::read_to_string(&key_file),
    ) {
        return Ok((KeyPair::from_pem(&key)?, pem));
    }
    let key = KeyPair::generate()?;
    let pem = authority_params().self_signed(&key)?.pem();
    write_private(&key_file, &key.serialize_pem())?;
    write_at_once(&certificate_file, &pem)?;
    Ok((key, pem))
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    params
        .distinguished_name
        .push(DnType::CommonName, "azure-simulator test CA");
    params
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// The machine's own roots in PEM: `SSL_CERT_FILE` replaces them, so the bundle has to hold them.
fn machine_roots() -> &'static str {
    static ROOTS: OnceLock<String> = OnceLock::new();
    ROOTS.get_or_init(read_machine_roots)
}

fn read_machine_roots() -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let mut text = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate.as_ref());
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
