//! A house with an authority for its daemon and another for its agents, and agents that are to show
//! the certificates of the latter. It knows nothing of what becomes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hidps_lab::command::Running;
use hidps_lab::world::binaries::find_agent;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use reqwest::{Certificate, Client, Identity};
use tempfile::TempDir;

/// Whoever vouches for certificates.
type Authority = CertifiedIssuer<'static, KeyPair>;

/// The files of a house and the address of its daemon.
pub(super) struct House {
    directory: TempDir,
    agents: Authority,
    daemon: Authority,
    port: u16,
}

impl House {
    /// With a certificate for a daemon on this machine.
    pub(super) fn new(port: u16) -> Self {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let house = Self {
            directory: tempfile::tempdir().expect("a folder can be made"),
            agents: authority("agents"),
            daemon: authority("daemon"),
            port,
        };
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let (certificate, key) = sign(params, &house.daemon);
        house.write("daemon.pem", &certificate);
        house.write("daemon.key", &key);
        house.write("ca.pem", &house.daemon.pem());
        house.write("agents.pem", &house.agents.pem());
        house
    }

    /// A file of this name.
    pub(super) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Where its daemon is.
    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// A file with an agent's certificate; its key is beside it, and in it as well.
    pub(super) fn issue(&self, agent: &str) -> PathBuf {
        let mut params = CertificateParams::new(vec![agent.to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = sign(params, &self.agents);
        self.write(&format!("{agent}.key"), &key);
        self.write(&format!("{agent}.crt"), &(certificate + &key));
        PathBuf::from(self.path(&format!("{agent}.crt")))
    }

    /// A client of HTTP that trusts the daemon and shows a certificate.
    pub(super) fn client(&self, shown: Option<&PathBuf>) -> Client {
        let trusted = Certificate::from_pem(self.daemon.pem().as_bytes()).expect("a certificate");
        let builder = Client::builder().tls_certs_only([trusted]);
        let builder = match shown {
            Some(path) => {
                let pem = fs::read(path).expect("it was issued");
                builder.identity(Identity::from_pem(&pem).expect("a certificate and its key"))
            }
            None => builder,
        };
        builder.build().expect("a client")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).expect("it can be written");
    }
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A certificate and its key as PEM.
fn sign(params: CertificateParams, authority: &Authority) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

/// The program of an agent that only observes this machine.
pub(super) struct Agent {
    pub(super) id: String,
    program: PathBuf,
    directory: TempDir,
    process: Running,
}

impl Agent {
    /// Starts the agent of a row with its token, which is to show this certificate.
    pub(super) fn start(
        house: &House,
        (id, token): &(String, String),
        shown: Option<&PathBuf>,
    ) -> Self {
        let program = find_agent().expect("it is built");
        let directory = tempfile::tempdir().expect("a folder can be made");
        let place = directory.path().display();
        let mut text = format!(
            "agent_id = \"{id}\"\nbackend_url = \"{}\"\nca_file = \"{}\"\n\
             state_dir = \"{place}/state\"\ntoken_file = \"{place}/token\"\n\
             firewall = \"observe\"\nprocesses = \"off\"\nnetwork = \"off\"\n\
             journal = \"off\"\nkernel_log = \"off\"\naudit = \"off\"\n",
            house.url(),
            house.path("ca.pem"),
        );
        if let Some(certificate) = shown {
            let (certificate, key) = (certificate.display(), certificate.with_extension("key"));
            text += &format!(
                "client_cert = \"{certificate}\"\nclient_key = \"{}\"\n",
                key.display()
            );
        }
        write_secret(&directory.path().join("token"), token);
        write_secret(&directory.path().join("agent.toml"), &text);
        let mut command = Command::new(&program);
        command.args(["run", "--config"]);
        command.arg(directory.path().join("agent.toml"));
        Self {
            id: id.clone(),
            process: Running::start("hidps-agent", command).expect("it starts"),
            program,
            directory,
        }
    }

    /// The exit code of one of its commands, and what that printed.
    pub(super) fn ask(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--config");
        command.arg(self.directory.path().join("agent.toml"));
        let output = command.output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code(), said)
    }

    /// What it logged.
    pub(super) fn log(&self) -> String {
        self.process.log()
    }
}

/// Its owner alone may read it, which the agent checks of a token.
fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("it can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}
