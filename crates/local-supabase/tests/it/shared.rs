//! One stack for many tests, with the project's own migrations and seed.
//! Never stopped by hand: its processes end with the test binary.

use std::future::Future;
use std::sync::LazyLock;

use hidps_local_supabase::{Options, Person, Stack};
use tokio::runtime::Runtime;

/// Password of everybody in the stack.
pub(crate) const PASSWORD: &str = "hidps-demo-password";
/// Owner of the seed's agent.
pub(crate) const ADMIN: &str = "admin@acme.test";
/// Owner of another organization.
pub(crate) const STRANGER: &str = "admin@other.test";
/// The seed's agent.
pub(crate) const AGENT: &str = "0190a000-0000-7000-8000-000000000001";

/// A stack and the runtime it lives on.
pub(crate) struct Shared {
    runtime: Runtime,
    stack: Stack,
}

impl Shared {
    /// Starts a stack of its own.
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let stack = runtime
            .block_on(Stack::start(seeded()))
            .expect("the stack starts");
        Self { runtime, stack }
    }

    /// Runs a test on the stack.
    pub(crate) fn run<'a, T: Future>(&'a self, test: impl FnOnce(&'a Stack) -> T) -> T::Output {
        self.runtime.block_on(test(&self.stack))
    }
}

/// The stack of all tests that break nothing, with tables of the tests' own beside the project's.
pub(crate) static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let shared = Shared::start();
    let tables = include_str!("official/tables.sql");
    shared
        .run(async |stack| stack.sql(tables).await)
        .expect("the tables are made");
    shared
});

/// Describes the project with its seed.
pub(crate) fn seeded() -> Options {
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/../../supabase");
    let person = |email: &str| Person {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
    };
    Options {
        seed: Some(format!("{project}/seed.sql").into()),
        people: [ADMIN, "viewer@acme.test", STRANGER].map(person).to_vec(),
        ..Options::of_project(project)
    }
}
