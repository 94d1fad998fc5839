//! What a new host fetches: the script that installs the agent, the agent's program, its checksum.
//! It never turns a text of a request into a path: what can be asked for is a closed set.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::config::Config;
use crate::streams::routes::{Gateway, refuse};
use crate::telemetry;

/// The script as it lies in the repository.
const SCRIPT: &str = include_str!("../../install.sh");

/// The line of the script that waits for the daemon's address.
const BLANK_ADDRESS: &str = "\nSERVED_BACKEND_URL=''\n";

/// Name of the program's file.
const PROGRAM: &str = "hidps-agent";

/// Architectures there are agents for, as `uname -m` calls them and as folders are named.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Largest program served: ten times ours, so that a wrong path is not streamed for hours.
const MAX_PROGRAM_BYTES: u64 = 256 * 1024 * 1024;

/// A checksum with the name of its file.
const MAX_CHECKSUM_BYTES: u64 = 1_024;

/// Programs on their way at once; a fleet that installs itself takes turns.
const MAX_DOWNLOADS: usize = 16;

/// One read of the disk.
const CHUNK_BYTES: usize = 64 * 1024;

/// Chunks that wait for a peer.
const CHUNKS_AHEAD: usize = 2;

/// A peer that takes no chunk for so long is gone.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);

/// The longest that one download holds its turn, as long as `install.sh` waits for one: 8 MB take
/// that long on a line of 14 kB/s, and peers that are slow on purpose hold no turn for ever.
const WHOLE_WITHIN: Duration = Duration::from_secs(600);

/// What new hosts are served with.
#[derive(Debug)]
pub struct Installer {
    public_url: Option<String>,
    speaks_tls: bool,
    programs: Option<PathBuf>,
    downloads: Arc<Semaphore>,
}

impl Installer {
    /// As configured.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let public_url = config.public_url.clone();
        Self::serving(public_url, config.tls.is_some(), config.agent_dir.clone())
    }

    /// With this address, kind of listener and folder of programs.
    pub(super) fn serving(
        public_url: Option<String>,
        speaks_tls: bool,
        programs: Option<PathBuf>,
    ) -> Self {
        Self {
            public_url,
            speaks_tls,
            programs,
            downloads: Arc::new(Semaphore::new(MAX_DOWNLOADS)),
        }
    }

    /// The address a host reaches this daemon by: the configured one, or the one it just used where
    /// that is certain; none behind a proxy that nobody told of.
    fn address(&self, host: Option<&str>) -> Option<String> {
        if self.public_url.is_some() {
            return self.public_url.clone();
        }
        let host = host.filter(|host| is_plain_host(host))?;
        if self.speaks_tls {
            return Some(format!("https://{host}"));
        }
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let is_loopback = matches!(name, "127.0.0.1" | "localhost" | "[::1]");
        is_loopback.then(|| format!("http://{host}"))
    }

    fn script(&self, host: Option<&str>) -> String {
        let address = self.address(host).unwrap_or_default();
        SCRIPT.replacen(
            BLANK_ADDRESS,
            &format!("\nSERVED_BACKEND_URL='{address}'\n"),
            1,
        )
    }

    /// A file that may be asked for, or why there is none.
    fn file(&self, architecture: &str, name: &str) -> Result<PathBuf, &'static str> {
        let known = ARCHITECTURES.iter().find(|known| **known == architecture);
        let architecture = known.ok_or("there are agents for x86_64 and aarch64 only")?;
        let folder = self
            .programs
            .as_ref()
            .ok_or("this daemon serves no programs; set HIDPS_AGENT_DIR, or install with --bin")?;
        Ok(folder.join(architecture).join(name))
    }
}

/// Whether a `Host` header is a name or address with a port at most, so that it can stand between
/// quotes of a script.
fn is_plain_host(host: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    !host.is_empty() && host.len() <= 255 && host.chars().all(is_plain)
}

/// `GET /install.sh`
pub(super) async fn script(State(gateway): State<Gateway>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST);
    let script = gateway
        .installer
        .script(host.and_then(|host| host.to_str().ok()));
    let headers = [
        (header::CONTENT_TYPE, "text/x-shellscript; charset=utf-8"),
        // Its address may be the one of this request alone.
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, script).into_response()
}

/// `GET /agent/{architecture}/hidps-agent.sha256`
pub(super) async fn checksum(
    State(gateway): State<Gateway>,
    UrlPath(architecture): UrlPath<String>,
) -> Response {
    let path = match gateway
        .installer
        .file(&architecture, &format!("{PROGRAM}.sha256"))
    {
        Ok(path) => path,
        Err(why) => return refuse(StatusCode::NOT_FOUND, why),
    };
    match read_checksum(&path).await {
        Ok(text) => text.into_response(),
        Err(error) => refuse_file(&path, &error),
    }
}

async fn read_checksum(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path).await?;
    file.take(MAX_CHECKSUM_BYTES)
        .read_to_string(&mut text)
        .await?;
    Ok(text)
}

/// `GET /agent/{architecture}/hidps-agent`
pub(super) async fn program(
    State(gateway): State<Gateway>,
    UrlPath(architecture): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    let installer = &gateway.installer;
    let path = match installer.file(&architecture, PROGRAM) {
        Ok(path) => path,
        Err(why) => return refuse(StatusCode::NOT_FOUND, why),
    };
    let (file, length, tag) = match open_program(&path).await {
        Ok(opened) => opened,
        Err(error) => return refuse_file(&path, &error),
    };
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let Ok(turn) = Arc::clone(&installer.downloads).try_acquire_owned() else {
        metrics::counter!(telemetry::DOWNLOADS, "result" => "busy").increment(1);
        let text = "too many hosts are fetching the agent just now; try again";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    metrics::counter!(telemetry::DOWNLOADS, "result" => "begun").increment(1);
    let (chunks_tx, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let stop = gateway.links.stop.clone();
    gateway.connections.spawn(async move {
        tokio::select! {
            () = feed_in_time(file, length, chunks_tx, turn) => {}
            () = stop.cancelled() => {}
        }
    });
    let body = stream::unfold(chunks, |mut chunks| async move {
        Some((chunks.recv().await?, chunks))
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, tag),
    ];
    (headers, Body::from_stream(body)).into_response()
}

async fn open_program(path: &Path) -> io::Result<(File, u64, HeaderValue)> {
    let file = File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() || metadata.len() > MAX_PROGRAM_BYTES {
        return Err(io::Error::other("it is no program"));
    }
    let modified = metadata.modified()?;
    let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let tag = format!("\"{:x}-{:x}\"", metadata.len(), modified.as_nanos());
    let tag = HeaderValue::try_from(tag).expect("hexadecimal digits make a header");
    Ok((file, metadata.len(), tag))
}

/// Feeds a peer for as long as a download may take; one that is not through by then is cut off.
async fn feed_in_time(
    file: File,
    length: u64,
    chunks: mpsc::Sender<io::Result<Bytes>>,
    turn: OwnedSemaphorePermit,
) {
    let fed = timeout(WHOLE_WITHIN, feed(file, length, chunks, turn)).await;
    if fed.is_err() {
        metrics::counter!(telemetry::DOWNLOADS, "result" => "too_slow").increment(1);
    }
}

/// Reads ahead of the peer by a few chunks; a peer that takes none loses its turn, and a file that
/// became shorter ends the connection, as the length was told.
async fn feed(
    file: File,
    length: u64,
    chunks: mpsc::Sender<io::Result<Bytes>>,
    _turn: OwnedSemaphorePermit,
) {
    let mut file = file.take(length);
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = (&mut file)
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk)
            .await;
        let chunk = match read {
            Ok(0) => return,
            Ok(_) => Ok(Bytes::from(chunk)),
            Err(error) => Err(error),
        };
        let is_last = chunk.is_err();
        let taken = timeout(CHUNK_WITHIN, chunks.send(chunk)).await;
        if is_last || !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
}

fn refuse_file(path: &Path, error: &io::Error) -> Response {
    metrics::counter!(telemetry::DOWNLOADS, "result" => "missing").increment(1);
    tracing::warn!(path = %path.display(), %error, "a file of the agent cannot be served");
    if error.kind() == io::ErrorKind::NotFound {
        let text = "this daemon has no such program; put what cargo x dist makes into \
                    HIDPS_AGENT_DIR, or install with --bin";
        return refuse(StatusCode::NOT_FOUND, text);
    }
    let text = "the program cannot be read; the daemon's log says why";
    refuse(StatusCode::INTERNAL_SERVER_ERROR, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_little_now_and_then_does_not_keep_its_turn() {
        let program = tempfile::NamedTempFile::new().unwrap();
        let length = 100 * CHUNK_BYTES as u64;
        program.as_file().set_len(length).unwrap();
        let file = File::open(program.path()).await.unwrap();
        let turns = Arc::new(Semaphore::new(1));
        let turn = Arc::clone(&turns).try_acquire_owned().unwrap();
        let (chunks_tx, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
        let begun = tokio::time::Instant::now();

        let sip = async {
            let mut n_taken = 0;
            while chunks.recv().await.is_some() {
                n_taken += 1;
                tokio::time::sleep(CHUNK_WITHIN - Duration::from_secs(1)).await;
            }
            n_taken
        };
        let fed = async {
            feed_in_time(file, length, chunks_tx, turn).await;
            (begun.elapsed(), turns.available_permits())
        };
        let ((held, n_turns), n_taken) = tokio::join!(fed, sip);

        assert_eq!((held, n_turns), (WHOLE_WITHIN, 1));
        assert!(n_taken < 30, "{n_taken} chunks are not the whole program");
    }

    fn address(installer: &Installer, host: &str) -> Option<String> {
        installer.address(Some(host))
    }

    #[test]
    fn the_address_is_the_configured_one_or_the_one_that_is_certain() {
        let configured = Installer::serving(Some("https://hub.example".into()), false, None);
        let with_tls = Installer::serving(None, true, None);
        let plain = Installer::serving(None, false, None);

        assert_eq!(
            address(&configured, "evil.example").as_deref(),
            Some("https://hub.example")
        );
        assert_eq!(
            address(&with_tls, "hub.example:8443").as_deref(),
            Some("https://hub.example:8443")
        );
        assert_eq!(
            address(&plain, "127.0.0.1:8443").as_deref(),
            Some("http://127.0.0.1:8443")
        );
        assert_eq!(address(&plain, "hub.example"), None, "a proxy may be there");
        assert_eq!(address(&plain, "127.0.0.1.evil.example"), None);
    }

    #[test]
    fn a_host_that_is_none_does_not_reach_the_script() {
        let installer = Installer::serving(None, true, None);
        for host in [
            "",
            "x'; reboot; '",
            "a b",
            "$(reboot)",
            "x\n",
            "h/../x",
            "ü",
        ] {
            let script = installer.script(Some(host));

            assert_eq!(script, SCRIPT, "{host:?}");
        }
    }

    #[test]
    fn the_script_has_one_place_for_an_address() {
        assert_eq!(SCRIPT.matches(BLANK_ADDRESS).count(), 1);
        let installer = Installer::serving(Some("https://hub.example".into()), false, None);

        let script = installer.script(None);

        assert!(script.contains("\nSERVED_BACKEND_URL='https://hub.example'\n"));
        assert_eq!(script.lines().count(), SCRIPT.lines().count());
    }
}
