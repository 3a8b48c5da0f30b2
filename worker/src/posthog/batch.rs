//! PURE: rows → bodies of `POST /batch/`, bounded by bytes and count, compressed once. Also splits
//! a body again.

use std::io::Read as _;
use std::ops::Range;

use bytes::Bytes;
use flate2::read::GzDecoder;
use shared::ledger::Cursor;

use crate::langfuse::rows::Row;
use crate::posthog::event::{self, ProjectContext};
use crate::posthog::gzip::gzip;

/// The usual size of an event in bytes; room for so many is reserved at once.
const USUAL_EVENT: usize = 1_200;

/// Bounds of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events in it
    pub events: usize,
    /// Bytes of it before compression
    pub bytes: usize,
}

/// What all bodies of a job begin with. It holds the API key, therefore it has no `Debug`.
#[derive(Clone)]
pub struct Preamble(Vec<u8>);

impl Preamble {
    /// `{"api_key":…,"batch":[`. Never `sent_at`: PostHog would shift the timestamps by it, and a
    /// replay would make copies.
    pub fn new(api_key: &str, historical: bool) -> Self {
        let key = serde_json::Value::from(api_key);
        let historical = if historical {
            r#","historical_migration":true"#
        } else {
            ""
        };
        Self(format!(r#"{{"api_key":{key}{historical},"batch":["#).into_bytes())
    }
}

const CLOSING: &[u8] = b"]}";

/// Where the events of an uncompressed body end, and the ids of their rows. Many bodies wait at
/// once, so each holds two allocations and not one for each event.
#[derive(Clone, Default)]
struct Marks {
    ends: Vec<Mark>,
    row_ids: String,
}

/// Where an event ends within the uncompressed body, and where its row's id ends within `row_ids`.
#[derive(Clone, Copy)]
struct Mark {
    json: usize,
    row_id: usize,
}

impl Marks {
    fn push(&mut self, json: usize, row_id: &str) {
        self.row_ids.push_str(row_id);
        self.ends.push(Mark {
            json,
            row_id: self.row_ids.len(),
        });
    }
}

/// A body, ready to be sent as often as needed.
#[derive(Clone)]
pub struct Body {
    gzip: Bytes,
    preamble: usize,
    marks: Marks,
}

impl Body {
    /// The compressed bytes; cloning is free.
    pub fn bytes(&self) -> Bytes {
        self.gzip.clone()
    }

    /// Events in it.
    pub fn events(&self) -> usize {
        self.marks.ends.len()
    }

    /// The row id of a body that holds one event.
    pub fn row_id(&self) -> &str {
        self.marks
            .ends
            .first()
            .map_or("", |mark| &self.marks.row_ids[..mark.row_id])
    }

    /// Splits the body into two halves. The uncompressed events are not kept for this: splitting is
    /// rare, and they can be decompressed.
    pub fn halves(&self) -> std::io::Result<(Body, Body)> {
        let mut json = Vec::new();
        GzDecoder::new(&self.gzip[..]).read_to_end(&mut json)?;
        let part = |events: Range<usize>| {
            let mut body = json[..self.preamble].to_vec();
            let mut marks = Marks::default();
            for at in events {
                let (start, id_start) = match at.checked_sub(1) {
                    // A comma stands behind each event.
                    Some(before) => (self.marks.ends[before].json + 1, self.marks.ends[before].row_id),
                    None => (self.preamble, 0),
                };
                let end = self.marks.ends[at];
                if body.len() > self.preamble {
                    body.push(b',');
                }
                body.extend_from_slice(&json[start..end.json]);
                marks.push(body.len(), &self.marks.row_ids[id_start..end.row_id]);
            }
            close(&mut body, marks, self.preamble)
        };
        let middle = self.events() / 2;
        Ok((part(0..middle), part(middle..self.events())))
    }
}

/// Ends the JSON, and compresses it.
fn close(json: &mut Vec<u8>, marks: Marks, preamble: usize) -> Body {
    json.extend_from_slice(CLOSING);
    let mut gzip = gzip(json);
    // The body stays in memory until it is answered, so it keeps no spare capacity.
    gzip.shrink_to_fit();
    Body {
        gzip: gzip.into(),
        preamble,
        marks,
    }
}

/// A body and what its acceptance means for the stream.
pub struct Batch {
    /// `None`: nothing to send, the stream just ends or moves on.
    pub body: Option<Body>,
    /// The cursor to save once this body and all before it are accepted
    pub cursor: Option<Cursor>,
    /// Whether the stream ends here
    pub last: bool,
}

/// Packs the rows of a page, in order. A page that is the stream's last always ends with a batch
/// that says so.
pub fn pack(rows: &[Row], last: bool, project: &ProjectContext, preamble: &Preamble, limits: Limits) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut json = preamble.0.clone();
    json.reserve(rows.len().min(limits.events) * USUAL_EVENT);
    let mut marks = Marks::default();
    let mut batch = |json: &mut Vec<u8>, marks: &mut Marks, row: &Row| {
        let body = close(json, std::mem::take(marks), preamble.0.len());
        json.truncate(preamble.0.len());
        batches.push(Batch {
            body: Some(body),
            cursor: Some(row.cursor()),
            last: false,
        });
    };
    for (position, row) in rows.iter().enumerate() {
        let before = json.len();
        if !marks.ends.is_empty() {
            json.push(b',');
        }
        let start = json.len();
        event::write(row, project, &mut json);
        let full = marks.ends.len() >= limits.events || json.len() + CLOSING.len() > limits.bytes;
        if full && !marks.ends.is_empty() {
            let event = json.split_off(start);
            json.truncate(before);
            batch(&mut json, &mut marks, &rows[position - 1]);
            json.extend_from_slice(&event);
        }
        marks.push(json.len(), row.id());
    }
    if let Some(row) = rows.last() {
        batch(&mut json, &mut marks, row);
    }
    if last {
        match batches.last_mut() {
            Some(batch) => batch.last = true,
            None => batches.push(Batch {
                body: None,
                cursor: None,
                last: true,
            }),
        }
    }
    batches
}

/// The batches of a page of which rows were left out, the last of them up to `end`. The cursor moves
/// over what was left out as well: a page without a row to send is a batch without a body.
pub fn up_to(mut batches: Vec<Batch>, end: Option<Cursor>) -> Vec<Batch> {
    match batches.last_mut() {
        Some(batch) => batch.cursor = end.or(batch.cursor.take()),
        None => batches.push(Batch {
            body: None,
            cursor: end,
            last: false,
        }),
    }
    batches
}

#[cfg(test)]
mod tests;
