-- Fourteen days of two projects, from numbers alone: the same each time. Each thing that a tile could count wrong is in it.
INSERT INTO traces (id, project_id, "timestamp", name, user_id, metadata)
SELECT format('%s-%s-%s', project, day, i), project, timestamp '2024-05-31' + day * interval '1 day' + i * interval '47 min', 'chat',
    CASE WHEN i % 9 = 0 THEN NULL WHEN i % 10 = 0 THEN 'null' ELSE 'u' || (i * 7 + day * 3) % 40 END,
    CASE WHEN i % 13 = 0 THEN jsonb_build_object('$posthog_distinct_id', 'v' || i % 4) END
FROM unnest(ARRAY['one', 'two']) AS project, generate_series(0, 13) AS day, generate_series(1, 30) AS i;

INSERT INTO observations (id, trace_id, project_id, type, start_time, end_time, completion_start_time, model, level, unit, prompt_tokens,
    completion_tokens, total_tokens, total_cost, calculated_total_cost)
SELECT format('%s-%s', t.id, k), t.id, t.project_id, 'GENERATION', t."timestamp" + k * interval '1 s',
    CASE WHEN n % 11 <> 0 THEN t."timestamp" + k * interval '1 s' + (n * 137 % 5000) * interval '1 ms' END,
    CASE WHEN k = 1 THEN t."timestamp" + interval '1 s' + (n * 31 % 900) * interval '1 ms' END,
    (ARRAY['gpt-4o', 'claude "3"', NULL])[n % 3 + 1], (ARRAY['ERROR', 'DEFAULT', 'DEBUG', 'WARNING', 'DEFAULT'])[n % 5 + 1]::"ObservationLevel",
    CASE WHEN n % 7 = 0 THEN 'CHARACTERS' ELSE 'TOKENS' END, n % 90, n % 50, n % 90 + n % 50,
    CASE WHEN n % 10 = 0 THEN 0.5 END, CASE WHEN n % 5 <> 0 THEN n * 0.0137 END
FROM (SELECT *, row_number() OVER (ORDER BY id) AS row FROM traces) AS t, generate_series(1, 2) AS k, LATERAL (SELECT (row * 2 + k)::int AS n) AS numbered;

-- What a span costs is no generation's cost. A generation may have no trace: it costs more than any user, and is none.
INSERT INTO observations (id, trace_id, project_id, type, start_time, end_time, calculated_total_cost)
SELECT id || '-span', id, project_id, 'SPAN', "timestamp", "timestamp" + interval '9 s', 100 FROM traces;
INSERT INTO observations (id, trace_id, project_id, type, start_time, end_time, model, unit, prompt_tokens, calculated_total_cost)
SELECT format('alone-%s', day), NULL, 'one', 'GENERATION', timestamp '2024-05-31 12:00' + day * interval '1 day',
    timestamp '2024-05-31 12:01' + day * interval '1 day', 'gpt-4o', 'TOKENS', 5, 1000
FROM generate_series(0, 13) AS day;

INSERT INTO scores (id, trace_id, project_id, "timestamp", name, value, string_value, data_type, source)
SELECT id || '-quality', id, project_id, "timestamp" + interval '1 min', 'quality', (row * 37 % 100) / 100.0, NULL, 'NUMERIC'::"ScoreDataType", 'API'::"ScoreSource"
FROM (SELECT *, row_number() OVER (ORDER BY id) AS row FROM traces) AS t WHERE row % 2 = 0
UNION ALL
SELECT id || '-thumb', id, project_id, "timestamp" + interval '2 min', 'thumb', row % 2, CASE WHEN row % 2 = 1 THEN 'True' ELSE 'False' END, 'BOOLEAN', 'API'
FROM (SELECT *, row_number() OVER (ORDER BY id) AS row FROM traces) AS t WHERE row % 3 = 0
UNION ALL
SELECT id || '-topic', id, project_id, "timestamp" + interval '3 min', 'topic', NULL, (ARRAY['billing', 'bugs', NULL])[row % 3 + 1], 'CATEGORICAL', 'ANNOTATION'
FROM (SELECT *, row_number() OVER (ORDER BY id) AS row FROM traces) AS t WHERE row % 4 <> 0;

-- What the application itself sends to PostHog: pages that people view, and a conversion. Some people have no traces.
CREATE SCHEMA tiles;
CREATE TABLE tiles.app_events (id text PRIMARY KEY, event text NOT NULL, person text NOT NULL, at timestamp(3) NOT NULL);
INSERT INTO tiles.app_events
SELECT format('page-%s-%s', n, day), '$pageview', CASE WHEN n < 40 THEN 'u' || n ELSE 'w' || n END,
    timestamp '2024-05-31 08:00' + day * interval '1 day' + n * interval '11 min'
FROM generate_series(0, 59) AS n, generate_series(0, 13) AS day WHERE (n + day) % (1 + n % 13) = 0;
-- Some view two pages a day.
INSERT INTO tiles.app_events SELECT id || '-again', event, person, at + interval '5 min' FROM tiles.app_events WHERE hashtext(person) % 3 = 0;
INSERT INTO tiles.app_events
SELECT 'signed-up-' || n, 'signed_up', CASE WHEN n < 40 THEN 'u' || n ELSE 'w' || n END,
    timestamp '2024-06-01' + (n % 5) * interval '1 day' + n * interval '13 min'
FROM generate_series(0, 59) AS n WHERE n % 4 = 1;

-- What tiles are about, within the range and the zone of a dashboard, which `set_config` gave.
CREATE FUNCTION tiles.local(at timestamp) RETURNS timestamp STABLE LANGUAGE sql
    AS $$ SELECT at AT TIME ZONE 'UTC' AT TIME ZONE current_setting('tiles.zone') $$;
CREATE FUNCTION tiles.day(at timestamp) RETURNS text STABLE LANGUAGE sql AS $$ SELECT tiles.local(at)::date::text $$;
CREATE FUNCTION tiles.is_shown(at timestamp) RETURNS boolean STABLE LANGUAGE sql
    AS $$ SELECT tiles.day(at) >= current_setting('tiles.since') AND tiles.day(at) < current_setting('tiles.until') $$;
-- Null for nobody: `null` is an id of nobody.
CREATE VIEW tiles.traces AS
    SELECT t.*, coalesce(metadata ->> '$posthog_distinct_id', nullif(user_id, 'null')) AS person
    FROM traces AS t WHERE project_id = current_setting('tiles.project');
CREATE VIEW tiles.generations AS
    SELECT tiles.day(start_time) AS day, person, coalesce(model, '(no model)') AS model, level::text AS level, unit,
        coalesce(calculated_total_cost, total_cost)::float8 AS cost, prompt_tokens, completion_tokens,
        extract(epoch FROM end_time - start_time)::float8 AS latency,
        extract(epoch FROM completion_start_time - start_time)::float8 AS first_token
    FROM observations AS o LEFT JOIN tiles.traces AS t ON t.id = o.trace_id
    WHERE type = 'GENERATION' AND o.project_id = current_setting('tiles.project') AND tiles.is_shown(start_time);
CREATE VIEW tiles.scores AS
    SELECT tiles.day(s."timestamp") AS day, s."timestamp" AS at, person, s.name, value, string_value, data_type::text AS data_type
    FROM scores AS s JOIN tiles.traces AS t ON t.id = s.trace_id WHERE tiles.is_shown(s."timestamp");
-- A row for each person who viewed a page.
CREATE VIEW tiles.people AS
    SELECT person, count(DISTINCT tiles.day(at)) AS days, max(at) AS last_page,
        (SELECT count(*) FROM tiles.traces AS t WHERE t.person = a.person AND tiles.is_shown("timestamp")) AS traces,
        (SELECT min("timestamp") FROM tiles.traces AS t WHERE t.person = a.person AND tiles.is_shown("timestamp")) AS first_trace,
        (SELECT min(at) FROM tiles.app_events AS c WHERE c.person = a.person AND event = current_setting('tiles.conversion')
            AND tiles.is_shown(at)) AS converted_at
    FROM tiles.app_events AS a WHERE event = '$pageview' AND tiles.is_shown(at) GROUP BY person;
