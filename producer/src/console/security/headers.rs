//! The headers of every answer. A page loads nothing from elsewhere, runs no script but ours, and is
//! kept by nobody.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// No `style` attribute and no inline script works under it: what a page shows of others' words can
/// not become either.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const ALL: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    // Not `no-referrer`: with it a browser sends `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds them.
pub(super) fn add(headers: &mut HeaderMap) {
    for (name, value) in ALL {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
