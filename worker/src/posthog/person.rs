//! PURE: whether an id names a person. docs/EVENTS.md lists those that do not.

/// Ids that PostHog counts as no person, in lower case: a program sent a placeholder where it knew
/// no user. PostHog's new endpoint takes the person away from such an event, and its old one puts
/// all users of such an id into one person.
const NOBODY: [&str; 20] = [
    "0",
    "00000000-0000-0000-0000-000000000000",
    "[object object]",
    "anonymous",
    "anonymous-user",
    "backend",
    "distinct_id",
    "distinctid",
    "email",
    "false",
    "guest",
    "id",
    "nan",
    "none",
    "not_authenticated",
    "null",
    "system",
    "true",
    "undefined",
    "user",
];

/// The text, unless it is empty. A text of white space counts as empty.
pub fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// The id as it is, unless it is empty or PostHog counts it as no person.
pub fn person(id: Option<&str>) -> Option<&str> {
    filled(id).filter(|id| !is_nobody(id))
}

/// Whether PostHog counts an id as no person. Case, the white space around it and one pair of
/// quotation marks do not matter.
fn is_nobody(id: &str) -> bool {
    let bare = unquoted(id.trim());
    NOBODY.iter().any(|nobody| bare.eq_ignore_ascii_case(nobody))
}

fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_no_person() {
        for id in [
            "null",
            "NULL",
            "undefined",
            "uNdEfInEd",
            "None",
            "nan",
            "NaN",
            "0",
            "Anonymous",
            "guest",
            "ID",
            "distinct_id",
            "distinctId",
            "email",
            "True",
            "false",
            "[object Object]",
            "not_authenticated",
            "00000000-0000-0000-0000-000000000000",
            "'null'",
            "\"None\"",
            " guest\n",
            " 'guest' ",
            "",
            " \t",
        ] {
            assert_eq!(person(Some(id)), None, "{id:?}");
        }
        assert_eq!(person(None), None);
    }

    #[test]
    fn whatever_else_stands_in_an_id_names_a_person() {
        for id in [
            "jane",
            "null@example.com",
            "nullable",
            "00",
            "0.0",
            "1",
            "user-1",
            "'null",
            "'null\"",
            "''null''",
            "nil",
            "\"",
            "''",
            " padded ",
        ] {
            assert_eq!(person(Some(id)), Some(id), "{id:?}");
        }
    }
}
