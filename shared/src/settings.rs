//! Reads the environment. All bad variables are named in one error, and secrets are never printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

pub use secrecy::{ExposeSecret, SecretString};

use crate::database_url;

mod tls;
pub mod variables;
pub(crate) use tls::AMQP_CA;
pub use variables::{Fallback, VARIABLES, Variable, markdown_table};

/// All bad variables at once.
#[derive(Debug, thiserror::Error)]
#[error("settings are missing or wrong:\n{}", .0.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n"))]
pub struct BadSettings(pub Vec<String>);

/// What to print at start, once there is a log.
#[derive(Debug, Default)]
pub struct Shown {
    /// Names and values; secrets are redacted
    pub values: Vec<(&'static str, String)>,
    /// What was understood in another way than it was meant
    pub notes: Vec<String>,
}

/// Reads variables one by one. Collects what is wrong, and what to print at start.
pub struct Settings {
    environment: BTreeMap<String, String>,
    errors: Vec<String>,
    shown: Vec<(&'static str, String)>,
    notes: Vec<String>,
}

impl Settings {
    /// From the process's environment. An empty variable counts as not set: Compose files cannot
    /// leave a variable out.
    pub fn from_env() -> Self {
        let unicode = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self::from_map(std::env::vars_os().filter_map(unicode).collect())
    }

    /// From a map, for tests.
    pub fn from_map(environment: BTreeMap<String, String>) -> Self {
        Self {
            environment,
            errors: Vec::new(),
            shown: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A text, or its default.
    pub fn text(&mut self, variable: &Variable) -> Option<String> {
        let value = self.raw(variable);
        self.show(variable, value.as_deref().unwrap_or("(not set)"));
        value
    }

    /// A secret that may be absent. It may also stand in the file that `NAME_FILE` names.
    pub fn optional_secret(&mut self, variable: &Variable) -> Option<SecretString> {
        let name = variable.name;
        let file_name = format!("{name}_FILE");
        let from_file = match self.get(&file_name) {
            None => None,
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Some(bare(&text).to_owned()),
                Err(e) => {
                    self.errors.push(format!("{file_name}: cannot read {path}: {e}"));
                    None
                }
            },
        };
        let direct = self.get(name);
        if direct.is_some() && from_file.is_some() {
            self.errors
                .push(format!("{name} and {file_name} are both set; keep one"));
        }
        let value = direct.or(from_file);
        self.show(variable, if value.is_some() { "(secret)" } else { "(not set)" });
        value.map(SecretString::from)
    }

    /// A secret that must be set.
    pub fn secret(&mut self, variable: &Variable) -> SecretString {
        let before = self.errors.len();
        self.optional_secret(variable).unwrap_or_else(|| {
            if self.errors.len() == before {
                let Variable { name, meaning, .. } = variable;
                self.errors
                    .push(format!("{name} is not set (or {name}_FILE): {meaning}"));
            }
            SecretString::from("")
        })
    }

    /// A secret that must be a URL with one of the given schemes. The value never reaches the
    /// error.
    pub fn secret_url(&mut self, variable: &Variable, schemes: &[&str]) -> SecretString {
        let url = self.secret(variable);
        self.check_url(variable, &url, schemes);
        url
    }

    /// [`Settings::secret_url`] that may be absent.
    pub fn optional_secret_url(&mut self, variable: &Variable, schemes: &[&str]) -> Option<SecretString> {
        let url = self.optional_secret(variable)?;
        self.check_url(variable, &url, schemes);
        Some(url)
    }

    fn check_url(&mut self, variable: &Variable, url: &SecretString, schemes: &[&str]) {
        let text = url.expose_secret();
        if !text.is_empty()
            && let Err(fault) = database_url::parse(text, schemes)
        {
            self.errors.push(format!("{} {fault}", variable.name));
        }
    }

    /// A number from `low` to `high`.
    pub fn number<T>(&mut self, variable: &Variable, low: T, high: T) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let text = self.raw(variable).unwrap_or_default();
        self.show(variable, &text);
        match text.parse::<T>() {
            Ok(n) if n >= low && n <= high => n,
            _ => {
                self.errors.push(format!(
                    "{}: `{text}` is not a number from {low} to {high}",
                    variable.name
                ));
                low
            }
        }
    }

    /// [`Settings::number`] that may be absent.
    pub fn optional_number<T>(&mut self, variable: &Variable, low: T, high: T) -> Option<T>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        if self.raw(variable).is_none() {
            self.show(variable, "(not set)");
            return None;
        }
        Some(self.number(variable, low, high))
    }

    /// A duration: `90s`, `10m`, `2h`, `500ms`.
    pub fn duration(&mut self, variable: &Variable) -> Duration {
        self.parsed_with(variable, parse_duration)
            .unwrap_or(Duration::from_secs(1))
    }

    /// A size in bytes: `5MB`, `512kB`, `1000000`.
    pub fn bytes(&mut self, variable: &Variable, low: usize, high: usize) -> usize {
        let within = |text: &str| {
            let size = parse_bytes(text)?;
            if size < low || size > high {
                Err(format!("must be from {low} to {high} bytes"))
            } else {
                Ok(size)
            }
        };
        self.parsed_with(variable, within).unwrap_or(low)
    }

    /// `on` or `off`.
    pub fn switch(&mut self, variable: &Variable) -> bool {
        let parse = |text: &str| match text {
            "on" | "true" => Ok(true),
            "off" | "false" => Ok(false),
            _ => Err("is neither `on` nor `off`".to_owned()),
        };
        self.parsed_with(variable, parse).unwrap_or_default()
    }

    /// A socket address.
    pub fn address(&mut self, variable: &Variable) -> SocketAddr {
        let parse = |text: &str| {
            // `:9090` is how Go programs say "on every address".
            let whole = text.strip_prefix(':').map(|port| format!("0.0.0.0:{port}"));
            let address = whole.as_deref().unwrap_or(text).parse();
            address.map_err(|_| "is no address; write it like 0.0.0.0:9090".to_owned())
        };
        self.parsed_with(variable, parse)
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// A value of any type that can be parsed.
    pub fn parsed<T>(&mut self, variable: &Variable) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.parsed_with(variable, |text| text.parse::<T>().map_err(|e| e.to_string()))
    }

    fn parsed_with<T>(&mut self, variable: &Variable, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.raw(variable).unwrap_or_default();
        self.show(variable, &text);
        parse(&text)
            .map_err(|e| self.errors.push(format!("{}: `{text}` {e}", variable.name)))
            .ok()
    }

    /// Adds what is no fault and ought to be known.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds an error, for example one about several variables.
    pub fn complain(&mut self, error: String) {
        self.errors.push(error);
    }

    /// Reads what the program can do without: what is wrong with it is answered, and no fault of the
    /// program's own settings.
    ///
    /// # Errors
    /// All its variables that are wrong.
    pub fn apart<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> Result<T, BadSettings> {
        let mut apart = Self::from_map(self.environment.clone());
        let read = what(&mut apart);
        let shown = apart.finish()?;
        for (name, value) in shown.values {
            if self.shown.iter().all(|(known, _)| *known != name) {
                self.shown.push((name, value));
            }
        }
        let is_new = |note: &String| !self.notes.contains(note);
        let notes: Vec<String> = shown.notes.into_iter().filter(is_new).collect();
        self.notes.extend(notes);
        Ok(read)
    }

    /// Ends the reading. Returns what to print at start, with secrets redacted, or all errors.
    pub fn finish(mut self) -> Result<Shown, BadSettings> {
        // A variable that is the fallback of two others is read twice.
        let mut said = BTreeSet::new();
        self.errors.retain(|error| said.insert(error.clone()));
        if self.errors.is_empty() {
            Ok(Shown {
                values: self.shown,
                notes: self.notes,
            })
        } else {
            Err(BadSettings(self.errors))
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        let value = bare(self.environment.get(name)?);
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn raw(&self, variable: &Variable) -> Option<String> {
        self.get(variable.name).or_else(|| match variable.default {
            Fallback::Value(value) => Some(value.to_owned()),
            Fallback::Required | Fallback::Unset(_) => None,
        })
    }

    fn show(&mut self, variable: &Variable, value: &str) {
        // A variable that two settings fall back to is read twice.
        if self.shown.iter().all(|(name, _)| *name != variable.name) {
            self.shown.push((variable.name, value.to_owned()));
        }
    }
}

/// A value without blanks around it, and without the quotation marks that `docker run --env-file` leaves.
fn bare(value: &str) -> &str {
    let value = value.trim();
    let unquoted = ['"', '\'']
        .into_iter()
        .find_map(|mark| value.strip_prefix(mark)?.strip_suffix(mark));
    unquoted.map_or(value, str::trim)
}

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads `500ms`, `90s`, `10m`, `2h`, `1d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || "is not a duration; write it like 90s, 10m or 2h".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(split);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(bad)?;
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(*factor))
        .ok_or_else(bad)?;
    Ok(Duration::from_millis(millis))
}

/// Writes a duration in the largest unit that divides it: `30s`, `2h`.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| millis % factor == 0 && millis > 0)
        .unwrap_or(&UNITS[1]);
    let mut text = String::new();
    let _ = write!(text, "{}{unit}", millis / factor);
    text
}

fn parse_bytes(text: &str) -> Result<usize, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "KiB" => 1_024,
        "MiB" => 1_048_576,
        _ => return Err("is not a size; write it like 5MB or 512kB".to_owned()),
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| "is not a size".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::from_map(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn all_bad_variables_are_named_at_once_and_no_secret_is() {
        let mut s = settings(&[
            ("JOB_SLICE", "soon"),
            ("PAGE_ROWS", "0"),
            ("AMQP_URL", "http://user:hunter2@broker"),
            ("HISTORICAL_MIGRATION", "maybe"),
            ("HTTP_ADDR", "nowhere"),
            ("BATCH_MAX_BYTES", "5 parsecs"),
        ]);
        s.duration(&variables::JOB_SLICE);
        s.number(&variables::PAGE_ROWS, 1_u32, 100_000);
        s.secret_url(&variables::AMQP_URL, &["amqp", "amqps"]);
        s.secret(&variables::ENCRYPTION_KEY);
        s.switch(&variables::HISTORICAL_MIGRATION);
        s.address(&variables::HTTP_ADDR);
        s.bytes(&variables::BATCH_MAX_BYTES, 1_000, 20_000_000);
        let error = s.finish().unwrap_err().to_string();
        for name in [
            "JOB_SLICE",
            "PAGE_ROWS",
            "AMQP_URL",
            "ENCRYPTION_KEY",
            "HISTORICAL_MIGRATION",
            "HTTP_ADDR",
            "BATCH_MAX_BYTES",
        ] {
            assert!(error.contains(name), "{name} in {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_variable_that_is_read_twice_is_shown_once() {
        let mut s = settings(&[]);
        for _ in 0..2 {
            s.text(&variables::DATABASE_CA_FILE);
        }
        assert_eq!(s.finish().unwrap().values.len(), 1);
    }

    #[test]
    fn empty_counts_as_not_set_and_defaults_stand() {
        let mut s = settings(&[("JOB_SLICE", " ")]);
        assert_eq!(s.duration(&variables::JOB_SLICE), Duration::from_secs(600));
        assert!(s.optional_secret(&variables::SETTINGS_DATABASE_URL).is_none());
        assert!(s.finish().is_ok());
    }

    #[test]
    fn a_secret_may_come_from_a_file_and_is_shown_as_secret_only() {
        let path = std::env::temp_dir().join(format!("settings-{}", uuid::Uuid::now_v7()));
        std::fs::write(&path, "amqp://u:hunter2@h/\n").unwrap();
        let mut s = settings(&[("AMQP_URL_FILE", path.to_str().unwrap())]);
        assert_eq!(
            s.secret_url(&variables::AMQP_URL, &["amqp"]).expose_secret(),
            "amqp://u:hunter2@h/"
        );
        let shown = s.finish().unwrap();
        assert_eq!(shown.values, vec![("AMQP_URL", "(secret)".to_owned())]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn quotation_marks_and_blanks_around_a_value_are_taken_away() {
        let mut s = settings(&[
            ("DATABASE_URL", "\"postgres://u:p@h/d\""),
            ("AMQP_URL", " 'amqp://h:5672/%2f'\n"),
            ("JOB_SLICE", "\"5m\""),
            ("LOG_FORMAT", "\"\""),
            ("HTTP_ADDR", " :9191"),
        ]);
        assert_eq!(
            s.postgres_url(&variables::DATABASE_URL).expose_secret(),
            "postgres://u:p@h/d"
        );
        assert_eq!(s.amqp_url(&variables::AMQP_URL).expose_secret(), "amqp://h:5672/%2f");
        assert_eq!(s.duration(&variables::JOB_SLICE), Duration::from_secs(300));
        assert_eq!(s.text(&variables::LOG_FORMAT).as_deref(), Some("text"));
        assert_eq!(s.address(&variables::HTTP_ADDR).to_string(), "0.0.0.0:9191");
        assert!(s.finish().is_ok());
    }

    #[test]
    fn durations_read_and_write() {
        for (text, millis) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis));
            assert_eq!(format_duration(duration), text);
        }
        for bad in ["", "10", "s", "1.5h", "-3s", "99999999999999999999s", "3 weeks"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_default_is_readable() {
        for variable in VARIABLES {
            if let Fallback::Value(value) = variable.default {
                assert!(!value.is_empty(), "{}", variable.name);
            }
        }
    }
}
