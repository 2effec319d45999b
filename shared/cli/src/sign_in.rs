//! Bearer tokens and AWS signatures.

use std::process::Stdio;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Uri};
use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::error::Error;

/// How requests say who asks.
#[derive(Debug)]
pub(crate) enum SignIn {
    /// Not at all: the local host.
    None,
    /// With a bearer token.
    Token {
        command: String,
        token: OnceCell<HeaderValue>,
    },
    /// With a signature of AWS, as the API's IAM authorizer asks for.
    Aws {
        region: String,
        profile: Option<String>,
        credentials: OnceCell<Credentials>,
    },
}

/// What `aws configure export-credentials` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exported {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl SignIn {
    /// The sign-in for an address.
    pub(crate) fn of(
        url: &str,
        token_command: Option<String>,
        region: Option<String>,
        aws_profile: Option<String>,
    ) -> Result<Self, Error> {
        let address: Uri = url
            .parse()
            .map_err(|_| Error::Usage(format!("`{url}` is not an address such as {EXAMPLE}")))?;
        let (Some(host), Some("http" | "https")) = (address.host(), address.scheme_str()) else {
            return Err(Error::Usage(format!(
                "`{url}` is not an address such as {EXAMPLE}"
            )));
        };
        let is_local = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
        if address.scheme_str() == Some("http") && !is_local {
            let detail = "a token or a signature is sent to `https` addresses only";
            return Err(Error::Usage(format!("`{url}`: {detail}")));
        }
        if let Some(command) = token_command {
            return Ok(Self::Token {
                command,
                token: OnceCell::new(),
            });
        }
        if is_local {
            return Ok(Self::None);
        }
        // ID.execute-api.REGION.amazonaws.com
        let named = host
            .split_once(".execute-api.")
            .and_then(|(_, rest)| rest.split_once('.'))
            .map(|(region, _)| region.to_owned());
        let region = named.or(region).ok_or_else(|| {
            Error::Usage(format!(
                "`{host}` names no region of AWS: name it by --region, or a --token-command"
            ))
        })?;
        Ok(Self::Aws {
            region,
            profile: aws_profile,
            credentials: OnceCell::new(),
        })
    }

    /// Adds the token or the signature to a request, whose headers are complete.
    pub(crate) async fn sign(&self, request: &mut Request<Bytes>) -> Result<(), Error> {
        match self {
            Self::None => Ok(()),
            Self::Token { command, token } => {
                let token = token.get_or_try_init(|| token_of(command)).await?;
                request.headers_mut().insert(AUTHORIZATION, token.clone());
                Ok(())
            }
            Self::Aws {
                region,
                profile,
                credentials,
            } => {
                let credentials = credentials
                    .get_or_try_init(|| credentials_of(profile.as_deref()))
                    .await?;
                #[allow(
                    clippy::disallowed_methods,
                    reason = "AWS compares the signature's time with its own"
                )]
                let now = SystemTime::now();
                signed(request, region, credentials, now)
            }
        }
    }
}

const EXAMPLE: &str = "https://ID.execute-api.REGION.amazonaws.com";

/// The output of a command, which the shell runs.
async fn output(command: &mut Command, what: &str) -> Result<String, Error> {
    let done = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await;
    let done = done.map_err(|error| Error::Local {
        what: format!("{what}: cannot be run"),
        source: Some(error.into()),
    })?;
    if !done.status.success() {
        return Err(Error::local(format!("{what}: {}", done.status)));
    }
    String::from_utf8(done.stdout).map_err(|_| Error::local(format!("{what}: printed no text")))
}

async fn token_of(command: &str) -> Result<HeaderValue, Error> {
    const WHAT: &str = "the command for a token";
    let printed = output(Command::new("sh").arg("-c").arg(command), WHAT).await?;
    let token = printed.trim();
    let header = HeaderValue::try_from(format!("Bearer {token}"));
    let mut header = header
        .ok()
        .filter(|_| !token.is_empty() && !token.contains(char::is_whitespace))
        .ok_or_else(|| Error::local(format!("{WHAT}: printed no token")))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Those of the environment, or those that the AWS CLI finds: profiles, SSO, roles, instances.
async fn credentials_of(profile: Option<&str>) -> Result<Credentials, Error> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (None, Some(id), Some(secret)) = (
        profile,
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    ) {
        let session = variable("AWS_SESSION_TOKEN");
        return Ok(Credentials::new(id, secret, session, None, "environment"));
    }
    let mut command = Command::new("aws");
    command.args(["configure", "export-credentials", "--format", "process"]);
    if let Some(profile) = profile {
        command.args(["--profile", profile]);
    }
    let printed = output(&mut command, "`aws configure export-credentials`").await?;
    let exported: Exported = serde_json::from_str(&printed)
        .map_err(|_| Error::local("`aws configure export-credentials`: printed no credentials"))?;
    Ok(Credentials::new(
        exported.access_key_id,
        exported.secret_access_key,
        exported.session_token,
        None,
        "aws",
    ))
}

fn signed(
    request: &mut Request<Bytes>,
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Local {
        what: "the request cannot be signed".to_owned(),
        source: Some(source),
    };
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("execute-api")
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(error.into()))?
        .into();
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let uri = request.uri().to_string();
    let body = SignableBody::Bytes(request.body());
    let signable = SignableRequest::new(request.method().as_str(), &uri, headers, body)
        .map_err(|error| failed(error.into()))?;
    let (instructions, _) = sign(signable, &parameters)
        .map_err(|error| failed(error.into()))?
        .into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(url: &str, token: Option<&str>, region: Option<&str>) -> Result<SignIn, Error> {
        SignIn::of(url, token.map(str::to_owned), region.map(str::to_owned), None)
    }

    #[test]
    fn the_address_decides_how_to_sign_in() {
        assert!(matches!(
            of("http://127.0.0.1:3978", None, None),
            Ok(SignIn::None)
        ));
        let aws = of(
            "https://abc.execute-api.eu-central-1.amazonaws.com",
            None,
            Some("us-east-1"),
        );
        assert!(matches!(aws, Ok(SignIn::Aws { region, .. }) if region == "eu-central-1"));
        let own_domain = of("https://herald.example", None, Some("us-east-1"));
        assert!(matches!(own_domain, Ok(SignIn::Aws { region, .. }) if region == "us-east-1"));
        assert!(matches!(
            of("https://herald.example", Some("token"), None),
            Ok(SignIn::Token { .. })
        ));
        for (url, token) in [
            ("https://herald.example", None),
            ("http://herald.example", Some("token")),
            ("herald.example", Some("token")),
            ("ftp://127.0.0.1", None),
        ] {
            assert!(matches!(of(url, token, None), Err(Error::Usage(_))), "{url}");
        }
    }

    #[test]
    fn a_signature_covers_host_body_and_session() {
        let signature = |body: &'static str| {
            let mut request =
                Request::post("https://abc.execute-api.eu-central-1.amazonaws.com/api/notifications")
                    .header("host", "abc.execute-api.eu-central-1.amazonaws.com")
                    .body(Bytes::from_static(body.as_bytes()))
                    .unwrap();
            let credentials = Credentials::new("AKID", "secret", Some("session".into()), None, "test");
            let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
            signed(&mut request, "eu-central-1", &credentials, now).unwrap();
            assert_eq!(request.headers()["x-amz-security-token"], "session");
            request.headers()[AUTHORIZATION].to_str().unwrap().to_owned()
        };
        let one = signature("{}");
        assert!(
            one.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKID/20270115/eu-central-1/execute-api/aws4_request, SignedHeaders=host;"
            ),
            "{one}"
        );
        assert_eq!(one, signature("{}"));
        assert_ne!(one, signature("{ }"));
    }

    #[tokio::test]
    async fn a_token_is_what_its_command_prints() {
        assert_eq!(token_of("echo ' abc '").await.unwrap(), "Bearer abc");
        for command in ["echo", "echo two words", "false", "echo abc; false"] {
            assert!(
                matches!(token_of(command).await, Err(Error::Local { .. })),
                "{command}"
            );
        }
    }
}
