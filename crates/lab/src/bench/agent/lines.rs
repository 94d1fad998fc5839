//! The lines that everybody follows: of the programs whose lines matter, written at a steady rate,
//! one write each as a logger does. It never writes faster to make up for more than a moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::arrivals::mark;
use super::cost::thread_cpu_time;

/// How often the writer looks which lines are due.
const TICK: Duration = Duration::from_millis(1);

/// What lines are like, in the order they are written; `@` is where the mark is.
const SHAPES: [&str; 10] = [
    "sshd[4711]: Failed password for invalid user @ from 203.0.113.9 port 52144 ssh2",
    "sshd[4711]: Connection closed by invalid user @ 203.0.113.9 port 52144 [preauth]",
    "systemd[1]: Started session-@.scope - Session of user deploy.",
    "sudo:   deploy : TTY=pts/0 ; PWD=/srv/app ; USER=root ; COMMAND=/usr/bin/systemctl restart @",
    "kernel: [UFW BLOCK] IN=eth0 OUT= SRC=198.51.100.4 DST=192.0.2.10 LEN=40 PROTO=TCP SPT=@ DPT=23",
    "CRON[991]: (root) CMD (/usr/local/bin/rotate --job @ --quiet)",
    "nginx[812]: 198.51.100.77 - - \"GET /api/v1/items/@ HTTP/1.1\" 200 5123 \"-\" \"curl/8.5.0\"",
    "sshd[4712]: Accepted publickey for @ from 198.51.100.20 port 40022 ssh2: ED25519 SHA256:abc",
    "app[2201]: level=info msg=\"request served\" id=@ took=3.2ms status=200 bytes=18321",
    "postfix/smtpd[3301]: disconnect from unknown[198.51.100.3] ehlo=1 quit=1 commands=2 id=@",
];

/// Where lines are written.
#[derive(Clone, Debug)]
pub(super) enum LinePlace {
    /// A file.
    File(PathBuf),
    /// The socket of a journald.
    Journal(PathBuf),
}

impl LinePlace {
    /// Writes one line that nobody counts.
    pub(super) fn say(&self, text: &str) -> io::Result<()> {
        self.open()?.write(text)
    }

    fn open(&self) -> io::Result<Writer> {
        match self {
            Self::File(path) => Ok(Writer::File(OpenOptions::new().append(true).open(path)?)),
            Self::Journal(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Writer::Journal(socket))
            }
        }
    }
}

enum Writer {
    File(File),
    Journal(UnixDatagram),
}

impl Writer {
    /// In the form of the place: a file has the time and the host before the line.
    fn write(&mut self, text: &str) -> io::Result<()> {
        match self {
            // The day does not matter, the form does.
            Self::File(file) => {
                file.write_all(format!("Nov 21 10:11:12 web-01 {text}\n").as_bytes())
            }
            Self::Journal(socket) => socket.send(format!("<30>{text}").as_bytes()).map(drop),
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Lines.
    pub(super) n_lines: u64,
    /// The writer's own processor time, in percent of a core.
    pub(super) cpu_percent: f64,
    /// How long it took longer than it should have.
    pub(super) late: Duration,
}

/// Writes lines numbered from `first` at a rate, for a while.
pub(super) fn write_lines(
    place: &LinePlace,
    began: Instant,
    first: u64,
    per_sec: u64,
    during: Duration,
) -> io::Result<Written> {
    let mut writer = place.open()?;
    let (started, cpu) = (Instant::now(), thread_cpu_time()?);
    let n_lines = u64::try_from(during.as_millis()).unwrap_or(u64::MAX) * per_sec / 1_000;
    let mut number = 0;
    while number < n_lines {
        let elapsed = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let due = (elapsed * per_sec / 1_000_000).min(n_lines);
        while number < due {
            writer.write(&shape(first + number, began))?;
            number += 1;
        }
        thread::sleep(TICK);
    }
    let elapsed = started.elapsed();
    let used = thread_cpu_time()?.saturating_sub(cpu);
    Ok(Written {
        n_lines,
        cpu_percent: 100.0 * used.as_secs_f64() / elapsed.as_secs_f64(),
        late: elapsed.saturating_sub(during),
    })
}

fn shape(number: u64, began: Instant) -> String {
    let index = usize::try_from(number).unwrap_or_default() % SHAPES.len();
    SHAPES[index].replacen('@', &mark(number, began), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::agent::arrivals::Arrivals;

    #[test]
    fn every_line_that_is_written_can_be_counted() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let began = Instant::now();
        let during = Duration::from_millis(50);

        let place = LinePlace::File(file.path().to_owned());
        let written = write_lines(&place, began, 0, 1_000, during).expect("the file is there");
        let mut arrivals = Arrivals::since(began);
        arrivals.on_text(&std::fs::read_to_string(file.path()).expect("the file is there"));

        assert_eq!((written.n_lines, arrivals.n_lines()), (50, 50));
    }
}
