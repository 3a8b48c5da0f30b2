//! A project's host as people may see it: whoever typed it may have typed a password into it. PURE.

use reqwest::Url;

/// A host as text.
pub(crate) fn shown(text: &str) -> String {
    let shown = Url::parse(text).ok().and_then(|url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!(
            "{}://{}{port}{}",
            url.scheme(),
            url.host_str()?,
            url.path().trim_end_matches('/')
        ))
    });
    shown.unwrap_or_else(|| "not a URL".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_shown_without_what_may_be_a_secret() {
        assert_eq!(shown("https://eu.posthog.com/"), "https://eu.posthog.com");
        assert_eq!(
            shown("https://me:hunter2@ph.internal:8000/in?token=hunter2#hunter2"),
            "https://ph.internal:8000/in"
        );
        assert_eq!(shown("hunter2"), "not a URL");
    }
}
