//! The options of a host.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::{binaries, channel::TEAMS_APP, data::DataDir, host::Error, issuer::Issuer, template::Template};

/// The variable that disables authentication.
const UNAUTHENTICATED: &str = "HERALD_UNAUTHENTICATED";
/// The variable that names the metadata of a stand-in for the channels' issuer.
const OPENID_METADATA_URL: &str = "HERALD_OPENID_METADATA_URL";
/// The variables that name stand-ins for the token endpoint and for Graph.
const TOKEN_URL: &str = "HERALD_TOKEN_URL";
const GRAPH_URL: &str = "HERALD_GRAPH_URL";
/// The client secret.
const APP_PASSWORD: &str = "MicrosoftAppPassword";
/// The variables by which the bot gets tokens of the real token endpoint.
const CREDENTIALS: [&str; 3] = [APP_PASSWORD, "HERALD_CERTIFICATE", "AWS_ENDPOINT_URL_STS"];

/// The sources that are taken from the default bus: those of the ready-made routes.
const DEFAULT_BUS_SOURCES: &str =
    "aws.cloudwatch,aws.codebuild,aws.codepipeline,aws.ecs,aws.guardduty,aws.health,aws.s3,aws.securityhub";

/// The options of a host.
#[derive(Clone, Debug)]
pub struct Options {
    /// The path of the template.
    pub template: Template,
    /// The directory of the function binaries, which have the names of their packages.
    pub binaries: PathBuf,
    /// The directory of tables, queues and schedules; in memory if `None`.
    pub data: Option<DataDir>,
    /// The most processes of one function.
    pub concurrency: usize,
    /// Values of the template's parameters, by name.
    pub parameters: BTreeMap<String, String>,
    /// Variables of all functions, in addition to the template's.
    pub environment: BTreeMap<String, String>,
    /// The visibility time-out after a function failed a message. In AWS it is the queue's, which takes minutes. This is
    /// the only deliberate difference, for developers and tests.
    pub retry_visibility: Option<Duration>,
}

impl Options {
    /// The repository's own template, with functions that are built now; tables in memory, four processes for each
    /// function.
    ///
    /// # Errors
    /// When the template cannot be read, or the functions do not build.
    pub fn built() -> Result<Options, Error> {
        let template = Template::of_repository()?;
        let binaries = binaries::build(&template.function_names())?;
        Ok(Options::new(template, binaries))
    }

    /// This template with these binaries; tables in memory, four processes for each function. Functions run without
    /// authentication and trust only this machine.
    pub fn new(template: Template, binaries: PathBuf) -> Options {
        Options {
            template,
            binaries,
            data: None,
            concurrency: 4,
            // Any id will do: without authentication functions do not verify it.
            parameters: BTreeMap::from([
                (
                    "MicrosoftAppId".into(),
                    "00000000-0000-4000-8000-00000000b07a".into(),
                ),
                ("DefaultBusSources".into(), DEFAULT_BUS_SOURCES.into()),
                ("NotifyTrigger".into(), "Enabled".into()),
                ("Console".into(), "Enabled".into()),
            ]),
            environment: BTreeMap::from([(UNAUTHENTICATED.into(), "loopback-only".into())]),
            retry_visibility: None,
        }
    }

    /// Enables authentication: functions require tokens for the bot of this app id, accept those of `issuer`, and trust
    /// this machine in addition to the cloud. For real channels, remove `HERALD_OPENID_METADATA_URL` from
    /// [`Options::environment`].
    pub fn authenticate(&mut self, app_id: &str, issuer: &Issuer) {
        self.parameters.insert("MicrosoftAppId".into(), app_id.into());
        self.environment.remove(UNAUTHENTICATED);
        self.environment.extend([
            ("HERALD_LOOPBACK_SERVICE_URLS".into(), "trusted".into()),
            (OPENID_METADATA_URL.into(), issuer.metadata_url()),
        ]);
    }

    /// Lets functions install the bot through this Graph, unless they are to use another one. With authentication they get
    /// their tokens for it from `issuer`.
    pub fn install_through(&mut self, graph_url: &str, issuer: Option<&Issuer>) {
        let mut stand_ins = vec![(GRAPH_URL, graph_url.to_owned())];
        let mut settings = vec![("TeamsAppId", TEAMS_APP)];
        if let Some(issuer) = issuer {
            stand_ins.push((TOKEN_URL, issuer.token_url()));
            settings.push((APP_PASSWORD, "made-up"));
        }
        for (name, url) in stand_ins {
            self.environment.entry(name.into()).or_insert(url);
        }
        for (name, value) in settings {
            self.parameters.entry(name.into()).or_insert_with(|| value.into());
        }
    }

    /// Whether functions require tokens.
    pub fn authenticates(&self) -> bool {
        self.variable(UNAUTHENTICATED).is_none()
    }

    /// The setting by which the bot may reach, or be reached by, people who are not invented; `None` if there is none.
    pub fn real_credential(&self) -> Option<&'static str> {
        // Functions accept a stand-in for the token endpoint on this machine only: it gets the credential instead.
        let is_spent_here = self.variable(TOKEN_URL).is_some();
        let parameter =
            |name: &str| !is_spent_here && self.parameters.get(name).is_some_and(|value| !value.is_empty());
        if parameter(APP_PASSWORD) {
            return Some(APP_PASSWORD);
        }
        let named = CREDENTIALS.into_iter().find(|name| self.variable(name).is_some());
        // Without a stand-in for the issuer, functions accept the tokens of the real one.
        let real_issuer = self.authenticates() && self.variable(OPENID_METADATA_URL).is_none();
        named.or_else(|| {
            if parameter("Certificate") {
                Some("Certificate")
            } else {
                real_issuer.then_some(OPENID_METADATA_URL)
            }
        })
    }

    /// A variable of the functions, if it is set and not empty: functions take an empty one for none.
    fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name)?;
        (!value.is_empty()).then_some(value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "00000000-0000-4000-8000-00000000b07a";

    fn options() -> Options {
        let template =
            Template::parse("Resources: {News: {Type: AWS::Events::EventBus, Properties: {Name: news}}}");
        Options::new(template.unwrap(), PathBuf::new())
    }

    fn with(name: &str, value: &str) -> Options {
        let mut options = options();
        options.environment.insert(name.into(), value.into());
        options
    }

    #[test]
    fn a_host_of_its_own_issuer_has_no_real_credential() {
        assert_eq!(options().real_credential(), None);
        let mut authenticated = with(OPENID_METADATA_URL, "http://127.0.0.1:1/");
        authenticated.environment.remove(UNAUTHENTICATED);
        authenticated
            .parameters
            .insert("MicrosoftAppId".into(), APP.into());
        assert!(authenticated.authenticates());
        assert_eq!(authenticated.real_credential(), None);
    }

    #[test]
    fn every_way_to_real_people_is_a_real_credential() {
        for name in CREDENTIALS {
            assert_eq!(with(name, "x").real_credential(), Some(name));
            assert_eq!(with(name, "").real_credential(), None, "empty is none");
        }
        for name in ["MicrosoftAppPassword", "Certificate"] {
            let mut options = options();
            options.parameters.insert(name.into(), "x".into());
            assert_eq!(options.real_credential(), Some(name));
        }
        // Its stand-in gets the credential.
        let mut options = with(TOKEN_URL, "http://127.0.0.1:1/token");
        options
            .parameters
            .insert("MicrosoftAppPassword".into(), "x".into());
        assert_eq!(options.real_credential(), None);
        // The real issuer, in both ways to leave out the stand-in.
        let mut options = with(OPENID_METADATA_URL, "");
        options.environment.insert(UNAUTHENTICATED.into(), String::new());
        assert_eq!(options.real_credential(), Some(OPENID_METADATA_URL));
        options.environment.clear();
        assert_eq!(options.real_credential(), Some(OPENID_METADATA_URL));
    }

    #[tokio::test]
    async fn the_stand_ins_of_this_host_are_no_real_credential() {
        let graph = "http://127.0.0.1:1/graph";
        let mut unauthenticated = options();
        unauthenticated.install_through(graph, None);
        assert_eq!(unauthenticated.real_credential(), None);
        assert_eq!(unauthenticated.environment[GRAPH_URL], graph);
        assert_eq!(unauthenticated.parameters["TeamsAppId"], TEAMS_APP);

        let issuer = Issuer::open("msteams").await.unwrap();
        let mut authenticated = options();
        authenticated.authenticate(APP, &issuer);
        authenticated.install_through(graph, Some(&issuer));
        assert!(authenticated.authenticates());
        assert_eq!(authenticated.real_credential(), None);
        assert_eq!(authenticated.environment[TOKEN_URL], issuer.token_url());
    }
}
