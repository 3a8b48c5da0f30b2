//! The URLs of a PostHog host. PURE.

use url::Url;

/// The URL of a path at a host. The host's URL may have a path of its own.
pub fn endpoint(host: &Url, path: &str) -> Url {
    let mut url = host.clone();
    url.set_path(&format!("{}/{path}", host.path().trim_end_matches('/')));
    url
}

/// The URL that takes a host's events. People often configure the address of the web app, which
/// takes none. No refusal repeats what was configured: somebody may have typed a password there.
pub fn ingestion_url(configured: &str) -> Result<Url, String> {
    let configured = configured.trim();
    let mut url: Url = configured
        .parse()
        .map_err(|e| format!("it is not a URL ({e}); write it like https://eu.i.posthog.com"))?;
    let Some(typed) = url.host_str().map(str::to_owned) else {
        return Err("it has no host; write it like https://eu.i.posthog.com".to_owned());
    };
    if matches!(typed.as_str(), "http" | "https") {
        return Err("it begins with https:// twice; write it like https://eu.i.posthog.com".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name or password, which PostHog does not use".to_owned());
    }
    if let Some(host) = of_posthog(typed.trim_end_matches('.'))? {
        if !url.path().trim_matches('/').is_empty() {
            return Err(format!("PostHog's own hosts take no path; write https://{host}"));
        }
        let _ = url.set_host(Some(host));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The URL of the web app, and of its API, that belongs to a URL which takes events.
pub fn app_url(ingestion: &Url) -> Url {
    let mut url = ingestion.clone();
    let app = match url.host_str().map(|host| host.trim_end_matches('.')) {
        Some("us.i.posthog.com") => "us.posthog.com",
        Some("eu.i.posthog.com") => "eu.posthog.com",
        _ => return url,
    };
    let _ = url.set_host(Some(app));
    url
}

/// Which of PostHog's own hosts takes the events; `None` for a host of somebody else's.
fn of_posthog(host: &str) -> Result<Option<&str>, String> {
    match host {
        "app.posthog.com" | "us.posthog.com" => Ok(Some("us.i.posthog.com")),
        "eu.posthog.com" => Ok(Some("eu.i.posthog.com")),
        "posthog.com" | "www.posthog.com" => Err(format!(
            "`{host}` is PostHog's website; write https://us.i.posthog.com or https://eu.i.posthog.com"
        )),
        other => Ok(other.ends_with(".posthog.com").then_some(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_web_apps_hosts_lead_to_the_ingestion_hosts() {
        for (configured, ingestion) in [
            ("https://eu.posthog.com/", "https://eu.i.posthog.com/batch/"),
            ("https://app.posthog.com", "https://us.i.posthog.com/batch/"),
            (" https://us.posthog.com?x#y", "https://us.i.posthog.com/batch/"),
            ("https://eu.posthog.com.", "https://eu.i.posthog.com/batch/"),
            ("https://EU.i.posthog.com./", "https://eu.i.posthog.com/batch/"),
            ("https://eu.i.posthog.com//", "https://eu.i.posthog.com/batch/"),
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
    fn the_app_of_posthogs_own_hosts_is_another_host_and_any_other_is_its_own() {
        for (configured, app) in [
            ("https://eu.i.posthog.com", "https://eu.posthog.com/api/"),
            ("https://app.posthog.com", "https://us.posthog.com/api/"),
            ("https://us.i.posthog.com.", "https://us.posthog.com/api/"),
            (
                "https://us.i.posthog.com.evil.example",
                "https://us.i.posthog.com.evil.example/api/",
            ),
            ("http://127.0.0.1:8000/at/", "http://127.0.0.1:8000/at/api/"),
        ] {
            let app_of = app_url(&ingestion_url(configured).unwrap());
            assert_eq!(endpoint(&app_of, "api/").as_str(), app);
        }
    }

    #[test]
    fn on_posthogs_own_hosts_a_path_is_never_right() {
        for (configured, mend) in [
            ("https://us.i.posthog.com/batch/", "https://us.i.posthog.com"),
            ("https://eu.i.posthog.com/capture", "https://eu.i.posthog.com"),
            ("https://us.posthog.com/project/1", "https://us.i.posthog.com"),
            ("https://eu.posthog.com./project/1", "https://eu.i.posthog.com"),
            (
                "https://posthog.com",
                "https://us.i.posthog.com or https://eu.i.posthog.com",
            ),
            ("https://https://eu.i.posthog.com", "https://eu.i.posthog.com"),
            ("http://https://eu.i.posthog.com", "https://eu.i.posthog.com"),
        ] {
            let why = ingestion_url(configured).unwrap_err();
            assert!(why.ends_with(&format!(" {mend}")), "{configured}: {why}");
        }
        // Whose host it is does not end in the name alone.
        assert!(ingestion_url("https://notposthog.com/batch").is_ok());
    }

    #[test]
    fn what_is_no_host_says_so_without_its_password() {
        for bad in ["", "eu.posthog.com", "not a url", "https://", "mailto:a@b"] {
            assert!(ingestion_url(bad).is_err(), "{bad}");
        }
        for typed in [
            "hunter2",
            "hunter2:",
            "hunter2@host",
            "mailto:hunter2",
            "https://u:hunter2@h/",
            "https://eu.posthog.com/hunter2",
        ] {
            let why = ingestion_url(typed).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
