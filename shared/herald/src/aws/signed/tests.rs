use std::sync::Mutex;

use botframework::http::ResponseFuture;
use bytes::Bytes;
use jiff::Timestamp;

use super::*;

const CANARY: &str = "canary-Zq8";

/// AWS in this process: answers each call so, and keeps what it was asked.
#[derive(Clone)]
pub(crate) struct Aws {
    answer: Arc<dyn Fn(usize) -> (u16, String) + Send + Sync>,
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl Aws {
    pub(crate) fn answering(answer: impl Fn(usize) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            asked: Arc::default(),
        }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn client(&self) -> Client {
        self.client_in(&[("AWS_REGION", "eu-west-1")]).unwrap()
    }

    fn client_in(&self, pairs: &[(&str, &str)]) -> Result<Client, config::Error> {
        let environment = Environment::read_by(|name| {
            let mut pairs = pairs.iter();
            Some(match name {
                "AWS_ACCESS_KEY_ID" => "AKIDEXAMPLE".to_owned(),
                "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" => format!("{CANARY}-{name}"),
                _ => return pairs.find_map(|(known, value)| (*known == name).then(|| (*value).to_owned())),
            })
        });
        let clock = Clock::told_by(|| Timestamp::from_second(1_800_000_000).unwrap());
        Client::new(&environment, self.clone(), clock)
    }

    fn last(&self) -> (String, String, Vec<(String, String)>) {
        let asked = self.asked.lock().unwrap();
        let request = asked.last().unwrap();
        let headers = request.headers().iter();
        (
            format!("{} {}", request.method(), request.uri()),
            String::from_utf8(request.body().to_vec()).unwrap(),
            headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
        )
    }
}

impl Transport for Aws {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(request);
            asked.len()
        };
        let (status, body) = (self.answer)(number);
        let response = http::Response::builder().status(status);
        Box::pin(async move { Ok(response.body(Body::Complete(body.into())).unwrap()) })
    }
}

fn vouching() -> Aws {
    Aws::answering(|number| {
        let token = format!(
            "<GetWebIdentityTokenResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetWebIdentityTokenResult><WebIdentityToken>head.claims.signature-{number}</WebIdentityToken>\
             <Expiration>2027-01-15T08:05:00Z</Expiration></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>"
        );
        (200, token)
    })
}

async fn vouch(client: &Client) -> Result<Secret, Error> {
    client
        .web_identity_token(
            "api://AzureADTokenExchange",
            Algorithm::Es384,
            Duration::from_mins(5),
        )
        .await
}

#[tokio::test]
async fn a_web_identity_token_is_asked_for_in_full_and_signed_for() {
    let aws = vouching();
    let token = vouch(&aws.client()).await.unwrap();
    assert_eq!(token.expose(), "head.claims.signature-1");
    let (line, body, headers) = aws.last();
    assert_eq!(line, "POST https://sts.eu-west-1.amazonaws.com/");
    assert_eq!(
        body,
        "Action=GetWebIdentityToken&Version=2011%2D06%2D15&Audience.member.1=api%3A%2F%2FAzureADTokenExchange\
         &DurationSeconds=300&SigningAlgorithm=ES384"
    );
    let header = |wanted: &str| {
        headers
            .iter()
            .find_map(|(name, value)| (name == wanted).then_some(value))
    };
    let signature = header("authorization").unwrap();
    let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20270115/eu-west-1/sts/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
    assert!(signature.starts_with(scope), "{signature}");
    assert_eq!(header("x-amz-date").unwrap(), "20270115T080000Z");
    assert!(header("x-amz-security-token").is_some());
}

#[tokio::test]
async fn secrets_and_parameters_are_asked_for_by_their_names() {
    let aws = Aws::answering(|number| match number {
        1 => (
            200,
            json!({"Name": "bot", "SecretString": "from secrets manager"}).to_string(),
        ),
        _ => (
            200,
            json!({"Parameter": {"Name": "/bot", "Value": "from systems manager"}}).to_string(),
        ),
    });
    let client = aws.client();
    assert_eq!(
        client.secret("bot").await.unwrap().expose(),
        "from secrets manager"
    );
    let (line, body, headers) = aws.last();
    assert_eq!(
        (line.as_str(), body.as_str()),
        (
            "POST https://secretsmanager.eu-west-1.amazonaws.com/",
            r#"{"SecretId":"bot"}"#
        )
    );
    assert!(headers.contains(&(
        "x-amz-target".to_owned(),
        "secretsmanager.GetSecretValue".to_owned()
    )));
    assert_eq!(
        client.parameter("/bot").await.unwrap().expose(),
        "from systems manager"
    );
    let (line, body, headers) = aws.last();
    assert_eq!(
        (line.as_str(), body.as_str()),
        (
            "POST https://ssm.eu-west-1.amazonaws.com/",
            r#"{"Name":"/bot","WithDecryption":true}"#
        )
    );
    assert!(headers.contains(&("x-amz-target".to_owned(), "AmazonSSM.GetParameter".to_owned())));
}

#[tokio::test]
async fn endpoints_follow_the_region_and_what_overrides_them() {
    for (pairs, expected) in [
        (
            vec![("AWS_REGION", "cn-north-1")],
            "https://sts.cn-north-1.amazonaws.com.cn/",
        ),
        (
            vec![("AWS_REGION", "us-gov-west-1")],
            "https://sts.us-gov-west-1.amazonaws.com/",
        ),
        (
            vec![("AWS_REGION", "x"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:1")],
            "http://127.0.0.1:1/",
        ),
        (
            vec![
                ("AWS_REGION", "x"),
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
                ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:2"),
            ],
            "http://127.0.0.1:2/",
        ),
    ] {
        let aws = vouching();
        vouch(&aws.client_in(&pairs).unwrap()).await.unwrap();
        assert_eq!(aws.last().0, format!("POST {expected}"));
    }
    assert!(
        vouching()
            .client_in(&[])
            .unwrap_err()
            .to_string()
            .contains("AWS_REGION")
    );
}

#[tokio::test]
async fn what_brings_nothing_says_whose_turn_it_is_and_quotes_nothing() {
    let denied = format!(
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{CANARY}</Message></Error></ErrorResponse>"
    );
    let throttled = json!({"__type": "ThrottlingException", "message": CANARY}).to_string();
    let not_found =
        json!({"__type": "com.amazonaws.x#ResourceNotFoundException", "Message": CANARY}).to_string();
    for (status, body, configuration, code) in [
        (403, denied, true, "AccessDenied"),
        (400, not_found, true, "ResourceNotFoundException"),
        (400, throttled, false, "ThrottlingException"),
        (400, format!("<Code>{CANARY}!</Code>"), true, "no code"),
        (429, String::new(), false, "no code"),
        (500, CANARY.to_owned(), false, "no code"),
        (200, CANARY.to_owned(), false, "something else"),
        (
            200,
            format!("<WebIdentityToken>{CANARY} </WebIdentityToken >"),
            false,
            "something else",
        ),
        (
            200,
            "<WebIdentityToken>a&lt;b</WebIdentityToken>".to_owned(),
            false,
            "something else",
        ),
    ] {
        let aws = Aws::answering(move |_| (status, body.clone()));
        let error = vouch(&aws.client()).await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains(code) && !told.contains(CANARY), "{told}");
        let whose = ClientAuthError::from(error);
        assert_eq!(
            matches!(whose, ClientAuthError::Configuration(_)),
            configuration,
            "{status} {code}"
        );
    }
    let binary = Aws::answering(|_| (200, json!({"SecretBinary": "AAAA"}).to_string()));
    let error = binary.client().secret("bot").await.unwrap_err();
    assert!(matches!(
        ClientAuthError::from(error),
        ClientAuthError::Configuration(_)
    ));
}

#[tokio::test]
async fn what_signs_is_never_printed() {
    let aws = vouching();
    let client = aws.client();
    vouch(&client).await.unwrap();
    let signed = format!("{client:?} {:?}", aws.asked.lock().unwrap()[0]);
    assert!(!signed.contains(CANARY), "{signed}");
}
