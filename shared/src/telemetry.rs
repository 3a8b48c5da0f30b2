//! Log lines: JSON for machines or text for people. They go to standard error; standard output is
//! for the output of commands.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    // A second call changes nothing; tests run several programs in one process.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
}
