//! Private certificate authorities, their servers' certificates, and TLS in front of a server that
//! speaks none.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Makes ring the process-wide TLS provider, without which no HTTP client can be built. Any number
/// of calls is fine.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A private authority.
pub struct Authority {
    /// Its own certificate, as a file for clients that shall trust it
    pub ca: PathBuf,
    directory: PathBuf,
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate and key.
pub struct ServerIdentity {
    /// The certificate's file
    pub certificate: PathBuf,
    /// The key's file
    pub key: PathBuf,
    /// Both, for a server of this process
    pub config: Arc<ServerConfig>,
}

impl Authority {
    /// Makes one whose files lie in this directory.
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca = directory.join(format!("{name}-ca.pem"));
        std::fs::write(&ca, issuer.pem()).unwrap();
        Self {
            ca,
            directory: directory.to_owned(),
            name: name.to_owned(),
            issuer,
        }
    }

    /// Signs a server's certificate for one host name or address, and no other.
    pub fn identity(&self, host: &str) -> ServerIdentity {
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&pair, &self.issuer).unwrap();
        let write = |kind: &str, text: String| {
            let path = self.directory.join(format!("{}-{host}-{kind}.pem", self.name));
            std::fs::write(&path, text).unwrap();
            path
        };
        install_crypto();
        let private = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        ServerIdentity {
            certificate: write("certificate", certificate.pem()),
            key: write("key", pair.serialize_pem()),
            config: Arc::new(config),
        }
    }
}

/// Speaks TLS on a port of its own and passes the plain bytes on to `target`, as long as the test's
/// runtime lives.
pub async fn front(config: Arc<ServerConfig>, target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(config);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate ends the connection here. Some tests
                // want that.
                let Ok(mut client) = acceptor.accept(client).await else {
                    return;
                };
                if let Ok(mut server) = TcpStream::connect(target).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    address
}
