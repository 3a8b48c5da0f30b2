//! The options `--day`, `--from` and `--to`.

use clap::Args;
use shared::job::Day;

use crate::error::CommandError;

/// The days that a command is asked for.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct DayRange {
    /// Only this day (UTC)
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["from", "to"])]
    day: Option<Day>,
    /// First day (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Day>,
    /// Last day, included
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<Day>,
}

impl DayRange {
    /// The first and the last day, as far as they were given.
    pub fn bounds(&self) -> Result<(Option<Day>, Option<Day>), CommandError> {
        let (from, to) = (self.day.or(self.from), self.day.or(self.to));
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(CommandError::argument("--from is later than --to"));
        }
        Ok((from, to))
    }
}
