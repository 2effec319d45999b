//! Rate limits, the default send mode and way out, the TTL of cached rosters, and the largest audience without a confirmation.

use jiff::SignedDuration;

use super::{Environment, Error, variable};
use crate::notification::SendMode;
use crate::notification::way_out::WayOutForm;
use crate::rate_limit::{Limit, Limits};

/// The default of `HERALD_CONFIRM_ABOVE`.
pub const CONFIRM_ABOVE: u64 = 10_000;

/// The default TTL of cached rosters. Teams sends events about most changes, which invalidate the cache.
pub const DEFAULT_ROSTER_TTL: SignedDuration = SignedDuration::from_hours(1);

/// The longest TTL of cached rosters, in seconds: a week.
const ROSTER_SECONDS_MAX: u32 = 7 * 24 * 3600;

impl Environment<'_> {
    /// The channel's rate limits: those of Teams, unless variables set others.
    ///
    /// # Errors
    /// Names the variable that is wrong.
    pub fn limits(&self) -> Result<Limits, Error> {
        let documented = Limits::teams();
        let one = |name, documented| match self.optional(name) {
            Some(text) => limit(name, &text),
            None => Ok(documented),
        };
        let tenant = one(variable::TENANT_LIMIT, documented.tenant)?;
        let graph = one(variable::GRAPH_LIMIT, documented.graph)?;
        let conversation = self
            .list(variable::CONVERSATION_LIMITS)?
            .iter()
            .map(|text| limit(variable::CONVERSATION_LIMITS, text))
            .collect::<Result<Vec<_>, _>>()?;
        let conversation = if conversation.is_empty() {
            documented.conversation
        } else {
            conversation
        };
        let batch = match self.optional(variable::BATCH_SIZE) {
            Some(text) => batch_size(&text)?,
            None => documented.batch,
        };
        Ok(Limits {
            tenant,
            conversation,
            graph,
            batch,
        })
    }

    /// The send mode of requests that name none.
    ///
    /// # Errors
    /// When it is set to another word.
    pub fn send_mode(&self) -> Result<SendMode, Error> {
        match self.optional(variable::SEND_MODE).as_deref().map(str::trim) {
            None | Some("individual") => Ok(SendMode::Individual),
            Some("batch") => Ok(SendMode::Batch),
            Some(_) => Err(Error::wrong(
                variable::SEND_MODE,
                "must be `individual` or `batch`",
            )),
        }
    }

    /// The way out that notifications to many have.
    ///
    /// # Errors
    /// When it is another word.
    pub fn way_out(&self) -> Result<WayOutForm, Error> {
        match self.optional(variable::WAY_OUT).as_deref().map(str::trim) {
            None | Some("none") => Ok(WayOutForm::None),
            Some("line") => Ok(WayOutForm::Line),
            Some("button") => Ok(WayOutForm::Button),
            Some(_) => Err(Error::wrong(
                variable::WAY_OUT,
                "must be `none`, `line` or `button`",
            )),
        }
    }

    /// The TTL of cached rosters.
    ///
    /// # Errors
    /// When it is not a number of seconds up to a week.
    pub fn roster_ttl(&self) -> Result<SignedDuration, Error> {
        let Some(text) = self.optional(variable::ROSTER_SECONDS) else {
            return Ok(DEFAULT_ROSTER_TTL);
        };
        let seconds = text.trim().parse::<u32>().ok();
        let seconds = seconds.filter(|seconds| *seconds <= ROSTER_SECONDS_MAX);
        let wrong = || {
            Error::wrong(
                variable::ROSTER_SECONDS,
                "must be a number of seconds from 0 to 604800",
            )
        };
        Ok(SignedDuration::from_secs(i64::from(seconds.ok_or_else(wrong)?)))
    }

    /// The largest audience that is sent to without a confirmation.
    ///
    /// # Errors
    /// When it is not a number.
    pub fn confirm_above(&self) -> Result<u64, Error> {
        let Some(text) = self.optional(variable::CONFIRM_ABOVE) else {
            return Ok(CONFIRM_ABOVE);
        };
        text.trim()
            .parse()
            .map_err(|_| Error::wrong(variable::CONFIRM_ABOVE, "must be a whole number like 10000"))
    }
}

fn limit(name: &'static str, text: &str) -> Result<Limit, Error> {
    text.parse()
        .map_err(|error| Error::wrong(name, format!("{error}")))
}

fn batch_size(text: &str) -> Result<usize, Error> {
    let size = text.trim().parse().ok().filter(|size| *size > 0);
    size.ok_or_else(|| Error::wrong(variable::BATCH_SIZE, "must be a whole number like 100"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::environment;
    use super::*;

    #[test]
    fn the_limits_are_those_of_teams_unless_others_are_named() {
        assert_eq!(environment(&[]).limits().unwrap(), Limits::teams());
        let documented = [
            ("HERALD_TENANT_LIMIT", "45/1s"),
            ("HERALD_CONVERSATION_LIMITS", "7/1s,8/2s,60/30s,1800/3600s"),
            ("HERALD_GRAPH_LIMIT", "27/1s"),
        ];
        assert_eq!(environment(&documented).limits().unwrap(), Limits::teams());
        let own = [("HERALD_CONVERSATION_LIMITS", "1/1s, 10/60s")];
        let limits = environment(&own).limits().unwrap();
        assert_eq!(limits.tenant, Limits::teams().tenant);
        assert_eq!(limits.conversation.len(), 2);
    }

    #[test]
    fn a_limit_that_is_none_is_an_error_that_names_the_variable() {
        for (name, text) in [
            ("HERALD_TENANT_LIMIT", "45"),
            ("HERALD_TENANT_LIMIT", "0/1s"),
            ("HERALD_GRAPH_LIMIT", "many"),
            ("HERALD_CONVERSATION_LIMITS", "7/1s,8"),
            ("HERALD_CONVERSATION_LIMITS", ","),
        ] {
            let pairs = [(name, text)];
            let error = environment(&pairs).limits().unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }

    #[test]
    fn a_batch_names_a_hundred_people_unless_another_number_is_set() {
        assert_eq!(environment(&[]).limits().unwrap().batch, 100);
        let batch = |size| {
            let pairs = [("HERALD_BATCH_SIZE", size)];
            environment(&pairs).limits().map(|limits| limits.batch)
        };
        assert_eq!(batch("5").unwrap(), 5);
        for size in ["0", "-1", "many"] {
            assert!(
                batch(size)
                    .unwrap_err()
                    .to_string()
                    .starts_with("HERALD_BATCH_SIZE")
            );
        }
    }

    #[test]
    fn a_roster_is_believed_for_an_hour_unless_another_time_is_set() {
        assert_eq!(environment(&[]).roster_ttl().unwrap(), DEFAULT_ROSTER_TTL);
        for (text, seconds) in [
            ("0", Some(0)),
            ("90", Some(90)),
            ("604801", None),
            ("1h", None),
            ("-1", None),
        ] {
            let pairs = [("HERALD_ROSTER_CACHE_SECONDS", text)];
            let kept = environment(&pairs).roster_ttl().ok();
            assert_eq!(kept, seconds.map(SignedDuration::from_secs), "{text}");
        }
    }

    #[test]
    fn the_transport_is_the_ordinary_one_unless_the_other_is_set() {
        let send_mode = |name| {
            let pairs = [("HERALD_SEND_MODE", name)];
            environment(&pairs).send_mode()
        };
        assert_eq!(send_mode("").unwrap(), SendMode::Individual);
        assert_eq!(send_mode("individual").unwrap(), SendMode::Individual);
        assert_eq!(send_mode("batch").unwrap(), SendMode::Batch);
        assert!(send_mode("both").is_err());
    }

    #[test]
    fn ten_thousand_are_told_without_a_confirmation_unless_another_number_is_set() {
        assert_eq!(environment(&[]).confirm_above().unwrap(), 10_000);
        let pairs = [("HERALD_CONFIRM_ABOVE", "50")];
        assert_eq!(environment(&pairs).confirm_above().unwrap(), 50);
        let pairs = [("HERALD_CONFIRM_ABOVE", "many")];
        assert!(environment(&pairs).confirm_above().is_err());
    }
}
