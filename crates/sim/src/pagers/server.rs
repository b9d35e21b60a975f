//! A page server on a node of its own: answers with what its disk holds.

use std::cell::Cell;
use std::rc::Rc;

use faultless_mm::ThreadId;

use super::source::encode;
use crate::check::{Page, Word};
use crate::clock::Span;
use crate::disk::{Disk, DiskError};
use crate::environment::Environment;
use crate::net::{Node, Packet};

/// Where the pager is.
pub(super) const PAGER_NODE: Node = Node(0);
/// Where the server is.
pub(super) const SERVER_NODE: Node = Node(1);

/// The file of all pages, a word each.
const FILE: &str = "pages";
const WORD: usize = size_of::<Word>();
/// How long the server waits for a request before it looks whether it is still needed.
const PATIENCE: Span = Span::millis(50);

/// Writes what the pages hold, so that no crash takes it.
pub(super) fn store(environment: &Environment, words: impl Iterator<Item = Word>) {
    let bytes: Vec<u8> = words.flat_map(Word::to_le_bytes).collect();
    environment
        .with_disk(SERVER_NODE, |disk| {
            let file = disk.create(FILE);
            let mut written = 0;
            while written < bytes.len() {
                // A full disk is full for a moment only: there is room for far more.
                written += disk.write(file, written, &bytes[written..]).unwrap_or(0);
            }
            disk.sync(file)?;
            disk.sync_folder();
            Ok::<(), DiskError>(())
        })
        .expect("the file was just made");
}

/// Serves until nobody else is running.
pub(super) async fn serve(environment: Environment, who: ThreadId, running: Rc<Cell<usize>>) {
    while running.get() > 0 {
        let Some(request) = environment.receive(who, SERVER_NODE, PATIENCE).await else { continue };
        let Some(page) = request.bytes.first_chunk().map(|bytes| Page::from_le_bytes(*bytes))
        else {
            continue;
        };
        let word = environment.disk(who, SERVER_NODE, |disk| read(disk, page)).await;
        let bytes = encode(page, &word.unwrap_or_default());
        environment.send(Packet { from: SERVER_NODE, to: request.from, bytes });
    }
}

/// Reads a page by the name of the file, as a server does that was started again.
fn read(disk: &Disk, page: Page) -> Result<Vec<u8>, DiskError> {
    let offset = usize::try_from(page).map_err(|_| DiskError::Absent)? * WORD;
    disk.read(disk.open(FILE)?, offset, WORD).map(<[u8]>::to_vec)
}
