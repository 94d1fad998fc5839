//! Checks whether a host has what the agent needs, and says how to mend what it lacks.
//! It changes nothing, and enrolls nothing.

use std::fmt::Write as _;
use std::fs;

use crate::config::{Config, FirewallMode};
use crate::dial::Dialer;
use crate::error_chain::chain;
use crate::firewall::{Firewall as _, HostFirewall};
use crate::state_dir::StateDir;

/// Fewer watches than this do not carry 1,000 paths and the directories above them.
const MIN_WATCHES: u64 = 8_192;

/// The result of one check.
struct Finding {
    name: &'static str,
    /// What was found, or what is wrong and how to mend it.
    result: Result<String, String>,
}

/// What a doctor says.
#[derive(Debug)]
pub struct Diagnosis {
    /// One line for each check.
    pub text: String,
    /// Whether nothing is wrong.
    pub is_well: bool,
}

/// Runs every check.
pub async fn examine(config: &Config) -> Diagnosis {
    let findings = [
        check_state(config),
        check_firewall(config).await,
        check_inotify(),
        check_log_files(config),
        check_backend(config).await,
    ];
    let mut text = String::new();
    for Finding { name, result } in &findings {
        let (mark, said) = match result {
            Ok(said) => ("ok  ", said),
            Err(said) => ("FAIL", said),
        };
        writeln!(text, "{mark} {name:<10} {said}").expect("a string takes any text");
    }
    Diagnosis {
        text,
        is_well: findings.iter().all(|finding| finding.result.is_ok()),
    }
}

fn check_state(config: &Config) -> Finding {
    let path = &config.state_dir;
    let result = if path.exists() {
        StateDir::open_existing(path)
            .map(|_| format!("{} is private", path.display()))
            .map_err(|error| chain(&error))
    } else {
        Ok(format!("{} will be made by the first run", path.display()))
    };
    Finding {
        name: "state",
        result,
    }
}

async fn check_firewall(config: &Config) -> Finding {
    let firewall = HostFirewall::new(config.firewall, config.keep_open.clone());
    let result = match (firewall.is_active().await, config.firewall) {
        (Ok(true), _) => Ok("nft works; the agent's table is loaded".to_owned()),
        (Ok(false), _) => Ok("nft works; the agent's table is absent".to_owned()),
        (Err(error), FirewallMode::Nftables) => {
            Err(format!("{}; or set firewall = \"observe\"", chain(&error)))
        }
        (Err(error), FirewallMode::Observe) => Ok(format!(
            "the firewall is only observed, and cannot be: {}",
            chain(&error)
        )),
    };
    Finding {
        name: "firewall",
        result,
    }
}

fn check_inotify() -> Finding {
    let path = "/proc/sys/fs/inotify/max_user_watches";
    let limit: Option<u64> = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let result = match limit {
        Some(limit) if limit >= MIN_WATCHES => Ok(format!("{limit} watches are allowed")),
        Some(limit) => Err(format!(
            "only {limit} watches are allowed; run: sysctl fs.inotify.max_user_watches={MIN_WATCHES}"
        )),
        None => Err(format!(
            "{path} cannot be read; the kernel may lack inotify"
        )),
    };
    Finding {
        name: "inotify",
        result,
    }
}

fn check_log_files(config: &Config) -> Finding {
    let unreadable: Vec<_> = config
        .log_files
        .iter()
        .filter_map(|source| {
            let error = fs::File::open(&source.path).err()?;
            Some(format!("{} cannot be read: {error}", source.path.display()))
        })
        .collect();
    let result = if unreadable.is_empty() {
        Ok(format!("{} file(s) to follow", config.log_files.len()))
    } else {
        Err(format!(
            "{}; they are followed when they can be read",
            unreadable.join(", ")
        ))
    };
    Finding {
        name: "log files",
        result,
    }
}

async fn check_backend(config: &Config) -> Finding {
    let dialed = match Dialer::new(config.backend.clone(), config.ca_file.as_deref()) {
        Ok(dialer) => dialer.dial().await.map(drop),
        Err(error) => Err(error),
    };
    let result = dialed
        .map(|()| format!("{} is reachable", config.backend))
        .map_err(|error| {
            let error = chain(&error);
            format!("{error}; check backend_url, the name service and firewalls on the way")
        });
    Finding {
        name: "backend",
        result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(state_dir: &std::path::Path, port: u16) -> Config {
        let text = format!(
            "agent_id = \"7d444840-9dc0-11d1-b245-5ffdce74fad2\"\n\
             backend_url = \"http://127.0.0.1:{port}\"\nfirewall = \"observe\"\n\
             state_dir = {state_dir:?}\n[[log_file]]\npath = \"/nonexistent/auth.log\"\n"
        );
        Config::parse(&text, |_| None).unwrap()
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_with_its_cure() {
        use std::os::unix::fs::PermissionsExt as _;
        let state = tempfile::tempdir().unwrap();
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();

        let diagnosis = examine(&config(state.path(), port)).await;

        assert!(!diagnosis.is_well);
        for words in [
            "FAIL state",
            "chmod 700",
            "FAIL log files",
            "/nonexistent/auth.log",
            &format!("http://127.0.0.1:{port} is reachable"),
        ] {
            assert!(
                diagnosis.text.contains(words),
                "{words}: {}",
                diagnosis.text
            );
        }
    }

    #[tokio::test]
    async fn an_unreachable_backend_is_a_finding() {
        let parent = tempfile::tempdir().unwrap();
        // Nothing listens on the port of a listener that is gone.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);

        let diagnosis = examine(&config(&parent.path().join("state"), port)).await;

        assert!(
            diagnosis.text.contains("FAIL backend"),
            "{}",
            diagnosis.text
        );
        assert!(diagnosis.text.contains("could not connect to 127.0.0.1"));
    }
}
