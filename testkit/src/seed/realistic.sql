-- Days of a project as production looks. $1 project, $2 days, $3 traces a day, $4 seed: the same
-- four make the same rows. The last two minutes of a day stay empty, so that what belongs to a
-- trace falls on the trace's day.
WITH drawn AS (
    SELECT format('%s/%s/%s/%s', $1::text, day, number, $4::bigint) AS seed, day, number,
        abs(hashtextextended(format('%s/%s/%s', $1, day, number), $4) % 1000000007) AS a,
        abs(hashtextextended(format('%s/%s/%s', day, number, $1), $4) % 1000000009) AS b
    FROM unnest($2::date[]) AS day, generate_series(1, $3::integer) AS number
), trace AS (
    INSERT INTO traces (id, project_id, "timestamp", name, user_id, session_id, release, version, tags, metadata, input,
        output, created_at, updated_at)
    SELECT md5(seed)::uuid::text, $1, moment,
        CASE WHEN a % 20 > 0 THEN (ARRAY['chat', 'retrieval', 'summary', 'support/agent run', 'translate', 'intent',
            'extract fields', 'code review', 'moderation', 'Antwort – DE', '検索'])[1 + b % 11] END,
        CASE WHEN b % 10 < 7 THEN 'user-' || a % 2000 WHEN b % 10 = 7 THEN 'jo+' || a % 500 || '@example.com' END,
        CASE WHEN a % 10 < 6 THEN 'session-' || number / 5 || '-' || day END,
        CASE WHEN a % 2 = 0 THEN 'v1.' || b % 20 || '.' || a % 10 END,
        CASE WHEN a % 3 = 0 THEN 'prompt-' || b % 12 END,
        (ARRAY['{}', '{production}', '{production,"team ' || a % 20 || '"}', '{beta,"say \"hi\"",lang:de}'])[1 + b % 4]::text[],
        jsonb_build_object('environment', (ARRAY['production', 'staging'])[1 + a % 2], 'tenant', b % 500, 'request', md5(seed))
            || CASE WHEN a % 10 = 1 THEN jsonb_build_object('$posthog_distinct_id', 'person-' || b % 900) ELSE '{}' END
            || CASE WHEN a % 5 = 1 THEN jsonb_build_object('$posthog_session_id', md5('s' || b % 5000)::uuid) ELSE '{}' END,
        jsonb_build_object('role', 'user', 'content', repeat('a question that nobody else may read ', (2 + a % 6)::integer)),
        jsonb_build_object('role', 'assistant', 'content', repeat('an answer for one pair of eyes ', (2 + b % 9)::integer)),
        moment + interval '2 s', moment + interval '5 s'
    FROM drawn, LATERAL (
        SELECT (day + make_interval(secs => (number - 1 + a % 1000 / 1000.0) * 86280.0 / $3))::timestamp(3) AS moment
    ) AS chosen
    RETURNING id, "timestamp"
), trace_drawn AS (
    SELECT id, "timestamp", abs(hashtextextended(id, 3) % 1000000007) AS a, abs(hashtextextended(id, 4) % 1000000009) AS b
    FROM trace
), observation AS (
    INSERT INTO observations (id, project_id, trace_id, parent_observation_id, type, start_time, end_time,
        completion_start_time, name, version, model, internal_model, level, unit, prompt_tokens, completion_tokens,
        total_tokens, total_cost, calculated_total_cost, input, output, created_at, updated_at)
    SELECT md5('observation/' || id || place)::uuid::text, $1, id,
        CASE WHEN place > 0 THEN md5('observation/' || id || 0)::uuid::text END,
        (CASE WHEN place IN (1, 2) THEN 'GENERATION' WHEN place = 3 AND c % 2 = 0 THEN 'EVENT' ELSE 'SPAN' END)::"ObservationType",
        started,
        CASE WHEN place = 3 AND c % 2 = 0 OR c % 200 = 7 THEN NULL ELSE started + (400 + d % 7000) * interval '1 ms' END,
        CASE WHEN place IN (1, 2) AND d % 5 < 4 THEN started + (50 + c % 350) * interval '1 ms' END,
        (ARRAY['pipeline', 'rewrite', 'completion', 'post-process'])[1 + place],
        CASE WHEN c % 3 = 0 THEN 'prompt-' || d % 12 END,
        CASE WHEN place IN (1, 2) THEN model END,
        CASE WHEN place IN (1, 2) THEN model END,
        (CASE c % 100 WHEN 0 THEN 'ERROR' WHEN 1 THEN 'WARNING' WHEN 2 THEN 'DEBUG' ELSE 'DEFAULT' END)::"ObservationLevel",
        CASE WHEN place IN (1, 2) THEN 'TOKENS' END,
        prompt, completion, prompt + completion,
        CASE WHEN c % 10 = 5 AND place IN (1, 2) THEN 0.0001 * (1 + d % 100) END,
        CASE WHEN c % 10 < 5 AND place IN (1, 2) THEN prompt * 0.0000025 + completion * 0.00001 END,
        '"a prompt that nobody else may read"', '"a completion for one pair of eyes"',
        started + interval '2 s', started + interval '10 s'
    FROM trace_drawn, generate_series(0, 3) AS place,
        LATERAL (SELECT abs(hashtextextended(id || place, 5) % 1000000007) AS c, abs(hashtextextended(id || place, 6) % 1000000009) AS d) AS more,
        LATERAL (
            SELECT "timestamp" + (place * 300 + c % 900) * interval '1 ms' AS started,
                CASE WHEN place IN (1, 2) THEN (50 + c % 1800)::integer ELSE 0 END AS prompt,
                CASE WHEN place IN (1, 2) THEN (10 + d % 600)::integer ELSE 0 END AS completion,
                (ARRAY['gpt-4o', 'gpt-4o-mini', 'claude-3-5-sonnet', 'a model without a price'])[1 + d % 4] AS model
        ) AS chosen
)
INSERT INTO scores (id, project_id, trace_id, observation_id, "timestamp", name, value, string_value, data_type, source, comment,
    created_at, updated_at)
SELECT md5('score/' || id)::uuid::text, $1, id, CASE WHEN b % 5 = 0 THEN md5('observation/' || id || 2)::uuid::text END,
    moment, (ARRAY['user-feedback', 'hallucination', 'toxicity', 'relevance'])[1 + b % 4],
    CASE WHEN a % 20 < 14 THEN (b % 1000) / 1000.0 WHEN a % 20 < 17 THEN b % 2 END,
    CASE WHEN a % 20 >= 17 THEN (ARRAY['good', 'bad', 'unclear'])[1 + b % 3] WHEN a % 20 >= 14 THEN (ARRAY['False', 'True'])[1 + b % 2] END,
    (CASE WHEN a % 20 >= 17 THEN 'CATEGORICAL' WHEN a % 20 >= 14 THEN 'BOOLEAN' ELSE 'NUMERIC' END)::"ScoreDataType",
    (ARRAY['API', 'EVAL', 'ANNOTATION'])[1 + b % 3]::"ScoreSource",
    CASE WHEN a % 4 = 0 THEN 'The answer was ' || (ARRAY['fine.', '"quoted" from nowhere.', E'too long,\nand late.'])[1 + b % 3] END,
    moment + interval '2 s', moment + interval '2 s'
FROM trace_drawn, LATERAL (SELECT "timestamp" + (15000 + a % 20000) * interval '1 ms' AS moment) AS chosen
WHERE a % 2 = 0
