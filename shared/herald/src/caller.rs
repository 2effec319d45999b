//! Callers of the notification API: which of their names are one caller, and whose notifications a caller may change.

/// The caller without the session of an assumed role, whose name changes with each start of a program.
pub fn principal(caller: &str) -> &str {
    match caller
        .split_once(":assumed-role/")
        .and_then(|(_, role)| role.rsplit_once('/'))
    {
        Some((_, session)) => &caller[..caller.len() - session.len() - 1],
        None => caller,
    }
}

/// The callers that may change the notifications of other callers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators(Vec<Operator>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    /// Each caller is an operator.
    Everyone,
    /// A caller, as the API shows it, without the session of a role.
    Principal(String),
    /// The subject of a token. The API takes the tokens of one issuer.
    Subject(String),
}

impl Operators {
    /// Operators by name: an ARN of IAM or STS, the subject of a token, a caller as the API shows it, or `*` for every caller.
    pub fn named(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(Operator::named).collect())
    }

    /// Whether `caller` may change a notification that `owner` asked for: its own, or any if it is an operator.
    pub fn may_change(&self, caller: &str, owner: &str) -> bool {
        principal(caller) == principal(owner) || self.include(caller)
    }

    /// Whether `caller` is an operator.
    pub fn include(&self, caller: &str) -> bool {
        let caller = principal(caller);
        self.0.iter().any(|operator| operator.is(caller))
    }
}

impl Operator {
    fn named(name: String) -> Self {
        if name == "*" {
            return Self::Everyone;
        }
        if let Some(arn) = name.strip_prefix("iam:").or(Some(&*name))
            && arn.starts_with("arn:")
        {
            return Self::Principal(format!("iam:{}", principal(&assumed_role(arn))));
        }
        if name.starts_with("jwt:") || name == ANONYMOUS {
            return Self::Principal(name);
        }
        Self::Subject(name)
    }

    fn is(&self, caller: &str) -> bool {
        match self {
            Self::Everyone => true,
            Self::Principal(principal) => principal == caller,
            Self::Subject(subject) => {
                let token = caller.strip_prefix("jwt:");
                token
                    .and_then(|token| token.split_once(' '))
                    .is_some_and(|(_, of_token)| of_token == subject)
            }
        }
    }
}

/// The caller of an API without an authorizer.
pub const ANONYMOUS: &str = "nobody";

/// The ARN that callers with a role have: `arn:aws:iam::1:role/path/ops` calls as `arn:aws:sts::1:assumed-role/ops`. Other ARNs
/// are returned unchanged.
fn assumed_role(arn: &str) -> String {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (_, partition, service, _, account, resource) = (next(), next(), next(), next(), next(), next());
    match resource.strip_prefix("role/") {
        Some(role) if service == "iam" => {
            let name = role.rsplit('/').next().unwrap_or_default();
            format!("arn:{partition}:sts::{account}:assumed-role/{name}")
        }
        Some(_) | None => arn.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_the_same_caller_in_every_session() {
        let role = "iam:arn:aws:sts::123456789012:assumed-role/builds";
        assert_eq!(principal(&format!("{role}/one")), role);
        assert_eq!(principal(&format!("{role}/another@example")), role);
        for whole in [
            role,
            "iam:arn:aws:iam::123456789012:user/invented",
            "jwt:https://issuer.example/ app-1",
            "nobody",
        ] {
            assert_eq!(principal(whole), whole);
        }
    }

    const BUILDS: &str = "iam:arn:aws:sts::1:assumed-role/builds/one";
    const OPS: &str = "iam:arn:aws:sts::1:assumed-role/ops/two";

    fn operators(names: &[&str]) -> Operators {
        Operators::named(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn without_operators_a_caller_changes_its_own_notifications_only() {
        let none = Operators::default();
        assert!(none.may_change(BUILDS, "iam:arn:aws:sts::1:assumed-role/builds/another"));
        assert!(none.may_change("nobody", "nobody"));
        for (caller, owner) in [
            (OPS, BUILDS),
            ("iam:arn:aws:sts::2:assumed-role/builds/one", BUILDS),
            ("jwt:https://issuer.example a", "jwt:https://issuer.example b"),
            ("nobody", BUILDS),
        ] {
            assert!(!none.may_change(caller, owner), "{caller} {owner}");
        }
    }

    #[test]
    fn an_operator_is_named_by_any_of_its_names() {
        for name in [
            "arn:aws:iam::1:role/ops",
            "arn:aws:iam::1:role/a/path/ops",
            "arn:aws:sts::1:assumed-role/ops",
            "arn:aws:sts::1:assumed-role/ops/another",
            "iam:arn:aws:sts::1:assumed-role/ops/two",
            "*",
        ] {
            assert!(operators(&["app-9", name]).may_change(OPS, BUILDS), "{name}");
        }
        for name in ["app-1", "jwt:https://issuer.example app-1"] {
            assert!(operators(&[name]).may_change("jwt:https://issuer.example app-1", BUILDS));
            assert!(!operators(&[name]).may_change("jwt:https://issuer.example app-11", BUILDS));
            assert!(!operators(&[name]).may_change(OPS, BUILDS), "{name}");
        }
        assert!(
            !operators(&["arn:aws:iam::1:role/op", "arn:aws:iam::2:role/ops", "ops"]).may_change(OPS, BUILDS)
        );
    }
}
