//! A fresh host, the proxy it reaches the daemon by, and the programs the daemon serves.
//! What happens to them is the tests' business.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hidps_lab::command::{MAX_LOG_LINES, run};
use hidps_lab::fresh_host::{FreshHost, Ran};
use hidps_lab::world::binaries::find_agent;
use hidps_lab::world::{ORGANIZATION, World};
use serde_json::json;
use tempfile::TempDir;

use super::PATIENCE;
use super::front::Front;

/// Everything below these is compared; the rest is what a running host changes by itself.
const COMPARED: &str = "/etc /usr /opt /root /srv /home /var/lib /var/cache /boot";

/// What `useradd`, `systemd` and `dpkg` leave behind by themselves, whoever calls them: copies of the files
/// of users from before, and the time of the clock.
const NOISE: [&str; 10] = [
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/.pwd.lock",
    "/var/lib/systemd/timesync",
    "/var/lib/systemd/timers",
    "/var/lib/systemd/random-seed",
    // dpkg's own memory.
    "/var/lib/dpkg/",
    "/var/cache/debconf/",
];

/// A machine that this one is not, as `uname -m` and folders of programs call it.
const OTHER_MACHINE: &str = if cfg!(target_arch = "x86_64") {
    "aarch64"
} else {
    "x86_64"
};

/// A host that has never heard of the product, and what it can reach.
pub(super) struct Place {
    pub(super) host: FreshHost,
    pub(super) front: Front,
    pub(super) agent_id: String,
}

impl Place {
    /// Boots a host and makes the row of an agent for it.
    pub(super) async fn make(world: &mut World) -> Self {
        let host = tokio::task::spawn_blocking(FreshHost::boot);
        let host = host.await.expect("no panic").expect("it boots");
        let front = Front::start(host.link().far_ip(), world.daemon.address()).await;
        fs::write(host.path("/root/ca.pem"), &front.authority).expect("written");
        let owner = world.admin.user_id().to_owned();
        let row = json!({"name": "fresh", "owner_id": owner, "org_id": ORGANIZATION});
        let row = world.admin.insert("agents", row).await.expect("a row");
        let agent_id = row["id"].as_str().expect("it has an id").to_owned();
        let stats = json!({"agent_id": agent_id});
        world
            .admin
            .insert("agent_stats", stats)
            .await
            .expect("a row");
        Self {
            host,
            front,
            agent_id,
        }
    }

    /// Runs a script as root of the host.
    pub(super) fn run(&self, script: &str) -> Ran {
        self.host.run(script).expect("it ends")
    }

    /// The output of a script each of whose commands has to succeed.
    pub(super) fn ask(&self, script: &str) -> String {
        let ran = self.run(&format!("set -e\n{script}"));
        assert_eq!(ran.code, Some(0), "{script}: {}", ran.said);
        ran.said
    }

    /// Installs as a person does who was given one line.
    pub(super) fn install(&self, before: &str, arguments: &str) -> Ran {
        let url = self.front.url();
        // The script comes through the very daemon, unless that is what a test has broken.
        self.run(&format!(
            "curl --cacert ca.pem -fsS {url}/install.sh -o install.sh || exit 99\n\
             {before} sh -s -- {arguments} --ca-file /root/ca.pem <install.sh"
        ))
    }

    /// What the agent logged, for a failure.
    pub(super) fn log(&self) -> String {
        self.run("journalctl -u hidps-agent --no-pager -o short-precise")
            .said
    }

    /// The process of the agent.
    pub(super) fn process(&self) -> String {
        self.ask("systemctl show -p MainPID --value hidps-agent")
    }

    /// Every file with its kind, mode, owner and content, the packet filter, and the units.
    pub(super) fn look(&self) -> Vec<String> {
        // A running agent may replace a file meanwhile, so what vanishes is no failure. Small
        // files are told by their content; of the many, size and time are enough.
        // One script each: of what a script prints only the last lines are kept.
        let files = [
            format!("find {COMPARED} -xdev -printf '%p %y %m %u %g %l\\n'"),
            "find /etc /var/lib -xdev -type f -exec sha256sum {} +".to_owned(),
            "find /usr /opt /srv /home -xdev -type f -printf '%p %s %T@\\n'".to_owned(),
        ];
        let files = files.map(|script| {
            let said = self.run(&format!("exec 2>/dev/null; {script}")).said;
            assert!(
                said.lines().count() < MAX_LOG_LINES,
                "not all is kept: {script}"
            );
            said
        });
        let files = files.concat();
        let rest = self.ask(
            "echo units; systemctl list-unit-files --no-legend --no-pager | sort; \
             echo filter; nft -s list ruleset; echo failed; systemctl --failed --no-legend --no-pager",
        );
        let is_noise = |line: &str| NOISE.iter().any(|noise| line.contains(noise));
        let lines = files.lines().chain(rest.lines());
        let mut lines: Vec<_> = lines
            .filter(|line| {
                !is_noise(line) && !line.contains(" /root/") && !line.starts_with("/root/")
            })
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }
}

/// What differs between two looks.
pub(super) fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (before.iter().collect(), after.iter().collect());
    let gone = before.difference(&after).map(|line| format!("- {line}"));
    let new = after.difference(&before).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

/// The folder of programs that a daemon serves.
pub(super) struct Programs {
    directory: TempDir,
    architecture: String,
}

impl Programs {
    /// With the agent that was built.
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a folder can be made");
        let architecture = std::env::consts::ARCH.to_owned();
        fs::create_dir(directory.path().join(&architecture)).expect("made");
        let programs = Self {
            directory,
            architecture,
        };
        programs.restore();
        programs
    }

    /// Makes it the agent that was built.
    pub(super) fn restore(&self) {
        let agent = find_agent().expect("it is built");
        fs::copy(agent, self.program()).expect("copied");
        self.publish();
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn program(&self) -> PathBuf {
        self.path().join(&self.architecture).join("hidps-agent")
    }

    /// Writes the checksum of what is there.
    pub(super) fn publish(&self) {
        self.write_checksum(&checksum_of(&self.program()));
    }

    /// Puts a program beside it that is served to another machine, and says where; it would run here
    /// as well, so that a host can pretend to be that machine.
    pub(super) fn publish_for_other_machine(&self) -> PathBuf {
        let program = self.path().join(OTHER_MACHINE).join("hidps-agent");
        let mut bytes = fs::read(self.program()).expect("read");
        bytes.extend_from_slice(b"for another machine");
        fs::create_dir(program.parent().expect("a folder")).expect("made");
        fs::write(&program, bytes).expect("written");
        let checksum = checksum_of(&program);
        fs::write(program.with_extension("sha256"), checksum).expect("written");
        program
    }

    pub(super) fn write_checksum(&self, text: &[u8]) {
        fs::write(self.program().with_extension("sha256"), text).expect("written");
    }

    /// Packs it as a Debian package.
    pub(super) fn pack(&self, package: &Path) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/agent/packaging/build-deb");
        let mut print = std::process::Command::new("dpkg");
        print.arg("--print-architecture");
        let architecture = run(print, PATIENCE).expect("dpkg is there").stdout;
        let architecture = String::from_utf8(architecture).expect("a word");
        let mut pack = std::process::Command::new(script);
        pack.arg(self.program())
            .args([architecture.trim(), "0.1.0"]);
        // A program with everything for debugging takes long to compress.
        pack.arg(package).arg("none");
        run(pack, PATIENCE).expect("it is packed");
    }

    /// Makes it another program that does the same.
    pub(super) fn renew(&self) {
        let mut bytes = fs::read(self.program()).expect("read");
        bytes.extend_from_slice(b"another build");
        fs::write(self.program(), bytes).expect("written");
        self.publish();
    }

    /// Makes it a program that does not run as an agent.
    pub(super) fn ruin(&self) {
        self.replace(
            "case $1 in
  version) echo 'hidps-agent 9.9.9' ;;
  unit) cat /etc/systemd/system/hidps-agent.service 2>/dev/null ||
    printf '[Service]\\nRestart=always\\nExecStart=/usr/local/bin/hidps-agent run\\nType=notify\\n\
     [Install]\\nWantedBy=multi-user.target\\n' ;;
  *) exit 1 ;;
esac",
        );
    }

    /// Makes it a program that does what the one at a path does, and asks for an account that is not
    /// there where it is to use ufw.
    pub(super) fn ask_too_much(&self, real: &str) {
        self.replace(&format!(
            "if [ \"$*\" = 'unit --with ufw' ]; then
  echo '# `hidps-agent unit --with ufw` prints this.'
  printf '[Service]\\nUser=nobody-is-called-so\\n'
else
  exec {real} \"$@\"
fi"
        ));
    }

    /// Makes it a program that says its version and nothing else.
    pub(super) fn silence(&self) {
        self.replace("[ \"$1\" = version ] && echo 'hidps-agent 9.9.9'");
    }

    fn replace(&self, script: &str) {
        fs::write(self.program(), format!("#!/bin/sh\n{script}\n")).expect("written");
        self.publish();
    }
}

/// A program's checksum with its name, as it is served.
fn checksum_of(program: &Path) -> Vec<u8> {
    let mut sum = std::process::Command::new("sha256sum");
    sum.arg("hidps-agent")
        .current_dir(program.parent().expect("a folder"));
    run(sum, PATIENCE).expect("it can be read").stdout
}

/// A stand-in for `uname` on the host that names another machine; what finds it first believes it.
pub(super) fn pretend_other_machine(place: &Place) -> String {
    place.ask(&format!(
        "mkdir -p pretended; printf '#!/bin/sh\n[ \"$*\" = -m ] && exec echo {OTHER_MACHINE}\n\
         exec /usr/bin/uname \"$@\"\n' >pretended/uname; chmod +x pretended/uname"
    ));
    "PATH=/root/pretended:$PATH".to_owned()
}
