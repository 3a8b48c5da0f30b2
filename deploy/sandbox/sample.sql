-- Sample data of the Compose sandbox: one project with a PostHog integration, and three days of rows that are over.
-- Runs once, after testkit/src/langfuse.sql has made the tables.

insert into organizations (id, name) values ('sandbox-organization', 'Sandbox');
insert into projects (id, name, org_id) values ('sandbox', 'Sandbox', 'sandbox-organization');

-- The key is `phc_sandbox`, encrypted as Langfuse does under the ENCRYPTION_KEY that docker-compose.yml sets.
insert into posthog_integrations (project_id, encrypted_posthog_api_key, posthog_host_name, enabled)
values ('sandbox',
        '73616e64626f782d2d73616e64626f78:5ca1a66d60e6953aee6272:38304c300f5aff26f74e6e8d68aea8a6',
        'http://fake-posthog:8000/', true);

create temporary table sample as
select n, format('trace-%s', n) as trace_id,
       date_trunc('day', now() at time zone 'utc') - interval '3 days' + n * interval '86 seconds' as at
from generate_series(1, 3000) n;

insert into traces (id, project_id, "timestamp", name, user_id, session_id, release, version, tags, metadata, input, output,
                    created_at, updated_at)
select trace_id, 'sandbox', at, (array['chat', 'summarise', 'classify'])[1 + n % 3],
       case when n % 5 = 0 then null else format('user-%s', n % 40) end, format('session-%s', n / 10), 'v1.4.0', '7',
       case when n % 4 = 0 then array['beta', 'prod'] else array['prod'] end,
       case when n % 50 = 0 then jsonb_build_object('$posthog_distinct_id', format('person-%s', n % 40)) end,
       '"never exported"', '"never exported"', at, at
from sample;

insert into observations (id, project_id, trace_id, type, start_time, end_time, completion_start_time, name, model,
                          internal_model, unit, level, prompt_tokens, completion_tokens, total_tokens,
                          calculated_total_cost, created_at, updated_at)
select format('generation-%s', n), 'sandbox', trace_id, 'GENERATION', at, at + n % 4000 * interval '1 millisecond',
       case when n % 2 = 0 then at + n % 400 * interval '1 millisecond' end, 'answer', 'gpt-4o-mini', 'gpt-4o-mini', 'TOKENS',
       case when n % 100 = 0 then 'ERROR' else 'DEFAULT' end::"ObservationLevel",
       100 + n % 900, 10 + n % 300, 110 + n % 900 + n % 300, (100 + n % 900) * 0.00000015 + (10 + n % 300) * 0.0000006, at, at
from sample;

insert into scores (id, project_id, trace_id, "timestamp", name, value, data_type, source, comment, created_at, updated_at)
select format('score-%s', n), 'sandbox', trace_id, at + interval '1 minute', 'helpfulness', round(random()::numeric, 2),
       'NUMERIC', 'API', case when n % 7 = 0 then 'quick and to the point' end, at, at
from sample where n % 3 = 0;
