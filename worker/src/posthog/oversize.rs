//! PURE: shortens an event that is larger than PostHog allows. The same event is always shortened
//! in the same way, so that a replay makes no second version.

use memchr::memchr2_iter;
use serde_json::{Map, Value};

/// PostHog allows 1,000,000 bytes; the rest is room for what its envelope may grow by.
pub const MAX_EVENT_SIZE: usize = 900_000;
/// What PostHog's envelope adds to an event.
const ENVELOPE: usize = 220;
/// PostHog keeps this many characters of a distinct_id.
const DISTINCT_ID_CHARS: usize = 200;
/// Shortening texts below this size gains nothing. Such an event (tens of thousands of tags) is
/// sent as it is, and PostHog judges it.
const SHORTEST: usize = 500;
/// The property that names what was shortened.
const TRUNCATED: &str = "langfuse_truncated";

/// An event's size as PostHog counts it: PostHog puts the event's JSON into its queue as an escaped
/// string.
pub fn posthog_size(json: &[u8]) -> usize {
    json.len() + memchr2_iter(b'"', b'\\', json).count() + ENVELOPE
}

/// Shortens the event that begins at `start`, if it is too large.
pub fn shorten(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    // Escaping doubles the size at most, so nearly all events pass here without being read.
    if 2 * length + ENVELOPE <= MAX_EVENT_SIZE || posthog_size(&out[start..]) <= MAX_EVENT_SIZE {
        return;
    }
    let Ok(Value::Object(mut event)) = serde_json::from_slice(&out[start..]) else {
        return;
    };
    shorten_event(&mut event);
    out.truncate(start);
    let _ = serde_json::to_writer(out, &event);
}

fn shorten_event(event: &mut Map<String, Value>) {
    if let Some(Value::String(id)) = event.get_mut("distinct_id") {
        *id = id.chars().take(DISTINCT_ID_CHARS).collect();
    }
    let mut truncated: Vec<String> = Vec::new();
    loop {
        let size = serde_json::to_vec(event).map_or(0, |json| posthog_size(&json));
        if size <= MAX_EVENT_SIZE {
            return;
        }
        let Some(Value::Object(properties)) = event.get_mut("properties") else {
            return;
        };
        let Some((name, cost)) = longest(properties) else {
            return;
        };
        if cost < SHORTEST {
            return;
        }
        if !truncated.contains(&name) {
            truncated.push(name.clone());
            truncated.sort();
            let names = truncated.iter().cloned().map(Value::String).collect();
            // The list takes room itself: the next round counts it before anything is cut.
            properties.insert(TRUNCATED.into(), Value::Array(names));
            continue;
        }
        if let Some(text) = properties.get_mut(&name).and_then(longest_text) {
            cut(text, cost.saturating_sub(size - MAX_EVENT_SIZE));
        }
    }
}

/// The property that holds the longest text, and that text's cost. Among equals, the first by name.
fn longest(properties: &mut Map<String, Value>) -> Option<(String, usize)> {
    let mut found: Option<(String, usize)> = None;
    for (name, value) in properties.iter_mut().filter(|(name, _)| *name != TRUNCATED) {
        let cost = longest_text(value).map_or(0, |text| text_cost(text));
        if found
            .as_ref()
            .is_none_or(|(known, most)| cost > *most || (cost == *most && name < known))
        {
            found = Some((name.clone(), cost));
        }
    }
    found
}

/// The longest string in a value. Among equals, the first in the list or object.
fn longest_text(value: &mut Value) -> Option<&mut String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(values) => first_longest(values.iter_mut().filter_map(longest_text)),
        Value::Object(map) => first_longest(map.values_mut().filter_map(longest_text)),
        _ => None,
    }
}

fn first_longest<'a>(texts: impl Iterator<Item = &'a mut String>) -> Option<&'a mut String> {
    texts.reduce(|best, text| if text_cost(text) > text_cost(best) { text } else { best })
}

/// What a text adds to an event's size as PostHog counts it.
fn text_cost(text: &str) -> usize {
    text.chars().map(char_cost).sum()
}

fn char_cost(c: char) -> usize {
    match c {
        // These are two bytes of JSON, and PostHog escapes each of them again.
        '"' | '\\' => 4,
        '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 3,
        c if u32::from(c) < 0x20 => 7,
        c => c.len_utf8(),
    }
}

/// Keeps as many characters as fit into `room`.
fn cut(text: &mut String, room: usize) {
    let mut cost = 0;
    let end = text.char_indices().find(|(_, c)| {
        cost += char_cost(*c);
        cost > room
    });
    if let Some((end, _)) = end {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event(properties: &Value) -> Vec<u8> {
        serde_json::to_vec(&json!({"event": "langfuse score", "distinct_id": "d", "properties": properties})).unwrap()
    }

    fn shortened(properties: &Value) -> (Value, usize) {
        let mut out = b"before".to_vec();
        let start = out.len();
        out.extend(event(properties));
        shorten(&mut out, start);
        assert!(out.starts_with(b"before"));
        (
            serde_json::from_slice(&out[start..]).unwrap(),
            posthog_size(&out[start..]),
        )
    }

    #[test]
    fn an_event_that_fits_is_left_alone() {
        let properties = json!({"comment": "x".repeat(890_000)});
        assert_eq!(shortened(&properties).0["properties"], properties);
    }

    #[test]
    fn the_longest_text_is_cut_to_fit_and_named() {
        let (event, size) = shortened(&json!({"comment": "é\n\"".repeat(500_000), "name": "kept"}));
        assert_eq!(event["properties"]["langfuse_truncated"], json!(["comment"]));
        assert_eq!(event["properties"]["name"], "kept");
        assert!(size <= MAX_EVENT_SIZE && size > MAX_EVENT_SIZE - 10, "{size}");
        assert!(
            "é\n\""
                .repeat(500_000)
                .starts_with(event["properties"]["comment"].as_str().unwrap())
        );
    }

    #[test]
    fn two_long_texts_are_cut_in_turn() {
        let (event, _) = shortened(&json!({"a": "a".repeat(800_000), "b": "b".repeat(700_000), "$set": {"u": "c"}}));
        assert_eq!(event["properties"]["langfuse_truncated"], json!(["a"]));
        let (event, size) = shortened(&json!({"a": "a".repeat(1_300_000), "b": "b".repeat(1_200_000)}));
        assert!(size <= MAX_EVENT_SIZE);
        assert_eq!(event["properties"]["langfuse_truncated"], json!(["a", "b"]));
    }

    #[test]
    fn a_long_distinct_id_is_cut_as_posthog_cuts_it() {
        let mut out =
            serde_json::to_vec(&json!({"distinct_id": "ü".repeat(600_000), "properties": {"id": "kept"}})).unwrap();
        shorten(&mut out, 0);
        let event: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(event["distinct_id"].as_str().unwrap().chars().count(), 200);
        assert!(event["properties"].get("langfuse_truncated").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn any_text_ends_below_the_limit(parts in proptest::collection::vec("\\PC{1,4}|[\\x00-\\x1f\"\\\\]{1,4}", 1..4), times in 60_000_usize..90_000) {
            let (event, size) = shortened(&json!({"a": parts.concat().repeat(times), "b": parts[0].repeat(times)}));
            prop_assert!(size <= MAX_EVENT_SIZE);
            prop_assert!(parts.concat().repeat(times).starts_with(event["properties"]["a"].as_str().unwrap()));
        }

        #[test]
        fn the_cost_of_a_text_is_what_it_adds(text in ".{0,50}") {
            let with = event(&json!({"a": text}));
            let without = event(&json!({"a": ""}));
            prop_assert_eq!(posthog_size(&with) - posthog_size(&without), text_cost(&text));
        }
    }
}
