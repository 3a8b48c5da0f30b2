-- Fills Langfuse's tables with the days that the temporary table bench_days lists (project_id, day):
-- one trace, two generations and a span, and one score each. Planning asks which days hold data,
-- not how much.
begin;
set local session_replication_role = replica;
truncate traces, observations, scores;
insert into traces (id, project_id, timestamp, created_at)
select project_id || '/' || day::date, project_id, day + interval '12 hours', day + interval '12 hours' from bench_days order by day;
insert into observations (id, project_id, trace_id, type, start_time, created_at)
select id || '/' || place, project_id, id, (case when place = 1 then 'SPAN' else 'GENERATION' end)::"ObservationType",
    timestamp + interval '1 second', timestamp
from traces, generate_series(1, 3) place order by timestamp;
insert into scores (id, project_id, trace_id, timestamp, name, source, created_at)
select id, project_id, id, timestamp + interval '2 seconds', 'good', 'API', timestamp from traces order by timestamp;
drop table bench_days;
commit;
