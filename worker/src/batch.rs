//! PURE: rows → bodies of `POST /batch/`, bounded by bytes and count, compressed once; and how a body is taken apart again.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use shared::ledger::Cursor;
use smol_str::SmolStr;

use crate::event::{self, ProjectContext};
use crate::gzip::gzip;
use crate::rows::Row;

/// Bytes of an event, often. Room for so many is made at once.
const USUAL_EVENT: usize = 1_200;

/// Bounds of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events in it
    pub events: usize,
    /// Bytes of it before compression
    pub bytes: usize,
}

/// What all bodies of a job begin with. Holds the API key, therefore no `Debug`.
#[derive(Clone)]
pub struct Preamble(Vec<u8>);

impl Preamble {
    /// `{"api_key":…,"batch":[`; never `sent_at`, which shifts timestamps and so makes copies.
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

/// Where an event lies within the uncompressed body, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    end: usize,
    row_id: SmolStr,
}

/// A body, ready to be sent as often as needed.
#[derive(Clone)]
pub struct Body {
    gzip: Bytes,
    preamble: usize,
    marks: Vec<Mark>,
}

impl Body {
    /// The compressed bytes; cloning is free.
    pub fn bytes(&self) -> Bytes {
        self.gzip.clone()
    }

    /// Events in it.
    pub fn events(&self) -> usize {
        self.marks.len()
    }

    /// Of a body that holds one event: the row it was made of.
    pub fn row_id(&self) -> &str {
        self.marks.first().map_or("", |mark| &mark.row_id)
    }

    /// Two halves. The uncompressed events are not kept for this: it is rare, and gzip gives them back.
    pub fn halves(&self) -> std::io::Result<(Body, Body)> {
        let mut json = Vec::new();
        GzDecoder::new(&self.gzip[..]).read_to_end(&mut json)?;
        let preamble = &json[..self.preamble];
        let middle = self.marks.len() / 2;
        let part = |marks: &[Mark], start: usize| {
            let mut body = preamble.to_vec();
            let end = marks.last().map_or(start, |mark| mark.end);
            body.extend_from_slice(&json[start..end]);
            body.extend_from_slice(CLOSING);
            let moved = |mark: &Mark| Mark {
                end: mark.end - start + self.preamble,
                row_id: mark.row_id.clone(),
            };
            Body {
                gzip: gzip(&body).into(),
                preamble: self.preamble,
                marks: marks.iter().map(moved).collect(),
            }
        };
        let border = self.marks[..middle].last().map_or(self.preamble, |mark| mark.end);
        // Behind the border stands the comma.
        Ok((
            part(&self.marks[..middle], self.preamble),
            part(&self.marks[middle..], border + usize::from(middle > 0)),
        ))
    }
}

/// A body and what its acceptance means for the stream.
pub struct Batch {
    /// `None`: nothing to send, the stream just ends.
    pub body: Option<Body>,
    /// The checkpoint once it is accepted, and all before it.
    pub cursor: Option<Cursor>,
    /// Whether the stream ends here
    pub last: bool,
}

/// Packs the rows of a page, in order. A page that is the stream's last always ends with a batch that says so.
pub fn pack(rows: &[Row], last: bool, project: &ProjectContext, preamble: &Preamble, limits: Limits) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut json = preamble.0.clone();
    json.reserve(rows.len().min(limits.events) * USUAL_EVENT);
    let mut marks: Vec<Mark> = Vec::new();
    for (position, row) in rows.iter().enumerate() {
        let before = json.len();
        if !marks.is_empty() {
            json.push(b',');
        }
        let start = json.len();
        event::write(row, project, &mut json);
        let full = marks.len() >= limits.events || json.len() + CLOSING.len() > limits.bytes;
        if full && !marks.is_empty() {
            let event = json.split_off(start);
            json.truncate(before);
            batches.push(close(&mut json, &mut marks, preamble, &rows[position - 1]));
            json.extend_from_slice(&event);
        }
        marks.push(Mark {
            end: json.len(),
            row_id: row.id().clone(),
        });
    }
    if let Some(row) = rows.last() {
        batches.push(close(&mut json, &mut marks, preamble, row));
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

fn close(json: &mut Vec<u8>, marks: &mut Vec<Mark>, preamble: &Preamble, row: &Row) -> Batch {
    json.extend_from_slice(CLOSING);
    let body = Body {
        gzip: gzip(json).into(),
        preamble: preamble.0.len(),
        marks: std::mem::take(marks),
    };
    json.truncate(preamble.0.len());
    Batch {
        body: Some(body),
        cursor: Some(row.cursor()),
        last: false,
    }
}

#[cfg(test)]
mod tests;
