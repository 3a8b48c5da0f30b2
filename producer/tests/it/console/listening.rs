//! How the console listens: whom it keeps waiting, its own TLS, and connections that say nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode, header};
use testkit::tls::{Authority, ServerIdentity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Console, PATIENCE};
use crate::{bare_world, world};

const PASSWORD: &str = "correct horse battery";

/// Guesses until also the right password must wait. However slow the machine is, the waits get longer.
async fn guess_until_it_waits(get: impl AsyncFn(&str) -> StatusCode) {
    let waits = async || {
        get("wrong password").await;
        get(PASSWORD).await == StatusCode::TOO_MANY_REQUESTS
    };
    assert!(
        testkit::wait::until(PATIENCE, waits).await.is_some(),
        "whoever guesses is not slowed"
    );
}

#[tokio::test]
async fn a_browser_that_was_let_in_is_not_kept_out_by_what_others_guess() {
    let world = world().await;
    let console = Console::start(&world, &[], &[("CONSOLE_PASSWORD", PASSWORD)]).await;
    let get = async |password: &str, cookie: &str| {
        let request = console.get("/").basic_auth("anybody", Some(password));
        request.header(header::COOKIE, cookie).send().await.unwrap()
    };
    let first = get(PASSWORD, "").await;
    assert_eq!(first.status(), StatusCode::OK);
    let mark = first.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(mark.contains("HttpOnly") && mark.contains("SameSite=Strict"), "{mark}");
    let mark = mark.split(';').next().unwrap();
    assert!(
        get("wrong password", "")
            .await
            .headers()
            .get(header::SET_COOKIE)
            .is_none()
    );
    guess_until_it_waits(async |password| get(password, "").await.status()).await;
    let known = get(PASSWORD, mark).await;
    assert_eq!(
        known.status(),
        StatusCode::OK,
        "the operator is locked out by a guesser"
    );
    assert!(known.headers().get(header::SET_COOKIE).is_none(), "it has a mark");
    // The mark opens nothing, and whoever took it guesses no faster.
    let bare = console.get("/").header(header::COOKIE, mark).send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
    guess_until_it_waits(async |password| get(password, mark).await.status()).await;
}

#[tokio::test]
async fn behind_a_proxy_only_the_address_that_guesses_waits() {
    let world = world().await;
    let console = Console::start(&world, &["--behind-tls"], &[("CONSOLE_PASSWORD", PASSWORD)]).await;
    let get = async |password: &str, from: &str| {
        let request = console.get("/").basic_auth("anybody", Some(password));
        request.header("x-forwarded-for", from).send().await.unwrap().status()
    };
    // What stands before the last address, the guesser wrote.
    let number = std::cell::Cell::new(0);
    let guess = async |password: &str| {
        number.set((number.get() + 1) % 250);
        get(password, &format!("198.51.100.{}, 203.0.113.9", number.get())).await
    };
    guess_until_it_waits(guess).await;
    assert_eq!(get(PASSWORD, "203.0.113.10").await, StatusCode::OK);
}

/// A client that trusts this authority and no other.
fn trusting(authority: &Authority) -> Client {
    let pem = std::fs::read(&authority.ca).unwrap();
    let ca = reqwest::Certificate::from_pem(&pem).unwrap();
    // A connection of its own for each request, so that each sees the certificate of now.
    Client::builder()
        .tls_certs_only([ca])
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

#[tokio::test]
async fn it_speaks_tls_itself_and_takes_a_renewed_certificate() {
    let world = bare_world().await;
    let directory = std::env::temp_dir().join(format!("console-tls-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&directory).unwrap();
    let (before, after) = (
        Authority::new(&directory, "before"),
        Authority::new(&directory, "after"),
    );
    let (cert, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    let (cert_path, key_path) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let put = |certificate: &Path, private: &Path| {
        std::fs::copy(certificate, &cert).unwrap();
        std::fs::copy(private, &key).unwrap();
    };
    let ServerIdentity {
        certificate,
        key: private,
        ..
    } = before.identity("localhost");
    let with_files = [
        "console",
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        cert_path,
        "--tls-key",
        key_path,
    ];
    let refused = world.producer(&with_files).await;
    assert!(
        refused.code == 2 && refused.stderr.contains("--tls-cert"),
        "{}",
        refused.stderr
    );
    let renewed = after.identity("localhost");
    put(&certificate, &renewed.key);
    let refused = world.producer(&with_files).await;
    assert!(
        refused.code == 2 && refused.stderr.contains("--tls-key"),
        "{}",
        refused.stderr
    );
    let half = world.producer(&with_files[..5]).await;
    assert!(half.code == 2 && half.stderr.contains("--tls-key"), "{}", half.stderr);

    put(&certificate, &private);
    // On an address that others reach its own TLS is enough; no proxy is needed.
    let open = ["--listen", "0.0.0.0:0", "--public-url", "https://exports.example.com"];
    let arguments = [&open[..], &with_files[3..]].concat();
    let console = Console::start(&world, &arguments, &[("CONSOLE_PASSWORD", PASSWORD)]).await;
    let port = console.url.rsplit(':').next().unwrap().to_owned();
    let health = async |client: &Client| {
        let answer = client.get(format!("https://localhost:{port}/healthz")).send().await;
        answer.ok().map(|answer| answer.status())
    };
    let (old, new) = (trusting(&before), trusting(&after));
    assert_eq!(health(&old).await, Some(StatusCode::OK));
    assert_eq!(health(&new).await, None);
    let plain = console.get("/healthz").send().await;
    assert!(plain.is_err(), "it answers without TLS, too");

    // Half of a renewal replaces nothing.
    std::fs::copy(&renewed.certificate, &cert).unwrap();
    let told = async || {
        health(&old).await;
        console
            .process
            .log()
            .contains("goes on with the certificate of before")
            .then_some(())
    };
    assert!(
        testkit::wait::until(PATIENCE, told).await.is_some(),
        "{}",
        console.process.tail()
    );
    assert_eq!(health(&old).await, Some(StatusCode::OK));
    put(&renewed.certificate, &renewed.key);
    let taken = async || (health(&new).await == Some(StatusCode::OK)).then_some(());
    assert!(
        testkit::wait::until(PATIENCE, taken).await.is_some(),
        "{}",
        console.process.tail()
    );
    let log = console.process.log();
    assert!(!log.contains("PRIVATE KEY"));
    console.process.terminate();
    let ended = console.process.exited_within(PATIENCE).await;
    assert!(ended.is_some_and(|code| code.success()), "{}", console.process.tail());
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Else whoever reaches the port could hold as many open as the system has.
#[tokio::test]
async fn a_connection_that_says_nothing_more_is_closed() {
    let world = bare_world().await;
    let console = Console::start(&world, &[], &[]).await;
    let address = console.url.strip_prefix("http://").unwrap();
    let began = Instant::now();
    let mut silent = Vec::new();
    for begun in ["", "GET /healthz HTTP/1.1\r\nHo"] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(begun.as_bytes()).await.unwrap();
        silent.push(connection);
    }
    for mut connection in silent {
        let mut said = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut said)).await;
        assert!(closed.is_ok(), "it is open after {:?}", began.elapsed());
    }
    // Whoever types slowly is not cut off.
    assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
}
