//! The console's password.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use shared::settings::{ExposeSecret, SecretString};

/// A shorter password is guessed.
const SHORTEST: usize = 12;
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
        equal(&self.0, &Sha256::digest(given))
    }
}

/// Whether two texts of one length are the same, in a time that does not tell where they differ.
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0_u8, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differing) == 0
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
