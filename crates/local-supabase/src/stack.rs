//! A whole stack: starts its parts in order, hands out what a client needs, ends them in order.
//! Never shares anything with another stack on the same machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::database::{
    self, Row, apply_file, apply_migrations, bootstrap, connect, find_guarded_table,
};
use crate::error::{StackError, io_failed};
use crate::faults::Faults;
use crate::gateway;
use crate::keys::Keys;
use crate::lite::{Lite, Surroundings};
use crate::mail::{Mail, MailCatcher};
use crate::npm::ensure_packages;
use crate::options::{Options, Person};
use crate::postgres::Postgres;
use crate::realtime::Realtime;

/// A running stack; dropping it ends everything as well, only without waiting.
#[derive(Debug)]
pub struct Stack {
    keys: Keys,
    faults: Faults,
    address: SocketAddr,
    sql: Client,
    packages: PathBuf,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
    lite: Lite,
    mail: MailCatcher,
    postgres: Postgres,
    realtime: Arc<Realtime>,
}

impl Stack {
    /// Starts Postgres, REST, Auth, Realtime and the mail catcher, and applies what the options name.
    ///
    /// # Errors
    /// Says in one sentence what is missing and how to get it, or which file failed and where.
    pub async fn start(options: Options) -> Result<Self, StackError> {
        let keys = Keys::generate()?;
        let packages = ensure_packages(&options.cache).await?;
        let postgres = Postgres::start(&keys).await?;
        let (logs, superuser) = (postgres.logs(), postgres.superuser_url());
        let mut tasks = JoinSet::new();
        let sql = connect(&superuser, &mut tasks, None).await?;
        bootstrap(&sql, &keys.authenticator_password).await?;
        let mail = MailCatcher::start(&packages, &logs, options.smtp_port).await?;
        let around = Surroundings {
            packages: &packages,
            logs: &logs,
            database: postgres.url("authenticator", &keys.authenticator_password),
            keys: &keys,
            token_seconds: options.token_lifetime.as_secs(),
            smtp_port: mail.smtp_port(),
        };
        let lite = Lite::start(around).await?;
        prepare_project(&sql, &lite, &keys, &options).await?;

        let faults = Faults::new();
        let (stopping, stop_seen) = watch::channel(false);
        let pace = options.pace;
        let realtime = Realtime::start(
            &superuser,
            keys.clone(),
            faults.clone(),
            pace,
            stop_seen,
            &mut tasks,
        )
        .await?;
        let realtime = Arc::new(realtime);
        let served = Arc::clone(&realtime);
        let upstream = lite
            .authority()
            .parse()
            .expect("an address and a port are an authority");
        let router = gateway::router(upstream, faults.clone(), served, keys.clone());
        let address = serve(options.port, router, &stopping, &mut tasks).await?;
        Ok(Self {
            keys,
            faults,
            address,
            sql,
            packages,
            stopping,
            tasks,
            lite,
            mail,
            postgres,
            realtime,
        })
    }

    /// Gives the address of the project, as a client wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gives the key for browsers.
    #[must_use]
    pub fn publishable_key(&self) -> &str {
        &self.keys.publishable
    }

    /// Gives the key for servers.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.keys.secret
    }

    /// Gives the key that signs access tokens.
    #[must_use]
    pub fn jwt_secret(&self) -> &str {
        &self.keys.jwt_secret
    }

    /// Gives the address of the database for its superuser, with the password.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.postgres.superuser_url()
    }

    /// Gives the address of the mail catcher's SMTP server; it takes mail without TLS and with any login.
    #[must_use]
    pub fn smtp_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.mail.smtp_port()).into()
    }

    /// Gives the directory with every file the stack writes: data, write-ahead log and the logs of its parts.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.postgres.home()
    }

    /// Gives the directory from which a Node script finds the official client and `ws`.
    #[must_use]
    pub fn node_packages(&self) -> &Path {
        &self.packages
    }

    /// Gives the switches for faults.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Lists the mails caught so far, oldest first.
    ///
    /// # Errors
    /// If the mail catcher is gone.
    pub async fn mails(&self) -> Result<Vec<Mail>, StackError> {
        self.mail.list_mails().await
    }

    /// Signs somebody up and gives the new user's id.
    ///
    /// # Errors
    /// If Auth refuses.
    pub async fn sign_up(&self, email: &str, password: &str) -> Result<String, StackError> {
        self.lite
            .sign_up(&self.keys.publishable, &person(email, password))
            .await
    }

    /// Signs somebody in and gives the access token.
    ///
    /// # Errors
    /// If Auth refuses.
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<String, StackError> {
        let person = person(email, password);
        let token = self.lite.sign_in(&self.keys.publishable, &person).await?;
        Ok(self.sign_token(&token))
    }

    /// Gives a token of the shared secret as Auth would issue it now: with the newest signing key, if there is one.
    #[must_use]
    pub fn sign_token(&self, token: &str) -> String {
        self.keys.outside(token, &format!("{}/auth/v1", self.url()))
    }

    /// Makes a signing key (ES256) and gives its name: from now on Auth signs access tokens with it, and those
    /// of the keys before it stay good. The first one turns the project away from its shared secret.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn rotate_signing_key(&self) -> Result<String, StackError> {
        self.keys.signing.rotate()
    }

    /// Revokes a signing key: the project publishes it no more and takes no token of it. Without any key the
    /// shared secret signs again.
    pub fn revoke_signing_key(&self, id: &str) {
        self.keys.signing.revoke(id);
    }

    /// Runs statements as the superuser and gives the rows of all of them, values as text.
    ///
    /// # Errors
    /// If Postgres refuses.
    pub async fn sql(&self, statements: &str) -> Result<Vec<Row>, StackError> {
        database::run(&self.sql, statements).await
    }

    /// Ends Postgres as a crash would; REST, Auth and Realtime go on and have nobody to ask.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn crash_postgres(&self) -> Result<(), StackError> {
        self.postgres.crash().await
    }

    /// Starts Postgres again after a crash. Realtime reads what commits after it has slots again, and tells nobody
    /// that there was a gap.
    ///
    /// # Errors
    /// If it does not start or cannot be reached.
    pub async fn revive_postgres(&mut self) -> Result<(), StackError> {
        self.postgres.revive().await?;
        let superuser = self.postgres.superuser_url();
        self.sql = connect(&superuser, &mut self.tasks, None).await?;
        self.realtime.reconnect(&superuser, &mut self.tasks).await
    }

    /// Ends everything and waits until nothing is left.
    ///
    /// # Errors
    /// If a part could not be ended; the others were, even so.
    pub async fn stop(mut self) -> Result<(), StackError> {
        self.stopping.send_replace(true);
        self.tasks.shutdown().await;
        let outcomes = [
            self.lite.stop().await,
            self.mail.stop().await,
            self.postgres.stop().await,
        ];
        outcomes.into_iter().collect()
    }
}

fn person(email: &str, password: &str) -> Person {
    Person {
        email: email.to_owned(),
        password: password.to_owned(),
    }
}

/// Applies migrations, people and seed, in this order, because each needs the one before.
async fn prepare_project(
    sql: &Client,
    lite: &Lite,
    keys: &Keys,
    options: &Options,
) -> Result<(), StackError> {
    if let Some(folder) = &options.migrations {
        apply_migrations(sql, folder).await?;
    }
    for person in &options.people {
        lite.sign_up(&keys.publishable, person).await?;
    }
    if let Some(seed) = &options.seed {
        apply_file(sql, seed).await?;
    }
    if let Some(table) = find_guarded_table(sql).await? {
        lite.settle(&keys.secret, &table).await?;
    }
    Ok(())
}

/// Starts the gateway and gives its address.
async fn serve(
    port: u16,
    router: Router,
    stopping: &watch::Sender<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<SocketAddr, StackError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(io_failed(format!("listen on port {port}")))?;
    let address = listener
        .local_addr()
        .map_err(io_failed("read the gateway's address"))?;
    let mut stop_seen = stopping.subscribe();
    tasks.spawn(async move {
        let stopped = async move { drop(stop_seen.wait_for(|stopping| *stopping).await) };
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(stopped)
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the gateway ended");
        }
    });
    Ok(address)
}
