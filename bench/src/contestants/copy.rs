//! The database's own limit: the same rows by keyset pages, with `COPY … TO STDOUT` to nowhere.

use std::time::Instant;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use sqlx::{Connection as _, PgConnection};
use testkit::World;

use super::{Outcome, postgres_cpu};
use crate::database::Day;
use crate::verify;

/// Rows in a page.
const PAGE: usize = 5_000;

/// What every event says of its trace.
const TRACE: &str = "t.name, t.user_id, t.session_id, t.release, t.tags,
    case when jsonb_typeof(t.metadata -> '$posthog_distinct_id') in ('string', 'number') then t.metadata ->> '$posthog_distinct_id' end,
    case when jsonb_typeof(t.metadata -> '$posthog_session_id') in ('string', 'number') then t.metadata ->> '$posthog_session_id' end";

/// One of the three streams: its table and the column that orders it.
#[derive(Clone, Copy)]
struct Stream {
    table: &'static str,
    time: &'static str,
}

const TRACES: Stream = Stream {
    table: "traces",
    time: "timestamp",
};
const GENERATIONS: Stream = Stream {
    table: "observations",
    time: "start_time",
};
const SCORES: Stream = Stream {
    table: "scores",
    time: "timestamp",
};

/// What was read.
#[derive(Default)]
struct Read {
    rows: u64,
    /// Only when they are to be verified
    uuids: Vec<u128>,
}

/// Reads a day by three connections at once, a stream each, or by one connection that reads one
/// stream after the other. The uuids of the rows come along when they are to be verified.
pub async fn read(world: &World, day: Day, connections: usize, verify: bool) -> Result<(Outcome, Vec<u128>)> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(PgConnection::connect(&world.database_url).await?);
    }
    let postgres_before = postgres_cpu(world)?;
    let began = Instant::now();
    let parts = if let [first, second, third] = &mut open[..] {
        let (traces, generations, scores) = tokio::try_join!(
            stream(first, TRACES, day, verify),
            stream(second, GENERATIONS, day, verify),
            stream(third, SCORES, day, verify),
        )?;
        vec![traces, generations, scores]
    } else {
        let only = open.first_mut().context("a connection")?;
        let mut parts = Vec::new();
        for which in [TRACES, GENERATIONS, SCORES] {
            parts.push(stream(only, which, day, verify).await?);
        }
        parts
    };
    let wall = began.elapsed();
    let outcome = Outcome {
        wall,
        cpu: None,
        postgres_cpu: postgres_cpu(world)?.saturating_sub(postgres_before),
        peak_memory: None,
        memory: Vec::new(),
        events: parts.iter().map(|part| part.rows).sum(),
    };
    for connection in open {
        connection.close().await?;
    }
    Ok((outcome, parts.into_iter().flat_map(|part| part.uuids).collect()))
}

async fn stream(connection: &mut PgConnection, stream: Stream, day: Day, verify: bool) -> Result<Read> {
    let mut all = Read::default();
    let mut after = (day.date.to_string(), String::new());
    loop {
        let page = format!("copy ({}) to stdout", select(stream, day, &after));
        let mut lines = connection.copy_out_raw(&page).await?;
        let (mut rows, mut last) = (0, None);
        // The server sends each line by itself.
        while let Some(line) = lines.try_next().await? {
            rows += 1;
            if verify {
                all.uuids.push(verify::uuid_of(day.project, &position(&line)?.1));
            }
            last = Some(line);
        }
        all.rows += rows as u64;
        match last {
            Some(line) if rows == PAGE => after = position(&line)?,
            _ => return Ok(all),
        }
    }
}

/// The first two columns: the keyset position.
fn position(line: &[u8]) -> Result<(String, String)> {
    let mut columns = line.split(|byte| *byte == b'\t');
    let mut column = || Some(String::from_utf8_lossy(columns.next()?).into_owned());
    column().zip(column()).context("a row without two columns")
}

/// The statement of a page. Every id here is of our own making and needs no escaping.
fn select(Stream { table, time }: Stream, Day { project, date }: Day, (moment, id): &(String, String)) -> String {
    let kind = if table == "observations" {
        "type = 'GENERATION' and"
    } else {
        ""
    };
    let page = format!(
        "(select * from {table} where {kind} project_id = '{project}' and {time} >= '{moment}' and {time} < date '{date}' + 1
         and ({time}, id collate \"C\") > ('{moment}', '{id}') order by {time}, id collate \"C\" limit {PAGE}) r"
    );
    let cost = "coalesce(o.calculated_total_cost, o.total_cost)";
    let trace = format!("left join traces t on t.id = r.trace_id and t.project_id = '{project}'");
    match table {
        "traces" => format!(
            "select r.timestamp, r.id, {}, r.version, a.* from {page} left join lateral (
             select count(*), min(o.start_time), max(greatest(o.start_time, o.end_time)), sum({cost})::float8 from observations o
             where o.trace_id = r.id and o.project_id = '{project}') a on true order by r.timestamp, r.id collate \"C\"",
            TRACE.replace("t.", "r.")
        ),
        "observations" => format!(
            "select r.start_time, r.id, {TRACE}, r.trace_id, r.name, r.version, r.model, r.level, r.unit, r.end_time, r.completion_start_time,
             r.prompt_tokens, r.completion_tokens, r.total_tokens, coalesce(r.calculated_total_cost, r.total_cost)::float8
             from {page} {trace} order by r.start_time, r.id collate \"C\""
        ),
        _ => format!(
            "select r.timestamp, r.id, {TRACE}, r.trace_id, r.name, r.value, r.string_value, r.data_type, r.comment, r.source,
             r.observation_id
             from {page} {trace} order by r.timestamp, r.id collate \"C\""
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_the_first_two_columns() {
        let found = position(b"2025-01-14 00:00:01.5\tan id\tmore\n").unwrap();
        assert_eq!(found, ("2025-01-14 00:00:01.5".to_owned(), "an id".to_owned()));
        assert!(position(b"alone").is_err());
    }
}
