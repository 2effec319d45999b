use std::sync::Mutex;

use botframework::http::ResponseFuture;
use http::Request;

use super::*;

pub(crate) const CANARY: &str = "canary-Zq8";

/// AWS in this process: answers each request by its number, from one on, and keeps the requests.
#[derive(Clone)]
pub(crate) struct FakeAws {
    answer: Arc<dyn Fn(usize) -> (u16, String) + Send + Sync>,
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl FakeAws {
    pub(crate) fn answering(answer: impl Fn(usize) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            requests: Arc::default(),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub(crate) fn config(&self) -> SdkConfig {
        self.config_in(&[("AWS_REGION", "eu-west-1")]).unwrap()
    }

    fn config_in(&self, pairs: &[(&str, &str)]) -> Result<SdkConfig, config::Error> {
        let environment = Environment::from_fn(|name| {
            let mut pairs = pairs.iter();
            Some(match name {
                "AWS_ACCESS_KEY_ID" => "AKIDEXAMPLE".to_owned(),
                "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" => format!("{CANARY}-{name}"),
                _ => return pairs.find_map(|(known, value)| (*known == name).then(|| (*value).to_owned())),
            })
        });
        single_attempt(&environment, self.clone())
    }

    /// The last request: its line, its body, its headers.
    pub(crate) fn last(&self) -> (String, String, http::HeaderMap) {
        let requests = self.requests.lock().unwrap();
        let request = requests.last().unwrap();
        (
            format!("{} {}", request.method(), request.uri()),
            String::from_utf8(request.body().to_vec()).unwrap(),
            request.headers().clone(),
        )
    }
}

impl Transport for FakeAws {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(request);
            requests.len()
        };
        let (status, body) = (self.answer)(number);
        let response = http::Response::builder().status(status);
        Box::pin(async move { Ok(response.body(Body::Complete(body.into())).unwrap()) })
    }
}

fn parameter() -> FakeAws {
    FakeAws::answering(|_| (200, r#"{"Parameter": {"Value": "text"}}"#.to_owned()))
}

async fn request(config: &SdkConfig) -> Result<(), Error> {
    parameter_store::ParameterStore::new(config)
        .value("bot")
        .await
        .map(drop)
}

#[tokio::test]
async fn an_endpoint_follows_the_region_unless_a_variable_overrides_it() {
    for (pairs, expected) in [
        (
            vec![("AWS_REGION", "cn-north-1")],
            "https://ssm.cn-north-1.amazonaws.com.cn/",
        ),
        (
            vec![("AWS_REGION", "us-gov-west-1")],
            "https://ssm.us-gov-west-1.amazonaws.com/",
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
                ("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:3"),
            ],
            "http://127.0.0.1:3/",
        ),
    ] {
        let aws = parameter();
        request(&aws.config_in(&pairs).unwrap()).await.unwrap();
        assert_eq!(aws.last().0, format!("POST {expected}"));
    }
    let error = parameter().config_in(&[]).unwrap_err();
    assert!(error.to_string().contains("AWS_REGION"));
}

#[tokio::test]
async fn every_service_has_the_override_that_its_client_asks_for() {
    let overrides = ENDPOINTS.map(|(_, variable)| (variable, format!("http://127.0.0.1:1/{variable}")));
    let mut pairs: Vec<_> = overrides
        .iter()
        .map(|(name, url)| (*name, url.as_str()))
        .collect();
    pairs.push(("AWS_REGION", "x"));
    let aws = FakeAws::answering(|_| (403, String::new()));
    let config = aws.config_in(&pairs).unwrap();
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    dynamodb.list_tables().send().await.unwrap_err();
    assert!(aws.last().0.contains("AWS_ENDPOINT_URL_DYNAMODB"));
    for (service, variable) in [
        (service::EVENT_BRIDGE, "AWS_ENDPOINT_URL_EVENTBRIDGE"),
        (service::SCHEDULER, "AWS_ENDPOINT_URL_SCHEDULER"),
    ] {
        let client = service::ServiceClient::new(service, &config);
        let request = service::Request::to_path("/x".to_owned(), &serde_json::Value::Null);
        client.call("x:X", request).await.unwrap_err();
        assert!(aws.last().0.contains(variable));
    }
    let secrets_manager = aws_sdk_secretsmanager::Client::new(&config);
    secrets_manager
        .get_secret_value()
        .secret_id("x")
        .send()
        .await
        .unwrap_err();
    assert!(aws.last().0.contains("AWS_ENDPOINT_URL_SECRETS_MANAGER"));
    let sqs = aws_sdk_sqs::Client::new(&config);
    sqs.send_message_batch().queue_url("x").send().await.unwrap_err();
    assert!(aws.last().0.contains("AWS_ENDPOINT_URL_SQS"));
    request(&config).await.unwrap_err();
    assert!(aws.last().0.contains("AWS_ENDPOINT_URL_SSM"));
    let sts = aws_sdk_sts::Client::new(&config);
    sts.get_web_identity_token().send().await.unwrap_err();
    assert!(aws.last().0.contains("AWS_ENDPOINT_URL_STS"));
}

#[tokio::test]
async fn a_failure_is_told_by_its_code_and_quotes_nothing_of_the_response() {
    for (status, body, is_transient, code) in [
        (
            403,
            format!(r#"{{"__type": "AccessDenied", "message": "{CANARY}"}}"#),
            false,
            "AccessDenied",
        ),
        (
            400,
            format!(r#"{{"__type": "com.amazonaws.x#ParameterNotFound", "message": "{CANARY}"}}"#),
            false,
            "ParameterNotFound",
        ),
        (
            400,
            format!(r#"{{"__type": "ThrottlingException", "message": "{CANARY}"}}"#),
            true,
            "ThrottlingException",
        ),
        (400, format!(r#"{{"__type": "{CANARY}!"}}"#), false, "no code"),
        (429, String::new(), true, "no code"),
        (500, CANARY.to_owned(), true, "no code"),
        (200, CANARY.to_owned(), true, "unreadable response"),
    ] {
        let aws = FakeAws::answering(move |_| (status, body.clone()));
        let error = request(&aws.config()).await.unwrap_err();
        let told = format!("{} {error:?}", crate::telemetry::chain(&error));
        assert!(told.contains(code) && !told.contains(CANARY), "{told}");
        assert_eq!(error.is_transient(), is_transient, "{status} {code}");
        assert_eq!(aws.requests(), 1, "a single attempt");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_crate_is_asked_again_as_often_as_the_configuration_says() {
    for (status, code, requests) in [
        (503, "ServiceUnavailable", 2),
        (400, "ThrottlingException", 2),
        (409, "ConflictException", 1),
        (400, "ValidationException", 1),
    ] {
        let aws = FakeAws::answering(move |_| (status, format!(r#"{{"__type": "x#{code}:http://x"}}"#)));
        let config = with_attempts(aws.config(), 2);
        let client = service::ServiceClient::new(service::SCHEDULER, &config);
        let request = service::Request::to_path("/schedules/x".to_owned(), &serde_json::json!({"a": 1}));
        let error = client
            .call("scheduler:CreateSchedule", request)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Refused { status: of, code: said, .. } if *of == status && said == code)
        );
        assert_eq!(aws.requests(), requests, "{code}");
        let (line, body, headers) = aws.last();
        assert!(line.ends_with("/schedules/x"), "{line}");
        assert_eq!(body, r#"{"a":1}"#);
        let signature = headers["authorization"].to_str().unwrap();
        assert!(signature.contains("/scheduler/aws4_request"), "{signature}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_transient_and_says_why() {
    struct Broken;
    impl Transport for Broken {
        fn send(&self, _: Request<Bytes>) -> ResponseFuture<'_> {
            Box::pin(async { Err(TransportError::NotSent("connection refused".into())) })
        }
    }
    let environment = Environment::from_fn(|name| {
        let is_endpoint = name.starts_with("AWS_ENDPOINT_URL");
        (!is_endpoint).then(|| "x".to_owned())
    });
    let error = request(&single_attempt(&environment, Broken).unwrap())
        .await
        .unwrap_err();
    assert!(error.is_transient());
    let told = crate::telemetry::chain(&error);
    assert!(
        told.starts_with("ssm:GetParameter got no response") && told.ends_with("connection refused"),
        "{told}"
    );
}

#[tokio::test]
async fn credentials_are_never_printed() {
    let aws = parameter();
    let config = aws.config();
    request(&config).await.unwrap();
    let printed = format!("{config:?} {:?}", aws.requests.lock().unwrap()[0]);
    assert!(!printed.contains(CANARY), "{printed}");
}
