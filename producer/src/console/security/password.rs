//! The console's password, and how fast it may be guessed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use shared::settings::{ExposeSecret, SecretString};

/// A shorter password is guessed.
const SHORTEST: usize = 12;
/// So many wrong ones are typing errors.
const FREE: u32 = 3;
/// The first wait behind those; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// An address without a wrong password for so long begins anew.
const FORGIVEN: Duration = Duration::from_secs(600);
/// Of more addresses no count is kept of their own; they share one.
const MOST: usize = 1_000;

/// A digest of the password. Digests are compared in constant time, and tell nothing of its length.
pub(in crate::console) struct Password([u8; 32]);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Password {
    /// Takes a password that is long enough.
    pub(in crate::console) fn new(password: &SecretString) -> Result<Self, String> {
        let text = password.expose_secret();
        if text.chars().count() < SHORTEST {
            return Err(format!(
                "CONSOLE_PASSWORD has fewer than {SHORTEST} characters; take a longer one (`openssl rand -base64 24`)"
            ));
        }
        Ok(Self(Sha256::digest(text.as_bytes()).into()))
    }

    /// Whether this is it.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let given = Sha256::digest(given);
        let differing = self.0.iter().zip(&given).fold(0_u8, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

/// The password of a `Basic` authorization. `None`: there is none.
pub(super) fn given(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// Wrong passwords, by the address that they came from.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    by_address: HashMap<Option<IpAddr>, Wrong>,
}

#[derive(Clone, Copy, Debug)]
struct Wrong {
    times: u32,
    last: Instant,
}

impl Wrong {
    fn wait(&self) -> Duration {
        match self.times.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST_WAIT * 2_u32.saturating_pow(doublings.min(16))).min(LONGEST_WAIT),
        }
    }
}

impl Guesses {
    /// Whether a password from there is looked at; else after how many seconds. Also a right one
    /// waits: else whoever guesses would notice it among the others.
    pub(super) fn may_try(&self, from: IpAddr, now: Instant) -> Result<(), u64> {
        let Some(wrong) = self.by_address.get(&self.key(from)) else {
            return Ok(());
        };
        let left = wrong.wait().saturating_sub(now.saturating_duration_since(wrong.last));
        if left.is_zero() {
            Ok(())
        } else {
            Err(left.as_secs() + 1)
        }
    }

    /// Counts a wrong password.
    pub(super) fn failed(&mut self, from: IpAddr, now: Instant) {
        self.by_address
            .retain(|_, wrong| now.saturating_duration_since(wrong.last) < FORGIVEN);
        let wrong = self
            .by_address
            .entry(self.key(from))
            .or_insert(Wrong { times: 0, last: now });
        wrong.times += 1;
        wrong.last = now;
    }

    fn key(&self, from: IpAddr) -> Option<IpAddr> {
        let own = self.by_address.len() < MOST || self.by_address.contains_key(&Some(from));
        own.then_some(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_password_is_read_from_basic_only() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            given(&headers)
        };
        assert_eq!(read("Basic YTpiOmM="), Some(b"b:c".to_vec()));
        assert_eq!(read("basic  YTpi"), Some(b"b".to_vec()));
        for bad in ["Bearer YTpi", "Basic", "Basic %", "Basic YWI=", "Basic"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(given(&HeaderMap::new()), None);
    }

    #[test]
    fn only_the_whole_password_is_right_and_it_is_not_shown() {
        let password = Password::new(&"correct horse battery".into()).unwrap();
        assert!(password.is(b"correct horse battery"));
        for wrong in [&b""[..], b"correct horse batter", b"correct horse battery "] {
            assert!(!password.is(wrong));
        }
        assert_eq!(format!("{password:?}"), "(secret)");
        assert!(Password::new(&"elevenchars".into()).unwrap_err().contains("longer"));
    }

    #[test]
    fn whoever_guesses_waits_longer_and_longer_and_others_do_not() {
        let mut guesses = Guesses::default();
        let start = Instant::now();
        for _ in 0..FREE {
            guesses.failed(address(1), start);
            assert_eq!(guesses.may_try(address(1), start), Ok(()));
        }
        guesses.failed(address(1), start);
        assert!(guesses.may_try(address(1), start).is_err());
        assert_eq!(guesses.may_try(address(2), start), Ok(()));
        assert_eq!(guesses.may_try(address(1), start + FIRST_WAIT), Ok(()));
        for _ in 0..40 {
            guesses.failed(address(1), start);
        }
        assert_eq!(guesses.may_try(address(1), start), Err(61));
        guesses.failed(address(2), start + FORGIVEN);
        assert_eq!(guesses.may_try(address(1), start + FORGIVEN), Ok(()));
    }

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let mut guesses = Guesses::default();
        let now = Instant::now();
        for number in 0..5_000_u32 {
            guesses.failed(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(guesses.by_address.len() <= MOST + 1);
        assert!(guesses.may_try(IpAddr::from([9, 9, 9, 9]), now).is_err());
    }
}
