//! Counting on made-up hosts, and beside apt itself where this machine has it.

use super::*;
use std::fs;

const LIST: &str =
    "var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages";
const SECURITY: &str = "var/lib/apt/lists/security.debian.org_debian-security_dists_bookworm-security_main_binary-amd64_Packages";

fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = host.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    host
}

fn installed(package: &str, version: &str, status: &str) -> String {
    format!("Package: {package}\nStatus: {status}\nArchitecture: amd64\nVersion: {version}\n\n")
}

fn offered(package: &str, architecture: &str, version: &str) -> String {
    format!("Package: {package}\nArchitecture: {architecture}\nVersion: {version}\n\n")
}

fn status() -> String {
    [
        installed("old", "1.0-1", "install ok installed"),
        installed("new", "2.0-1", "install ok installed"),
        installed("held", "1.0-1", "hold ok installed"),
        installed("gone", "1.0-1", "deinstall ok config-files"),
        installed("foreign", "1.0-1", "install ok installed"),
        installed("libc", "2.36-9+deb12u4", "install ok installed"),
    ]
    .concat()
}

#[test]
fn newer_versions_of_what_is_installed_are_counted_once() {
    let all = ["old", "new", "held", "gone", "absent"];
    let main: String = all
        .map(|package| offered(package, "amd64", "1.5-1"))
        .concat();
    let main = main + &offered("foreign", "arm64", "9-1") + &offered("old", "all", "1.6-1");
    let security = offered("libc", "amd64", "2.36-9+deb12u7") + &offered("old", "amd64", "0.9-1");
    let host = host(&[
        ("var/lib/dpkg/status", &status()),
        (LIST, &main),
        (SECURITY, &security),
    ]);

    let updates = UpdateReader::new(host.path()).read().unwrap();

    assert_eq!((updates.total, updates.security), (2, 1));
    assert!(updates.lists_at > 1_000_000_000);
}

#[test]
fn without_lists_or_packages_it_is_said_why_nothing_is_known() {
    let no_lists = host(&[("var/lib/dpkg/status", &status())]);
    let no_packages = host(&[(LIST, &offered("a", "amd64", "1"))]);
    let empty = host(&[("var/lib/dpkg/status", ""), (LIST, "")]);
    let rpm = host(&[("var/lib/rpm/rpmdb.sqlite", "")]);

    for (host, why) in [
        (no_lists, Unknown::NoLists),
        (no_packages, Unknown::NoManager),
        (empty, Unknown::Unreadable),
        (rpm, Unknown::Rpm),
    ] {
        assert_eq!(UpdateReader::new(host.path()).read(), Err(why));
    }
}

#[test]
fn a_list_that_is_no_list_makes_the_answer_unknown() {
    let lz4 = format!("{LIST}.lz4");
    let host = host(&[
        ("var/lib/dpkg/status", &status()),
        (&lz4, "not compressed at all"),
    ]);

    let read = UpdateReader::new(host.path()).read();
    assert_eq!(read, Err(Unknown::Unreadable));
}

#[test]
fn it_is_counted_again_when_a_package_or_a_list_has_changed() {
    let host = host(&[
        ("var/lib/dpkg/status", &status()),
        (LIST, &offered("old", "amd64", "1.5-1")),
    ]);
    let mut reader = UpdateReader::new(host.path());
    let total = |reader: &mut UpdateReader| reader.read().unwrap().total;
    assert_eq!(total(&mut reader), 1);

    let status = host.path().join("var/lib/dpkg/status");
    fs::write(&status, installed("old", "1.5-1", "install ok installed")).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
    File::options()
        .write(true)
        .open(&status)
        .unwrap()
        .set_modified(later)
        .unwrap();

    assert_eq!(total(&mut reader), 0);
}
