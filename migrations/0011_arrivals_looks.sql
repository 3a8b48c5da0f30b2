-- A look that failed no longer replaces what was found, each day is looked at again less and less often, and a verdict says of
-- which host and key it is. Expand-only: programs of before do not know it.
alter table posthog_export.arrivals
    -- Host and fingerprint of the key that PostHog was asked with, as in `runs.target`.
    add column target            text,
    -- When the day was last looked at, also where PostHog could not be asked and the verdict stayed; `checked_at` is the verdict's.
    add column looked_at         timestamptz not null default clock_timestamp(),
    -- The completion of the day's last run, as that look found it. Null: `run_completed_at`.
    add column seen_completed_at timestamptz,
    -- How often the day was looked at since that completion.
    add column looks             integer     not null default 1,
    -- Why the last look failed, where the verdict stayed.
    add column failure           text,
    -- The project's integration is disabled or gone: nobody is called for its days.
    add column set_aside         boolean     not null default false;

update posthog_export.arrivals set looked_at = checked_at;
