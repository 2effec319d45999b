//! Reads a parameter of Systems Manager.

use aws_types::SdkConfig;
use serde_json::{Value, json};

use super::Error;
use super::service::{PARAMETER_STORE, Request, ServiceClient};

pub(crate) const OPERATION: &str = "ssm:GetParameter";

/// A client of Systems Manager.
pub(crate) struct ParameterStore(ServiceClient);

impl ParameterStore {
    pub(crate) fn new(config: &SdkConfig) -> Self {
        Self(ServiceClient::new(PARAMETER_STORE, config))
    }

    /// The value of the parameter of this name or ARN, decrypted.
    pub(crate) async fn value(&self, name: &str) -> Result<Option<String>, Error> {
        let document = json!({"Name": name, "WithDecryption": true});
        let request = Request::to_target("AmazonSSM.GetParameter", &document);
        let mut output = self.0.call(OPERATION, request).await?;
        Ok(match output["Parameter"]["Value"].take() {
            Value::String(value) => Some(value),
            _ => None,
        })
    }
}
