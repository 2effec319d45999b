//! The reasons for which an activity is denied.

use http::StatusCode;

use crate::service_url::Untrusted;

/// Why an activity is denied. The caller learns the [status](Denied::status) and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A field of the activity that is required is missing.
    #[error("{0}: missing")]
    ActivityIncomplete(&'static str),
    /// There is no token.
    #[error("there is no Authorization header")]
    TokenMissing,
    /// The header is not one readable bearer token.
    #[error("token is malformed")]
    TokenMalformed,
    /// The token is not signed by RS256.
    #[error("token is not signed by RS256")]
    AlgorithmRefused,
    /// The issuer is not trusted.
    #[error("token is from an unknown issuer")]
    IssuerRefused,
    /// The issuer has no key of this id.
    #[error("token is signed with a key that the issuer does not have")]
    KeyUnknown,
    /// The issuer's keys are not cached and could not be fetched.
    #[error("the issuer's keys could not be fetched")]
    KeysUnavailable,
    /// The signature is wrong.
    #[error("signature of the token is wrong")]
    SignatureInvalid,
    /// The token has expired.
    #[error("token has expired")]
    TokenExpired,
    /// The token is not yet valid.
    #[error("token is not yet valid")]
    TokenNotYetValid,
    /// The token is for another application.
    #[error("token is for another audience")]
    AudienceRefused,
    /// The token was issued to an application that the policy does not accept.
    #[error("token was issued to an application that is not accepted")]
    CallerRefused,
    /// The token has no service URL claim.
    #[error("token has no service URL claim")]
    ServiceUrlUnclaimed,
    /// The key is not endorsed for the channel.
    #[error("key is not endorsed for the activity's channel")]
    ChannelNotEndorsed,
    /// The activity has another service URL than the token.
    #[error("activity and token name different service URLs")]
    ServiceUrlMismatch,
    /// The service URL is not trusted.
    #[error("service URL is not trusted")]
    ServiceUrlUntrusted(#[source] Untrusted),
    /// The channel is not in the allow list.
    #[error("channel is not in the allow list")]
    ChannelRefused,
    /// The tenant is not in the allow list.
    #[error("tenant is not in the allow list")]
    TenantRefused,
}

impl Denied {
    /// 400 for an incomplete activity, 401 for the token, 403 for a valid token on the wrong channel or service URL.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::ActivityIncomplete(_) => StatusCode::BAD_REQUEST,
            Self::TokenMissing
            | Self::TokenMalformed
            | Self::AlgorithmRefused
            | Self::IssuerRefused
            | Self::KeyUnknown
            | Self::KeysUnavailable
            | Self::SignatureInvalid
            | Self::TokenExpired
            | Self::TokenNotYetValid
            | Self::AudienceRefused
            | Self::CallerRefused
            | Self::ServiceUrlUnclaimed => StatusCode::UNAUTHORIZED,
            Self::ChannelNotEndorsed
            | Self::ServiceUrlMismatch
            | Self::ServiceUrlUntrusted(_)
            | Self::ChannelRefused
            | Self::TenantRefused => StatusCode::FORBIDDEN,
        }
    }

    /// The stable word for the log, which alarms can filter on.
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::ActivityIncomplete(_) => "ActivityMalformed",
            Self::TokenMissing => "TokenMissing",
            Self::TokenMalformed => "TokenMalformed",
            Self::AlgorithmRefused => "AlgorithmRefused",
            Self::IssuerRefused => "IssuerRefused",
            Self::KeyUnknown => "KeyUnknown",
            Self::KeysUnavailable => "KeysUnavailable",
            Self::SignatureInvalid => "SignatureInvalid",
            Self::TokenExpired => "TokenExpired",
            Self::TokenNotYetValid => "TokenNotYetValid",
            Self::AudienceRefused => "AudienceRefused",
            Self::CallerRefused => "CallerRefused",
            Self::ServiceUrlUnclaimed => "ServiceUrlUnclaimed",
            Self::ChannelNotEndorsed => "ChannelNotEndorsed",
            Self::ServiceUrlMismatch => "ServiceUrlMismatch",
            Self::ServiceUrlUntrusted(_) => "ServiceUrlUntrusted",
            Self::ChannelRefused => "ChannelRefused",
            Self::TenantRefused => "TenantRefused",
        }
    }
}
