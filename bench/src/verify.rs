//! Whether every event arrived exactly once, and whether two contestants sent the same ones.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::sync::mpsc::Receiver;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The namespace of the event uuids in docs/EVENTS.md; known here on its own, so that a mistake in
/// the product shows.
const NAMESPACE: Uuid = Uuid::from_u128(0x0f6c_91df_d035_4813_b838_9741_ba38_ef0b);
/// What says who sent an event and nothing of the event.
const SENDERS_OWN: [&str; 3] = ["$lib", "$lib_version", "$is_server"];

/// The uuid that a row's event must have.
pub fn uuid_of(project: &str, row_id: &str) -> u128 {
    Uuid::new_v5(&NAMESPACE, format!("{project}-{row_id}").as_bytes()).as_u128()
}

/// How closely bodies are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Only the uuids
    Uuids,
    /// Also what the events say, and how small gzip 6 makes their bodies
    Contents,
}

/// What bodies held.
#[derive(Debug, Default)]
pub struct Seen {
    /// The uuid of every event, in the order of arrival
    pub uuids: Vec<u128>,
    /// A checksum of what the events say. Their order does not matter
    pub digest: u64,
    /// Bytes as they came
    pub bytes: u64,
    /// Bytes before compression
    pub json_bytes: u64,
    /// Bytes of the same bodies by gzip level 6
    pub gzip_6_bytes: u64,
}

/// What was found wrong, if anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Events that must arrive
    pub expected: usize,
    /// Events that did, repeats included
    pub arrived: usize,
    /// Expected and did not arrive
    pub missing: usize,
    /// Arrived more than once
    pub doubled: usize,
    /// Arrived and not expected
    pub unexpected: usize,
}

impl Verdict {
    /// Whether each event arrived exactly once.
    pub fn is_good(&self) -> bool {
        self.expected > 0 && self.missing + self.doubled + self.unexpected == 0
    }
}

/// Compares what arrived with what had to.
pub fn compare(expected: &[u128], arrived: &[u128]) -> Verdict {
    let (mut wanted, mut found) = (expected.to_vec(), arrived.to_vec());
    wanted.sort_unstable();
    found.sort_unstable();
    found.dedup();
    let there = found.iter().filter(|uuid| wanted.binary_search(uuid).is_ok()).count();
    Verdict {
        expected: expected.len(),
        arrived: arrived.len(),
        missing: expected.len() - there,
        doubled: arrived.len() - found.len(),
        unexpected: found.len() - there,
    }
}

/// Reads bodies until there are no more.
pub fn look(bodies: &Receiver<Bytes>, depth: Depth) -> Result<Seen> {
    let mut seen = Seen::default();
    for body in bodies {
        let mut json = Vec::new();
        if body.starts_with(&[0x1f, 0x8b]) {
            GzDecoder::new(&body[..])
                .read_to_end(&mut json)
                .context("a body is no gzip")?;
        } else {
            json.extend_from_slice(&body);
        }
        seen.bytes += body.len() as u64;
        seen.json_bytes += json.len() as u64;
        seen.add(&json, depth)?;
    }
    Ok(seen)
}

#[derive(Deserialize)]
struct Uuids {
    batch: Vec<OnlyUuid>,
}

#[derive(Deserialize)]
struct OnlyUuid {
    uuid: Uuid,
}

#[derive(Deserialize)]
struct Contents {
    batch: Vec<Value>,
}

impl Seen {
    fn add(&mut self, json: &[u8], depth: Depth) -> Result<()> {
        let body: Uuids = serde_json::from_slice(json).context("a body is not a batch of events with uuids")?;
        self.uuids.extend(body.batch.iter().map(|event| event.uuid.as_u128()));
        if depth == Depth::Contents {
            let body: Contents = serde_json::from_slice(json)?;
            for event in &body.batch {
                self.digest = self.digest.wrapping_add(digest(event));
            }
            let mut gzip = Vec::new();
            GzEncoder::new(json, Compression::new(6)).read_to_end(&mut gzip)?;
            self.gzip_6_bytes += gzip.len() as u64;
        }
        Ok(())
    }
}

/// Of an event, the same for whoever sends it: `5` is `5.0`, and no order of properties matters.
pub fn digest(event: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    feed(event, &mut hasher);
    hasher.finish()
}

fn feed(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0_u8.hash(hasher),
        Value::Bool(value) => (1_u8, value).hash(hasher),
        Value::Number(value) => (2_u8, value.as_f64().unwrap_or(f64::NAN).to_bits()).hash(hasher),
        Value::String(value) => (3_u8, value).hash(hasher),
        Value::Array(values) => {
            (4_u8, values.len()).hash(hasher);
            for value in values {
                feed(value, hasher);
            }
        }
        Value::Object(fields) => {
            5_u8.hash(hasher);
            for (name, value) in fields {
                if !SENDERS_OWN.contains(&name.as_str()) {
                    name.hash(hasher);
                    feed(value, hasher);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_doubled_or_unexpected_is_counted() {
        let good = compare(&[3, 1, 2], &[1, 2, 3]);
        assert!(good.is_good(), "{good:?}");
        let bad = compare(&[1, 2, 3, 4], &[1, 1, 1, 2, 9, 9]);
        let found = Verdict {
            expected: 4,
            arrived: 6,
            missing: 2,
            doubled: 3,
            unexpected: 1,
        };
        assert_eq!(bad, found);
        assert!(!bad.is_good());
        assert!(!compare(&[], &[]).is_good(), "nothing expected proves nothing");
    }

    #[test]
    fn the_digest_sees_contents_and_not_the_sender() {
        let ours = json!({"uuid": "u", "properties": {"a": 5.0, "b": "x", "$lib": "ours"}});
        let theirs = json!({"properties": {"b": "x", "$lib": "theirs", "$lib_version": "1", "a": 5}, "uuid": "u"});
        assert_eq!(digest(&ours), digest(&theirs));
        for other in [
            json!({"uuid": "u", "properties": {"a": 5.1, "b": "x"}}),
            json!({"uuid": "u", "properties": {"a": 5.0, "b": null}}),
            json!({"uuid": "u", "properties": {"a": 5.0}}),
        ] {
            assert_ne!(digest(&ours), digest(&other), "{other}");
        }
    }

    #[test]
    fn bodies_are_read_compressed_or_not() {
        let uuid = Uuid::from_u128(7);
        let json = json!({"api_key": "k", "batch": [{"uuid": uuid, "event": "e"}]}).to_string();
        let mut gzip = Vec::new();
        GzEncoder::new(json.as_bytes(), Compression::new(1))
            .read_to_end(&mut gzip)
            .unwrap();
        let (to, bodies) = mpsc::channel();
        to.send(Bytes::from(json.clone())).unwrap();
        to.send(Bytes::from(gzip)).unwrap();
        drop(to);
        let seen = look(&bodies, Depth::Contents).unwrap();
        assert_eq!((seen.uuids, seen.json_bytes), (vec![7, 7], 2 * json.len() as u64));

        let (to, bodies) = mpsc::channel();
        to.send(Bytes::from_static(b"{}")).unwrap();
        drop(to);
        assert!(look(&bodies, Depth::Uuids).is_err());
    }
}
