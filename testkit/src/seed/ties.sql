-- $3 traces, generations and scores each, all in one millisecond. $1 project, $2 the moment.
WITH trace AS (
    INSERT INTO traces (id, project_id, "timestamp", name, user_id, created_at, updated_at)
    SELECT format('tie %s %s %s', $1::text, $2::timestamp, number), $1, $2, 'tie', 'user-' || number % 100,
        $2 + interval '2 s', $2 + interval '2 s'
    FROM generate_series(1, $3::integer) AS number
    RETURNING id
), observation AS (
    INSERT INTO observations (id, project_id, trace_id, type, start_time, end_time, calculated_total_cost, created_at, updated_at)
    SELECT id, $1, id, 'GENERATION', $2, $2 + interval '1 s', 0.01, $2 + interval '2 s', $2 + interval '2 s' FROM trace
)
INSERT INTO scores (id, project_id, trace_id, "timestamp", name, value, source, created_at, updated_at)
SELECT id, $1, id, $2, 'tie', 1, 'API', $2 + interval '2 s', $2 + interval '2 s' FROM trace
