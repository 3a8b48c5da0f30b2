-- Rows whose own time is far from all others. They were written today, as a client with a wrong
-- clock writes them.
insert into observations (id, project_id, trace_id, type, start_time, created_at)
values ('odd generation', 'fleet-1', 'none', 'GENERATION', '0001-01-01 08:53', now() at time zone 'UTC');
insert into traces (id, project_id, timestamp, created_at)
values ('odd trace', 'fleet-2', '1970-01-01 00:00', now() at time zone 'UTC');
insert into scores (id, project_id, trace_id, timestamp, name, source, created_at)
select 'odd score ' || moment, 'fleet-3', 'none', moment::timestamp, 'odd', 'API', now() at time zone 'UTC'
from unnest(array['0001-01-01 00:00', '1970-01-01 00:00']) moment;
