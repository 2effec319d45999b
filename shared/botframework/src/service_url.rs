//! The trust rule: which service URLs may receive requests with the bot's token.
//!
//! The token works for every conversation of the bot, like a password. Service URLs are data: they arrive with activities
//! and are stored and imported. So the rule checks the raw text against an allow list of characters, before any parser
//! normalises it: the checked text is the text that is used.

use std::str::FromStr;

use crate::cloud::Cloud;

/// The longest accepted service URL, in bytes. Real ones have less than 100.
const LONGEST: usize = 512;

/// Whether the Connectors of channels other than Teams are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherChannels {
    /// Only the hosts of Teams are trusted.
    Refused,
    /// The cloud's Bot Framework domain and its subdomains are trusted too.
    Trusted,
}

/// Whether this machine is trusted: `localhost`, `127.0.0.1` and `[::1]`, at any port, over http or https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// Never: the setting of a deployment.
    Refused,
    /// In addition to the cloud: for a development host with real channels.
    Trusted,
    /// Only this machine is trusted. Authentication may be disabled under this setting only.
    Only,
}

/// Decides whether a service URL may receive requests.
///
/// # Example: neighbours of a trusted host are not trusted
/// ```
/// use botframework::cloud::Cloud;
/// use botframework::service_url::{Loopback, OtherChannels, TrustRule};
///
/// let rule = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
/// assert!(rule.check("https://smba.trafficmanager.net/emea/").is_ok());
/// assert!(rule.check("https://evil.trafficmanager.net/emea/").is_err());
/// assert!(rule.check("http://localhost:3979").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRule {
    cloud: Cloud,
    other_channels: OtherChannels,
    loopback: Loopback,
    extra_hosts: Vec<String>,
}

/// A service URL that passed the rule, without its trailing slash. Only [`TrustRule::check`] creates one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceUrl<'a>(&'a str);

impl ServiceUrl<'_> {
    /// The URL without its trailing slash, so `{url}/v3/…` is a valid URL.
    pub fn as_str(&self) -> &str {
        self.0
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        let authority = self.0.split('/').nth(2).unwrap_or_default();
        split_port(authority).is_ok_and(|(host, _)| is_loopback(host))
    }
}

/// Why a service URL is not trusted. It omits the URL, which may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The text is empty.
    #[error("service URL is empty")]
    Empty,
    /// It is longer than the limit.
    #[error("service URL is too long")]
    TooLong,
    /// The scheme is not `https://` in lower case (`http://` on loopback only).
    #[error("service URL must begin with https:// (http:// on loopback only)")]
    Scheme,
    /// Host or port is malformed.
    #[error("service URL has a malformed host or port")]
    Authority,
    /// The port is not 443.
    #[error("service URL has a port other than the default")]
    Port,
    /// The host is not trusted.
    #[error("service URL has a host that is not trusted")]
    Host,
    /// The path has an empty segment, a dot segment or a character other than letters, digits and `-._~`, or a query or
    /// fragment follows it.
    #[error("service URL has a malformed path")]
    Path,
}

/// An extra host that is never trusted, whatever the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("extra host {0:?} is not a plain host name in full, such as canary.botapi.skype.com")]
pub struct InvalidHost(String);

impl TrustRule {
    /// The cloud whose hosts are trusted.
    pub const fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// The setting for this machine.
    pub const fn loopback(&self) -> Loopback {
        self.loopback
    }

    /// The rule for a cloud.
    pub const fn new(cloud: Cloud, other_channels: OtherChannels, loopback: Loopback) -> Self {
        Self {
            cloud,
            other_channels,
            loopback,
            extra_hosts: Vec::new(),
        }
    }

    /// Trusts one more host, compared exactly, over https at the default port. Has no effect under [`Loopback::Only`].
    ///
    /// # Errors
    /// When it is not a full host name (an address, a single label, a pattern).
    pub fn with_host(mut self, host: &str) -> Result<Self, InvalidHost> {
        let full_name = is_host_name(host) && host.contains('.');
        // The last label of a host name is never a number: a resolver would read the host as an address.
        let address = host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|first: char| first.is_ascii_digit()));
        if !full_name || address {
            return Err(InvalidHost(host.to_owned()));
        }
        self.extra_hosts.push(host.to_owned());
        Ok(self)
    }

    /// Accepts a trusted service URL.
    ///
    /// A host with a trailing dot is refused although it names the same machine. No channel writes it, certificates and
    /// connection pools use the name without it, and a single spelling keeps comparisons simple.
    ///
    /// # Errors
    /// With the first violation. Nothing may be sent to the URL.
    pub fn check<'a>(&self, url: &'a str) -> Result<ServiceUrl<'a>, Untrusted> {
        if url.is_empty() {
            return Err(Untrusted::Empty);
        }
        if url.len() > LONGEST {
            return Err(Untrusted::TooLong);
        }
        let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(Untrusted::Scheme),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = split_port(authority)?;

        if is_loopback(host) {
            match self.loopback {
                Loopback::Refused => return Err(Untrusted::Host),
                Loopback::Trusted | Loopback::Only => {}
            }
        } else {
            if !is_host_name(host) {
                return Err(Untrusted::Authority);
            }
            if !secure {
                return Err(Untrusted::Scheme);
            }
            if !self.trusts(host) {
                return Err(Untrusted::Host);
            }
            if port.is_some_and(|port| port != 443) {
                return Err(Untrusted::Port);
            }
        }
        check_path(path)?;
        Ok(ServiceUrl(url.strip_suffix('/').unwrap_or(url)))
    }

    fn trusts(&self, host: &str) -> bool {
        if self.loopback == Loopback::Only {
            return false;
        }
        let endpoints = self.cloud.endpoints();
        let mut exact = endpoints
            .teams_hosts
            .iter()
            .copied()
            .chain(self.extra_hosts.iter().map(String::as_str));
        exact.any(|trusted| host.eq_ignore_ascii_case(trusted))
            || match self.other_channels {
                OtherChannels::Refused => false,
                OtherChannels::Trusted => endpoints
                    .other_channel_domains
                    .iter()
                    .any(|domain| is_within(host, domain)),
            }
    }
}

/// Splits `host:port`. A port is a decimal number from 1 to 65535 in its shortest form.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), Untrusted> {
    // Colons inside the brackets of an IPv6 address separate no port.
    let host_end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').ok_or(Untrusted::Authority)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.starts_with('0') {
        return Err(Untrusted::Authority);
    }
    u16::from_str(digits)
        .map(|port| (host, Some(port)))
        .map_err(|_| Untrusted::Authority)
}

/// The accepted spellings of this machine.
fn is_loopback(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]") || host.eq_ignore_ascii_case("localhost")
}

/// Labels of letters, digits and inner hyphens, joined by single dots. Punycode is refused: no channel has such a name,
/// and some clients reject some of them.
fn is_host_name(host: &str) -> bool {
    let in_punycode = |label: &str| {
        label
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("xn--"))
    };
    host.split('.').all(|label| {
        !label.is_empty()
            && !in_punycode(label)
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Whether the host is the domain or a subdomain of it.
fn is_within(host: &str, domain: &str) -> bool {
    let Some(boundary) = host.len().checked_sub(domain.len()) else {
        return false;
    };
    host.get(boundary..)
        .is_some_and(|end| end.eq_ignore_ascii_case(domain))
        && (boundary == 0 || host.as_bytes().get(boundary - 1) == Some(&b'.'))
}

/// Empty, or segments that each follow a slash, with at most one trailing slash.
fn check_path(path: &str) -> Result<(), Untrusted> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let Some(segments) = path.strip_prefix('/') else {
        return if path.is_empty() {
            Ok(())
        } else {
            Err(Untrusted::Path)
        };
    };
    let plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    if segments.split('/').all(plain) {
        Ok(())
    } else {
        Err(Untrusted::Path)
    }
}

#[cfg(test)]
mod tests;
