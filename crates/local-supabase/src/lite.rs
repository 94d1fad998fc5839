//! REST and Auth: the official `@supabase/lite` in a Node process of ours.
//! Never implements a route itself.

use std::path::Path;

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::StackError;
use crate::http;
use crate::keys::Keys;
use crate::npm;
use crate::options::Person;
use crate::owned_process::OwnedProcess;

/// What the Node process runs.
const SCRIPT: &str = include_str!("../npm/lite.mjs");

/// The running server.
#[derive(Debug)]
pub(crate) struct Lite {
    process: OwnedProcess,
    port: u16,
}

/// What the server has to know.
pub(crate) struct Surroundings<'a> {
    /// Where the packages are.
    pub(crate) packages: &'a Path,
    /// Where logs go.
    pub(crate) logs: &'a Path,
    /// Address of the database, as the login role.
    pub(crate) database: String,
    /// The stack's secrets.
    pub(crate) keys: &'a Keys,
    /// Lifetime of access tokens in seconds.
    pub(crate) token_seconds: u64,
    /// Port of the mail catcher.
    pub(crate) smtp_port: u16,
}

#[derive(Deserialize)]
struct Greeting {
    http: u16,
}

impl Lite {
    /// Starts the server and waits until it listens.
    pub(crate) async fn start(around: Surroundings<'_>) -> Result<Self, StackError> {
        let settings = json!({
            "database": around.database,
            "jwt_secret": around.keys.jwt_secret,
            "jwt_expiry": around.token_seconds,
            "publishable_key": around.keys.publishable,
            "secret_key": around.keys.secret,
            "smtp_host": "127.0.0.1",
            "smtp_port": around.smtp_port,
        });
        let mut command = npm::script(around.packages, SCRIPT);
        command.env("LOCAL_SUPABASE", settings.to_string());
        let mut process = OwnedProcess::start("lite", command, around.logs)?;
        let Greeting { http } = process.read_greeting().await?;
        Ok(Self {
            process,
            port: http,
        })
    }

    /// Gives the address the gateway forwards to.
    pub(crate) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes the request at which the server reads the schema and grants on it what it thinks is missing.
    ///
    /// It does so at its first request that meets row level security, and two such requests at once collide in
    /// Postgres' catalog: one of them would be answered with 409.
    pub(crate) async fn settle(&self, secret_key: &str, table: &str) -> Result<(), StackError> {
        let operation = "let REST read the schema";
        let address = format!("http://{}/rest/v1/{table}?limit=1", self.authority());
        match http::ask(operation, Method::GET, &address, Some(secret_key), None).await? {
            (200, _) => Ok(()),
            (status, answer) => Err(StackError::Http {
                operation: operation.to_owned(),
                reason: format!("{table}: status {status}: {answer}"),
            }),
        }
    }

    /// Signs somebody up and gives the new user's id.
    pub(crate) async fn sign_up(&self, key: &str, person: &Person) -> Result<String, StackError> {
        let answer = self.ask("sign up", "/auth/v1/signup", key, person).await?;
        text_at(&answer, "/user/id", "sign up", person)
    }

    /// Signs somebody in and gives the access token.
    pub(crate) async fn sign_in(&self, key: &str, person: &Person) -> Result<String, StackError> {
        let path = "/auth/v1/token?grant_type=password";
        let answer = self.ask("sign in", path, key, person).await?;
        text_at(&answer, "/access_token", "sign in", person)
    }

    /// Ends the server.
    pub(crate) async fn stop(self) -> Result<(), StackError> {
        self.process.stop().await
    }

    async fn ask(
        &self,
        operation: &'static str,
        path: &str,
        key: &str,
        person: &Person,
    ) -> Result<Value, StackError> {
        let address = format!("http://{}{path}", self.authority());
        let body = json!({ "email": person.email, "password": person.password });
        let (status, answer) =
            http::ask(operation, Method::POST, &address, Some(key), Some(&body)).await?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let message = answer["msg"]
            .as_str()
            .map_or_else(|| answer.to_string(), str::to_owned);
        Err(refused(operation, person, status, message))
    }
}

fn text_at(
    answer: &Value,
    pointer: &str,
    operation: &'static str,
    person: &Person,
) -> Result<String, StackError> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| {
        refused(
            operation,
            person,
            200,
            format!("the answer lacks {pointer}"),
        )
    })
}

fn refused(operation: &'static str, person: &Person, status: u16, message: String) -> StackError {
    StackError::Auth {
        operation,
        email: person.email.clone(),
        status,
        message,
    }
}
