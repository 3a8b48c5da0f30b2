-- Fills Langfuse's tables with the days that the temporary table bench_days lists (project_id, day,
-- traces, bare). The same list makes the same rows. A trace has a span, two generations and one
-- more observation; every second trace has a score: 3.5 events a trace. Rows lie in the tables in
-- the order of their time, all projects mixed, as a live instance writes them. `bare` days have
-- neither inputs nor outputs.
begin;
set local session_replication_role = replica;
set local work_mem = '256MB';
set local maintenance_work_mem = '512MB';
-- In the transaction that empties the tables nothing has to be logged, and indexes are quicker
-- built at once than row by row.
truncate traces, observations, scores;
create temporary table bench_indexes as
select indexname, indexdef from pg_indexes
where schemaname = 'public' and tablename in ('traces', 'observations', 'scores')
    and not exists (select from pg_constraint where conname = indexname);
do $$ declare found record; begin
    for found in select indexname from bench_indexes loop execute format('drop index %I', found.indexname); end loop;
end $$;

-- 1,024 texts of some 2,000 characters that compress about as prose does.
create temporary table bench_texts (number integer primary key, words text not null);
insert into bench_texts
select number, (
    select string_agg(
        (string_to_array('a about after again all also an and answer any are as at back be because been before but by call can case '
            'cause change check city clear code come could date day delay deliver did do each end error even every example fact fail '
            'find first for form from get give go good had has have help here high how however if in index into is it its just keep '
            'know large last late lead less let like line list long look made make many may mean meeting model more most must name '
            'need never new next no not note now number of off offer on one only open or order other our out over own page part '
            'password payment person place plan please point policy price problem product question quick rate reach read reason '
            'record refund reply report request result return right said same say see send service set ship should show side '
            'since small so some source start state step still stop such sure table take team tell term than that the their them '
            'then there these they thing this time to total turn under until up use user value very want was way we weather week '
            'well were what when where which who why will with word work would year yes yet you your', ' '))
            [1 + (hashint8extended(number * 1000 + place, 11) & 1023) % 208]
        || case (hashint8extended(number * 1000 + place, 12) & 1023) % 12
            when 0 then '.' when 1 then ',' when 2 then ' ' || (hashint8extended(number * 1000 + place, 13) & 65535) else '' end,
        ' ' order by place)
    from generate_series(1, 380) as place)
from generate_series(0, 1023) as number;
analyze bench_texts;

-- `a` and `b` are all the chance there is. The last 90 s of a day stay empty, so that what belongs
-- to a trace falls on its day.
create temporary table bench_traces as
select project_id, day, bare, number, a, b, md5(project_id || '/' || day || '/' || number)::uuid::text as id,
    (case when a % 100 = 7 then date_trunc('second', moment) else moment end)::timestamp(3) as moment
from (
    select *, hashint8extended(hashtextextended(project_id, extract(doy from day)::bigint) + number, 1) & 1099511627775 as a,
        hashint8extended(hashtextextended(project_id, extract(doy from day)::bigint) + number, 2) & 1099511627775 as b
    from bench_days, generate_series(1, traces) as number
) as drawn, lateral (
    select day + ((number - 1) * 86310000.0 / traces + b % 400) * interval '1 ms' as moment
) as chosen;
analyze bench_traces;

insert into traces (id, "timestamp", name, project_id, metadata, user_id, session_id, release, version, tags, input, output,
    created_at, updated_at)
select id, moment,
    case when a % 20 > 0 then (array['chat', 'search with sources', 'summary', 'support/agent run', 'translation', 'intent',
        'field extraction', 'code review', 'query builder', 'mail draft', 'moderation', 'Rückfrage – AT'])[1 + b % 12] end,
    project_id,
    jsonb_build_object('stage', (array['production', 'staging', 'preview'])[1 + a % 3], 'request', md5(id), 'tenant', 'tenant ' || b % 500,
        'place', (array['eu-central', 'us-west', 'ap-south'])[1 + b % 3], 'attempt', a % 3, 'switches', jsonb_build_array('reranker', 'cache', 'long context'),
        'client', 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15',
        'origin', jsonb_build_object('number', a % 1000, 'label', 'label ' || b % 1000, 'digest', md5(id || 'd')))
        || case when a % 5 = 1 then jsonb_build_object('$posthog_session_id', md5('s' || a % 50000)::uuid) else '{}' end,
    case when b % 10 > 3 then 'user-' || a % 8000 when b % 10 = 3 then 'sam+' || a % 3000 || '@example.com' end,
    case when a % 10 < 6 then 'session ' || project_id || day || number / 6 end,
    case when a % 2 = 0 then 'v2.' || b % 20 || '.' || a % 10 end,
    case when a % 10 < 3 then 'prompt ' || b % 12 end,
    (array['{}', '{live}', '{live,"team ' || a % 20 || '"}', '{beta,"lang:de","say \"hi\""}'])[1 + b % 4]::text[],
    case when not bare then jsonb_build_array(
        jsonb_build_object('role', 'system', 'content', (select substr(words, 1, 320) from bench_texts t where t.number = a % 1024)),
        jsonb_build_object('role', 'user', 'content',
            (select substr(words, 321, (500 + a % 900)::integer) from bench_texts t where t.number = a % 1024))) end,
    case when not bare then jsonb_build_object('role', 'assistant', 'content',
        (select substr(words, (1 + b % 300)::integer, (800 + b % 1000)::integer) from bench_texts t where t.number = b % 1024)) end,
    moment + interval '1.5 s', moment + interval '4 s'
from (select * from bench_traces order by moment) as ordered;

insert into observations (id, trace_id, project_id, type, parent_observation_id, start_time, end_time, completion_start_time, name,
    version, model, internal_model, "modelParameters", level, unit, prompt_tokens, completion_tokens, total_tokens,
    calculated_input_cost, calculated_output_cost, calculated_total_cost, metadata, input, output, created_at, updated_at)
select md5(id || '/' || place)::uuid::text, id, project_id,
    (case when generation then 'GENERATION' when place = 3 and c % 2 = 0 then 'EVENT' else 'SPAN' end)::"ObservationType",
    case when place > 0 then md5(id || '/0')::uuid::text end,
    started,
    case when not (place = 3 and c % 2 = 0) and c % 200 <> 9 then started + ((case when place = 0 then 9000 else 400 end) + d % 7000) * interval '1 ms' end,
    case when generation and d % 5 < 4 then started + (100 + c % 300) * interval '1 ms' end,
    (array['pipeline', 'rewrite', 'completion', 'follow-up'])[1 + place],
    case when c % 10 < 3 then 'prompt ' || d % 12 end,
    case when generation then model end,
    case when generation then model end,
    case when generation then '{"temperature": "0.7", "max_tokens": "1024"}'::jsonb end,
    (case c % 100 when 0 then 'ERROR' when 1 then 'WARNING' when 2 then 'DEBUG' else 'DEFAULT' end)::"ObservationLevel",
    'TOKENS', asked, answered, asked + answered,
    case when generation then asked * price end, case when generation then answered * 4 * price end,
    case when generation then asked * price + answered * 4 * price end,
    case when c % 2 = 0 then jsonb_build_object('step', place, 'cached', c % 3 = 0, 'node', 'node ' || d % 50, 'digest', md5(id || place)) end,
    case when not bare then jsonb_build_array(
        jsonb_build_object('role', 'system', 'content', (select substr(words, 1, 320) from bench_texts t where t.number = c % 1024)),
        jsonb_build_object('role', 'user', 'content',
            (select substr(words, 321, (500 + c % 900)::integer) from bench_texts t where t.number = c % 1024))) end,
    case when not bare then jsonb_build_object('role', 'assistant', 'content',
        (select substr(words, (1 + d % 300)::integer, (800 + d % 1000)::integer) from bench_texts t where t.number = d % 1024)) end,
    started + interval '2 s', started + interval '10 s'
from (
    select id, project_id, bare, place, c, d, place in (1, 2) as generation,
        (moment + (case when place = 0 then 0 else place * 300 + c % 900 end) * interval '1 ms')::timestamp(3) as started,
        case when place in (1, 2) then (50 + c % 1800)::integer else 0 end as asked,
        case when place in (1, 2) then (10 + d % 600)::integer else 0 end as answered,
        (array['gpt-4o-2024-11-20', 'gpt-4o-mini', 'claude-3-5-sonnet-20241022', 'mistral-large', 'llama-3.3-70b'])[1 + c % 5] as model,
        (array[0.0000025, 0.00000015, 0.000003, 0.000002, 0.0000006])[1 + c % 5] as price
    from bench_traces, generate_series(0, 3) as place, lateral (
        select hashint8extended(a + place, 3) & 1099511627775 as c, hashint8extended(b + place, 4) & 1099511627775 as d
    ) as drawn
    order by started
) as ordered;

insert into scores (id, "timestamp", name, value, string_value, data_type, source, comment, trace_id, observation_id, project_id,
    created_at, updated_at)
select md5(id || '/score')::uuid::text, scored, (array['user feedback', 'faithful', 'toxic', 'relevant'])[1 + b % 4],
    case when a % 20 < 14 then (b % 1000) / 1000.0 when a % 20 < 17 then b % 2 end,
    case when a % 20 >= 17 then (array['good', 'bad', 'unclear'])[1 + b % 3] when a % 20 >= 14 then (array['False', 'True'])[1 + b % 2] end,
    (case when a % 20 >= 17 then 'CATEGORICAL' when a % 20 >= 14 then 'BOOLEAN' else 'NUMERIC' end)::"ScoreDataType",
    (array['API', 'EVAL', 'ANNOTATION'])[1 + b % 3]::"ScoreSource",
    case when a % 4 = 0 then (select substr(words, 1, (40 + b % 160)::integer) from bench_texts t where t.number = a % 1024) end,
    id, case when b % 5 = 0 then md5(id || '/2')::uuid::text end, project_id, scored + interval '5 s', scored + interval '5 s'
from (select *, moment + (15000 + a % 20000) * interval '1 ms' as scored from bench_traces where number % 2 = 0) as chosen
order by scored;

do $$ declare found record; begin
    for found in select indexdef from bench_indexes loop execute found.indexdef; end loop;
end $$;
drop table bench_days, bench_traces, bench_texts, bench_indexes;
commit;
