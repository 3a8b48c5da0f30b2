//! Which hosts may be called. The hosts come from users of Langfuse, so each address is checked
//! when a socket is opened to it. A name that first resolves to an allowed address and then to
//! another (DNS rebinding) is refused the second time. `EGRESS_ALLOW` permits what is otherwise
//! refused, and `EGRESS_ONLY` narrows: it refuses all that it does not list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use futures::future::BoxFuture;
use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::settings::Settings;
use crate::settings::variables::{EGRESS_ALLOW, EGRESS_ONLY, Variable};

mod host_list;
pub use host_list::HostList;

/// Why a host may not be called.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAllowed {
    /// Not one of the hosts that the operator has restricted the exporter to
    #[error("`{0}` is not in EGRESS_ONLY; correct the project's host, or list it there if events may go to it")]
    Outside(String),
    /// Plain http to a host that is not listed
    #[error("`{0}` is plain http; use https, or list the host in EGRESS_ALLOW")]
    NotHttps(String),
    /// An address that is not public
    #[error("`{0}` is not a public address; list the host or its network in EGRESS_ALLOW if it is yours")]
    PrivateAddress(String),
    /// Neither http nor https
    #[error("`{0}` is neither http nor https")]
    OtherScheme(String),
}

/// What may be called: public addresses over https, and what `EGRESS_ALLOW` lists. Of these, only
/// what `EGRESS_ONLY` lists, when it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    allow: HostList,
    only: Option<HostList>,
}

impl FromStr for Egress {
    type Err = String;

    /// A text of `EGRESS_ALLOW`, without `EGRESS_ONLY`.
    fn from_str(allow: &str) -> Result<Self, Self::Err> {
        Ok(Self {
            allow: allow.parse()?,
            only: None,
        })
    }
}

impl Egress {
    /// Reads `EGRESS_ALLOW` and `EGRESS_ONLY`.
    pub fn read(settings: &mut Settings) -> Self {
        let allow = read_list(settings, &EGRESS_ALLOW);
        let only = read_list(settings, &EGRESS_ONLY);
        if only.as_ref().is_some_and(HostList::is_empty) {
            settings.complain(format!(
                "{} lists no host; leave it out if every public host may be called",
                EGRESS_ONLY.name
            ));
        }
        Self {
            allow: allow.unwrap_or_default(),
            only,
        }
    }

    /// The same, restricted to these hosts.
    #[must_use]
    pub fn only(self, only: HostList) -> Self {
        Self {
            only: Some(only),
            ..self
        }
    }

    /// Checks what is known before a name is resolved: whether it is listed, the scheme, and an
    /// address that is written instead of a name. The resolver never sees such an address.
    pub fn check_url(&self, url: &Url) -> Result<(), NotAllowed> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        let host = url.host_str().unwrap_or_default();
        let is_inside = |only: &HostList| address.map_or_else(|| only.lists_host(host), |a| only.lists_address(a));
        if !self.only.as_ref().is_none_or(is_inside) {
            return Err(NotAllowed::Outside(host.to_owned()));
        }
        if let Some(address) = address {
            self.check_address(host, address)?;
        }
        let listed = self.allow.lists_host(host) || address.is_some_and(|a| self.allow.lists_address(a));
        match url.scheme() {
            "https" => Ok(()),
            "http" if listed => Ok(()),
            "http" => Err(NotAllowed::NotHttps(host.to_owned())),
            _ => Err(NotAllowed::OtherScheme(host.to_owned())),
        }
    }

    /// Checks whether a socket may be opened to this address of a host.
    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), NotAllowed> {
        if is_public(address) || self.allow.lists_host(host) || self.allow.lists_address(address) {
            Ok(())
        } else {
            Err(NotAllowed::PrivateAddress(host.to_owned()))
        }
    }

    /// Those addresses of a name that a socket may be opened to.
    fn filter(&self, host: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotAllowed> {
        if self.only.as_ref().is_some_and(|only| !only.lists_host(host)) {
            return Err(NotAllowed::Outside(host.to_owned()));
        }
        let mut allowed = addresses;
        let mut refused = None;
        allowed.retain(|address| match self.check_address(host, address.ip()) {
            Ok(()) => true,
            Err(why) => {
                refused = Some(why);
                false
            }
        });
        match refused {
            Some(why) if allowed.is_empty() => Err(why),
            _ => Ok(allowed),
        }
    }
}

fn read_list(settings: &mut Settings, variable: &Variable) -> Option<HostList> {
    let text = settings.text(variable)?;
    match text.parse() {
        Ok(list) => Some(list),
        Err(error) => {
            settings.complain(format!("{} {error}", variable.name));
            None
        }
    }
}

/// Looks up the addresses of a name.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The resolver of the HTTP client. It answers only with addresses that are allowed.
#[derive(Clone)]
pub struct GuardedResolver {
    egress: Arc<Egress>,
    lookup: Lookup,
}

impl GuardedResolver {
    /// A resolver that asks the system's.
    pub fn new(egress: Arc<Egress>) -> Self {
        Self::asking(
            egress,
            Arc::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })),
        )
    }

    fn asking(egress: Arc<Egress>, lookup: Lookup) -> Self {
        Self { egress, lookup }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = Arc::clone(&self.egress);
        let host = name.as_str().to_owned();
        let found = (self.lookup)(host.clone());
        Box::pin(async move {
            let allowed = egress.filter(&host, found.await?)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// IPv4 networks that are not the public internet (IANA's registry of special-purpose addresses).
const NOT_PUBLIC_V4: [Ipv4Net; 14] = [
    v4(0, 0, 0, 0, 8),       // this network
    v4(10, 0, 0, 0, 8),      // private
    v4(100, 64, 0, 0, 10),   // carrier-grade NAT
    v4(127, 0, 0, 0, 8),     // loopback
    v4(169, 254, 0, 0, 16),  // link-local, and the clouds' metadata
    v4(172, 16, 0, 0, 12),   // private
    v4(192, 0, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 0, 24),    // documentation
    v4(192, 88, 99, 0, 24),  // 6to4 relays
    v4(192, 168, 0, 0, 16),  // private
    v4(198, 18, 0, 0, 15),   // benchmarks
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
    v4(224, 0, 0, 0, 3),     // multicast, reserved, broadcast
];

/// The global unicast addresses of IPv6; all others are not public.
const UNICAST_V6: Ipv6Net = v6([0x2000, 0], 3);
/// Networks within [`UNICAST_V6`] that are not public either.
const NOT_PUBLIC_V6: [Ipv6Net; 3] = [
    v6([0x2001, 0], 23),     // Teredo, ORCHID, benchmarks
    v6([0x2001, 0xdb8], 32), // documentation
    v6([0x3fff, 0], 20),     // documentation
];
/// Networks whose addresses contain an IPv4 address, and the segment at which it begins.
const CARRIERS_OF_V4: [(Ipv6Net, usize); 2] = [
    // NAT64: in a cluster without IPv4 every IPv4 host has such an address.
    (v6([0x64, 0xff9b], 96), 6),
    // 6to4
    (v6([0x2002, 0], 16), 1),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([first, second]: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// Whether an address belongs to the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match carried_v4(address) {
            Some(carried) => is_public_v4(carried),
            None => UNICAST_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|network| network.contains(&address)),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !NOT_PUBLIC_V4.iter().any(|network| network.contains(&address))
}

/// The IPv4 address that an IPv6 address contains.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some(mapped);
    }
    let (_, segment) = CARRIERS_OF_V4.iter().find(|(network, _)| network.contains(&address))?;
    let [high, low] = *address.segments().get(*segment..segment + 2)?.as_array()?;
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(allow: &str, url: &str) -> Result<(), NotAllowed> {
        allow.parse::<Egress>().unwrap().check_url(&url.parse().unwrap())
    }

    #[test]
    fn public_https_is_allowed_and_nothing_else() {
        assert!(check("", "https://eu.i.posthog.com").is_ok());
        assert!(check("", "https://8.8.8.8").is_ok());
        assert!(matches!(
            check("", "http://eu.i.posthog.com"),
            Err(NotAllowed::NotHttps(_))
        ));
        assert!(matches!(
            check("", "ftp://eu.i.posthog.com"),
            Err(NotAllowed::OtherScheme(_))
        ));
        for host in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "2130706433",
            "0x7f.1",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd12::1]",
            "[::ffff:10.0.0.1]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a00:1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001:db8::1]",
            "[2001::1]",
            "[ff02::1]",
            "[::127.0.0.1]",
        ] {
            assert!(
                matches!(
                    check("", &format!("https://{host}/")),
                    Err(NotAllowed::PrivateAddress(_))
                ),
                "{host}"
            );
        }
        for host in [
            "[2606:4700::1]",
            "[64:ff9b::808:808]",
            "172.32.0.1",
            "100.128.0.1",
            "192.169.0.1",
        ] {
            assert!(check("", &format!("https://{host}/")).is_ok(), "{host}");
        }
    }

    #[test]
    fn what_is_listed_may_be_private_and_plain() {
        let allow = "posthog.internal, 10.1.0.0/16, ::1";
        assert!(check(allow, "http://PostHog.internal:8000").is_ok());
        assert!(check(allow, "http://10.1.2.3").is_ok());
        assert!(check(allow, "http://[::ffff:10.1.2.3]").is_ok());
        assert!(check(allow, "http://[::1]:8000").is_ok());
        assert!(check(allow, "http://10.2.0.1").is_err());
        assert!(check(allow, "http://other.internal").is_err());
        for allow in ["*.internal", ".Internal", ".internal."] {
            assert!(check(allow, "http://posthog.internal:8000").is_ok(), "{allow}");
            assert!(check(allow, "http://a.b.INTERNAL.").is_ok(), "{allow}");
            for other in ["http://internal", "http://notinternal", "http://internal.example.com"] {
                assert!(check(allow, other).is_err(), "{allow} {other}");
            }
        }
        for bad in [
            "*",
            ".",
            "*.",
            "..internal",
            "a*.internal",
            "*.*.internal",
            "https://posthog.internal",
        ] {
            assert!(bad.parse::<Egress>().is_err(), "{bad}");
        }
        assert!("10.1.0.0/99".parse::<Egress>().is_err());
        assert!("a b".parse::<Egress>().is_err());
    }

    /// With `EGRESS_ONLY`, and with `EGRESS_ALLOW`.
    fn check_only(only: &str, allow: &str, url: &str) -> Result<(), NotAllowed> {
        let egress = allow.parse::<Egress>().unwrap().only(only.parse().unwrap());
        egress.check_url(&url.parse().unwrap())
    }

    #[test]
    fn what_is_not_among_the_only_hosts_is_refused_before_anything_else() {
        let only = "eu.i.posthog.com, *.example.com, 8.8.8.0/24";
        for inside in ["eu.i.posthog.com", "EU.I.PostHog.com.", "a.b.example.com", "8.8.8.8"] {
            assert!(check_only(only, "", &format!("https://{inside}")).is_ok(), "{inside}");
        }
        let only = "eu.i.posthog.com, *.example.com";
        for outside in [
            "us.i.posthog.com",
            "example.com",
            "eu.i.posthog.com.evil.org",
            "eu.i.posthog.com@evil.org",
            "xeu.i.posthog.com",
            "9.9.9.9",
            "10.0.0.1",
            "[::1]",
        ] {
            let refused = check_only(only, "", &format!("https://{outside}"));
            assert!(matches!(refused, Err(NotAllowed::Outside(_))), "{outside}: {refused:?}");
        }
    }

    /// Each list does its own thing: the one narrows, the other permits.
    #[test]
    fn the_only_hosts_are_no_permission_and_a_permission_is_no_only_host() {
        let private = "http://posthog.internal:8000";
        assert!(matches!(
            check_only("posthog.internal", "", private),
            Err(NotAllowed::NotHttps(_))
        ));
        assert!(matches!(
            check_only("eu.i.posthog.com", "posthog.internal", private),
            Err(NotAllowed::Outside(_))
        ));
        assert!(check_only("posthog.internal", "posthog.internal", private).is_ok());
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Egress, String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut settings = Settings::from_map(pairs.collect());
        let egress = Egress::read(&mut settings);
        settings.finish().map(|_| egress).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bad_list_is_refused_and_its_variable_named() {
        for (name, value) in [
            ("EGRESS_ONLY", "https://eu.i.posthog.com"),
            ("EGRESS_ONLY", "a b"),
            ("EGRESS_ONLY", "*"),
            ("EGRESS_ONLY", ","),
            ("EGRESS_ALLOW", "a b"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(name), "{name}={value}: {error}");
        }
        let egress = read(&[("EGRESS_ONLY", "eu.i.posthog.com")]).unwrap();
        assert!(egress.check_url(&"https://us.i.posthog.com".parse().unwrap()).is_err());
        assert_eq!(read(&[("EGRESS_ONLY", "")]).unwrap(), Egress::default());
    }

    #[tokio::test]
    async fn a_name_that_is_not_among_the_only_hosts_opens_no_socket() {
        let outside = |guard: GuardedResolver| GuardedResolver {
            egress: Arc::new(Egress::default().only("*.internal,203.0.112.0/24".parse().unwrap())),
            ..guard
        };
        // Its address is listed, and its name is not.
        assert_eq!(resolved(&outside(answering("", &[&["203.0.112.1"]]))).await, None);
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_refused_when_the_socket_opens() {
        let guard = GuardedResolver::new(Arc::new(Egress::default()));
        let error = guard.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(error.downcast_ref::<NotAllowed>().is_some());
        let listed = GuardedResolver::new(Arc::new("localhost".parse().unwrap()));
        assert!(listed.resolve("localhost".parse().unwrap()).await.is_ok());
    }

    /// A resolver that answers these one after the other.
    fn answering(allow: &str, answers: &[&[&str]]) -> GuardedResolver {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        let answers: Vec<Vec<SocketAddr>> = answers.iter().map(|list| list.iter().map(address).collect()).collect();
        let answers = std::sync::Mutex::new(answers.into_iter());
        GuardedResolver::asking(
            Arc::new(allow.parse().unwrap()),
            Arc::new(move |_| {
                let next = answers.lock().unwrap().next().unwrap_or_default();
                Box::pin(async move { Ok(next) })
            }),
        )
    }

    async fn resolved(guard: &GuardedResolver) -> Option<Vec<String>> {
        let addresses = guard.resolve("posthog.example.com".parse().unwrap()).await.ok()?;
        Some(addresses.map(|address| address.ip().to_string()).collect())
    }

    #[tokio::test]
    async fn a_name_that_is_rebound_to_a_private_address_is_refused_the_second_time() {
        let guard = answering("", &[&["203.0.112.1"], &["169.254.169.254"], &["::ffff:10.0.0.1"]]);
        assert_eq!(resolved(&guard).await.unwrap(), ["203.0.112.1"]);
        assert_eq!(resolved(&guard).await, None);
        assert_eq!(resolved(&guard).await, None);
    }

    #[tokio::test]
    async fn of_many_addresses_only_the_public_ones_are_left() {
        let mixed: &[&str] = &[
            "10.0.0.1",
            "203.0.112.1",
            "fd00::1",
            "2606:4700::1",
            "100.64.0.1",
            "64:ff9b::a00:1",
        ];
        let guard = answering("", &[mixed]);
        assert_eq!(resolved(&guard).await.unwrap(), ["203.0.112.1", "2606:4700::1"]);
        let guard = answering("10.0.0.0/8", &[mixed]);
        assert_eq!(resolved(&guard).await.unwrap()[0], "10.0.0.1");
    }

    #[tokio::test]
    async fn no_socket_is_opened_to_what_is_refused() {
        crate::posthog::install_crypto();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = reqwest::Client::builder()
            .dns_resolver(Arc::new(answering("", &[&["127.0.0.1"], &["127.0.0.1"]])))
            .no_proxy()
            .build()
            .unwrap();
        let error = client
            .get(format!("https://posthog.example.com:{port}/"))
            .send()
            .await
            .unwrap_err();
        assert!(matches!(
            crate::posthog::CallError::from(error),
            crate::posthog::CallError::NotAllowed(_)
        ));
        let nobody = tokio::time::timeout(std::time::Duration::from_millis(200), listener.accept()).await;
        assert!(nobody.is_err(), "a socket was opened");
    }

    proptest! {
        #[test]
        fn checking_never_panics(text in "(https?://)?[\\[\\]a-z0-9.:/@%-]{0,40}", allow in "[a-z0-9.,:/]{0,20}") {
            let egress = allow.parse::<Egress>().unwrap_or_default();
            if let Ok(url) = crate::ingestion::ingestion_url(&text) {
                let _ = egress.check_url(&url);
            }
        }

        #[test]
        fn no_way_to_write_a_private_address_is_let_through(bits in any::<u32>(), form in 0..5) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, d] = v4.octets();
            let host = match form {
                0 => v4.to_string(),
                1 => bits.to_string(),
                2 => format!("0x{bits:x}"),
                3 => format!("[::ffff:{v4}]"),
                _ => format!("[64:ff9b::{:x}:{:x}]", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            };
            let url: Url = format!("https://{host}/").parse().unwrap();
            prop_assert_eq!(Egress::default().check_url(&url).is_ok(), is_public(v4.into()), "{}", host);
        }

        #[test]
        fn a_mapped_address_is_judged_like_the_plain_one(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            prop_assert_eq!(is_public(v4.into()), is_public(v4.to_ipv6_mapped().into()));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = text.parse::<Egress>();
        }
    }
}
