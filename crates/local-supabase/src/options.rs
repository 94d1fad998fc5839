//! How a stack is to be started.
//! Never reads the environment.

use std::path::PathBuf;
use std::time::Duration;

/// What a stack starts with; [`Options::default`] is an empty project on free ports.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of `*.sql` files that are applied in the order of their names.
    pub migrations: Option<PathBuf>,
    /// File that is run after the people exist.
    pub seed: Option<PathBuf>,
    /// People to sign up, in this order.
    pub people: Vec<Person>,
    /// Port of the gateway; 0 takes a free one.
    pub port: u16,
    /// Port of the mail catcher; 0 takes a free one.
    pub smtp_port: u16,
    /// How long an access token of a person is valid.
    pub token_lifetime: Duration,
    /// How the Realtime stand-in paces itself.
    pub pace: Pace,
    /// Where the npm packages are kept between starts.
    pub cache: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            migrations: None,
            seed: None,
            people: Vec::new(),
            port: 0,
            smtp_port: 0,
            // The default of Supabase Auth.
            token_lifetime: Duration::from_secs(3600),
            pace: Pace::default(),
            cache: PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../target/local-supabase"
            )),
        }
    }
}

impl Options {
    /// Describes the project in `supabase` of a repository: its migrations, unseeded.
    #[must_use]
    pub fn of_project(supabase: impl Into<PathBuf>) -> Self {
        Self {
            migrations: Some(supabase.into().join("migrations")),
            ..Self::default()
        }
    }
}

/// Somebody with a password.
#[derive(Debug, Clone)]
pub struct Person {
    /// Address to sign in with.
    pub email: String,
    /// Password to sign in with.
    pub password: String,
}

/// Delays of the Realtime stand-in; the defaults are what Supabase was seen to do.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Pause between two looks at the log while changes come.
    pub poll_busy: Duration,
    /// Pause between two looks at the log while nothing comes.
    pub poll_idle: Duration,
    /// Pause between the answer to a join and `system ok`; it varies by half of it in both directions.
    pub system_ok: Duration,
    /// Pause before a subscription that failed is tried again.
    pub resubscribe: Duration,
    /// Pause between two looks at the tables of the publication; a change of it subscribes everybody anew.
    pub publication: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll_busy: Duration::from_millis(100),
            poll_idle: Duration::from_millis(500),
            system_ok: Duration::from_millis(200),
            resubscribe: Duration::from_secs(5),
            publication: Duration::from_secs(60),
        }
    }
}
