//! What the pictures show: some projects, most of them well.

use testkit::World;

/// A project with more than a year of days.
pub(super) const BUSY: &str = "clx8f2k0c0001support";

const FILL: &str = "
    insert into organizations (id, name) values ('sample', 'Sample') on conflict do nothing;
    insert into projects (id, name, org_id) values
      ('clx8f2k0c0001support', 'Support assistant', 'sample'), ('clx8f2k0c0002search', 'Search', 'sample'),
      ('clx8f2k0c0003tutor', 'Tutor', 'sample'), ('clx8f2k0c0004sales', 'Sales e-mails', 'sample'),
      ('clx8f2k0c0005docs', 'Questions about the docs', 'sample'), ('clx8f2k0c0006triage', 'Triage of tickets', 'sample'),
      ('clx8f2k0c0007coder', 'Code review', 'sample'), ('clx8f2k0c0008legal', 'Contracts', 'sample');
    insert into posthog_integrations (project_id, encrypted_posthog_api_key, posthog_host_name, enabled)
      select id, 'aa:bb:cc', 'https://eu.posthog.com', id not like '%legal' from projects where org_id = 'sample';
    delete from posthog_integrations where project_id = 'project one';
    insert into posthog_export.runs
      (project_id, day, run, state, started_at, completed_at, queued_at, asked_at, worker, target)
      select p.id, d, 'daily', 'completed', d + interval '24 h 31 min', d + interval '24 h 40 min', d + interval '24 h 30 min',
             d + interval '24 h 30 min', 'exporter-worker-7d9f4c-x2k8p', 'https://eu.i.posthog.com c0ffee'
      from projects p, generate_series((now() at time zone 'UTC')::date - 420, (now() at time zone 'UTC')::date - 1, interval '1 day') d
      where p.org_id = 'sample' and (p.id not like '%tutor' or d > now() - interval '45 days')
        and (p.id not like '%legal' or d < now() - interval '20 days') and abs(hashtext(p.id || d)) % 90 > 0;
    update posthog_export.runs set state = 'dead', completed_at = null, error_code = 'billing_limit', attempt = 1,
        error = 'PostHog answered 402: the organization has exceeded its quota', first_failed_at = started_at
      where project_id like '%sales' and day > (now() at time zone 'UTC')::date - 5;
    update posthog_export.runs set state = 'dead', completed_at = null, error_code = 'posthog_unavailable', attempt = 28,
        error = 'PostHog answered 503 to 28 attempts in a row', first_failed_at = started_at
      where project_id like '%search' and day = (now() at time zone 'UTC')::date - 12;
    update posthog_export.runs set state = 'discarded', completed_at = null
      where project_id like '%support' and day = (now() at time zone 'UTC')::date - 100;
    update posthog_export.runs set state = 'dead', completed_at = null, error_code = 'posthog_unavailable', attempt = 28,
        error = 'PostHog answered 503 to 28 attempts in a row', first_failed_at = started_at
      where project_id like '%support' and day = (now() at time zone 'UTC')::date - 30;
    update posthog_export.runs set state = 'queued', completed_at = null, started_at = null, worker = null
      where project_id like '%triage' and day > (now() at time zone 'UTC')::date - 4;
    delete from posthog_export.runs where project_id like '%support' and day = (now() at time zone 'UTC')::date - 1;
    insert into posthog_export.runs
      (project_id, day, run, state, started_at, queued_at, worker, lease_expires_at, target)
      select p.id, (now() at time zone 'UTC')::date - 1, 'daily', 'running', now() - interval '36 min', now() - interval '37 min',
             'exporter-worker-7d9f4c-x2k8p', now() + interval '1 day', 'https://eu.i.posthog.com c0ffee'
      from projects p where p.id like '%support';
    insert into posthog_export.streams (project_id, day, run, stream, done, sent, batches, bytes)
      select project_id, day, run, s, true, 2000 + abs(hashtext(project_id || day || s)) % 40000, 30, 2400000
      from posthog_export.runs, unnest(array['trace', 'generation', 'score']) s where state in ('completed', 'dead');
    insert into posthog_export.streams
      (project_id, day, run, stream, done, sent, rejected, batches, bytes, cursor_time, cursor_id)
      select project_id, day, run, s.stream, s.done, s.sent, s.rejected, s.sent / 1500 + 1, s.sent * 61, day + s.until, 'x'
      from posthog_export.runs,
           (values ('trace', false, 401234, 1, interval '17 h 20 min'), ('generation', false, 611872, 0, interval '16 h 50 min'),
                   ('score', true, 12044, 0, interval '23 h 59 min')) as s (stream, done, sent, rejected, until)
      where state = 'running';
    update posthog_export.runs set lease_token = gen_random_uuid() where state = 'running';
    insert into posthog_export.claims (project_id, day, run, number, lease_token, worker, trace_id, attempt, claimed_at, ended_at, ended_as,
                                       error_code, error)
      select r.project_id, r.day, r.run, c.number, case when c.ended is null then r.lease_token else gen_random_uuid() end, 'exporter-worker-7d9f4c-x2k8p',
             md5(r.project_id || c.number), 1, now() - c.began, now() - c.ended, c.ended_as, c.code, c.error
      from posthog_export.runs r,
           (values (1, interval '36 min', interval '34 min', 'waiting', 'posthog_unavailable', 'PostHog cannot be reached for now: it answered 503 Service Unavailable'),
                   (2, interval '15 min', interval '5 min', 'handed_back', null, 'the slice is over'),
                   (3, interval '4 min', null, null, null, null)) as c (number, began, ended, ended_as, code, error)
      where r.state = 'running';
    insert into posthog_export.rejects (project_id, day, run, stream, row_id, reason)
      select project_id, day, run, 'trace', '9f2c1c1e-5c1b-4d7a-9a53-0c7f1f7c6f11', 'PostHog answered 413: the event is too large'
      from posthog_export.runs where state = 'running';
    insert into posthog_export.paused (project_id, error_code, error, paused_by, settings)
      values ('clx8f2k0c0005docs', null, 'moves to another PostHog on Monday', 'human', null);
    insert into posthog_export.arrivals (project_id, day, run, run_completed_at, verdict, says, expected)
      select project_id, day, run, completed_at,
             case when project_id like '%coder' and day = (now() at time zone 'UTC')::date - 6 then 'missing' else 'arrived' end, '', 900
      from posthog_export.runs where state = 'completed' and day > now() - interval '60 days';
    insert into posthog_export.arrivals (project_id, day, run, run_completed_at, verdict, says, expected)
      select project_id, day, run, completed_at, 'missing', '', 900
      from posthog_export.runs where state = 'completed' and project_id like '%support' and day = (now() at time zone 'UTC')::date - 80;
    insert into posthog_export.last_enqueue values (true, now() - interval '2 hours');
    analyze";

pub(super) async fn fill(world: &World) {
    sqlx::raw_sql(FILL).execute(&world.pool()).await.unwrap();
}
