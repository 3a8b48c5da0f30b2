//! Log lines: JSON for machines or text for people. They go to standard error; standard output is
//! for the output of commands.

use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::Settings;
use crate::settings::variables::LOG_FORMAT;

mod slow;
use slow::SlowStatements;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("is neither `text` nor `json`".to_owned()),
        }
    }
}

/// Installs the process's log subscriber. Call this once, before anything else.
pub fn init(format: LogFormat, filter: &str) {
    // lapin logs every closed channel as an error, even an expected one (a queue that may be
    // missing, a right that the user lacks). The caller gets the error and logs it if it matters.
    // A user's own filter for lapin comes later and wins.
    let filter = format!("lapin=off,{filter}");
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("lapin=off,info"));
    let no_color = std::env::var_os("NO_COLOR");
    let colored = is_colored(
        std::io::stderr().is_terminal(),
        no_color.is_some_and(|value| !value.is_empty()),
    );
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colored)
        .with_span_events(FmtSpan::NONE);
    // A second call changes nothing; tests run several programs in one process.
    let _ = match format {
        LogFormat::Text => builder.finish().with(SlowStatements).try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .finish()
            .with(SlowStatements)
            .try_init(),
    };
}

/// Escapes are for a person at a terminal who has not asked for a text without them. PURE.
fn is_colored(terminal: bool, no_color: bool) -> bool {
    terminal && !no_color
}

/// Says on standard error why the program ends: `prefix: why`. `LOG_FORMAT=json` makes it a line of
/// JSON, except at a terminal. It may be called before [`init`], and no filter holds it back.
pub fn say_end(prefix: &str, why: &str) {
    let mut error = std::io::stderr();
    let format = Settings::from_env().parsed(&LOG_FORMAT).unwrap_or(LogFormat::Text);
    let line = if format == LogFormat::Json && !error.is_terminal() {
        json_line(why, chrono::Utc::now())
    } else {
        format!("{prefix}: {why}")
    };
    let _ = writeln!(error, "{line}");
}

/// Joins an error and its causes. A cause that the texts before it repeat is left out. PURE.
pub fn once(causes: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    for cause in causes {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The fields are those of the log's own lines. PURE.
fn json_line(why: &str, now: chrono::DateTime<chrono::Utc>) -> String {
    let timestamp = now.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    serde_json::json!({ "timestamp": timestamp, "level": "ERROR", "message": why }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_gets_escapes_and_no_color_takes_them_away() {
        for (terminal, no_color, colored) in [
            (true, false, true),
            (true, true, false),
            (false, false, false),
            (false, true, false),
        ] {
            assert_eq!(is_colored(terminal, no_color), colored);
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let causes = ["no ledger: denied", "denied", "by the server"].map(str::to_owned);
        assert_eq!(once(causes), "no ledger: denied: by the server");
    }

    #[test]
    fn the_last_word_of_several_lines_is_one_line_of_json() {
        let line = json_line("not usable:\n  - \"X\"", chrono::DateTime::UNIX_EPOCH);
        assert_eq!(line.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["message"], "not usable:\n  - \"X\"");
        assert_eq!(read["level"], "ERROR");
    }
}
