//! What happens to rows after they were written, as Langfuse's users and its SDKs do it. Each change
//! sets `updated_at`, as Langfuse does, from a clock that may be behind the database's.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::PgPool;

use super::database_now;
use super::rows::{Observation, Rows, Score, Trace};

/// A change of some rows of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Traces get a user: their events get another distinct id
    User,
    /// Observations end, and their tokens are known
    End,
    /// Scores get another value
    Value,
    /// Traces get one more observation
    Observation,
    /// Traces with a generation and a score are written only now
    Late,
}

impl Touch {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::User, Self::End, Self::Value, Self::Observation, Self::Late];
}

const USER: &str = r#"
UPDATE traces SET user_id = 'user of ' || $4, updated_at = $5
WHERE id IN (
    SELECT id FROM traces WHERE project_id = $1 AND "timestamp"::date = $2 AND "timestamp" < now() AT TIME ZONE 'UTC'
    ORDER BY md5(id || $4) LIMIT $3)
"#;

const END: &str = "
UPDATE observations SET end_time = start_time + interval '5 seconds', completion_tokens = completion_tokens + 11,
    total_tokens = total_tokens + 11, updated_at = $5
WHERE id IN (
    SELECT id FROM observations WHERE project_id = $1 AND start_time::date = $2 AND start_time < now() AT TIME ZONE 'UTC'
    ORDER BY md5(id || $4) LIMIT $3)
";

const VALUE: &str = r#"
UPDATE scores SET value = coalesce(value, 0) + 0.25, updated_at = $5
WHERE id IN (
    SELECT id FROM scores WHERE project_id = $1 AND "timestamp"::date = $2 AND "timestamp" < now() AT TIME ZONE 'UTC'
    ORDER BY md5(id || $4) LIMIT $3)
"#;

/// Traces of a day up to now, in an order of the seed.
const TRACES: &str = r#"
SELECT id, "timestamp" FROM traces
WHERE project_id = $1 AND "timestamp"::date = $2 AND "timestamp" < now() AT TIME ZONE 'UTC' ORDER BY md5(id || $4) LIMIT $3
"#;

/// Which rows of which day are changed.
#[derive(Clone, Copy, Debug)]
pub struct Touched<'a> {
    /// The project
    pub project: &'a str,
    /// The day, which has rows
    pub day: NaiveDate,
    /// So many rows at most
    pub count: usize,
    /// Draws which ones, and when late rows were. Two calls need two seeds
    pub seed: u64,
    /// How long ago the rows say that it was: transactions commit late, and clocks differ
    pub ago: TimeDelta,
}

/// Changes rows.
///
/// # Panics
/// When the database refuses it.
pub async fn touch(pool: &PgPool, touch: Touch, rows: Touched<'_>) {
    let label = format!("touch {}", rows.seed);
    let moment = database_now(pool).await - rows.ago;
    match touch {
        Touch::User => update(pool, USER, rows, &label, moment).await,
        Touch::End => update(pool, END, rows, &label, moment).await,
        Touch::Value => update(pool, VALUE, rows, &label, moment).await,
        Touch::Observation => observations(pool, rows, &label, moment).await,
        Touch::Late => late(pool, rows, &label, moment).await,
    }
}

async fn update(pool: &PgPool, statement: &'static str, rows: Touched<'_>, label: &str, moment: NaiveDateTime) {
    let update = sqlx::query(statement).bind(rows.project).bind(rows.day);
    let update = update.bind(rows.count as i64).bind(label).bind(moment);
    update.execute(pool).await.expect("rows can be changed");
}

async fn observations(pool: &PgPool, rows: Touched<'_>, label: &str, moment: NaiveDateTime) {
    let traces = sqlx::query_as(TRACES).bind(rows.project).bind(rows.day);
    let traces = traces.bind(rows.count as i64).bind(label).fetch_all(pool).await;
    let traces: Vec<(String, NaiveDateTime)> = traces.expect("traces can be read");
    let observations = traces.iter().map(|(trace, time)| Observation {
        calculated_total_cost: Some("0.125".to_owned()),
        created_at: Some(moment),
        ..Observation::generation(rows.project, &format!("{label} {trace}"), trace, *time)
    });
    let rows = Rows {
        observations: observations.collect(),
        ..Rows::default()
    };
    rows.insert(pool).await;
}

async fn late(pool: &PgPool, touched: Touched<'_>, label: &str, moment: NaiveDateTime) {
    let Touched { project, day, .. } = touched;
    let mut random = StdRng::seed_from_u64(touched.seed);
    let midnight = day.and_time(NaiveTime::MIN);
    let passed = (moment - midnight).min(TimeDelta::days(1)).num_seconds().max(1);
    let mut rows = Rows::default();
    for number in 0..touched.count {
        let time = midnight + TimeDelta::seconds(random.random_range(0..passed));
        let id = format!("late {label} {project} {day} {number}");
        rows.traces.push(Trace {
            user_id: Some(format!("user-{number}")),
            created_at: Some(moment),
            ..Trace::new(project, &id, time)
        });
        rows.observations.push(Observation {
            created_at: Some(moment),
            ..Observation::generation(project, &id, &id, time)
        });
        rows.scores.push(Score {
            created_at: Some(moment),
            ..Score::new(project, &id, &id, time)
        });
    }
    rows.insert(pool).await;
}
