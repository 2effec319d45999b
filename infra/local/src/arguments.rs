//! What the command line and the environment ask for.

use std::{collections::BTreeMap, env, net::SocketAddr, path::PathBuf};

use anyhow::{Context, bail};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
The whole of Herald on one machine: the four functions under a Lambda Runtime API, an embedded DynamoDB, queues with
SQS's semantics and the HTTP API, wired from infra/template.yaml. A development host, on loopback only. It authenticates
nobody, until the bot has an app id.

Usage: cargo run [--] [OPTIONS]

  --once               show the main job, then exit: 0 when it was done, 1 with the reason when not
  --data DIR           keep the tables in DIR (queues and schedules are never kept); in memory without it
  --concurrency N      processes a function may have at once (4)
  --env NAME=VALUE     a variable for every function, for example AWS_LAMBDA_LOG_LEVEL=DEBUG; may be repeated
  --env-file FILE      write the functions' variables to FILE, for `cargo lambda watch --env-file FILE`
  --help               this text

  HERALD_LISTEN        address of the HTTP API (127.0.0.1:3978)
  MicrosoftAppId       the bot's app id: its endpoint then asks for tokens, and takes those of this host's own channel.
                       With --env HERALD_OPENID_METADATA_URL= it takes those of real channels instead.
  MicrosoftAppType, MicrosoftAppTenantId
                       how it is registered
  MicrosoftAppPassword
                       its client secret, for channels that are not on this machine. Those on it never see its token.
";

/// The bot's settings, by the names that bot developers know; parameters of the template.
const BOT: [&str; 4] = [
    "MicrosoftAppId",
    "MicrosoftAppType",
    "MicrosoftAppTenantId",
    "MicrosoftAppPassword",
];

/// The options, read.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) help: bool,
    pub(crate) once: bool,
    pub(crate) data: Option<PathBuf>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) env_file: Option<PathBuf>,
    pub(crate) listen: SocketAddr,
    /// Those of the bot's settings that are set.
    pub(crate) bot: BTreeMap<String, String>,
}

impl Arguments {
    pub(crate) fn from_env() -> anyhow::Result<Arguments> {
        let listen = env::var("HERALD_LISTEN").unwrap_or_else(|_| "127.0.0.1:3978".into());
        let listen = listen
            .parse()
            .with_context(|| format!("HERALD_LISTEN is {listen:?}, not an address like 127.0.0.1:3978"))?;
        let bot = BOT
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?)));
        let bot = bot.filter(|(_, value)| !value.is_empty()).collect();
        Ok(Arguments {
            bot,
            ..Arguments::parse(env::args().skip(1), listen)?
        })
    }

    /// The bot's app id, with which it asks for tokens.
    pub(crate) fn app_id(&self) -> Option<&str> {
        self.bot.get("MicrosoftAppId").map(String::as_str)
    }

    fn parse(mut words: impl Iterator<Item = String>, listen: SocketAddr) -> anyhow::Result<Arguments> {
        let mut arguments = Arguments {
            help: false,
            once: false,
            data: None,
            concurrency: None,
            environment: BTreeMap::new(),
            env_file: None,
            listen,
            bot: BTreeMap::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} wants a value; see --help"))
            };
            match word.as_str() {
                "--help" | "-h" => arguments.help = true,
                "--once" => arguments.once = true,
                "--data" => arguments.data = Some(value()?.into()),
                "--env-file" => arguments.env_file = Some(value()?.into()),
                "--concurrency" => {
                    let number = value()?.parse().ok().filter(|number| *number > 0);
                    arguments.concurrency = Some(number.context("--concurrency wants a number above 0")?);
                }
                "--env" => {
                    let assignment = value()?;
                    let (name, value) = assignment.split_once('=').context("--env wants NAME=VALUE")?;
                    arguments.environment.insert(name.to_owned(), value.to_owned());
                }
                other => bail!("there is no option {other}; see --help"),
            }
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> anyhow::Result<Arguments> {
        Arguments::parse(
            words.iter().map(|word| (*word).to_owned()),
            "127.0.0.1:3978".parse()?,
        )
    }

    #[test]
    fn every_option_is_read() {
        let arguments = parsed(&["--once", "--data", "d", "--concurrency", "2", "--env", "A=b=c"]).unwrap();
        assert!(arguments.once && !arguments.help);
        assert_eq!(arguments.data, Some("d".into()));
        assert_eq!(arguments.concurrency, Some(2));
        assert_eq!(arguments.environment["A"], "b=c");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, what) in [
            (&["--twice"][..], "--twice"),
            (&["--data"], "--data"),
            (&["--concurrency", "0"], "--concurrency"),
            (&["--env", "A"], "--env"),
        ] {
            assert!(parsed(words).unwrap_err().to_string().contains(what), "{words:?}");
        }
    }
}
