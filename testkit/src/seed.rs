//! Rows to export: days as production looks, and every shape of row that ever broke an exporter.

mod adversarial;
mod rows;
mod touches;

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use sqlx::{Executor, PgPool};

use crate::langfuse;

pub use adversarial::adversarial_rows;
pub use rows::{Model, Observation, Rows, Score, Trace, at};
pub use touches::{Touch, Touched, touch};

/// The prices all projects share, as Langfuse ships some.
const SHARED_MODELS: [(&str, &str, &str); 3] = [
    ("gpt-4o", "0.0000025", "0.00001"),
    ("gpt-4o-mini", "0.00000015", "0.0000006"),
    ("claude-3-5-sonnet", "0.000003", "0.000015"),
];

/// Days as production looks: with each trace two generations, two other observations and, half the
/// time, a score. The same arguments make the same rows. The project must be there.
///
/// # Panics
/// When the database refuses them.
pub async fn realistic(pool: &PgPool, project: &str, days: &[NaiveDate], traces_per_day: usize, seed: u64) {
    for (name, input, output) in SHARED_MODELS {
        sqlx::query(
            "INSERT INTO models (id, model_name, match_pattern, unit, input_price, output_price)
             VALUES ($1, $1, $1, 'TOKENS', $2::text::numeric, $3::text::numeric) ON CONFLICT DO NOTHING",
        )
        .bind(name)
        .bind(input)
        .bind(output)
        .execute(pool)
        .await
        .expect("the shared models can be inserted");
    }
    sqlx::query(include_str!("seed/realistic.sql"))
        .bind(project)
        .bind(days)
        .bind(i32::try_from(traces_per_day).expect("a day of fewer than 2 billion traces"))
        .bind(seed.cast_signed())
        .execute(pool)
        .await
        .expect("realistic rows can be inserted");
    analyze(pool).await;
}

/// One day with every nasty shape of row there is, and a neighbour project that owns some of the
/// traces referred to. The project must be there.
///
/// # Panics
/// When the database refuses them.
pub async fn adversarial(pool: &PgPool, project: &str, day: NaiveDate) {
    // An index takes no text of more than some 2,700 bytes. A database without these two can hold longer
    // names and tags, and the worker must shorten them.
    sqlx::raw_sql("DROP INDEX IF EXISTS traces_name_idx, traces_tags_idx")
        .execute(pool)
        .await
        .expect("the owner may drop indexes");
    langfuse::add_project(pool, &adversarial::neighbour(project), "Neighbour").await;
    adversarial_rows(project, day).insert(pool).await;
}

/// So many traces, generations and scores each, all in the one millisecond at noon.
///
/// # Panics
/// When the database refuses them.
pub async fn ties(pool: &PgPool, project: &str, day: NaiveDate, count: usize) {
    sqlx::query(include_str!("seed/ties.sql"))
        .bind(project)
        .bind(at(day, 12, 0, 0, 0))
        .bind(i32::try_from(count).expect("fewer than 2 billion ties"))
        .execute(pool)
        .await
        .expect("ties can be inserted");
    analyze(pool).await;
}

/// Rows of a day gone by that are created only now: so many traces, each with a generation and a
/// score. `label` keeps their ids apart from those of other calls.
///
/// # Panics
/// When the database refuses them.
pub async fn late(pool: &PgPool, project: &str, day: NaiveDate, count: usize, label: &str) {
    let created_at = Some(database_now(pool).await);
    let mut rows = Rows::default();
    for number in 0..count {
        let time = at(day, 6, 0, 0, 0) + TimeDelta::milliseconds(number as i64 * 731 % 60_000_000);
        let id = format!("late {label} {project} {day} {number}");
        rows.traces.push(Trace {
            name: Some("late".to_owned()),
            user_id: Some(format!("user-{number}")),
            created_at,
            ..Trace::new(project, &id, time)
        });
        rows.observations.push(Observation {
            calculated_total_cost: Some("0.25".to_owned()),
            created_at,
            ..Observation::generation(project, &id, &id, time)
        });
        rows.scores.push(Score {
            created_at,
            ..Score::new(project, &id, &id, time)
        });
    }
    rows.insert(pool).await;
}

/// Gives up to so many traces of a day one more generation, on the next day and created only now,
/// so that the traces' totals change. `label` keeps the ids apart from those of other calls.
///
/// # Panics
/// When the database refuses them.
pub async fn late_observations(pool: &PgPool, project: &str, day: NaiveDate, count: usize, label: &str) {
    let created_at = Some(database_now(pool).await);
    let traces: Vec<(String, NaiveDateTime)> = sqlx::query_as(
        r#"SELECT id, "timestamp" FROM traces WHERE project_id = $1 AND "timestamp"::date = $2 ORDER BY id LIMIT $3"#,
    )
    .bind(project)
    .bind(day)
    .bind(count as i64)
    .fetch_all(pool)
    .await
    .expect("the day's traces can be read");
    let observations = traces.iter().map(|(trace, time)| Observation {
        calculated_total_cost: Some("0.125".to_owned()),
        created_at,
        ..Observation::generation(
            project,
            &format!("late {label} {trace}"),
            trace,
            *time + TimeDelta::days(1),
        )
    });
    Rows {
        observations: observations.collect(),
        ..Rows::default()
    }
    .insert(pool)
    .await;
}

async fn database_now(pool: &PgPool) -> NaiveDateTime {
    sqlx::query_scalar("SELECT (now() AT TIME ZONE 'UTC')::timestamp(3)")
        .fetch_one(pool)
        .await
        .expect("the database tells the time")
}

/// The planner's statistics of a database that has been in use for a while.
async fn analyze(pool: &PgPool) {
    pool.execute("ANALYZE traces, observations, scores, models")
        .await
        .expect("the tables can be analysed");
}
