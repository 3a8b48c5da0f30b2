//! A dead letter as the value of a form's field: a run, or the id of a message that is no job. A line
//! break in a field does not come back as it went, a space divides several, and a run's own id cannot
//! always be taken apart. PURE.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use shared::job::RunKey;

use crate::dead_letters::Named;

/// All but what never means anything.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The id of a message that is no job has one slash.
const WITH_SLASH: &AsciiSet = &KEPT.remove(b'/');

/// The value.
pub(super) fn coded(named: &Named) -> String {
    match &named.key {
        Some(key) => coded_key(key),
        None => utf8_percent_encode(&named.id, WITH_SLASH).to_string(),
    }
}

/// The value of a run.
pub(super) fn coded_key(RunKey { project_id, day, run }: &RunKey) -> String {
    format!(
        "{}/{day}/{}",
        utf8_percent_encode(project_id, KEPT),
        utf8_percent_encode(run, KEPT)
    )
}

/// The dead letter of such a value.
pub(super) fn decoded(value: &str) -> Option<Named> {
    let pieces: Vec<&str> = value.split('/').collect();
    let [project, day, run] = pieces.as_slice() else {
        return Some(Named {
            id: plain(value).filter(|id| !id.is_empty())?,
            key: None,
        });
    };
    let key = RunKey::new(plain(project)?, day.parse().ok()?, plain(run)?);
    Some(Named {
        id: key.to_string(),
        key: Some(key),
    })
}

fn plain(piece: &str) -> Option<String> {
    let decoded = percent_decode_str(piece).decode_utf8().ok()?;
    (!decoded.contains('\0')).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dead_letter_comes_back_from_its_value() {
        for text in [
            "clx1abc",
            "a/b\\c?d#e%2Ff",
            "..",
            "",
            "two\nlines\r\n",
            "\"<script>\" & ' '",
            "🦀",
            "raw",
        ] {
            let key = RunKey::new(text, "2024-06-01".parse().unwrap(), text);
            let named = Named {
                id: key.to_string(),
                key: Some(key),
            };
            let value = coded(&named);
            assert!(!value.contains([' ', '\n', '"', '<']), "{value}");
            assert_eq!(decoded(&value), Some(named));
        }
        let raw = Named {
            id: "raw/0a1b2c3d4e5f".to_owned(),
            key: None,
        };
        assert_eq!(coded(&raw), raw.id);
        assert_eq!(decoded(&raw.id), Some(raw));
        for bad in ["", "p/yesterday/daily", "a%00/2024-06-01/daily", "%ff", "%00"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
