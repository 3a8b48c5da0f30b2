//! What the oracle reads: a whole day in one query each, everything joined in.

use chrono::{NaiveDate, NaiveDateTime};
use sqlx::{FromRow, PgPool};

use super::Kind;

/// What an event takes from its trace; all null when there is no such trace in the project.
#[derive(FromRow)]
pub(super) struct TraceColumns {
    pub(super) trace_name: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) release: Option<String>,
    pub(super) tags: Option<Vec<Option<String>>>,
    /// JSON texts as PostgreSQL writes them, null when the metadata is no object or has no such member.
    pub(super) distinct_id_json: Option<String>,
    pub(super) session_id_json: Option<String>,
}

#[derive(FromRow)]
pub(super) struct TraceRow {
    pub(super) id: String,
    pub(super) timestamp: NaiveDateTime,
    pub(super) version: Option<String>,
    pub(super) observations: i64,
    pub(super) cost: Option<String>,
    pub(super) first: Option<NaiveDateTime>,
    pub(super) last: Option<NaiveDateTime>,
    #[sqlx(flatten)]
    pub(super) trace: TraceColumns,
}

#[derive(FromRow)]
pub(super) struct ObservationRow {
    pub(super) id: String,
    pub(super) trace_id: Option<String>,
    /// The type
    pub(super) kind: String,
    pub(super) start_time: NaiveDateTime,
    pub(super) end_time: Option<NaiveDateTime>,
    pub(super) completion_start_time: Option<NaiveDateTime>,
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) model: Option<String>,
    pub(super) level: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) prompt_tokens: i32,
    pub(super) completion_tokens: i32,
    pub(super) total_tokens: i32,
    pub(super) cost: Option<String>,
    #[sqlx(flatten)]
    pub(super) trace: TraceColumns,
}

#[derive(FromRow)]
pub(super) struct ScoreRow {
    pub(super) id: String,
    pub(super) trace_id: String,
    pub(super) timestamp: NaiveDateTime,
    pub(super) name: String,
    pub(super) value: Option<f64>,
    pub(super) string_value: Option<String>,
    pub(super) data_type: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) source: Option<String>,
    pub(super) observation_id: Option<String>,
    #[sqlx(flatten)]
    pub(super) trace: TraceColumns,
}

/// Costs leave the database as text, so that the only rounding is the one to f64 at the very end.
const TRACES: &str = r#"
-- oracle: the traces of a day, with the totals of all their observations
WITH day AS (
    SELECT * FROM traces WHERE project_id = $1 AND "timestamp"::date = $2
), priced AS (
    SELECT DISTINCT ON (o.id) o.id, o.trace_id, o.type::text AS kind, o.start_time, o.end_time, o.created_at,
        CASE
            WHEN num_nonnulls(o.calculated_total_cost, o.input_cost, o.output_cost, o.total_cost) > 0
                THEN coalesce(o.calculated_total_cost, o.total_cost)
            WHEN m.total_price IS NOT NULL THEN m.total_price * o.total_tokens
            ELSE o.prompt_tokens * m.input_price + o.completion_tokens * m.output_price
        END AS cost
    FROM observations o
    LEFT JOIN models m ON m.model_name = o.internal_model AND m.unit = o.unit
        AND (m.project_id = o.project_id OR m.project_id IS NULL)
        AND (m.start_date < o.start_time OR m.start_date IS NULL)
    WHERE o.project_id = $1 AND o.trace_id IN (SELECT id FROM day)
    ORDER BY o.id, m.project_id IS NULL, m.start_date DESC NULLS LAST
)
SELECT day.id, day."timestamp", day.version,
    count(priced.id) AS observations, sum(priced.cost)::text AS cost,
    min(priced.start_time) AS first, max(greatest(priced.start_time, priced.end_time)) AS last,
    day.name AS trace_name, day.user_id, day.session_id, day.release, day.tags,
    (day.metadata -> '$posthog_distinct_id')::text AS distinct_id_json,
    (day.metadata -> '$posthog_session_id')::text AS session_id_json
FROM day LEFT JOIN priced ON priced.trace_id = day.id
GROUP BY day.id, day."timestamp", day.version, day.name, day.user_id, day.session_id, day.release, day.tags,
    day.metadata, day.created_at
HAVING $3::timestamp IS NULL OR day.created_at >= $3 OR max(priced.created_at) >= $3
"#;

const OBSERVATIONS: &str = r"
-- oracle: the generations of a day, or its other observations
SELECT DISTINCT ON (o.id) o.id, o.trace_id, o.type::text AS kind, o.start_time, o.end_time, o.completion_start_time, o.name, o.version, o.model,
    o.level::text AS level, o.unit, o.prompt_tokens, o.completion_tokens, o.total_tokens,
    CASE
        WHEN num_nonnulls(o.calculated_total_cost, o.input_cost, o.output_cost, o.total_cost) > 0
            THEN coalesce(o.calculated_total_cost, o.total_cost)
        WHEN m.total_price IS NOT NULL THEN m.total_price * o.total_tokens
        ELSE o.prompt_tokens * m.input_price + o.completion_tokens * m.output_price
    END::text AS cost,
    t.name AS trace_name, t.user_id, t.session_id, t.release, t.tags,
    (t.metadata -> '$posthog_distinct_id')::text AS distinct_id_json,
    (t.metadata -> '$posthog_session_id')::text AS session_id_json
FROM observations o
LEFT JOIN traces t ON t.id = o.trace_id AND t.project_id = o.project_id
LEFT JOIN models m ON m.model_name = o.internal_model AND m.unit = o.unit
    AND (m.project_id = o.project_id OR m.project_id IS NULL)
    AND (m.start_date < o.start_time OR m.start_date IS NULL)
WHERE o.project_id = $1 AND o.start_time::date = $2 AND (o.type IN ('SPAN', 'EVENT')) = $4
    AND ($3::timestamp IS NULL OR o.created_at >= $3)
ORDER BY o.id, m.project_id IS NULL, m.start_date DESC NULLS LAST
";

const SCORES: &str = r#"
-- oracle: the scores of a day
SELECT s.id, s.trace_id, s."timestamp", s.name, s.value, s.string_value, s.data_type::text AS data_type, s.comment,
    s.source::text AS source, s.observation_id,
    t.name AS trace_name, t.user_id, t.session_id, t.release, t.tags,
    (t.metadata -> '$posthog_distinct_id')::text AS distinct_id_json,
    (t.metadata -> '$posthog_session_id')::text AS session_id_json
FROM scores s
LEFT JOIN traces t ON t.id = s.trace_id AND t.project_id = s.project_id
WHERE s.project_id = $1 AND s."timestamp"::date = $2 AND ($3::timestamp IS NULL OR s.created_at >= $3)
"#;

/// The name of a project, unless it has none.
pub(super) async fn project_name(pool: &PgPool, project: &str) -> Option<String> {
    let name = sqlx::query_scalar::<_, Option<String>>("SELECT name FROM projects WHERE id = $1").bind(project);
    let name = name
        .fetch_optional(pool)
        .await
        .expect("the oracle can read the projects");
    name.flatten().filter(|name| !name.trim().is_empty())
}

pub(super) async fn traces(
    pool: &PgPool,
    project: &str,
    day: NaiveDate,
    created_after: Option<NaiveDateTime>,
) -> Vec<TraceRow> {
    let query = sqlx::query_as(TRACES).bind(project).bind(day).bind(created_after);
    query.fetch_all(pool).await.expect("the oracle can read the traces")
}

pub(super) async fn observations(
    pool: &PgPool,
    kind: Kind,
    project: &str,
    day: NaiveDate,
    created_after: Option<NaiveDateTime>,
) -> Vec<ObservationRow> {
    let query = sqlx::query_as(OBSERVATIONS)
        .bind(project)
        .bind(day)
        .bind(created_after)
        .bind(kind == Kind::Observation);
    query
        .fetch_all(pool)
        .await
        .expect("the oracle can read the observations")
}

pub(super) async fn scores(
    pool: &PgPool,
    project: &str,
    day: NaiveDate,
    created_after: Option<NaiveDateTime>,
) -> Vec<ScoreRow> {
    let query = sqlx::query_as(SCORES).bind(project).bind(day).bind(created_after);
    query.fetch_all(pool).await.expect("the oracle can read the scores")
}
