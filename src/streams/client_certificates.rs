//! Certificates of agents, where the operator wants them beside the agents' keys: who vouches for
//! one, and whose it is. It never takes one for a proof of anything but its own agent.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use hidps_wire::{AgentId, HEADER_AGENT};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConnection};

use crate::streams::listener::ListenError;
use crate::streams::routes::{Gateway, refuse};
use crate::telemetry;

/// What the paths of all routes for agents begin with.
const AGENTS: &str = "/v1/agent";

/// What TLS says of the other end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerCertificate {
    /// Whether agents have to show one here.
    is_wanted: bool,
    /// The one that was shown and that the authority vouches for.
    shown: Option<CertificateDer<'static>>,
}

impl PeerCertificate {
    /// The certificate of a connection on which one is asked for.
    pub(super) fn of(connection: &ServerConnection) -> Self {
        let shown = connection.peer_certificates();
        Self {
            is_wanted: true,
            shown: shown.and_then(|chain| chain.first()).cloned(),
        }
    }

    /// The refusal of who names an agent of which this is not the certificate.
    pub(super) fn refusal(&self, agent: Option<AgentId>) -> Option<Response> {
        let is_good = match (&self.shown, agent) {
            (Some(shown), Some(agent)) => is_of(shown, agent),
            (_, _) => false,
        };
        if !self.is_wanted || is_good {
            return None;
        }
        metrics::counter!(telemetry::AUTH_FAILURES, "kind" => "certificate").increment(1);
        Some(refuse(
            StatusCode::FORBIDDEN,
            "agents show a client certificate here whose subjectAltName is DNS:<agent id>; set \
             client_cert and client_key",
        ))
    }

    /// The same for the agent that the headers of a connect name.
    pub(super) fn refusal_of(&self, headers: &HeaderMap) -> Option<Response> {
        let named = headers.get(HEADER_AGENT).and_then(|id| id.to_str().ok());
        self.refusal(named.and_then(|id| id.parse().ok()))
    }
}

impl FromRequestParts<Gateway> for PeerCertificate {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Gateway) -> Result<Self, Self::Rejection> {
        let found = parts.extensions.get::<Self>();
        Ok(found.cloned().unwrap_or_default())
    }
}

/// No route for agents is open without a certificate, whatever it does with its agent's name.
pub(super) async fn with_certificates(request: Request, next: Next) -> Response {
    let certificate = request.extensions().get::<PeerCertificate>();
    let refusal = certificate
        .filter(|found| found.shown.is_none() && request.uri().path().starts_with(AGENTS))
        .and_then(|found| found.refusal(None));
    match refusal {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

/// Whether a certificate is this agent's: its id is one of its alternative names.
fn is_of(certificate: &CertificateDer<'_>, agent: AgentId) -> bool {
    let name = ServerName::try_from(agent.to_string());
    let parsed = ParsedCertificate::try_from(certificate);
    matches!((name, parsed), (Ok(name), Ok(parsed)) if verify_server_name(&parsed, &name).is_ok())
}

/// Asks for certificates this authority vouches for. Whoever shows none goes on, for people and
/// monitors have none; the routes for agents refuse that.
///
/// # Errors
/// Names the file.
pub(super) fn client_verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ListenError> {
    let unreadable = |source| ListenError::Pem {
        path: path.to_owned(),
        source,
    };
    let unusable = |source| ListenError::ClientAuthority {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let added = roots.add(certificate.map_err(unreadable)?);
        added.map_err(|source| unusable(Box::new(source)))?;
    }
    if roots.is_empty() {
        return Err(unreadable(pem::Error::NoItemsFound));
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .allow_unauthenticated()
            .build();
    verifier.map_err(|source| unusable(Box::new(source)))
}
