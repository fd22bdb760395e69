//! An authority of this process and certificates that it signs: what `openssl` or a CA makes elsewhere.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};

/// Name and address that certificates are for.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// File of the server's certificate.
pub const CERTIFICATE: &str = "server.crt";
/// File of its key.
pub const KEY: &str = "server.key";
/// File of the authority's certificate.
pub const AUTHORITY: &str = "ca.crt";

/// The section that names these files.
pub const SECTION: &str = "[tls]\ncert_file = \"server.crt\"\nkey_file = \"server.key\"\n";

type Authority = CertifiedIssuer<'static, KeyPair>;

/// One for all tests of a process: every client of theirs believes it.
fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let mut params = named("the authority of the tests", Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        CertifiedIssuer::self_signed(params, key).expect("an authority")
    })
}

/// Issuer and subject need different names, or OpenSSL takes a certificate for its own issuer.
fn named(common_name: &str, names: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Writes a new certificate and its key into a folder, and the authority beside them.
///
/// # Panics
/// If they cannot be written.
pub fn write(folder: &Path) {
    let key = KeyPair::generate().expect("a key");
    let params = named("the server under test", NAMES.map(str::to_owned).to_vec());
    let certificate = params.signed_by(&key, authority()).expect("a certificate");
    for (name, text) in
        [(CERTIFICATE, certificate.pem()), (KEY, key.serialize_pem()), (AUTHORITY, authority().pem())]
    {
        std::fs::write(folder.join(name), text).expect("a file in the temporary folder");
    }
}

/// What a client needs that believes the authority.
///
/// # Panics
/// If rustls does not take it.
#[must_use]
pub fn client() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority().der().clone()).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.expect("versions of TLS").with_root_certificates(roots);
    Arc::new(builder.with_no_client_auth())
}
