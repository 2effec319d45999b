use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The value of a `Retry-After` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// A delay from now.
    Delay(Duration),
    /// A point in time.
    At(SystemTime),
}

impl RetryAfter {
    /// The delay left at `now`; zero when the point in time has passed.
    pub fn delay(self, now: SystemTime) -> Duration {
        match self {
            Self::Delay(delay) => delay,
            Self::At(moment) => moment.duration_since(now).unwrap_or_default(),
        }
    }

    /// Reads the header, as seconds or as an HTTP date. A number of seconds that is too large for a `u64` counts as the
    /// largest. The delay is not bounded here: callers that wait must bound it.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::Delay(Duration::from_secs(text.parse().unwrap_or(u64::MAX))));
        }
        httpdate::parse_http_date(text).ok().map(Self::At)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Mon, 05 Jan 2026 09:00:00 GMT").unwrap();
        for (header, delay) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Mon, 05 Jan 2026 09:02:00 GMT", Some(120)),
            ("Mon, 05 Jan 2026 08:00:00 GMT", Some(0)),
            ("86400", Some(86_400)),
            ("1771404540", Some(1_771_404_540)),
            ("253402300800", Some(253_402_300_800)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(header));
            let found = RetryAfter::from_headers(&headers).map(|after| after.delay(now));
            assert_eq!(found, delay.map(Duration::from_secs), "{header:?}");
        }
        assert_eq!(RetryAfter::from_headers(&HeaderMap::new()), None);
    }
}
