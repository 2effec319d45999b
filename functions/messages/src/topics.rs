//! The topics that people may join by talking to the bot: the deployment's `Topics` (`HERALD_TOPICS`).

use std::sync::Arc;

use herald::config::{self, Environment};
use herald::conversation::normalize_tag;

/// The tags that people may add to their conversation and remove from it. All others are for the API and the bot's own code: what
/// an operator sends to the tag `executives` must not reach a person who asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics(Arc<[String]>);

impl Topics {
    /// Topics with these names. A name that is no tag is left out.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut topics: Vec<String> = names.into_iter().filter_map(normalize_tag).collect();
        topics.sort();
        topics.dedup();
        Self(topics.into())
    }

    /// The topics of the deployment.
    ///
    /// # Errors
    /// When a name is no tag.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let names = environment.topics()?;
        Ok(Self::new(names.iter().map(String::as_str)))
    }

    /// Their names, sorted.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The topic that a person means.
    pub fn named(&self, said: &str) -> Option<&str> {
        let said = normalize_tag(said)?;
        let mut all = self.0.iter();
        all.find(|topic| **topic == said).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_means_a_topic_in_any_form_and_no_other_tag() {
        let topics = Topics::new(["Release  Notes", "builds", "builds", "\n"]);
        assert_eq!(topics.names(), ["builds", "release notes"]);
        assert_eq!(topics.named(" BUILDS"), Some("builds"));
        assert_eq!(topics.named("release notes"), Some("release notes"));
        for other in ["executives", "", "build", "\n"] {
            assert_eq!(topics.named(other), None);
        }
    }

    #[test]
    fn the_deployment_names_its_topics() {
        let with = |value: &'static str| {
            let read = move |name: &str| (name == "HERALD_TOPICS").then(|| value.to_owned());
            Topics::from_environment(&Environment::from_fn(read))
        };
        assert_eq!(with("b, A").unwrap().names(), ["a", "b"]);
        assert_eq!(with("").unwrap().names(), Vec::<String>::new());
        assert!(with("a,b\tc").is_err());
    }
}
