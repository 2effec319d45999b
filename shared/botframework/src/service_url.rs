//! Which service URLs may be sent to, and so may see the bot's token.
//!
//! The token works for every conversation of the bot, like a password, and service URLs are data: they come
//! in with activities, are stored, imported and passed around. So the rule is applied to the raw text, with
//! a white list of characters, before anything parses or normalises it: what is checked is what is sent.

use std::str::FromStr;

use crate::cloud::Cloud;

/// The longest service URL that is taken, in bytes; real ones have less than 100.
const LONGEST: usize = 512;

/// Whether the Connectors of channels other than Teams are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherChannels {
    /// The hosts of Teams only.
    Refused,
    /// Also the cloud's Bot Framework domain and everything under it.
    Trusted,
}

/// Whether this machine is trusted: `localhost`, `127.0.0.1` and `[::1]`, at any port, over http or https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// Never: the rule of a deployment.
    Refused,
    /// As well as the cloud: for a development host with real channels.
    Trusted,
    /// This machine and nothing else: the only rule under which authentication may be off.
    Only,
}

/// The rule that a service URL passes before anything is sent to it.
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

/// A service URL that passed the rule, without its trailing slash. Only [`TrustRule::check`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceUrl<'a>(&'a str);

impl ServiceUrl<'_> {
    /// The URL without its trailing slash, so that `{it}/v3/…` is an address.
    pub fn as_str(&self) -> &str {
        self.0
    }

    /// Whether it leads to this machine.
    pub fn is_loopback(&self) -> bool {
        let authority = self.0.split('/').nth(2).unwrap_or_default();
        split_port(authority).is_ok_and(|(host, _)| is_loopback(host))
    }
}

/// Why a service URL is not trusted. The URL itself is left out: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It is empty.
    #[error("service URL is empty")]
    Empty,
    /// It is longer than any service URL.
    #[error("service URL is too long")]
    TooLong,
    /// Its scheme is not the one asked for, in lower case.
    #[error("service URL must begin with https:// (http:// on loopback only)")]
    Scheme,
    /// What stands between the scheme and the path is no plain host and port.
    #[error("service URL has a malformed host or port")]
    Authority,
    /// It names a port other than 443.
    #[error("service URL has a port other than the default")]
    Port,
    /// Its host is none of those trusted.
    #[error("service URL has a host that is not trusted")]
    Host,
    /// Its path has an empty segment, a dot segment or a character beyond letters, digits and `-._~`, or is
    /// followed by a query or fragment.
    #[error("service URL has a malformed path")]
    Path,
}

/// An extra host that cannot be trusted, whatever the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("extra host {0:?} is not a plain host name in full, such as canary.botapi.skype.com")]
pub struct InvalidHost(String);

impl TrustRule {
    /// The cloud whose hosts are trusted.
    pub const fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// Whether and how this rule trusts this machine.
    pub const fn loopback(&self) -> Loopback {
        self.loopback
    }

    /// The rule of a cloud.
    pub const fn new(cloud: Cloud, other_channels: OtherChannels, loopback: Loopback) -> Self {
        Self {
            cloud,
            other_channels,
            loopback,
            extra_hosts: Vec::new(),
        }
    }

    /// Trusts one more host, exactly, over https at the default port. Under [`Loopback::Only`] it changes
    /// nothing.
    ///
    /// # Errors
    /// When it is no full host name (an address, a single label, a pattern).
    pub fn with_host(mut self, host: &str) -> Result<Self, InvalidHost> {
        let full_name = is_host_name(host) && host.contains('.');
        // The last label of a name is never a number: a resolver would take such a host for an address.
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

    /// Takes a service URL when this rule trusts it.
    ///
    /// A host with a trailing dot is refused although it names the same machine: no channel writes it,
    /// certificates and connection pools know the name without it, and one spelling for each host keeps
    /// comparisons simple.
    ///
    /// # Errors
    /// With the first thing that is wrong. Nothing may be sent to the URL; asking again will not help.
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
    // The colons inside the brackets of an IPv6 address are no port's.
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

/// The three spellings of this machine that are known.
fn is_loopback(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]") || host.eq_ignore_ascii_case("localhost")
}

/// Labels of letters, digits and inner hyphens, joined by single dots. None is in punycode: no channel has such a
/// name, and there are some that a client does not take for a name at all.
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

/// Whether the host is the domain itself or under it, compared at the boundary of labels.
fn is_within(host: &str, domain: &str) -> bool {
    let Some(boundary) = host.len().checked_sub(domain.len()) else {
        return false;
    };
    host.get(boundary..)
        .is_some_and(|end| end.eq_ignore_ascii_case(domain))
        && (boundary == 0 || host.as_bytes().get(boundary - 1) == Some(&b'.'))
}

/// Nothing, or segments each after a slash, with at most one slash at the end.
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
