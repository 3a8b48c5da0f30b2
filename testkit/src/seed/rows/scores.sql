INSERT INTO scores (id, project_id, trace_id, "timestamp", name, value, string_value, data_type, source, comment,
    observation_id, created_at, updated_at)
SELECT id, project_id, trace_id, "timestamp", name, value::float8, string_value, data_type::"ScoreDataType",
    source::"ScoreSource", comment, observation_id,
    coalesce(created_at, "timestamp" + interval '2 s'), coalesce(created_at, "timestamp" + interval '2 s')
FROM json_to_recordset($1::json) AS row (
    id text, project_id text, trace_id text, "timestamp" timestamp, name text, value text, string_value text,
    data_type text, source text, comment text, observation_id text, created_at timestamp
)
