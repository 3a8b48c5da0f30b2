-- Until when rows of a project that arrived late were looked for. Without it every sweep would have to go back to the oldest
-- exported day's own export, and so would read more every day.
create table posthog_export.sweeps (
    project_id  text        primary key,
    swept_until timestamptz not null
);
