//! Address and sign-in: from flags, from the environment, from a profile, or those of the local host.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use crate::api::Api;
use crate::error::Error;
use crate::sign_in::SignIn;

/// Where `cargo run` serves the API.
const LOCAL: &str = "http://127.0.0.1:3978";

/// Flags count more than the environment, and both more than the profile.
#[derive(Debug, Args)]
pub(crate) struct ConnectionOptions {
    /// Address of the API: the stack's output `ApiUrl` [default: that of `cargo run` on this machine]
    #[arg(
        long,
        global = true,
        env = "HERALD_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    url: Option<String>,
    /// Take address and sign-in from this entry of ~/.config/herald/profiles.json
    #[arg(long, global = true, env = "HERALD_PROFILE", value_name = "NAME")]
    profile: Option<String>,
    /// A command that prints a bearer token, for an API with a JWT authorizer; without it requests are signed with credentials of AWS
    #[arg(
        long,
        global = true,
        env = "HERALD_TOKEN_COMMAND",
        value_name = "COMMAND",
        hide_env_values = true
    )]
    token_command: Option<String>,
    /// Region of the API, if its address does not name it
    #[arg(long, global = true, env = "AWS_REGION", value_name = "REGION")]
    region: Option<String>,
    /// Profile of the AWS CLI that signs requests
    #[arg(long, global = true, env = "AWS_PROFILE", value_name = "NAME")]
    aws_profile: Option<String>,
}

/// An entry of the file of profiles.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    url: Option<String>,
    token_command: Option<String>,
    region: Option<String>,
    #[serde(rename = "awsProfile")]
    aws: Option<String>,
}

impl ConnectionOptions {
    /// Opens no connection yet.
    pub(crate) fn open(&self) -> Result<Api, Error> {
        let profile = match &self.profile {
            Some(name) => Profile::named(name)?,
            None => Profile::default(),
        };
        let either = |flag: &Option<String>, stored: Option<String>| flag.clone().or(stored);
        let url = either(&self.url, profile.url).unwrap_or_else(|| LOCAL.to_owned());
        let sign_in = SignIn::of(
            &url,
            either(&self.token_command, profile.token_command),
            either(&self.region, profile.region),
            either(&self.aws_profile, profile.aws),
        )?;
        Api::new(&url, sign_in)
    }
}

impl Profile {
    fn named(name: &str) -> Result<Self, Error> {
        let path = profiles_path()?;
        let text = std::fs::read(&path).map_err(|error| Error::file(&path, error))?;
        let mut profiles: BTreeMap<String, Self> =
            serde_json::from_slice(&text).map_err(|error| Error::Local {
                what: format!("{}: is not a file of profiles", path.display()),
                source: Some(error.into()),
            })?;
        profiles
            .remove(name)
            .ok_or_else(|| Error::local(format!("{}: has no profile `{name}`", path.display())))
    }
}

fn profiles_path() -> Result<PathBuf, Error> {
    let directory = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let directory = directory.or_else(home);
    let directory =
        directory.ok_or_else(|| Error::local("neither XDG_CONFIG_HOME nor HOME says where profiles are"))?;
    Ok(directory.join("herald/profiles.json"))
}
