//! What both programs ask Langfuse's tables: whether the columns exist, and which days hold data.

use sqlx::{PgExecutor, PgPool};

mod days;
mod newest;
mod sweep;
pub use days::{
    Days, Limited, Undated, days_with_any_scores, days_with_scores, days_with_traces, has_index, projects_with_scores,
    score_days, undated,
};
pub use newest::{newest_rows, newest_score};
pub use sweep::{Newest, created_between, created_from, scores_created_between, visible_until};

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
            "updated_at",
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
            "updated_at",
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
            "source",
            "observation_id",
            "created_at",
            "updated_at",
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
pub async fn missing_columns(source: impl PgExecutor<'_>) -> Result<Vec<String>, sqlx::Error> {
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
