//! Why a command could not do its work: one line for a person, without any secret.

use shared::amqp::AmqpError;
use shared::integration::CipherError;
use shared::langfuse::wanted_columns;
use shared::ledger::LedgerError;
use shared::postgres::{in_words, is_read_only, lacks_right};
use sqlx::migrate::MigrateError;

/// A server that cannot be reached, or that does not let us in.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: cannot use {what} at {address}: {cause}.{}", self.advice())]
pub struct ServerError {
    /// The environment variable that holds its URL
    pub variable: &'static str,
    /// `Postgres` or `RabbitMQ`
    pub what: &'static str,
    /// Host and port, without user and password
    pub address: String,
    /// What went wrong, without a full stop
    pub cause: String,
    /// Whether it is a pooler, about which nothing but another URL helps
    pub is_pooler: bool,
    /// Whether no server was asked, because the setting cannot be used
    pub bad_setting: bool,
}

impl ServerError {
    fn advice(&self) -> String {
        if self.is_pooler {
            // The cause says it.
            return String::new();
        }
        let variable = self.variable;
        if self.bad_setting {
            return format!(" Correct {variable}.");
        }
        format!(" Check that it runs, and host, port, user and password of {variable}.")
    }
}

/// All errors of commands.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A server cannot be reached, or its URL is wrong.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A statement failed in Langfuse's database.
    #[error("Langfuse's database: {}", in_words(.0))]
    Source(#[from] sqlx::Error),
    /// Langfuse's tables lack these columns.
    #[error("{}", lack(.0))]
    Columns(Vec<String>),
    /// A statement failed in the ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The schema `posthog_export` is missing or old.
    #[error("the ledger has no up-to-date schema `posthog_export`; run `producer migrate`")]
    NotMigrated,
    /// A migration failed.
    #[error("cannot migrate the ledger: {}", migration(.0))]
    Migrate(#[from] MigrateError),
    /// A request to the broker failed.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// A queue or exchange exists with other arguments than ours.
    #[error(
        "a queue or exchange exists with other arguments than ours, and the broker does not change it: {0}. Drain and delete it, then run `producer declare` again"
    )]
    Topology(AmqpError),
    /// A queue is missing.
    #[error("there is no queue `{0}`; run `producer declare`")]
    NoQueue(&'static str),
    /// ENCRYPTION_KEY, or what was encrypted with it, cannot be used.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// What was asked for cannot be done. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A setting that shows only at work to be missing or wrong. Nothing was changed.
    #[error("{0}")]
    Setting(String),
    /// The broker has confirmed messages, but the ledger could not record them.
    #[error(
        "{count} messages were published but could not be recorded ({cause}). Run the command again; a second message for a job is harmless"
    )]
    NotRecorded {
        /// How many messages
        count: usize,
        /// The ledger's error
        cause: LedgerError,
    },
}

fn lack(columns: &[String]) -> String {
    if columns.len() == wanted_columns().0.len() {
        return "there are no tables of Langfuse's where DATABASE_URL leads; name their database, and their schema with \
                `?schema=name` when it is not `public`"
            .to_owned();
    }
    format!(
        "Langfuse's tables lack {}; upgrade Langfuse to a v2 release that has them",
        columns.join(", ")
    )
}

impl CommandError {
    /// Whether only other settings help: exit code 2.
    pub fn is_bad_setting(&self) -> bool {
        match self {
            Self::Server(error) => error.bad_setting,
            Self::Cipher(error) => matches!(error, CipherError::BadKey),
            Self::Setting(_) => true,
            _ => false,
        }
    }

    /// A refusal with its reason.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }

    /// Refuses the whole command when one of the ids that were asked for is not known. `reason`
    /// puts the unknown ids into a sentence.
    pub fn refuse_unknown(
        asked: &[String],
        is_known: impl Fn(&str) -> bool,
        reason: impl Fn(&str) -> String,
    ) -> Result<(), Self> {
        let unknown: Vec<&str> = asked.iter().map(String::as_str).filter(|id| !is_known(id)).collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(Self::refused(reason(&unknown.join(", "))))
        }
    }
}

/// Why a migration failed, and what to do.
fn migration(error: &MigrateError) -> String {
    match error {
        MigrateError::Execute(error) => statement(error),
        MigrateError::ExecuteMigration(error, version) => format!("migration {version}: {}", statement(error)),
        MigrateError::VersionMissing(version) => format!(
            "it has migration {version}, which this program does not know. A newer one has migrated it: upgrade this one, too"
        ),
        other => other.to_string(),
    }
}

fn statement(error: &sqlx::Error) -> String {
    let words = in_words(error);
    if lacks_right(error) {
        format!("{words}. Run `producer migrate` as the schema's owner (deploy/sql/ledger.sql)")
    } else if is_read_only(error) {
        format!(
            "{words}. LEDGER_DATABASE_URL must lead to a primary, and its role and database must not set \
             default_transaction_read_only"
        )
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_of_a_newer_program_is_no_riddle() {
        let text = CommandError::from(MigrateError::VersionMissing(9999)).to_string();
        assert!(text.contains("migration 9999") && text.contains("upgrade"), "{text}");
    }
}
