INSERT INTO traces (id, project_id, "timestamp", name, user_id, session_id, release, version, tags, metadata,
    input, output, created_at, updated_at)
SELECT id, project_id, "timestamp", name, user_id, session_id, release, version, tags, metadata::jsonb,
    '"never exported"', '"never exported"',
    coalesce(created_at, "timestamp" + interval '2 s'), coalesce(created_at, "timestamp" + interval '2 s')
FROM json_to_recordset($1::json) AS row (
    id text, project_id text, "timestamp" timestamp, name text, user_id text, session_id text, release text,
    version text, tags text[], metadata text, created_at timestamp
)
