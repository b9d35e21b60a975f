//! The kernel's own answers: a page of zeros, and a copy of a page of a file that is in the cache.

use std::fs::File;

use crate::exit::Failure;

use super::crowd::{Expected, Touches, touch};
use super::scene::{Scene, fresh, host, len_of, private};
use super::{Contender, Made, Task};

struct Kernel;

/// Makes the first touch of private memory.
pub(super) fn kernel<'a>() -> Made<'a> {
    Ok(Ok(Box::new(Kernel)))
}

impl Contender for Kernel {
    fn touch(&mut self, task: Task) -> Result<Touches, Failure> {
        touch(&*fresh(len_of(task.pages))?, task, Expected::Zeros)
    }
}

struct Mmap {
    file: File,
}

/// Makes the first write to a private mapping of the content's file: a copy of each page, as the
/// others make one.
pub(super) fn mmap(scene: &Scene) -> Made<'_> {
    Ok(Ok(Box::new(Mmap { file: scene.file()? })))
}

impl Contender for Mmap {
    fn touch(&mut self, task: Task) -> Result<Touches, Failure> {
        let file = self.file.try_clone().map_err(|error| host(&error))?;
        touch(&*private(file, len_of(task.pages))?, task, Expected::Content)
    }
}
