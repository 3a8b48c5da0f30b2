INSERT INTO observations (id, project_id, trace_id, type, start_time, end_time, completion_start_time, name, version, model,
    internal_model, level, unit, prompt_tokens, completion_tokens, total_tokens, input_cost, output_cost, total_cost,
    calculated_total_cost, metadata, input, output, created_at, updated_at)
SELECT id, project_id, trace_id, type::"ObservationType", start_time, end_time, completion_start_time, name, version, model,
    internal_model, level::"ObservationLevel", unit, prompt_tokens, completion_tokens, total_tokens, input_cost,
    output_cost, total_cost, calculated_total_cost, '{"secret": "never exported"}', '"never exported"', '"never exported"',
    coalesce(created_at, start_time + interval '2 s'), coalesce(created_at, start_time + interval '2 s')
FROM json_to_recordset($1::json) AS row (
    id text, project_id text, trace_id text, type text, start_time timestamp, end_time timestamp,
    completion_start_time timestamp, name text, version text, model text, internal_model text, level text, unit text,
    prompt_tokens integer, completion_tokens integer, total_tokens integer, input_cost numeric, output_cost numeric,
    total_cost numeric, calculated_total_cost numeric, created_at timestamp
)
