//! What logging changes: a line of the kernel for what is kept out, and no door.
//! It lets the kernel log for namespaces too while a test waits for that, and nothing else.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hidps_lab::say_skipped;
use hidps_wire::{FieldValue, LogEvent, PlannedChange};

use super::*;
use crate::world::PORT;

/// Whether the kernel logs packets of other network namespaces than its first.
const OF_ALL: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

/// Held by the one test that has the kernel log for namespaces.
static SWITCH: Mutex<()> = Mutex::new(());

/// A kernel that logs packets of namespaces until this is dropped.
struct LogsOfAll {
    before: String,
    _held: MutexGuard<'static, ()>,
}

impl LogsOfAll {
    /// None where the machine does not let it be so, or shows no log of its kernel.
    fn begin() -> Option<Self> {
        let held = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
        let before = fs::read_to_string(OF_ALL).ok()?;
        let is_shown = Path::new("/dev/kmsg").exists();
        let is_so = is_shown && fs::write(OF_ALL, "1").is_ok();
        is_so.then_some(Self {
            before,
            _held: held,
        })
    }
}

impl Drop for LogsOfAll {
    fn drop(&mut self) {
        fs::write(OF_ALL, &self.before).ok();
    }
}

/// These rules, with everything logged that they or the default keep out.
fn logging(rules: &[FirewallRuleEntry]) -> DesiredDocument {
    DesiredDocument {
        firewall_settings: Some(FirewallSettingsEntry {
            default_incoming: "deny".to_owned(),
            default_outgoing: "allow".to_owned(),
            logging: true,
        }),
        ..on(rules)
    }
}

fn what_is_logged_meets_the_same_doors_and_is_no_drift(back_end: BackEnd) {
    let test = "what_is_logged_meets_the_same_doors_and_is_no_drift";
    let Some(world) = back_end.world(test) else {
        return;
    };
    let _listeners: Vec<_> = (7_401..=7_404).map(|port| world.listen(port)).collect();
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let wanted = logging(&[
        tcp(1, "allow", 7_401, 7_401),
        tcp(2, "deny", 7_402, 7_402),
        tcp(3, "reject", 7_403, 7_403),
    ]);

    author.enforce(wanted.clone());

    use Door::{Open, Refused, Silent};
    author.expect_doors(
        [7_401, 7_402, 7_403, 7_404],
        [Open, Silent, Refused, Silent],
    );
    let before = back_end.snapshot(&world);
    author.enforce(wanted.clone());
    assert_eq!(back_end.snapshot(&world), before);
    let document = Some(Box::new(wanted));
    let Answer::Plan(plan) = author.daemon.ask(Question::Plan { document }) else {
        panic!("no plan");
    };
    assert_eq!(plan.firewall.change, PlannedChange::None, "{plan:#?}");
    assert_eq!(plan.firewall.lines, Vec::<String>::new());
}

fn whoever_is_kept_out_is_told_by_the_kernels_log(back_end: BackEnd) {
    let test = "whoever_is_kept_out_is_told_by_the_kernels_log";
    let Some(world) = back_end.world(test) else {
        return;
    };
    let Some(_logs) = LogsOfAll::begin() else {
        let missing = format!("{OF_ALL} cannot be set, or /dev/kmsg is missing");
        return say_skipped(test, &missing);
    };
    let home = world.home_with("kernel_log = \"on\"");
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    author.enforce(logging(&[]));
    // The log has lines of earlier runs, from the same addresses.
    let port = PORT + u16::try_from(std::process::id() % 20_000).unwrap();

    author.expect_doors([port], [Door::Silent]);

    let [source, port] = [far(&world.inside).to_string(), port.to_string()];
    let is_it = |event: &LogEvent<'_>| {
        let field = |name: &str| match event.fields.get(name) {
            Some(FieldValue::Text(text)) => text.to_string(),
            Some(FieldValue::Integer(number)) => number.to_string(),
            _ => String::new(),
        };
        field("src_ip") == source && field("dst_port") == port
    };
    let event = author.daemon.next_event(is_it);
    assert_eq!(event.kind, hidps_wire::EventKind::Firewall, "{event:?}");
}

contract! { nftables of Nftables:
    what_is_logged_meets_the_same_doors_and_is_no_drift,
    whoever_is_kept_out_is_told_by_the_kernels_log,
}

contract! { ufw of Ufw:
    what_is_logged_meets_the_same_doors_and_is_no_drift,
    whoever_is_kept_out_is_told_by_the_kernels_log,
}
