//! Under which names the console answers. A page of somebody else can make a browser resolve its own
//! name to 127.0.0.1 (DNS rebinding) and would then read the console; the `Host` header tells. PURE.

use std::net::IpAddr;

use reqwest::Url;

/// The names.
#[derive(Clone, Debug)]
pub(in crate::console) struct Hosts {
    /// Host and port of `--public-url`
    public: Option<(String, Option<u16>)>,
    /// What browsers call where its pages come from
    origin: Option<String>,
}

impl Hosts {
    /// Loopback names with any port, since a port may be forwarded; and the public URL.
    pub(in crate::console) fn new(public: Option<&Url>) -> Self {
        let authority = |url: &Url| Some((url.host_str()?.to_ascii_lowercase(), url.port_or_known_default()));
        Self {
            public: public.and_then(authority),
            origin: public.map(|url| url.origin().ascii_serialization()),
        }
    }

    /// Whether an `Origin` header is the console's own, for a request under a name of ours.
    pub(super) fn have_origin(&self, host: &str, origin: &str) -> bool {
        // The whole text, so that nothing stands beside what was parsed.
        let is_whole = |url: &Url| url.origin().ascii_serialization() == origin && url.scheme().starts_with("http");
        let Some(from) = Url::parse(origin).ok().filter(is_whole) else {
            return false;
        };
        let here = Url::parse(&format!("{}://{host}/", from.scheme())).ok();
        if here.as_ref().and_then(Url::host_str).is_some_and(is_loopback) {
            return self.know(host) && here.is_some_and(|here| here.origin() == from.origin());
        }
        self.know(host) && self.origin.as_deref() == Some(origin)
    }

    /// Whether a `Host` header is one of them.
    pub(super) fn know(&self, header: &str) -> bool {
        // Parsed as a browser parses it, so that no two readings of one text differ.
        let Ok(url) = Url::parse(&format!("http://{header}/")) else {
            return false;
        };
        let plain = url.username().is_empty() && url.password().is_none() && url.path() == "/" && url.query().is_none();
        let Some(host) = url.host_str().filter(|_| plain && url.fragment().is_none()) else {
            return false;
        };
        is_loopback(host)
            || self.public.as_ref().is_some_and(|(name, port)| {
                // Without a port it is the scheme's own, and the scheme ended before us.
                let named = url.port().is_none() && (port.is_none_or(|port| port == 443 || port == 80));
                name == host && (named || url.port_or_known_default() == *port)
            })
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_the_public_url_are_known_and_nothing_else_is() {
        let hosts = Hosts::new(Some(&"https://Console.example.com/exports".parse().unwrap()));
        for known in [
            "localhost",
            "localhost:9000",
            "127.0.0.1:8090",
            "[::1]:8090",
            "console.example.com",
            "CONSOLE.example.com:443",
        ] {
            assert!(hosts.know(known), "{known}");
        }
        for strange in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "console.example.com:8443",
            "console.example.com.evil.example",
            "me@localhost",
            "localhost/../evil",
            "localhost?x",
            "localhost#x",
            "192.168.0.7:8090",
        ] {
            assert!(!hosts.know(strange), "{strange}");
        }
        assert!(!Hosts::new(None).know("console.example.com"));
        let other_port = Hosts::new(Some(&"http://ops.internal:8090".parse().unwrap()));
        assert!(other_port.know("ops.internal:8090") && !other_port.know("ops.internal"));
    }
}
