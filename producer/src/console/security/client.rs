//! Where a request comes from. PURE.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;

/// The address of whoever asks. Behind a proxy it is what the proxy says: the last address of
/// `X-Forwarded-For`. What stands before it may be written by whoever asks.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, behind_proxy: bool) -> IpAddr {
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let last = last.filter(|_| behind_proxy).and_then(|value| value.to_str().ok());
    let told = last
        .and_then(|value| value.rsplit(',').next())
        .and_then(|text| address(text.trim()));
    told.unwrap_or(peer).to_canonical()
}

/// An address, as proxies write it: also with a port.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().ok().map(|socket: std::net::SocketAddr| socket.ip());
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(with_port)
}

/// What counts as one place: of IPv6 the network, since everybody has all addresses of one.
pub(super) fn place(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str], behind_proxy: bool) -> String {
        let pair = |value: &&str| ("x-forwarded-for".parse().unwrap(), value.parse().unwrap());
        let headers: Vec<(axum::http::HeaderName, axum::http::HeaderValue)> = values.iter().map(pair).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        client("10.0.0.7".parse().unwrap(), &map, behind_proxy).to_string()
    }

    #[test]
    fn a_proxy_says_where_a_request_comes_from_in_the_last_address() {
        for (values, told) in [
            (&[][..], "10.0.0.7"),
            (&["203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (&["203.0.113.1", "198.51.100.1,203.0.113.9"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["203.0.113.9, unknown"], "10.0.0.7"),
            (&["203.0.113.9,"], "10.0.0.7"),
        ] {
            assert_eq!(of(values, true), told, "{values:?}");
        }
    }

    #[test]
    fn without_a_proxy_nobody_is_believed() {
        assert_eq!(of(&["203.0.113.9"], false), "10.0.0.7");
    }

    #[test]
    fn all_addresses_of_a_network_are_one_place() {
        let place = |text: &str| super::place(text.parse().unwrap()).to_string();
        assert_eq!(place("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(place("203.0.113.9"), "203.0.113.9");
    }
}
