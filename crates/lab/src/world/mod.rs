//! A whole world on one machine: the local Supabase stack, the daemon, and a host with its agent.
//! It leaves nothing behind, however it ends, but the caches below `target`.

pub mod binaries;
pub mod daemon;
pub mod host;
pub mod observed;
pub mod outside;
pub mod person;
pub mod probe;
pub mod viewer;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What its people got by mail.
pub use hidps_local_supabase::Mail;
/// What can be made to go wrong with the stack.
pub use hidps_local_supabase::{ChangeError, Faults, Lane, RestFault, SystemOk};
use hidps_local_supabase::{Options, Person as Account, Stack, StackError};
use serde_json::json;
use tempfile::TempDir;

use crate::ports::free_port;
use crate::world::binaries::NotBuilt;
use crate::world::daemon::{Daemon, DaemonError, DaemonSettings};
use crate::world::host::{AgentProcess, AgentSettings, Host, HostError};
use crate::world::outside::Outside;
use crate::world::person::{Person, PersonError, Project};
use crate::world::probe::{NotSeen, wait_until};

/// The root of the repository.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The organization of the seed.
pub const ORGANIZATION: &str = "0190a000-0000-7000-8000-000000000a01";

/// The agent of the seed.
pub const AGENT: &str = "0190a000-0000-7000-8000-000000000001";

/// Owner of the organization.
pub const ADMIN: &str = "admin@acme.test";

/// Member of the organization who may only read.
pub const VIEWER: &str = "viewer@acme.test";

/// Owner of another organization.
pub const STRANGER: &str = "admin@other.test";

/// Everybody's password; the stack is reachable from this machine only.
pub const PASSWORD: &str = "hidps-demo-password";

/// From the agent's start to online: key, enrollment, connect, presence row.
const ONLINE_DEADLINE: Duration = Duration::from_secs(90);

/// How a world is started.
#[derive(Clone, Debug, Default)]
pub struct WorldOptions {
    /// Port of the Supabase gateway; 0 takes a free one.
    pub supabase_port: u16,
    /// Port of the daemon; 0 takes a free one.
    pub daemon_port: u16,
}

/// Everything that runs.
#[derive(Debug)]
pub struct World {
    /// The agent's process; declared, and so ended, before what it talks to.
    pub agent: AgentProcess,
    /// The daemon's process.
    pub daemon: Daemon,
    /// The host.
    pub host: Host,
    /// The admin, signed in.
    pub admin: Person,
    /// The Supabase stack.
    pub stack: Stack,
    directory: TempDir,
}

impl World {
    /// Starts everything and waits until the agent is online.
    ///
    /// # Errors
    /// Names the part that did not come up.
    pub async fn start(options: WorldOptions) -> Result<Self, WorldError> {
        let (daemon_program, agent_program) = (binaries::find_daemon()?, binaries::find_agent()?);
        let directory = make_directory()?;
        let stack = Stack::start(stack_options(&options)).await?;
        let host = Host::new()?;
        let daemon_port = match options.daemon_port {
            0 => free_port(Ipv4Addr::UNSPECIFIED.into())
                .map_err(|source| WorldError::Prepare { source })?,
            port => port,
        };
        let settings = DaemonSettings {
            program: daemon_program,
            port: daemon_port,
            also_listen: host.machine_address(),
            environment: daemon_environment(&stack, directory.path()),
        };
        let (daemon, admin) = tokio::join!(Daemon::start(settings), sign_in(&stack, ADMIN));
        let (daemon, mut admin) = (daemon?, admin?);
        let agent = AgentProcess::start(
            &host,
            AgentSettings {
                program: agent_program,
                agent_id: AGENT.to_owned(),
                token: create_token(&mut admin).await?,
                daemon_port,
                directory: make_subdirectory(directory.path(), "agent")?,
            },
        )?;
        let world = Self {
            agent,
            daemon,
            host,
            admin,
            stack,
            directory,
        };
        world.wait_online().await?;
        Ok(world)
    }

    /// Waits until the database says that the agent is online.
    ///
    /// # Errors
    /// When it does not within a minute and a half; the error quotes the agent's log.
    pub async fn wait_online(&self) -> Result<Duration, WorldError> {
        let online = wait_until(
            "the agent being online",
            ONLINE_DEADLINE,
            async || match self.outside().is_online(AGENT).await {
                Ok(true) => Ok(()),
                Ok(false) => Err("it is offline".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        );
        let online = online.await.map_err(|source| WorldError::Offline {
            agent_log: self.agent.log(),
            daemon_log: self.daemon.log(),
            source,
        })?;
        Ok(online.1)
    }

    /// Signs in somebody of the seed.
    ///
    /// # Errors
    /// When Auth refuses.
    pub async fn sign_in(&self, email: &str) -> Result<Person, WorldError> {
        Ok(sign_in(&self.stack, email).await?)
    }

    /// The database, looked at from outside.
    #[must_use]
    pub const fn outside(&self) -> Outside<'_> {
        Outside(&self.stack)
    }

    /// A directory for files of this world.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the daemon keeps its spool.
    #[must_use]
    pub fn daemon_state(&self) -> PathBuf {
        self.directory.path().join("daemon")
    }

    /// Ends everything in order.
    ///
    /// # Errors
    /// When a part does not end by itself; it is then killed as this returns.
    pub async fn stop(self) -> Result<(), WorldError> {
        let Self {
            agent,
            mut daemon,
            host,
            admin,
            stack,
            directory,
        } = self;
        drop((agent, admin));
        let drained = daemon.stop();
        drop((daemon, host));
        stack.stop().await?;
        drop(directory);
        drained?;
        Ok(())
    }
}

pub(crate) fn stack_options(options: &WorldOptions) -> Options {
    let supabase = Path::new(REPOSITORY).join("supabase");
    let account = |email: &str| Account {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
    };
    Options {
        seed: Some(supabase.join("seed.sql")),
        people: [ADMIN, VIEWER, STRANGER].map(account).to_vec(),
        port: options.supabase_port,
        ..Options::of_project(supabase)
    }
}

pub(crate) fn daemon_environment(stack: &Stack, directory: &Path) -> Vec<(&'static str, String)> {
    let rules = Path::new(REPOSITORY).join("detection-rules");
    vec![
        ("SUPABASE_URL", stack.url()),
        ("SUPABASE_SECRET_KEY", stack.secret_key().to_owned()),
        (
            "SUPABASE_PUBLISHABLE_KEY",
            stack.publishable_key().to_owned(),
        ),
        ("SUPABASE_JWT_SECRET", stack.jwt_secret().to_owned()),
        ("HIDPS_SMTP_URL", format!("smtp://{}", stack.smtp_address())),
        ("HIDPS_MAIL_FROM", "HIDPS <hidps@acme.test>".to_owned()),
        (
            "HIDPS_STATE_DIR",
            directory.join("daemon").display().to_string(),
        ),
        ("HIDPS_RULES_DIR", rules.display().to_string()),
        // The cable to the host never leaves this machine.
        ("HIDPS_ALLOW_PLAINTEXT", "true".to_owned()),
        ("HIDPS_LOG_FORMAT", "text".to_owned()),
        // Its log is quoted in errors, where colours are noise.
        ("NO_COLOR", "1".to_owned()),
    ]
}

async fn sign_in(stack: &Stack, email: &str) -> Result<Person, PersonError> {
    let url = stack.url();
    let project = Project {
        url: &url,
        publishable_key: stack.publishable_key(),
        npm: stack.node_packages(),
    };
    Person::sign_in(project, email, PASSWORD).await
}

async fn create_token(admin: &mut Person) -> Result<String, PersonError> {
    let arguments = json!({"org": ORGANIZATION, "name": "first host", "agent": AGENT});
    let token = admin.rpc("create_agent_token", arguments).await?;
    Ok(token.as_str().unwrap_or_default().to_owned())
}

pub(crate) fn make_directory() -> Result<TempDir, WorldError> {
    let directory = tempfile::Builder::new().prefix("hidps-world").tempdir();
    let directory = directory.map_err(|source| WorldError::Prepare { source })?;
    make_subdirectory(directory.path(), "daemon")?;
    Ok(directory)
}

fn make_subdirectory(parent: &Path, name: &str) -> Result<PathBuf, WorldError> {
    let path = parent.join(name);
    std::fs::create_dir(&path).map_err(|source| WorldError::Prepare { source })?;
    Ok(path)
}

/// Why a world did not come up or go down.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A program is missing.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// A directory or port could not be had.
    #[error("could not prepare directories and ports")]
    Prepare {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The Supabase stack.
    #[error("the local Supabase stack failed")]
    Stack(#[from] StackError),
    /// The host.
    #[error("the host failed")]
    Host(#[from] HostError),
    /// The daemon.
    #[error("the daemon failed")]
    Daemon(#[from] DaemonError),
    /// A person.
    #[error("a person failed")]
    Person(#[from] PersonError),
    /// The agent did not come online.
    #[error(
        "the agent did not come online; it logged:\n{agent_log}\nthe daemon logged:\n{daemon_log}"
    )]
    Offline {
        /// What the agent logged.
        agent_log: String,
        /// What the daemon logged.
        daemon_log: String,
        /// What was seen.
        #[source]
        source: NotSeen,
    },
}
