//! Certificate authorities of the operator's own. Their files become parameters of the URLs, in the
//! words that Postgres and RabbitMQ clients know. So a connection needs nothing but its URL.

use lapin::uri::AMQPUri;
use reqwest::Certificate;
use url::Url;

use crate::database_url::DatabaseUrl;

use super::variables::{self, Variable};
use super::{ExposeSecret, SecretString, Settings};

const AMQP: &[&str] = &["amqp", "amqps"];
/// The parameter of an AMQP URL that names a file of certificates.
pub(crate) const AMQP_CA: &str = "cacertfile";

impl Settings {
    /// A Postgres URL that must be set. With `DATABASE_CA_FILE`, the server's certificate and name
    /// are verified.
    pub fn postgres_url(&mut self, variable: &Variable) -> SecretString {
        let url = self.secret(variable);
        self.verified_postgres(variable, url)
    }

    /// [`Settings::postgres_url`] that may be absent.
    pub fn optional_postgres_url(&mut self, variable: &Variable) -> Option<SecretString> {
        let url = self.optional_secret(variable)?;
        Some(self.verified_postgres(variable, url))
    }

    fn verified_postgres(&mut self, variable: &Variable, url: SecretString) -> SecretString {
        if url.expose_secret().is_empty() {
            return url;
        }
        let name = variable.name;
        match DatabaseUrl::read(url.expose_secret()) {
            Ok(read) if read.left_out.is_empty() => {}
            Ok(read) => self.note(format!(
                "{name}: these parameters have no meaning here and are left out: {}",
                read.left_out.join(", ")
            )),
            Err(fault) => {
                self.complain(format!("{name} {fault}"));
                return url;
            }
        }
        let Some(file) = self.ca_file(&variables::DATABASE_CA_FILE) else {
            return url;
        };
        let Ok(parsed) = Url::parse(url.expose_secret()) else {
            return url;
        };
        match parameter(&parsed, &["sslmode", "ssl-mode"]).as_deref() {
            None | Some("verify-ca" | "verify-full") => {}
            Some(mode) => self.complain(format!(
                "{name}: sslmode={mode} verifies nothing, although DATABASE_CA_FILE is set; leave it out, or write verify-full"
            )),
        }
        with_parameters(parsed, &[("sslmode", "verify-full"), ("sslrootcert", &file)])
    }

    /// The broker's URL. With `AMQP_CA_FILE`, the authorities in that file are trusted too.
    pub fn amqp_url(&mut self, variable: &Variable) -> SecretString {
        let url = self.secret_url(variable, AMQP);
        if Url::parse(url.expose_secret()).is_ok() && url.expose_secret().parse::<AMQPUri>().is_err() {
            self.complain(format!(
                "{} is not a URL that an AMQP client can use; are its parameters right, for example heartbeat=10?",
                variable.name
            ));
        } else if Url::parse(url.expose_secret()).is_ok_and(|url| url.path() == "/") {
            self.complain(format!(
                "{} names an empty virtual host; write /%2f at its end for the default one",
                variable.name
            ));
        }
        let Some(file) = self.ca_file(&variables::AMQP_CA_FILE) else {
            return url;
        };
        match Url::parse(url.expose_secret()) {
            Ok(parsed) if parsed.scheme() == "amqps" => with_parameters(parsed, &[(AMQP_CA, &file)]),
            Ok(_) => {
                self.complain(format!(
                    "AMQP_CA_FILE is set, but {} begins with amqp://, which verifies nothing; write amqps://",
                    variable.name
                ));
                url
            }
            Err(_) => url,
        }
    }

    /// The certificate authorities in a file, to be trusted beside the machine's own.
    pub fn certificates(&mut self, variable: &Variable) -> Vec<Certificate> {
        let pem = self.ca_file(variable).and_then(|path| std::fs::read(path).ok());
        pem.and_then(|pem| Certificate::from_pem_bundle(&pem).ok())
            .unwrap_or_default()
    }

    /// The path of a file that holds at least one certificate; anything else is an error.
    fn ca_file(&mut self, variable: &Variable) -> Option<String> {
        let path = self.text(variable)?;
        let fault = match std::fs::read(&path) {
            Err(error) => format!("cannot read {path}: {error}"),
            Ok(pem) => match Certificate::from_pem_bundle(&pem) {
                Ok(found) if !found.is_empty() => return Some(path),
                _ => format!("{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
            },
        };
        self.complain(format!("{}: {fault}", variable.name));
        None
    }
}

fn parameter(url: &Url, names: &[&str]) -> Option<String> {
    url.query_pairs()
        .find(|(name, _)| names.contains(&name.as_ref()))
        .map(|(_, value)| value.into_owned())
}

/// Adds the parameters that the URL does not have yet.
fn with_parameters(mut url: Url, parameters: &[(&str, &str)]) -> SecretString {
    for (name, value) in parameters {
        if parameter(&url, &[name]).is_none() {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    SecretString::from(String::from(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A throw-away authority; nothing is signed with it.
    const PEM: &str = include_str!("ca.pem");

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::from_map(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn file(text: &str) -> String {
        let path = std::env::temp_dir().join(format!("ca-{}.pem", uuid::Uuid::now_v7()));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_ca_file_makes_the_url_verify() {
        let path = file(PEM);
        let mut s = settings(&[
            ("DATABASE_URL", "postgres://u:p%40@h/d?application_name=x"),
            ("AMQP_URL", "amqps://u:p@h/%2f"),
            ("DATABASE_CA_FILE", &path),
            ("AMQP_CA_FILE", &path),
            ("POSTHOG_CA_FILE", &path),
        ]);
        let database = s.postgres_url(&variables::DATABASE_URL);
        assert!(
            database
                .expose_secret()
                .starts_with("postgres://u:p%40@h/d?application_name=x&sslmode=verify-full&sslrootcert=")
        );
        assert!(
            s.amqp_url(&variables::AMQP_URL)
                .expose_secret()
                .starts_with("amqps://u:p@h/%2f?cacertfile=")
        );
        assert_eq!(s.certificates(&variables::POSTHOG_CA_FILE).len(), 1);
        s.finish().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_a_url_holds_is_never_said_and_what_is_left_out_is_named_once() {
        let url = "postgres://u:hunter2@h/d?sslpassword=hunter2&schema=langfuse&pgbouncer=true";
        let mut s = settings(&[("DATABASE_URL", url), ("AMQP_URL", "amqp://h:5672/%2f")]);
        s.postgres_url(&variables::DATABASE_URL);
        s.postgres_url(&variables::DATABASE_URL);
        let shown = s.finish().unwrap();
        assert_eq!(
            shown.notes,
            ["DATABASE_URL: these parameters have no meaning here and are left out: sslpassword, pgbouncer"]
        );
        assert!(!format!("{shown:?}").contains("hunter2"), "{shown:?}");
    }

    #[test]
    fn a_number_sign_is_refused_in_every_variable_that_holds_a_url() {
        let mut s = settings(&[
            ("DATABASE_URL", "postgres://u:12#hunter2@h/d"),
            ("LEDGER_DATABASE_URL", "postgres://u:12#hunter2@h/d"),
            ("SETTINGS_DATABASE_URL", "postgres://u:12#hunter2@h/d"),
            ("AMQP_URL", "amqp://u:12#hunter2@h/%2f"),
            ("AMQP_MANAGEMENT_URL", "http://u:12#hunter2@h"),
        ]);
        s.postgres_url(&variables::DATABASE_URL);
        s.optional_postgres_url(&variables::LEDGER_DATABASE_URL);
        s.optional_postgres_url(&variables::SETTINGS_DATABASE_URL);
        s.amqp_url(&variables::AMQP_URL);
        s.optional_secret_url(&variables::AMQP_MANAGEMENT_URL, &["http", "https"]);
        let error = s.finish().unwrap_err();
        assert_eq!(error.0.len(), 5, "{error}");
        for line in &error.0 {
            assert!(
                line.contains("percent-encode `#` as `%23`") && !line.contains("12"),
                "{line}"
            );
        }
    }

    #[test]
    fn a_broker_url_that_no_client_can_use_is_refused() {
        let mut s = settings(&[("AMQP_URL", "amqp://u:hunter2@h/%2f?heartbeat=soon")]);
        s.amqp_url(&variables::AMQP_URL);
        let error = s.finish().unwrap_err().to_string();
        assert!(error.contains("heartbeat=10") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_empty_virtual_host_is_refused() {
        for (url, is_good) in [
            ("amqp://h:5672/", false),
            ("amqps://u:p@h/", false),
            ("amqp://h:5672", true),
            ("amqp://h:5672/%2f", true),
        ] {
            let mut s = settings(&[("AMQP_URL", url)]);
            s.amqp_url(&variables::AMQP_URL);
            let ended = s.finish();
            assert_eq!(ended.is_ok(), is_good, "{url}");
            assert!(
                ended.err().is_none_or(|error| error.to_string().contains("/%2f")),
                "{url}"
            );
        }
    }

    #[test]
    fn what_would_verify_nothing_is_refused() {
        let (good, bad) = (file(PEM), file("no certificate"));
        let mut s = settings(&[
            ("DATABASE_URL", "postgres://u:p@h/d?sslmode=require"),
            ("AMQP_URL", "amqp://u:p@h/%2f"),
            ("DATABASE_CA_FILE", &good),
            ("AMQP_CA_FILE", &good),
            ("POSTHOG_CA_FILE", &bad),
        ]);
        s.postgres_url(&variables::DATABASE_URL);
        s.amqp_url(&variables::AMQP_URL);
        s.certificates(&variables::POSTHOG_CA_FILE);
        let error = s.finish().unwrap_err().to_string();
        for part in ["sslmode=require", "write amqps://", "POSTHOG_CA_FILE: "] {
            assert!(error.contains(part), "{part} in {error}");
        }
        for path in [good, bad] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
