//! The one table of environment variables. The code reads names and defaults from here, and the table
//! of docs/CONFIGURATION.md is generated from it.

/// What applies when a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It must be set
    Required,
    /// This value is used
    Value(&'static str),
    /// Nothing is used; the text says what that means
    Unset(&'static str),
}

/// One environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name
    pub name: &'static str,
    /// What applies when it is not set
    pub default: Fallback,
    /// Whether its value is never shown, and may stand in the file that `NAME_FILE` names
    pub secret: bool,
    /// Which programs read it
    pub programs: &'static str,
    /// One sentence for the documentation and for errors
    pub meaning: &'static str,
}

const fn variable(name: &'static str, programs: &'static str, default: Fallback, meaning: &'static str) -> Variable {
    Variable {
        name,
        default,
        secret: false,
        programs,
        meaning,
    }
}

const fn secret(name: &'static str, programs: &'static str, default: Fallback, meaning: &'static str) -> Variable {
    Variable {
        name,
        default,
        secret: true,
        programs,
        meaning,
    }
}

/// Makes a constant for each variable, and the table of all of them.
macro_rules! variables {
    ($($kind:ident $name:ident $programs:literal $default:ident$(($value:literal))? $meaning:literal;)+) => {
        $(
            #[doc = $meaning]
            pub const $name: Variable =
                $kind(stringify!($name), $programs, Fallback::$default$(($value))?, $meaning);
        )+

        /// Every variable that the programs read, in the order of the documentation.
        pub const VARIABLES: &[Variable] = &[$($name),+];
    };
}

variables! {
    secret DATABASE_URL "both" Required
        "Langfuse's Postgres, or a read replica of it; `SELECT` suffices.";
    secret LEDGER_DATABASE_URL "both" Unset("`DATABASE_URL`")
        "The database that holds our schema `posthog_export`.";
    secret SETTINGS_DATABASE_URL "producer" Unset("`DATABASE_URL`")
        "Where `integrations set` writes `posthog_integrations`; needs the right to.";
    secret AMQP_URL "both" Required
        "RabbitMQ; `amqps://` for TLS. The virtual host is the path: `%2f` is the default one.";
    secret AMQP_MANAGEMENT_URL "producer" Unset("`doctor` leaves policies, bindings and the broker's clock out")
        "RabbitMQ's management API, `http://user:password@host:15672`; only `doctor` reads it.";
    variable DATABASE_CA_FILE "both" Unset("`sslmode` and `sslrootcert` of each URL")
        "File with the certificate authorities of the Postgres servers; TLS is then required, \
         certificate and name verified.";
    variable AMQP_CA_FILE "both" Unset("the machine's own")
        "File with certificate authorities that are trusted for `amqps://` beside the machine's \
         own.";
    variable POSTHOG_CA_FILE "both" Unset("the machine's own")
        "The same for https to PostHog.";
    secret ENCRYPTION_KEY "both" Required
        "Langfuse's own `ENCRYPTION_KEY`, 64 hex digits: decrypts the PostHog keys of the \
         projects.";
    secret POSTHOG_API_KEY "producer" Unset("asked for, without echo")
        "The project API key that `integrations set` stores; no other command reads it.";
    secret POSTHOG_PERSONAL_API_KEY "producer" Unset("arrival is not verified")
        "A personal API key (`phx_…`, scopes `query:read` and `project:read`) for `producer verify`; for `producer \
         dashboards` also `dashboard:write` and `insight:write`. It is sent to us.posthog.com and eu.posthog.com, and to no other host.";
    variable POSTHOG_PERSONAL_API_KEYS_FILE "producer" Unset("none")
        "File with the personal API keys of other PostHog hosts, a line `host key` each; `host` may have a port \
         and a path, as in the project's settings. `host app-host key` where that host only takes events.";
    secret CONSOLE_PASSWORD "producer" Unset("`producer console` serves loopback addresses only, without a password")
        "The password of `producer console`, under any user name. It is needed where the console listens on \
         another address than loopback, and with `--public-url` or `--allow-actions`.";
    variable LANGFUSE_URL "worker" Unset("`NEXTAUTH_URL`")
        "Public URL of the Langfuse web app; without it the events carry no links.";
    variable NEXTAUTH_URL "worker" Unset("no links")
        "Langfuse's own variable, read when `LANGFUSE_URL` is not set.";
    variable WORKER_CONCURRENCY "worker" Value("2")
        "Jobs of the jobs queue at once; each takes up to three connections to `DATABASE_URL`.";
    variable BACKFILL_CONCURRENCY "worker" Value("1")
        "Jobs of the backfill queue at once; 0: leave the backfill to other workers.";
    variable BACKFILL_DAYS "producer" Unset("all days that hold data")
        "How many days before yesterday `enqueue` goes back. Where it is not set, `enqueue` asks \
         before it publishes more than 30 such days of a project for the first time (`--yes`).";
    variable DATABASE_CONNECTIONS "worker" Unset("three a job")
        "Most connections to `DATABASE_URL` at once, over all jobs of the process; the streams \
         then wait for their turn. The ledger's own (one more than jobs) are not counted.";
    variable ROWS_PER_SECOND "worker" Unset("as fast as it goes")
        "Most rows of pages read in a second, over all jobs of the process; looking up traces of \
         other pages is not counted.";
    variable EVENTS_PER_SECOND "worker" Unset("as fast as it goes")
        "Most events sent to one PostHog host in a second, on average and over all jobs of the \
         process; tries and parts of a body count as well. Each worker has this limit for itself.";
    variable PAGE_ROWS "worker" Value("3000")
        "Rows read by one statement.";
    variable BATCH_MAX_EVENTS "worker" Value("1500")
        "Events in one body.";
    variable BATCH_MAX_BYTES "worker" Value("5MB")
        "Size of one body before compression.";
    variable SENDS_IN_FLIGHT "worker" Value("32")
        "Bodies on their way to PostHog at once, over all jobs of the process.";
    variable SEND_TIMEOUT "worker" Value("60s")
        "Longest wait for one answer of PostHog; an overloaded one takes 20 s to say so.";
    variable RETRY_BUDGET "worker" Value("2m")
        "How long one body is retried in the worker before the job goes to the retry ladder.";
    variable RETRY_RUNGS "both" Value("30s×1,5m×3,30m×4,2h×20")
        "The retry ladder: delay × attempts, then dead letter.";
    variable JOB_SLICE "both" Value("10m")
        "Longest time a worker holds a delivery; a longer job goes on in another slice. At most \
         25m.";
    variable LEASE "worker" Value("2m")
        "How long a killed worker's job waits before another takes it over.";
    variable SHUTDOWN_GRACE "worker" Value("25s")
        "Longest time from SIGTERM to the exit; keep it under the pod's grace period.";
    variable EVENTS "producer" Value("trace,generation,score")
        "Which events `enqueue` and `replay` ask for. `observation` may be added: an event for each \
         observation that is no generation.";
    variable EXPORT_LAG "producer" Value("30m")
        "How long after midnight UTC a day counts as over.";
    variable EXPORT_EVERY "producer" Value("1d")
        "How often a day is exported while it is going on: `15m` to `12h`, and it must divide a day. \
         `1d`: only once, when it is over.";
    variable STEP_LAG "producer" Value("30m")
        "With EXPORT_EVERY: how long after the end of each part of the day it is exported; `10m` at \
         least.";
    variable SETTLE_AFTER "producer" Value("24h")
        "How long after its end a day is looked at once more: what changed since its export is sent \
         again. `1h` to `30d`, or `off`.";
    variable HISTORICAL_MIGRATION "worker" Value("off")
        "`on` marks batches of days over 48 h old as historical, which PostHog documents as a paid \
         feature.";
    variable OMIT_PROPERTIES "worker" Unset("none")
        "Comma list of event properties that never leave, like \
         `langfuse_score_comment,langfuse_tags,langfuse_trace_name`; docs/EVENTS.md lists them.";
    variable EGRESS_ALLOW "both" Unset("public https hosts only")
        "Comma list of hosts (`*.internal`: all below that name) and CIDRs that may be private or plain http, for a PostHog of your \
         own.";
    variable EGRESS_ONLY "both" Unset("every host that may be called")
        "Comma list, written like EGRESS_ALLOW: the only hosts that may be called, whatever a \
         project's settings say. It permits nothing by itself: a private host stands in both.";
    variable HTTP_ADDR "worker" Value("0.0.0.0:9090")
        "Where `/livez`, `/readyz` and `/metrics` are served.";
    variable METRICS_INTERVAL "worker" Value("30s")
        "How often the depths of the queues and the ledger's state are read for `/metrics`.";
    variable LOG_FORMAT "both" Value("text")
        "`text` for people, `json` for machines.";
    variable RUST_LOG "both" Value("info")
        "Which log lines are written, by level and module. The AMQP library's own only when it is \
         named: `info,lapin=warn`.";
}

/// The table of docs/CONFIGURATION.md; a test holds it equal.
pub fn markdown_table() -> String {
    let mut table = String::from("| variable | read by | default | meaning |\n| --- | --- | --- | --- |\n");
    for variable in VARIABLES {
        let default = match variable.default {
            Fallback::Required => "**required**".to_owned(),
            Fallback::Value(value) => format!("`{value}`"),
            Fallback::Unset(meaning) => meaning.to_owned(),
        };
        let file = if variable.secret {
            format!(" Also as `{}_FILE`.", variable.name)
        } else {
            String::new()
        };
        table.push_str(&format!(
            "| `{}` | {} | {} | {}{} |\n",
            variable.name, variable.programs, default, variable.meaning, file
        ));
    }
    table
}
