//! Numbers in sentences: "1 job", "2 jobs", "1,234,567 events". PURE.

/// `1 job`, `2 jobs`, `1,234 events`, `3 queries`.
pub fn count(number: impl TryInto<i64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(i64::MAX);
    let noun = if number == 1 { noun.to_owned() } else { plural(noun) };
    format!("{} {noun}", self::number(number))
}

/// How many of all: `1 of 3 jobs`, `3 of 3 jobs`, and `1 job` where there is no other.
pub fn share(part: usize, all: usize, noun: &str) -> String {
    if (part, all) == (1, 1) {
        count(all, noun)
    } else {
        format!("{} of {} {}", grouped(part), grouped(all), plural(noun))
    }
}

/// The form of a verb that fits the number: `agree(1, "waits", "wait")`.
pub fn agree<'a>(number: impl TryInto<i64>, one: &'a str, more: &'a str) -> &'a str {
    if number.try_into().is_ok_and(|number| number == 1) {
        one
    } else {
        more
    }
}

/// `1,234,567`.
pub fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

fn grouped(number: usize) -> String {
    self::number(i64::try_from(number).unwrap_or(i64::MAX))
}

/// `jobs`, `copies`, `days`.
fn plural(noun: &str) -> String {
    let stem = noun.strip_suffix('y');
    match stem.filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_others_plural() {
        for (number, noun, text) in [
            (0, "job", "0 jobs"),
            (1, "job", "1 job"),
            (2, "other day", "2 other days"),
            (1, "copy", "1 copy"),
            (3, "copy", "3 copies"),
            (2, "key", "2 keys"),
            (1_234_567, "event", "1,234,567 events"),
        ] {
            assert_eq!(count(number, noun), text);
        }
        assert_eq!(count(1_i64, "row"), "1 row");
        assert_eq!(
            (agree(1, "waits", "wait"), agree(2, "waits", "wait")),
            ("waits", "wait")
        );
    }

    #[test]
    fn a_part_is_of_all_of_them() {
        for (part, all, text) in [
            (1, 1, "1 job"),
            (3, 3, "3 of 3 jobs"),
            (0, 0, "0 of 0 jobs"),
            (0, 1, "0 of 1 jobs"),
            (1, 3, "1 of 3 jobs"),
            (999, 1_000, "999 of 1,000 jobs"),
        ] {
            assert_eq!(share(part, all, "job"), text);
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
            (-1_000, "-1,000"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
