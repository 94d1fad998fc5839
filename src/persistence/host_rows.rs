//! Row shapes of what hosts tell of themselves: usage, processes and facts.
//! They have no desired column, and none that could hold a log event.

use hidps_wire::{AgentId, Interface, OpenPorts, ProcessEntry};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{FactsReport, ProcessesReport, UsageReport};
use crate::persistence::rows::age_of;
use crate::telemetry;

/// What the database kept of reports.
#[derive(Debug, Deserialize)]
pub(super) struct Kept {
    /// Reports with lists that are longer than a row takes; their hosts' rows stay as they are.
    too_long: u32,
}

impl Kept {
    /// Counts what was not kept, and says so.
    pub(super) fn tell(&self, kind: &'static str) {
        if self.too_long > 0 {
            metrics::counter!(telemetry::WRITES, "kind" => kind, "result" => "too_long")
                .increment(u64::from(self.too_long));
            let hosts = self.too_long;
            tracing::warn!(
                kind,
                hosts,
                "what hosts tell of themselves is too long for a row, which stays as it was"
            );
        }
    }
}

/// An element of `rpc/record_usage`; it has no desired column to overwrite.
#[derive(Debug, Serialize)]
pub(super) struct UsageRow {
    agent_id: AgentId,
    cpu_usage: f32,
    ram_usage: f32,
    storage_usage: f32,
    firewall_active: Option<bool>,
    details: Value,
}

impl From<UsageReport> for UsageRow {
    fn from(report: UsageReport) -> Self {
        let mut details = serde_json::Map::new();
        if let Some(load) = report.load {
            details.insert("load".into(), json!(load));
        }
        if !report.disks.is_empty() {
            details.insert("disks".into(), json!(report.disks));
        }
        if !report.sensors.is_empty() {
            details.insert("sensors".into(), json!(report.sensors));
        }
        Self {
            agent_id: report.agent_id,
            cpu_usage: report.cpu,
            ram_usage: report.ram,
            storage_usage: report.storage,
            firewall_active: report.firewall_active,
            details: Value::Object(details),
        }
    }
}

/// An element of `rpc/record_processes`.
#[derive(Debug, Serialize)]
pub(super) struct ProcessesRow {
    agent_id: AgentId,
    age: f64,
    total: u32,
    processes: Vec<ProcessEntry>,
}

impl From<ProcessesReport> for ProcessesRow {
    fn from(report: ProcessesReport) -> Self {
        Self {
            agent_id: report.agent_id,
            age: age_of(report.at),
            // The column is an integer of 32 bits with a sign.
            total: report.processes.total.min(i32::MAX.unsigned_abs()),
            processes: report.processes.top,
        }
    }
}

/// An element of `rpc/record_facts`.
#[derive(Debug, Serialize)]
pub(super) struct FactsRow {
    agent_id: AgentId,
    hostname: String,
    os_name: Option<String>,
    os_id: Option<String>,
    os_version: Option<String>,
    kernel: String,
    arch: String,
    booted_at: Option<Timestamp>,
    virtualization: Option<String>,
    interfaces: Vec<Interface>,
    open_ports: Option<OpenPorts>,
    pending_updates: Option<u32>,
    pending_security_updates: Option<u32>,
    update_lists_at: Option<Timestamp>,
    updates_unknown: Option<String>,
    antivirus_name: Option<String>,
    antivirus_running: Option<bool>,
    antivirus_signatures_at: Option<Timestamp>,
    time_source: Option<String>,
    time_synchronized: Option<bool>,
}

impl From<FactsReport> for FactsRow {
    fn from(report: FactsReport) -> Self {
        let facts = report.facts;
        let (antivirus, time_sync) = (facts.antivirus.as_ref(), facts.time_sync.as_ref());
        let count = |count: u32| count.min(i32::MAX.unsigned_abs());
        Self {
            agent_id: report.agent_id,
            hostname: facts.hostname.to_string(),
            os_name: facts.os.as_deref().map(str::to_owned),
            os_id: facts.os_id.as_deref().map(str::to_owned),
            os_version: facts.os_version.as_deref().map(str::to_owned),
            kernel: facts.kernel.to_string(),
            arch: facts.arch.to_string(),
            booted_at: facts.booted_at.and_then(time),
            virtualization: facts.virtualization.as_deref().map(str::to_owned),
            pending_updates: facts.updates.map(|updates| count(updates.total)),
            pending_security_updates: facts.updates.map(|updates| count(updates.security)),
            update_lists_at: facts.updates.and_then(|updates| time(updates.lists_at)),
            updates_unknown: facts.updates_unknown.as_deref().map(str::to_owned),
            antivirus_name: antivirus.map(|found| found.name.to_string()),
            antivirus_running: antivirus.map(|found| found.running),
            antivirus_signatures_at: antivirus.and_then(|found| time(found.signatures_at?)),
            time_source: time_sync.map(|sync| sync.source.to_string()),
            time_synchronized: time_sync.and_then(|sync| sync.synchronized),
            interfaces: facts.interfaces,
            open_ports: facts.open_ports,
        }
    }
}

/// A time of the calendar; a host may claim any number.
fn time(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds)
        .ok()
        .filter(|time| *time >= Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use hidps_wire::{Facts, PendingUpdates};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_not_kept_is_read_from_the_answer() {
        let kept: Kept = serde_json::from_str(r#"{"changed": 3, "too_long": 2}"#).unwrap();

        assert_eq!(kept.too_long, 2);
    }

    #[test]
    fn times_no_calendar_has_are_left_out() {
        let facts = Facts {
            booted_at: Some(i64::MAX),
            updates: Some(PendingUpdates {
                total: u32::MAX,
                security: 1,
                lists_at: -1,
            }),
            ..Facts::default()
        };

        let row = FactsRow::from(FactsReport {
            agent_id: AgentId::new(Uuid::nil()),
            facts,
        });

        assert_eq!((row.booted_at, row.update_lists_at), (None, None));
        assert_eq!(row.pending_updates, Some(2_147_483_647));
    }
}
