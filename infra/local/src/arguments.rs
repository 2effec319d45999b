//! The command line and the environment.

use std::{collections::BTreeMap, env, net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use clap::Parser;
use herald_local::{
    template::Template,
    variables::{self, PREFIX},
};

/// This program's own variable.
const LISTEN: &str = "HERALD_LISTEN";

/// The template's parameters for the bot's registration, under the names of the Bot Framework SDK.
const BOT: [&str; 5] = [
    "ChannelService",
    "MicrosoftAppId",
    "MicrosoftAppType",
    "MicrosoftAppTenantId",
    "MicrosoftAppPassword",
];

/// The whole of Herald on one machine: a development host on loopback.
///
/// It runs the functions under a Lambda Runtime API, with an embedded DynamoDB, queues with SQS's semantics and the HTTP
/// API, wired from infra/template.yaml. It authenticates no client, unless the bot has an app id.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo run --", after_help = ENVIRONMENT)]
pub(crate) struct Arguments {
    /// Run the demo, then exit: 0 when it succeeded, 1 with the reason when not
    #[arg(long)]
    pub(crate) once: bool,
    /// Keep tables, queues and schedules in this directory instead of memory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// How many processes a function may have at once
    #[arg(long, value_name = "N", default_value = "4")]
    pub(crate) concurrency: NonZeroUsize,
    /// A variable for every function, for example `AWS_LAMBDA_LOG_LEVEL=DEBUG`; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) environment: Vec<(String, String)>,
    /// Write the functions' variables to this file, for cargo-lambda, the AWS CLI and SDKs
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// Address of the HTTP API
    #[arg(
        long,
        value_name = "ADDRESS",
        env = LISTEN,
        default_value = "127.0.0.1:3978"
    )]
    pub(crate) listen: SocketAddr,
}

const ENVIRONMENT: &str = "\
Environment:
  HERALD_...               a setting of the functions, as with --env, for example HERALD_NOTIFY_TEXT; an unknown one is refused
  MicrosoftAppId           the bot's app id: its endpoint then asks for tokens, and accepts those of this host's own
                           channel; with --env HERALD_OPENID_METADATA_URL= those of real channels instead
  MicrosoftAppType, MicrosoftAppTenantId, ChannelService
                           the kind of its registration, and its cloud
  MicrosoftAppPassword     its client secret, for channels that are not on this machine";

impl Arguments {
    /// The settings of the bot that are present.
    pub(crate) fn bot() -> impl Iterator<Item = (String, String)> {
        let settings = BOT
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?)));
        settings.filter(|(_, value)| !value.is_empty())
    }

    /// The variables for the functions: `HERALD_…` of this program's environment, and those of `--env`, which come last.
    ///
    /// # Errors
    /// When no function reads one of them.
    pub(crate) fn variables(
        &self,
        template: &Template,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<BTreeMap<String, String>, variables::Error> {
        let heard = environment.filter(|(name, _)| {
            let is_own = name
                .get(..PREFIX.len())
                .is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX));
            is_own && name != LISTEN
        });
        let given = self.environment.iter().cloned();
        let checked = |(name, value): (String, String)| {
            variables::check(template, &name)?;
            Ok((name, value))
        };
        heard.chain(given).map(checked).collect()
    }
}

fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["herald-local"].iter().chain(words))
    }

    #[test]
    fn every_option_is_read() {
        let arguments = parsed(&["--once", "--data", "d", "--concurrency", "2", "--env", "A=b=c"]).unwrap();
        assert!(arguments.once);
        assert_eq!(arguments.data, Some("d".into()));
        assert_eq!(arguments.concurrency.get(), 2);
        assert_eq!(arguments.environment, [("A".to_owned(), "b=c".to_owned())]);
    }

    #[test]
    fn a_wrong_option_is_named() {
        for (words, what) in [
            (&["--twice"][..], "--twice"),
            (&["--data"], "--data"),
            (&["--concurrency", "0"], "--concurrency"),
            (&["--env", "A"], "--env"),
        ] {
            assert!(parsed(words).unwrap_err().to_string().contains(what), "{words:?}");
        }
    }

    #[test]
    fn variables_of_the_environment_are_heard_and_those_of_an_option_come_last() {
        let template = Template::of_repository().unwrap();
        let heard = |words: &[&str], environment: &[(&str, &str)]| {
            let environment = environment
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()));
            parsed(words).unwrap().variables(&template, environment)
        };
        let environment = [
            ("HERALD_NOTIFY_TEXT", "hi"),
            ("HERALD_LISTEN", "x"),
            ("PATH", "/bin"),
        ];
        let set = heard(&[], &environment).unwrap();
        assert_eq!(set, BTreeMap::from([("HERALD_NOTIFY_TEXT".into(), "hi".into())]));
        let set = heard(&["--env", "HERALD_NOTIFY_TEXT=ho"], &environment).unwrap();
        assert_eq!(set["HERALD_NOTIFY_TEXT"], "ho");
        for (words, environment) in [
            (&["--env", "HERALD_TYPO=1"][..], &[][..]),
            (&["--env", "TYPO=1"], &[]),
            (&[], &[("HERALD_TYPO", "1")]),
            (&[], &[("herald_notify_text", "1")]),
            (&[], &[("HERALD_PLANS_QUEUE_URL", "http://127.0.0.1:1/q")]),
        ] {
            heard(words, environment).unwrap_err();
        }
    }
}
