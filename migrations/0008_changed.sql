-- Runs that leave out what was sent before, and runs of a part of a day. Expand-only: programs of before make rows without them,
-- and their workers refuse messages that ask for them.
alter table posthog_export.runs
    add column changed    boolean not null default false,
    -- From this moment of the day, to before that one; null: the whole day.
    add column span_from  timestamptz,
    add column span_until timestamptz,
    add check ((span_from is null) = (span_until is null));
