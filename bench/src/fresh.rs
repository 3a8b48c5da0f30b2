//! A day in steps, and a day of which a part changed: what the rows and the ledger must look like
//! before each, and the messages that ask for it.

use anyhow::Result;
use futures::TryStreamExt as _;
use testkit::World;

use crate::database::Day;
use crate::verify;

/// Into how many steps a day is divided.
const STEPS: u32 = 24;

/// The messages of the steps of a day, and of the run that exports the rest of it, in this order.
pub fn in_steps(day: Day, run: &str) -> Vec<Vec<u8>> {
    let step = |hour: u32| {
        let until = match hour + 1 {
            24 => format!("{}T00:00:00Z", day.date.succ_opt().unwrap_or_default()),
            next => format!("{}T{next:02}:00:00Z", day.date),
        };
        let span = format!(r#""from":"{}T{hour:02}:00:00Z","until":"{until}""#, day.date);
        message(day, &format!("{run}.{hour:02}"), &span)
    };
    let rest = message(day, run, r#""changed":true"#);
    (0..STEPS).map(step).chain([rest]).collect()
}

/// The message that asks for what changed of a day.
pub fn changed(day: Day, run: &str) -> Vec<u8> {
    message(day, run, r#""changed":true"#)
}

fn message(day: Day, run: &str, fields: &str) -> Vec<u8> {
    let Day { project, date } = day;
    format!(r#"{{"project_id":"{project}","day":"{date}","run":"{run}",{fields}}}"#).into_bytes()
}

/// Forgets the runs of a day: what they have sent would be left out.
pub async fn forget(world: &World, day: Day) -> Result<()> {
    sqlx::query("delete from posthog_export.runs where project_id = $1 and day = $2")
        .bind(day.project)
        .bind(day.date)
        .execute(&world.pool())
        .await?;
    Ok(())
}

/// Which traces of a day change: one of a hundred.
const CHANGING: &str =
    "project_id = $1 and timestamp >= $2 and timestamp < $2 + interval '1 day' and hashtext(id) % 100 = 0";

/// Changes one of a hundred traces. What an event takes from its trace changes with it, so this
/// concerns one of a hundred events.
pub async fn touch(world: &World, day: Day) -> Result<()> {
    update(world, day, "now() at time zone 'UTC'").await
}

/// Makes the traces look as before.
pub async fn lie_still(world: &World, day: Day) -> Result<()> {
    update(world, day, "created_at").await
}

async fn update(world: &World, day: Day, moment: &str) -> Result<()> {
    let update = format!("update traces set updated_at = {moment} where {CHANGING}");
    sqlx::query(sqlx::AssertSqlSafe(update))
        .bind(day.project)
        .bind(day.date.and_time(chrono::NaiveTime::MIN))
        .execute(&world.pool())
        .await?;
    Ok(())
}

/// The uuids of the events that change with those traces.
pub async fn expected(world: &World, day: Day) -> Result<Vec<u128>> {
    let rows = format!(
        "with t as materialized (select id from traces where {CHANGING})
         select id from t
         union all select o.id from observations o join t on o.trace_id = t.id
         where o.project_id = $1 and o.type = 'GENERATION' and o.start_time >= $2 and o.start_time < $2 + interval '1 day'
         union all select s.id from scores s join t on s.trace_id = t.id
         where s.project_id = $1 and s.timestamp >= $2 and s.timestamp < $2 + interval '1 day'"
    );
    let uuids = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(rows))
        .bind(day.project)
        .bind(day.date.and_time(chrono::NaiveTime::MIN))
        .fetch(&world.pool())
        .map_ok(|id| verify::uuid_of(day.project, &id))
        .try_collect()
        .await?;
    Ok(uuids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::BIG;

    #[test]
    fn the_steps_are_the_whole_day_and_the_rest_comes_last() {
        let messages = in_steps(Day::of(BIG, 0), "bench-1");
        let texts: Vec<String> = messages
            .into_iter()
            .map(|body| String::from_utf8(body).unwrap())
            .collect();
        assert_eq!(texts.len(), 25);
        assert!(
            texts[0].contains(r#""from":"2025-01-14T00:00:00Z","until":"2025-01-14T01:00:00Z""#),
            "{}",
            texts[0]
        );
        assert!(
            texts[23].contains(r#""from":"2025-01-14T23:00:00Z","until":"2025-01-15T00:00:00Z""#),
            "{}",
            texts[23]
        );
        assert!(texts[24].contains(r#""run":"bench-1","changed":true"#), "{}", texts[24]);
    }
}
