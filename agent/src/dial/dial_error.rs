//! Why there is no connection: each step of the way fails in words of its own.
//! It decides nothing about what is done then.

use std::io;
use std::path::PathBuf;

use rustls::pki_types::{InvalidDnsNameError, pem};

use super::pin::Pin;
use super::proxy::ProxyError;
use super::{DEADLINE, NAME_DEADLINE};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The file with the certificate authority is of no use.
    #[error("could not read the certificate authority {path}")]
    AuthorityFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// A certificate authority is malformed.
    #[error("could not trust the certificate authority {path}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// A file of the client certificate is of no use.
    #[error("could not read the client certificate or its key {path}")]
    ClientFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The client certificate and its key cannot be used.
    #[error("client_cert and client_key do not fit together")]
    ClientIdentity(#[source] rustls::Error),
    /// No certificate authority is known at all.
    #[error("this host trusts no certificate authority; install ca-certificates or set ca_file")]
    NoAuthority,
    /// The certificates of authorities cannot be used.
    #[error("could not use the certificate authorities")]
    Authorities(#[source] rustls::client::VerifierBuilderError),
    /// The host cannot be the name of a certificate.
    #[error("{host} cannot be the name in a certificate")]
    ServerName {
        /// The host.
        host: String,
        /// What is wrong with it.
        #[source]
        source: InvalidDnsNameError,
    },
    /// TLS could not be set up.
    #[error("could not set up TLS")]
    Setup(#[source] rustls::Error),
    /// The name has no address.
    #[error("could not find the address of {host}")]
    Name {
        /// The name.
        host: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody said what address the name has.
    #[error("no name server said within {} s what address {host} has", NAME_DEADLINE.as_secs())]
    NameDeadline {
        /// The name.
        host: String,
    },
    /// TCP failed.
    #[error("could not connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing came back at all.
    #[error(
        "nothing came back from {address} within {} s; packets are lost on the way, or a firewall \
         drops them",
        DEADLINE.as_secs()
    )]
    NoAnswer {
        /// Host and port.
        address: String,
    },
    /// The proxy did not lead on.
    #[error("could not pass the proxy")]
    Proxy(#[source] ProxyError),
    /// TLS failed.
    #[error("could not agree on TLS with {address}")]
    Tls {
        /// Host and port.
        address: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The certificate is trusted, and its key is another than wanted.
    #[error(
        "the certificate of {address} is trusted, but its key is none of pinned_keys; somebody is \
         between, or the key was changed and {found} has to be added"
    )]
    NotPinned {
        /// Host and port.
        address: String,
        /// The pin of the key it has.
        found: Pin,
    },
    /// TLS was not answered.
    #[error("{address} took the connection and did not answer TLS within {} s", DEADLINE.as_secs())]
    TlsDeadline {
        /// Host and port.
        address: String,
    },
}
