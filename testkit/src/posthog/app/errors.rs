//! What PostHog's app says when it does not answer.

use serde_json::json;

use super::super::answer::Answer;
use super::super::behavior::Behavior;

pub(super) fn error(status: u16, kind: &str, code: &str, detail: &str) -> Answer {
    Answer::json_with(
        status,
        &json!({"type": kind, "code": code, "detail": detail, "attr": null}),
    )
}

/// About one member of the body.
pub(super) fn error_at(status: u16, kind: &str, code: &str, detail: &str, attr: &str) -> Answer {
    Answer::json_with(
        status,
        &json!({"type": kind, "code": code, "detail": detail, "attr": attr}),
    )
}

pub(super) fn invalid_at(attr: &str, detail: &str) -> Answer {
    error_at(400, "validation_error", "invalid_input", detail, attr)
}

pub(super) fn invalid(detail: &str) -> Answer {
    error(400, "validation_error", "invalid_input", detail)
}

pub(super) fn denied(detail: &str) -> Answer {
    error(403, "authentication_error", "permission_denied", detail)
}

pub(super) fn not_found(detail: &str) -> Answer {
    error(404, "invalid_request", "not_found", detail)
}

/// 504 and 512.
pub(super) fn too_heavy(status: u16) -> Answer {
    let detail = match status {
        512 => "Estimated query execution time is too long. Try reducing its scope by changing the time range.",
        _ => {
            "Query has hit the max execution time before completing. See our docs for how to improve your query performance."
        }
    };
    error(status, "server_error", "error", detail)
}

impl Behavior {
    /// 429, as PostHog's app throttles.
    pub fn throttled(seconds: u64) -> Self {
        let detail = format!("Request was throttled. Expected available in {seconds} seconds.");
        let mut answer = error(429, "throttled_error", "throttled", &detail);
        answer.headers.push(("retry-after".to_owned(), seconds.to_string()));
        answer.into()
    }

    /// 402: what was paid for is used up.
    pub fn payment_required() -> Self {
        let detail = "You have exceeded your usage limit. Please upgrade your plan.";
        error(402, "quota_limited", "payment_required", detail).into()
    }

    /// A query that ran too long (504), or would (512).
    pub fn query_too_heavy(status: u16) -> Self {
        too_heavy(status).into()
    }

    /// 503, while other queries keep PostHog busy.
    pub fn at_capacity() -> Self {
        let detail =
            "Queries are a little too busy right now. We're working to free up resources. Please try again later.";
        error(503, "server_error", "error", detail).into()
    }
}

impl From<Answer> for Behavior {
    fn from(answer: Answer) -> Self {
        Self::Status(answer.status, answer.body, answer.headers)
    }
}
