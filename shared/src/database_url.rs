//! Reads the URL of a server as people have it: libpq's parameters, Prisma's, node's. PURE.
//!
//! Of such a URL nothing may be printed but scheme, user, host, port, database and the names of its
//! parameters. sqlx prints the values of those it does not know, so it never sees them.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use url::Url;

/// The longest `connect_timeout`. What means "for ever" elsewhere means this.
const LONGEST_CONNECT: Duration = Duration::from_secs(60);

/// A Postgres URL, read.
pub struct DatabaseUrl {
    /// What connects
    pub options: PgConnectOptions,
    /// `connect_timeout`, when it is given
    pub connect_timeout: Option<Duration>,
    /// Names of parameters that have no meaning here
    pub left_out: Vec<String>,
}

impl DatabaseUrl {
    /// Reads it. Prisma's parameters are honoured where we have the like.
    ///
    /// # Errors
    /// What is wrong and how to mend it, without any value.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut url = parse(text, &["postgres", "postgresql"])?;
        let given: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let has = |names: &[&str]| given.iter().any(|(name, _)| names.contains(&name.as_str()));
        let has_key = has(&["sslkey", "ssl-key"]);
        let has_root = has(&["sslrootcert", "ssl-root-cert", "ssl-ca"]);
        let mut kept: Vec<(&str, &str)> = Vec::new();
        let (mut schema, mut connect_timeout, mut left_out) = (None, None, Vec::new());
        let (mut mode, mut strict) = (None, false);
        for (name, value) in &given {
            match name.as_str() {
                "schema" => schema = Some(value.as_str()).filter(|schema| !schema.is_empty()),
                "connect_timeout" => connect_timeout = Some(seconds(value)?),
                "sslmode" | "ssl-mode" => mode = Some(ssl_mode(value)?),
                "sslaccept" => strict = value == "strict",
                // Prisma's is the authority's certificate, libpq's the client's, which has a key.
                "sslcert" | "ssl-cert" if !has_key => {
                    if !has_root {
                        kept.push(("sslrootcert", value));
                    }
                }
                "sslcert"
                | "ssl-cert"
                | "sslkey"
                | "ssl-key"
                | "sslrootcert"
                | "ssl-root-cert"
                | "ssl-ca"
                | "host"
                | "hostaddr"
                | "port"
                | "dbname"
                | "user"
                | "password"
                | "options"
                | "statement-cache-capacity" => {
                    kept.push((name, value));
                }
                option if option.starts_with("options[") => kept.push((name, value)),
                other if left_out.iter().any(|known| known == other) => {}
                other => left_out.push(other.to_owned()),
            }
        }
        // As Prisma: it verifies when it is told to be strict.
        match mode {
            None | Some("allow" | "prefer" | "require") if strict => kept.push(("sslmode", "verify-full")),
            Some(mode) => kept.push(("sslmode", mode)),
            None => {}
        }
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        let options: PgConnectOptions = url
            .as_str()
            .parse()
            // The error's text repeats the value.
            .map_err(|_: sqlx::Error| {
                "has a parameter with a value that it cannot have (hostaddr, port or statement-cache-capacity?)"
                    .to_owned()
            })?;
        let options = match schema {
            None => options,
            Some(schema) => options.options([("search_path", format!("\"{}\"", schema.replace('"', "\"\"")))]),
        };
        Ok(Self {
            options,
            connect_timeout,
            left_out,
        })
    }

    /// Host and port, for people.
    pub fn address(&self) -> String {
        format!("{}:{}", self.options.get_host(), self.options.get_port())
    }
}

fn seconds(value: &str) -> Result<Duration, String> {
    // To libpq, nothing and a number below zero mean "for ever", too.
    let seconds: i64 = if value.is_empty() { Ok(0) } else { value.parse() }
        .map_err(|_| "has a connect_timeout that is no number of seconds".to_owned())?;
    let given = u64::try_from(seconds).ok().filter(|given| *given > 0);
    Ok(given.map_or(LONGEST_CONNECT, Duration::from_secs).min(LONGEST_CONNECT))
}

fn ssl_mode(value: &str) -> Result<&'static str, String> {
    const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    let value = value.to_ascii_lowercase();
    if value == "no-verify" {
        // node-postgres's word: encrypted, and nothing verified.
        return Ok("require");
    }
    MODES
        .into_iter()
        .find(|mode| *mode == value)
        .ok_or_else(|| format!("has an sslmode that does not exist; write one of {}", MODES.join(", ")))
}

/// Parses a URL that may hold a password. A `#`, `/`, `?` or `@` in a password would end it early, and its beginning would be
/// taken, and printed, for a host or a port.
///
/// # Errors
/// What is wrong and how to mend it, without any value.
pub fn parse(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let form = || {
        let forms: Vec<_> = schemes.iter().map(|s| format!("{s}://…")).collect();
        format!(
            "is not a URL of the form {} (percent-encode special characters in its password)",
            forms.join(" or ")
        )
    };
    let rest = schemes
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme)?.strip_prefix("://"))
        .ok_or_else(form)?;
    if text.contains('#') {
        return Err("holds a `#`, where a URL ends: percent-encode `#` as `%23`".to_owned());
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    if rest[end..].contains('@') {
        return Err(
            "holds an `@` after its host: percent-encode `/` as `%2F`, `?` as `%3F` and `@` as `%40` in its password"
                .to_owned(),
        );
    }
    // The parser's error is about the form only, but it is left out all the same: the value holds a password.
    let url = Url::parse(text).map_err(|_| form())?;
    let is_name = |name: &str| {
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.[]".contains(&b))
    };
    // A piece without `=` may be the rest of a secret that holds `&`.
    let is_piece = |piece: &str| piece.is_empty() || piece.contains('=');
    if !url.query().unwrap_or("").split('&').all(is_piece) || url.query_pairs().any(|(name, _)| !is_name(&name)) {
        return Err(
            "has a parameter that is not of the form `name=value`: write `?name=value&name=value`, and percent-encode `?` as `%3F` and `&` as \
             `%26` in a value or a password"
                .to_owned(),
        );
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Langfuse's documented URL, with everything that Prisma knows.
    const PRISMAS: &str = "postgresql://u:p@h:6000/d?schema=langfuse&connection_limit=5&pool_timeout=10&connect_timeout=30\
        &socket_timeout=7&pgbouncer=true&statement_cache_size=0&sslmode=require&sslaccept=accept_invalid_certs\
        &sslcert=/ca.pem&sslidentity=/hunter2.p12&sslpassword=hunter2&application_name=langfuse&options=-c%20jit%3Doff";

    fn debug(options: &PgConnectOptions) -> String {
        format!("{options:?}")
    }

    fn error(text: &str) -> String {
        DatabaseUrl::read(text).err().unwrap_or_default()
    }

    #[test]
    fn prismas_parameters_are_honoured_or_named() {
        let read = DatabaseUrl::read(PRISMAS).unwrap();
        assert_eq!(
            read.left_out,
            [
                "connection_limit",
                "pool_timeout",
                "socket_timeout",
                "pgbouncer",
                "statement_cache_size",
                "sslidentity",
                "sslpassword",
                "application_name"
            ]
        );
        assert_eq!(read.connect_timeout, Some(Duration::from_secs(30)));
        assert_eq!(read.address(), "h:6000");
        let options = debug(&read.options);
        for part in ["Require", "/ca.pem", "jit=off", r#"search_path=\"langfuse\""#] {
            assert!(options.contains(part), "{part} in {options}");
        }
        assert!(!options.contains("hunter2"), "{options}");
    }

    #[test]
    fn a_schema_is_one_quoted_name() {
        let read = DatabaseUrl::read("postgres://h/d?schema=a%22,public").unwrap();
        assert_eq!(
            read.options.get_options(),
            Some(r#"-c search_path="a"",public""#),
            "another schema must not slip in"
        );
        assert_eq!(
            DatabaseUrl::read("postgres://h/d?schema=")
                .unwrap()
                .options
                .get_options(),
            None
        );
    }

    #[test]
    fn modes_of_tls_are_those_of_libpq_prisma_and_node() {
        for (parameters, mode) in [
            ("sslmode=no-verify", "Require"),
            ("sslmode=verify-full", "VerifyFull"),
            ("sslaccept=strict", "VerifyFull"),
            ("sslmode=require&sslaccept=strict", "VerifyFull"),
            ("sslmode=disable&sslaccept=strict", "Disable"),
            ("sslaccept=accept_invalid_certs", "Prefer"),
        ] {
            let read = DatabaseUrl::read(&format!("postgres://h/d?{parameters}")).unwrap();
            assert!(
                debug(&read.options).contains(&format!("ssl_mode: {mode},")),
                "{parameters}"
            );
        }
        let client = DatabaseUrl::read("postgres://h/d?sslcert=/me.pem&sslkey=/me.key&sslrootcert=/ca.pem").unwrap();
        assert!(debug(&client.options).contains("/me.key"));
    }

    #[test]
    fn a_connect_timeout_that_means_for_ever_is_a_minute() {
        for (value, seconds) in [("", 60), ("0", 60), ("-1", 60), ("3", 3), ("3600", 60)] {
            let read = DatabaseUrl::read(&format!("postgres://h/d?connect_timeout={value}")).unwrap();
            assert_eq!(read.connect_timeout, Some(Duration::from_secs(seconds)), "{value:?}");
        }
    }

    #[test]
    fn what_is_refused_says_how_to_mend_it_and_no_value() {
        for (url, mend) in [
            ("postgres://u:12#hunter2@h/d", "percent-encode `#` as `%23`"),
            ("postgres://u:12/hunter2@h/d", "percent-encode `/` as `%2F`"),
            ("postgres://u:12?hunter2@h/d", "`?` as `%3F`"),
            ("postgres://u:12?hunter2=x@h/d", "`?` as `%3F`"),
            ("postgres://u:p@hunter2/ss@h/d", "`@` as `%40`"),
            ("postgres://u:p@h/d?hunter2%20x=1", "`name=value`"),
            ("postgres://u:p@h/d?sslpassword=ab&hunter2", "`&` as `%26`"),
            ("postgres://u:p@h/d?sslmode=hunter2", "write one of disable, allow"),
            ("postgres://u:p@h/d?port=hunter2", "cannot have"),
            ("postgres://u:p@h/d?connect_timeout=hunter2", "number of seconds"),
            ("mysql://u:hunter2@h/d", "postgres://… or postgresql://…"),
            ("postgres://u:hunter2:x@h:port/d", "postgres://… or postgresql://…"),
        ] {
            let error = error(url);
            assert!(error.contains(mend), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_value_gets_into_an_error_or_a_name(text in "postgres://u:[a-z0-9#/?@=&]{0,12}QZX[a-z0-9#/?@=&]{0,12}@h:5432/d(\\?[a-z]{1,9}=QZX[a-z&]{0,9})?") {
            match DatabaseUrl::read(&text) {
                Err(error) => prop_assert!(!error.contains("QZX")),
                Ok(read) => {
                    prop_assert!(!read.left_out.concat().contains("QZX"));
                    prop_assert_eq!(read.address(), "h:5432");
                }
            }
        }
    }
}
