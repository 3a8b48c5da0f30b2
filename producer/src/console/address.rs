//! Ids in addresses. An id is anything that somebody called a project or a run: slashes, quotes,
//! emoji, dots. PURE.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use shared::job::{Day, RunKey};

use super::named::coded_key;

/// All but what never means anything in an address.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What a form would not bring back as it was.
const CARRIED: &AsciiSet = &CONTROLS.add(b'%');

/// Where the console lies: `--path-prefix`, without a slash at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefix(String);

impl std::str::FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.trim_end_matches('/');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_/.~".contains(c);
        let is_path = path.is_empty() || path.starts_with('/') && !path.contains("//") && !path.contains("/.");
        // That path answers probes.
        if path == "/healthz" {
            return Err("probes ask for this path; take another".to_owned());
        }
        if is_path && path.chars().all(is_plain) {
            Ok(Self(path.to_owned()))
        } else {
            Err("write it like /exports: letters, digits, - and _".to_owned())
        }
    }
}

impl Prefix {
    /// An address of ours.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("{}{rest}", self.0)
    }

    /// A project's page.
    pub(super) fn project(&self, id: &str) -> String {
        format!("{}/projects/{}", self.0, segment(id))
    }

    /// A deed's page.
    pub(super) fn action(&self, number: i64) -> String {
        format!("{}/actions/{number}", self.0)
    }

    /// Where a form about a project goes.
    pub(super) fn act(&self, id: &str, action: &str) -> String {
        format!("{}/{action}", self.project(id))
    }

    /// A run's page.
    pub(super) fn run(&self, key: &RunKey) -> String {
        let RunKey { project_id, day, run } = key;
        format!("{}/runs/{}/{day}/{}", self.0, segment(project_id), segment(run))
    }

    /// The dead letters of one cause, or of all.
    pub(super) fn dead_letters(&self, cause: Option<&str>) -> String {
        let asked = cause.map(|code| format!("?cause={}", utf8_percent_encode(code, KEPT)));
        format!("{}/dead-letters{}", self.0, asked.unwrap_or_default())
    }

    /// Those of them that are listed behind one.
    pub(super) fn dead_letters_behind(&self, cause: Option<&str>, key: &RunKey) -> String {
        let all = self.dead_letters(cause);
        let mark = if cause.is_some() { '&' } else { '?' };
        format!("{all}{mark}behind={}", utf8_percent_encode(&coded_key(key), KEPT))
    }
}

/// A value as it goes through a hidden field and back. A browser writes the ends of lines in its own
/// way, so they are encoded, and so is what stands for that.
pub(super) fn carry(value: &str) -> String {
    utf8_percent_encode(value, CARRIED).to_string()
}

/// The value of a hidden field.
pub(super) fn carried(field: &str) -> String {
    percent_decode_str(field).decode_utf8_lossy().into_owned()
}

/// An id as one piece of a path. A browser resolves pieces that are dots alone, also encoded, so an
/// id that begins with one gets a mark in front.
fn segment(id: &str) -> String {
    let mark = if id.is_empty() || id.starts_with(['.', '~']) {
        "~"
    } else {
        ""
    };
    format!("{mark}{}", utf8_percent_encode(id, KEPT))
}

/// The id of a piece that was percent-decoded. `None`: no database can hold it.
pub(super) fn id(piece: &str) -> Option<String> {
    let id = piece.strip_prefix('~').unwrap_or(piece);
    (!id.contains('\0')).then(|| id.to_owned())
}

/// The key of a run whose pieces were percent-decoded.
pub(super) fn key(project: &str, day: &str, run: &str) -> Option<RunKey> {
    let day: Day = day.parse().ok()?;
    Some(RunKey::new(id(project)?, day, id(run)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn every_id_comes_back_from_its_piece_of_a_path() {
        let long = "ä".repeat(250);
        for text in [
            "clx1abc",
            "project one",
            "<script>alert(1)</script>",
            "a/b",
            "a\\b",
            "..",
            ".",
            "",
            "~",
            "~x",
            "%2F",
            "a?b#c&d=e+f",
            "\"quotes\" and 'more'",
            "🦀",
            &long,
        ] {
            let piece = segment(text);
            assert!(
                piece.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~%".contains(c)),
                "{piece}"
            );
            assert!(piece != "." && piece != ".." && !piece.is_empty());
            let decoded = percent_decode_str(&piece).decode_utf8().unwrap();
            assert_eq!(id(&decoded).as_deref(), Some(text));
            assert_eq!(carried(&carry(text)), text);
        }
        assert_eq!(id("a\0b"), None);
    }

    #[test]
    fn what_a_form_carries_has_no_ends_of_lines() {
        for text in ["a\nb", "a\r\nb", "100 % of it", "%0A", "a\0b"] {
            assert!(!carry(text).contains(char::is_control), "{text:?}");
            assert_eq!(carried(&carry(text)), text);
        }
        assert_eq!(carry("project one/2026-06-01/daily"), "project one/2026-06-01/daily");
    }

    #[test]
    fn a_prefix_is_a_path() {
        assert_eq!("/exports/".parse::<Prefix>().unwrap().path("/"), "/exports/");
        assert_eq!("/".parse::<Prefix>().unwrap().path("/"), "/");
        for bad in [
            "exports",
            "/a b",
            "/<x>",
            "//evil.example",
            "/../x",
            "https://x",
            "/healthz",
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
