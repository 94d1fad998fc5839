//! One stack for many tests, with the project's own migrations and seed.
//! Never stopped by hand: its processes end with the test binary.

use std::future::Future;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use hidps_local_supabase::{Options, Pace, Person, Stack};
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
    pub(crate) fn start(pace: Pace) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let migrations = tempfile::tempdir().expect("a directory is made");
        let options = seeded(migrations.path(), pace);
        let stack = runtime
            .block_on(Stack::start(options))
            .expect("the stack starts");
        Self { runtime, stack }
    }

    /// Runs a test on the stack.
    pub(crate) fn run<'a, T: Future>(&'a self, test: impl FnOnce(&'a Stack) -> T) -> T::Output {
        self.runtime.block_on(test(&self.stack))
    }
}

/// The stack of all tests that break nothing.
pub(crate) static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    Shared::start(Pace {
        // The tests publish tables of their own, which must not subscribe all the others anew.
        publication: Duration::from_secs(3600),
        ..Pace::default()
    })
});

/// Describes the project with its seed, and with tables of the tests' own beside the project's.
fn seeded(migrations: &Path, pace: Pace) -> Options {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../supabase");
    let listed = std::fs::read_dir(project.join("migrations")).expect("the project has migrations");
    for entry in listed.filter_map(Result::ok) {
        std::fs::copy(entry.path(), migrations.join(entry.file_name())).expect("a copy is made");
    }
    let tables = include_str!("official/tables.sql");
    std::fs::write(migrations.join("99999999999999_tables.sql"), tables).expect("a file is made");
    let person = |email: &str| Person {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
    };
    Options {
        migrations: Some(migrations.to_owned()),
        seed: Some(project.join("seed.sql")),
        people: [ADMIN, "viewer@acme.test", STRANGER].map(person).to_vec(),
        pace,
        ..Options::default()
    }
}
