//! Whether a form was sent by a page of the console. A page of somebody else may make a browser send
//! one, with the password that the browser remembers. PURE.

use axum::http::{HeaderMap, HeaderName, header};

use super::host::Hosts;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Actions change things, so whoever may do them must have said who they are, on loopback, too.
pub(in crate::console) fn may_act(allowed: bool, has_password: bool) -> Result<(), String> {
    if allowed && !has_password {
        return Err(
            "--allow-actions lets whoever reaches the console change things, so it also needs CONSOLE_PASSWORD \
             (or CONSOLE_PASSWORD_FILE), on a loopback address, too"
                .to_owned(),
        );
    }
    Ok(())
}

/// Whether a browser says that one of our own pages sent it. Where it says nothing, nobody knows.
pub(super) fn is_own(headers: &HeaderMap, hosts: &Hosts) -> bool {
    let mut sites = headers.get_all(FETCH_SITE).iter().peekable();
    if sites.peek().is_some() {
        return sites.all(|site| site.as_bytes() == b"same-origin");
    }
    // Browsers of before 2023, and all of them where the page came over plain HTTP from elsewhere.
    let text = |name| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        value.to_str().ok()
    };
    let (host, origin) = (text(header::HOST), text(header::ORIGIN));
    host.zip(origin)
        .is_some_and(|(host, origin)| hosts.have_origin(host, origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pairs: &[(&str, &str)]) -> bool {
        let hosts = Hosts::new(Some(&"https://exports.example.com/x".parse().unwrap()));
        let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        is_own(&pairs.iter().map(pair).collect(), &hosts)
    }

    #[test]
    fn what_the_browser_says_of_the_site_decides() {
        let from = |site| own(&[("host", "localhost:8090"), ("sec-fetch-site", site)]);
        assert!(from("same-origin"));
        for other in [
            "same-site",
            "cross-site",
            "none",
            "",
            "Same-Origin",
            "same-origin, cross-site",
        ] {
            assert!(!from(other), "{other}");
        }
        let here = ("host", "localhost:8090");
        let two = [
            here,
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "cross-site"),
        ];
        assert!(!own(&two));
        // It goes before the origin.
        let origin = ("origin", "http://localhost:8090");
        assert!(!own(&[here, origin, ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn without_it_the_origin_must_be_the_consoles() {
        for (host, origin) in [
            ("localhost:8090", "http://localhost:8090"),
            ("127.0.0.1:8090", "http://127.0.0.1:8090"),
            ("[::1]:8090", "http://[::1]:8090"),
            ("localhost:8443", "https://localhost:8443"),
            ("localhost", "http://localhost"),
            ("exports.example.com", "https://exports.example.com"),
            ("exports.example.com:443", "https://exports.example.com"),
        ] {
            assert!(own(&[("host", host), ("origin", origin)]), "{origin} at {host}");
        }
        for (host, origin) in [
            ("localhost:8090", "http://localhost:8091"),
            ("localhost:8090", "http://localhost"),
            ("localhost:8090", "http://127.0.0.1:8090"),
            ("localhost:8090", "null"),
            ("localhost:8090", ""),
            ("localhost:8090", "http://localhost:8090/"),
            ("localhost:8090", "http://me@localhost:8090"),
            ("localhost:8090", "http://localhost:8090.evil.example"),
            ("localhost:8090", "https://exports.example.com"),
            ("localhost:8090", "file://"),
            ("exports.example.com", "http://exports.example.com"),
            ("exports.example.com", "https://exports.example.com:8443"),
            ("exports.example.com", "https://evil.example"),
            ("evil.example", "http://evil.example"),
        ] {
            assert!(!own(&[("host", host), ("origin", origin)]), "{origin} at {host}");
        }
        assert!(!own(&[("host", "localhost:8090")]));
        let twice = ("origin", "http://localhost:8090");
        assert!(!own(&[("host", "localhost:8090"), twice, twice]));
        assert!(!own(&[
            ("referer", "http://localhost:8090/"),
            ("host", "localhost:8090")
        ]));
    }

    #[test]
    fn actions_need_a_password_everywhere() {
        assert!(may_act(true, false).unwrap_err().contains("CONSOLE_PASSWORD"));
        assert_eq!(may_act(true, true), Ok(()));
        assert_eq!(may_act(false, false), Ok(()));
    }
}
