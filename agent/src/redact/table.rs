//! The programs whose arguments carry secrets where no name says so.
//! It is a table: what its columns mean is told in `programs`.

use super::programs::{Flag, Program};

const PLAIN: Program = Program::PLAIN;

/// What is behind `login` of programs that log in to a registry or a cluster.
pub(super) static LOGIN: Program = Program {
    either: "p",
    values: "u",
    ..PLAIN
};

/// Every program that is known.
pub(super) static PROGRAMS: [Program; 38] = [
    Program {
        names: &["sshpass"],
        either: "p",
        values: "fdeP",
        ..PLAIN
    },
    Program {
        names: &["mysql*", "mariadb*"],
        attached: "p",
        values: "uhPDSewr",
        is_keyed: true,
        ..PLAIN
    },
    Program {
        names: &["curl"],
        logins: &[('u', ':'), ('U', ':'), ('b', '='), ('E', ':')],
        values: "AcCdDeFhHKmoPQrtTwxXyYz",
        flags: &[
            Flag::Login("--user", ':'),
            Flag::Login("--proxy-user", ':'),
            Flag::Login("--cert", ':'),
            Flag::Login("--cookie", '='),
        ],
        ..PLAIN
    },
    Program {
        names: &["http", "https", "xh", "xhs"],
        logins: &[('a', ':')],
        values: "Ao",
        flags: &[Flag::Login("--auth", ':')],
        ..PLAIN
    },
    Program {
        names: &["redis-cli", "valkey-cli"],
        either: "a",
        values: "hpsnurdDi",
        is_keyed: true,
        ..PLAIN
    },
    Program {
        names: &["mongo*"],
        either: "p",
        values: "uhdcoq",
        ..PLAIN
    },
    Program {
        names: &["ldappasswd"],
        either: "wsa",
        values: "DHbhpyYURXo",
        ..PLAIN
    },
    Program {
        names: &["ldap*"],
        either: "w",
        values: "DHbfhpsalzyYURXoePSIMt",
        ..PLAIN
    },
    Program {
        names: &["smbclient"],
        logins: &[('U', '%')],
        values: "IpRsnLlcDTbdOiW",
        flags: &[Flag::Login("--user", '%')],
        places: &[&["*"]],
        ..PLAIN
    },
    Program {
        names: &["rpcclient", "smbget", "net", "winexe", "smbcacls"],
        logins: &[('U', '%')],
        values: "IpSwncdOW",
        flags: &[Flag::Login("--user", '%')],
        ..PLAIN
    },
    Program {
        names: &["mount", "mount.cifs"],
        logins: &[('o', '%')],
        values: "tLU",
        ..PLAIN
    },
    Program {
        names: &["zip", "unzip", "zipcloak"],
        either: "P",
        values: "bitnxOZsd",
        ..PLAIN
    },
    Program {
        names: &["7z*", "rar", "unrar"],
        flags: &[Flag::Prefix("-p"), Flag::Prefix("-hp")],
        ..PLAIN
    },
    Program {
        names: &[
            "docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "oc", "crane", "oras",
        ],
        flags: &[
            Flag::Login("--creds", ':'),
            Flag::Login("--dest-creds", ':'),
            Flag::Login("--src-creds", ':'),
        ],
        logs_in: true,
        ..PLAIN
    },
    Program {
        names: &["az"],
        flags: &[Flag::Word("--value")],
        logs_in: true,
        ..PLAIN
    },
    Program {
        names: &["useradd", "usermod", "groupadd", "groupmod"],
        either: "p",
        values: "bcdefgGKksuRPU",
        ..PLAIN
    },
    Program {
        names: &["plink", "pscp", "psftp"],
        flags: &[Flag::Word("-pw")],
        ..PLAIN
    },
    Program {
        names: &["ipmitool"],
        either: "Pky",
        values: "HUpILKoeCtTbBlS",
        places: &[&["user", "set", "password", "*"]],
        ..PLAIN
    },
    Program {
        names: &["sqlcmd", "bcp", "isql", "tsql"],
        either: "P",
        values: "SUdQqiohHaAtDcw",
        ..PLAIN
    },
    Program {
        names: &["*freerdp"],
        flags: &FREERDP,
        ..PLAIN
    },
    Program {
        names: &["*freerdp3"],
        flags: &FREERDP,
        ..PLAIN
    },
    Program {
        names: &["rdesktop"],
        either: "p",
        values: "udgsckTrax",
        ..PLAIN
    },
    Program {
        names: &["snmp*"],
        either: "AXc",
        values: "vuaxlnemMLtrCEZ",
        ..PLAIN
    },
    Program {
        names: &["openssl"],
        flags: &[Flag::Word("-k"), Flag::Word("-K"), Flag::Word("-hmac")],
        places: &[&["passwd"]],
        ..PLAIN
    },
    Program {
        names: &["crackmapexec", "netexec", "nxc", "evil-winrm"],
        either: "pH",
        values: "udMoxXi",
        ..PLAIN
    },
    Program {
        names: &["influx", "cqlsh", "clickhouse-client"],
        flags: &[Flag::Word("-p"), Flag::Word("-t")],
        ..PLAIN
    },
    Program {
        names: &["mosquitto_*"],
        either: "P",
        values: "hpuitmqVkWlACFL",
        ..PLAIN
    },
    Program {
        names: &["ssh-keygen"],
        either: "NP",
        values: "tbfCOFRrsVIznDEGHJKMSTUWYZaw",
        ..PLAIN
    },
    Program {
        names: &["lftp"],
        logins: &[('u', ',')],
        values: "pefc",
        flags: &[Flag::Login("--user", ',')],
        ..PLAIN
    },
    Program {
        names: &["twine"],
        flags: &[Flag::Word("-p")],
        ..PLAIN
    },
    Program {
        names: &["rabbitmqctl"],
        places: &[
            &["add_user", "*"],
            &["change_password", "*"],
            &["authenticate_user", "*"],
        ],
        values: "npt",
        ..PLAIN
    },
    Program {
        names: &["vault"],
        places: &[&["login"]],
        ..PLAIN
    },
    Program {
        names: &["rclone"],
        places: &[&["obscure"]],
        is_keyed: true,
        ..PLAIN
    },
    Program {
        names: &["ansible-vault"],
        places: &[&["encrypt_string"]],
        values: "n",
        ..PLAIN
    },
    Program {
        names: &["aws", "npm", "yarn", "pnpm", "nmcli"],
        is_keyed: true,
        ..PLAIN
    },
    Program {
        names: &["sqlplus", "sqlldr", "expdp", "impdp"],
        connects: true,
        ..PLAIN
    },
    Program {
        names: &["htpasswd"],
        places: &[&["-nb", "*"], &["-b", "*", "*"], &["-cb", "*", "*"]],
        ..PLAIN
    },
    Program {
        names: &["splunk"],
        flags: &[Flag::Login("-auth", ':')],
        ..PLAIN
    },
];

const FREERDP: [Flag; 4] = [
    Flag::Prefix("/p:"),
    Flag::Prefix("/gp:"),
    Flag::Part(",p:"),
    Flag::Word("-p"),
];
