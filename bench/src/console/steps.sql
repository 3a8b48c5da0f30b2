-- The same ledger with hourly steps. They keep their rows for a week.
set session_replication_role = replica;

insert into posthog_export.runs (project_id, day, run, state, worker, target, queued_at, asked_at, started_at, completed_at, updated_at,
                                 span_from, span_until)
select p.id, d.day, 'step-' || to_char(h, 'FM00') || '00', 'completed', 'exporter-worker-7d9f4c-x2k8p',
       'https://eu.i.posthog.com c0ffee', t, t, t, t + interval '3 min', t, t, t + interval '1 h'
from (select id from projects where org_id = 'many') p,
     (select day::date from generate_series(current_date - 7, current_date, interval '1 day') day) d,
     generate_series(0, 23) h
     cross join lateral (select (d.day + interval '1 h' * h) at time zone 'UTC' as t) t
order by d.day, h, p.id;

insert into posthog_export.streams (project_id, day, run, stream, done, cursor_time, cursor_id, sent, batches, bytes)
select project_id, day, run, s, true, day + interval '23 h', 'x', 1000, 2, 12000
from posthog_export.runs, unnest(array['trace', 'generation', 'score']) s
where run like 'step-%' order by day, run, project_id;

set session_replication_role = origin;
