//! PostHog's certificate comes from an authority that nobody has named.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use crate::{DAY, PATIENCE, ready, world};

/// A server that answers 200 to a client that trusts its certificate. It ends with the process.
struct Host {
    address: SocketAddr,
    /// In PEM form
    authority: String,
    requests: Arc<AtomicUsize>,
}

impl Host {
    fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        testkit::install_crypto();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Self {
            address: listener.local_addr().unwrap(),
            authority: issuer.pem(),
            requests: Arc::default(),
        };
        let (config, requests) = (Arc::new(config), Arc::clone(&host.requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut tls = rustls::StreamOwned::new(connection, stream);
                let mut request = vec![0; 64 * 1024];
                if tls.read(&mut request).is_ok_and(|length| length > 0) {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
            }
        });
        host
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn its_certificate_is_not_trusted() {
    let (world, project) = world(20).await;
    let host = Host::start();
    let url = format!("https://{}", host.address);
    project.leads_to(&url).await;
    world.set("RETRY_RUNGS", "300ms×1");
    world.succeeds(&["declare"]).await;
    let quick = [("SEND_TIMEOUT", "500ms"), ("RETRY_BUDGET", "600ms")];
    let worker = ready(&world, &[&quick]).await;
    project.publish(DAY, "daily").await;
    assert_eq!(world.dead_letter().await.headers["x-error-code"], "posthog_unavailable");
    let error = project.field("daily", "error").await.unwrap();
    assert!(
        error.contains("certificate"),
        "an operator reads nothing of it: {error}"
    );
    assert_eq!(host.requests(), 0, "it was told something");
    worker.kill();

    // Once its authority is named, it is trusted: nothing else was wrong.
    let authority = std::env::temp_dir().join(format!("{}.pem", host.address));
    std::fs::write(&authority, &host.authority).unwrap();
    let _trusting = ready(&world, &[&[("POSTHOG_CA_FILE", authority.to_str().unwrap())]]).await;
    project.publish(DAY, "again").await;
    world
        .wait_until("it is told something", PATIENCE, async || host.requests() > 0)
        .await;
    std::fs::remove_file(authority).unwrap();
}
