//! Who may see the console.

use reqwest::{StatusCode, header};

use super::{Console, PASSWORD};
use crate::{bare_world, world};

#[tokio::test]
async fn another_address_than_loopback_needs_a_password_tls_and_a_name() {
    let world = bare_world().await;
    let open = ["console", "--listen", "0.0.0.0:0"];
    let refused = world.producer(&open).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
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
    assert_eq!(short.code, 2);
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
    assert_eq!(unprotected.code, 2);
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
        assert_eq!(says("referrer-policy"), "same-origin");
    }
    for path in ["/", "/projects/x", "/projects/project%20one/pause", "/nowhere"] {
        let answer = console.form(path, &[]).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
        let words = answer.text().await.unwrap();
        assert!(words.contains("without --allow-actions"), "{words}");
    }
    let probed = console.form("/healthz", &[]).send().await.unwrap();
    assert_eq!(probed.status(), StatusCode::METHOD_NOT_ALLOWED);
    let page = console.page("/").await;
    for inline in [" style=", "<style", "<script>", " onclick=", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

#[tokio::test]
async fn actions_need_a_password_on_loopback_too_and_the_key() {
    let world = bare_world().await;
    let acting = ["console", "--listen", "127.0.0.1:0", "--allow-actions"];
    let refused = world.producer(&acting).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--allow-actions") && refused.stderr.contains("CONSOLE_PASSWORD"),
        "{}",
        refused.stderr
    );
    let without_key = [("CONSOLE_PASSWORD", PASSWORD), ("ENCRYPTION_KEY", "")];
    let refused = world.producer_with_env(&acting, &without_key).await;
    assert!(
        refused.code == 2 && refused.stderr.contains("ENCRYPTION_KEY"),
        "{}",
        refused.stderr
    );
    // A console that only shows needs neither.
    Console::start(&world, &[], &[("ENCRYPTION_KEY", "")]).await;
}

#[tokio::test]
async fn only_a_form_of_the_consoles_own_page_does_something() {
    let world = world().await;
    let console = Console::acting(&world, &[]).await;
    let pause = "/projects/project%20one/pause";
    let fields = [("shown", "none"), ("reason", "a test")];
    let bare = |origin: &[(&'static str, &str)]| {
        let mut request = console.form(pause, &fields).build().unwrap();
        request.headers_mut().remove("sec-fetch-site");
        for (name, value) in origin {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    };
    let status = async |request| console.client.execute(request).await.unwrap().status();
    let other_port = console.url.rsplit_once(':').unwrap().0.to_owned() + ":1";
    for strange in [
        &[][..],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-site"), ("origin", console.url.as_str())],
        &[("origin", other_port.as_str())],
        &[("origin", "null")],
        &[("origin", "https://evil.example")],
        &[("referer", console.url.as_str())],
    ] {
        assert_eq!(status(bare(strange)).await, StatusCode::FORBIDDEN, "{strange:?}");
    }
    let mut unknown = bare(&[("sec-fetch-site", "same-origin")]);
    unknown.headers_mut().remove(header::AUTHORIZATION);
    assert_eq!(status(unknown).await, StatusCode::UNAUTHORIZED);
    let mut rebound = bare(&[("sec-fetch-site", "same-origin")]);
    rebound
        .headers_mut()
        .insert(header::HOST, "evil.example".parse().unwrap());
    assert_eq!(status(rebound).await, StatusCode::MISDIRECTED_REQUEST);
    for kind in ["text/plain", "application/json", "multipart/form-data; boundary=x", ""] {
        let mut request = bare(&[("sec-fetch-site", "same-origin")]);
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, kind.parse().unwrap());
        assert_eq!(status(request).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
    let long = "x".repeat(1_000_001);
    let large = console.form(pause, &[("shown", "none"), ("reason", &long)]);
    assert_eq!(large.send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    let nul = console.form(pause, &[("shown", "none"), ("reason", "a\0b")]);
    assert_eq!(nul.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    for method in ["GET", "HEAD"] {
        let request = console
            .client
            .request(method.parse().unwrap(), format!("{}{pause}", console.url));
        let answer = request.basic_auth("x", Some(PASSWORD)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    let put = console.client.put(format!("{}{pause}", console.url));
    let put = put
        .header("sec-fetch-site", "same-origin")
        .basic_auth("x", Some(PASSWORD));
    assert_eq!(put.send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);

    let untouched: bool = sqlx::query_scalar(
        "select not exists (select from posthog_export.paused) and not exists (select from posthog_export.audit)",
    )
    .fetch_one(&world.pool())
    .await
    .unwrap();
    assert!(untouched, "something was done");
    // A browser that does not know Sec-Fetch-Site says where the page came from.
    let own = [("origin", console.url.as_str())];
    assert_eq!(status(bare(&own)).await, StatusCode::SEE_OTHER);
    assert!(!console.process.log().contains(PASSWORD));
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
    assert!(bad.code == 2 && bad.stderr.contains("--path-prefix"), "{}", bad.stderr);
}
