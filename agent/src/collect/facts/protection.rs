//! Programs against malicious software: whether there is one, runs, and is up to date.
//! It judges no product; it knows names of programs and folders.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hidps_wire::Antivirus;

use super::changed_at;

/// Services that are known by the name of their program.
const SERVICES: [(&str, &str); 8] = [
    ("wdavdaemon", "Microsoft Defender"),
    ("falcon-sensor", "CrowdStrike Falcon"),
    ("sophos-spl", "Sophos"),
    ("savd", "Sophos"),
    ("esets_daemon", "ESET"),
    ("ds_agent", "Trend Micro"),
    ("s1-agent", "SentinelOne"),
    ("kesl", "Kaspersky"),
];

/// Where distributions put the programs of ClamAV.
const CLAMAV: [&str; 4] = [
    "usr/sbin/clamd",
    "usr/bin/clamd",
    "usr/bin/clamscan",
    "usr/sbin/clamonacc",
];

/// The first that is found; one that runs goes before one that only lies there.
pub(super) fn find(root: &Path, programs: &BTreeSet<String>) -> Option<Antivirus> {
    if programs.contains("clamd") {
        return Some(clamav(root, true));
    }
    let service = SERVICES
        .iter()
        .find(|(program, _)| programs.contains(*program));
    if let Some((_, name)) = service {
        return Some(Antivirus {
            name: (*name).into(),
            running: true,
            signatures_at: None,
        });
    }
    let is_installed = CLAMAV.iter().any(|path| root.join(path).exists());
    is_installed.then(|| clamav(root, false))
}

fn clamav(root: &Path, running: bool) -> Antivirus {
    let signatures = root.join("var/lib/clamav");
    let files = fs::read_dir(&signatures).into_iter().flatten().flatten();
    let newest = files
        .take(1_000)
        .map(|entry| entry.path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("cvd" | "cld" | "cud"))
        })
        .filter_map(|path| changed_at(&path))
        .max();
    Antivirus {
        name: "ClamAV".into(),
        running,
        signatures_at: newest,
    }
}
