//! People who act through the official supabase-js, as a frontend would; one Node process each.
//! It never retries and never uses a server's key: what the library answers is the result.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// The program of a person.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/person.mjs");

/// An answer takes milliseconds; a first subscription on a busy machine some seconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Why a person could not do something.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// Node or the script did not start.
    #[error("could not start node for {email}")]
    Start {
        /// Who.
        email: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The process is gone.
    #[error("the process of {email} ended while {action}")]
    Gone {
        /// Who.
        email: String,
        /// What was going on.
        action: String,
    },
    /// Nothing came in time.
    #[error("{action} by {email} was not answered within {ANSWER_DEADLINE:?}")]
    Deadline {
        /// Who.
        email: String,
        /// What was going on.
        action: String,
    },
    /// Supabase said no.
    #[error("{action} by {email} was refused: {message} (code {code:?}, status {status:?})")]
    Refused {
        /// Who.
        email: String,
        /// What was tried.
        action: String,
        /// What the library said.
        message: String,
        /// The SQLSTATE or error code.
        code: Option<String>,
        /// The HTTP status.
        status: Option<u64>,
    },
}

impl PersonError {
    /// The SQLSTATE or error code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => code.as_deref(),
            Self::Start { .. } | Self::Gone { .. } | Self::Deadline { .. } => None,
        }
    }
}

/// Where a person finds the project.
#[derive(Clone, Copy, Debug)]
pub struct Project<'a> {
    /// Base address.
    pub url: &'a str,
    /// The key of a browser.
    pub publishable_key: &'a str,
    /// A directory with `node_modules` that hold supabase-js.
    pub npm: &'a Path,
}

/// Somebody who is signed in.
#[derive(Debug)]
pub struct Person {
    email: String,
    user_id: String,
    access_token: String,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    changes: VecDeque<Value>,
    next_id: u64,
    _process: Child,
}

impl Person {
    /// Signs in.
    ///
    /// # Errors
    /// When node does not start or Auth refuses.
    pub async fn sign_in(
        project: Project<'_>,
        email: &str,
        password: &str,
    ) -> Result<Self, PersonError> {
        let mut process = Command::new("node")
            .arg(SCRIPT)
            .env("SUPABASE_URL", project.url)
            .env("SUPABASE_PUBLISHABLE_KEY", project.publishable_key)
            .env("HIDPS_NPM", project.npm)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The terminal's Ctrl-C is for whoever owns this process, who then drops it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| PersonError::Start {
                email: email.to_owned(),
                source,
            })?;
        let stdin = process.stdin.take().expect("standard input is piped");
        let stdout = process.stdout.take().expect("standard output is piped");
        let mut person = Self {
            email: email.to_owned(),
            user_id: String::new(),
            access_token: String::new(),
            stdin,
            lines: BufReader::new(stdout).lines(),
            changes: VecDeque::new(),
            next_id: 1,
            _process: process,
        };
        let signed_in = person
            .call(json!({"do": "sign_in", "email": email, "password": password}))
            .await?;
        let text = |key: &str| signed_in[key].as_str().unwrap_or_default().to_owned();
        (person.user_id, person.access_token) = (text("user_id"), text("access_token"));
        Ok(person)
    }

    /// The id in `auth.users`.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The access token of the session.
    #[must_use]
    pub fn access_token(&self) -> &str {
        &self.access_token
    }

    /// Inserts one row and returns it.
    ///
    /// # Errors
    /// When Supabase refuses.
    pub async fn insert(&mut self, table: &str, row: Value) -> Result<Value, PersonError> {
        let rows = self
            .call(json!({"do": "insert", "table": table, "rows": [row]}))
            .await?;
        Ok(rows[0].clone())
    }

    /// Updates the rows that match and returns them.
    ///
    /// # Errors
    /// When Supabase refuses.
    pub async fn update(
        &mut self,
        table: &str,
        values: Value,
        matching: Value,
    ) -> Result<Value, PersonError> {
        self.call(json!({"do": "update", "table": table, "values": values, "match": matching}))
            .await
    }

    /// Deletes the rows that match and returns them.
    ///
    /// # Errors
    /// When Supabase refuses.
    pub async fn delete(&mut self, table: &str, matching: Value) -> Result<Value, PersonError> {
        self.call(json!({"do": "delete", "table": table, "match": matching}))
            .await
    }

    /// Reads the rows that match.
    ///
    /// # Errors
    /// When Supabase refuses.
    pub async fn select(&mut self, table: &str, matching: Value) -> Result<Value, PersonError> {
        self.call(json!({"do": "select", "table": table, "match": matching}))
            .await
    }

    /// Calls a function of the database.
    ///
    /// # Errors
    /// When Supabase refuses.
    pub async fn rpc(&mut self, name: &str, arguments: Value) -> Result<Value, PersonError> {
        self.call(json!({"do": "rpc", "name": name, "args": arguments}))
            .await
    }

    /// Subscribes to the changes of a table that this person may see.
    ///
    /// # Errors
    /// When Realtime refuses.
    pub async fn watch(&mut self, table: &str, filter: &str) -> Result<(), PersonError> {
        self.call(json!({"do": "watch", "table": table, "filter": filter}))
            .await
            .map(drop)
    }

    /// The row of the next change that is wanted; others before it are forgotten.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn next_change(
        &mut self,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, PersonError> {
        let search = async {
            loop {
                let change = match self.changes.pop_front() {
                    Some(change) => change,
                    None => self.read("waiting for a change").await?,
                };
                let row = &change["change"]["row"];
                if wanted(row) {
                    return Ok(row.clone());
                }
            }
        };
        let found = timeout(ANSWER_DEADLINE, search).await;
        found.unwrap_or_else(|_| Err(self.too_late("waiting for a change")))
    }

    async fn call(&mut self, mut command: Value) -> Result<Value, PersonError> {
        let action = describe(&command);
        let id = self.next_id;
        self.next_id += 1;
        command["id"] = json!(id);
        let line = format!("{command}\n");
        if self.stdin.write_all(line.as_bytes()).await.is_err() {
            return Err(PersonError::Gone {
                email: self.email.clone(),
                action,
            });
        }
        let answer = timeout(ANSWER_DEADLINE, self.read_answer(id, &action)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.too_late(&action)))?;
        match answer.get("error") {
            None => Ok(answer["ok"].clone()),
            Some(error) => Err(PersonError::Refused {
                email: self.email.clone(),
                action,
                message: error["message"].as_str().unwrap_or_default().to_owned(),
                code: error["code"].as_str().map(str::to_owned),
                status: error["status"].as_u64(),
            }),
        }
    }

    async fn read_answer(&mut self, id: u64, action: &str) -> Result<Value, PersonError> {
        loop {
            let message = self.read(action).await?;
            if message["id"] == json!(id) {
                return Ok(message);
            }
            if message.get("change").is_some() {
                self.changes.push_back(message);
            }
        }
    }

    async fn read(&mut self, action: &str) -> Result<Value, PersonError> {
        let gone = || PersonError::Gone {
            email: self.email.clone(),
            action: action.to_owned(),
        };
        let line = self
            .lines
            .next_line()
            .await
            .ok()
            .flatten()
            .ok_or_else(gone)?;
        Ok(serde_json::from_str(&line).unwrap_or_default())
    }

    fn too_late(&self, action: &str) -> PersonError {
        PersonError::Deadline {
            email: self.email.clone(),
            action: action.to_owned(),
        }
    }
}

/// A command without its values, which may be secret.
fn describe(command: &Value) -> String {
    let word = |key: &str| command[key].as_str().unwrap_or_default().to_owned();
    let object = [word("table"), word("name")].concat();
    format!("{} {object}", word("do")).trim_end().to_owned()
}
