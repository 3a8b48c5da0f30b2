//! A slow statement is one short line: its name and its time.

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The field that only sqlx's warning of a slow statement has.
const MARK: &str = "slow_threshold";
/// Characters that are shown of a statement without a name.
const SHOWN: usize = 60;

/// Puts our line in the place of sqlx's warning, which repeats the whole statement.
pub(super) struct SlowStatements;

impl<S: Subscriber> Layer<S> for SlowStatements {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if event.fields().all(|field| field.name() != MARK) {
            return true;
        }
        let mut told = Told::default();
        event.record(&mut told);
        let statement = name(&told.statement, &told.summary);
        // The same target, so that `RUST_LOG=sqlx=off` still silences it.
        tracing::warn!(target: "sqlx::query", statement, seconds = told.seconds, "slow statement");
        false
    }
}

/// What sqlx tells of a slow statement.
#[derive(Default)]
struct Told {
    /// The whole statement; empty when the summary is all of it
    statement: String,
    /// Its first words
    summary: String,
    seconds: f64,
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "db.statement" => value.clone_into(&mut self.statement),
            "summary" => value.clone_into(&mut self.summary),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.seconds = (value * 1000.0).round() / 1000.0;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// The name in the statement's first line (`-- ledger_claim_take`), or else its first words. PURE.
fn name(statement: &str, summary: &str) -> String {
    let first = statement.trim_start().lines().next().unwrap_or_default();
    match first.strip_prefix("--").map(str::trim) {
        Some(name) if !name.is_empty() && !name.contains(char::is_whitespace) => name.to_owned(),
        _ => summary.chars().take(SHOWN).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_told_by_its_name_or_its_first_words() {
        for (statement, summary, expected) in [
            ("\n\n-- told_by_name\nupdate runs\nset state = 1\n", "…", "told_by_name"),
            ("\n\n-- the ledger\ncreate table x ()", "its words …", "its words …"),
            ("\n\nselect a, b from c", "select a, b from …", "select a, b from …"),
            ("", "select 1", "select 1"),
        ] {
            assert_eq!(name(statement, summary), expected);
        }
        assert_eq!(name("", &"x".repeat(500)).len(), SHOWN);
    }
}
