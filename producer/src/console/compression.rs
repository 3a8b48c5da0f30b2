//! Answers go out as gzip where the browser asks for it: a page of 400 projects is a tenth of its
//! bytes then.

use std::io::Write as _;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Less than this fits a packet or two anyway.
const SMALLEST: usize = 2_000;
/// A higher level takes twice the time for a tenth less.
const LEVEL: u32 = 4;

/// Compresses the answer, if it may.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let wanted = is_wanted(request.method(), request.headers());
    let answer = next.run(request).await;
    if !wanted {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    // Pages and assets are whole in memory.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let body = match small(&bytes) {
        Some(small) => {
            parts
                .headers
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.remove(header::CONTENT_LENGTH);
            Bytes::from(small)
        }
        None => bytes,
    };
    Response::from_parts(parts, Body::from(body))
}

/// Whether the browser reads gzip, and no page of somebody else asks. Such a page could ask for pages
/// with words of its own in them, see by their compressed size whether the words are in the rest, too,
/// and so guess what it may not read (BREACH). PURE.
fn is_wanted(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let ours = text(header::HeaderName::from_static("sec-fetch-site"))
        .is_none_or(|site| matches!(site, "same-origin" | "none"));
    let takes = |part: &str| {
        let (name, weight) = part.split_once(';').unwrap_or((part, ""));
        let weight: String = weight.split_whitespace().collect();
        let never = matches!(weight.as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        name.trim().eq_ignore_ascii_case("gzip") && !never
    };
    method == Method::GET && ours && text(header::ACCEPT_ENCODING).is_some_and(|all| all.split(',').any(takes))
}

/// The same as gzip, where that is worth it. PURE.
fn small(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < SMALLEST {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 6), Compression::new(LEVEL));
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().filter(|small| small.len() < bytes.len())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn gzip_goes_to_whoever_reads_it_and_to_no_page_of_somebody_else() {
        let wanted = |encoding: &str, site: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, encoding.parse().unwrap());
            if let Some(site) = site {
                headers.insert("sec-fetch-site", site.parse().unwrap());
            }
            is_wanted(&Method::GET, &headers)
        };
        assert!(wanted("gzip, deflate, br", Some("same-origin")));
        assert!(wanted("br;q=1.0, GZIP;q=0.8", Some("none")));
        assert!(wanted("gzip", None));
        assert!(!wanted("gzip", Some("cross-site")) && !wanted("gzip", Some("same-site")));
        assert!(!wanted("gzip; q=0", None) && !wanted("br", None) && !wanted("identity", None));
        assert!(!is_wanted(&Method::GET, &HeaderMap::new()));
    }

    #[test]
    fn what_is_small_stays_as_it_is() {
        assert_eq!(small(b"ok"), None);
        let page = "<tr><td>Nothing open</td></tr>".repeat(400);
        let compressed = small(page.as_bytes()).unwrap();
        assert!(compressed.len() * 10 < page.len());
        let mut read = String::new();
        GzDecoder::new(&compressed[..]).read_to_string(&mut read).unwrap();
        assert_eq!(read, page);
    }
}
