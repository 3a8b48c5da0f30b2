//! What the commands' `--help` ends with: examples first, then what one must know, then the exit
//! code, and the form of the JSON last. Commands with a folder have theirs beside their arguments.

pub(super) const PRODUCER: &str = "\
Examples:
  producer doctor                  check everything that a deployment needs
  producer enqueue --dry-run --count
                                   see which days would be exported, and how many events they are
  producer enqueue                 once a day: publish jobs for the days that are not yet exported
  producer status                  see what is done, and which days of each project are missing
  producer replay --project clx1abc --day 2024-06-01
                                   export a day again
  producer dead-letters list       see which jobs need a person, and what to do about each

The settings are environment variables; docs/CONFIGURATION.md lists them. A secret may also be in a
file: set NAME_FILE to its path instead of NAME. Results go to standard output, log lines to
standard error.

Exit code:
  0  all is well
  1  something failed, was not found, or was not confirmed: it may succeed later
  2  an argument or a setting is missing or wrong: nothing was done, and only another one helps";

pub(super) const DASHBOARDS: &str = "\
Examples:
  producer dashboards create --project clx1abc
  producer dashboards show --project clx1abc
  producer dashboards update --project clx1abc --dry-run
  producer dashboards delete --project clx1abc

docs/DASHBOARDS.md tells what each tile answers. Every subcommand needs a personal API key of
PostHog (POSTHOG_PERSONAL_API_KEY, POSTHOG_PERSONAL_API_KEYS_FILE).";

pub(super) const DEAD_LETTERS: &str = "\
Examples:
  producer dead-letters list
  producer dead-letters show clx1abc/2024-06-01/daily
  producer dead-letters requeue --error-code unauthorized
  producer dead-letters discard raw/0a1b2c3d4e5f

A dead letter is the message of a job that failed and is not tried again by itself: first mend its
cause, then requeue it. docs/TROUBLESHOOTING.md has a row for each cause.";

pub(super) const PROJECTS: &str = "\
Examples:
  producer projects list
  producer projects pause clx1abc --reason 'moves to another PostHog on Monday'
  producer projects resume clx1abc

No jobs are published for a paused project. To stop exporting a project for good, disable its
integration: `producer integrations set --project ID --disable`.";

pub(super) const INTEGRATIONS: &str = "\
Examples:
  producer integrations set --project clx1abc --host https://eu.i.posthog.com --key-file key.txt
  producer integrations check
  producer integrations list

An integration is a project's PostHog host and project API key, in Langfuse's own table
`posthog_integrations`. Projects without an enabled one are not exported.";

pub(super) const MIGRATE: &str = "\
Examples:
  LEDGER_DATABASE_URL=postgres://… producer migrate
  LEDGER_DATABASE_URL=postgres://… producer migrate --json

Run it as the owner of the schema (deploy/sql/ledger.sql), before the first start and after each
upgrade. It reads only LEDGER_DATABASE_URL [default: DATABASE_URL]. The URL must lead to PostgreSQL
itself, not to a connection pooler: the lock that migrations take belongs to a session.

A ledger that a newer program has migrated is left as it is: this program works with it.

JSON: {made, applied: [{version, name}], version, newer}. `made` is true where the schema held
nothing before. `applied` are the migrations that are new, and `version` is the newest. `newer` is
true where a newer program has migrated the ledger.";

pub(super) const DECLARE: &str = "\
Examples:
  AMQP_URL=amqp://… producer declare

It reads only AMQP_URL and RETRY_RUNGS. It creates what is missing, and changes nothing that exists.

Exit code: 0 when all of them are there; 1 when one exists with other arguments, or the broker
refuses.";

pub(super) const ENQUEUE: &str = "\
Examples:
  producer enqueue
  producer enqueue --dry-run --count
  producer enqueue --day 2024-06-01 --project clx1abc
  producer enqueue --from 2024-01-01 --to 2024-03-31 --json
  EXPORT_EVERY=1h producer enqueue --steps

Without --from, it begins with the first day that holds data, at most BACKFILL_DAYS before
yesterday. --from may lie further back. Without --to, it ends with the newest day that is over.

You may run it again, or two at the same time: no job is published twice. There are six reasons for
a job:
  new      the day is not in the ledger
  resumed  it was skipped because the integration was disabled or the project paused
  late     rows arrived after their day was exported
  settled  SETTLE_AFTER the day's end has come: what changed since the export is sent again
  step     with --steps: a part of today is over
  healed   its message seems to be lost
Before that it creates what is missing in the ledger and at the broker, unless --no-setup.

A long history is asked about first: more than 30 days with data from before a project's nightly
export began, or more than about a million events of such days, all projects together. --yes answers
for you. Nothing is asked where --from, --day or BACKFILL_DAYS says how far back to go. Without a
terminal these days are held back, and all others are published. --dry-run --count shows how many
events they are.

--steps publishes the parts of today that are over, as EXPORT_EVERY divides it, also those whose
message seems to be lost, and nothing else. Run it STEP_LAG after the end of each part; `producer
schedule` does it by itself. What the steps miss, the day's own job sends.

Exit code: 0 when the broker confirmed every job, also when days were held back, which standard
error says; 1 when it did not confirm one. Such a job is not in the ledger, so the next `enqueue`
publishes it.

JSON: {now, dry_run, planned: {new, resumed, late, step, settled, healed}, queues, from, to,
confirmed, failed: [{id, error}], paused: [project_id], looked_at, dead: [id], undated:
[{project_id, table, rows, example}], first_exports: [{project_id, from, to, days, events,
held_back}], jobs: [{id, project_id, day, run, queue, reason}]}. With --steps also next_step_at.
With --count also counts: [{project_id, jobs, events: {trace, generation, score, observation},
total}]; `observation` where EVENTS asks for it.";

pub(super) const SCHEDULE: &str = "\
Examples:
  producer schedule
  producer schedule --at 03:15
  BACKFILL_DAYS=30 producer schedule

It enqueues at the start, which catches up with every missed day, and then every day at that time
(UTC). With EXPORT_EVERY it also enqueues each part of the day, STEP_LAG after its end. Several
replicas may run: one is at work, and the others stand by and take over when it ends. After a
failure it tries again within minutes. It reads the same settings as `enqueue`.

It asks no questions. A long history is held back, as `producer enqueue --help` tells, and `producer
enqueue --project ID --yes` publishes it. With --yes, schedule itself publishes the history of every
project, also of those that are set up later.

With a personal API key of PostHog it also does what `producer verify` does, every hour; for that it
needs ENCRYPTION_KEY.

Exit code: 0 when SIGTERM or SIGINT ended it.";

pub(super) const REPLAY: &str = "\
Examples:
  producer replay --project clx1abc --day 2024-06-01
  producer replay --project clx1abc --from 2024-06-01 --to 2024-06-30 --events trace,score
  producer replay --project clx1abc --from 2024-06-01 --to 2024-06-30 --events observation
  producer replay --project clx1abc --from 2024-06-01 --to 2024-06-30 --dry-run

It publishes a job for each day of the range that holds data. Publishing the message
{\"project_id\": \"clx1abc\", \"day\": \"2024-06-01\"} by hand does the same. Without --events it exports
the kinds that EVENTS names. --day is one day, and so is --from without --to. PostHog keeps one copy
of each event: an event has the same uuid each time it is sent.

Exit code: 0 when the broker confirmed every job, 1 when it did not confirm one.

JSON: {dry_run, confirmed, jobs: [{id, message, confirmed, error}]}.";

pub(super) const DOCTOR: &str = "\
Examples:
  producer doctor
  producer doctor --json | jq '.checks[] | select(.status == \"problem\")'

It looks at:
  Langfuse's database   columns, indexes, rights, times, the newest row
  the ledger            version, rights; with EXPORT_EVERY whether steps are asked for
  the broker            queues and their arguments, consumers; with AMQP_MANAGEMENT_URL also
                        policies, bindings and the consumer timeout
  each enabled project  ENCRYPTION_KEY, host, key, pause, a history that is held back
  clocks                of the databases and the broker
  arrival               whether PostHog holds what was exported, as `verify` found last
It changes nothing. Run it where the workers run, with their settings.

One cause is one line, however many projects have it. The line names the first of them; JSON has
all.

Exit code: 0 when there is no problem, 1 when there is one. Warnings do not count.

JSON: {problems, warnings, checks: [{check, status: ok | unknown | warning | problem, found, advice,
projects: [project_id]}]}. `projects` comes only with findings about some projects.";
