//! Chooses dead letters. PURE.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use shared::error_code::ErrorCode;

use super::letter::DeadLetter;
use crate::error::CommandError;

/// By project, cause and age.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only this project
    pub(crate) project: Option<String>,
    /// Only this cause
    pub(crate) error_code: Option<ErrorCode>,
    /// Only those whose first failure is older than this
    pub(crate) older_than: Option<Duration>,
}

impl Filter {
    /// Whether a dead letter passes the filters. One whose first failure is not known has no age
    /// and does not pass an age filter.
    pub(crate) fn take(&self, letter: &DeadLetter, now: DateTime<Utc>) -> bool {
        let project = letter.message.as_ref().map(|message| &message.project_id);
        let code = self.error_code.map(ErrorCode::as_str);
        (self.project.is_none() || self.project.as_ref() == project)
            && (code.is_none() || code == letter.error_code.as_deref())
            && self.older_than.is_none_or(|age| is_older(letter, age, now))
    }
}

fn is_older(letter: &DeadLetter, age: Duration, now: DateTime<Utc>) -> bool {
    let limit = TimeDelta::from_std(age)
        .ok()
        .and_then(|age| now.checked_sub_signed(age));
    letter
        .first_failed_at()
        .zip(limit)
        .is_some_and(|(failed, limit)| failed < limit)
}

/// The dead letters that were asked for, in the order of the queue. One unknown id refuses the
/// whole command. `is_part`: more dead letters wait than were looked at.
pub(crate) fn choose(
    ids: &[String],
    filter: &Filter,
    letters: Vec<DeadLetter>,
    is_part: bool,
    now: DateTime<Utc>,
) -> Result<Vec<DeadLetter>, CommandError> {
    let looked_at = if is_part {
        format!("no dead letter among the first {} in the queue", letters.len())
    } else {
        "no dead letter".to_owned()
    };
    let known: HashSet<&str> = letters.iter().map(|letter| letter.id.as_str()).collect();
    CommandError::refuse_unknown(
        ids,
        |id| known.contains(id),
        |unknown| format!("{looked_at} has the id {unknown}; nothing was changed (see `producer dead-letters list`)"),
    )?;
    let named = |letter: &DeadLetter| ids.is_empty() || ids.contains(&letter.id);
    Ok(letters
        .into_iter()
        .filter(|letter| named(letter) && filter.take(letter, now))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_is_said_to_be_unknown_only_after_a_look_at_all() {
        let ids = ["p/2024-06-01/daily".to_owned()];
        let refusal = |is_part| {
            let chosen = choose(&ids, &Filter::default(), Vec::new(), is_part, Utc::now());
            chosen.unwrap_err().to_string()
        };
        assert!(
            refusal(false).starts_with("no dead letter has the id"),
            "{}",
            refusal(false)
        );
        assert!(
            refusal(true).contains("among the first 0 in the queue"),
            "{}",
            refusal(true)
        );
    }
}
