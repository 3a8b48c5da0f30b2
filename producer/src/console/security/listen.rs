//! On which addresses the console may listen. PURE.

use std::net::SocketAddr;

/// What protects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::console) struct Protection {
    pub(in crate::console) password: bool,
    /// Its own, or that of a proxy in front of it
    pub(in crate::console) tls: bool,
    pub(in crate::console) public_url: bool,
}

/// Refuses an address that others reach, unless a password and TLS protect it.
pub(in crate::console) fn may_listen(address: SocketAddr, protection: Protection) -> Result<(), String> {
    if address.ip().is_loopback() {
        // A name for browsers says that a proxy on this machine brings others here.
        return if protection.public_url && !protection.password {
            Err(
                "--public-url lets others reach it, so it also needs CONSOLE_PASSWORD (or CONSOLE_PASSWORD_FILE). \
                 A tunnel of your own (`kubectl port-forward`, `ssh -L`) needs neither"
                    .to_owned(),
            )
        } else {
            Ok(())
        };
    }
    let needs = [
        (protection.password, "CONSOLE_PASSWORD (or CONSOLE_PASSWORD_FILE)"),
        (
            protection.tls,
            "--tls-cert and --tls-key, or --behind-tls, which says that a proxy in front of it speaks TLS with the browser",
        ),
        (protection.public_url, "--public-url, the address that browsers use"),
    ];
    let missing: Vec<&str> = needs
        .iter()
        .filter(|(there, _)| !there)
        .map(|(_, need)| *need)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "--listen {address} is reached by others, so it also needs {}. On 127.0.0.1 it needs none of these; \
         `kubectl port-forward` and `ssh -L` lead there",
        missing.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_that_others_reach_needs_a_password() {
        let none = Protection {
            password: false,
            tls: false,
            public_url: false,
        };
        let all = Protection {
            password: true,
            tls: true,
            public_url: true,
        };
        for loopback in ["127.0.0.1:8090", "[::1]:8090", "127.0.0.53:1"] {
            let loopback = loopback.parse().unwrap();
            assert_eq!(may_listen(loopback, none), Ok(()));
            assert_eq!(may_listen(loopback, all), Ok(()));
            let proxied = Protection { password: false, ..all };
            assert!(may_listen(loopback, proxied).unwrap_err().contains("CONSOLE_PASSWORD"));
        }
        for open in ["0.0.0.0:8090", "[::]:8090", "10.1.2.3:8090", "[::ffff:127.0.0.1]:8090"] {
            let open: SocketAddr = open.parse().unwrap();
            assert_eq!(may_listen(open, all), Ok(()));
            for (without, named) in [
                (Protection { password: false, ..all }, "CONSOLE_PASSWORD"),
                (Protection { tls: false, ..all }, "--behind-tls"),
                (Protection { tls: false, ..all }, "--tls-cert"),
                (
                    Protection {
                        public_url: false,
                        ..all
                    },
                    "--public-url",
                ),
            ] {
                let refused = may_listen(open, without).unwrap_err();
                assert!(refused.contains(named), "{refused}");
            }
        }
    }
}
