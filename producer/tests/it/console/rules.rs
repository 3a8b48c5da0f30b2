//! Who may see the console.

use reqwest::{StatusCode, header};

use super::Console;
use crate::{bare_world, world};

const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn another_address_than_loopback_needs_a_password_tls_and_a_name() {
    let world = bare_world().await;
    let open = ["console", "--listen", "0.0.0.0:0"];
    let refused = world.producer(&open).await;
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    for named in ["CONSOLE_PASSWORD", "--behind-tls", "--public-url"] {
        assert!(refused.stderr.contains(named), "{named} in {}", refused.stderr);
    }
    let named = [
        &open[..],
        &["--behind-tls", "--public-url", "https://exports.example.com"],
    ]
    .concat();
    let refused = world.producer(&named).await;
    assert!(refused.stderr.contains("CONSOLE_PASSWORD"), "{}", refused.stderr);
    let short = world.producer_with_env(&named, &[("CONSOLE_PASSWORD", "short")]).await;
    assert!(
        short.stderr.contains("fewer than 12") && !short.stderr.contains("`short`"),
        "{}",
        short.stderr
    );
    assert_eq!(short.code, 1);
    let file = std::env::temp_dir().join(format!("console-password-{}", std::process::id()));
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let overrides = [("CONSOLE_PASSWORD_FILE", file.to_str().unwrap())];
    let console = Console::start(&world, &named[1..], &overrides).await;
    assert_eq!(console.get("/healthz").send().await.unwrap().status(), StatusCode::OK);
    assert!(!console.process.log().contains(PASSWORD));
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn the_password_is_asked_for_and_guesses_are_slowed() {
    let world = world().await;
    let console = Console::start(&world, &[], &[("CONSOLE_PASSWORD", PASSWORD)]).await;
    let bare = console.get("/").send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
    assert!(
        bare.headers()[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
    assert!(!bare.text().await.unwrap().contains("project"));
    let with = async |password: &str| {
        let answer = console.get("/").basic_auth("anybody", Some(password)).send().await;
        answer.unwrap().status()
    };
    assert_eq!(with(PASSWORD).await, StatusCode::OK);
    // An asset is no less behind the password than a page.
    let asset = console.get("/assets/console.js").send().await.unwrap();
    assert_eq!(asset.status(), StatusCode::UNAUTHORIZED);
    for _ in 0..10 {
        with("wrong password").await;
    }
    assert_eq!(with("wrong password").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(with(PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
    assert!(!console.process.log().contains(PASSWORD) && !console.process.log().contains("wrong password"));
}

#[tokio::test]
async fn a_name_that_is_not_its_own_is_refused() {
    let world = world().await;
    let public = ["--public-url", "https://exports.example.com"];
    let unprotected = world
        .producer(&[&["console", "--listen", "127.0.0.1:0"], &public[..]].concat())
        .await;
    assert_eq!(unprotected.code, 1);
    assert!(
        unprotected.stderr.contains("CONSOLE_PASSWORD"),
        "{}",
        unprotected.stderr
    );
    let console = Console::start(&world, &public, &[("CONSOLE_PASSWORD", PASSWORD)]).await;
    let under = async |host: &str| {
        let request = console.get("/").header(header::HOST, host);
        let answer = request.basic_auth("anybody", Some(PASSWORD)).send().await.unwrap();
        answer.status()
    };
    for own in ["localhost:9000", "127.0.0.1", "[::1]:8090", "exports.example.com"] {
        assert_eq!(under(own).await, StatusCode::OK, "{own}");
    }
    for strange in [
        "evil.example",
        "localhost.evil.example:8090",
        "exports.example.com.evil.example",
    ] {
        assert_eq!(under(strange).await, StatusCode::MISDIRECTED_REQUEST, "{strange}");
    }
    let probe = console
        .get("/healthz")
        .header(header::HOST, "10.1.2.3:8090")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (probe.status(), probe.text().await.unwrap().as_str()),
        (StatusCode::OK, "ok\n")
    );
}

#[tokio::test]
async fn every_answer_has_the_headers_and_nothing_can_be_changed() {
    let world = world().await;
    let console = Console::start(&world, &[], &[]).await;
    for (path, host) in [
        ("/", "localhost"),
        ("/assets/console.css", "localhost"),
        ("/nowhere", "localhost"),
        ("/", "evil.example"),
        ("/healthz", "localhost"),
    ] {
        let answer = console.get(path).header(header::HOST, host).send().await.unwrap();
        let headers = answer.headers();
        let says = |name: &str| headers[name].to_str().unwrap().to_owned();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(says("content-security-policy").contains(part), "{part} at {path}");
        }
        assert!(!says("content-security-policy").contains("unsafe"));
        assert_eq!(says("x-content-type-options"), "nosniff");
        assert_eq!(says("cache-control"), "no-store");
        assert_eq!(says("referrer-policy"), "no-referrer");
    }
    for path in ["/", "/healthz", "/projects/x"] {
        let answer = console.post(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    let page = console.page("/").await;
    for inline in [" style=", "<style", "<script>", " onclick=", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

/// Whoever has begun a request and says no more must not keep the console from ending.
#[tokio::test]
async fn it_ends_though_somebody_is_still_connected() {
    use tokio::io::AsyncWriteExt as _;
    let world = bare_world().await;
    let console = Console::start(&world, &[], &[]).await;
    let address = console.url.strip_prefix("http://").unwrap();
    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    // It has been taken in before this one is answered.
    console.get("/healthz").send().await.unwrap();
    console.process.terminate();
    let code = console.process.exited_within(super::PATIENCE).await;
    assert!(code.is_some_and(|code| code.success()), "{}", console.process.tail());
    drop(silent);
}

#[tokio::test]
async fn its_pages_may_lie_under_a_path() {
    let world = world().await;
    let console = Console::start(&world, &["--path-prefix", "/exports"], &[]).await;
    let page = console.page("/exports/").await;
    assert!(page.contains("href=\"/exports/assets/console.css\""), "{page}");
    assert!(console.page("/exports/assets/console.css").await.contains("--ground"));
    let bare = console.get("/exports").send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(bare.headers()[header::LOCATION], "/exports/");
    assert_eq!(console.get("/").send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let bad = world.producer(&["console", "--path-prefix", "exports"]).await;
    assert!(bad.code == 1 && bad.stderr.contains("--path-prefix"), "{}", bad.stderr);
}
