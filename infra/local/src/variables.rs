//! The variables that a developer may set for the functions: by name, so that a misspelt one is refused instead of ignored.

use crate::template::{Template, VariableSource};

/// Variables for development. No template sets them, because functions refuse them in AWS.
const DEVELOPMENT: [&str; 6] = [
    "HERALD_EMULATOR",
    "HERALD_GRAPH_URL",
    "HERALD_LOOPBACK_SERVICE_URLS",
    "HERALD_OPENID_METADATA_URL",
    "HERALD_TOKEN_URL",
    "HERALD_UNAUTHENTICATED",
];
/// Variables of Lambda, the SDK, the HTTP client and Rust that functions hear.
const PLATFORM: [&str; 10] = [
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_STS",
    "AWS_LAMBDA_LOG_FORMAT",
    "AWS_LAMBDA_LOG_LEVEL",
    "HTTPS_PROXY",
    "NO_PROXY",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "TZ",
];
/// The prefix of Herald's own variables.
pub const PREFIX: &str = "HERALD_";
/// A name at so many edits is suggested for a misspelt one.
const SUGGESTED_EDITS: usize = 3;

/// Why a variable cannot be set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No function reads it.
    #[error("{name} is not a variable of the functions{}; a new one belongs into infra/template.yaml", did_you_mean(.suggestion.as_deref()))]
    Unknown {
        /// The name.
        name: String,
        /// A similar one.
        suggestion: Option<String>,
    },
    /// It names a resource.
    #[error("{0} names a resource of the stack: this host sets it from infra/template.yaml")]
    Resource(String),
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or(String::new(), |name| format!(", did you mean {name}?"))
}

/// Checks that a variable may be set for the functions of a template.
///
/// # Errors
/// When no function reads it, or the host sets it.
pub fn check(template: &Template, name: &str) -> Result<(), Error> {
    let of_template = template.variables();
    if DEVELOPMENT.contains(&name) || PLATFORM.contains(&name) {
        return Ok(());
    }
    match of_template.get(name) {
        Some(VariableSource::Setting) => return Ok(()),
        Some(VariableSource::Resource) => return Err(Error::Resource(name.to_owned())),
        None => {}
    }
    let settings = of_template
        .iter()
        .filter(|(_, source)| **source == VariableSource::Setting);
    let known = settings
        .map(|(name, _)| name.as_str())
        .chain(DEVELOPMENT)
        .chain(PLATFORM);
    let nearest = known.map(|known| (edits(known, name), known)).min();
    let suggestion = nearest.filter(|(edits, _)| *edits <= SUGGESTED_EDITS);
    Err(Error::Unknown {
        name: name.to_owned(),
        suggestion: suggestion.map(|(_, known)| known.to_owned()),
    })
}

/// The number of inserted, deleted and replaced letters between two names, whatever their case.
fn edits(known: &str, name: &str) -> usize {
    let name = name.to_uppercase();
    let mut row: Vec<usize> = (0..=name.chars().count()).collect();
    for (line, letter) in known.to_uppercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in name.chars().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str) -> Result<(), Error> {
        check(&Template::of_repository().unwrap(), name)
    }

    #[test]
    fn settings_of_the_template_and_of_development_may_be_set() {
        for name in [
            "HERALD_NOTIFY_TEXT",
            "HERALD_TENANT_LIMIT",
            "MicrosoftAppTenantId",
            "HERALD_GRAPH_URL",
            "AWS_LAMBDA_LOG_LEVEL",
        ] {
            assert_eq!(checked(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_misspelt_variable_is_refused_with_the_right_name() {
        for (name, right) in [
            ("HERALD_NOTIFY_TEX", "HERALD_NOTIFY_TEXT"),
            ("HERALD_NOTIFYTEXT", "HERALD_NOTIFY_TEXT"),
            ("herald_notify_text", "HERALD_NOTIFY_TEXT"),
            ("HERALD_TENANT_LIMITS", "HERALD_TENANT_LIMIT"),
            ("AWS_LAMBDA_LOGLEVEL", "AWS_LAMBDA_LOG_LEVEL"),
        ] {
            let error = checked(name).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(right), "{error}");
        }
        let error = checked("HERALD_TYPO").unwrap_err();
        assert!(
            matches!(error, Error::Unknown { suggestion: None, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_variable_that_names_a_resource_cannot_be_set() {
        for name in [
            "HERALD_CONVERSATIONS_TABLE",
            "HERALD_PLANS_QUEUE_URL",
            "HERALD_SCHEDULER_ROLE_ARN",
        ] {
            assert_eq!(checked(name), Err(Error::Resource(name.into())));
        }
    }
}
