-- The role of DATABASE_URL: reads what is exported of Langfuse's tables, and nothing else: no `input`, no `output`. Run once as the owner of Langfuse's tables, in Langfuse's database:
--
--   psql "$LANGFUSE_DATABASE_URL" -f deploy/sql/reader.sql
--
-- Where those tables are not in the schema `public`, add: -v schema=name
--
-- Then give it a password: \password posthog_export_reader

\if :{?schema}
\else
    \set schema public
\endif

create role posthog_export_reader login
    -- A second fence; the programs ask for the same by themselves.
    connection limit 50;
alter role posthog_export_reader set default_transaction_read_only = on;

grant usage on schema :"schema" to posthog_export_reader;
grant select (id, name, created_at) on :"schema".projects to posthog_export_reader;
grant select (id, project_id, timestamp, name, user_id, session_id, release, version, tags, metadata, created_at,
              updated_at)
    on :"schema".traces to posthog_export_reader;
grant select (id, project_id, trace_id, type, start_time, end_time, completion_start_time, name, version, model, internal_model,
              level, unit, prompt_tokens, completion_tokens, total_tokens, input_cost, output_cost, total_cost,
              calculated_total_cost, created_at, updated_at)
    on :"schema".observations to posthog_export_reader;
grant select (id, project_id, trace_id, timestamp, name, value, string_value, data_type, comment, source, observation_id,
              created_at, updated_at)
    on :"schema".scores to posthog_export_reader;
grant select (project_id, model_name, unit, start_date, input_price, output_price, total_price)
    on :"schema".models to posthog_export_reader;
grant select (project_id, encrypted_posthog_api_key, posthog_host_name, enabled) on :"schema".posthog_integrations
    to posthog_export_reader;
