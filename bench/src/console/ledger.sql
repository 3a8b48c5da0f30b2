-- A ledger of 400 projects over three years, in the night: every day is exported but yesterday's, which is on its way.
-- The rows lie as they were written, day after day.
set session_replication_role = replica;

insert into organizations (id, name) values ('many', 'Many') on conflict do nothing;
insert into projects (id, name, org_id)
select 'clx' || lpad(n::text, 22, '0'), 'Assistant of team ' || n, 'many' from generate_series(1, 400) n
on conflict do nothing;
insert into posthog_integrations (project_id, encrypted_posthog_api_key, posthog_host_name, enabled)
select id, 'aa:bb:cc', 'https://eu.posthog.com', true from projects where org_id = 'many'
on conflict do nothing;

-- The export of each day, and each tenth day what changed of it.
insert into posthog_export.runs (project_id, day, run, state, worker, target, queued_at, asked_at, started_at, completed_at, updated_at)
select p.id, d.day, r.run, 'completed', 'exporter-worker-7d9f4c-x2k8p', 'https://eu.i.posthog.com c0ffee', t, t, t, t + interval '3 min', t
from (select id, row_number() over (order by id) as n from projects where org_id = 'many') p,
     (select day::date, current_date - day::date as back
      from generate_series(current_date - 1096, current_date - 1, interval '1 day') day) d
     cross join lateral (values ('daily'), (case when (d.back + p.n) % 10 = 0 then 'settled' end)) r (run)
     cross join lateral (select (d.day + interval '24 h 31 min') at time zone 'UTC' as t) t
where r.run is not null order by d.day, p.id;

insert into posthog_export.streams (project_id, day, run, stream, done, cursor_time, cursor_id, sent, batches, bytes)
select project_id, day, run, s, true, day + interval '23 h', 'x', 1000 + abs(hashtext(project_id || day)) % 40000, 20, 1200000
from posthog_export.runs, unnest(array['trace', 'generation', 'score']) s order by day, project_id, run;

insert into posthog_export.arrivals (project_id, day, run, run_completed_at, verdict, says, expected)
select project_id, day, run, completed_at, 'arrived', '', 900
from posthog_export.runs where run = 'daily' order by day, project_id;

-- Some dead letters of each month, in a tenth of the projects.
update posthog_export.runs set state = 'dead', completed_at = null, error_code = 'posthog_unavailable', attempt = 28,
    error = 'PostHog answered 503 to 28 attempts in a row', first_failed_at = started_at
where project_id like '%7' and run = 'daily' and (current_date - day) % 53 = 0;

update posthog_export.runs set state = 'queued', completed_at = null, started_at = null, worker = null
where day = current_date - 1;
update posthog_export.runs set state = 'running', started_at = now() - interval '4 min', worker = 'exporter-worker-7d9f4c-x2k8p',
    lease_expires_at = now() + interval '1 day'
where day = current_date - 1 and run = 'daily' and project_id like '%8';

insert into posthog_export.rejects (project_id, day, run, stream, row_id, reason)
select project_id, day, run, 'trace', md5(n::text), 'PostHog answered 413: the event is too large'
from posthog_export.runs, generate_series(1, 200) n
where day = current_date - 1 and run = 'daily' and project_id like '%8';
insert into posthog_export.last_enqueue values (true, now() - interval '2 hours') on conflict do nothing;

set session_replication_role = origin;
