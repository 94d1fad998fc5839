//! Entrances for fuzzing: what comes of addresses and lists that somebody has configured.
//! Nothing here is used by the agent itself.

use hyper::Request;
use hyper::header::HOST;

use super::daemon;
use crate::backend::Backend;

/// Whether a request can be made to an address.
#[must_use]
pub fn can_be_asked(backend: &Backend) -> bool {
    let request = Request::post(backend.target("/v1/agents"));
    let request = request.header(HOST, backend.host_header());
    request.body(()).is_ok()
}

/// Whether a list names a host that is reached without a proxy.
#[must_use]
pub fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    daemon::is_excepted(list, host, port)
}
