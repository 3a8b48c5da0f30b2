//! The lists of hosts that an operator writes in a variable. PURE.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::Host;

/// Hosts, the hosts below a name, and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostList {
    hosts: Vec<String>,
    /// Each begins with a dot: every name below that one
    suffixes: Vec<String>,
    networks: Vec<IpNet>,
}

impl FromStr for HostList {
    type Err = String;

    /// `posthog.internal,*.example.internal,10.1.0.0/16,127.0.0.1`
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut list = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let below = entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.'));
            let bare = entry.trim_start_matches('[').trim_end_matches(']');
            if let Ok(network) = bare.parse::<IpNet>() {
                list.networks.push(network);
            } else if let Ok(address) = bare.parse::<IpAddr>() {
                list.networks.push(address.into());
            } else if let Ok(Host::Domain(host)) = Host::parse(below.unwrap_or(entry))
                && !host.contains('*')
                && !host.starts_with('.')
            {
                let host = host.trim_end_matches('.');
                match below {
                    Some(_) => list.suffixes.push(format!(".{host}")),
                    None => list.hosts.push(host.to_owned()),
                }
            } else {
                return Err(format!(
                    "holds `{entry}`, which is neither a host, nor the hosts below a name like *.internal, nor a network like \
                     10.1.0.0/16"
                ));
            }
        }
        Ok(list)
    }
}

impl HostList {
    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Whether a name is listed, by itself or as one below a listed name.
    pub(super) fn lists_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let ends_with = |suffix: &String| {
            let begins = host.len().checked_sub(suffix.len()).filter(|begins| *begins > 0);
            begins
                .and_then(|begins| host.get(begins..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        self.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host)) || self.suffixes.iter().any(ends_with)
    }

    /// Whether an address lies in a listed network.
    pub(super) fn lists_address(&self, address: IpAddr) -> bool {
        let plain = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        self.networks.iter().any(|network| network.contains(&plain))
    }
}
