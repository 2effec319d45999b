use http::StatusCode;

use crate::service_url::Untrusted;

/// Why nobody is let in. The caller learns the [status](Denied::status) and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no token.
    #[error("there is no Authorization header")]
    TokenMissing,
    /// There is something, but not one bearer token that can be read.
    #[error("token is malformed")]
    TokenMalformed,
    /// The token is not signed by RS256.
    #[error("token is not signed by RS256")]
    AlgorithmRefused,
    /// The token is somebody's whose tokens are not taken.
    #[error("token is of another issuer")]
    IssuerRefused,
    /// The issuer has no such key.
    #[error("token is signed with a key that the issuer does not have")]
    KeyUnknown,
    /// The issuer's keys are not known and could not be fetched.
    #[error("the issuer's keys are not to be had")]
    KeysUnavailable,
    /// The signature is wrong.
    #[error("signature of the token is wrong")]
    SignatureInvalid,
    /// The token's time is over.
    #[error("token has expired")]
    TokenExpired,
    /// The token's time has not come.
    #[error("token is not yet valid")]
    TokenNotYetValid,
    /// The token is for another application.
    #[error("token is for another audience")]
    AudienceRefused,
    /// The token was issued to an application that is not let in.
    #[error("token was issued to an application that is not let in")]
    CallerRefused,
    /// The token names no service URL.
    #[error("token names no service URL")]
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
    /// The channel is not let in.
    #[error("channel is not let in")]
    ChannelRefused,
    /// The tenant is not let in.
    #[error("tenant is not let in")]
    TenantRefused,
}

impl Denied {
    /// 401 for the token, 403 for a valid token on the wrong channel or service URL.
    pub const fn status(self) -> StatusCode {
        match self {
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

    /// The word for the log, which alarms can filter on and which does not change.
    pub const fn error_type(self) -> &'static str {
        match self {
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
