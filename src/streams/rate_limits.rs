//! How often somebody may ask: by address, by enrollment token, and all together.
//! It never limits by the id of an agent that is only named, or anybody could lock that agent out.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use hidps_wire::AgentId;
use sha2::{Digest as _, Sha256};

use crate::telemetry;

/// Most addresses or tokens remembered of one route. A new one past them shares a limit with the
/// others until the oldest are forgotten: memory is bounded, whoever floods.
const MAX_KEYS: usize = 65_536;

/// Shortest pause between two looks for keys to forget.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// Bits of an address of IPv6 that follow its site's.
const SITE_BITS: u32 = 80;

/// How often a site of IPv6 may ask for once of one address in it.
const SITE_SHARE: u32 = 4;

/// A rate per second and how many may come at once.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: u32,
    burst: u32,
}

/// Connects of all: a handshake costs 0.2 ms, so this is 40 % of a core.
const CONNECTS: Rate = Rate {
    per_second: 2_000,
    burst: 4_000,
};

/// Connects from one address: a fleet of a thousand hosts behind one is back in ten seconds.
const CONNECTS_OF_ADDRESS: Rate = Rate {
    per_second: 100,
    burst: 500,
};

/// Enrollments of all: each asks Postgres.
const ENROLLMENTS: Rate = Rate {
    per_second: 50,
    burst: 200,
};

/// Enrollments from one address.
const ENROLLMENTS_OF_ADDRESS: Rate = Rate {
    per_second: 5,
    burst: 100,
};

/// Enrollments with one token.
const ENROLLMENTS_OF_TOKEN: Rate = Rate {
    per_second: 10,
    burst: 200,
};

/// Keys replaced of all agents: each asks Postgres. Only who has both keys is counted.
const ROTATIONS: Rate = Rate {
    per_second: 50,
    burst: 200,
};

/// Keys that one agent replaces at once.
const ROTATIONS_OF_AGENT: u32 = 5;

/// Pause after which it may try once more. The database counts those that leave a row; an attempt that
/// Postgres did not answer costs no more than this.
const ROTATION_EVERY: Duration = Duration::from_secs(60);

/// Connects of viewers, of all: each verifies a signature and may ask Postgres once.
const VIEWERS: Rate = Rate {
    per_second: 200,
    burst: 1_000,
};

/// Connects of viewers from one address: an office that reloads its consoles at once.
const VIEWERS_OF_ADDRESS: Rate = Rate {
    per_second: 2,
    burst: 100,
};

/// Requests over HTTP of all agents: each looks a key up.
const HTTP: Rate = Rate {
    per_second: 500,
    burst: 2_000,
};

/// Requests over HTTP from one address.
const HTTP_OF_ADDRESS: Rate = Rate {
    per_second: 50,
    burst: 500,
};

/// Requests over HTTP of one agent: 320 events a second, as they come by 64.
const HTTP_OF_AGENT: Rate = Rate {
    per_second: 5,
    burst: 60,
};

/// Refusals of all that the audit log is told of: each is a transaction.
const REFUSALS: Rate = Rate {
    per_second: 10,
    burst: 100,
};

/// Refusals of one address that it is told of.
const REFUSALS_OF_ADDRESS: Rate = Rate {
    per_second: 1,
    burst: 20,
};

/// How long one has to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooOften {
    /// Until one more is let in.
    pub(super) wait: Duration,
    /// Which limit was met.
    by: &'static str,
}

/// The limits of every route.
#[derive(Debug)]
pub struct RateLimits {
    connects: Route,
    enrollments: Route,
    enrollments_of_token: Keyed<[u8; 32]>,
    rotations: DefaultDirectRateLimiter,
    rotations_of_agent: Keyed<AgentId>,
    viewers: Route,
    tokens: Route,
    secrets: Keyed<[u8; 32]>,
    http: Route,
    http_of_agent: Keyed<AgentId>,
    refusals: Route,
}

/// The limits of one route.
#[derive(Debug)]
struct Route {
    name: &'static str,
    by_address: Keyed<IpAddr>,
    by_site: Keyed<IpAddr>,
    all: DefaultDirectRateLimiter,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            connects: Route::new("connect", CONNECTS, CONNECTS_OF_ADDRESS),
            enrollments: Route::new("enroll", ENROLLMENTS, ENROLLMENTS_OF_ADDRESS),
            enrollments_of_token: Keyed::new(ENROLLMENTS_OF_TOKEN),
            rotations: RateLimiter::direct(quota(ROTATIONS)),
            rotations_of_agent: Keyed::limiting(rotations_of_agent()),
            viewers: Route::new("viewer", VIEWERS, VIEWERS_OF_ADDRESS),
            tokens: Route::new("token", ENROLLMENTS, ENROLLMENTS_OF_ADDRESS),
            secrets: Keyed::new(ENROLLMENTS_OF_TOKEN),
            http: Route::new("http", HTTP, HTTP_OF_ADDRESS),
            http_of_agent: Keyed::new(HTTP_OF_AGENT),
            refusals: Route::new("refusal", REFUSALS, REFUSALS_OF_ADDRESS),
        }
    }
}

impl RateLimits {
    /// Whether somebody may try to connect.
    pub(super) fn connect(&self, address: Option<IpAddr>) -> Result<(), TooOften> {
        self.connects.check(address)
    }

    /// Whether somebody may ask for another key: until both keys have signed, that costs as much as a
    /// connect, and takes nothing from those who enroll.
    pub(super) fn rotate(&self, address: Option<IpAddr>) -> Result<(), TooOften> {
        self.connects.check(address)
    }

    /// Whether an agent may replace its key, for which both keys have signed.
    pub(super) fn rotate_of_agent(&self, agent: AgentId) -> Result<(), TooOften> {
        let of_agent = self.rotations_of_agent.check(&agent);
        of_agent.map_err(|wait| refused("rotate", "agent", wait))?;
        let of_all = self.rotations.check();
        of_all.map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            refused("rotate", "all", wait)
        })
    }

    /// Whether somebody may open a viewer's socket.
    pub(super) fn viewer(&self, address: Option<IpAddr>) -> Result<(), TooOften> {
        self.viewers.check(address)
    }

    /// Whether somebody may ask for a token of an agent.
    pub(super) fn token(&self, address: Option<IpAddr>) -> Result<(), TooOften> {
        self.tokens.check(address)
    }

    /// Whether a secret may be tried once more.
    pub(super) fn token_of(&self, secret: &str) -> Result<(), TooOften> {
        let checked = self.secrets.check(&Sha256::digest(secret).into());
        checked.map_err(|wait| refused(self.tokens.name, "token", wait))
    }

    /// Whether somebody may try to use an older way; what all share is for those who show a token.
    pub(super) fn http(&self, address: Option<IpAddr>) -> Result<(), TooOften> {
        let looked = self.http.look_by_address(address);
        looked.map_err(|(by, wait)| refused(self.http.name, by, wait))
    }

    /// Whether an agent may, which a token of ours names. Its own limit comes first: one that asks too
    /// often, from however many addresses, takes nothing from the others.
    pub(super) fn http_with_token(&self, agent: AgentId) -> Result<(), TooOften> {
        let of_agent = self.http_of_agent.check(&agent);
        of_agent.map_err(|wait| refused(self.http.name, "agent", wait))?;
        let looked = self.http.look_at_all();
        looked.map_err(|(by, wait)| refused(self.http.name, by, wait))
    }

    /// Whether a refusal of somebody is still worth a line of the audit log.
    pub(super) fn may_tell_refusal(&self, address: Option<IpAddr>) -> bool {
        self.refusals.look(address).is_ok()
    }

    /// Whether somebody may enroll. Tokens are told apart whole, so that who guesses with a known
    /// prefix does not use up the holder's.
    pub(super) fn enroll(
        &self,
        address: Option<IpAddr>,
        token: Option<&str>,
    ) -> Result<(), TooOften> {
        self.enrollments.check(address)?;
        let Some(token) = token else {
            return Ok(());
        };
        let token = Sha256::digest(token).into();
        let checked = self.enrollments_of_token.check(&token);
        checked.map_err(|wait| refused(self.enrollments.name, "token", wait))
    }
}

impl Route {
    fn new(name: &'static str, all: Rate, of_address: Rate) -> Self {
        Self {
            name,
            by_address: Keyed::new(of_address),
            by_site: Keyed::new(Rate {
                per_second: of_address.per_second * SITE_SHARE,
                burst: of_address.burst * SITE_SHARE,
            }),
            all: RateLimiter::direct(quota(all)),
        }
    }

    /// Counts what it refuses.
    fn check(&self, address: Option<IpAddr>) -> Result<(), TooOften> {
        let looked = self.look(address);
        looked.map_err(|(by, wait)| refused(self.name, by, wait))
    }

    /// The address comes first: one that asks too often takes nothing from the others.
    fn look(&self, address: Option<IpAddr>) -> Result<(), (&'static str, Duration)> {
        self.look_by_address(address)?;
        self.look_at_all()
    }

    fn look_by_address(&self, address: Option<IpAddr>) -> Result<(), (&'static str, Duration)> {
        if let Some(address) = address {
            let checked = self.by_address.check(&block(address));
            checked.map_err(|wait| ("address", wait))?;
            let checked = site(address).map_or(Ok(()), |site| self.by_site.check(&site));
            checked.map_err(|wait| ("address", wait))?;
        }
        Ok(())
    }

    fn look_at_all(&self) -> Result<(), (&'static str, Duration)> {
        self.all.check().map_err(|until| {
            let now = DefaultClock::default().now();
            ("all", until.wait_time_from(now))
        })
    }
}

fn refused(route: &'static str, by: &'static str, wait: Duration) -> TooOften {
    metrics::counter!(telemetry::RATE_LIMITED, "route" => route, "by" => by).increment(1);
    TooOften { wait, by }
}

impl TooOften {
    /// What is said to who asked.
    pub(super) fn message(self) -> String {
        let whose = match self.by {
            "address" => "this address asks",
            "token" => "this token is used",
            "agent" => "this agent asks",
            _ => "too many ask",
        };
        match self.by {
            "address" | "token" | "agent" => format!("{whose} too often; try again later"),
            _ => format!("{whose} at once; try again later"),
        }
    }
}

/// A limit for each key.
#[derive(Debug)]
struct Keyed<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    /// What keys share that come when no more can be remembered.
    crowd: DefaultDirectRateLimiter,
    forgot_at: Mutex<Option<Instant>>,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(rate: Rate) -> Self {
        Self::limiting(quota(rate))
    }

    fn limiting(quota: Quota) -> Self {
        Self {
            limiter: RateLimiter::keyed(quota),
            crowd: RateLimiter::direct(quota),
            forgot_at: Mutex::default(),
        }
    }

    fn check(&self, key: &K) -> Result<(), Duration> {
        let now = DefaultClock::default().now();
        if self.limiter.len() >= MAX_KEYS {
            self.forget_idle();
        }
        let checked = if self.limiter.len() >= MAX_KEYS {
            self.crowd.check()
        } else {
            self.limiter.check_key(key)
        };
        checked.map_err(|until| until.wait_time_from(now))
    }

    /// Forgets keys that have all of their burst again.
    fn forget_idle(&self) {
        let Ok(mut forgot_at) = self.forgot_at.try_lock() else {
            return;
        };
        if forgot_at.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            *forgot_at = Some(Instant::now());
            self.limiter.retain_recent();
        }
    }
}

fn quota(rate: Rate) -> Quota {
    Quota::per_second(nonzero(rate.per_second)).allow_burst(nonzero(rate.burst))
}

fn rotations_of_agent() -> Quota {
    let one = nonzero(1);
    let quota = Quota::with_period(ROTATION_EVERY).unwrap_or(Quota::per_hour(one));
    quota.allow_burst(nonzero(ROTATIONS_OF_AGENT))
}

fn nonzero(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

/// What one customer of a network usually has: one address of IPv4, a /64 of IPv6.
pub(super) fn block(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// What a network gives to one site of IPv6: a /48, in which there are 65,536 customers of the above.
pub(super) fn site(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => {
            let site = v6.to_bits() >> SITE_BITS << SITE_BITS;
            Some(Ipv6Addr::from_bits(site).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    /// How many of these are let in at once, at most 10,000.
    fn admitted(mut ask: impl FnMut(u32) -> Result<(), TooOften>) -> u32 {
        (0..10_000)
            .take_while(|number| ask(*number).is_ok())
            .count() as u32
    }

    #[test]
    fn one_address_that_asks_too_often_leaves_room_for_the_others() {
        let limits = RateLimits::default();
        let flood = admitted(|_| limits.connect(address("203.0.113.1")));

        assert!(flood >= CONNECTS_OF_ADDRESS.burst);
        assert!(flood < CONNECTS.burst, "{flood}");
        let refusal = limits.connect(address("203.0.113.1")).unwrap_err();
        assert_eq!(refusal.by, "address");
        assert!(refusal.wait <= Duration::from_secs(1));
        assert_eq!(limits.connect(address("203.0.113.2")), Ok(()));
    }

    #[test]
    fn addresses_of_one_customer_of_ipv6_share_a_limit() {
        let limits = RateLimits::default();
        let of_number = |n: u32| address(&format!("2001:db8:0:1::{n:x}"));
        let flood = admitted(|number| limits.enroll(of_number(number), None));

        assert!(flood < ENROLLMENTS.burst, "{flood}");
        assert_eq!(limits.enroll(address("2001:db8:0:2::1"), None), Ok(()));
    }

    #[test]
    fn addresses_of_one_site_of_ipv6_take_little_from_the_others() {
        let limits = RateLimits::default();
        let of_number = |n: u32| address(&format!("2001:db8:1:{n:x}::1"));
        let flood = admitted(|number| limits.connect(of_number(number)));

        let most = SITE_SHARE * CONNECTS_OF_ADDRESS.burst;
        assert!((most..CONNECTS.burst).contains(&flood), "{flood}");
        assert_eq!(limits.connect(address("2001:db8:2::1")), Ok(()));
    }

    #[test]
    fn an_agent_replaces_few_keys_and_takes_nothing_from_others_and_from_who_enrolls() {
        let limits = RateLimits::default();
        let agent = AgentId::new(uuid::Uuid::from_u128(1));
        let other = AgentId::new(uuid::Uuid::from_u128(2));

        let replaced = admitted(|_| limits.rotate_of_agent(agent));
        assert_eq!(replaced, ROTATIONS_OF_AGENT);
        let refusal = limits.rotate_of_agent(agent).unwrap_err();
        assert_eq!(refusal.by, "agent");
        assert!(refusal.wait <= ROTATION_EVERY && refusal.wait > ROTATION_EVERY / 2);
        assert_eq!(limits.rotate_of_agent(other), Ok(()));
        // Hundreds of addresses that ask for it without a signature.
        let of_number = |n: u32| Some(IpAddr::from([10, 0, (n >> 8) as u8, n as u8]));
        assert!((0..1_000).all(|number| limits.rotate(of_number(number)).is_ok()));
        assert_eq!(limits.enroll(address("203.0.113.1"), None), Ok(()));
        assert_eq!(limits.rotate_of_agent(other), Ok(()));
    }

    #[test]
    fn whoever_shows_no_token_takes_nothing_from_the_hosts_on_http_that_do() {
        let limits = RateLimits::default();
        let of_number = |n: u32| Some(IpAddr::from([10, 0, (n >> 8) as u8, n as u8]));

        assert_eq!(admitted(|number| limits.http(of_number(number))), 10_000);
        let agent = |n: u32| AgentId::new(uuid::Uuid::from_u128(n.into()));
        let of_all = admitted(|number| limits.http_with_token(agent(number)));
        assert!(of_all >= HTTP.burst);
        assert_eq!(limits.http_with_token(agent(20_000)).unwrap_err().by, "all");
    }

    #[test]
    fn one_agent_with_many_addresses_takes_little_from_the_others_on_http() {
        let limits = RateLimits::default();
        let of_number = |n: u32| Some(IpAddr::from([10, 0, (n >> 8) as u8, n as u8]));
        let agent = |n: u32| AgentId::new(uuid::Uuid::from_u128(n.into()));
        let hostile = |number| {
            limits.http(of_number(number)).expect("another address");
            limits.http_with_token(agent(0))
        };
        let refused = (0..10_000).filter(|number| hostile(*number).is_err());

        assert!(refused.count() > 9_000);
        let others = admitted(|number| limits.http_with_token(agent(number + 1)));
        assert!(others > HTTP.burst - HTTP.burst / 4, "{others}");
    }

    #[test]
    fn all_together_have_a_limit_too() {
        let limits = RateLimits::default();
        let of_number = |n: u32| Some(IpAddr::from([10, 0, (n >> 8) as u8, n as u8]));
        let flood = admitted(|number| limits.enroll(of_number(number), None));

        assert!((ENROLLMENTS.burst..2 * ENROLLMENTS.burst).contains(&flood));
        let refusal = limits.enroll(None, None).unwrap_err();
        assert_eq!(refusal.by, "all");
    }

    #[test]
    fn a_guess_with_a_known_prefix_does_not_use_up_the_holders_token() {
        let keyed = Keyed::new(Rate {
            per_second: 1,
            burst: 2,
        });
        let digest = |token: &str| -> [u8; 32] { Sha256::digest(token).into() };
        let guess = digest("hidps_0123456789ab_guess");
        while keyed.check(&guess).is_ok() {}

        assert_eq!(keyed.check(&digest("hidps_0123456789ab_secret")), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_has_bounded_memory() {
        let keyed = Keyed::new(Rate {
            per_second: 1,
            burst: 10,
        });
        let refused = (0..MAX_KEYS * 2).filter(|key| keyed.check(key).is_err());

        assert!(refused.count() > 0, "those past the bound share a limit");
        assert!(keyed.limiter.len() <= MAX_KEYS);
    }
}
