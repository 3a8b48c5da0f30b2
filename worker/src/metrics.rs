//! What `/metrics` shows. Labels are bounded: no project ids.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use reqwest::StatusCode;
use shared::error_code::ErrorCode;
use shared::job::Stream;
use shared::posthog::LIB_VERSION;

const JOBS: &str = "posthog_export_jobs_total";
const EVENTS: &str = "posthog_export_events_total";
const BATCHES: &str = "posthog_export_batches_total";
const BYTES: &str = "posthog_export_sent_bytes_total";
const REJECTS: &str = "posthog_export_rejects_total";
const RETRIES: &str = "posthog_export_send_retries_total";
const SPLITS: &str = "posthog_export_batch_splits_total";
const SEND: &str = "posthog_export_send_duration_seconds";
const PAGE: &str = "posthog_export_page_duration_seconds";
const RUNNING: &str = "posthog_export_jobs_running";
const TAKEOVERS: &str = "posthog_export_lease_takeovers_total";
const CONNECTED: &str = "posthog_export_broker_connected";
const BLOCKED: &str = "posthog_export_broker_blocked";
const BUILD: &str = "posthog_export_build_info";

/// Installs the process's recorder.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    const SECONDS: &[f64] = &[
        0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ];
    // Without buckets the exporter would make summaries, which cannot be added up over workers.
    let handle = PrometheusBuilder::new().set_buckets(SECONDS)?.install_recorder()?;
    describe_counter!(
        JOBS,
        "Deliveries by what became of their job (completed, done_before, retry, later, dead, skipped, handed_back, abandoned) and error code"
    );
    describe_counter!(EVENTS, "Events accepted by PostHog, by kind; replays count again");
    describe_counter!(BATCHES, "Bodies accepted by PostHog");
    describe_counter!(BYTES, Unit::Bytes, "Compressed bytes of accepted bodies");
    describe_counter!(REJECTS, "Rows that PostHog will never accept");
    describe_counter!(RETRIES, "Bodies sent again after a transient failure");
    describe_counter!(SPLITS, "Bodies taken apart, by cause");
    describe_histogram!(SEND, Unit::Seconds, "One POST, by status");
    describe_histogram!(PAGE, Unit::Seconds, "One page of Langfuse's rows");
    describe_gauge!(RUNNING, "Jobs at work in this process");
    describe_counter!(TAKEOVERS, "Runs taken over from a worker whose lease ran out");
    describe_gauge!(CONNECTED, "1 while connected to RabbitMQ and consuming");
    describe_gauge!(BLOCKED, "1 while RabbitMQ blocks publishing");
    describe_gauge!(BUILD, "Always 1; the version is a label");
    gauge!(BUILD, "version" => LIB_VERSION).set(1.0);
    gauge!(CONNECTED).set(0.0);
    gauge!(BLOCKED).set(0.0);
    gauge!(RUNNING).set(0.0);
    Ok(handle)
}

/// A delivery's end.
pub fn job_ended(outcome: &'static str, code: Option<ErrorCode>) {
    counter!(JOBS, "outcome" => outcome, "error_code" => code.map_or("", ErrorCode::as_str)).increment(1);
}

/// A batch was accepted and saved.
pub fn accepted(stream: Stream, events: i64, bytes: i64) {
    counter!(EVENTS, "kind" => stream.as_str()).increment(events.unsigned_abs());
    counter!(BATCHES, "kind" => stream.as_str()).increment(1);
    counter!(BYTES).increment(bytes.unsigned_abs());
}

/// One POST has ended.
pub fn sent(stream: Stream, took: Duration, status: Option<StatusCode>) {
    let status = status.map_or_else(|| "none".to_owned(), |s| s.as_u16().to_string());
    histogram!(SEND, "kind" => stream.as_str(), "status" => status).record(took.as_secs_f64());
}

/// A body will be sent again.
pub fn retried(stream: Stream) {
    counter!(RETRIES, "kind" => stream.as_str()).increment(1);
}

/// A body is taken apart.
pub fn split(stream: Stream, too_large: bool) {
    let cause = if too_large { "too_large" } else { "refused" };
    counter!(SPLITS, "kind" => stream.as_str(), "cause" => cause).increment(1);
}

/// A row was refused for good.
pub fn rejected(stream: Stream) {
    counter!(REJECTS, "kind" => stream.as_str()).increment(1);
}

/// A page was read.
pub fn page_read(stream: Stream, took: Duration) {
    histogram!(PAGE, "kind" => stream.as_str()).record(took.as_secs_f64());
}

/// A run was taken over.
pub fn taken_over() {
    counter!(TAKEOVERS).increment(1);
}

/// Counts a job as running until dropped.
pub struct Running(());

impl Running {
    /// From now on.
    pub fn begin() -> Self {
        gauge!(RUNNING).increment(1.0);
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        gauge!(RUNNING).decrement(1.0);
    }
}

/// The broker's state.
pub fn broker(connected: bool) {
    gauge!(CONNECTED).set(f64::from(u8::from(connected)));
}

/// The broker's alarm.
pub fn blocked(blocked: bool) {
    gauge!(BLOCKED).set(f64::from(u8::from(blocked)));
}
