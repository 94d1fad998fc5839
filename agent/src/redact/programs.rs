//! Programs whose short flags carry secrets, where no name says so.
//! It holds a table and looks things up in it; it never runs anything.

/// What an argument of a program is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Argument {
    /// The secret is part of the word, behind this flag.
    Attached(&'static str),
    /// The next word is the secret.
    Secret,
    /// The next word is a user and, behind this sign, the secret.
    Login(char),
}

/// A program and its flags.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Program {
    names: &'static [&'static str],
    /// Flags with the secret in the same word.
    attached: &'static [&'static str],
    /// Flags with the secret in the next word.
    separate: &'static [&'static str],
    /// Flags with `user:secret` in the next word.
    login: &'static [(&'static str, char)],
}

const fn program(
    names: &'static [&'static str],
    attached: &'static [&'static str],
    separate: &'static [&'static str],
    login: &'static [(&'static str, char)],
) -> Program {
    Program {
        names,
        attached,
        separate,
        login,
    }
}

static PROGRAMS: [Program; 20] = [
    program(&["sshpass"], &["-p"], &["-p"], &[]),
    program(
        &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlcheck",
            "mysqlshow",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
        ],
        &["-p"],
        &[],
        &[],
    ),
    program(
        &["curl"],
        &[],
        &[],
        &[
            ("-u", ':'),
            ("--user", ':'),
            ("-U", ':'),
            ("--proxy-user", ':'),
        ],
    ),
    program(
        &["http", "https", "xh"],
        &[],
        &[],
        &[("-a", ':'), ("--auth", ':')],
    ),
    program(&["redis-cli"], &["-a"], &["-a"], &[]),
    program(
        &[
            "mongo",
            "mongosh",
            "mongodump",
            "mongorestore",
            "mongoexport",
        ],
        &["-p"],
        &["-p"],
        &[],
    ),
    program(
        &[
            "ldapsearch",
            "ldapmodify",
            "ldapadd",
            "ldapdelete",
            "ldapwhoami",
            "ldappasswd",
        ],
        &["-w"],
        &["-w", "-s", "-a"],
        &[],
    ),
    program(
        &["smbclient", "rpcclient", "smbget", "net", "winexe"],
        &[],
        &[],
        &[("-U", '%'), ("--user", '%')],
    ),
    program(&["zip", "unzip", "zipcloak"], &["-P"], &["-P"], &[]),
    program(
        &["7z", "7za", "7zr", "rar", "unrar"],
        &["-p", "-hp"],
        &[],
        &[],
    ),
    program(
        &[
            "docker", "podman", "nerdctl", "buildah", "skopeo", "az", "helm", "oc",
        ],
        &[],
        &[],
        &[
            ("--creds", ':'),
            ("--dest-creds", ':'),
            ("--src-creds", ':'),
        ],
    ),
    program(
        &["useradd", "usermod", "groupadd", "groupmod"],
        &[],
        &["-p"],
        &[],
    ),
    program(&["plink", "pscp", "psftp"], &[], &["-pw"], &[]),
    program(&["ipmitool"], &["-P"], &["-P"], &[]),
    program(&["sqlcmd", "bcp", "isql", "tsql"], &["-P"], &["-P"], &[]),
    program(
        &["xfreerdp", "rdesktop", "wlfreerdp"],
        &["/p:"],
        &["-p"],
        &[],
    ),
    program(
        &["snmpwalk", "snmpget", "snmpset"],
        &[],
        &["-A", "-X", "-c"],
        &[],
    ),
    program(&["openssl"], &[], &["-k", "-K"], &[]),
    program(
        &["crackmapexec", "netexec", "nxc", "evil-winrm"],
        &[],
        &["-p", "-H"],
        &[],
    ),
    program(
        &["influx", "cqlsh", "clickhouse-client"],
        &[],
        &["-p", "-t"],
        &[],
    ),
];

impl Program {
    /// The program that a word names, with or without its directory.
    pub(super) fn of(word: &str) -> Option<&'static Self> {
        let name = word.rsplit('/').next()?;
        PROGRAMS
            .iter()
            .find(|program| program.names.contains(&name))
    }

    /// Whether what follows its flags is another program with flags of its own.
    pub(super) fn runs_another(&self) -> bool {
        self.names == ["sshpass"]
    }

    /// What a word means to this program.
    pub(super) fn argument(&self, word: &str) -> Option<Argument> {
        if !word.starts_with(['-', '/']) {
            return None;
        }
        if self.separate.contains(&word) {
            return Some(Argument::Secret);
        }
        if let Some((_, between)) = self.login.iter().find(|(flag, _)| *flag == word) {
            return Some(Argument::Login(*between));
        }
        let is_behind = |flag: &&&str| word.len() > flag.len() && word.starts_with(**flag);
        let flag = self.attached.iter().find(is_behind)?;
        Some(Argument::Attached(flag))
    }
}
