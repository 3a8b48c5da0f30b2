//! Writes results to standard output: a table for people, or JSON for programs. Log lines and
//! progress go to standard error.
//!
//! Ids, bodies and error texts come from anybody who may publish a message. So everything that is
//! written here for people is made harmless here, and no command can forget it: control characters
//! are escaped, and a cell of a table is cut. JSON holds the whole text, escaped as JSON does.

mod plain;

use std::io::{BufRead, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use shared::settings::SecretString;
use shared::telemetry;

use crate::error::CommandError;

pub use crate::numbers::{agree, count, number, share};
pub use plain::{base64, plain, shorten};

/// Characters of a cell, since the longest one pads all others of its column. The id of a real job
/// has about 80.
const LONGEST_CELL: usize = 120;
/// The same for the last column, which pads nothing.
const LONGEST_LAST_CELL: usize = 1_000;

/// How a command ended. The program's exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well: exit code 0
    Done,
    /// A part of what was asked for failed, and the report says which: exit code 1
    Failed,
}

impl Exit {
    /// [`Exit::Done`] when all is well.
    pub fn of(all_well: bool) -> Self {
        if all_well { Self::Done } else { Self::Failed }
    }
}

/// Writes one line. A reader that has gone away (`| head`) is no error.
pub fn line(text: impl AsRef<str>) {
    write(&plain(text.as_ref()));
}

/// Writes a JSON document.
pub fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    write(&plain::json(&text));
}

/// Writes why a command ended, to standard error. It may have several lines.
pub fn end(text: &str) {
    let lines: Vec<String> = text.lines().map(plain).collect();
    telemetry::say_end("error", &lines.join("\n"));
}

fn write(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Asks the person at the terminal. Any answer but yes is no.
///
/// # Errors
/// When there is no terminal: then `--yes` has to be typed.
pub fn confirm(question: &str) -> Result<bool, CommandError> {
    let (input, mut error) = (std::io::stdin(), std::io::stderr());
    if !can_ask() {
        return Err(CommandError::argument(format!(
            "{question} There is no terminal to ask at, so nothing was done: add --yes (or look first with --dry-run)"
        )));
    }
    let _ = write!(error, "{} [y/N] ", plain(question)).and_then(|()| error.flush());
    let mut answer = String::new();
    let read = input.lock().read_line(&mut answer);
    Ok(read.is_ok() && is_yes(&answer))
}

/// Whether there is a person at a terminal to be asked.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks the person at the terminal for a secret, which is not shown while it is typed. `None`
/// without a terminal.
pub fn ask_secret(prompt: &str) -> Result<Option<SecretString>, CommandError> {
    if !can_ask() {
        return Ok(None);
    }
    let typed = rpassword::prompt_password(plain(prompt))
        .map_err(|error| CommandError::refused(format!("cannot ask for the key: {error}")))?;
    Ok(Some(SecretString::from(typed)))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Writes a table without ruled lines, so that `grep` and `awk` can read it. Cells wrap only on a
/// terminal.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    write(&table_text(header, rows));
}

fn table_text<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for row in rows {
        table.add_row(row.iter().enumerate().map(|(column, cell)| {
            let is_last = column + 1 == N;
            shorten(&plain(cell), if is_last { LONGEST_LAST_CELL } else { LONGEST_CELL })
        }));
    }
    // `NOTHING` pads the last column, too.
    table
        .lines()
        .map(|l| l.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// A progress bar on standard error; nothing when that is no terminal.
pub fn progress(what: &'static str, steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// A cell; `-` when there is no value.
pub fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A moment as text, to the second.
pub fn moment(time: chrono::DateTime<chrono::Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long ago a moment was, in the largest unit of which there are two: `47 h`, `3 days`.
pub fn age(now: chrono::DateTime<chrono::Utc>, then: chrono::DateTime<chrono::Utc>) -> String {
    let passed = (now - then).max(chrono::TimeDelta::zero());
    match passed.num_seconds() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        for (seconds, text) in [
            (-5, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
        ] {
            let now = chrono::DateTime::UNIX_EPOCH;
            assert_eq!(age(now, now - chrono::TimeDelta::seconds(seconds)), text);
        }
    }

    /// A project id of 10,000 characters once padded every row to its length, and an escape
    /// sequence reached the terminal.
    #[test]
    fn a_cell_is_escaped_and_cut_and_its_row_is_one_line() {
        let rows = [
            ["p".repeat(10_000), "x".to_owned()],
            ["\u{1b}[31m\nlast".to_owned(), "y".to_owned()],
        ];
        let text = table_text(["ID", "NAME"], rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].contains("p…"), "{text}");
        assert!(lines[2].contains("\\u{1b}[31m\\nlast"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() < 140), "{text}");
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [
            ("y\n", true),
            ("YES", true),
            ("", false),
            ("n", false),
            ("yes please", false),
        ] {
            assert_eq!(is_yes(answer), yes, "{answer}");
        }
    }
}
