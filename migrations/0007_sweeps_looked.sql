-- The days of a project that were looked at when it was last swept: each of them that held data has a run. A later enqueue asks such
-- a day only for scores that were created since, where asking again would read the day's scores of all projects. Expand-only: programs
-- of before leave both columns as they are, and look at every day.
alter table posthog_export.sweeps add column looked_from date, add column looked_to date;
