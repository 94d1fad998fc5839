//! The least that can follow a file: new lines into JSON, all that is there in one write. It is what
//! `cargo x bench agent` calls the limit: no rotation, no bounds, no protocol, and nothing else.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use serde::Serialize;

/// How long lines are gathered after those before were sent.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Serialize)]
struct Event<'l> {
    service: &'static str,
    message: &'l str,
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: minimal_tail FILE HOST:PORT"));
    };
    let address = address
        .into_string()
        .map_err(|_: OsString| io::ErrorKind::InvalidInput)?;
    let mut daemon = TcpStream::connect(address)?;
    let mut file = File::open(&path)?;
    file.seek(SeekFrom::End(0))?;
    let wakes = init(CreateFlags::CLOEXEC)?;
    add_watch(&wakes, &path, WatchFlags::MODIFY)?;
    let mut space = [MaybeUninit::uninit(); 4_096];
    let mut wakes = Reader::new(&wakes, &mut space);
    let (mut text, mut batch) = (String::new(), Vec::new());
    loop {
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for message in text.get(..whole).unwrap_or_default().lines() {
            let service = "tail";
            serde_json::to_writer(&mut batch, &Event { service, message })?;
            batch.push(b'\n');
        }
        text.drain(..whole);
        daemon.write_all(&batch)?;
        batch.clear();
        thread::sleep(PAUSE);
        wakes.next()?;
    }
}
