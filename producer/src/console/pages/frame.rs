//! What stands around every page, and the trouble that each may have to tell of.

use std::time::Duration;

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::console::address::Prefix;
use crate::console::kept::Answer;

/// How long a page waits for the ledger.
const PATIENCE: Duration = Duration::from_secs(5);

/// A page that every page leads to.
#[derive(Clone, Debug)]
pub(in crate::console) struct Link {
    pub(in crate::console) href: String,
    pub(in crate::console) says: &'static str,
    /// It is this page
    pub(in crate::console) here: bool,
}

/// What the layout shows.
#[derive(Clone, Debug)]
pub(in crate::console) struct Frame {
    pub(in crate::console) title: String,
    /// With the prefix, so that an asset is found behind a proxy
    pub(in crate::console) css: String,
    pub(in crate::console) script: String,
    pub(in crate::console) icon: String,
    pub(in crate::console) home: String,
    pub(in crate::console) pages: Vec<Link>,
    pub(in crate::console) version: &'static str,
}

impl Frame {
    pub(in crate::console) fn new(prefix: &Prefix, title: impl Into<String>) -> Self {
        let title = title.into();
        let link = |path, says: &'static str| Link {
            href: prefix.path(path),
            says,
            here: title == says,
        };
        Self {
            pages: vec![
                link("/", "Overview"),
                link("/dead-letters", "Dead letters"),
                link("/doctor", "Doctor"),
                link("/actions", "Actions"),
            ],
            title,
            css: prefix.path("/assets/console.css"),
            script: prefix.path("/assets/console.js"),
            icon: prefix.path("/assets/icon.svg"),
            home: prefix.path("/"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// A server that does not answer, and what the page shows of it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::console) struct Trouble {
    /// Which server
    pub(in crate::console) who: &'static str,
    /// Its own words
    pub(in crate::console) words: String,
    /// What that means for the page
    pub(in crate::console) shows: String,
}

impl Trouble {
    /// What is wrong with this answer, if anything is.
    pub(in crate::console) fn of<T>(who: &'static str, answer: &Answer<T>) -> Option<Self> {
        let shows = match &answer.known {
            Some((_, at)) => format!("What it said last, at {} UTC, is shown.", at.format("%H:%M:%S")),
            None => "What it would say is left out.".to_owned(),
        };
        answer.trouble.clone().map(|words| Self { who, words, shows })
    }

    /// Nothing of this server can be shown.
    pub(in crate::console) fn left_out(who: &'static str, words: &str) -> Self {
        Self {
            who,
            words: words.to_owned(),
            shows: "What it would say is left out.".to_owned(),
        }
    }
}

/// What was read, unless it takes too long.
pub(in crate::console) async fn within<T>(read: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let too_long = |_| format!("no answer within {} s", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, read).await.map_err(too_long)?
}

/// The status of a page, by whether the ledger answered.
pub(in crate::console) fn status(known: bool) -> StatusCode {
    if known {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// The answer that shows a template.
pub(in crate::console) fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page of the console could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
