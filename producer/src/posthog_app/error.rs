//! Why PostHog's app did not answer what it was asked: one sentence, and what to do. PURE.

use std::time::Duration;

use crate::error::CommandError;

/// The key is in none of these.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum AppError {
    /// No key may be sent there; nothing was sent.
    #[error(
        "there is no personal API key for {0}: us.posthog.com and eu.posthog.com get POSTHOG_PERSONAL_API_KEY, any other host needs its own line in POSTHOG_PERSONAL_API_KEYS_FILE"
    )]
    NoKey(String),
    /// The host may not be called; nothing was sent.
    #[error("{0}")]
    NotAllowed(String),
    /// Network, TLS, a time limit, or a proxy that says 502
    #[error("{host} gave no answer: {why}; run the command again, it goes on")]
    NoAnswer { host: String, why: String },
    /// 401
    #[error(
        "{0} does not know the personal API key; make a new one there (phx_…, with the scopes that the command's --help names), and mind that the regions US and EU do not share keys"
    )]
    BadKey(String),
    /// 403 with the name of a scope
    #[error("the personal API key lacks the scope {scope} at {host}; add it to the key in PostHog's settings")]
    LacksScope { host: String, scope: String },
    /// Any other 403
    #[error(
        "the personal API key may not use this at {host} ({detail}); give it access to the project, or name the project with `--project ID --posthog-project NUMBER`"
    )]
    NoAccess { host: String, detail: String },
    /// 404 of a project
    #[error(
        "{host} knows no project {project} that the key may see; look its number up in PostHog's address bar and name it with `--project ID --posthog-project NUMBER`"
    )]
    NoProject { host: String, project: i64 },
    /// 404 of the API itself
    #[error(
        "{0} has no API of PostHog's app there: if the project's host is a proxy in front of PostHog, name the app's own host in POSTHOG_PERSONAL_API_KEYS_FILE, by a line `host app-host key`"
    )]
    NoApi(String),
    /// None of the listed projects has our key.
    #[error(
        "{} at {host} has this project's API key; give the personal API key access to the right project, or correct the integration's key", none_of(*.listed)
    )]
    NotListed { host: String, listed: usize },
    /// The number that was given is another project's.
    #[error(
        "PostHog project {project} at {host} has another project API key than this integration; look its number up"
    )]
    OtherKey { host: String, project: i64 },
    /// 429 and 503; `is_limit`: 429, so that nothing was done
    #[error("{host} is busy and asks to wait {}; run the command again then, it goes on", minutes(*.wait))]
    Busy {
        host: String,
        wait: Duration,
        is_limit: bool,
    },
    /// 504, 512 and 513: the query is too much for it.
    #[error("{0} cannot answer the query within its limits, however small a part of the day it is asked for")]
    TooHeavy(String),
    /// 404 of something in a project: it was deleted, or is another project's
    #[error("{host} does not have what was asked for: {detail}")]
    NotThere { host: String, detail: String },
    /// 402
    #[error("{host} does not allow it on its present plan ({detail}); look at PostHog's billing page")]
    Unpaid { host: String, detail: String },
    /// Query or body is not accepted.
    #[error("{host} refused it (status {status}): {detail}")]
    Refused { host: String, status: u16, detail: String },
    /// Two answers do not fit together.
    #[error("{0} gave fewer events than it had counted a moment before; the next verify looks again")]
    Changed(String),
    /// More rows than an answer may have
    #[error("{0} has cut its answer, however small a part of the day it was asked for")]
    Cut(String),
    /// An answer that makes no sense
    #[error("{host} gave an answer that cannot be read: {why}; if it is PostHog, please report this")]
    Garbled { host: String, why: String },
}

impl AppError {
    /// Whether every other question to this host would end in the same way.
    pub(crate) fn is_of_host(&self) -> bool {
        match self {
            Self::NoKey(_) | Self::NotAllowed(_) | Self::NoAnswer { .. } | Self::BadKey(_) | Self::NoApi(_) => true,
            Self::LacksScope { scope, .. } => scope == "query:read",
            // A plan is the organization's, and so is what it does not allow.
            Self::Busy { .. } | Self::Unpaid { .. } => true,
            Self::NoAccess { .. } | Self::NoProject { .. } | Self::NotListed { .. } | Self::OtherKey { .. } => false,
            Self::TooHeavy(_) | Self::Refused { .. } | Self::Cut(_) | Self::Garbled { .. } | Self::Changed(_) => false,
            Self::NotThere { .. } => false,
        }
    }

    /// Whether every other question about this project would end in the same way.
    pub(crate) fn is_of_project(&self) -> bool {
        match self {
            Self::NoAccess { .. } | Self::NoProject { .. } | Self::NotListed { .. } | Self::OtherKey { .. } => true,
            Self::LacksScope { scope, .. } => scope != "query:read",
            _ => false,
        }
    }

    /// Whether PostHog does not know the form of what it was asked, so that another may do. It answers
    /// 500 where its ClickHouse is too old for a query.
    pub(crate) fn refuses_form(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 200 | 400..=500,
                ..
            }
        )
    }

    /// Whether PostHog lacks what folds uuids to a number, as an old one does.
    pub(crate) fn lacks_a_function(&self) -> bool {
        let names = ["nsupported function", "groupBitXor", "reinterpretAsUInt64", "unhex"];
        matches!(self, Self::Refused { status: 400, detail, .. } if names.iter().any(|name| detail.contains(name)))
    }

    /// Whether a smaller question may be answered.
    pub(crate) fn asks_for_less(&self) -> bool {
        matches!(self, Self::TooHeavy(_) | Self::Cut(_))
    }
}

impl From<AppError> for CommandError {
    fn from(error: AppError) -> Self {
        let said = error.to_string();
        match error {
            // It is the only one that is known without asking PostHog.
            AppError::NoKey(_) => Self::Setting(said),
            _ => Self::Refused(said),
        }
    }
}

fn none_of(listed: usize) -> String {
    match listed {
        0 => "no project that the personal API key may see".to_owned(),
        1 => "not the only project that the personal API key may see".to_owned(),
        _ => format!("none of the {listed} projects that the personal API key may see"),
    }
}

fn minutes(wait: Duration) -> String {
    match wait.as_secs() {
        0..=119 => format!("{} s", wait.as_secs()),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

/// What an answer that is no success means. `project` is the PostHog project that was asked.
pub(crate) fn judge(host: &str, project: Option<i64>, status: u16, text: &str, wait: Option<Duration>) -> AppError {
    let host = host.to_owned();
    let said: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let detail = said["detail"].as_str().unwrap_or_default();
    let detail: String = detail.chars().filter(|c| !c.is_control()).take(300).collect();
    match status {
        401 => AppError::BadKey(host),
        403 => match scope(&detail) {
            Some(scope) => AppError::LacksScope { host, scope },
            None => AppError::NoAccess { host, detail },
        },
        402 => AppError::Unpaid { host, detail },
        404 => match project.filter(|_| said["code"] == "not_found") {
            Some(project) if detail.contains("Project") => AppError::NoProject { host, project },
            Some(_) => AppError::NotThere { host, detail },
            None => AppError::NoApi(host),
        },
        429 | 503 => AppError::Busy {
            host,
            wait: wait.unwrap_or(Duration::from_secs(10)),
            is_limit: status == 429,
        },
        // Time, the estimate of it, and memory; and bytes, which is a status of its own in no version.
        504 | 512 | 513 => AppError::TooHeavy(host),
        400 if said["code"] == "too_many_bytes" => AppError::TooHeavy(host),
        502 | 520..=530 => AppError::NoAnswer {
            host,
            why: format!("status {status}"),
        },
        300..=399 => AppError::NoApi(host),
        status => AppError::Refused { host, status, detail },
    }
}

/// `… missing required scope 'query:read'`
fn scope(detail: &str) -> Option<String> {
    let (_, behind) = detail.split_once("required scope")?;
    let scope = behind.trim_start().strip_prefix('\'')?.split('\'').next()?;
    Some(scope.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_one_sentence_that_says_what_to_do() {
        let detail = |detail: &str| format!(r#"{{"type":"x","code":"not_found","detail":"{detail}","attr":null}}"#);
        for (status, text, said) in [
            (401, detail("invalid"), "make a new one"),
            (
                403,
                detail("API key missing required scope 'query:read'"),
                "lacks the scope query:read at h",
            ),
            (
                403,
                detail("API key does not have access to the requested project: ID 7."),
                "give it access",
            ),
            (404, detail("Project not found."), "knows no project 7"),
            (404, detail("Not found."), "does not have"),
            (402, detail("Quota exceeded"), "billing page"),
            (404, "<html>".to_owned(), "is a proxy"),
            (302, String::new(), "is a proxy"),
            (429, detail("throttled"), "asks to wait 62 s"),
            (504, String::new(), "within its limits"),
            (512, String::new(), "within its limits"),
            (513, String::new(), "within its limits"),
            (
                400,
                r#"{"code":"too_many_bytes","detail":"Query would read too many bytes"}"#.to_owned(),
                "within its limits",
            ),
            (
                400,
                detail("Unsupported function"),
                "(status 400): Unsupported function",
            ),
            (502, String::new(), "status 502"),
        ] {
            let error = judge("h", Some(7), status, &text, Some(Duration::from_secs(62))).to_string();
            assert!(error.contains(said), "{status}: {error}");
        }
        let of_host = |status| judge("h", Some(7), status, &detail("x"), None).is_of_host();
        assert!(of_host(401) && of_host(402) && of_host(429) && !of_host(500) && !of_host(403));
        let long = judge("h", None, 429, "", Some(Duration::from_secs(3_000))).to_string();
        assert!(long.contains("50 min"), "{long}");
    }

    #[test]
    fn what_one_query_fails_by_is_no_reason_to_leave_out_the_others() {
        let refuses = |status| judge("h", Some(7), status, "{}", None).refuses_form();
        assert!(refuses(400) && refuses(500));
        assert!(!refuses(502) && !refuses(504) && !refuses(401) && !refuses(429));
    }

    #[test]
    fn only_a_function_that_is_not_known_leads_to_counts() {
        let refused = |status, detail: &str| {
            let text = serde_json::json!({"code": "x", "detail": detail}).to_string();
            judge("h", Some(7), status, &text, None).lacks_a_function()
        };
        assert!(refused(400, "Unsupported function call 'groupBitXor(...)'"));
        assert!(refused(400, "Unknown function reinterpretAsUInt64"));
        assert!(!refused(400, "Query would read too much"));
        assert!(!refused(500, "groupBitXor"));
    }
}
