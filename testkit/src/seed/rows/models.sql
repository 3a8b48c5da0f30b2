INSERT INTO models (id, project_id, model_name, match_pattern, unit, start_date, input_price, output_price, total_price)
SELECT id, project_id, model_name, model_name, unit, start_date, input_price, output_price, total_price
FROM json_to_recordset($1::json) AS row (
    id text, project_id text, model_name text, unit text, start_date timestamp,
    input_price numeric, output_price numeric, total_price numeric
)
