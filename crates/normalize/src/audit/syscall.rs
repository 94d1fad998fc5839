//! Names of system calls and of machines, which the kernel writes as numbers.
//! It names no call of a machine that the agent does not run on.

/// The name of a machine, from the number that the kernel gives it.
pub(super) fn machine(arch: &str) -> Option<&'static str> {
    match arch {
        "c000003e" => Some("x86_64"),
        "40000003" => Some("i386"),
        "c00000b7" => Some("aarch64"),
        _ => None,
    }
}

/// The name of a call.
pub(super) fn name(arch: &str, number: &str) -> Option<&'static str> {
    let number: usize = number.parse().ok()?;
    match machine(arch)? {
        "x86_64" => syscalls::x86_64::Sysno::new(number).map(|call| call.name()),
        "i386" => syscalls::x86::Sysno::new(number).map(|call| call.name()),
        "aarch64" => syscalls::aarch64::Sysno::new(number).map(|call| call.name()),
        _ => None,
    }
}
