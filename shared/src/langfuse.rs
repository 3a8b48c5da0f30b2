//! What both programs ask Langfuse's tables: whether the columns exist, and which days hold data.

use chrono::NaiveDateTime;
use sqlx::PgPool;

use crate::job::Day;

mod sweep;
pub use sweep::{Newest, created_between, days_with_traces, projects_with_scores, visible_until};

/// The columns that are read, by table.
const COLUMNS: &[(&str, &[&str])] = &[
    ("projects", &["id", "name", "created_at"]),
    (
        "traces",
        &[
            "id",
            "project_id",
            "timestamp",
            "name",
            "user_id",
            "session_id",
            "release",
            "version",
            "tags",
            "metadata",
            "created_at",
        ],
    ),
    (
        "observations",
        &[
            "id",
            "project_id",
            "trace_id",
            "type",
            "start_time",
            "end_time",
            "completion_start_time",
            "name",
            "version",
            "model",
            "internal_model",
            "level",
            "unit",
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
            "input_cost",
            "output_cost",
            "total_cost",
            "calculated_total_cost",
            "created_at",
        ],
    ),
    (
        "scores",
        &[
            "id",
            "project_id",
            "trace_id",
            "timestamp",
            "name",
            "value",
            "string_value",
            "data_type",
            "comment",
            "created_at",
        ],
    ),
    (
        "models",
        &[
            "project_id",
            "model_name",
            "unit",
            "start_date",
            "input_price",
            "output_price",
            "total_price",
        ],
    ),
    (
        "posthog_integrations",
        &[
            "project_id",
            "encrypted_posthog_api_key",
            "posthog_host_name",
            "enabled",
        ],
    ),
];

/// Every column that is read, as two lists of the same length: its table, and its name.
pub fn wanted_columns() -> (Vec<String>, Vec<String>) {
    COLUMNS
        .iter()
        .flat_map(|(table, columns)| columns.iter().map(|column| ((*table).to_owned(), (*column).to_owned())))
        .unzip()
}

/// The columns that are read and do not exist, as `table.column`.
pub async fn missing_columns(source: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    let (tables, columns) = wanted_columns();
    sqlx::query_scalar(
        "-- langfuse_missing_columns
         select w.t || '.' || w.c from unnest($1::text[], $2::text[]) as w (t, c)
         where not exists (select 1 from pg_attribute a
                           where a.attrelid = to_regclass(quote_ident(w.t)) and a.attname = w.c and not a.attisdropped)",
    )
    .bind(tables)
    .bind(columns)
    .fetch_all(source)
    .await
}

/// Those of the given ids that are projects of Langfuse.
pub async fn known_projects(source: &PgPool, ids: &[String]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("-- langfuse_known_projects\nselect id from projects where id = any($1)")
        .bind(ids)
        .fetch_all(source)
        .await
}

/// The first and the last day of a project that hold a row, if any.
pub async fn data_range(source: &PgPool, project_id: &str) -> Result<Option<(Day, Day)>, sqlx::Error> {
    let (first, last): (Option<NaiveDateTime>, Option<NaiveDateTime>) = sqlx::query_as(
        "-- langfuse_data_range
         select least((select min(timestamp) from traces where project_id = $1),
                      (select min(start_time) from observations where project_id = $1 and type = 'GENERATION'),
                      (select min(timestamp) from scores where project_id = $1)),
                greatest((select max(timestamp) from traces where project_id = $1),
                         (select max(start_time) from observations where project_id = $1 and type = 'GENERATION'),
                         (select max(timestamp) from scores where project_id = $1))",
    )
    .bind(project_id)
    .fetch_one(source)
    .await?;
    Ok(first
        .zip(last)
        .map(|(first, last)| (Day(first.date()), Day(last.date()))))
}

/// The days of a range, both ends included, that hold at least one row to export; oldest first.
/// Each day costs one lookup in each index. The index of the scores has no project, so scores come
/// last.
pub async fn days_with_data(source: &PgPool, project_id: &str, from: Day, to: Day) -> Result<Vec<Day>, sqlx::Error> {
    let days: Vec<chrono::NaiveDate> = sqlx::query_scalar(
        "-- langfuse_days_with_data
         select d::date from generate_series($2::timestamp, $3::timestamp, interval '1 day') d
         where case
           when exists (select 1 from traces t where t.project_id = $1
                        and t.timestamp >= d and t.timestamp < d + interval '1 day') then true
           when exists (select 1 from observations o where o.project_id = $1 and o.type = 'GENERATION'
                        and o.start_time >= d and o.start_time < d + interval '1 day') then true
           else exists (select 1 from scores s where s.project_id = $1
                        and s.timestamp >= d and s.timestamp < d + interval '1 day') end
         order by 1",
    )
    .bind(project_id)
    .bind(from.start())
    .bind(to.start())
    .fetch_all(source)
    .await?;
    Ok(days.into_iter().map(Day).collect())
}
