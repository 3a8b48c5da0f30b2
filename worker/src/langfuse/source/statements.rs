//! The statements: one page of each stream, the totals of traces, and the lookup of traces. Each
//! casts every column that it selects. A cast to the type that the column already has costs
//! nothing, and the decoder then need not ask each value for its type.

use shared::job::Stream;

/// A time that PostgreSQL can hold and our calendar cannot (`infinity`, the year 290000) counts as
/// not set.
macro_rules! sane {
    ($column:literal) => {
        concat!(
            "case when ",
            $column,
            " between '0001-01-01' and '9999-12-31' then ",
            $column,
            " end"
        )
    };
}

/// When a row was last created or updated. A time that our calendar cannot hold counts as one at its
/// end, which is after every run.
macro_rules! touched {
    ($alias:literal) => {
        concat!(
            "least(greatest(",
            $alias,
            ".created_at, ",
            $alias,
            ".updated_at, '0001-01-01'), '9999-12-31')::timestamp"
        )
    };
}

/// The eight columns of `TraceColumns`. Tags of several dimensions, or whose index does not begin
/// at 1, are turned into a plain list, because sqlx decodes no others. Of `metadata` only two
/// texts leave the database: strings, and numbers as PostgreSQL writes them.
macro_rules! trace_columns {
    () => {
        concat!(
        "t.name::text, t.user_id::text, t.session_id::text, t.release::text,
         (case when array_ndims(t.tags) > 1 or array_lower(t.tags, 1) <> 1 then array(select unnest(t.tags)) else t.tags end)::text[] as tags,
         case when jsonb_typeof(t.metadata -> '$posthog_distinct_id') in ('string', 'number')
              then t.metadata ->> '$posthog_distinct_id' end as distinct_id,
         case when jsonb_typeof(t.metadata -> '$posthog_session_id') in ('string', 'number')
              then t.metadata ->> '$posthog_session_id' end as ph_session_id, ",
        touched!("t"),
        " as touched"
        )
    };
}

/// The cost of observation `o` as Langfuse's `observations_view` has it. As `numeric`, so that sums
/// are exact.
macro_rules! cost {
    () => {
        "case
           when coalesce(o.calculated_total_cost, o.total_cost) is not null
             then coalesce(o.calculated_total_cost, o.total_cost)
           when o.input_cost is null and o.output_cost is null and o.internal_model is not null
             then (select case when m.total_price is not null then m.total_price * o.total_tokens
                               else o.prompt_tokens * m.input_price + o.completion_tokens * m.output_price end
                   from models m
                   where m.model_name = o.internal_model and m.unit = o.unit
                     and (m.project_id = o.project_id or m.project_id is null)
                     and (m.start_date is null or m.start_date < o.start_time)
                   order by m.project_id nulls last, m.start_date desc nulls last limit 1)
         end"
    };
}

/// $1 project, $2 lower bound, $3 end of the day, ($4, $5) cursor, $6 limit, $7 created after. Ids
/// compare by bytes, because a failover to a machine with another system library may change the
/// order of a collation. The lower bound repeats the cursor's time, so that the index can use it.
macro_rules! keyset {
    ($alias:literal, $time:literal) => {
        concat!(
            $alias,
            ".project_id = $1 and ",
            $alias,
            ".",
            $time,
            " >= $2 and ",
            $alias,
            ".",
            $time,
            " < $3 and (",
            $alias,
            ".",
            $time,
            ", ",
            $alias,
            ".id collate \"C\") > ($4, $5)"
        )
    };
}

const TRACES: &str = concat!(
    "-- source_traces
     select t.timestamp::timestamp, t.id::text, t.version::text, ",
    trace_columns!(),
    "
     from traces t where ",
    keyset!("t", "timestamp"),
    "  and ($7::timestamp is null or t.created_at >= $7
            or exists (select 1 from observations o where o.trace_id = t.id and o.project_id = t.project_id
                       and o.created_at >= $7))
     order by t.timestamp, t.id collate \"C\" limit $6"
);

/// What the observations of traces add up to, whatever their time. $1 project, $2 ids of traces.
/// One row for each id, in the same order.
pub const TOTALS: &str = concat!(
    "-- source_totals
     select a.observations::int8, a.first_start::timestamp, a.last_end::timestamp, a.cost::float8
     from unnest($2) with ordinality as p (id, place)
     cross join lateral (
       select count(*) as observations, min(",
    sane!("o.start_time"),
    ") as first_start,
              max(greatest(",
    sane!("o.start_time"),
    ", ",
    sane!("o.end_time"),
    ")) as last_end, sum(",
    cost!(),
    ") as cost
       from observations o where o.trace_id = p.id and o.project_id = $1) a
     order by p.place"
);

/// When the last of the observations of traces was created or updated. $1 project, $2 ids of traces.
/// One row for each id, in the same order.
pub const OBSERVATIONS_TOUCHED: &str = concat!(
    "-- source_observations_touched
     select (select max(",
    touched!("o"),
    ") from observations o where o.trace_id = p.id and o.project_id = $1)::timestamp
     from unnest($2) with ordinality as p (id, place)
     order by p.place"
);

/// A page of observations. A condition on the type that is no equality never becomes a part of the
/// search in the index, where it would spoil the order.
macro_rules! observations {
    ($name:literal, $type:literal, $kind:literal) => {
        concat!(
    $name, "
     select o.start_time::timestamp, o.id::text, o.trace_id::text, o.name::text, o.version::text, o.model::text, o.level::text,
            o.unit::text, (",
    sane!("o.end_time"),
    ")::timestamp, (",
    sane!("o.completion_start_time"),
    ")::timestamp, o.prompt_tokens::int4, o.completion_tokens::int4, o.total_tokens::int4, (",
    cost!(),
    ")::float8, ",
    $kind,
    "::text, ",
    touched!("o"),
    "
     from (select o.start_time, o.id, o.project_id, o.type, o.trace_id, o.name, o.version, o.model, o.internal_model, o.level, o.unit,
                  o.end_time, o.completion_start_time, o.prompt_tokens, o.completion_tokens, o.total_tokens,
                  o.input_cost, o.output_cost, o.total_cost, o.calculated_total_cost, o.created_at, o.updated_at
           from observations o where o.type ", $type, " and ",
    keyset!("o", "start_time"),
    "        and ($7::timestamp is null or o.created_at >= $7)
           order by o.start_time, o.id collate \"C\" limit $6) o
     order by o.start_time, o.id collate \"C\""
)
    };
}

const GENERATIONS: &str = observations!("-- source_generations", "= 'GENERATION'", "null");

const OBSERVATIONS: &str = observations!("-- source_observations", "<> 'GENERATION'", "o.type");

/// The columns of a score.
macro_rules! score_columns {
    () => {
        concat!(
            "s.timestamp::timestamp, s.id::text, s.trace_id::text, s.name::text, s.value::float8, s.string_value::text,
             s.data_type::text, s.comment::text, s.source::text, s.observation_id::text, ",
            touched!("s")
        )
    };
}

const SCORES: &str = concat!(
    "-- source_scores
     select ",
    score_columns!(),
    " from scores s where ",
    keyset!("s", "timestamp"),
    "  and ($7::timestamp is null or s.created_at >= $7)
     order by s.timestamp, s.id collate \"C\" limit $6"
);

/// The same page by way of the project's own scores. `offset 0` keeps their time out of the inner
/// statement: else the index on the time would serve both. A reader with least rights may not select
/// `*`.
pub const OWN_SCORES: &str = concat!(
    "-- source_own_scores
     select ",
    score_columns!(),
    " from (select id, project_id, trace_id, timestamp, name, value, string_value, data_type, comment, source,
                    observation_id, created_at, updated_at
             from scores where project_id = $1 offset 0) s where ",
    keyset!("s", "timestamp"),
    "  and ($7::timestamp is null or s.created_at >= $7)
     order by s.timestamp, s.id collate \"C\" limit $6"
);

/// Looks up traces. $1 project, $2 ids. A trace of another project with the same id is not found.
pub const TRACE_COLUMNS: &str = concat!(
    "-- source_trace_columns
     select t.id::text, ",
    trace_columns!(),
    " from traces t where t.id = any($2) and t.project_id = $1"
);

/// The statement that reads a page of a stream.
pub const fn statement(stream: Stream) -> &'static str {
    match stream {
        Stream::Trace => TRACES,
        Stream::Generation => GENERATIONS,
        Stream::Score => SCORES,
        Stream::Observation => OBSERVATIONS,
    }
}
