//! How long Azure asks to wait.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::HeaderMap;

/// The longest wait that is believed. Azure asks for up to ten minutes (contract §4); a longer
/// one is garbage, and would put a cluster to sleep.
const LONGEST: Duration = Duration::from_secs(600);

/// Reads `Retry-After`, in seconds or as an HTTP date, or Azure's variants in milliseconds.
/// A date that has passed means now.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let milliseconds = ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .find_map(|name| text(name)?.parse().ok().map(Duration::from_millis));
    let standard = || {
        let text = text("retry-after")?;
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let due = httpdate::parse_http_date(text).ok()?;
        Some(
            due.duration_since(SystemTime::from(now))
                .unwrap_or_default(),
        )
    };
    milliseconds.or_else(standard).map(|wait| wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn read(name: &'static str, value: &'static str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        retry_after(&headers, "2026-01-01T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (name, value, expected) in [
            ("retry-after", "17", seconds(17)),
            ("retry-after", " 0 ", seconds(0)),
            ("retry-after", "Thu, 01 Jan 2026 12:01:30 GMT", seconds(90)),
            ("retry-after", "Thu, 01 Jan 2026 11:00:00 GMT", seconds(0)),
            ("retry-after", "99999999999", seconds(600)),
            ("retry-after", "-5", None),
            ("retry-after", "soon", None),
            ("retry-after-ms", "1500", Some(Duration::from_millis(1500))),
            ("x-ms-retry-after-ms", "20", Some(Duration::from_millis(20))),
            ("date", "17", None),
        ] {
            assert_eq!(read(name, value), expected, "{name}: {value}");
        }
    }
}
