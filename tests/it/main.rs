//! The whole product from outside: real database, real daemon, real agent on a real host.
//! One binary, three worlds at a time, which tests use one after the other; a test that cannot run
//! here says why and what to install.

mod account_mail;
mod agent_http;
mod boundaries;
mod client_certificates;
mod faults;
mod firewall_rules;
mod flood;
mod fresh_host;
mod hostile_text;
mod install_script;
mod misuse;
mod observations;
mod open_files;
mod raw_agent;
mod revocation;
mod rules_cli;
mod slow_peers;
mod swarm;
mod turn;
mod typescript;
mod viewers;
