//! What can happen to a request for rows on its way to REST or back.
//! Never answers itself: the gateway asks what is to become of each request.

use super::Faults;

/// How `/rest/v1` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestFault {
    /// As it should.
    #[default]
    None,
    /// With status 503, at once.
    Unavailable,
    /// With this status, at once: 401 and 403 deny, 429 slows down.
    Refusing(u16),
    /// Never.
    Hanging,
    /// As it should, but not before the fault is over.
    Waiting,
    /// With the first half of the answer, after which the connection breaks.
    Truncated,
    /// With status 200 and a list of no rows.
    Empty,
}

/// The fault, and whom it meets.
#[derive(Debug, Default)]
pub(super) struct RestSwitch {
    fault: RestFault,
    /// Tables and functions that are affected; empty means all.
    names: Vec<String>,
    n_spared: u64,
}

impl Faults {
    /// Changes how `/rest/v1` answers from now on.
    pub fn set_rest(&self, fault: RestFault) {
        let rest = &mut self.settings().rest;
        rest.fault = fault;
        rest.n_spared = 0;
    }

    /// Changes how `/rest/v1` answers after so many more requests: in the middle of a list of several pages.
    pub fn set_rest_after(&self, n_spared: u64, fault: RestFault) {
        let rest = &mut self.settings().rest;
        rest.fault = fault;
        rest.n_spared = n_spared;
    }

    /// Limits faults of REST to requests for these tables and functions; none lifts the limit.
    pub fn limit_rest_to(&self, names: &[&str]) {
        self.settings().rest.names = names.iter().map(|name| (*name).to_owned()).collect();
    }

    /// Tells what becomes of a request for this table or function, and counts it.
    pub(crate) fn take_rest(&self, name: &str) -> RestFault {
        let rest = &mut self.settings().rest;
        if rest.fault == RestFault::None || !rest.affects(name) {
            return RestFault::None;
        }
        if rest.n_spared > 0 {
            rest.n_spared -= 1;
            return RestFault::None;
        }
        rest.fault
    }

    /// Tells whether requests for this table or function are still held up.
    pub(crate) fn is_rest_waiting(&self, name: &str) -> bool {
        let rest = &self.settings().rest;
        rest.fault == RestFault::Waiting && rest.affects(name)
    }
}

impl RestSwitch {
    fn affects(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|one| one == name)
    }
}
