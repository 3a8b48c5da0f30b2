//! The URLs of a PostHog host. PURE.

use url::Url;

/// The URL of a path at a host. The host's URL may have a path of its own.
pub fn endpoint(host: &Url, path: &str) -> Url {
    let mut url = host.clone();
    url.set_path(&format!("{}/{path}", host.path().trim_end_matches('/')));
    url
}

/// The URL that takes a host's events. People often configure the address of the web app, which
/// takes none.
pub fn ingestion_url(configured: &str) -> Result<Url, String> {
    let configured = configured.trim();
    let mut url: Url = configured
        .parse()
        .map_err(|e| format!("`{configured}` is not a URL ({e}); write it like https://eu.i.posthog.com"))?;
    let host = match url.host_str() {
        None => {
            return Err(format!(
                "`{configured}` has no host; write it like https://eu.i.posthog.com"
            ));
        }
        Some("app.posthog.com" | "us.posthog.com") => "us.i.posthog.com".to_owned(),
        Some("eu.posthog.com") => "eu.i.posthog.com".to_owned(),
        Some(host) => host.to_owned(),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name or password, which PostHog does not use".to_owned());
    }
    let _ = url.set_host(Some(&host));
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_web_apps_hosts_lead_to_the_ingestion_hosts() {
        for (configured, ingestion) in [
            ("https://eu.posthog.com/", "https://eu.i.posthog.com/batch/"),
            ("https://app.posthog.com", "https://us.i.posthog.com/batch/"),
            (
                " https://us.posthog.com/project/1?x#y",
                "https://us.i.posthog.com/project/1/batch/",
            ),
            (
                "https://posthog.example.com:8443/ingest/",
                "https://posthog.example.com:8443/ingest/batch/",
            ),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/batch/"),
        ] {
            assert_eq!(
                endpoint(&ingestion_url(configured).unwrap(), "batch/").as_str(),
                ingestion
            );
        }
    }

    #[test]
    fn what_is_no_host_says_so_without_its_password() {
        for bad in ["", "eu.posthog.com", "not a url", "https://", "mailto:a@b"] {
            assert!(ingestion_url(bad).is_err(), "{bad}");
        }
        assert!(!ingestion_url("https://u:hunter2@h/").unwrap_err().contains("hunter2"));
    }
}
