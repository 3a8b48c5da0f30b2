//! Why a command could not do its work: one line for a person, without any secret.

use shared::amqp::AmqpError;
use shared::integration::CipherError;
use shared::langfuse::wanted_columns;
use shared::ledger::LedgerError;
use shared::postgres::{in_words, is_read_only, lacks_right};
use sqlx::migrate::MigrateError;

use crate::numbers::{agree, count};

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
    /// What was asked for cannot be done as things are: something is not there, or is in another
    /// state. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// What was typed, or stands in a file that was named, can never be done. Nothing was changed.
    #[error("{0}")]
    Argument(String),
    /// A setting that shows only at work to be missing or wrong. Nothing was changed.
    #[error("{0}")]
    Setting(String),
    /// The ledger cannot be used by way of `DATABASE_URL`, which stands in for a variable that is
    /// not set.
    #[error("{variable} is not set, so DATABASE_URL is used: {cause}{}", fallback_advice(.variable, .cause))]
    Fallback {
        /// The variable that is not set
        variable: &'static str,
        /// What went wrong
        cause: Box<CommandError>,
    },
    /// The broker has confirmed messages, but the ledger could not record them.
    #[error(
        "{} published, but the ledger could not record it ({cause}). Run the command again: a second message for a job does no harm", messages(*.count)
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

fn messages(number: usize) -> String {
    format!("{} {}", count(number, "message"), agree(number, "was", "were"))
}

fn fallback_advice(variable: &str, cause: &CommandError) -> String {
    match cause {
        // Its text says what to do, and the ledger may belong there.
        CommandError::NotMigrated => format!(", or set {variable} if the ledger is in another database"),
        CommandError::Migrate(_) => String::new(),
        _ => format!(". Set {variable} to a role that may use the ledger (deploy/sql/ledger.sql makes such roles)"),
    }
}

impl CommandError {
    /// The rule of exit codes, for all commands. `true` is exit code 2: the command line, a
    /// setting, or a file that one of them names is wrong, and the same command fails until it is
    /// another one. `false` is exit code 1: a server is away, refuses something, or does not have
    /// what was named, and the same command may succeed later.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Server(error) => error.bad_setting || error.is_pooler,
            Self::Cipher(error) => matches!(error, CipherError::BadKey),
            Self::Argument(_) | Self::Setting(_) => true,
            // Where nothing is migrated yet, `producer migrate` may help as well.
            Self::Fallback { cause, .. } => !matches!(**cause, Self::NotMigrated),
            Self::Source(_)
            | Self::Columns(_)
            | Self::Ledger(_)
            | Self::NotMigrated
            | Self::Migrate(_)
            | Self::Amqp(_)
            | Self::Topology(_)
            | Self::NoQueue(_)
            | Self::Refused(_)
            | Self::NotRecorded { .. } => false,
        }
    }

    /// A refusal with its reason.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }

    /// A refusal of what was typed, with its reason.
    pub fn argument(reason: impl Into<String>) -> Self {
        Self::Argument(reason.into())
    }

    /// The same error of a ledger. `instead_of`: the variable that is not set, so that
    /// `DATABASE_URL` was used. Where that role may not use the ledger, the error says so.
    #[must_use]
    pub fn of_ledger(self, instead_of: Option<&'static str>) -> Self {
        let is_of_role = match &self {
            Self::NotMigrated => true,
            Self::Ledger(LedgerError::Sql(error) | LedgerError::Unreachable(error)) => no_rights(error),
            Self::Migrate(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => no_rights(error),
            _ => false,
        };
        match instead_of {
            Some(variable) if is_of_role => Self::Fallback {
                variable,
                cause: Box::new(self),
            },
            _ => self,
        }
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

/// Whether the role may not do it, or may not write at all.
fn no_rights(error: &sqlx::Error) -> bool {
    lacks_right(error) || is_read_only(error)
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
    fn what_was_typed_or_set_wrongly_is_two_and_all_else_one() {
        let server = |bad_setting, is_pooler| ServerError {
            variable: "DATABASE_URL",
            what: "Postgres",
            address: "h:5432".to_owned(),
            cause: "why".to_owned(),
            is_pooler,
            bad_setting,
        };
        let fallback = |cause| CommandError::Fallback {
            variable: "LEDGER_DATABASE_URL",
            cause: Box::new(cause),
        };
        let no_answer = || CommandError::Ledger(LedgerError::no_answer());
        for (error, is_bad_input) in [
            (CommandError::argument("--from is later than --to"), true),
            (CommandError::Setting("no personal API key".to_owned()), true),
            (CommandError::Server(server(true, false)), true),
            (CommandError::Server(server(false, true)), true),
            (CommandError::Cipher(CipherError::BadKey), true),
            (fallback(no_answer()), true),
            (fallback(CommandError::NotMigrated), false),
            (CommandError::Server(server(false, false)), false),
            (CommandError::refused("no project `p`"), false),
            (CommandError::NotMigrated, false),
            (no_answer(), false),
        ] {
            assert_eq!(error.is_bad_input(), is_bad_input, "{error}");
        }
    }

    #[test]
    fn a_ledger_that_was_looked_for_in_the_wrong_place_says_so() {
        const BY_FALLBACK: Option<&str> = Some("LEDGER_DATABASE_URL");
        let said = CommandError::NotMigrated.of_ledger(BY_FALLBACK).to_string();
        assert!(
            said.starts_with("LEDGER_DATABASE_URL is not set, so DATABASE_URL is used: ")
                && said.contains("`producer migrate`, or set LEDGER_DATABASE_URL"),
            "{said}"
        );
        let said = CommandError::NotMigrated.of_ledger(None).to_string();
        assert!(!said.contains("not set"), "{said}");
        let said = CommandError::Ledger(LedgerError::no_answer())
            .of_ledger(BY_FALLBACK)
            .to_string();
        assert!(!said.contains("not set"), "{said}");
    }

    #[test]
    fn one_message_was_and_two_were_published() {
        let said = |count| {
            let cause = LedgerError::no_answer();
            CommandError::NotRecorded { count, cause }.to_string()
        };
        assert!(said(1).starts_with("1 message was published"), "{}", said(1));
        assert!(said(2).starts_with("2 messages were published"), "{}", said(2));
    }

    #[test]
    fn a_migration_of_a_newer_program_is_no_riddle() {
        let text = CommandError::from(MigrateError::VersionMissing(9999)).to_string();
        assert!(text.contains("migration 9999") && text.contains("upgrade"), "{text}");
    }
}
