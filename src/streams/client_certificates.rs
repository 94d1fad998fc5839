//! Certificates of agents, where the operator wants them beside the agents' keys: who vouches for
//! one, and whose it is. It never takes one for a proof of anything but its own agent.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use hidps_wire::{AgentId, HEADER_AGENT};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConnection};

use crate::streams::listener::ListenError;
use crate::streams::routes::{Gateway, refuse};
use crate::telemetry;

/// What the paths of all routes for agents begin with.
const AGENTS: &str = "/v1/agent";

/// Seconds for which a certificate is known to be good before it is looked at again.
const LOOK_AHEAD: u64 = 86_400;

/// What TLS says of the other end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerCertificate {
    /// Whether agents have to show one here.
    is_wanted: bool,
    /// The one that was shown and that the authority vouches for.
    shown: Option<Arc<Shown>>,
}

/// A certificate that was shown, and until when it is known to be good.
#[derive(Debug)]
struct Shown {
    /// The agent's own first.
    chain: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Seconds since 1970; it may go on beyond that.
    good_until: AtomicU64,
    /// Seconds since 1970 from which on it is known to be good no more.
    ended_at: AtomicU64,
}

impl Shown {
    fn new(chain: &[CertificateDer<'_>], verifier: &Arc<dyn ClientCertVerifier>) -> Self {
        let chain = chain.iter().map(|one| one.clone().into_owned());
        Self {
            chain: chain.collect(),
            verifier: Arc::clone(verifier),
            good_until: AtomicU64::new(0),
            ended_at: AtomicU64::new(u64::MAX),
        }
    }

    /// Seconds for which it is good from now on, as far as was looked; none once it has ended.
    fn good_for(&self, now: u64) -> u64 {
        let known = self.good_until.load(Ordering::Relaxed).saturating_sub(now);
        if now >= self.ended_at.load(Ordering::Relaxed) {
            return 0;
        }
        if known > 0 {
            return known;
        }
        let found = self.look_ahead(now);
        match found {
            // Whoever keeps the connection and asks on does not have it looked at each time.
            0 => self.ended_at.store(now, Ordering::Relaxed),
            _ => self.good_until.store(now + found, Ordering::Relaxed),
        }
        found
    }

    /// The same, found out. Nothing tells when a chain ends, but whether it holds at a time, which costs
    /// a verification: one while it has more than a day.
    fn look_ahead(&self, now: u64) -> u64 {
        if self.holds_at(now + LOOK_AHEAD) {
            return LOOK_AHEAD;
        }
        if !self.holds_at(now) {
            return 0;
        }
        let (mut good, mut bad) = (0, LOOK_AHEAD);
        while good < bad {
            let middle = good.midpoint(bad);
            if self.holds_at(now + middle) {
                good = middle + 1;
            } else {
                bad = middle;
            }
        }
        good
    }

    fn holds_at(&self, second: u64) -> bool {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(second));
        let Some((own, others)) = self.chain.split_first() else {
            return false;
        };
        self.verifier.verify_client_cert(own, others, at).is_ok()
    }
}

impl PeerCertificate {
    /// The certificate of a connection on which one is asked for.
    pub(super) fn of(
        connection: &ServerConnection,
        verifier: &Arc<dyn ClientCertVerifier>,
    ) -> Self {
        let shown = connection.peer_certificates();
        let shown = shown.filter(|chain| !chain.is_empty());
        Self {
            is_wanted: true,
            shown: shown.map(|chain| Arc::new(Shown::new(chain, verifier))),
        }
    }

    /// How long it is good from now on, as far as was looked, after which one has to look again: nothing
    /// once it has ended, and no limit where none is wanted.
    pub(super) fn good_for(&self) -> Option<Duration> {
        let shown = self.shown.as_ref()?;
        Some(Duration::from_secs(
            shown.good_for(UnixTime::now().as_secs()),
        ))
    }

    fn has_ended(&self) -> bool {
        self.good_for().is_some_and(|left| left.is_zero())
    }

    /// The refusal of who names an agent of which this is not the certificate.
    pub(super) fn refusal(&self, agent: Option<AgentId>) -> Option<Response> {
        let is_good = match (&self.shown, agent) {
            (Some(shown), Some(agent)) => {
                let own = shown.chain.first();
                own.is_some_and(|own| is_of(own, agent)) && !self.has_ended()
            }
            (_, _) => false,
        };
        if !self.is_wanted || is_good {
            return None;
        }
        metrics::counter!(telemetry::AUTH_FAILURES, "kind" => "certificate").increment(1);
        Some(refuse(
            StatusCode::FORBIDDEN,
            "agents show a client certificate here whose subjectAltName is DNS:<agent id> and that has \
             not expired; set client_cert and client_key",
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

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
        KeyPair, date_time_ymd,
    };

    use rustls::client::danger::HandshakeSignatureValid;
    use rustls::server::danger::ClientCertVerified;
    use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

    use super::*;

    const AGENT: AgentId = AgentId::new(uuid::Uuid::from_u128(1));

    /// What an agent shows whose certificate ends with the year 2095.
    fn shown() -> Shown {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = || KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key()).expect("signed");
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("agents.pem");
        std::fs::write(&path, authority.pem()).expect("it can be written");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = client_verifier(&path, &provider).expect("an authority");
        let mut params = CertificateParams::new(vec![AGENT.to_string()]).expect("parameters");
        params.not_after = date_time_ymd(2096, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let made = params.signed_by(&key(), &authority).expect("signed");
        Shown::new(&[made.der().clone()], &verifier)
    }

    #[test]
    fn the_end_of_a_certificate_is_found_to_the_second_and_then_it_gets_nothing() {
        let shown = shown();
        let end = date_time_ymd(2096, 1, 1).unix_timestamp();
        let end = u64::try_from(end).expect("after 1970");

        assert_eq!(shown.look_ahead(end - 2 * LOOK_AHEAD), LOOK_AHEAD);
        // Its last second is one of its own.
        for left in [0, 1, 2, 100, LOOK_AHEAD - 1] {
            assert_eq!(shown.look_ahead(end - left), left + 1);
        }
        assert_eq!(shown.good_for(end - 10), 11);
        assert_eq!(shown.good_for(end), 1);
        assert_eq!(shown.good_for(end + 1), 0);
    }

    /// Counts what is asked of it.
    #[derive(Debug)]
    struct Counting(Arc<dyn ClientCertVerifier>, AtomicU64);

    impl ClientCertVerifier for Counting {
        fn root_hint_subjects(&self) -> &[DistinguishedName] {
            self.0.root_hint_subjects()
        }

        fn verify_client_cert(
            &self,
            own: &CertificateDer<'_>,
            others: &[CertificateDer<'_>],
            now: UnixTime,
        ) -> Result<ClientCertVerified, rustls::Error> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.verify_client_cert(own, others, now)
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            own: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls12_signature(message, own, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            own: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls13_signature(message, own, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }

    #[test]
    fn a_certificate_that_has_ended_is_not_looked_at_again_by_whoever_asks_on() {
        let end = date_time_ymd(2096, 1, 1).unix_timestamp();
        let end = u64::try_from(end).expect("after 1970");
        let shown = shown();
        let counting = Arc::new(Counting(Arc::clone(&shown.verifier), AtomicU64::new(0)));
        let verifier = Arc::clone(&counting) as _;
        let shown = Shown { verifier, ..shown };

        for later in 1..100 {
            assert_eq!(shown.good_for(end + later), 0);
        }
        assert_eq!(counting.1.load(Ordering::Relaxed), 2);
        assert_eq!(shown.good_for(end - 10), 11, "a clock that was put back");
    }

    #[test]
    fn a_connection_that_is_kept_is_refused_once_its_certificate_is_good_no_more() {
        let certificate = |shown| PeerCertificate {
            is_wanted: true,
            shown: Some(Arc::new(shown)),
        };
        let good = certificate(shown());
        // Of an authority that does not vouch for it, at no time.
        let gone = certificate(Shown {
            verifier: shown().verifier,
            ..shown()
        });

        assert!(good.refusal(Some(AGENT)).is_none());
        assert!(gone.refusal(Some(AGENT)).is_some());
    }
}
