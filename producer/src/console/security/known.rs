//! Browsers that gave the right password before. Each has a mark, a cookie, and is counted by itself:
//! however many wrong passwords others send from its address, it is never kept waiting for them. The
//! mark alone opens nothing: every request still brings the password.

use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::password::equal;

const COOKIE: &str = "posthog-export-console-known";
/// Days for which a browser keeps its mark. The console forgets all of them when it ends.
const DAYS: u32 = 30;
/// A mark: a number and its seal, in hexadecimal digits.
const NUMBER: usize = 32;
const SEAL: usize = 64;

/// What seals marks.
pub(super) struct Known {
    secret: [u8; 32],
    /// The attributes of the cookie
    attributes: String,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.attributes)
    }
}

impl Known {
    /// With a secret that only this process knows: a mark must not help anybody who guesses the password
    /// away from the console.
    pub(super) fn new(is_tls: bool) -> Self {
        let random = Sha256::new_with_prefix(Uuid::new_v4()).chain_update(Uuid::new_v4());
        let secure = if is_tls { "; Secure" } else { "" };
        Self {
            secret: random.finalize().into(),
            attributes: format!("Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", DAYS * 86_400),
        }
    }

    /// The browser that sent this, if it has a mark of ours.
    pub(super) fn of(&self, headers: &HeaderMap) -> Option<Uuid> {
        let cookies = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut marks = cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='));
        marks.find_map(|mark| {
            let (number, seal) = mark.split_at_checked(NUMBER)?;
            let number = Uuid::try_parse(number).ok()?;
            let is_ours = seal.len() == SEAL && equal(seal.as_bytes(), self.seal(number).as_bytes());
            is_ours.then_some(number)
        })
    }

    /// The cookie with a fresh mark.
    pub(super) fn mark(&self) -> Option<HeaderValue> {
        let number = Uuid::new_v4();
        let cookie = format!("{COOKIE}={}{}; {}", number.simple(), self.seal(number), self.attributes);
        HeaderValue::try_from(cookie).ok()
    }

    /// Secret and number have one length each, so no seal leads to another.
    fn seal(&self, number: Uuid) -> String {
        hex::encode(Sha256::new_with_prefix(self.secret).chain_update(number).finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())])
    }

    fn cookie(known: &Known) -> String {
        let mark = known.mark().unwrap().to_str().unwrap().to_owned();
        mark.split_once(';').unwrap().0.to_owned()
    }

    #[test]
    fn only_marks_of_this_process_are_known() {
        let (known, other) = (Known::new(false), Known::new(false));
        let mark = cookie(&known);
        assert!(known.of(&sent(&mark)).is_some());
        assert!(known.of(&sent(&format!("theme=dark; {mark}; x=y"))).is_some());
        assert_ne!(known.of(&sent(&mark)), known.of(&sent(&cookie(&known))));
        assert_eq!(other.of(&sent(&mark)), None);
        assert_eq!(known.of(&HeaderMap::new()), None);
        let last = if mark.ends_with('0') { '1' } else { '0' };
        for bad in [
            format!("{COOKIE}="),
            format!("{COOKIE}x={}", mark.split_once('=').unwrap().1),
            mark[..mark.len() - 1].to_owned(),
            format!("{}{last}", &mark[..mark.len() - 1]),
            format!("{mark}0"),
            format!("{COOKIE}={}", "0".repeat(NUMBER + SEAL)),
        ] {
            assert_eq!(known.of(&sent(&bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_mark_is_for_the_browser_alone_and_goes_over_tls_where_there_is_one() {
        let mark = |is_tls| Known::new(is_tls).mark().unwrap().to_str().unwrap().to_owned();
        assert!(mark(true).ends_with("; HttpOnly; SameSite=Strict; Secure"));
        assert!(!mark(false).contains("Secure"));
        let known = Known::new(true);
        assert!(!format!("{known:?}").contains(&hex::encode(known.secret)));
    }
}
