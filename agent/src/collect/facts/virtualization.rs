//! Whether this host is a container or a virtual machine, as far as its files say.
//! It executes no instruction that would ask the processor.

use std::fs;
use std::path::Path;

/// Words in the names that hardware has, and what they say.
const MACHINES: [(&str, &str); 9] = [
    ("kvm", "kvm"),
    ("qemu", "qemu"),
    ("vmware", "vmware"),
    ("virtualbox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("amazon ec2", "amazon"),
    ("google", "google"),
    ("microsoft corporation virtual machine", "hyper-v"),
    ("xen", "xen"),
];

/// What it is; none for a real machine and for one that does not show.
pub(super) fn find(root: &Path) -> Option<String> {
    let exists = |path: &str| root.join(path).exists();
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    if let Some(kind) = read("run/systemd/container") {
        return Some(kind.trim().to_owned()).filter(|kind| !kind.is_empty());
    }
    if exists(".dockerenv") {
        return Some("docker".to_owned());
    }
    if exists("run/.containerenv") {
        return Some("podman".to_owned());
    }
    let part = |name: &str| read(&format!("sys/class/dmi/id/{name}")).unwrap_or_default();
    let hardware = format!(
        "{} {}",
        part("sys_vendor").trim(),
        part("product_name").trim()
    );
    let hardware = hardware.to_lowercase();
    let known = MACHINES.iter().find(|(word, _)| hardware.contains(word));
    if let Some((_, kind)) = known {
        return Some((*kind).to_owned());
    }
    if read("sys/hypervisor/type").is_some_and(|kind| kind.trim() == "xen") {
        return Some("xen".to_owned());
    }
    let processor = read("proc/cpuinfo").unwrap_or_default();
    let flags = processor.lines().find(|line| line.starts_with("flags"));
    let is_guest = flags.is_some_and(|line| line.split(' ').any(|flag| flag == "hypervisor"));
    is_guest.then(|| "unknown hypervisor".to_owned())
}
