//! Writes results to standard output: a table for people, or JSON for programs. Log lines and
//! progress go to standard error.

use std::io::{BufRead, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::CommandError;

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

/// Writes a line. A reader that has gone away (`| head`) is no error.
pub fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
}

/// Writes a JSON document.
pub fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    line(text);
}

/// Asks a human at the terminal. Any answer but yes is no.
///
/// # Errors
/// When there is no terminal.
pub fn confirm(question: &str) -> Result<bool, CommandError> {
    let (input, mut error) = (std::io::stdin(), std::io::stderr());
    if !input.is_terminal() {
        return Err(CommandError::refused(format!(
            "{question} There is no terminal to ask at, so nothing was done: add --yes (or look first with --dry-run)"
        )));
    }
    let _ = write!(error, "{question} [y/N] ").and_then(|()| error.flush());
    let mut answer = String::new();
    let read = input.lock().read_line(&mut answer);
    Ok(read.is_ok() && is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// A table without ruled lines, so that `grep` and `awk` can read it. Cells wrap only on a
/// terminal.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for row in rows {
        table.add_row(row);
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

/// `1 job`, `2 jobs`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// At most `limit` characters of the first line.
pub fn shorten(text: &str, limit: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= limit {
        return line.to_owned();
    }
    let kept: String = line.chars().take(limit.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A cell; `-` when there is no value.
pub fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A moment as text, to the second.
pub fn moment(time: chrono::DateTime<chrono::Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

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
