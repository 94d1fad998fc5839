//! The server's reasons to refuse a join, and what cures each.
//! Never looks at the words after the code.

use crate::error::Remedy;

/// A refused join, by the code in front of the server's reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the server's own codes")]
pub enum JoinRefusal {
    InitializingProjectConnection,
    RealtimeRestarting,
    UnableToConnectToProject,
    IncreaseConnectionPool,
    DatabaseLackOfConnections,
    InvalidJwtToken,
    InvalidJwtExpiration,
    ClientJoinRateLimitReached,
    ConnectionRateLimitReached,
    ChannelRateLimitReached,
    MalformedJwt,
    JwtSignatureError,
    Unauthorized,
    TenantNotFound,
    RealtimeDisabledForTenant,
    TopicNameRequired,
    PrivateOnly,
    /// A code this version does not know.
    Unknown,
}

impl JoinRefusal {
    /// Reads the code of a reason such as `InvalidJWTToken: Token has expired`.
    #[must_use]
    pub fn parse(reason: &str) -> Self {
        let code = reason.split([':', ' ']).next().unwrap_or_default();
        match code {
            "InitializingProjectConnection" => Self::InitializingProjectConnection,
            "RealtimeRestarting" => Self::RealtimeRestarting,
            "UnableToConnectToProject" => Self::UnableToConnectToProject,
            "IncreaseConnectionPool" => Self::IncreaseConnectionPool,
            "DatabaseLackOfConnections" => Self::DatabaseLackOfConnections,
            "InvalidJWTToken" => Self::InvalidJwtToken,
            "InvalidJWTExpiration" => Self::InvalidJwtExpiration,
            "ClientJoinRateLimitReached" => Self::ClientJoinRateLimitReached,
            "ConnectionRateLimitReached" => Self::ConnectionRateLimitReached,
            "ChannelRateLimitReached" => Self::ChannelRateLimitReached,
            "MalformedJWT" => Self::MalformedJwt,
            "JwtSignatureError" => Self::JwtSignatureError,
            "Unauthorized" => Self::Unauthorized,
            "TenantNotFound" => Self::TenantNotFound,
            "RealtimeDisabledForTenant" => Self::RealtimeDisabledForTenant,
            "TopicNameRequired" => Self::TopicNameRequired,
            "PrivateOnly" => Self::PrivateOnly,
            _ => Self::Unknown,
        }
    }

    /// Tells what cures this refusal.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::InitializingProjectConnection
            | Self::RealtimeRestarting
            | Self::UnableToConnectToProject
            | Self::IncreaseConnectionPool
            | Self::DatabaseLackOfConnections
            | Self::Unknown => Remedy::Retry,
            Self::InvalidJwtToken | Self::InvalidJwtExpiration => Remedy::NewToken,
            Self::ClientJoinRateLimitReached
            | Self::ConnectionRateLimitReached
            | Self::ChannelRateLimitReached => Remedy::SlowDown,
            Self::MalformedJwt
            | Self::JwtSignatureError
            | Self::Unauthorized
            | Self::TenantNotFound
            | Self::RealtimeDisabledForTenant
            | Self::TopicNameRequired
            | Self::PrivateOnly => Remedy::GiveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(remedy: Remedy, reasons: &[&str]) {
        for reason in reasons {
            assert_eq!(JoinRefusal::parse(reason).remedy(), remedy, "{reason}");
        }
    }

    #[test]
    fn a_busy_server_is_tried_again() {
        let reasons = [
            "InitializingProjectConnection: Realtime is initializing the project connection",
            "RealtimeRestarting: Realtime is restarting, please standby",
            "UnableToConnectToProject: Realtime was unable to connect to the project database",
            "IncreaseConnectionPool: Please increase your connection pool size",
            "DatabaseLackOfConnections: Database can't accept more connections",
        ];

        check(Remedy::Retry, &reasons);
    }

    #[test]
    fn a_reason_nobody_knows_is_tried_again() {
        check(
            Remedy::Retry,
            &["SomethingNew: words", "no code at all", ""],
        );
    }

    #[test]
    fn an_expired_token_asks_for_a_new_one() {
        check(
            Remedy::NewToken,
            &[
                "InvalidJWTToken: Token has expired 1 seconds ago",
                "InvalidJWTExpiration: Token expiration time is invalid",
            ],
        );
    }

    #[test]
    fn a_rate_limit_asks_to_slow_down() {
        let reasons = [
            "ClientJoinRateLimitReached: Too many joins per second",
            "ConnectionRateLimitReached: Too many connected users",
            "ChannelRateLimitReached: Too many channels",
        ];

        check(Remedy::SlowDown, &reasons);
    }

    #[test]
    fn a_refusal_that_repetition_cannot_cure_is_given_up() {
        let reasons = [
            "MalformedJWT: The token provided is not a valid JWT",
            "JwtSignatureError: Failed to validate JWT signature",
            "Unauthorized: You do not have permissions to read from this Channel topic",
            "TenantNotFound: Tenant with the given ID does not exist",
            "RealtimeDisabledForTenant: Realtime disabled for this tenant",
            "TopicNameRequired: You must provide a topic name",
            "PrivateOnly: This project only allows private channels",
        ];

        check(Remedy::GiveUp, &reasons);
    }
}
