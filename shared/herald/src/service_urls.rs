//! Fall-back between service URLs: the channel says that another region or cloud serves a tenant, not which.

use std::borrow::Cow;

use botframework::cloud::GCC_SERVICE_URL;
use botframework::connector::{self, Reason};
use botframework::service_url::TrustRule;

use crate::retry::{Action, action_for};

/// The service URL to use, and those to try when it is the wrong one.
///
/// The order is: the newest one that was observed, the others that were observed, the cloud's own, GCC's. Each is tried once.
/// All but the first must be trusted; the first is left to the Connector to refuse, so that a record that was tampered with
/// is noticed.
#[derive(Clone, Debug)]
pub struct ServiceUrls<'a> {
    trust: &'a TrustRule,
    observed: Cow<'a, [String]>,
    current: Cow<'a, str>,
    /// Those that are left, the next one last. Computed on the first failure: it is rare.
    rest: Option<Vec<String>>,
}

impl<'a> ServiceUrls<'a> {
    /// Begins with the first of the observed URLs, which are ordered from the newest to the oldest; without one, with the
    /// cloud's own.
    pub fn new(trust: &'a TrustRule, observed: &'a [String]) -> Self {
        let first = observed.first().map(String::as_str);
        let first = first.or(trust.cloud().endpoints().service_url);
        Self::starting_at(trust, first.unwrap_or(GCC_SERVICE_URL), observed)
    }

    /// Begins with `first`.
    pub fn starting_at(
        trust: &'a TrustRule,
        first: impl Into<Cow<'a, str>>,
        observed: impl Into<Cow<'a, [String]>>,
    ) -> Self {
        Self {
            trust,
            observed: observed.into(),
            current: first.into(),
            rest: None,
        }
    }

    /// The first trusted URL of the order, without trying any.
    pub fn first_trusted(trust: &TrustRule, observed: &[String]) -> Option<String> {
        candidates(trust, observed).next().map(str::to_owned)
    }

    /// Observed URLs that became known after the first failure.
    pub fn set_observed(&mut self, observed: Vec<String>) {
        self.observed = Cow::Owned(observed);
    }

    /// The URL to use.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Uses this one, which the channel named.
    pub fn set_current(&mut self, url: String) {
        self.current = Cow::Owned(url);
    }

    /// Moves on to the next URL, if the failure says that the current one is wrong and there is another.
    pub fn next_after(&mut self, error: &connector::Error) -> bool {
        if action_for(error.reason()) != Action::TryOtherUrl {
            return false;
        }
        let mut rest = self.rest.take().unwrap_or_else(|| self.others());
        if error.reason() == Reason::WrongCloud {
            // The tenant is in GCC, and nowhere else.
            rest.retain(|url| url == GCC_SERVICE_URL);
        }
        let next = rest.pop();
        self.rest = Some(rest);
        match next {
            Some(url) => self.current = Cow::Owned(url),
            None => return false,
        }
        true
    }

    fn others(&self) -> Vec<String> {
        let mut others: Vec<String> = Vec::new();
        for url in candidates(self.trust, &self.observed) {
            if url != self.current && others.iter().all(|known| known != url) {
                others.push(url.to_owned());
            }
        }
        others.reverse();
        others
    }
}

/// All trusted URLs in their order; some may come twice.
fn candidates<'c>(trust: &'c TrustRule, observed: &'c [String]) -> impl Iterator<Item = &'c str> {
    let observed = observed.iter().map(String::as_str);
    let own = trust.cloud().endpoints().service_url;
    let urls = observed.chain(own).chain([GCC_SERVICE_URL]);
    urls.filter(|url| trust.check(url).is_ok())
}
