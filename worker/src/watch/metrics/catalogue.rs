//! Every metric: its name, type, labels and meaning. Prometheus gets its descriptions from here,
//! and docs/METRICS.md its table.

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts at zero with the process.
    Counter,
    /// Goes up and down
    Gauge,
    /// Buckets of seconds
    Histogram,
}

impl Kind {
    /// The word after `# TYPE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name
    pub name: &'static str,
    /// Its type
    pub kind: Kind,
    /// Its labels; each has few values, and none is a project's
    pub labels: &'static [&'static str],
    /// Its meaning
    pub help: &'static str,
}

pub(super) const JOBS: &str = "posthog_export_jobs_total";
pub(super) const STEPS: &str = "posthog_export_steps_total";
pub(super) const EVENTS: &str = "posthog_export_events_total";
pub(super) const BATCHES: &str = "posthog_export_batches_total";
pub(super) const BYTES: &str = "posthog_export_sent_bytes_total";
pub(super) const REJECTS: &str = "posthog_export_rejects_total";
pub(super) const RETRIES: &str = "posthog_export_send_retries_total";
pub(super) const SPLITS: &str = "posthog_export_batch_splits_total";
pub(super) const SEND: &str = "posthog_export_send_duration_seconds";
pub(super) const PAGE: &str = "posthog_export_page_duration_seconds";
pub(super) const RUNNING: &str = "posthog_export_jobs_running";
pub(super) const IN_FLIGHT: &str = "posthog_export_sends_in_flight";
pub(super) const TAKEOVERS: &str = "posthog_export_lease_takeovers_total";
pub(super) const CONNECTED: &str = "posthog_export_broker_connected";
pub(super) const BLOCKED: &str = "posthog_export_broker_blocked";
pub(super) const SESSIONS_LOST: &str = "posthog_export_broker_sessions_lost_total";
pub(super) const DEPTH: &str = "posthog_export_queue_messages";
pub(super) const CONSUMERS: &str = "posthog_export_queue_consumers";
pub(super) const LAG: &str = "posthog_export_lag_seconds";
pub(super) const FRESHNESS: &str = "posthog_export_freshness_seconds";
pub(super) const LAST_COMPLETED: &str = "posthog_export_last_completed_timestamp_seconds";
pub(super) const LAST_ENQUEUE: &str = "posthog_export_last_enqueue_timestamp_seconds";
pub(super) const NOT_ARRIVED: &str = "posthog_export_days_not_arrived";
pub(super) const NOT_ARRIVED_AGE: &str = "posthog_export_oldest_not_arrived_seconds";
pub(super) const PAUSED: &str = "posthog_export_paused_projects";
pub(super) const LOOKED: &str = "posthog_export_last_look_timestamp_seconds";
pub(super) const BUILD: &str = "posthog_export_build_info";

/// All metrics, in the order of the documentation.
pub const METRICS: &[Metric] = {
    use Kind::{Counter, Gauge, Histogram};
    &[
        metric(
            JOBS,
            Counter,
            &["outcome", "error_code"],
            "Deliveries by what became of their job: completed, done_before, retry, later, dead, discarded, superseded, skipped, handed_back or abandoned.",
        ),
        metric(
            STEPS,
            Counter,
            &["outcome"],
            "Steps that ended: completed, discarded (given up after a failure), superseded (their day was over first) or skipped.",
        ),
        metric(
            EVENTS,
            Counter,
            &["kind"],
            "Events accepted by PostHog; a replay counts again.",
        ),
        metric(BATCHES, Counter, &["kind"], "Batches accepted by PostHog."),
        metric(
            BYTES,
            Counter,
            &["kind"],
            "Compressed bytes of the batches that PostHog accepted.",
        ),
        metric(
            REJECTS,
            Counter,
            &["kind"],
            "Rows that PostHog will never accept; each stands in posthog_export.rejects.",
        ),
        metric(
            RETRIES,
            Counter,
            &["kind"],
            "Bodies sent again after a transient failure, within a job.",
        ),
        metric(
            SPLITS,
            Counter,
            &["kind", "cause"],
            "Bodies taken apart: too_large, or refused because of one of their events.",
        ),
        metric(
            SEND,
            Histogram,
            &["kind", "status"],
            "Time of one POST to PostHog, by the answer's status (none: no answer).",
        ),
        metric(
            PAGE,
            Histogram,
            &["kind"],
            "Time of reading one page of Langfuse's rows.",
        ),
        metric(RUNNING, Gauge, &[], "Jobs at work in this process."),
        metric(
            IN_FLIGHT,
            Gauge,
            &[],
            "Bodies on their way to PostHog; SENDS_IN_FLIGHT is the most.",
        ),
        metric(
            TAKEOVERS,
            Counter,
            &[],
            "Runs taken over from a worker whose lease ran out: it was killed, or could not reach the ledger.",
        ),
        metric(
            CONNECTED,
            Gauge,
            &[],
            "1 while this worker is connected to RabbitMQ and consumes, else 0.",
        ),
        metric(
            BLOCKED,
            Gauge,
            &[],
            "1 while RabbitMQ blocks publishing (memory or disk alarm), else 0.",
        ),
        metric(
            SESSIONS_LOST,
            Counter,
            &[],
            "Sessions with RabbitMQ that failed and were begun anew.",
        ),
        metric(
            DEPTH,
            Gauge,
            &["queue"],
            "Messages ready in a queue, those that workers hold left out; NaN while unknown.",
        ),
        metric(
            CONSUMERS,
            Gauge,
            &["queue"],
            "Consumers of a job queue, over all workers; NaN while unknown.",
        ),
        metric(
            LAG,
            Gauge,
            &["class"],
            "How late the oldest unfinished day is; 0: none is. Of class daily since the day's end, of class backfill since it was asked for; of class step since a step was due, of class settled since a settled run was asked for.",
        ),
        metric(
            FRESHNESS,
            Gauge,
            &[],
            "Age of the data of today: now less the moment up to which completed steps cover it, of the project that is furthest behind; 0: no project got a step today.",
        ),
        metric(
            LAST_COMPLETED,
            Gauge,
            &[],
            "When a job was completed last, by any worker; 0: never, or not known yet.",
        ),
        metric(
            LAST_ENQUEUE,
            Gauge,
            &[],
            "When the producer last looked at every day of every project and had all messages confirmed; 0: never, or not known yet.",
        ),
        metric(
            PAUSED,
            Gauge,
            &["cause"],
            "Paused projects, by the error code that led to it or `human`.",
        ),
        metric(
            NOT_ARRIVED,
            Gauge,
            &[],
            "Exported days of which PostHog does not hold everything, a day after their export; always 0 where nobody verifies.",
        ),
        metric(
            NOT_ARRIVED_AGE,
            Gauge,
            &[],
            "Seconds since the end of the oldest such day; 0 when there is none.",
        ),
        metric(
            LOOKED,
            Gauge,
            &["source"],
            "When the gauges were last read from the ledger or the broker; 0: never.",
        ),
        metric(BUILD, Gauge, &["version"], "Always 1; the version is a label."),
    ]
};

const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// `UPDATE_DOCS=1` writes the table anew.
    #[test]
    fn the_document_lists_every_metric() {
        let mut table = String::from("\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
        for metric in METRICS {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            table += &format!(
                "| `{}` | {} | {} | {} |\n",
                metric.name,
                metric.kind.as_str(),
                labels.join(", "),
                metric.help
            );
        }
        table += "\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
        let text = fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once("<!-- metrics -->\n").unwrap();
        let (found, after) = rest.split_once("<!-- /metrics -->").unwrap();
        if found != table && std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(
                path,
                [before, "<!-- metrics -->\n", &table, "<!-- /metrics -->", after].concat(),
            )
            .unwrap();
            return;
        }
        assert!(
            found == table,
            "docs/METRICS.md: write its table anew with UPDATE_DOCS=1"
        );
    }
}
