//! The URL of a request: the service URL unchanged, then a path in which each id is encoded exactly once.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All characters except RFC 3986 *unreserved*.
pub(crate) const OUTSIDE_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One or more segments of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// Text that is written as it is.
    Fixed(&'static str),
    /// An id, encoded as one segment.
    Id(&'a str),
}

/// An id that cannot be a path segment. An empty id, or one of dots only, would change the path, because dot segments are
/// resolved even if they are encoded.
#[derive(Debug, thiserror::Error)]
#[error("id {0:?} cannot be a path segment of a URL")]
pub(crate) struct UnfitId(String);

/// The URL of `parts` under a base URL without trailing slash, with a query of the present values.
pub(crate) fn address(
    base: &str,
    parts: &[Part<'_>],
    query: &[(&'static str, Option<&str>)],
) -> Result<String, UnfitId> {
    let mut url = String::with_capacity(base.len() + 256);
    url.push_str(base);
    for part in parts {
        url.push('/');
        match part {
            Part::Fixed(path) => url.push_str(path),
            Part::Id(id @ ("" | "." | "..")) => return Err(UnfitId((*id).to_owned())),
            Part::Id(id) => url.extend(utf8_percent_encode(id, OUTSIDE_UNRESERVED)),
        }
    }
    let mut separator = '?';
    for (name, value) in query {
        if let Some(value) = value {
            url.push(separator);
            url.push_str(name);
            url.push('=');
            url.extend(utf8_percent_encode(value, OUTSIDE_UNRESERVED));
            separator = '&';
        }
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Cloud;
    use crate::service_url::{Loopback, OtherChannels, TrustRule};

    fn activities(service_url: &str, conversation: &str) -> String {
        let rule = TrustRule::new(Cloud::Public, OtherChannels::Trusted, Loopback::Trusted);
        let parts = [
            Part::Fixed("v3/conversations"),
            Part::Id(conversation),
            Part::Fixed("activities"),
        ];
        address(rule.check(service_url).unwrap().as_str(), &parts, &[]).unwrap()
    }

    #[test]
    fn the_path_of_the_service_url_is_kept_with_and_without_its_slash() {
        for base in [
            "https://smba.trafficmanager.net/amer",
            "https://smba.trafficmanager.net/amer/",
        ] {
            assert_eq!(
                activities(base, "a:1"),
                "https://smba.trafficmanager.net/amer/v3/conversations/a%3A1/activities"
            );
        }
        assert_eq!(
            activities("https://slack.botframework.com", "x"),
            "https://slack.botframework.com/v3/conversations/x/activities"
        );
        assert_eq!(
            activities("http://localhost:56150/_connector", "x"),
            "http://localhost:56150/_connector/v3/conversations/x/activities"
        );
    }

    #[test]
    fn an_id_is_encoded_exactly_once_and_keeps_its_case() {
        for (id, encoded) in [
            (
                "19:aBc@thread.tacv2;messageid=17",
                "19%3AaBc%40thread.tacv2%3Bmessageid%3D17",
            ),
            ("already%3Aencoded", "already%253Aencoded"),
            ("a/b?c#d\\e f+g&h", "a%2Fb%3Fc%23d%5Ce%20f%2Bg%26h"),
            ("-._~Az09", "-._~Az09"),
            ("zoë", "zo%C3%AB"),
            ("..a", "..a"),
            ("\r\n", "%0D%0A"),
        ] {
            assert_eq!(
                activities("https://smba.trafficmanager.net/in/", id)
                    .split('/')
                    .nth(6),
                Some(encoded)
            );
        }
    }

    #[test]
    fn an_id_that_would_change_the_path_is_refused() {
        let rule = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
        let base = rule.check("https://smba.trafficmanager.net/in/").unwrap();
        for id in ["", ".", ".."] {
            assert!(
                address(
                    base.as_str(),
                    &[Part::Fixed("v3/conversations"), Part::Id(id)],
                    &[]
                )
                .is_err()
            );
        }
    }

    #[test]
    fn a_query_holds_only_what_is_there() {
        let rule = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
        let base = rule.check("https://smba.trafficmanager.net/in/").unwrap();
        let query = |size, token| {
            address(
                base.as_str(),
                &[],
                &[("pageSize", size), ("continuationToken", token)],
            )
            .unwrap()
        };
        assert_eq!(query(None, None), "https://smba.trafficmanager.net/in");
        assert_eq!(
            query(Some("50"), None),
            "https://smba.trafficmanager.net/in?pageSize=50"
        );
        assert_eq!(
            query(None, Some("a&b=")),
            "https://smba.trafficmanager.net/in?continuationToken=a%26b%3D"
        );
        assert_eq!(
            query(Some("50"), Some("t")),
            "https://smba.trafficmanager.net/in?pageSize=50&continuationToken=t"
        );
    }
}
