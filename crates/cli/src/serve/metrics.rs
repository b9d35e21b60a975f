//! Metrics over HTTP: one page, for Prometheus.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::tell::Board;

/// How long a scraper has for its request, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest request that is read.
const REQUEST_MAX: usize = 8 << 10;

/// Answers at `address`, on a thread of its own, for as long as the program runs.
pub(super) fn serve(address: SocketAddr, board: Arc<Board>) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let answer_all = move || {
        for stream in listener.incoming().flatten() {
            // A scraper that goes away has to come again.
            let _ = answer(stream, &board);
        }
    };
    std::thread::Builder::new().name("metrics".to_owned()).spawn(answer_all).map(drop)
}

fn answer(mut stream: TcpStream, board: &Board) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let len = stream.read(&mut piece)?;
        request.extend_from_slice(&piece[..len]);
        if len == 0 || request.len() > REQUEST_MAX {
            return Ok(());
        }
    }
    let (status, body) = if request.starts_with(b"GET /metrics ") {
        ("200 OK", board.text())
    } else {
        ("404 Not Found", "metrics are at /metrics\n".to_owned())
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
