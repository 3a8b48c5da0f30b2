-- Observations that are no generations have a stream of their own. Expand-only: programs of before never write its word.
alter table posthog_export.streams drop constraint streams_stream_check;
alter table posthog_export.streams add constraint streams_stream_check
    check (stream in ('trace', 'generation', 'score', 'observation'));
