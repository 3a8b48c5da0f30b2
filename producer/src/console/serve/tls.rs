//! The console's own certificate. Its files are looked at again, so that a renewed certificate is used
//! without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at, at most: when somebody connects.
const LOOK: Duration = Duration::from_secs(10);

/// A certificate for the console and its key, as PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and what leads to its authority
    pub cert: PathBuf,
    /// The private key
    pub key: PathBuf,
}

/// A certificate and its key.
pub(in crate::console) struct Tls {
    files: TlsFiles,
    /// What the files held; not the key itself
    held: [u8; 32],
    acceptor: TlsAcceptor,
    looked: Instant,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.files.fmt(f)
    }
}

impl Tls {
    /// Reads them. The error names the option and what to do.
    pub(in crate::console) fn read(files: TlsFiles) -> Result<Self, String> {
        let (cert, key) = read(&files)?;
        Ok(Self {
            acceptor: acceptor(&files, &cert, &key)?,
            held: digest(&cert, &key),
            looked: Instant::now(),
            files,
        })
    }

    /// What a connection that comes now is given. A certificate that cannot be used does not replace the
    /// one before: half of a renewal may be written.
    pub(super) fn acceptor(&mut self) -> TlsAcceptor {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.look_again();
        }
        self.acceptor.clone()
    }

    fn look_again(&mut self) {
        let renewed = read(&self.files).and_then(|(cert, key)| {
            let held = digest(&cert, &key);
            let is_new = held != self.held;
            Ok(is_new.then_some((acceptor(&self.files, &cert, &key)?, held)))
        });
        match renewed {
            Ok(None) => {}
            Ok(Some((acceptor, held))) => {
                (self.acceptor, self.held) = (acceptor, held);
                tracing::info!("the console uses the renewed certificate");
            }
            Err(why) => tracing::warn!(%why, "the console goes on with the certificate of before"),
        }
    }
}

fn read(files: &TlsFiles) -> Result<(Vec<u8>, Vec<u8>), String> {
    let read = |option: &str, path: &Path| {
        std::fs::read(path).map_err(|error| format!("{option} {}: cannot be read: {error}", path.display()))
    };
    Ok((read("--tls-cert", &files.cert)?, read("--tls-key", &files.key)?))
}

/// PURE.
fn acceptor(files: &TlsFiles, cert: &[u8], key: &[u8]) -> Result<TlsAcceptor, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .ok()
        .filter(|chain: &Vec<_>| !chain.is_empty())
        .ok_or_else(|| format!("--tls-cert {}: holds no certificates as PEM", files.cert.display()))?;
    // Its error might quote the file.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| format!("--tls-key {}: holds no private key as PEM", files.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| format!("--tls-cert and --tls-key cannot be used together: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn digest(cert: &[u8], key: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(Sha256::digest(cert))
        .chain_update(key)
        .finalize()
        .into()
}
